/**
 * The plan of a run: where its tensors lie in the chunks. It depends on sizes and roles only, so it is made once per shape.
 *
 * Tensors are placed by role (inputs, inouts, outputs, scratch), so that in every chunk what is copied in lies in one
 * extent, what is copied out lies in one extent, and what is cleared lies in one extent:
 *
 *     | inputs | inouts | outputs | scratch |
 *     |--- copy in ---|
 *              |--- copy out ---|
 */
import { assert } from "../assert.ts"
import { BumpAllocator, noChunk, sliceBytes, type SliceRules } from "./bumpAllocator.ts"
import { add, alignUp, invalidSize } from "./sizes.ts"

/** What a tensor is to the plan. Placement follows the numbers. */
export const Role = { input: 0, inout: 1, output: 2, scratch: 3, none: 255 } as const
export type Role = (typeof Role)[keyof typeof Role]

const placementOrder = [Role.input, Role.inout, Role.output, Role.scratch] as const

/** A range of one chunk, for all chunks: `start[c]` to `end[c]`, empty where they are equal. */
export interface Extents {
  readonly startBytes: Float64Array
  readonly endBytes: Float64Array
}

export interface Plan {
  readonly _tag: "Plan"
  /** For each tensor the chunk it lies in, or `noChunk` where it occupies none. */
  readonly chunkIndex: Int32Array
  /** For each tensor its offset in that chunk. */
  readonly offsetBytes: Float64Array
  /** For each chunk the bytes that the run takes of it, padding included. */
  readonly usedBytes: Float64Array
  readonly copyIn: Extents
  readonly copyOut: Extents
  readonly outputs: Extents
  /** The sum over all chunks of `usedBytes`. */
  readonly totalBytes: number
  /** What of `totalBytes` is alignment, granularity and tail. */
  readonly paddingBytes: number
}

export interface PlanRefusal {
  readonly _tag: "PlanRefusal"
  readonly reason: "ExceedsChunk" | "Exhausted" | "Overflow"
  /** The tensor that did not fit. */
  readonly tensorIndex: number
  readonly requestedBytes: number
  /** `requestedBytes` with granularity and tail. */
  readonly alignedBytes: number
  /** Bytes that the tensors placed before it take, padding included. */
  readonly inUseBytes: number
  readonly largestFreeBytes: number
  readonly largestChunkBytes: number
  /** The size of one chunk in which all tensors fit, or `invalidSize` where no size is enough. */
  readonly singleChunkBytes: number
}

export interface PlanRequest {
  readonly byteCounts: Float64Array
  readonly roles: Uint8Array
  readonly baseAddresses: ReadonlyArray<number>
  readonly capacityBytes: ReadonlyArray<number>
  readonly rules: SliceRules
}

export const makePlan = (request: PlanRequest): Plan | PlanRefusal => {
  const { byteCounts, roles, rules } = request
  const count = byteCounts.length
  assert(roles.length === count, "every tensor has a role")
  const allocator = new BumpAllocator(request.baseAddresses, request.capacityBytes, rules)
  allocator.begin()
  const chunkIndex = new Int32Array(count).fill(noChunk)
  const offsetBytes = new Float64Array(count)
  let requestedBytes = 0
  for (const role of placementOrder) {
    for (let index = 0; index < count; index++) {
      const byteCount = byteCounts[index]!
      if (roles[index] !== role || byteCount === 0) {
        continue
      }
      const chunk = sliceBytes(byteCount, rules) === invalidSize ? noChunk : allocator.take(byteCount)
      if (chunk === noChunk) {
        return refuse(request, allocator, index)
      }
      chunkIndex[index] = chunk
      offsetBytes[index] = allocator.offsetBytes
      requestedBytes += byteCount
    }
  }
  const usedBytes = closeChunks(allocator, rules)
  const totalBytes = usedBytes.reduce((sum, bytes) => sum + bytes, 0)
  const extentsOf = (first: Role, last: Role): Extents =>
    extents(request, { chunkIndex, offsetBytes, chunkCount: allocator.chunkCount, first, last })
  return {
    _tag: "Plan",
    chunkIndex,
    offsetBytes,
    usedBytes,
    copyIn: extentsOf(Role.input, Role.inout),
    copyOut: extentsOf(Role.inout, Role.output),
    outputs: extentsOf(Role.output, Role.output),
    totalBytes,
    paddingBytes: totalBytes - requestedBytes
  }
}

/** The size of one chunk in which all tensors of a request fit, or `invalidSize`. */
export const singleChunkBytes = (
  byteCounts: Float64Array,
  roles: Uint8Array,
  rules: SliceRules
): number => {
  let end = 0
  for (const role of placementOrder) {
    for (let index = 0; index < byteCounts.length; index++) {
      if (roles[index] === role && byteCounts[index]! > 0 && end !== invalidSize) {
        end = add(alignUp(end, rules.alignmentBytes), sliceBytes(byteCounts[index]!, rules))
      }
    }
  }
  return alignUp(end, rules.granularityBytes)
}

/** Checks a plan against the request it was made for. */
export const checkPlanInvariants = (plan: Plan, request: PlanRequest): void => {
  const { byteCounts, capacityBytes, roles, rules } = request
  for (let index = 0; index < byteCounts.length; index++) {
    const chunk = plan.chunkIndex[index]!
    const placed = roles[index] !== Role.none && byteCounts[index]! > 0
    assert(placed === (chunk !== noChunk), "what has bytes and a role is placed, and nothing else")
    if (chunk === noChunk) {
      continue
    }
    const start = plan.offsetBytes[index]!
    const end = start + sliceBytes(byteCounts[index]!, rules)
    assert(
      (request.baseAddresses[chunk]! + start) % rules.alignmentBytes === 0,
      "a slice is aligned in absolute address"
    )
    assert(start >= 0, "a slice starts inside its chunk")
    assert(end <= plan.usedBytes[chunk]!, "a slice ends inside what the run takes")
    assert(plan.usedBytes[chunk]! <= capacityBytes[chunk]!, "a run takes no more than its chunks hold")
    for (let other = 0; other < index; other++) {
      if (plan.chunkIndex[other] === chunk) {
        const otherStart = plan.offsetBytes[other]!
        const otherEnd = otherStart + sliceBytes(byteCounts[other]!, rules)
        assert(otherEnd <= start || end <= otherStart, "slices do not overlap")
      }
    }
  }
}

/**
 * What the run takes of each chunk. The padding up to the next alignment boundary belongs to the run too, so that it is
 * cleared with it.
 */
const closeChunks = (allocator: BumpAllocator, rules: SliceRules): Float64Array =>
  allocator.usedBytes.map((used, chunk) => {
    if (used === 0) {
      return 0
    }
    const base = allocator.baseAddresses[chunk]!
    const closed = alignUp(base + used, rules.alignmentBytes) - base
    return closed > used ? Math.min(closed, allocator.capacityBytes[chunk]!) : used
  })

const extents = (
  request: PlanRequest,
  options: {
    readonly chunkIndex: Int32Array
    readonly offsetBytes: Float64Array
    readonly chunkCount: number
    readonly first: Role
    readonly last: Role
  }
): Extents => {
  const startBytes = new Float64Array(options.chunkCount).fill(Infinity)
  const endBytes = new Float64Array(options.chunkCount)
  for (let index = 0; index < request.byteCounts.length; index++) {
    const role = request.roles[index]!
    const chunk = options.chunkIndex[index]!
    if (chunk !== noChunk && role >= options.first && role <= options.last) {
      const start = options.offsetBytes[index]!
      startBytes[chunk] = Math.min(startBytes[chunk]!, start)
      endBytes[chunk] = Math.max(endBytes[chunk]!, start + request.byteCounts[index]!)
    }
  }
  for (let chunk = 0; chunk < options.chunkCount; chunk++) {
    if (startBytes[chunk] === Infinity) {
      startBytes[chunk] = 0
    }
  }
  return { startBytes, endBytes }
}

const refuse = (request: PlanRequest, allocator: BumpAllocator, tensorIndex: number): PlanRefusal => {
  const requestedBytes = request.byteCounts[tensorIndex]!
  const alignedBytes = sliceBytes(requestedBytes, request.rules)
  const largestChunkBytes = request.capacityBytes.reduce((largest, bytes) => Math.max(largest, bytes), 0)
  const reason = alignedBytes === invalidSize
    ? "Overflow"
    : alignedBytes > largestChunkBytes
    ? "ExceedsChunk"
    : "Exhausted"
  return {
    _tag: "PlanRefusal",
    reason,
    tensorIndex,
    requestedBytes,
    alignedBytes,
    inUseBytes: allocator.inUseBytes(),
    largestFreeBytes: allocator.largestFreeBytes(),
    largestChunkBytes,
    singleChunkBytes: singleChunkBytes(request.byteCounts, request.roles, request.rules)
  }
}
