/** Making a sequence of commands that shows a difference shorter, for as long as it shows one. */
import { Effect } from "effect"
import type { Command } from "./commands.ts"
import type { Difference } from "./session.ts"

export interface Shortened {
  readonly commands: ReadonlyArray<Command>
  readonly difference: Difference
}

/** Leaves out parts, first large ones and then single commands. */
export const shorten = <E>(
  commands: ReadonlyArray<Command>,
  run: (commands: ReadonlyArray<Command>) => Effect.Effect<Difference | undefined, E>
): Effect.Effect<Shortened, E> =>
  Effect.gen(function*() {
    let shortest = commands
    let difference: Difference = { index: commands.length, detail: "it does not show a second time" }
    for (let length = commands.length; length >= 1; length = Math.floor(length / 2)) {
      for (let start = 0; start < shortest.length;) {
        const fewer = length === commands.length ? shortest : shortest.toSpliced(start, length)
        const found = yield* run(fewer)
        if (found === undefined) {
          start += length
        } else {
          difference = found
          shortest = fewer.slice(0, found.index + 1)
          start += length === commands.length ? length : 0
        }
      }
    }
    return { commands: shortest, difference }
  })
