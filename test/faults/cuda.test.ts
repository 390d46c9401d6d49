/**
 * The scenarios of the fault campaign on the CUDA backend, over the loopback driver: some cases of one in ten, all of all with
 * `LEASEHOLD_LONG=1`. That the driver is used as it should be is looked at as well.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Loopback from "../utils/loopback.ts"
import { allScenarios } from "./scenarios/index.ts"

const isLong = process.env["LEASEHOLD_LONG"] === "1"

/** Cases of each scenario, and one scenario in so many: some seconds in all. */
const caseCount = 120
const scenarioStep = isLong ? 1 : 10

/** Shares of the faults that are interrupted too, and of the pairs of faults. */
const shares = isLong ? {} : { interruptedFaults: 0.02, faultPairs: 0.02 }

/** Their figures are those of slices that begin at multiples of 64 B, or of a device of another size. */
const withFiguresOfTheSimulator: ReadonlySet<string> = new Set([
  "exact-budget fit",
  "one byte over",
  "a device that is full",
  "child budget closed under a run",
  "quota refused",
  "growth fails, and the run with it",
  "growth fails, and the old chunk is made again"
])

describe("the fault campaign on the CUDA backend", () => {
  const scenarios = allScenarios.filter(({ name }) => !withFiguresOfTheSimulator.has(name))
  for (const scenario of scenarios.filter((_, index) => index % scenarioStep === 0)) {
    it.live(`finds nothing: ${scenario.name}`, () =>
      Effect.gen(function*() {
        const { failures, faultCases, interruptCases } = yield* scenario.sweep({
          backend: ({ lanes }) => Loopback.layer({ longCalls: "inline", lanes, totalBytes: 2 ** 20 }),
          forms: ["effects"],
          maxCaseCount: isLong ? undefined : caseCount,
          ...shares
        })
        assert.deepStrictEqual(failures.map(({ page }) => page), [])
        assert.isAbove(faultCases + interruptCases, 0)
        assert.strictEqual(Loopback.violations(), "")
        assert.strictEqual(Loopback.callsAfterLoss(), 0)
      }), 600_000)
  }

  it("has used the driver", () => {
    assert.isAbove(Loopback.calls("cuLaunchKernel"), 50)
    assert.isAbove(Loopback.calls("cuMemcpyHtoDAsync_v2"), 50)
  })
})
