/**
 * Single steps of a run, each as one synchronous stretch, for a backend that answers at once: what a run that users launch
 * and validate themselves does between their own steps.
 */
import * as Effect from "effect/Effect"
import type { Immediate } from "../../HostApi.ts"
import type { BindError, LaunchError, ValidateError } from "../../Run.ts"
import type { ActiveRun } from "./activeRun.ts"
import { detachedFailure } from "./failures.ts"
import { bindNow, copyBackNow, endNow, launchNow } from "./runNow.ts"
import type { RunnerState } from "./state.ts"

/**
 * The plain functions with which a run can be staged and copied back, or `undefined` where that has to be awaited: where
 * work is under way, where something is large enough to leave the thread, and where tensors are malloc'd for the run.
 */
export const immediateMoves = (state: RunnerState, run: ActiveRun, lane: "in" | "out"): Immediate | undefined => {
  const { copyBack, hasFreeLeases, stage } = run.tables
  return state.lanes.isBusy(lane) || hasFreeLeases || stage.apart !== undefined || copyBack.apart !== undefined
    ? undefined
    : state.hostApi.immediate
}

/** Stages a run in the step in which it began. When that fails, the run has ended. */
export const stageNow = (
  state: RunnerState,
  immediate: Immediate,
  run: ActiveRun
): Effect.Effect<ActiveRun, BindError> => {
  let isBound = false
  try {
    const failure = bindNow(state, immediate, run)
    isBound = failure === undefined
    if (failure !== undefined) {
      return withWarnings(state, Effect.fail(failure))
    }
    run.phase = "Bound"
    return Effect.succeed(run)
  } finally {
    if (!isBound) {
      endNow(state, immediate, run)
    }
  }
}

/** Executes a kernel on the event loop's thread. */
export const launchInline = (
  state: RunnerState,
  immediate: Immediate,
  run: ActiveRun
): Effect.Effect<void, LaunchError> => {
  // Until it is known how the launch went: it may throw.
  run.phase = "Failed"
  const failure = launchNow(state, immediate, run)
  if (failure !== undefined) {
    return withWarnings(state, Effect.fail(failure))
  }
  run.phase = "Launched"
  return Effect.void
}

/** Copies the outputs back and ends the run. Time has passed since the views were checked, so they are looked at again. */
export const validateNow = (
  state: RunnerState,
  immediate: Immediate,
  run: ActiveRun
): Effect.Effect<void, ValidateError> => {
  let failure: ValidateError | undefined
  try {
    const table = run.tables.copyBack.inline
    failure = table !== undefined && table.refresh() >= 0
      ? detachedFailure(run, "copyBack", table)
      : copyBackNow(state, immediate, run)
  } finally {
    endNow(state, immediate, run)
  }
  return withWarnings(state, failure === undefined ? Effect.void : Effect.fail(failure))
}

/** Logs first what the last steps have left to log. */
export const withWarnings = <A, E>(state: RunnerState, outcome: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  state.warnings.length === 0 ? outcome : Effect.zipRight(state.logWarnings, outcome)
