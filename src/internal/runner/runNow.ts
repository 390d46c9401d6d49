/**
 * A whole run as one synchronous stretch: for a backend that answers at once and a kernel that is launched inline. Nothing
 * can interrupt it, and nothing is allocated per tensor.
 */
import type { DevicePtr } from "../../DevicePtr.ts"
import type { DeviceFailed, DeviceOutOfMemory, InvalidArgument, TransferFailed } from "../../Errors.ts"
import { type HostApiError, type Immediate, Status } from "../../HostApi.ts"
import type { LaunchError, RunError, ValidateError } from "../../Run.ts"
import { assert } from "../assert.ts"
import { sliceBytes } from "../core/bumpAllocator.ts"
import { LeaseKind } from "../core/leaseTable.ts"
import type { ActiveRun } from "./activeRun.ts"
import { finishRun } from "./beginRun.ts"
import { allocationFailure, launchFailure, transferFailure } from "./failures.ts"
import { countLease, countTable, settleLease } from "./leases.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import type { RunnerState } from "./state.ts"

/** The plain functions with which a callable can run now, or `undefined` where it has to be awaited. */
export const immediateFor = (state: RunnerState, prepared: PreparedCallable): Immediate | undefined =>
  prepared.kernel !== undefined && prepared.execution === "inline" && !state.lanes.busy
    ? state.hostApi.immediate
    : undefined

/** Carries out a run that has begun, to its end. Answers why it failed, or `undefined`. */
export const runNow = (state: RunnerState, immediate: Immediate, run: ActiveRun): RunError | undefined => {
  try {
    return bindNow(state, immediate, run) ?? launchNow(state, immediate, run) ?? copyBackNow(state, immediate, run)
  } finally {
    endNow(state, immediate, run)
  }
}

const observed = (state: RunnerState, error: HostApiError): HostApiError => {
  state.observe(error)
  return error
}

export const bindNow = (
  state: RunnerState,
  immediate: Immediate,
  run: ActiveRun
): DeviceOutOfMemory | DeviceFailed | TransferFailed | InvalidArgument | undefined => {
  const { tables } = run
  if (tables.hasFreeLeases) {
    const failure = mallocNow(state, immediate, run)
    if (failure !== undefined) {
      return failure
    }
  }
  const table = tables.stage.inline
  if (table === undefined) {
    return undefined
  }
  state.counters.stageCalls += 1
  const status = immediate.submit("in", table, tables.stageOrigin)
  if (status !== Status.Ok) {
    return transferFailure(run, observed(state, immediate.lastFailure("submit", status)), "stage", table)
  }
  countTable(state, table)
  return undefined
}

const mallocNow = (
  state: RunnerState,
  immediate: Immediate,
  run: ActiveRun
): DeviceOutOfMemory | DeviceFailed | undefined => {
  const { tables } = run
  const { leases, parameters } = tables
  for (let index = 0; index < leases.count; index++) {
    if (leases.kinds[index] !== LeaseKind.free) {
      continue
    }
    const name = parameters[index]!.name
    const requestedBytes = sliceBytes(tables.byteCounts[index]!, state.rules)
    const status = immediate.malloc(requestedBytes, state.rules.alignmentBytes, run.origin("tensor", [name]))
    if (status !== Status.Ok) {
      const error = observed(state, immediate.lastFailure("malloc", status))
      return allocationFailure(state, error, { purpose: `"${name}"`, requestedBytes })
    }
    leases.hold(index, LeaseKind.free, immediate.mallocResult(), tables.byteCounts[index]!)
    countLease(state, requestedBytes)
  }
  tables.bindLeases()
  return undefined
}

export const launchNow = (state: RunnerState, immediate: Immediate, run: ActiveRun): LaunchError | undefined => {
  const { kernel } = run.prepared
  assert(kernel !== undefined, "a kernel is loaded before its run begins")
  const status = immediate.launch(kernel, run.tables.launch, run.tables.launchOrigin)
  if (status !== Status.Ok) {
    return launchFailure(state, run, observed(state, immediate.lastFailure("launch", status)))
  }
  state.counters.launches += 1
  return undefined
}

export const copyBackNow = (state: RunnerState, immediate: Immediate, run: ActiveRun): ValidateError | undefined => {
  const table = run.tables.copyBack.inline
  if (table !== undefined) {
    state.counters.copyBackCalls += 1
    const status = immediate.submit("out", table, run.tables.copyBackOrigin)
    if (status !== Status.Ok) {
      return transferFailure(run, observed(state, immediate.lastFailure("submit", status)), "copyBack", table)
    }
    countTable(state, table)
  }
  run.succeeded = true
  return undefined
}

/** Settles what was malloc'd for the run, newest first, and gives the slot back. */
export const endNow = (state: RunnerState, immediate: Immediate, run: ActiveRun): void => {
  const { leases } = run.tables
  for (let index = leases.newestHeldFree(); index >= 0; index = leases.newestHeldFree()) {
    settleLease(state, run, index, freeNow(state, immediate, run, index))
  }
  finishRun(state, run)
}

/** Frees one lease. A release that throws is a release that failed: it must not stop the others, nor hide what came first. */
const freeNow = (state: RunnerState, immediate: Immediate, run: ActiveRun, index: number): number | undefined => {
  if (state.isPoisoned) {
    return undefined
  }
  try {
    const { leases, parameters } = run.tables
    const origin = run.origin("tensor", [parameters[index]!.name])
    const status = immediate.free(leases.addresses[index] as DevicePtr, origin)
    if (status !== Status.Ok) {
      state.observe(immediate.lastFailure("free", status))
    }
    return status
  } catch {
    return Status.DeviceLost
  }
}
