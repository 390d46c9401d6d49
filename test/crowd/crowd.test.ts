/**
 * Crowds: many fibers on one runner, with everything that happens to a server drawn from a seed. In 20,000 runs, ten times as
 * many and ten seeds with `LEASEHOLD_LONG=1`, every outcome is explained by what is known, and nobody sees a byte of another.
 *
 * A failure says which `LEASEHOLD_SEED` begins with the crowd that failed. On the devices that are late, threads take part, and
 * it may take several tries.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { campaignSeeds } from "../model/random.ts"
import { runCrowd } from "./crowd.ts"
import { type Device, devices } from "./setups.ts"
import { noTally, type Tally } from "./watch.ts"

const isLong = process.env["LEASEHOLD_LONG"] === "1"
const runCount = isLong ? 200_000 : 20_000

/** Crowds draw from several seeds beside their own. */
const seedStep = 1000

const campaign = (device: Device, seed: number, tally: Tally): Effect.Effect<void> =>
  Effect.gen(function*() {
    const most = tally.runs + runCount / devices.length
    for (let index = 0; tally.runs < most; index++) {
      const problem = yield* runCrowd(device, seed + index * seedStep, tally)
      assert.isUndefined(problem)
    }
  })

describe("a crowd of fibers", () => {
  for (const seed of campaignSeeds()) {
    const tally = noTally()
    for (const device of devices) {
      it.live(
        `finds a runner that keeps its promises, whatever happens, with seed ${seed} [${device.name}]`,
        () => campaign(device, seed, tally),
        600_000
      )
    }

    it(`has run, waited, failed and been interrupted enough, with seed ${seed}`, () => {
      const { closings, configurations, crowds, failed, faults, growths, interrupted, looks, mostActive } = tally
      const { refused, runs, succeeded, trims, waited } = tally
      assert.isAtLeast(runs, runCount)
      assert.isAtLeast(succeeded, runCount / 4)
      for (const count of [waited, refused, failed, interrupted]) {
        assert.isAbove(count, runCount / 50)
      }
      for (const count of [faults, configurations, growths, closings]) {
        assert.isAbove(count, runCount / 500)
      }
      assert.isAbove(trims, 0)
      assert.isAtLeast(mostActive, 5)
      // The figures to publish.
      console.log(
        `crowds: ${runs} runs of ${crowds} crowds (${succeeded} came through, ${waited} waited, ${refused} refused, ` +
          `${failed} failed, ${interrupted} interrupted), ${faults} faults, ${configurations} configurations, ` +
          `${growths} growths, ${trims} trims, ${closings} child budgets closed, ${looks} looks, seed ${seed}, 0 problems`
      )
    })
  }
})
