/**
 * The core against a reference model: a million random commands a seed, and whatever can be seen of both is the same.
 *
 * `LEASEHOLD_SEED` chooses the first seed, and with `LEASEHOLD_LONG=1` ten seeds are used. A failure names its seed, and
 * the few commands that are left of the failing sequence when it has been shrunk.
 */
import { assert, describe, it } from "@effect/vitest"
import { type Command, plainer, program } from "./coreCommands.ts"
import { CoreSubject, newOutcomes } from "./coreSubject.ts"
import { campaignSeeds, Random } from "./random.ts"
import { shrink } from "./shrink.ts"

const commandCount = 1_000_000

/** Short enough that a failure is shrunk at once, long enough for many runs under one configuration. */
const programLength = 250

const attempt = (
  commands: ReadonlyArray<Command>,
  outcomes: ReturnType<typeof newOutcomes> = newOutcomes()
): Error | undefined => {
  const subject = new CoreSubject(outcomes)
  try {
    for (const command of commands) {
      subject.execute(command)
    }
    return undefined
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

/** What a failure prints: its seed, what differs, and the commands that are left. */
const report = (seed: number, failing: ReadonlyArray<Command>): string => {
  const { commands, error } = shrink(failing, attempt, plainer)
  return [
    `seed ${seed}: ${error.message}`,
    ...commands.map((command, index) => `${index + 1}. ${JSON.stringify(command)}`),
    `replay with LEASEHOLD_SEED=${seed}`
  ].join("\n")
}

/** A failure that the model alone can tell: a second run that holds something. */
const fails = (commands: ReadonlyArray<Command>): Error | undefined => {
  const subject = new CoreSubject(newOutcomes())
  let begins = 0
  for (const command of commands) {
    begins += command._tag === "begin" && !subject.model.active ? 1 : 0
    subject.execute(command)
    if (begins > 1 && subject.model.inUse > 0n) {
      return new Error("it has happened")
    }
  }
  return undefined
}

describe("the core", () => {
  for (const seed of campaignSeeds()) {
    it(
      `does what a plain model does, over ${commandCount} random commands of seed ${seed}`,
      { timeout: 120_000 },
      () => {
        const random = new Random(seed)
        const outcomes = newOutcomes()
        for (let executed = 0; executed < commandCount; executed += programLength) {
          const commands = program(random, programLength)
          if (attempt(commands, outcomes) !== undefined) {
            assert.fail(report(seed, commands))
          }
        }
        for (const [outcome, count] of Object.entries(outcomes)) {
          assert.isAtLeast(count, 1000, `too few ${outcome} were seen`)
        }
        console.log(`core model: ${commandCount.toLocaleString("en")} commands, seed ${seed}, 0 differences`)
      }
    )
  }

  it("is told from the model by a few commands, when a long sequence fails", () => {
    const random = new Random(7)
    let long = program(random, programLength)
    while (fails(long) === undefined) {
      long = program(random, programLength)
    }
    const { commands } = shrink(long, fails, plainer)
    assert.deepStrictEqual(commands.map(({ _tag }) => _tag), ["configure", "begin", "end", "begin", "take"])
    assert.deepStrictEqual(commands.at(-1), { _tag: "take", byteCount: 1 })
  })
})
