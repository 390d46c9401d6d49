/**
 * Whether a runner still works: runs of its own after the program under test, on any backend, because the callables are
 * written in TypeScript. A small one shows that bytes go there and back; one in each slot, and one as large as the buffer,
 * that no run of the program holds a slot or memory any more.
 */
import * as Cause from "effect/Cause"
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

/** What takes a slot and nothing else. */
const empty = Callable.make({ signature: { marker: Arg.scalar("int32") }, launch: () => Effect.void })

/** What takes so many bytes. */
const whole = Callable.make({ signature: { bytes: Arg.scratch("uint8", ["n"]) }, launch: () => Effect.void })

const given = Uint8Array.of(1, 2, 3, 5, 8, 13, 21, 34)

/** Errors that say that there is no room for the check. */
const noRoom: ReadonlySet<string> = new Set(["BudgetExhausted", "TensorExceedsChunk", "StagingExhausted"])

export const check = (runner: Service): Effect.Effect<Usability> =>
  Effect.gen(function*() {
    const answered = new Uint8Array(8)
    const exit = yield* Effect.exit(runner.run(probe, { given, answered }))
    if (Exit.isFailure(exit)) {
      const refusal = refused(exit.cause)
      return noRoom.has(refusal.error) ? { _tag: "Unfit" } : refusal
    }
    if (answered.some((byte, index) => byte !== 255 - given[index]!)) {
      return { _tag: "Refused", error: "WrongBytes", detail: "a run after the program gave wrong bytes" }
    }
    return (yield* everySlot(runner)) ?? (yield* allMemory(runner)) ?? { _tag: "Usable" }
  })

type Refusal = Extract<Usability, { readonly _tag: "Refused" }>

const refused = (cause: Cause.Cause<{ readonly _tag: string; readonly message: string }>): Refusal =>
  cause._tag === "Fail"
    ? { _tag: "Refused", error: cause.error._tag, detail: cause.error.message }
    : { _tag: "Refused", error: cause._tag, detail: Cause.pretty(cause) }

/** A run in each slot at once. One slot is known to be free already. */
const everySlot = (runner: Service): Effect.Effect<Refusal | undefined> =>
  Effect.gen(function*() {
    const { slots } = yield* runner.stats
    if (slots.count === 1) {
      return undefined
    }
    const bound = Effect.forEach(Array.from({ length: slots.count }), () => runner.bind(empty, { marker: 0 }))
    const exit = yield* Effect.exit(Effect.scoped(bound))
    return Exit.isFailure(exit) ? refused(exit.cause) : undefined
  })

/** A run as large as one can be, where the buffer is that of now. What child budgets have reserved is not to be had. */
const allMemory = (runner: Service): Effect.Effect<Refusal | undefined> =>
  Effect.gen(function*() {
    const { chunkCount, maxBytes, reservedBytes, retainedBytes } = (yield* runner.stats).temporaryBuffer
    if (maxBytes === 0 || reservedBytes > 0) {
      return undefined
    }
    // The largest that could be run, which the runner says without looking at what is taken.
    for (const n of new Set([retainedBytes, Math.floor(retainedBytes / Math.max(1, chunkCount))])) {
      if (n > 0 && Exit.isSuccess(yield* Effect.exit(runner.plan(whole, {}, { dims: { n } })))) {
        const exit = yield* Effect.exit(runner.run(whole, {}, { dims: { n } }))
        return Exit.isFailure(exit) ? refused(exit.cause) : undefined
      }
    }
    return undefined
  })
