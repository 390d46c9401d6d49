import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { noChunk, type Range, RangeAllocator, vacantRange } from "../../src/internal/core/rangeAllocator.ts"
import { holds, same } from "./same.ts"

/** The bytes of each chunk, one by one: who has them. */
class ByteMap {
  readonly bases: ReadonlyArray<number>
  readonly alignment: number
  readonly owners: ReadonlyArray<Array<Range | undefined>>

  constructor(bases: ReadonlyArray<number>, capacities: ReadonlyArray<number>, alignment: number) {
    this.bases = bases
    this.alignment = alignment
    this.owners = capacities.map((capacity) => Array.from({ length: capacity }, () => undefined))
  }

  /** All places in a chunk where so many bytes are free from an aligned address on, the lowest first. */
  places(chunk: number, byteCount: number): ReadonlyArray<number> {
    const owners = this.owners[chunk]!
    return [...owners.keys()].filter((start) =>
      (this.bases[chunk]! + start) % this.alignment === 0 && start + byteCount <= owners.length &&
      owners.slice(start, start + byteCount).every((owner) => owner === undefined)
    )
  }

  own(range: Range, owner: Range | undefined): void {
    this.owners[range.chunkIndex]!.fill(owner, range.startBytes, range.startBytes + range.byteCount)
  }

  largest(): number {
    for (let byteCount = Math.max(0, ...this.owners.map(({ length }) => length)); byteCount > 0; byteCount--) {
      if (this.owners.some((_, chunk) => this.places(chunk, byteCount).length > 0)) {
        return byteCount
      }
    }
    return 0
  }
}

type Command =
  | { readonly _tag: "take"; readonly byteCount: number; readonly chunk: number }
  | { readonly _tag: "takeHighest"; readonly byteCount: number }
  | { readonly _tag: "release" | "without"; readonly position: number }

const size = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 70 }))

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ _tag: fc.constant("take" as const), byteCount: size, chunk: fc.nat(2) })
  },
  { weight: 2, arbitrary: fc.record({ _tag: fc.constant("takeHighest" as const), byteCount: size }) },
  { weight: 6, arbitrary: fc.record({ _tag: fc.constant("release" as const), position: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("without" as const), position: fc.nat(20) }) }
)

/** How often each outcome was seen, so that the test cannot pass by seeing none. */
const seen = { taken: 0, highest: 0, full: 0, released: 0, copied: 0 }

const execute = (space: RangeAllocator, map: ByteMap, ranges: Array<Range>, step: Command): void => {
  const count = map.owners.length
  switch (step._tag) {
    case "take":
    case "takeHighest": {
      const order = step._tag === "take"
        ? Array.from({ length: count }, (_, index) => (step.chunk + index) % count)
        : Array.from({ length: count }, (_, index) => count - 1 - index)
      const chunk = order.find((index) => map.places(index, step.byteCount).length > 0)
      const range = vacantRange()
      const isTaken = step._tag === "take"
        ? space.take(range, step.byteCount, step.chunk)
        : space.takeHighest(range, step.byteCount)
      same(isTaken, chunk !== undefined)
      same(range.chunkIndex, chunk ?? noChunk)
      if (chunk === undefined) {
        seen.full += 1
        return
      }
      seen[step._tag === "take" ? "taken" : "highest"] += 1
      same(range.startBytes, map.places(chunk, step.byteCount).at(step._tag === "take" ? 0 : -1))
      same(range.byteCount, step.byteCount)
      same(space.address(range), map.bases[chunk]! + range.startBytes)
      map.own(range, range)
      ranges.push(range)
      return
    }
    case "release": {
      const [range] = ranges.splice(step.position % Math.max(1, ranges.length), 1)
      if (range !== undefined) {
        seen.released += 1
        map.own(range, undefined)
        space.release(range)
        same(range.chunkIndex, noChunk)
      }
      return
    }
    case "without": {
      seen.copied += 1
      const others = ranges.filter((_, index) => index !== step.position % Math.max(1, ranges.length))
      const copy = space.withOnly([...others, vacantRange()].toReversed())
      copy.checkInvariants()
      same(copy.inUseBytes, others.reduce((sum, { byteCount }) => sum + byteCount, 0))
    }
  }
}

/** Checks two ranges, of which the second was changed behind the allocator's back. */
const tampered = (change: Partial<Range>): () => void => {
  const space = new RangeAllocator([0], [100], 4)
  const [first, second] = [vacantRange(), vacantRange()]
  space.take(first, 40, 0)
  space.take(second, 40, 0)
  Object.assign(second, change)
  return () => space.checkInvariants()
}

describe("RangeAllocator", () => {
  it("does what a map of bytes does, over thousands of random commands", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(300), fc.nat(130)), { maxLength: 3 }),
        fc.integer({ min: 0, max: 6 }).map((exponent) => 2 ** exponent),
        fc.array(command, { minLength: 20, maxLength: 60, size: "max" }),
        (chunks, alignment, commands) => {
          const bases = chunks.map(([base]) => base)
          const capacities = chunks.map(([, capacity]) => capacity)
          const space = new RangeAllocator(bases, capacities, alignment)
          const map = new ByteMap(bases, capacities, alignment)
          const ranges: Array<Range> = []
          same(
            space.usableBytes().join(),
            capacities.map((capacity, chunk) => Math.max(0, capacity - (map.places(chunk, 0)[0] ?? capacity))).join()
          )
          for (const step of commands) {
            if (chunks.length > 0 || step._tag !== "take") {
              execute(space, map, ranges, step)
            }
            space.checkInvariants()
            same(space.inUseBytes, map.owners.flat().filter((owner) => owner !== undefined).length)
          }
          same(space.largestFreeBytes(), map.largest())
        }
      ),
      { numRuns: 1000 }
    )
    for (const [outcome, count] of Object.entries(seen)) {
      assert.isAtLeast(count, 500, outcome)
    }
  })

  it.prop(
    "lays ranges apart, aligned and inside their chunks where addresses are as large as they can be",
    [
      fc.integer({ min: 0, max: 20_000 }),
      fc.integer({ min: 0, max: 5000 }),
      fc.integer({ min: 0, max: 14 }).map((exponent) => 2 ** exponent),
      fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 6 })
    ],
    ([behindBytes, capacity, alignment, byteCounts]) => {
      // The chunk ends where addresses end that a double can count, or a little before.
      const base = Number.MAX_SAFE_INTEGER - behindBytes - capacity
      const space = new RangeAllocator([base], [capacity], alignment)
      const first = Number((BigInt(alignment) - BigInt(base) % BigInt(alignment)) % BigInt(alignment))
      same(space.usableBytes()[0], Math.max(0, capacity - first))
      for (const byteCount of byteCounts) {
        const range = vacantRange()
        const isTaken = byteCount % 3 === 0 ? space.takeHighest(range, byteCount) : space.take(range, byteCount, 0)
        if (isTaken) {
          holds(range.startBytes >= 0 && range.startBytes + byteCount <= capacity, "inside its chunk")
          same((BigInt(base) + BigInt(range.startBytes)) % BigInt(alignment), 0n, "aligned in absolute address")
        }
        space.checkInvariants()
        holds(space.freeBytes() <= capacity - space.inUseBytes, "no more is free than is not taken")
        holds(space.largestFreeBytes() <= space.freeBytes(), "the largest of it is part of it")
      }
    },
    { fastCheck: { numRuns: 3000 } }
  )

  it("takes the lowest place that is large enough, and the preferred chunk first", () => {
    const space = new RangeAllocator([0, 1000], [100, 100], 10)
    const [low, middle, other, hole] = [vacantRange(), vacantRange(), vacantRange(), vacantRange()]
    assert.isTrue(space.take(low, 35, 0))
    assert.isTrue(space.take(middle, 30, 0))
    assert.isTrue(space.take(other, 50, 1))
    assert.deepStrictEqual(middle, { chunkIndex: 0, startBytes: 40, byteCount: 30 })
    assert.deepStrictEqual(other, { chunkIndex: 1, startBytes: 0, byteCount: 50 })
    space.release(low)
    assert.isTrue(space.take(hole, 40, 0))
    assert.deepStrictEqual(hole, { chunkIndex: 0, startBytes: 0, byteCount: 40 })
    assert.strictEqual(space.freeBytes(), 30 + 50)
    assert.strictEqual(space.largestFreeBytes(), 50)
  })

  it("goes on behind the preferred chunk, round to those before it", () => {
    const space = new RangeAllocator([0, 1000, 2000], [100, 50, 20], 1)
    const range = vacantRange()
    assert.isTrue(space.take(range, 80, 1))
    assert.strictEqual(range.chunkIndex, 0)
    assert.isFalse(space.take(vacantRange(), 80, 1))
    assert.strictEqual(space.inUseBytes, 80)
  })

  it("takes from above what is to be out of the way", () => {
    const space = new RangeAllocator([3, 1000], [100, 100], 8)
    const [first, second] = [vacantRange(), vacantRange()]
    assert.isTrue(space.takeHighest(first, 90))
    assert.deepStrictEqual(first, { chunkIndex: 1, startBytes: 8, byteCount: 90 })
    assert.isTrue(space.takeHighest(second, 20))
    assert.deepStrictEqual(second, { chunkIndex: 0, startBytes: 77, byteCount: 20 })
    assert.isFalse(space.takeHighest(vacantRange(), 101))
  })

  it("has no room when it has no chunks, nor before the first aligned address of one", () => {
    const none = new RangeAllocator([], [], 64)
    assert.isFalse(none.take(vacantRange(), 1, 0))
    assert.isFalse(none.takeHighest(vacantRange(), 1))
    assert.strictEqual(none.largestFreeBytes(), 0)
    const unaligned = new RangeAllocator([1], [63], 64)
    assert.isFalse(unaligned.take(vacantRange(), 1, 0))
    assert.isFalse(unaligned.takeHighest(vacantRange(), 1))
    assert.strictEqual(unaligned.freeBytes(), 0)
    assert.deepStrictEqual(unaligned.usableBytes(), [0])
  })

  it("asserts that ranges are taken and given back once, by whom they are taken from", () => {
    const space = new RangeAllocator([0], [100], 1)
    const range = vacantRange()
    assert.throws(() => space.release(range), /given back was taken/)
    assert.throws(() => space.take(range, 0, 0), /a range has bytes/)
    assert.throws(() => space.takeHighest(range, 0), /a range has bytes/)
    assert.isTrue(space.take(range, 10, 0))
    assert.throws(() => space.take(range, 10, 0), /taken once/)
    assert.throws(() => space.takeHighest(range, 10), /taken once/)
    assert.throws(() => new RangeAllocator([0], [100], 1).release(range), /to where it was taken/)
    space.release(range)
    assert.throws(() => space.release(range), /given back was taken/)
    assert.throws(() => new RangeAllocator([0], [], 1), /a base and a capacity/)
  })

  it("finds out when a range was tampered with", () => {
    assert.doesNotThrow(tampered({}))
    assert.throws(tampered({ chunkIndex: 1 }), /in the chunk that it says/)
    assert.throws(tampered({ startBytes: 41 }), /aligned in absolute address/)
    assert.throws(tampered({ startBytes: 36 }), /do not overlap/)
    assert.throws(tampered({ byteCount: 61 }), /inside its chunk/)
    assert.throws(tampered({ byteCount: 39 }), /are those of the ranges taken/)
  })
})
