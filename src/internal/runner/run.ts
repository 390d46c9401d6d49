/**
 * The two shapes of a run: one bracket, and a handle in the user's own scope.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Any as AnyCallable } from "../../Callable.ts"
import { type BindError, type Run, TypeId } from "../../Run.ts"
import type { Account } from "../core/account.ts"
import type { ActiveRun } from "./activeRun.ts"
import { beginNow, readRun } from "./beginRun.ts"
import type { GivenDims } from "./dimensions.ts"
import { Frame } from "./frame.ts"
import {
  acquireRun,
  type BeginOptions,
  beginRead,
  endRun,
  launchRun,
  type RunRequest,
  validateRun
} from "./runAwaited.ts"
import { immediateFor, runNow } from "./runNow.ts"
import type { RunnerState } from "./state.ts"
import { withWarnings } from "./stepsNow.ts"

/** Binds, launches and validates. The way is chosen when the run starts. */
export const run = (
  state: RunnerState,
  account: Account,
  callable: AnyCallable,
  args: unknown,
  dims: GivenDims | undefined
): Effect.Effect<void, unknown> => {
  const work = Effect.suspend(() => {
    const prepared = state.prepared.get(callable)
    const immediate = prepared === undefined ? undefined : immediateFor(state, prepared)
    if (prepared === undefined || immediate === undefined) {
      return runAwaited(state, (options) => acquireRun(state, { account, callable, args, dims }, options))
    }
    const frame = readRun(state, prepared, args, dims)
    if (!(frame instanceof Frame)) {
      return Effect.fail(frame)
    }
    // Reading the arguments may have started device work.
    const active = state.lanes.busy ? undefined : beginNow(state, account, frame)
    if (active === undefined) {
      return runAwaited(state, (options) => beginRead(state, account, frame, options))
    }
    const failure = runNow(state, immediate, active)
    return withWarnings(state, failure === undefined ? Effect.void : Effect.fail(failure))
  })
  return traced(state, "DeviceRunner.run", callable, work)
}

const runAwaited = (
  state: RunnerState,
  acquire: (options: BeginOptions) => Effect.Effect<ActiveRun, BindError>
): Effect.Effect<void, unknown> =>
  whetherInterruptible(
    state,
    (isInterruptible) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(acquire({ restore, isInterruptible }), (active) =>
          Effect.catchAllCause(
            restore(Effect.flatMap(launchRun(state, active), () => validateRun(state, active))),
            // A run that was validated has ended, whatever validating it came to.
            (cause) => Effect.zipRight(endRun(state, active), Effect.failCause(cause))
          ))
      )
  )

/** Begins a run in the scope and answers its handle. */
export const bindRun = (
  state: RunnerState,
  request: RunRequest
): Effect.Effect<Run<unknown>, BindError, Scope.Scope> =>
  traced(
    state,
    "DeviceRunner.bind",
    request.callable,
    whetherInterruptible(state, (isInterruptible) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(acquireRun(state, request, { restore, isInterruptible }), (active) =>
          Effect.as(
            Effect.addFinalizer(() =>
              endRun(state, active)
            ),
            handle(state, request.callable, active)
          ))
      ))
  )

/** Looks whether the user's region can be interrupted, where it matters: where an interrupt deadline is set. */
const whetherInterruptible = <A, E, R>(
  state: RunnerState,
  use: (isInterruptible: boolean) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => state.settings.interruptDeadline === undefined ? use(true) : Effect.checkInterruptible(use)

const handle = (state: RunnerState, callable: AnyCallable, active: ActiveRun): Run<unknown> => {
  // The tables are the run's own only while it is bound, so the handle keeps what users may look at later.
  const plan = active.tables.describe(active.slot)
  return {
    [TypeId]: TypeId,
    generation: active.generation,
    slot: active.slot.index,
    leases: plan.leases,
    plan,
    launch: traced(state, "DeviceRunner.launch", callable, launchRun(state, active)),
    validate: traced(state, "DeviceRunner.validate", callable, validateRun(state, active))
  }
}

const traced = <A, E, R>(
  state: RunnerState,
  name: string,
  callable: AnyCallable,
  work: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  state.settings.tracing
    ? Effect.withSpan(work, name, {
      captureStackTrace: false,
      attributes: { "leasehold.callable": callable.name, "leasehold.backend": state.hostApi.backend }
    })
    : work
