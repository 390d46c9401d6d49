/**
 * What users see of a run's layout.
 */
import type { RunPlan } from "../../RunPlan.ts"
import * as TensorLease from "../../TensorLease.ts"
import { ArgumentKind } from "../core/argumentTable.ts"
import { Role } from "../core/plan.ts"
import { TransferKind } from "../core/transferTable.ts"
import type { Moves } from "./moves.ts"
import type { Parameter } from "./parameter.ts"
import type { RunLayout } from "./runLayout.ts"
import type { TableLayout } from "./viewTable.ts"

/** For each range of a run the chunk that it lies in, and where it starts there. */
export interface Placement {
  readonly chunkIndex: Int32Array
  readonly startBytes: Float64Array
}

/** Where the ranges of a run lie that is alone: each at the start of its chunk. */
export const alone = (layout: RunLayout): Placement => {
  const { length } = layout.demand.rangeBytes
  return { chunkIndex: Int32Array.from({ length }, (_, range) => range), startBytes: new Float64Array(length) }
}

export const describeRun = (layout: RunLayout, placement: Placement): RunPlan => {
  const leases: Array<TensorLease.TensorLease> = []
  for (const parameter of layout.parameters) {
    const lease = describeLease(layout, placement, parameter)
    if (lease !== undefined) {
      leases.push(lease)
    }
  }
  const bytesOf = (kind: TransferKind): number => movedBytes(layout.stage, kind) + movedBytes(layout.copyBack, kind)
  return {
    leases,
    dims: layout.resolution.dims,
    bufferBytes: layout.plan?.totalBytes ?? 0,
    paddingBytes: layout.plan?.paddingBytes ?? 0,
    deviceMallocs: leases.filter((lease) => lease._tag === "Free").length,
    hostToDeviceBytes: bytesOf(TransferKind.copyIn),
    deviceToHostBytes: bytesOf(TransferKind.copyOut),
    clearedBytes: bytesOf(TransferKind.fill),
    stagingBytes: layout.stagingBytes,
    stageCalls: calls(layout.stage),
    copyBackCalls: calls(layout.copyBack)
  }
}

const movedBytes = ({ apart, collect, inline }: Moves<TableLayout>, kind: TransferKind): number =>
  [inline, apart, collect]
    .flatMap((table) => table?.entries ?? [])
    .reduce((sum, entry) => entry.kind === kind ? sum + entry.byteCount : sum, 0)

const calls = (moves: Moves<TableLayout>): number =>
  (moves.inline === undefined ? 0 : 1) + (moves.apart === undefined ? 0 : 1)

const describeLease = (
  { byteCounts, plan }: RunLayout,
  placement: Placement,
  { index, kind, name, role }: Parameter
): TensorLease.TensorLease | undefined => {
  const byteCount = byteCounts[index]!
  const lease = { tensor: name, byteCount }
  if (byteCount === 0) {
    return undefined
  }
  if (kind === ArgumentKind.resident) {
    return TensorLease.externalNoop(lease)
  }
  if (role === Role.none) {
    return undefined
  }
  if (plan === undefined) {
    return TensorLease.free(lease)
  }
  const range = plan.rangeIndex[index]!
  return TensorLease.bufferNoop({
    ...lease,
    chunkIndex: placement.chunkIndex[range]!,
    offsetBytes: placement.startBytes[range]! + plan.offsetBytes[index]!
  })
}
