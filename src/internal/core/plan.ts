/**
 * The plan of a run: where its tensors lie in the ranges that the run takes, at most one for each chunk. It depends on sizes
 * and roles only, so it is made once per shape, wherever the ranges of a run come to lie.
 *
 * Tensors are placed by role (inputs, inouts, outputs, scratch), so that in every range what is copied in lies in one
 * extent, what is copied out lies in one extent, and what is cleared lies in one extent:
 *
 *     | inputs | inouts | outputs | scratch |
 *     |--- copy in ---|
 *              |--- copy out ---|
 */
import { assert } from "../assert.ts"
import { BumpAllocator, noRange, sliceBytes, type SliceRules } from "./bumpAllocator.ts"
import { add, alignUp, invalidSize } from "./sizes.ts"

/** What a tensor is to the plan. Placement follows the numbers. */
export const Role = { input: 0, inout: 1, output: 2, scratch: 3, none: 255 } as const
export type Role = (typeof Role)[keyof typeof Role]

const placementOrder = [Role.input, Role.inout, Role.output, Role.scratch] as const

/** A part of each range: `start[r]` to `end[r]`, empty where they are equal. */
export interface Extents {
  readonly startBytes: Float64Array
  readonly endBytes: Float64Array
}

export interface Plan {
  readonly _tag: "Plan"
  /** For each tensor the range it lies in, or `noRange` where it occupies none. */
  readonly rangeIndex: Int32Array
  /** For each tensor its offset in that range. */
  readonly offsetBytes: Float64Array
  /** The bytes of each range, padding included; 0 for one that the run does not need. */
  readonly rangeBytes: Float64Array
  readonly copyIn: Extents
  readonly copyOut: Extents
  readonly outputs: Extents
  /** The sum of `rangeBytes`. */
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
  /** The most bytes that each range can have: those of its chunk from the first aligned address on. */
  readonly capacityBytes: ReadonlyArray<number>
  readonly rules: SliceRules
}

export const makePlan = (request: PlanRequest): Plan | PlanRefusal => {
  const { byteCounts, roles, rules } = request
  const count = byteCounts.length
  assert(roles.length === count, "every tensor has a role")
  const allocator = new BumpAllocator(request.capacityBytes, rules)
  const rangeIndex = new Int32Array(count).fill(noRange)
  const offsetBytes = new Float64Array(count)
  let requestedBytes = 0
  for (const role of placementOrder) {
    for (let index = 0; index < count; index++) {
      const byteCount = byteCounts[index]!
      if (roles[index] !== role || byteCount === 0) {
        continue
      }
      const range = sliceBytes(byteCount, rules) === invalidSize ? noRange : allocator.take(byteCount)
      if (range === noRange) {
        return refuse(request, allocator, index)
      }
      rangeIndex[index] = range
      offsetBytes[index] = allocator.offsetBytes
      requestedBytes += byteCount
    }
  }
  const rangeBytes = closeRanges(allocator, rules)
  const totalBytes = rangeBytes.reduce((sum, bytes) => sum + bytes, 0)
  const extentsOf = (first: Role, last: Role): Extents =>
    extents(request, { rangeIndex, offsetBytes, rangeCount: allocator.rangeCount, first, last })
  return {
    _tag: "Plan",
    rangeIndex,
    offsetBytes,
    rangeBytes,
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
    const range = plan.rangeIndex[index]!
    const placed = roles[index] !== Role.none && byteCounts[index]! > 0
    assert(placed === (range !== noRange), "what has bytes and a role is placed, and nothing else")
    if (range === noRange) {
      continue
    }
    const start = plan.offsetBytes[index]!
    const end = start + sliceBytes(byteCounts[index]!, rules)
    assert(start % rules.alignmentBytes === 0, "a slice is aligned in its range, and ranges are aligned")
    assert(start >= 0, "a slice starts inside its range")
    assert(end <= plan.rangeBytes[range]!, "a slice ends inside its range")
    assert(plan.rangeBytes[range]! <= capacityBytes[range]!, "a range is no larger than its chunk")
    for (let other = 0; other < index; other++) {
      if (plan.rangeIndex[other] === range) {
        const otherStart = plan.offsetBytes[other]!
        const otherEnd = otherStart + sliceBytes(byteCounts[other]!, rules)
        assert(otherEnd <= start || end <= otherStart, "slices do not overlap")
      }
    }
  }
}

/**
 * The bytes of each range. The padding up to the next alignment boundary belongs to it, so that it is cleared with it and
 * the next range can start right behind.
 */
const closeRanges = (allocator: BumpAllocator, rules: SliceRules): Float64Array =>
  allocator.usedBytes.map((used, range) => {
    const closed = alignUp(used, rules.alignmentBytes)
    return closed === invalidSize ? used : Math.min(closed, allocator.capacityBytes[range]!)
  })

const extents = (
  request: PlanRequest,
  options: {
    readonly rangeIndex: Int32Array
    readonly offsetBytes: Float64Array
    readonly rangeCount: number
    readonly first: Role
    readonly last: Role
  }
): Extents => {
  const startBytes = new Float64Array(options.rangeCount).fill(Infinity)
  const endBytes = new Float64Array(options.rangeCount)
  for (let index = 0; index < request.byteCounts.length; index++) {
    const role = request.roles[index]!
    const range = options.rangeIndex[index]!
    if (range !== noRange && role >= options.first && role <= options.last) {
      const start = options.offsetBytes[index]!
      startBytes[range] = Math.min(startBytes[range]!, start)
      endBytes[range] = Math.max(endBytes[range]!, start + request.byteCounts[index]!)
    }
  }
  for (let range = 0; range < options.rangeCount; range++) {
    if (startBytes[range] === Infinity) {
      startBytes[range] = 0
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
