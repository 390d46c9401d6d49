import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { BumpAllocator, noChunk, sliceBytes, type SliceRules } from "../../src/internal/core/bumpAllocator.ts"
import { invalidSize } from "../../src/internal/core/sizes.ts"
import { holds, same } from "./same.ts"

const plain: SliceRules = { alignmentBytes: 1, granularityBytes: 1, tailBytes: 0 }

const one = (capacityBytes: number, rules: Partial<SliceRules> = {}, baseAddress = 0): BumpAllocator =>
  new BumpAllocator([baseAddress], [capacityBytes], { ...plain, ...rules })

/** Bases are odd as often as not: slices are aligned in absolute address, whatever a chunk's own address. */
const chunk = fc.record({
  base: fc.oneof(fc.nat(5000), fc.nat(2 ** 20).map((half) => 2 * half + 1), fc.integer({ min: 0, max: 2 ** 52 })),
  capacity: fc.oneof(fc.nat(64), fc.nat(4096))
})

const rules: fc.Arbitrary<SliceRules> = fc.record({
  alignmentBytes: fc.integer({ min: 0, max: 10 }).map((exponent) => 2 ** exponent),
  granularityBytes: fc.oneof(fc.constantFrom(1, 2, 16, 32, 48, 64), fc.integer({ min: 1, max: 64 })),
  tailBytes: fc.oneof(fc.constant(0), fc.nat(64))
})

/** What the allocator is held against: the slices themselves, and exact arithmetic on absolute addresses. */
class Model {
  readonly chunks: ReadonlyArray<{ readonly base: number; readonly capacity: number }>
  readonly rules: SliceRules
  active = false
  generation = 0
  slices: Array<{ readonly chunk: number; readonly start: number; readonly end: number }> = []

  constructor(chunks: Model["chunks"], sliceRules: SliceRules) {
    this.chunks = chunks
    this.rules = sliceRules
  }

  used(chunkIndex: number): number {
    return Math.max(0, ...this.slices.filter((slice) => slice.chunk === chunkIndex).map((slice) => slice.end))
  }

  length(byteCount: number): number {
    return Math.ceil(byteCount / this.rules.granularityBytes) * this.rules.granularityBytes + this.rules.tailBytes
  }

  /** The first chunk with room and where the slice starts in it. */
  find(byteCount: number): { readonly chunk: number; readonly start: number; readonly end: number } | undefined {
    const alignment = BigInt(this.rules.alignmentBytes)
    for (const [index, { base, capacity }] of this.chunks.entries()) {
      const next = BigInt(base) + BigInt(this.used(index))
      const start = Number(((next + alignment - 1n) / alignment) * alignment - BigInt(base))
      const end = start + this.length(byteCount)
      if (end <= capacity) {
        return { chunk: index, start, end }
      }
    }
    return undefined
  }
}

type Command =
  | { readonly _tag: "begin" | "end" | "staleEnd" | "endTwice" | "largestFree" }
  | { readonly _tag: "take"; readonly byteCount: number }

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Command>({ _tag: "begin" }) },
  { weight: 1, arbitrary: fc.constant<Command>({ _tag: "end" }) },
  { weight: 1, arbitrary: fc.constant<Command>({ _tag: "staleEnd" }) },
  { weight: 1, arbitrary: fc.constant<Command>({ _tag: "endTwice" }) },
  { weight: 2, arbitrary: fc.constant<Command>({ _tag: "largestFree" }) },
  {
    weight: 12,
    arbitrary: fc.oneof(fc.nat(16), fc.nat(300), fc.nat(5000)).map((byteCount): Command => ({
      _tag: "take",
      byteCount
    }))
  }
)

/** How often each outcome was seen, so that the test cannot pass by seeing none. */
const seen = { commands: 0, slices: 0, refusals: 0, ends: 0, staleEnds: 0, misuses: 0 }

const checkTake = (allocator: BumpAllocator, model: Model, byteCount: number): void => {
  const expected = model.find(byteCount)
  const usedBefore = allocator.usedBytes.slice()
  const taken = allocator.take(byteCount)
  if (expected === undefined) {
    seen.refusals += 1
    same(taken, noChunk)
    holds(allocator.usedBytes.every((bytes, index) => bytes === usedBefore[index]), "a refusal takes nothing")
    return
  }
  seen.slices += 1
  const { end, start } = expected
  same(taken, expected.chunk)
  same(allocator.offsetBytes, start)
  const { base, capacity } = model.chunks[taken]!
  same((BigInt(base) + BigInt(start)) % BigInt(model.rules.alignmentBytes), 0n, "aligned in address")
  holds(start >= 0 && end <= capacity, "inside one chunk")
  const apart = model.slices.every((other) => other.chunk !== taken || other.end <= start || end <= other.start)
  holds(apart, "apart from every other slice")
  model.slices.push(expected)
}

const checkLargestFree = (allocator: BumpAllocator, model: Model): void => {
  const bytes = allocator.largestFreeBytes()
  same(bytes % model.rules.granularityBytes, 0)
  holds(bytes === 0 || model.find(bytes) !== undefined, "a slice of that size fits")
  holds(model.find(bytes + model.rules.granularityBytes) === undefined, "one larger by a granule does not")
}

const execute = (allocator: BumpAllocator, model: Model, step: Command): void => {
  seen.commands += 1
  switch (step._tag) {
    case "begin":
      if (model.active) {
        seen.misuses += 1
        assert.throws(() => allocator.begin(), /one run at a time/)
      } else {
        model.active = true
        model.generation += 1
        same(allocator.begin(), model.generation)
      }
      break
    case "take":
      if (model.active) {
        checkTake(allocator, model, step.byteCount)
      } else {
        seen.misuses += 1
        assert.throws(() => allocator.take(step.byteCount), /taken by a run/)
      }
      break
    case "end":
    case "endTwice":
      same(allocator.end(model.generation), model.active)
      seen.ends += model.active ? 1 : 0
      model.active = false
      model.slices = []
      if (step._tag === "endTwice") {
        same(allocator.end(model.generation), false, "a run ends once")
      }
      break
    case "staleEnd":
      seen.staleEnds += 1
      for (const stale of [model.generation - 1, model.generation + 1, 0, Number.NaN]) {
        holds(!allocator.isCurrent(stale) && !allocator.end(stale), "only the active run ends")
      }
      break
    case "largestFree":
      checkLargestFree(allocator, model)
  }
}

const checkAgainst = (allocator: BumpAllocator, model: Model): void => {
  allocator.checkInvariants()
  same(allocator.active, model.active)
  same(allocator.generation, model.generation)
  same(allocator.isCurrent(model.generation), model.active)
  let inUse = 0
  for (let index = 0; index < model.chunks.length; index++) {
    inUse += model.used(index)
    same(allocator.usedBytes[index], model.used(index))
  }
  same(allocator.inUseBytes(), inUse)
}

describe("BumpAllocator", () => {
  it("does what a plain model does, over 100,000 random commands", () => {
    fc.assert(
      fc.property(
        fc.array(chunk, { maxLength: 4 }),
        rules,
        fc.array(command, { minLength: 20, maxLength: 100, size: "max" }),
        (chunks, sliceRules, commands) => {
          const allocator = new BumpAllocator(
            chunks.map(({ base }) => base),
            chunks.map(({ capacity }) => capacity),
            sliceRules
          )
          const model = new Model(chunks, sliceRules)
          for (const step of commands) {
            execute(allocator, model, step)
            checkAgainst(allocator, model)
          }
        }
      ),
      { numRuns: 2500 }
    )
    assert.isAtLeast(seen.commands, 100_000)
    for (const [outcome, count] of Object.entries(seen)) {
      assert.isAtLeast(count, 2000, outcome)
    }
  })

  it.prop(
    "has room for a slice of the largest free size, and not for one larger by a granule",
    [fc.array(chunk, { minLength: 1, maxLength: 4 }), rules, fc.array(fc.nat(1500), { maxLength: 6 })],
    ([chunks, sliceRules, byteCounts]) => {
      const fill = (): BumpAllocator => {
        const allocator = new BumpAllocator(
          chunks.map(({ base }) => base),
          chunks.map(({ capacity }) => capacity),
          sliceRules
        )
        allocator.begin()
        byteCounts.forEach((byteCount) => allocator.take(byteCount))
        return allocator
      }
      const largest = fill().largestFreeBytes()
      if (largest > 0) {
        assert.notStrictEqual(fill().take(largest), noChunk)
      }
      assert.strictEqual(fill().take(largest + sliceRules.granularityBytes), noChunk)
    },
    { fastCheck: { numRuns: 2000 } }
  )

  it("aligns slices in absolute address, not in their chunk", () => {
    const allocator = one(4096, { alignmentBytes: 256 }, 1001)
    allocator.begin()
    assert.strictEqual(allocator.take(10), 0)
    assert.strictEqual(allocator.offsetBytes, 23)
    assert.strictEqual(allocator.take(10), 0)
    assert.strictEqual(allocator.offsetBytes, 279)
  })

  it("keeps alignment beyond 32 bits", () => {
    const base = 2 ** 32 + 1
    const allocator = one(8192, { alignmentBytes: 512 }, base)
    allocator.begin()
    allocator.take(1)
    assert.strictEqual((base + allocator.offsetBytes) % 512, 0)
    assert.strictEqual(allocator.offsetBytes, 511)
  })

  it("rounds a slice up to the granularity and leaves the tail behind it", () => {
    assert.strictEqual(sliceBytes(1, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 32 }), 64)
    assert.strictEqual(sliceBytes(32, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 32 }), 64)
    assert.strictEqual(sliceBytes(33, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 32 }), 96)
    assert.strictEqual(sliceBytes(0, { alignmentBytes: 64, granularityBytes: 32, tailBytes: 0 }), 0)
  })

  it("counts the tail of the last slice against its chunk", () => {
    const rulesWithTail = { granularityBytes: 32, tailBytes: 32 }
    const exact = one(96, rulesWithTail)
    exact.begin()
    assert.strictEqual(exact.take(64), 0)
    const short = one(95, rulesWithTail)
    short.begin()
    assert.strictEqual(short.take(64), noChunk)
  })

  it("fills a chunk to its last byte, and refuses one byte more", () => {
    const allocator = one(100)
    allocator.begin()
    assert.strictEqual(allocator.take(100), 0)
    assert.strictEqual(allocator.take(1), noChunk)
    assert.strictEqual(allocator.largestFreeBytes(), 0)
  })

  it("goes on to the next chunk that has room, and comes back to an earlier one for a smaller slice", () => {
    const allocator = new BumpAllocator([0, 10_000, 20_000], [100, 200, 300], plain)
    allocator.begin()
    assert.strictEqual(allocator.take(250), 2)
    assert.strictEqual(allocator.take(150), 1)
    assert.strictEqual(allocator.take(80), 0)
    assert.strictEqual(allocator.take(60), noChunk)
    assert.strictEqual(allocator.take(50), 1)
    assert.strictEqual(allocator.take(50), 2)
    assert.deepStrictEqual([...allocator.usedBytes], [80, 200, 300])
  })

  it("refuses sizes whose padding is no size", () => {
    const allocator = one(4096, { granularityBytes: 512, tailBytes: 32 })
    allocator.begin()
    assert.strictEqual(sliceBytes(Number.MAX_SAFE_INTEGER, allocator.rules), invalidSize)
    assert.strictEqual(allocator.take(Number.MAX_SAFE_INTEGER), noChunk)
    assert.strictEqual(allocator.take(2 ** 53 - 512), noChunk)
    assert.strictEqual(allocator.inUseBytes(), 0)
  })

  it("has no room when it has no chunks", () => {
    const allocator = new BumpAllocator([], [], plain)
    allocator.begin()
    assert.strictEqual(allocator.take(0), noChunk)
    assert.strictEqual(allocator.largestFreeBytes(), 0)
    assert.isTrue(allocator.end(1))
  })

  it("tells the runs apart by their generation", () => {
    const allocator = one(100)
    assert.strictEqual(allocator.begin(), 1)
    assert.isTrue(allocator.isCurrent(1))
    assert.isTrue(allocator.end(1))
    assert.isFalse(allocator.isCurrent(1))
    assert.strictEqual(allocator.begin(), 2)
    allocator.take(40)
    assert.isFalse(allocator.end(1), "an earlier run ends nothing")
    assert.strictEqual(allocator.inUseBytes(), 40)
    assert.isTrue(allocator.end(2))
    assert.isFalse(allocator.end(2))
    assert.strictEqual(allocator.inUseBytes(), 0)
  })

  it("takes at once what a plan laid out", () => {
    const allocator = new BumpAllocator([0, 1000], [100, 200], plain)
    const generation = allocator.begin()
    allocator.takePlanned(Float64Array.of(100, 50))
    allocator.checkInvariants()
    assert.strictEqual(allocator.inUseBytes(), 150)
    assert.strictEqual(allocator.largestFreeBytes(), 150)
    assert.isTrue(allocator.end(generation))
    assert.strictEqual(allocator.inUseBytes(), 0)
  })

  it("asserts that a plan fits it", () => {
    const allocator = new BumpAllocator([0, 1000], [100, 200], plain)
    assert.throws(() => allocator.takePlanned(Float64Array.of(1, 1)), /taken by a run/)
    allocator.begin()
    assert.throws(() => allocator.takePlanned(Float64Array.of(1)), /made for these chunks/)
    assert.throws(() => allocator.takePlanned(Float64Array.of(101, 0)), /inside its chunks/)
    allocator.end(1)
    allocator.begin()
    allocator.take(1)
    assert.throws(() => allocator.takePlanned(Float64Array.of(1, 1)), /from its start/)
  })

  it("asserts that what is taken is a size", () => {
    const allocator = one(100)
    allocator.begin()
    for (const byteCount of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      assert.throws(() => allocator.take(byteCount), /a slice has a size/)
    }
    assert.strictEqual(allocator.inUseBytes(), 0)
  })

  it("asserts that every chunk has a base and a capacity", () => {
    assert.throws(() => new BumpAllocator([0, 1], [100], plain), /a base and a capacity/)
  })

  it("finds out when what is taken was tampered with", () => {
    const allocator = one(100)
    allocator.usedBytes[0] = 1
    assert.throws(() => allocator.checkInvariants(), /without a run nothing is taken/)
    allocator.begin()
    allocator.usedBytes[0] = 101
    assert.throws(() => allocator.checkInvariants(), /never taken beyond its end/)
    allocator.usedBytes[0] = 0.5
    assert.throws(() => allocator.checkInvariants(), /whole number of bytes/)
  })
})
