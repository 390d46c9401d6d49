/**
 * Whether a runner still works: a small run of its own after the program under test, on any backend, because the callable
 * is written in TypeScript.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Arg from "../../Arg.ts"
import * as Callable from "../../Callable.ts"
import type { Service } from "../../DeviceRunner.ts"

/** `"unfit"` where the runner has no room for the check, which says nothing about it. */
export type Usability =
  | { readonly _tag: "Usable" }
  | { readonly _tag: "Unfit" }
  | { readonly _tag: "Refused"; readonly error: string; readonly detail: string }

const probe = Callable.make({
  signature: { given: Arg.input("uint8", [8]), answered: Arg.output("uint8", [8]) },
  launch: (context) =>
    Effect.flatMap(context.read("given"), (given) => context.write("answered", given.map((byte) => 255 - byte)))
})

const given = Uint8Array.of(1, 2, 3, 5, 8, 13, 21, 34)

/** Errors that say that there is no room for the check. */
const noRoom: ReadonlySet<string> = new Set(["BudgetExhausted", "TensorExceedsChunk", "StagingExhausted"])

export const check = (runner: Service): Effect.Effect<Usability> =>
  Effect.suspend(() => {
    const answered = new Uint8Array(8)
    return Effect.map(Effect.exit(runner.run(probe, { given, answered })), (exit): Usability => {
      if (Exit.isSuccess(exit)) {
        return answered.every((byte, index) => byte === 255 - given[index]!)
          ? { _tag: "Usable" }
          : { _tag: "Refused", error: "WrongBytes", detail: "a run after the program gave wrong bytes" }
      }
      if (exit.cause._tag !== "Fail") {
        return { _tag: "Refused", error: exit.cause._tag, detail: exit.cause.toString() }
      }
      const { _tag: error, message } = exit.cause.error
      return noRoom.has(error) ? { _tag: "Unfit" } : { _tag: "Refused", error, detail: message }
    })
  })
