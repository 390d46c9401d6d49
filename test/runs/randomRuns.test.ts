/**
 * A hundred thousand random runs against a model of a few lines: two executions of several callables, runs that are bound and
 * left, residents, host tensors and reconfigurations between them; one command in four with a fault, one in four interrupted
 * at a random step. With `LEASEHOLD_LONG=1` ten times as many; `LEASEHOLD_SEED` chooses the first seed.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { campaignSeeds, Random } from "../model/random.ts"
import { type Command, commandOf } from "./commands.ts"
import { type Form, runSession, type Tally } from "./session.ts"
import { shorten } from "./shorten.ts"

const runCount = 100_000
const sessionLength = 60

const emptyTally = (): Tally => ({ runs: 0, faults: 0, interruptions: 0, runners: 0 })

const campaign = (seed: number) =>
  Effect.gen(function*() {
    const random = new Random(seed)
    const tally = emptyTally()
    let number = 0
    while (tally.runs < runCount) {
      const form: Form = random.once(2) ? "immediate" : "effects"
      const commands: Array<Command> = []
      for (let count = 0; count < sessionLength; count++) {
        number += 1
        commands.push(commandOf(random, number))
      }
      const difference = yield* runSession(commands, form, tally)
      if (difference !== undefined) {
        const shortest = yield* shorten(commands, (fewer) => runSession(fewer, form, emptyTally()))
        return assert.fail(
          `seed ${seed}, ${form}, after ${tally.runs} runs: ${shortest.difference.detail}\n` +
            shortest.commands.map((command) => JSON.stringify(command)).join("\n")
        )
      }
    }
    return tally
  })

describe("a runner", () => {
  for (const seed of campaignSeeds()) {
    it.effect(
      `does what a plain model does, over ${runCount} random runs of seed ${seed}`,
      () =>
        Effect.map(campaign(seed), ({ faults, interruptions, runners, runs }) => {
          assert.isAbove(faults, runCount / 20)
          assert.isAbove(interruptions, runCount / 20)
          // The figure to publish.
          console.log(
            `runner model: ${runs.toLocaleString("en-US")} runs on ${
              runners.toLocaleString("en-US")
            } runners, seed ${seed}, ` +
              `${faults.toLocaleString("en-US")} faults, ${
                interruptions.toLocaleString("en-US")
              } interruptions, 0 differences`
          )
        }),
      600_000
    )
  }
})
