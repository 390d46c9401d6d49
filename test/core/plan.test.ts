import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { BumpAllocator, noRange, sliceBytes, type SliceRules } from "../../src/internal/core/bumpAllocator.ts"
import {
  checkPlanInvariants,
  type Extents,
  makePlan,
  type Plan,
  type PlanRefusal,
  type PlanRequest,
  Role,
  singleChunkBytes
} from "../../src/internal/core/plan.ts"
import { RangeAllocator, vacantRange } from "../../src/internal/core/rangeAllocator.ts"
import { alignUp, invalidSize } from "../../src/internal/core/sizes.ts"
import { holds, same } from "./same.ts"

const { inout, input, none, output, scratch } = Role

const plain: SliceRules = { alignmentBytes: 1, granularityBytes: 1, tailBytes: 0 }

type Tensor = readonly [role: Role, byteCount: number]

const requestOf = (
  tensors: ReadonlyArray<Tensor>,
  capacityBytes: ReadonlyArray<number>,
  rules: Partial<SliceRules> = {}
): PlanRequest => ({
  byteCounts: Float64Array.from(tensors, ([, byteCount]) => byteCount),
  roles: Uint8Array.from(tensors, ([role]) => role),
  capacityBytes,
  rules: { ...plain, ...rules }
})

const planOf = (request: PlanRequest): Plan => {
  const plan = makePlan(request)
  assert(plan._tag === "Plan", `it fits: ${JSON.stringify(plan)}`)
  return plan
}

const refusalOf = (request: PlanRequest): PlanRefusal => {
  const plan = makePlan(request)
  assert(plan._tag === "PlanRefusal", "it does not fit")
  return plan
}

const rulesArbitrary: fc.Arbitrary<SliceRules> = fc.record({
  alignmentBytes: fc.integer({ min: 0, max: 8 }).map((exponent) => 2 ** exponent),
  granularityBytes: fc.constantFrom(1, 1, 4, 32, 48, 64, 512),
  tailBytes: fc.constantFrom(0, 0, 1, 32, 100)
})

const tensorsArbitrary = fc.array(
  fc.tuple(
    fc.constantFrom<Role>(input, inout, output, scratch, none),
    fc.oneof(fc.constant(0), fc.nat(64), fc.nat(1000), fc.nat(3000))
  ),
  { maxLength: 16, size: "max" }
)

/** About half of these requests can be planned. */
const requestArbitrary: fc.Arbitrary<PlanRequest> = fc.tuple(
  tensorsArbitrary,
  fc.array(fc.oneof(fc.nat(2000), fc.nat(20_000)), { minLength: 1, maxLength: 4 }),
  rulesArbitrary
).map(([tensors, capacityBytes, rules]) => requestOf(tensors, capacityBytes, rules))

const byRole = (request: PlanRequest): ReadonlyArray<number> =>
  [...request.byteCounts.keys()]
    .filter((index) => request.roles[index] !== none && request.byteCounts[index]! > 0)
    .toSorted((left, right) => request.roles[left]! - request.roles[right]! || left - right)

interface Slice {
  readonly index: number
  readonly role: number
  readonly range: number
  readonly start: number
  /** Where the tensor's own bytes end. */
  readonly end: number
  /** Where its granularity and tail end. */
  readonly sliceEnd: number
}

const slicesOf = (request: PlanRequest, plan: Plan): ReadonlyArray<Slice> =>
  byRole(request).map((index) => ({
    index,
    role: request.roles[index]!,
    range: plan.rangeIndex[index]!,
    start: plan.offsetBytes[index]!,
    end: plan.offsetBytes[index]! + request.byteCounts[index]!,
    sliceEnd: plan.offsetBytes[index]! + sliceBytes(request.byteCounts[index]!, request.rules)
  }))

/** An extent covers from the first byte to the last of its own roles, and touches no slice of another role. */
const checkExtents = (
  slices: ReadonlyArray<Slice>,
  rangeCount: number,
  extents: Extents,
  roles: ReadonlyArray<Role>
) => {
  same(extents.startBytes.length, rangeCount)
  same(extents.endBytes.length, rangeCount)
  for (let range = 0; range < rangeCount; range++) {
    const inRange = slices.filter((slice) => slice.range === range)
    const own = inRange.filter((slice) => (roles as ReadonlyArray<number>).includes(slice.role))
    const start = extents.startBytes[range]!
    const end = extents.endBytes[range]!
    same(start, own.length === 0 ? 0 : Math.min(...own.map((slice) => slice.start)), "an extent starts with its first")
    same(end, Math.max(0, ...own.map((slice) => slice.end)), "an extent ends with its last")
    const foreign = inRange.filter((slice) => !own.includes(slice))
    holds(foreign.every((slice) => slice.sliceEnd <= start || end <= slice.start), "an extent holds no foreign role")
  }
}

const checkPlan = (request: PlanRequest, plan: Plan): void => {
  const { capacityBytes, rules } = request
  const slices = slicesOf(request, plan)
  checkPlanInvariants(plan, request)
  let totalBytes = 0
  for (const [range, capacity] of capacityBytes.entries()) {
    const inRange = slices.filter((slice) => slice.range === range).toSorted((left, right) => left.start - right.start)
    holds(
      inRange.every((slice, position) => position === 0 || inRange[position - 1]!.role <= slice.role),
      "inputs, inouts, outputs and scratch follow each other"
    )
    const last = inRange.at(-1)
    const expected = last === undefined ? 0 : Math.min(capacity, alignUp(last.sliceEnd, rules.alignmentBytes))
    same(plan.rangeBytes[range], expected, "a range ends at the next boundary behind its last slice")
    totalBytes += expected
  }
  same(plan.totalBytes, totalBytes)
  same(plan.paddingBytes, totalBytes - slices.reduce((sum, slice) => sum + slice.end - slice.start, 0))
  checkExtents(slices, capacityBytes.length, plan.copyIn, [input, inout])
  checkExtents(slices, capacityBytes.length, plan.copyOut, [inout, output])
  checkExtents(slices, capacityBytes.length, plan.outputs, [output])
}

/** Takes by hand what the plan placed before it refused. */
const takeUntil = (request: PlanRequest, tensorIndex: number): BumpAllocator => {
  const allocator = new BumpAllocator(request.capacityBytes, request.rules)
  for (const index of byRole(request)) {
    if (index === tensorIndex) {
      return allocator
    }
    holds(allocator.take(request.byteCounts[index]!) !== noRange, "the first tensor that does not fit is refused")
  }
  throw new Error("the refused tensor is one of those to be placed")
}

const checkRefusal = (request: PlanRequest, refusal: PlanRefusal): void => {
  const requestedBytes = request.byteCounts[refusal.tensorIndex]!
  const allocator = takeUntil(request, refusal.tensorIndex)
  same(allocator.take(requestedBytes), noRange, "the refused tensor does not fit")
  same(refusal.requestedBytes, requestedBytes)
  same(refusal.alignedBytes, sliceBytes(requestedBytes, request.rules))
  same(refusal.inUseBytes, allocator.inUseBytes())
  same(refusal.largestFreeBytes, allocator.largestFreeBytes())
  const largestChunkBytes = Math.max(...request.capacityBytes)
  same(refusal.largestChunkBytes, largestChunkBytes)
  same(refusal.reason, refusal.alignedBytes > largestChunkBytes ? "ExceedsChunk" : "Exhausted")
}

/** Planning the same tensors in one range. */
const inOneRange = (request: PlanRequest, capacity: number): Plan | PlanRefusal =>
  makePlan({ ...request, capacityBytes: [capacity] })

const up = (value: bigint, step: number): bigint => ((value + BigInt(step) - 1n) / BigInt(step)) * BigInt(step)

const runs = { fastCheck: { numRuns: 3000 } }

describe("plan", () => {
  it("lays out whatever fits as promised, and refuses the rest with the right figures", () => {
    let planned = 0
    let refused = 0
    fc.assert(
      fc.property(requestArbitrary, (request) => {
        const outcome = makePlan(request)
        if (outcome._tag === "Plan") {
          planned += 1
          checkPlan(request, outcome)
        } else {
          refused += 1
          checkRefusal(request, outcome)
        }
      }),
      { numRuns: 5000 }
    )
    assert.isAtLeast(planned, 800)
    assert.isAtLeast(refused, 800)
  })

  it.prop(
    "names a chunk size in which all tensors fit, and not with one granule less",
    [tensorsArbitrary, rulesArbitrary],
    ([tensors, rules]) => {
      const request = requestOf(tensors, [], rules)
      const bytes = singleChunkBytes(request.byteCounts, request.roles, rules)
      same(bytes % rules.granularityBytes, 0, "a chunk is whole granules")
      const exact = inOneRange(request, bytes)
      same(exact._tag, "Plan", "it is enough")
      if (bytes > 0) {
        same(inOneRange(request, bytes - rules.granularityBytes)._tag, "PlanRefusal", "one granule less is not")
      }
    },
    runs
  )

  it.prop("refuses with a chunk size that is enough", [requestArbitrary], ([request]) => {
    const outcome = makePlan(request)
    if (outcome._tag === "PlanRefusal") {
      const enough = inOneRange(request, outcome.singleChunkBytes)
      same(enough._tag, "Plan")
      same(inOneRange(request, outcome.singleChunkBytes - request.rules.granularityBytes)._tag, "PlanRefusal")
    }
  }, runs)

  it.prop(
    "knows by exact arithmetic whether there is such a chunk size, however large the tensors",
    [
      fc.array(fc.tuple(fc.constantFrom<Role>(input, inout, output, scratch, none), fc.maxSafeNat()), { maxLength: 4 }),
      rulesArbitrary
    ],
    ([tensors, rules]) => {
      const request = requestOf(tensors, [20_000], rules)
      const exact = up(
        byRole(request).reduce(
          (end, index) =>
            up(end, rules.alignmentBytes) + up(BigInt(request.byteCounts[index]!), rules.granularityBytes) +
            BigInt(rules.tailBytes),
          0n
        ),
        rules.granularityBytes
      )
      const expected = exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(exact) : invalidSize
      same(singleChunkBytes(request.byteCounts, request.roles, rules), expected)
      const outcome = makePlan(request)
      if (outcome._tag === "Plan") {
        checkPlan(request, outcome)
      } else {
        same(outcome.singleChunkBytes, expected)
      }
    },
    runs
  )

  it.prop(
    "puts every tensor at an aligned address and inside its chunk, wherever the chunks of its ranges lie",
    [
      tensorsArbitrary,
      rulesArbitrary,
      fc.array(fc.tuple(fc.nat(2 ** 40), fc.oneof(fc.nat(2000), fc.nat(20_000))), { minLength: 1, maxLength: 4 })
    ],
    ([tensors, rules, chunks]) => {
      const bases = chunks.map(([base]) => base)
      const capacities = chunks.map(([, capacity]) => capacity)
      const space = new RangeAllocator(bases, capacities, rules.alignmentBytes)
      const request = requestOf(tensors, space.usableBytes(), rules)
      const plan = makePlan(request)
      if (plan._tag === "PlanRefusal") {
        return
      }
      const ranges = [...plan.rangeBytes].map((byteCount, index) => {
        const range = vacantRange()
        holds(byteCount === 0 || space.take(range, byteCount, index), "a run that is alone has its ranges")
        holds(byteCount === 0 || range.chunkIndex === index, "each in the chunk that it prefers")
        return range
      })
      space.checkInvariants()
      same(space.inUseBytes, plan.totalBytes)
      for (const { range, sliceEnd, start } of slicesOf(request, plan)) {
        same((space.address(ranges[range]!) + start) % rules.alignmentBytes, 0, "aligned in absolute address")
        holds(ranges[range]!.startBytes + sliceEnd <= capacities[range]!, "inside its chunk")
      }
    },
    runs
  )

  it("places inputs, then inouts, then outputs, then scratch, each in the order of the signature", () => {
    const request = requestOf(
      [[scratch, 8], [output, 8], [input, 8], [inout, 8], [none, 8], [input, 8], [output, 8]],
      [4096],
      { alignmentBytes: 64 }
    )
    const plan = planOf(request)
    checkPlan(request, plan)
    assert.deepStrictEqual([...plan.offsetBytes], [320, 192, 0, 128, 0, 64, 256])
    assert.deepStrictEqual([...plan.rangeIndex], [0, 0, 0, 0, noRange, 0, 0])
    assert.deepStrictEqual([plan.copyIn.startBytes[0], plan.copyIn.endBytes[0]], [0, 136])
    assert.deepStrictEqual([plan.copyOut.startBytes[0], plan.copyOut.endBytes[0]], [128, 264])
    assert.deepStrictEqual([plan.outputs.startBytes[0], plan.outputs.endBytes[0]], [192, 264])
    assert.strictEqual(plan.totalBytes, 384)
    assert.strictEqual(plan.paddingBytes, 384 - 6 * 8)
  })

  it("places no empty tensor, and nothing that has no role", () => {
    const request = requestOf([[input, 0], [output, 0], [none, 100], [scratch, 0]], [10])
    const plan = planOf(request)
    checkPlan(request, plan)
    assert.isTrue(plan.rangeIndex.every((range) => range === noRange))
    assert.strictEqual(plan.totalBytes, 0)
    assert.strictEqual(plan.paddingBytes, 0)
    assert.deepStrictEqual([...plan.copyIn.endBytes], [0])
  })

  it("plans a run without tensors, and one without chunks as long as nothing has bytes", () => {
    assert.strictEqual(planOf(requestOf([], [100])).totalBytes, 0)
    assert.strictEqual(planOf(requestOf([[input, 0]], [])).totalBytes, 0)
    assert.strictEqual(refusalOf(requestOf([[input, 1]], [])).reason, "ExceedsChunk")
  })

  it("fills a range to its last byte, and refuses one byte more", () => {
    const tensors: ReadonlyArray<Tensor> = [[input, 60], [output, 40]]
    assert.strictEqual(planOf(requestOf(tensors, [100])).totalBytes, 100)
    const refusal = refusalOf(requestOf(tensors, [99]))
    assert.deepStrictEqual(refusal, {
      _tag: "PlanRefusal",
      reason: "Exhausted",
      tensorIndex: 1,
      requestedBytes: 40,
      alignedBytes: 40,
      inUseBytes: 60,
      largestFreeBytes: 39,
      largestChunkBytes: 99,
      singleChunkBytes: 100
    })
  })

  it("does not take the padding behind the last slice where the range ends before it", () => {
    const request = requestOf([[output, 100]], [100], { alignmentBytes: 64 })
    assert.strictEqual(planOf(request).totalBytes, 100)
    const roomy = requestOf([[output, 100]], [1000], { alignmentBytes: 64 })
    assert.strictEqual(planOf(roomy).totalBytes, 128)
    assert.strictEqual(planOf(roomy).paddingBytes, 28)
  })

  it("counts granularity and tail as padding", () => {
    const plan = planOf(
      requestOf([[input, 33]], [4096], { alignmentBytes: 32, granularityBytes: 32, tailBytes: 32 })
    )
    assert.strictEqual(plan.totalBytes, 96)
    assert.strictEqual(plan.paddingBytes, 63)
    assert.strictEqual(plan.copyIn.endBytes[0], 33, "a copy moves the tensor's own bytes only")
  })

  it("has extents in each range when a role is spread over several", () => {
    const request = requestOf(
      [[input, 80], [input, 80], [output, 80], [output, 20]],
      [100, 100, 100]
    )
    const plan = planOf(request)
    checkPlan(request, plan)
    assert.deepStrictEqual([...plan.rangeIndex], [0, 1, 2, 0])
    assert.deepStrictEqual([...plan.copyIn.startBytes], [0, 0, 0])
    assert.deepStrictEqual([...plan.copyIn.endBytes], [80, 80, 0])
    assert.deepStrictEqual([...plan.copyOut.startBytes], [80, 0, 0])
    assert.deepStrictEqual([...plan.copyOut.endBytes], [100, 0, 80])
  })

  it("tells a tensor that exceeds every chunk from one that finds no room", () => {
    const chunks = [100, 50]
    assert.strictEqual(refusalOf(requestOf([[input, 101]], chunks)).reason, "ExceedsChunk")
    assert.strictEqual(refusalOf(requestOf([[input, 100], [output, 100]], chunks)).reason, "Exhausted")
    const withTail = refusalOf(requestOf([[input, 100]], chunks, { tailBytes: 1 }))
    assert.strictEqual(withTail.reason, "ExceedsChunk")
    assert.strictEqual(withTail.alignedBytes, 101)
  })

  it("says that sizes overflow instead of placing what is left of them", () => {
    const rules = { granularityBytes: 512, tailBytes: 32 }
    const refusal = refusalOf(requestOf([[input, 8], [output, Number.MAX_SAFE_INTEGER]], [1000], rules))
    assert.strictEqual(refusal.reason, "Overflow")
    assert.strictEqual(refusal.tensorIndex, 1)
    assert.strictEqual(refusal.alignedBytes, invalidSize)
    assert.strictEqual(refusal.singleChunkBytes, invalidSize)
  })

  it("knows no chunk size for tensors whose sum is no size", () => {
    const refusal = refusalOf(requestOf([[input, 2 ** 52], [output, 2 ** 52]], [1000]))
    assert.strictEqual(refusal.reason, "ExceedsChunk")
    assert.strictEqual(refusal.singleChunkBytes, invalidSize)
    assert.strictEqual(
      singleChunkBytes(Float64Array.of(2 ** 53 - 1), Uint8Array.of(input), { ...plain, granularityBytes: 512 }),
      invalidSize
    )
  })

  it("finds out when a plan was tampered with", () => {
    const request = requestOf([[input, 64], [output, 64]], [256, 256], { alignmentBytes: 64 })
    const tampered = (change: (plan: Plan) => void): () => void => {
      const plan = planOf(request)
      change(plan)
      return () => checkPlanInvariants(plan, request)
    }
    assert.throws(tampered((plan) => plan.offsetBytes.set([1], 1)), /aligned in its range/)
    assert.throws(tampered((plan) => plan.offsetBytes.set([0], 1)), /do not overlap/)
    assert.throws(tampered((plan) => plan.offsetBytes.set([-64], 0)), /starts inside its range/)
    assert.throws(tampered((plan) => plan.offsetBytes.set([128], 1)), /ends inside its range/)
    assert.throws(tampered((plan) => plan.rangeBytes.set([257], 0)), /no larger than its chunk/)
    assert.throws(tampered((plan) => plan.rangeIndex.set([noRange], 0)), /what has bytes and a role is placed/)
    assert.throws(tampered((plan) => plan.rangeIndex.set([1], 0)), /aligned in its range|ends inside its range/)
  })

  it("asserts that every tensor has a role", () => {
    const request = requestOf([[input, 1]], [10])
    assert.throws(() => makePlan({ ...request, roles: new Uint8Array(0) }), /every tensor has a role/)
  })
})
