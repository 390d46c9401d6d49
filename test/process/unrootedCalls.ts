/**
 * A planted mistake: native calls on worker threads as koffi offers them, without anything that keeps their arguments
 * alive. It takes the place of the package's own module, and the garbage torture must catch it.
 */
import { Effect } from "effect"

type NativeFunction = ((...args: ReadonlyArray<unknown>) => unknown) & {
  readonly async: (...args: ReadonlyArray<unknown>) => void
}

type Finish<A, E> = (status: number) => Effect.Effect<A, E>

const answer =
  <A, E>(resume: (outcome: Effect.Effect<A, E>) => void, finish: Finish<A, E>) =>
  (error: unknown, status: number): void =>
    resume(error === null || error === undefined ? finish(status) : Effect.die(error))

/** The arguments are taken out of their list, so that not even the effect keeps them by accident. */
export const callOffThread = <A, E>(
  native: NativeFunction,
  args: Array<unknown>,
  _touched: ReadonlyArray<unknown>,
  finish: Finish<A, E>
): Effect.Effect<A, E> =>
  Effect.async<A, E>((resume) => {
    native.async(...args.splice(0), answer(resume, finish))
  }).pipe(Effect.uninterruptible)
