/** A kernel that refuses where it is asked to, and programs that expect this and no other failure. */
import { Effect } from "effect"
import { Arg } from "leasehold"
import { native } from "../utils/kernels.ts"

const signature = { shall: Arg.scalar("int32"), y: Arg.output("int32", [2]) }

export const failIf = native("test_fail_if", signature)

/** The same, executed within the call that launches it. */
export const failIfInline = native("test_fail_if", signature, { execution: "inline" })

/** Expects the kernel's own refusal. Whatever else a launch fails with, an injected fault above all, is the program's failure. */
export const refusedByKernel = <A, E extends { readonly _tag: string }, R>(
  launch: Effect.Effect<A, E, R>
): Effect.Effect<void, E, R> =>
  Effect.flatMap(
    Effect.flip(launch) as Effect.Effect<E, never, R>,
    (failure) =>
      failure._tag === "LaunchFailed" && "detail" in failure && failure.detail !== "injected"
        ? Effect.void
        : Effect.fail(failure)
  )
