/**
 * Shortening: a schedule that was drawn has hundreds of choices, of which a bug takes two or three. They are written down
 * one by one, and left out as long as the same goes wrong without them.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { observe, type RaceFailure, type Racing, type Seen } from "./interleave.ts"
import { judgeRace, type RaceFinding } from "./raceVerdicts.ts"
import { type Choice, ListedTurns } from "./schedules.ts"

/** So much real time, and so many schedules, may go into one failure. */
const maxMillis = 5000
const maxTryCount = 1000

/** Of more choices than these the seed is the better name. */
const maxChoiceCount = 30

/** While looking for a shorter schedule of a program that is stuck. The one that is reported has waited for longer. */
const shortPatience: Duration.DurationInput = "20 millis"

const realClock = Clock.make()

/** The same verdict under a schedule with as few choices as can be found, or `undefined`. */
export const shorten = <A, E, R, LE>(
  { api, plan, subject }: Racing<A, E, R, LE>,
  failure: RaceFailure,
  recorded: ReadonlyArray<Choice>
): Effect.Effect<RaceFailure | undefined> =>
  Effect.gen(function*() {
    const { clean, finding: { verdict }, schedule: { form } } = failure
    const startMillis = yield* realClock.currentTimeMillis
    let tryCount = 0

    const attempt = (
      choices: ReadonlyArray<Choice>,
      isLast: boolean
    ): Effect.Effect<
      { readonly seen: Seen; readonly finding: RaceFinding; readonly met: ReadonlyArray<Choice> } | undefined
    > =>
      Effect.suspend(() => {
        tryCount += 1
        const turns = new ListedTurns({ _tag: "Listed", choices })
        const tried = isLast ? { ...subject, notesPlaces: true } : { ...subject, patience: shortPatience, logs: false }
        return Effect.map(observe(api, tried, form, { turns, clean: clean.trial, keepsTasks: isLast }), (seen) => {
          const finding = judgeRace(seen, clean.trial, form, plan).find((other) => other.verdict === verdict)
          return finding === undefined ? undefined : { seen, finding, met: turns.met }
        })
      })

    const whole = yield* attempt(recorded, false)
    if (whole === undefined) {
      return undefined
    }
    let choices = whole.met
    for (let length = Math.ceil(choices.length / 2); length >= 1; length = length === 1 ? 0 : Math.ceil(length / 2)) {
      for (let from = choices.length - length; from > -length; from -= length) {
        if (tryCount > maxTryCount || (yield* realClock.currentTimeMillis) - startMillis > maxMillis) {
          break
        }
        const rest = choices.filter((_, index) => index < from || index >= from + length)
        const shorter = yield* attempt(rest, false)
        choices = shorter?.met ?? choices
      }
    }
    if (choices.length > maxChoiceCount) {
      return undefined
    }
    const last = yield* attempt(choices, true)
    return last === undefined || last.met.length !== choices.length ? undefined : {
      ...failure,
      schedule: { form, turns: { _tag: "Listed", choices } },
      finding: last.finding,
      seen: last.seen
    }
  })
