/**
 * Moving one tensor between the host and the device outside the tables of a run: uploads and downloads of residents, and
 * what a launch in TypeScript reads and writes.
 */
import * as Effect from "effect/Effect"
import { InvalidArgument } from "../../Errors.ts"
import { type HostApiError, mayHaveMoved, type Origin, type Purpose, type Transfers } from "../../HostApi.ts"
import { TransferKind, TransferTable } from "../core/transferTable.ts"
import { isResizable, viewBuffer, viewByteLength } from "../hostViews.ts"
import { laterCall } from "./calls.ts"
import type { RunnerState } from "./state.ts"

export interface SingleMove {
  readonly purpose: Extract<Purpose, "upload" | "download" | "read" | "write">
  readonly name: string
  readonly runId: number
  readonly deviceAddress: number
  readonly view: ArrayBufferView
  /** The bytes of the view when it was checked. */
  readonly byteCount: number
  /** Whether the view's memory belongs to the runner, so that nobody can detach it. */
  readonly owned: boolean
}

/** Refuses plain views that would block the event loop for too long. */
export const checkInlineSize = (
  state: RunnerState,
  move: Pick<SingleMove, "name" | "byteCount" | "owned">
): InvalidArgument | undefined => {
  const { maxInlineCopyBytes } = state.settings
  return move.owned || move.byteCount <= maxInlineCopyBytes ? undefined : new InvalidArgument({
    reason: "InlineCopyTooLarge",
    argument: move.name,
    detail:
      `has ${move.byteCount} B, above maxInlineCopyBytes ${maxInlineCopyBytes}; use a host tensor, or move it in parts`
  })
}

/** Whether a move goes through staging, because its view can be touched in one synchronous stretch only. */
const isStaged = (state: RunnerState, move: Pick<SingleMove, "owned">): boolean =>
  !state.hostApi.traits.answersAtOnce && !move.owned

/**
 * Whether a download that failed may have written its view in part. A host tensor is the device's to write whatever goes
 * wrong; a plain view is written by the one call that names it.
 */
export const mayHaveWritten = (
  state: RunnerState,
  move: Pick<SingleMove, "purpose" | "owned">,
  error: HostApiError
): boolean =>
  move.purpose === "download" &&
  (move.owned || (mayHaveMoved(error.status) && (!isStaged(state, move) || error.operation === "collect")))

/** Copies a view to the device, or the device's bytes to a view. The caller has entered the gate. */
export const moveBytes = (state: RunnerState, move: SingleMove): Effect.Effect<void, HostApiError> => {
  const inwards = move.purpose === "upload" || move.purpose === "write"
  const origin: Origin = { purpose: move.purpose, runId: move.runId, names: [move.name] }
  return Effect.suspend(() => {
    if (!isStaged(state, move)) {
      return state.hostApi.submit(inwards ? "in" : "out", directTable(state, move, inwards), origin)
    }
    return inwards
      ? state.hostApi.submit("in", stagedTable(state, move, "in"), { ...origin, names: [move.name, move.name] })
      : Effect.zipRight(
        state.hostApi.submit("out", stagedTable(state, move, "out"), origin),
        laterCall(state, Effect.suspend(() => state.hostApi.collect(stagedTable(state, move, "collect"), origin)))
      )
  }).pipe(Effect.tap(() => Effect.sync(() => countMove(state, move, inwards))))
}

const countMove = (state: RunnerState, move: SingleMove, inwards: boolean): void => {
  state.counters.transfers += 1
  if (inwards) {
    state.counters.hostToDeviceBytes += move.byteCount
  } else {
    state.counters.deviceToHostBytes += move.byteCount
  }
}

/** A table whose view is looked at again in the synchronous stretch of the native call. */
const transfers = (
  state: RunnerState,
  move: SingleMove,
  table: TransferTable,
  options: { readonly offThread: boolean; readonly setAddress: ((address: number) => void) | undefined }
): Transfers => ({
  cells: table.cells,
  count: table.count,
  offThread: options.offThread,
  refresh: () => {
    if (options.setAddress === undefined) {
      return -1
    }
    const intact = viewByteLength(move.view) === move.byteCount && !isResizable(viewBuffer(move.view))
    if (intact) {
      options.setAddress(state.hostApi.hostAddress(move.view))
    }
    return intact ? -1 : 0
  }
})

const directTable = (state: RunnerState, move: SingleMove, inwards: boolean): Transfers => {
  const table = new TransferTable(1)
  // What the runner owns may be large, and may leave the loop's thread.
  const offThread = move.owned && move.byteCount > state.settings.maxInlineCopyBytes
  if (inwards) {
    table.push(TransferKind.copyIn, move.deviceAddress, 0, move.byteCount)
    return transfers(state, move, table, { offThread, setAddress: (address) => table.setSource(0, address) })
  }
  table.push(TransferKind.copyOut, 0, move.deviceAddress, move.byteCount)
  return transfers(state, move, table, { offThread, setAddress: (address) => table.setDestination(0, address) })
}

const stagedTable = (state: RunnerState, move: SingleMove, part: "in" | "out" | "collect"): Transfers => {
  const table = new TransferTable(2)
  const { address: staging } = state.moveStaging
  const { byteCount, deviceAddress } = move
  if (part === "in") {
    table.push(TransferKind.hostCopy, staging, 0, byteCount)
    table.push(TransferKind.copyIn, deviceAddress, staging, byteCount)
    return transfers(state, move, table, { offThread: false, setAddress: (address) => table.setSource(0, address) })
  }
  if (part === "out") {
    table.push(TransferKind.copyOut, staging, deviceAddress, byteCount)
    return transfers(state, move, table, { offThread: false, setAddress: undefined })
  }
  table.push(TransferKind.hostCopy, 0, staging, byteCount)
  return transfers(state, move, table, { offThread: false, setAddress: (address) => table.setDestination(0, address) })
}
