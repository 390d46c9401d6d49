/**
 * A run step by step, each step an Effect: for backends whose work outlasts a call, for kernels off the event loop's
 * thread, and for runs that users launch and validate themselves.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Any as AnyCallable } from "../../Callable.ts"
import type { DevicePtr } from "../../DevicePtr.ts"
import { InvalidArgument, RunnerClosed, type RunnerPoisoned, StaleRun } from "../../Errors.ts"
import { type HostApiError, type Lane, Status } from "../../HostApi.ts"
import type { BindError, LaunchError, ValidateError } from "../../Run.ts"
import { assert } from "../assert.ts"
import { sliceBytes } from "../core/bumpAllocator.ts"
import { LeaseKind } from "../core/leaseTable.ts"
import { ActiveRun } from "./activeRun.ts"
import { callWithDeadline, inTurn, release } from "./calls.ts"
import type { GivenDims } from "./dimensions.ts"
import { allocationFailure, launchFailure, transferFailure } from "./failures.ts"
import { launchContext } from "./launchContext.ts"
import { countLease, countTable, settleLease } from "./leases.ts"
import { loadCallable } from "./loading.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import type { Moves } from "./runTables.ts"
import { beginRun, finishRun } from "./slot.ts"
import type { RunnerState } from "./state.ts"
import type { ViewTable } from "./viewTable.ts"

/**
 * Begins a run and stages it. Uninterruptible but for the waiting on the device; whatever fails or interrupts before it
 * succeeds, the run has ended.
 */
export const acquireRun = (
  state: RunnerState,
  callable: AnyCallable,
  args: unknown,
  given: GivenDims | undefined
): Effect.Effect<ActiveRun, BindError> =>
  Effect.uninterruptible(
    Effect.flatMap(loadCallable(state, callable), (prepared) => bind(state, prepared, args, given))
  )

const bind = (
  state: RunnerState,
  prepared: PreparedCallable,
  args: unknown,
  given: GivenDims | undefined
): Effect.Effect<ActiveRun, BindError> =>
  Effect.suspend(() => {
    const run = beginRun(state, prepared, args, given)
    if (!(run instanceof ActiveRun)) {
      return Effect.fail(run)
    }
    return mallocLeases(state, run).pipe(
      Effect.zipRight(submitAll(state, run, "in", run.tables.stage)),
      Effect.map(() => {
        if (run.phase === "Binding") {
          run.phase = "Bound"
        }
        return run
      }),
      // Nobody else holds the run yet: only the closing of the runner can have ended it.
      Effect.catchTag("StaleRun", () => Effect.fail(new RunnerClosed({ operation: "bind" }))),
      Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : endRun(state, run))
    )
  })

/** Mallocs every tensor of a run without a budget. */
const mallocLeases = (state: RunnerState, run: ActiveRun): Effect.Effect<void, BindError | StaleRun> => {
  const { leases, parameters } = run.tables
  if (!run.tables.hasFreeLeases) {
    return Effect.void
  }
  const indexes = parameters.flatMap(({ index }) => leases.kinds[index] === LeaseKind.free ? [index] : [])
  return Effect.forEach(indexes, (index) => mallocLease(state, run, index), { discard: true }).pipe(
    Effect.zipRight(Effect.sync(() => run.tables.bindLeases()))
  )
}

const mallocLease = (
  state: RunnerState,
  run: ActiveRun,
  index: number
): Effect.Effect<void, BindError | StaleRun> =>
  Effect.suspend(() => {
    const name = run.tables.parameters[index]!.name
    const requestedBytes = sliceBytes(run.tables.byteCounts[index]!, state.rules)
    const origin = run.origin("tensor", [name])
    return callForRun(
      state,
      run,
      "malloc",
      () =>
        // The lease is held in the very step in which the address arrives, so that no failure or interruption comes between.
        Effect.map(state.hostApi.malloc(requestedBytes, state.rules.alignmentBytes, origin), (address) => {
          run.tables.leases.hold(index, LeaseKind.free, address, run.tables.byteCounts[index]!)
          countLease(state, requestedBytes)
        })
    ).pipe(
      Effect.catchTag(
        "HostApiError",
        (error) => Effect.fail(allocationFailure(state, error, { purpose: `"${name}"`, requestedBytes }))
      )
    )
  })

/** Submits the tables of one direction: first what leaves the thread, then what touches plain views. */
const submitAll = (
  state: RunnerState,
  run: ActiveRun,
  lane: Lane,
  moves: Moves
): Effect.Effect<void, ValidateError> => {
  const { apart, collect, inline } = moves
  return submit(state, run, lane, apart).pipe(
    Effect.zipRight(submit(state, run, lane, inline)),
    Effect.zipRight(collect === undefined ? Effect.void : collectViews(state, run, collect))
  )
}

const submit = (
  state: RunnerState,
  run: ActiveRun,
  lane: Lane,
  table: ViewTable | undefined
): Effect.Effect<void, ValidateError> => {
  if (table === undefined) {
    return Effect.void
  }
  const step = lane === "in" ? "stage" : "copyBack"
  return callForRun(state, run, step, () => {
    if (lane === "in") {
      state.counters.stageCalls += 1
    } else {
      state.counters.copyBackCalls += 1
    }
    return state.hostApi.submit(lane, table, run.origin(step, table.names))
  }).pipe(
    Effect.map(() => countTable(state, table)),
    Effect.catchTag("HostApiError", (error) => Effect.fail(transferFailure(run, error, step, table)))
  )
}

const collectViews = (state: RunnerState, run: ActiveRun, table: ViewTable): Effect.Effect<void, ValidateError> =>
  callForRun(state, run, "copyBack", () => state.hostApi.collect(table, run.origin("copyBack", table.names))).pipe(
    Effect.catchTag("HostApiError", (error) => Effect.fail(transferFailure(run, error, "copyBack", table)))
  )

/**
 * Makes a call when its turn has come, if the run is still there by then: the runner may have been closed, and the run
 * ended, while the call waited.
 */
const callForRun = <A>(
  state: RunnerState,
  run: ActiveRun,
  operation: string,
  work: () => Effect.Effect<A, HostApiError>
): Effect.Effect<A, HostApiError | RunnerClosed | RunnerPoisoned | StaleRun> =>
  state.gate.through(Effect.suspend((): Effect.Effect<A, HostApiError | RunnerClosed | RunnerPoisoned | StaleRun> => {
    const refusal = handleRefusal(state, run, operation)
    return refusal === undefined ? callWithDeadline(state, operation, Effect.suspend(work)) : Effect.fail(refusal)
  }))

/** Why a handle cannot be used now, or `undefined`. */
const handleRefusal = (
  state: RunnerState,
  run: ActiveRun,
  operation: string
): RunnerClosed | RunnerPoisoned | StaleRun | undefined => {
  const refusal = state.refusal(operation)
  if (refusal !== undefined) {
    return refusal
  }
  return run.phase === "Ended"
    ? new StaleRun({ callable: run.name, generation: run.generation, operation })
    : undefined
}

const outOfOrder = (run: ActiveRun, operation: string): InvalidArgument => {
  const detail = run.phase === "Failed"
    ? `${operation} was called on a run of ${run.name} whose launch failed`
    : run.phase === "Bound"
    ? `${operation} was called on a run of ${run.name} that was not launched yet`
    : `${operation} was called on a run of ${run.name} that is ${run.phase.toLowerCase()} already`
  return new InvalidArgument({ reason: "RunOutOfOrder", argument: "", detail })
}

/** Executes the callable. Once, on a bound run. */
export const launchRun = (state: RunnerState, run: ActiveRun): Effect.Effect<void, unknown> =>
  Effect.suspend((): Effect.Effect<void, unknown> => {
    const refusal = handleRefusal(state, run, "launch")
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    if (run.phase !== "Bound") {
      return Effect.fail(outOfOrder(run, "launch"))
    }
    run.phase = "Launching"
    const { implementation } = run.prepared.callable
    const work = implementation._tag === "Native"
      ? launchNative(state, run)
      : launchTypeScript(state, run, implementation.launch)
    return Effect.onExit(work, (exit) =>
      Effect.sync(() => {
        if (run.phase === "Launching") {
          run.phase = Exit.isSuccess(exit) ? "Launched" : "Failed"
        }
      }))
  })

const launchNative = (state: RunnerState, run: ActiveRun): Effect.Effect<void, LaunchError> =>
  Effect.suspend(() => {
    const { kernel } = run.prepared
    assert(kernel !== undefined, "a kernel is loaded before its run begins")
    const { args, argumentNames } = run.tables
    const table = { cells: args.cells, count: args.count, offThread: run.prepared.execution === "awaited" }
    return callForRun(
      state,
      run,
      "launch",
      () => state.hostApi.launch(kernel, table, run.origin("launch", argumentNames))
    ).pipe(
      Effect.map(() => {
        state.counters.launches += 1
      }),
      Effect.catchTag("HostApiError", (error) => Effect.fail(launchFailure(state, run, error)))
    )
  })

const launchTypeScript = (
  state: RunnerState,
  run: ActiveRun,
  launch: (context: never) => Effect.Effect<void, unknown>
): Effect.Effect<void, unknown> =>
  Effect.suspend(() => launch(launchContext(state, run) as never)).pipe(
    Effect.map(() => {
      state.counters.launches += 1
    })
  )

/** Copies the outputs back, all or none, and ends the run. */
export const validateRun = (state: RunnerState, run: ActiveRun): Effect.Effect<void, ValidateError> =>
  Effect.suspend((): Effect.Effect<void, ValidateError> => {
    const refusal = handleRefusal(state, run, "validate")
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    if (run.phase !== "Launched") {
      return Effect.fail(outOfOrder(run, "validate"))
    }
    run.phase = "Validating"
    return submitAll(state, run, "out", run.tables.copyBack).pipe(
      Effect.map(() => {
        run.succeeded = true
      }),
      Effect.onExit(() => endRun(state, run))
    )
  })

/**
 * Ends a run: waits for the call in flight, settles what was malloc'd for it, and gives the slot back. Idempotent; the one
 * release path of bind, validate, the run's scope and the runner's close.
 */
export const endRun = (state: RunnerState, run: ActiveRun): Effect.Effect<void> =>
  Effect.suspend(() =>
    run.phase === "Ended"
      ? Effect.void
      : Effect.zipRight(
        inTurn(state, "end", Effect.suspend(() => settleAndFinish(state, run))),
        state.logWarnings
      )
  ).pipe(Effect.uninterruptible)

/** Frees from the newest to the oldest, then gives the slot back. Another fiber may have ended the run meanwhile. */
const settleAndFinish = (state: RunnerState, run: ActiveRun): Effect.Effect<void> => {
  if (run.phase === "Ended") {
    return Effect.void
  }
  const index = run.tables.leases.newestHeldFree()
  if (index < 0) {
    finishRun(state, run)
    return Effect.void
  }
  return freeLease(state, run, index).pipe(
    Effect.flatMap((status) => {
      settleLease(state, run, index, status)
      return settleAndFinish(state, run)
    })
  )
}

const freeLease = (state: RunnerState, run: ActiveRun, index: number): Effect.Effect<number> => {
  if (state.isPoisoned) {
    return Effect.succeed(Status.DeviceLost)
  }
  const { leases, parameters } = run.tables
  const origin = run.origin("tensor", [parameters[index]!.name])
  return release(state, "free", state.hostApi.free(leases.addresses[index] as DevicePtr, origin))
}
