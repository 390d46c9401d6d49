/**
 * Calls of the host API on behalf of a runner: they go through the gate, they are waited for, and a sticky failure poisons
 * the runner.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { HostApiError, Status } from "../../HostApi.ts"
import type { RunnerState } from "./state.ts"

/**
 * Makes a call and waits until it has ended, whoever interrupts. For calls whose result has to be taken in: memory that
 * was allocated and is known to nobody would be lost.
 */
export const call = <A>(
  state: RunnerState,
  effect: Effect.Effect<A, HostApiError>
): Effect.Effect<A, HostApiError> =>
  Effect.suspend(() => {
    state.callStarted()
    return Effect.ensuring(effect, Effect.sync(() => state.callEnded()))
  }).pipe(
    Effect.tapError((error) => Effect.sync(() => state.observe(error))),
    Effect.uninterruptible
  )

/**
 * Makes a call on behalf of a run. Where an interrupt deadline is set, an interruption waits that long at most: then the
 * runner is poisoned, and what the call touches is left alone for ever. Whatever the call's result is good for happens
 * inside `effect`, because the one who waits may be gone when it ends.
 */
export const callWithDeadline = <A>(
  state: RunnerState,
  operation: string,
  effect: Effect.Effect<A, HostApiError>
): Effect.Effect<A, HostApiError> => {
  const deadline = state.settings.interruptDeadline
  return deadline === undefined ? call(state, effect) : Effect.uninterruptible(Effect.gen(function*() {
    const fiber = yield* Effect.forkDaemon(call(state, effect))
    const giveUp = Effect.gen(function*() {
      const ended = yield* Fiber.await(fiber).pipe(Effect.interruptible, Effect.timeoutOption(deadline))
      if (Option.isNone(ended)) {
        expire(state, operation)
      }
    })
    return yield* Effect.flatten(
      Fiber.await(fiber).pipe(
        Effect.interruptible,
        Effect.onInterrupt(() => giveUp)
      )
    )
  }))
}

/**
 * A call that releases memory. Nobody interrupts it, so where there is an interrupt deadline it is given that long. It
 * answers with its status and never fails: a release that died has no status of its own.
 */
export const release = (
  state: RunnerState,
  operation: string,
  effect: Effect.Effect<void, HostApiError>
): Effect.Effect<number> => {
  const ended = Effect.map(Effect.exit(call(state, effect)), statusOf)
  const deadline = state.settings.interruptDeadline
  return deadline === undefined ? ended : Effect.gen(function*() {
    const fiber = yield* Effect.forkDaemon(ended)
    const status = yield* Fiber.join(fiber).pipe(Effect.interruptible, Effect.timeoutOption(deadline))
    if (Option.isNone(status)) {
      expire(state, operation)
    }
    return Option.getOrElse(status, () => Status.Timeout)
  })
}

/**
 * Does work that ends something when the device work before it has ended. Where there is an interrupt deadline and that
 * work does not end, the runner is poisoned, and the turn comes at once: nobody touches the device any more.
 */
export const inTurn = (state: RunnerState, operation: string, work: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const deadline = state.settings.interruptDeadline
    if (deadline === undefined || !state.gate.busy) {
      return state.gate.through(work)
    }
    return Effect.flatMap(
      Effect.forkDaemon(Effect.zipRight(Effect.sleep(deadline), Effect.sync(() => expire(state, operation)))),
      (watchdog) => state.gate.through(Effect.zipRight(Fiber.interruptFork(watchdog), work))
    )
  })

const statusOf = (exit: Exit.Exit<void, HostApiError>): number =>
  Exit.isSuccess(exit) ? Status.Ok : exit.cause._tag === "Fail" ? exit.cause.error.status : Status.DeviceLost

const expire = (state: RunnerState, operation: string): void => {
  state.poison(
    new HostApiError({
      operation,
      status: Status.Timeout,
      statusName: "Timeout",
      deviceCode: 0,
      deviceName: "",
      detail: "",
      entryIndex: -1
    }),
    "InterruptDeadline"
  )
  state.gate.break()
  state.notify()
}
