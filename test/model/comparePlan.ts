/** A plan of the core against the plan of the reference model, and the transfers that follow from it. */
import { noRange } from "../../src/internal/core/bumpAllocator.ts"
import { checkPlanInvariants, type Plan, type PlanRefusal, type PlanRequest } from "../../src/internal/core/plan.ts"
import { invalidSize } from "../../src/internal/core/sizes.ts"
import { TransferKind, TransferTable } from "../../src/internal/core/transferTable.ts"
import { holds, same } from "../core/same.ts"
import { lengthOf, type ModelPlan, modelRules, singleChunk, type Tensor } from "./coreModel.ts"

/** A size as the core counts it. */
const sizeOf = (bytes: bigint): number => bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : invalidSize

export const comparePlan = (
  made: Plan | PlanRefusal,
  request: PlanRequest,
  tensors: ReadonlyArray<Tensor>,
  expected: ModelPlan,
  /** Where the ranges lie that a run takes for it. */
  rangeAddresses: ReadonlyArray<number>
): void => {
  if (made._tag === "Plan") {
    same(expected.refused, undefined, "a plan that has no room is refused")
    checkPlanInvariants(made, request)
    compareLayout(made, tensors, expected, rangeAddresses)
    return
  }
  same(made.tensorIndex, expected.refused, "the tensor that has no room")
  const rules = modelRules(request.rules)
  const alignedBytes = sizeOf(lengthOf(tensors[made.tensorIndex]!.byteCount, rules))
  same(made.alignedBytes, alignedBytes, "what it would take")
  same(made.singleChunkBytes, sizeOf(singleChunk(rules, tensors)), "the chunk in which all would fit")
  same(made.largestChunkBytes, Math.max(0, ...request.capacityBytes), "the largest chunk")
  same(made.reason === "Overflow", alignedBytes === invalidSize, "what cannot be counted is Overflow")
  same(BigInt(made.inUseBytes), expected.used.reduce((sum, bytes) => sum + bytes, 0n), "what lies before it")
}

const compareLayout = (
  plan: Plan,
  tensors: ReadonlyArray<Tensor>,
  expected: ModelPlan,
  rangeAddresses: ReadonlyArray<number>
): void => {
  let logical = 0n
  for (const [index, slice] of expected.slices.entries()) {
    same(plan.rangeIndex[index], slice === undefined ? noRange : slice.chunk, "the range of a planned tensor")
    if (slice !== undefined) {
      same(BigInt(plan.offsetBytes[index]!), slice.start, "where a planned tensor starts")
      logical += BigInt(tensors[index]!.byteCount)
    }
  }
  for (const [range, used] of expected.used.entries()) {
    same(BigInt(plan.rangeBytes[range]!), used, "the bytes of a range")
  }
  const total = expected.used.reduce((sum, bytes) => sum + bytes, 0n)
  same(BigInt(plan.totalBytes), total, "what a plan takes")
  same(BigInt(plan.paddingBytes), total - logical, "what of it is padding")
  compareTransfers(plan, tensors, expected, rangeAddresses)
}

/** The transfers of a plan: each moves the bytes of its tensor and no more, inside the extent that the plan names. */
const compareTransfers = (
  plan: Plan,
  tensors: ReadonlyArray<Tensor>,
  expected: ModelPlan,
  rangeAddresses: ReadonlyArray<number>
): void => {
  const table = new TransferTable(tensors.length * 2)
  let bytesIn = 0n
  let bytesOut = 0n
  for (const [index, { byteCount, role }] of tensors.entries()) {
    const slice = expected.slices[index]
    if (slice === undefined) {
      continue
    }
    const address = rangeAddresses[slice.chunk]! + plan.offsetBytes[index]!
    const last = plan.offsetBytes[index]! + byteCount
    if (role === "input" || role === "inout") {
      const entry = table.push(TransferKind.copyIn, address, 4096, byteCount)
      same(
        BigInt(table.destination(entry)),
        BigInt(rangeAddresses[slice.chunk]!) + slice.start,
        "where bytes go"
      )
      holds(plan.copyIn.startBytes[slice.chunk]! <= plan.offsetBytes[index]!, "inputs lie in the extent copied in")
      holds(last <= plan.copyIn.endBytes[slice.chunk]!, "inputs end in the extent copied in")
      bytesIn += BigInt(byteCount)
    }
    if (role === "output" || role === "inout") {
      const entry = table.push(TransferKind.copyOut, 4096, address, byteCount)
      same(
        BigInt(table.source(entry)),
        BigInt(rangeAddresses[slice.chunk]!) + slice.start,
        "where bytes come from"
      )
      holds(plan.copyOut.startBytes[slice.chunk]! <= plan.offsetBytes[index]!, "outputs lie in the extent copied out")
      holds(last <= plan.copyOut.endBytes[slice.chunk]!, "outputs end in the extent copied out")
      bytesOut += BigInt(byteCount)
    }
  }
  table.checkInvariants()
  same(BigInt(table.bytesOf(TransferKind.copyIn)), bytesIn, "exactly the logical bytes are copied in")
  same(BigInt(table.bytesOf(TransferKind.copyOut)), bytesOut, "exactly the logical bytes are copied out")
}
