/**
 * Calls of the host API on behalf of a runner: they are waited for, and a sticky failure poisons the runner.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { HostApiError, Status } from "../../HostApi.ts"
import type { RunnerState } from "./state.ts"

/**
 * Makes a call and waits until it has ended, whoever interrupts. For calls whose result has to be taken in: memory that
 * was allocated and is known to nobody would be lost. On a poisoned runner no call is made.
 */
export const call = <A>(
  state: RunnerState,
  effect: Effect.Effect<A, HostApiError>
): Effect.Effect<A, HostApiError> =>
  Effect.uninterruptible(observed(
    state,
    Effect.suspend(() =>
      state.lifecycle._tag === "Poisoned" ? Effect.fail(refusedCall(state.lifecycle.error)) : effect
    ),
    (error) => error
  ))

/** A failure is looked at, for whether it is sticky, before it is explained. */
const observed = <A, E>(
  state: RunnerState,
  effect: Effect.Effect<A, HostApiError>,
  explain: (error: HostApiError) => E
): Effect.Effect<A, E> =>
  Effect.catchAll(effect, (error) => {
    state.observe(error)
    return Effect.zipRight(state.logWarnings, Effect.suspend(() => Effect.fail(explain(error))))
  })

/**
 * Makes a later call of what began on an open runner. Whoever waited may have given up meanwhile: a poisoned runner closes
 * without waiting for what was given up, and then no call is made.
 */
export const laterCall = <A>(
  state: RunnerState,
  effect: Effect.Effect<A, HostApiError>
): Effect.Effect<A, HostApiError> =>
  Effect.suspend(() => state.lifecycle._tag === "Closed" ? Effect.fail(refusedCall(closedCall)) : call(state, effect))

/**
 * Makes a call on behalf of a run, within a step of an uninterruptible region, in which it was seen that the runner is not
 * poisoned. Where an interrupt deadline is set, an interruption waits that long at most: then the
 * runner is poisoned, and what the call touches is left alone for ever. Whatever the call's result is good for happens
 * inside `work`, because the one who waits may be gone when it ends.
 */
export const callWithDeadline = <A, E>(
  state: RunnerState,
  options: {
    readonly operation: string
    /** Whether the user's own region lets the run be interrupted. */
    readonly isInterruptible: boolean
    /** What the call touches beside its arguments; it is kept for ever when the call is given up. */
    readonly touched: () => ReadonlyArray<unknown>
    readonly explain: (error: HostApiError) => E
  },
  work: () => Effect.Effect<A, HostApiError>
): Effect.Effect<A, E> => {
  const deadline = state.settings.interruptDeadline
  if (deadline === undefined || !options.isInterruptible) {
    return observed(state, work(), options.explain)
  }
  return Effect.gen(function*() {
    const touched = options.touched()
    const fiber = yield* Effect.forkDaemon(Effect.mapError(call(state, Effect.suspend(work)), options.explain))
    const giveUp = Effect.gen(function*() {
      if (Option.isNone(yield* within(Fiber.await(fiber), deadline))) {
        leftAlone.push(touched)
        expire(state, options.operation)
      }
    })
    return yield* Effect.flatten(
      Fiber.await(fiber).pipe(
        Effect.interruptible,
        Effect.onInterrupt(() => giveUp)
      )
    )
  })
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
    const status = yield* within(Fiber.join(fiber), deadline)
    if (Option.isNone(status)) {
      expire(state, operation)
    }
    return Option.getOrElse(status, () => Status.Timeout)
  }).pipe(Effect.uninterruptible)
}

/**
 * Waits until `condition` holds. Where there is an interrupt deadline and that does not
 * come to pass in time, the runner is poisoned, and the wait is over: nobody touches the device any more.
 */
export const awaitIdle = (
  state: RunnerState,
  operation: string,
  condition: () => boolean
): Effect.Effect<void> => {
  const idle = state.until(() => state.isPoisoned || condition())
  const deadline = state.settings.interruptDeadline
  return deadline === undefined ? idle : Effect.suspend(() =>
    condition()
      ? Effect.void
      : Effect.flatMap(
        within(idle, deadline),
        (ended) => Option.isSome(ended) ? Effect.void : Effect.sync(() => expire(state, operation))
      )
  )
}

/**
 * What calls touch that were given up: the native side may touch it for as long as the process lives, whatever becomes of
 * the runner.
 */
const leftAlone: Array<ReadonlyArray<unknown>> = []

/**
 * Waits for `wait`, but no longer than `deadline`. The race runs in a fiber of its own: an interruption of this one would
 * reach both sides of a race at once, even from within an uninterruptible region, and end it early.
 */
const within = <A>(wait: Effect.Effect<A>, deadline: Duration.Duration): Effect.Effect<Option.Option<A>> =>
  Effect.flatMap(
    Effect.forkDaemon(Effect.interruptible(Effect.timeoutOption(Effect.interruptible(wait), deadline))),
    Fiber.join
  )

const statusOf = (exit: Exit.Exit<void, HostApiError>): number =>
  Exit.isSuccess(exit) ? Status.Ok : exit.cause._tag === "Fail" ? exit.cause.error.status : Status.DeviceLost

const closedCall = {
  operation: "close",
  status: Status.NotReady,
  statusName: "NotReady",
  deviceCode: 0,
  deviceName: "",
  detail: "the runner is closed"
}

/** What a call on a poisoned or closed runner answers in place of the device. */
const refusedCall = (
  cause: Pick<HostApiError, "operation" | "status" | "statusName" | "deviceCode" | "deviceName" | "detail">
): HostApiError => {
  const { detail, deviceCode, deviceName, operation, status, statusName } = cause
  return new HostApiError({ operation, status, statusName, deviceCode, deviceName, detail, entryIndex: -1 })
}

const expire = (state: RunnerState, operation: string): void => {
  state.poison(
    {
      operation,
      status: Status.Timeout,
      statusName: "Timeout",
      deviceCode: 0,
      deviceName: "",
      detail: ""
    },
    "InterruptDeadline"
  )
  state.lanes.break()
  state.notify()
}
