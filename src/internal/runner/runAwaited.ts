/**
 * A run step by step, each step an Effect: for backends whose work outlasts a call, for kernels off the event loop's
 * thread, and for runs that users launch and validate themselves.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Any as AnyCallable } from "../../Callable.ts"
import type { DevicePtr } from "../../DevicePtr.ts"
import { InvalidArgument, RunnerClosed, type RunnerPoisoned, StaleRun } from "../../Errors.ts"
import type { HostApiError, Lane } from "../../HostApi.ts"
import type { BindError, LaunchError, ValidateError } from "../../Run.ts"
import { assert } from "../assert.ts"
import type { Account } from "../core/account.ts"
import { sliceBytes } from "../core/bumpAllocator.ts"
import { LeaseKind } from "../core/leaseTable.ts"
import type { ActiveRun } from "./activeRun.ts"
import { admitLater, type Restore } from "./admit.ts"
import { beginNow, checkAgain, dropFrame, finishRun, readRun } from "./beginRun.ts"
import { awaitIdle, callWithDeadline, release } from "./calls.ts"
import type { GivenDims } from "./dimensions.ts"
import { allocationFailure, launchFailure, transferFailure } from "./failures.ts"
import { Frame } from "./frame.ts"
import { launchContext } from "./launchContext.ts"
import { countLease, countTable, settleLease } from "./leases.ts"
import { loadCallable } from "./loading.ts"
import type { Moves } from "./moves.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import type { RunnerState } from "./state.ts"
import { immediateMoves, launchInline, stageNow, validateNow, withWarnings } from "./stepsNow.ts"
import type { ViewTable } from "./viewTable.ts"

/** What is asked of a runner: a run of a callable, on behalf of an account. */
export interface RunRequest {
  readonly account: Account
  readonly callable: AnyCallable
  readonly args: unknown
  readonly dims: GivenDims | undefined
}

/** How a run is begun: how its wait can be interrupted, and whether its calls can be. */
export interface BeginOptions {
  readonly restore: Restore
  /** Whether the user's own region lets the run be interrupted. */
  readonly isInterruptible: boolean
}

/**
 * Begins a run and stages it, in an uninterruptible region of the caller's. Whatever fails before it succeeds, the run has
 * ended.
 */
export const acquireRun = (
  state: RunnerState,
  request: RunRequest,
  options: BeginOptions
): Effect.Effect<ActiveRun, BindError> =>
  Effect.suspend(() => {
    const prepared = state.prepared.get(request.callable)
    return prepared?.isLoaded === true
      ? readAndBegin(state, prepared, request, options)
      : Effect.flatMap(
        loadCallable(state, request.callable),
        (loaded) => readAndBegin(state, loaded, request, options)
      )
  })

const readAndBegin = (
  state: RunnerState,
  prepared: PreparedCallable,
  { account, args, dims }: RunRequest,
  options: BeginOptions
): Effect.Effect<ActiveRun, BindError> => {
  const frame = readRun(state, prepared, args, dims)
  return frame instanceof Frame ? beginAndStage(state, account, frame, options) : Effect.fail(frame)
}

/** Begins a run that was read some steps ago, in which the runner may have changed, and stages it. */
export const beginRead = (
  state: RunnerState,
  account: Account,
  frame: Frame,
  options: BeginOptions
): Effect.Effect<ActiveRun, BindError> =>
  Effect.suspend(() => {
    const refusal = state.planRefusal(`a run of ${frame.prepared.name}`) ?? checkAgain(state, frame)
    if (refusal === undefined) {
      return beginAndStage(state, account, frame, options)
    }
    dropFrame(state, frame)
    return Effect.fail(refusal)
  })

/** Begins a run that was read, and stages it. */
const beginAndStage = (
  state: RunnerState,
  account: Account,
  frame: Frame,
  { isInterruptible, restore }: BeginOptions
): Effect.Effect<ActiveRun, BindError> => {
  const begun = (run: ActiveRun): Effect.Effect<ActiveRun, BindError> => {
    run.isInterruptible = isInterruptible
    const immediate = immediateMoves(state, run, "in")
    return immediate === undefined ? stage(state, run) : stageNow(state, immediate, run)
  }
  const run = beginNow(state, account, frame)
  return run === undefined ? admitLater(state, { account, frame, restore, begun }) : begun(run)
}

/** Stages a run that has begun. When that fails, the run has ended. */
const stage = (state: RunnerState, run: ActiveRun): Effect.Effect<ActiveRun, BindError> =>
  mallocLeases(state, run).pipe(
    Effect.zipRight(submitAll(state, run, "in", run.tables.stage)),
    Effect.map(() => {
      if (run.phase === "Binding") {
        run.phase = "Bound"
      }
      return run
    }),
    // Nobody else holds the run yet: only the closing of the runner can have ended it.
    Effect.catchTag("StaleRun", () => Effect.fail(new RunnerClosed({ operation: "bind" }))),
    Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : endRun(state, run)),
    Effect.uninterruptible
  )

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
    return callForRun(state, run, {
      lane: "all",
      operation: "malloc",
      // The lease is held in the very step in which the address arrives, so that no failure or interruption comes between.
      work: () =>
        Effect.map(
          state.hostApi.malloc(requestedBytes, state.rules.alignmentBytes, origin),
          (address) => holdLease(state, run, index, address)
        ),
      explain: (error) => allocationFailure(state, error, { purpose: `"${name}"`, requestedBytes })
    })
  })

/** Takes in what a malloc returned. A run that was given up meanwhile cannot hold it: it goes to quarantine. */
const holdLease = (state: RunnerState, run: ActiveRun, index: number, address: number): void => {
  const byteCount = run.tables.byteCounts[index]!
  const allocatedBytes = sliceBytes(byteCount, state.rules)
  if (run.phase === "Ended") {
    state.counters.mallocs += 1
    state.quarantine(allocatedBytes, "tensors")
  } else {
    run.tables.leases.hold(index, LeaseKind.free, address, byteCount)
    countLease(state, allocatedBytes)
  }
}

/** Submits the tables of one direction: first what leaves the thread, then what touches plain views. */
const submitAll = (
  state: RunnerState,
  run: ActiveRun,
  lane: Lane,
  moves: Moves<ViewTable>
): Effect.Effect<void, ValidateError> => {
  const { apart, collect, inline } = moves
  const last = collect ?? inline ?? apart
  if (last === undefined) {
    return Effect.sync(() => moved(run, lane))
  }
  const step = (table: ViewTable | undefined, part: "submit" | "collect"): Effect.Effect<void, ValidateError> =>
    table === undefined ? Effect.void : move(state, run, lane, { table, part, isLast: table === last })
  return step(apart, "submit").pipe(
    Effect.zipRight(step(inline, "submit")),
    Effect.zipRight(step(collect, "collect"))
  )
}

/** The last table of a direction has been carried out. */
const moved = (run: ActiveRun, lane: Lane): void => {
  if (lane === "out") {
    run.succeeded = true
  }
}

const move = (
  state: RunnerState,
  run: ActiveRun,
  lane: Lane,
  options: { readonly table: ViewTable; readonly part: "submit" | "collect"; readonly isLast: boolean }
): Effect.Effect<void, ValidateError> => {
  const { isLast, part, table } = options
  const step = lane === "in" ? "stage" : "copyBack"
  return callForRun(state, run, {
    lane,
    operation: step,
    work: () => {
      const origin = run.origin(step, table.names)
      if (part === "submit") {
        countSubmit(state, lane)
      }
      const work = part === "submit"
        ? state.hostApi.submit(lane, table, origin)
        : state.hostApi.collect(table, origin)
      // In the very step in which the bytes have arrived: a run is not failed whose views have changed.
      return Effect.map(work, () => {
        countTable(state, table)
        if (isLast) {
          moved(run, lane)
        }
      })
    },
    explain: (error) => transferFailure(run, error, step, table)
  })
}

const countSubmit = (state: RunnerState, lane: Lane): void => {
  if (lane === "in") {
    state.counters.stageCalls += 1
  } else {
    state.counters.copyBackCalls += 1
  }
}

/**
 * Makes a call when its turn on its lane has come, if the run is still there by then: the runner may have been closed, and the
 * run ended, while the call waited. A failure is explained before the turn is over, as long as the run is still there.
 */
const callForRun = <A, E>(
  state: RunnerState,
  run: ActiveRun,
  options: {
    /** What allocates has all lanes to itself. */
    readonly lane: Lane | "all"
    readonly operation: string
    readonly work: () => Effect.Effect<A, HostApiError>
    readonly explain: (error: HostApiError) => E
  }
): Effect.Effect<A, E | RunnerClosed | RunnerPoisoned | StaleRun> => {
  const { explain, lane, operation, work } = options
  const turn = Effect.suspend((): Effect.Effect<A, E | RunnerClosed | RunnerPoisoned | StaleRun> => {
    run.callsInFlight += 1
    const refusal = handleRefusal(state, run, operation)
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    const { isInterruptible } = run
    const touched = (): ReadonlyArray<unknown> => [run.tables, ...run.bindings.values, ...run.bindings.records]
    return callWithDeadline(state, { operation, isInterruptible, touched, explain }, work)
  })
  const landed = (): void => {
    run.callsInFlight -= 1
    state.notify()
  }
  return lane === "all" ? state.lanes.exclusively(turn, landed) : state.lanes.through(lane, turn, landed)
}

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
    const { callable, execution, kernel } = run.prepared
    const { immediate } = state.hostApi
    if (execution === "inline" && kernel !== undefined && immediate !== undefined && !state.lanes.isBusy("compute")) {
      return launchInline(state, immediate, run)
    }
    const { implementation } = callable
    return implementation._tag === "Native"
      ? launchNative(state, run)
      : Effect.onExit(
        launchTypeScript(state, run, implementation.launch),
        (exit) => Effect.sync(() => launchEnded(run, Exit.isSuccess(exit)))
      )
  })

/** Unless the run was ended meanwhile, it can be validated now, or only end. */
const launchEnded = (run: ActiveRun, isSuccess: boolean): void => {
  if (run.phase === "Launching") {
    run.phase = isSuccess ? "Launched" : "Failed"
  }
}

const launchNative = (state: RunnerState, run: ActiveRun): Effect.Effect<void, LaunchError> => {
  const { kernel } = run.prepared
  assert(kernel !== undefined, "a kernel is loaded before its run begins")
  const { launch, launchOrigin } = run.tables
  const launched = callForRun(state, run, {
    lane: "compute",
    operation: "launch",
    // In the very step in which it has ended: an interruption may come right after.
    work: () =>
      Effect.map(state.hostApi.launch(kernel, launch, launchOrigin), () => {
        state.counters.launches += 1
      }),
    explain: (error) => launchFailure(state, run, error)
  })
  // Uninterruptible, because what follows a call is passed over where an interruption came meanwhile.
  return Effect.uninterruptible(Effect.matchCauseEffect(launched, {
    onFailure: (cause) => {
      launchEnded(run, false)
      return Effect.failCause(cause)
    },
    onSuccess: () => {
      launchEnded(run, true)
      return Effect.void
    }
  }))
}

const launchTypeScript = (
  state: RunnerState,
  run: ActiveRun,
  launch: (context: never) => Effect.Effect<void, unknown>
): Effect.Effect<void, unknown> =>
  Effect.suspend((): Effect.Effect<void, unknown> => {
    // The run may have been ended since it was asked: its arguments may be another run's by now.
    const refusal = handleRefusal(state, run, "launch")
    return refusal === undefined ? launch(launchContext(state, run) as never) : Effect.fail(refusal)
  }).pipe(
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
    const immediate = immediateMoves(state, run, "out")
    if (immediate !== undefined) {
      return validateNow(state, immediate, run)
    }
    return Effect.onExit(submitAll(state, run, "out", run.tables.copyBack), () => endRun(state, run))
  })

/**
 * Ends a run: waits for the call in flight, settles what was malloc'd for it, and gives the slot back. Idempotent; the one
 * release path of bind, validate, the run's scope and the runner's close.
 */
export const endRun = (state: RunnerState, run: ActiveRun): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (run.phase === "Ended") {
      return Effect.void
    }
    const isSettled = run.tables.leases.heldFreeCount === 0
    if (run.callsInFlight === 0 && isSettled) {
      finishRun(state, run)
      return withWarnings(state, Effect.void)
    }
    // A call of its own may be in flight in another fiber, and never end.
    const landed = run.callsInFlight === 0
      ? Effect.void
      : awaitIdle(state, "end", () => run.callsInFlight === 0)
    return landed.pipe(
      Effect.zipRight(state.lanes.exclusively(Effect.suspend(() => settleAndFinish(state, run)))),
      Effect.zipRight(state.logWarnings)
    )
  }).pipe(Effect.uninterruptible)

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

const freeLease = (state: RunnerState, run: ActiveRun, index: number): Effect.Effect<number | undefined> => {
  if (state.isPoisoned) {
    return Effect.succeed(undefined)
  }
  const { leases, parameters } = run.tables
  const origin = run.origin("tensor", [parameters[index]!.name])
  return release(state, "free", state.hostApi.free(leases.addresses[index] as DevicePtr, origin))
}
