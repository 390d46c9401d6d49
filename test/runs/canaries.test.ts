/**
 * Canaries: in 20,000 runs, 200,000 with LEASEHOLD_LONG=1, no run ever sees a byte of another. `LEASEHOLD_SEED` chooses the
 * seed. The search itself is tested where nothing is cleared: there it has to find what others left.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { type Callable, DeviceRunner, HostApi } from "leasehold"
import { FaultInjection } from "leasehold/testing"
import { campaignSeeds, Random } from "../model/random.ts"
import { type Form, forms } from "../utils/forms.ts"
import { canaryOf, countForeign, fill, runLimit } from "./canaryBytes.ts"
import { canaryRuns, noTotals, type Totals } from "./canaryRuns.ts"

const seed = campaignSeeds()[0]!
const isLong = process.env["LEASEHOLD_LONG"] === "1"
const runCount = isLong ? 200_000 : 20_000
const runsPerForm = runCount / forms.length

/** Operations of runs that fail now and then, before or after their effect. None is a lie: all is as the runner is told. */
const faults = (["before", "after"] as const).map((when, index): FaultInjection.Rule => ({
  where: { operation: ["malloc", "submit", "collect", "launch"] },
  fault: FaultInjection.fail(HostApi.Status.TransferFailed),
  when,
  often: { probability: 0.01, seed: seed + index }
}))

const runnerOn = (form: Form, clear: Callable.Clear) =>
  DeviceRunner.layer({ clear, residentMaxBytes: "4 KiB", stagingMaxBytes: "64 KiB", maxInlineCopyBytes: "64 KiB" })
    .pipe(
      Layer.provideMerge(FaultInjection.layer(faults)),
      Layer.provide(form.layer({ totalBytes: "512 MiB" }))
    )

const foreignBytes = ({ foreign }: Totals): number => Object.values(foreign).reduce((sum, count) => sum + count, 0)

describe("canaries", () => {
  const totals = noTotals()
  let firedCount = 0

  forms.forEach((form, index) => {
    it.scoped(`no run sees a byte of another [${form.name}]`, () =>
      Effect.gen(function*() {
        const random = new Random(seed + index)
        firedCount += yield* canaryRuns(runsPerForm, { totals, random, seed, run: index * runsPerForm })
        assert.deepStrictEqual([totals.foreign, totals.wrong], [noTotals().foreign, 0], `replay with seed ${seed}`)
      }).pipe(Effect.provide(runnerOn(form, "all"))), 600_000)

    it.scoped(`the search finds bytes of others where nothing is cleared [${form.name}]`, () =>
      Effect.gen(function*() {
        const dirty = noTotals()
        yield* canaryRuns(1000, { totals: dirty, random: new Random(seed + index), seed, run: 0 })
        for (const place of ["output", "scratch", "padding", "slice"] as const) {
          assert.isAbove(dirty.foreign[place], 0, place)
        }
        // These are whole copies, cleared or not.
        assert.deepStrictEqual([dirty.foreign["host view"], dirty.foreign.resident], [0, 0])
      }).pipe(Effect.provide(runnerOn(form, "none"))), 60_000)
  })

  it("tells every run from every other", () => {
    const seen = new Set<string>()
    for (let run = 0; run < runLimit; run++) {
      seen.add(canaryOf(run, seed).join())
    }
    assert.strictEqual(seen.size, runLimit)
    const view = fill(new Uint8Array(9), canaryOf(1, seed))
    assert.strictEqual(countForeign(view, [canaryOf(1, seed)]), 0)
    assert.isAbove(countForeign(view, [canaryOf(2, seed)]), 0)
    assert.strictEqual(countForeign(Uint8Array.of(0, 7), []), 1)
  })

  it("has run, failed, interrupted and reconfigured enough", () => {
    assert.strictEqual(totals.runs, runCount)
    assert.isBelow(runCount, runLimit)
    assert.strictEqual(foreignBytes(totals), 0)
    for (const count of [firedCount, totals.failed, totals.interrupted, totals.configurations]) {
      assert.isAbove(count, runCount / 200)
    }
    console.log(
      `T10: ${totals.runs} runs (${totals.failed} calls failed, ${totals.interrupted} interrupted, ${firedCount} faults, ` +
        `${totals.configurations} configurations), ${totals.views} views and ${totals.searchedBytes} B searched, ` +
        `${foreignBytes(totals)} foreign bytes, seed ${seed}`
    )
  })
})
