/**
 * Turning a device's failure into the error that a caller acts on. Errors are built here, on failure only.
 */
import { DeviceFailed, DeviceOutOfMemory, InvalidArgument, LaunchFailed, TransferFailed } from "../../Errors.ts"
import { HostApiError, isSticky, mayHaveMoved, Status } from "../../HostApi.ts"
import { Role } from "../core/plan.ts"
import type { ActiveRun } from "./activeRun.ts"
import { Form } from "./bindings.ts"
import type { RunnerState } from "./state.ts"
import type { ViewTable } from "./viewTable.ts"

/** A device's own account of a failure. */
type DeviceFields = Pick<
  HostApiError,
  "operation" | "status" | "statusName" | "deviceCode" | "deviceName" | "detail"
>

/** Takes a device's own account of a failure over into another error. */
export const deviceFields = (error: DeviceFields): DeviceFields => ({
  operation: error.operation,
  status: error.status,
  statusName: error.statusName,
  deviceCode: error.deviceCode,
  deviceName: error.deviceName,
  detail: error.detail
})

/** An allocation failed. */
export const allocationFailure = (
  state: RunnerState,
  error: HostApiError,
  request: { readonly purpose: string; readonly requestedBytes: number }
): DeviceOutOfMemory | DeviceFailed =>
  error.status === Status.OutOfMemory || error.status === Status.HostOutOfMemory
    ? new DeviceOutOfMemory({
      ...deviceFields(error),
      ...request,
      runner: state.lifecycle._tag === "Unconfigured" ? "unconfigured" : "ready"
    })
    : deviceFailure(state, error)

export const deviceFailure = (state: RunnerState, error: DeviceFields): DeviceFailed =>
  new DeviceFailed({
    ...deviceFields(error),
    runner: state.isPoisoned ? "poisoned" : state.lifecycle._tag === "Unconfigured" ? "unconfigured" : "ready"
  })

/** A host view of a run was detached before its table was submitted. */
export const detachedFailure = (
  run: ActiveRun,
  step: "stage" | "copyBack",
  table: ViewTable
): TransferFailed | InvalidArgument =>
  transferFailure(
    run,
    new HostApiError({
      operation: "submit",
      status: Status.InvalidArgument,
      statusName: "InvalidArgument",
      deviceCode: 0,
      deviceName: "",
      detail: "a host view was detached or resized",
      entryIndex: -1
    }),
    step,
    table
  )

/** A transfer that belongs to no run failed. */
export const moveFailure = (
  error: HostApiError,
  step: TransferFailed["step"],
  tensor: string,
  hostOutputs: TransferFailed["hostOutputs"]
): TransferFailed =>
  new TransferFailed({
    ...deviceFields(error),
    hostOutputs,
    indeterminateResidents: [],
    step,
    tensor,
    sticky: isSticky(error.status)
  })

/** A transfer of a run failed. A view that is gone since it was checked is the caller's doing, not the device's. */
export const transferFailure = (
  run: ActiveRun,
  error: HostApiError,
  step: "stage" | "copyBack",
  table: ViewTable
): TransferFailed | InvalidArgument => {
  const aftermath = {
    hostOutputs: step === "copyBack" && (writesHostTensors(run) || (table.touchesViews && mayHaveMoved(error.status)))
      ? "indeterminate" as const
      : "unchanged" as const,
    // Once the launch has been, a kernel may have written every resident that it may write.
    indeterminateResidents: step === "copyBack" ? [...run.prepared.readWriteResidents] : []
  }
  const gone = run.tables.parameters.find((parameter) => !run.bindings.isViewIntact(parameter.index))
  if (gone !== undefined && error.status === Status.InvalidArgument) {
    return new InvalidArgument({
      reason: "Detached",
      argument: gone.name,
      detail: "was detached or resized while its run was bound",
      ...aftermath
    })
  }
  return new TransferFailed({
    ...deviceFields(error),
    ...aftermath,
    step,
    tensor: table.names[error.entryIndex] ?? "",
    sticky: isSticky(error.status)
  })
}

/** Whether the device writes host tensors of the run directly. */
const writesHostTensors = (run: ActiveRun): boolean =>
  run.tables.parameters.some((parameter) =>
    run.bindings.forms[parameter.index] === Form.hostTensor && run.tables.byteCounts[parameter.index]! > 0 &&
    (parameter.role === Role.inout || parameter.role === Role.output)
  )

const launchReason = (status: number): LaunchFailed["reason"] => {
  switch (status) {
    case Status.LaunchFailed:
      return "Kernel"
    case Status.LibraryNotLoaded:
      return "LibraryNotLoaded"
    case Status.SymbolNotFound:
      return "SymbolNotFound"
    case Status.OutOfRange:
    case Status.UseAfterFree:
    case Status.ForeignPointer:
    case Status.Misaligned:
    case Status.InvalidArgument:
      return "Argument"
    default:
      return isSticky(status) ? "DeviceLost" : "Device"
  }
}

/** A launch failed. */
export const launchFailure = (state: RunnerState, run: ActiveRun, error: HostApiError): LaunchFailed =>
  new LaunchFailed({
    ...deviceFields(error),
    reason: launchReason(error.status),
    callable: run.name,
    argument: run.tables.launchOrigin.names[error.entryIndex] ?? "",
    // A launch that answers within its own call is to blame itself; a late one may have met an earlier fault.
    attribution: state.hostApi.traits.answersAtOnce || !isSticky(error.status) ? "thisRun" : "unknown",
    hostOutputs: "unchanged",
    indeterminateResidents: [...run.prepared.readWriteResidents],
    sticky: isSticky(error.status)
  })

/** A kernel could not be loaded. */
export const loadFailure = (callable: string, error: HostApiError): LaunchFailed =>
  new LaunchFailed({
    ...deviceFields(error),
    reason: launchReason(error.status),
    callable,
    argument: "",
    attribution: "thisRun",
    hostOutputs: "unchanged",
    indeterminateResidents: [],
    sticky: isSticky(error.status)
  })
