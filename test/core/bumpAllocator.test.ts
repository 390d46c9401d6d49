import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { BumpAllocator, noRange, sliceBytes, type SliceRules } from "../../src/internal/core/bumpAllocator.ts"
import { invalidSize } from "../../src/internal/core/sizes.ts"
import { holds, same } from "./same.ts"

const plain: SliceRules = { alignmentBytes: 1, granularityBytes: 1, tailBytes: 0 }

const one = (capacityBytes: number, rules: Partial<SliceRules> = {}): BumpAllocator =>
  new BumpAllocator([capacityBytes], { ...plain, ...rules })

const capacity = fc.oneof(fc.nat(64), fc.nat(4096))

const rules: fc.Arbitrary<SliceRules> = fc.record({
  alignmentBytes: fc.integer({ min: 0, max: 10 }).map((exponent) => 2 ** exponent),
  granularityBytes: fc.oneof(fc.constantFrom(1, 2, 16, 32, 48, 64), fc.integer({ min: 1, max: 64 })),
  tailBytes: fc.oneof(fc.constant(0), fc.nat(64))
})

/** What the allocator is held against: the slices themselves. */
class Model {
  readonly capacities: ReadonlyArray<number>
  readonly rules: SliceRules
  readonly slices: Array<{ readonly range: number; readonly start: number; readonly end: number }> = []

  constructor(capacities: ReadonlyArray<number>, sliceRules: SliceRules) {
    this.capacities = capacities
    this.rules = sliceRules
  }

  used(range: number): number {
    return Math.max(0, ...this.slices.filter((slice) => slice.range === range).map((slice) => slice.end))
  }

  /** The first range with room and where the slice lies in it. */
  find(byteCount: number): { readonly range: number; readonly start: number; readonly end: number } | undefined {
    const { alignmentBytes, granularityBytes, tailBytes } = this.rules
    for (const [range, capacityBytes] of this.capacities.entries()) {
      const start = Math.ceil(this.used(range) / alignmentBytes) * alignmentBytes
      const end = start + Math.ceil(byteCount / granularityBytes) * granularityBytes + tailBytes
      if (end <= capacityBytes) {
        return { range, start, end }
      }
    }
    return undefined
  }
}

/** How often each outcome was seen, so that the test cannot pass by seeing none. */
const seen = { commands: 0, slices: 0, refusals: 0 }

const checkTake = (allocator: BumpAllocator, model: Model, byteCount: number): void => {
  seen.commands += 1
  const expected = model.find(byteCount)
  const usedBefore = allocator.usedBytes.slice()
  const taken = allocator.take(byteCount)
  if (expected === undefined) {
    seen.refusals += 1
    same(taken, noRange)
    holds(allocator.usedBytes.every((bytes, index) => bytes === usedBefore[index]), "a refusal takes nothing")
    return
  }
  seen.slices += 1
  const { end, start } = expected
  same(taken, expected.range)
  same(allocator.offsetBytes, start)
  same(start % model.rules.alignmentBytes, 0, "aligned in its range")
  holds(start >= 0 && end <= model.capacities[taken]!, "inside one range")
  const apart = model.slices.every((other) => other.range !== taken || other.end <= start || end <= other.start)
  holds(apart, "apart from every other slice")
  model.slices.push(expected)
}

const checkAgainst = (allocator: BumpAllocator, model: Model): void => {
  allocator.checkInvariants()
  let inUse = 0
  for (let range = 0; range < model.capacities.length; range++) {
    inUse += model.used(range)
    same(allocator.usedBytes[range], model.used(range))
  }
  same(allocator.inUseBytes(), inUse)
  const bytes = allocator.largestFreeBytes()
  same(bytes % model.rules.granularityBytes, 0)
  holds(bytes === 0 || model.find(bytes) !== undefined, "a slice of that size fits")
  holds(model.find(bytes + model.rules.granularityBytes) === undefined, "one larger by a granule does not")
}

describe("BumpAllocator", () => {
  it("does what a plain model does, over 100,000 random slices", () => {
    fc.assert(
      fc.property(
        fc.array(capacity, { maxLength: 4 }),
        rules,
        fc.array(fc.oneof(fc.nat(16), fc.nat(300), fc.nat(5000)), { minLength: 20, maxLength: 100, size: "max" }),
        (capacities, sliceRules, byteCounts) => {
          const allocator = new BumpAllocator(capacities, sliceRules)
          const model = new Model(capacities, sliceRules)
          for (const byteCount of byteCounts) {
            checkTake(allocator, model, byteCount)
            checkAgainst(allocator, model)
          }
        }
      ),
      { numRuns: 2500 }
    )
    assert.isAtLeast(seen.commands, 100_000)
    for (const [outcome, count] of Object.entries(seen)) {
      assert.isAtLeast(count, 10_000, outcome)
    }
  })

  it("aligns slices in their range, beyond 32 bits as well", () => {
    const allocator = one(2 ** 33 + 8192, { alignmentBytes: 512 })
    assert.strictEqual(allocator.take(10), 0)
    assert.strictEqual(allocator.offsetBytes, 0)
    assert.strictEqual(allocator.take(2 ** 33), 0)
    assert.strictEqual(allocator.offsetBytes, 512)
    assert.strictEqual(allocator.take(1), 0)
    assert.strictEqual(allocator.offsetBytes, 2 ** 33 + 512)
  })

  it("rounds a slice up to the granularity and leaves the tail behind it", () => {
    assert.strictEqual(sliceBytes(1, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 32 }), 64)
    assert.strictEqual(sliceBytes(32, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 32 }), 64)
    assert.strictEqual(sliceBytes(33, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 32 }), 96)
    assert.strictEqual(sliceBytes(0, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 0 }), 0)
  })

  it("counts the tail of the last slice against its range", () => {
    const rulesWithTail = { granularityBytes: 32, tailBytes: 32 }
    const exact = one(96, rulesWithTail)
    assert.strictEqual(exact.take(64), 0)
    const short = one(95, rulesWithTail)
    assert.strictEqual(short.take(64), noRange)
  })

  it("fills a range to its last byte, and refuses one byte more", () => {
    const allocator = one(100)
    assert.strictEqual(allocator.take(100), 0)
    assert.strictEqual(allocator.take(1), noRange)
    assert.strictEqual(allocator.largestFreeBytes(), 0)
  })

  it("goes on to the next range that has room, and comes back to an earlier one for a smaller slice", () => {
    const allocator = new BumpAllocator([100, 200, 300], plain)
    assert.strictEqual(allocator.take(250), 2)
    assert.strictEqual(allocator.take(150), 1)
    assert.strictEqual(allocator.take(80), 0)
    assert.strictEqual(allocator.take(60), noRange)
    assert.strictEqual(allocator.take(50), 1)
    assert.strictEqual(allocator.take(50), 2)
    assert.deepStrictEqual([...allocator.usedBytes], [80, 200, 300])
  })

  it("refuses sizes whose padding is no size", () => {
    const allocator = one(4096, { granularityBytes: 512, tailBytes: 32 })
    assert.strictEqual(sliceBytes(Number.MAX_SAFE_INTEGER, allocator.rules), invalidSize)
    assert.strictEqual(allocator.take(Number.MAX_SAFE_INTEGER), noRange)
    assert.strictEqual(allocator.take(2 ** 53 - 512), noRange)
    assert.strictEqual(allocator.inUseBytes(), 0)
  })

  it("has no room when it has no ranges", () => {
    const allocator = new BumpAllocator([], plain)
    assert.strictEqual(allocator.take(0), noRange)
    assert.strictEqual(allocator.largestFreeBytes(), 0)
  })

  it("asserts that what is taken is a size", () => {
    const allocator = one(100)
    for (const byteCount of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      assert.throws(() => allocator.take(byteCount), /a slice has a size/)
    }
    assert.strictEqual(allocator.inUseBytes(), 0)
  })

  it("finds out when what is taken was tampered with", () => {
    const allocator = one(100)
    allocator.usedBytes[0] = 101
    assert.throws(() => allocator.checkInvariants(), /never taken beyond its end/)
    allocator.usedBytes[0] = 0.5
    assert.throws(() => allocator.checkInvariants(), /whole number of bytes/)
  })
})
