/**
 * Counting and settling what runs hold, for every way through a run.
 */
import { Status, statusName } from "../../HostApi.ts"
import { sliceBytes } from "../core/bumpAllocator.ts"
import type { ActiveRun } from "./activeRun.ts"
import { raiseHighWater } from "./beginRun.ts"
import type { RunnerState } from "./state.ts"
import type { ViewTable } from "./viewTable.ts"

/** Counts a table that the device has carried out. */
export const countTable = (state: RunnerState, table: ViewTable): void => {
  const { counters } = state
  counters.transfers += table.transferCount
  counters.hostToDeviceBytes += table.hostToDeviceBytes
  counters.deviceToHostBytes += table.deviceToHostBytes
}

/** Counts memory that was malloc'd for a run. */
export const countLease = (state: RunnerState, allocatedBytes: number): void => {
  state.counters.mallocs += 1
  state.counters.freeLeaseBytes += allocatedBytes
  raiseHighWater(state, state.counters.freeLeaseBytes, 0)
}

/**
 * Settles a `free` lease: released when the device took it back, in quarantine when it did not or could not be asked.
 * A failed release never takes the place of the error that came first: it is counted, and logged as a warning. `status` is
 * undefined where the device is lost already and was not asked.
 */
export const settleLease = (state: RunnerState, run: ActiveRun, index: number, status: number | undefined): void => {
  const { byteCounts, leases, parameters } = run.tables
  const allocatedBytes = sliceBytes(byteCounts[index]!, state.rules)
  state.counters.freeLeaseBytes -= allocatedBytes
  if (status === Status.Ok) {
    leases.release(index)
    state.counters.frees += 1
    return
  }
  leases.quarantine(index)
  state.quarantine(allocatedBytes, "tensors")
  if (status !== undefined) {
    releaseFailed(state, `"${parameters[index]!.name}"`, allocatedBytes, status)
  }
}

/** Counts a release that the device refused, and leaves a warning for whoever can log. */
export const releaseFailed = (state: RunnerState, what: string, byteCount: number, status: number): void => {
  state.counters.releaseFailures += 1
  state.warnings.push(
    `the device did not take back ${byteCount} B of ${what} (${statusName(status)}); they are in quarantine`
  )
}
