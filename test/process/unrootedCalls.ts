/**
 * A planted mistake: native calls on worker threads as koffi offers them, without anything that keeps their arguments
 * alive. It takes the place of the package's own module, and the garbage torture must catch it.
 */
import { Effect } from "effect"

type NativeFunction = ((...args: ReadonlyArray<unknown>) => unknown) & {
  readonly async: (...args: ReadonlyArray<unknown>) => void
}

const answer = (resume: (outcome: Effect.Effect<number>) => void) => (error: unknown, status: number): void =>
  resume(error === null || error === undefined ? Effect.succeed(status) : Effect.die(error))

/** The arguments are taken out of their list, so that not even the effect keeps them by accident. */
export const callOffThread = (native: NativeFunction, args: Array<unknown>): Effect.Effect<number> =>
  Effect.async<number>((resume) => {
    native.async(...args.splice(0), answer(resume))
  }).pipe(Effect.uninterruptible)
