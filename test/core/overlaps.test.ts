import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { Overlaps } from "../../src/internal/core/overlaps.ts"
import { holds, same } from "./same.ts"

interface Range {
  readonly address: number
  readonly byteCount: number
}

const range: fc.Arbitrary<Range> = fc.record({ address: fc.nat(200), byteCount: fc.nat(12) })

const shareBytes = (left: Range, right: Range): boolean =>
  left.address > 0 && right.address > 0 && left.byteCount > 0 && right.byteCount > 0 &&
  left.address < right.address + right.byteCount && right.address < left.address + left.byteCount

/** Every pair, one after the other. */
const hasOverlap = (ranges: ReadonlyArray<Range>, isWritten: ReadonlyArray<boolean>): boolean =>
  ranges.some((left, index) =>
    ranges.some((right, other) => other > index && (isWritten[index]! || isWritten[other]!) && shareBytes(left, right))
  )

const find = (overlaps: Overlaps, ranges: ReadonlyArray<Range>) =>
  overlaps.find(
    Float64Array.from(ranges, ({ address }) => address),
    Float64Array.from(ranges, ({ byteCount }) => byteCount)
  )

const makeOverlaps = (isWritten: ReadonlyArray<boolean>): Overlaps =>
  new Overlaps(Uint8Array.from(isWritten, (written) => written ? 1 : 0))

describe("Overlaps", () => {
  it.prop(
    "finds an overlap with a written range where there is one, look after look, whatever the ranges were before",
    [
      fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
      fc.array(fc.array(range, { minLength: 40, maxLength: 40 }))
    ],
    ([isWritten, looks]) => {
      const overlaps = makeOverlaps(isWritten)
      for (const look of looks) {
        const ranges = look.slice(0, isWritten.length)
        const found = find(overlaps, ranges)
        same(found !== undefined, hasOverlap(ranges, isWritten))
        if (found !== undefined) {
          holds(isWritten[found.written]!, "the first of the two is written")
          holds(found.written !== found.other, "a range does not overlap itself")
          holds(shareBytes(ranges[found.written]!, ranges[found.other]!), "the two share bytes")
        }
      }
    },
    { fastCheck: { numRuns: 500 } }
  )

  it.prop(
    "finds a single shared byte among ranges that lie close and in any order",
    [fc.shuffledSubarray(Array.from({ length: 300 }, (_, index) => index), { minLength: 300 }), fc.nat(298)],
    ([order, at]) => {
      const apart = order.map((place) => ({ address: 1000 + place * 16, byteCount: 16 }))
      const overlaps = makeOverlaps(order.map((place) => place % 2 === 0))
      same(find(overlaps, apart), undefined)
      const one = apart.findIndex(({ address }) => address === 1000 + at * 16)
      const touching = apart.map((each, index) => index === one ? { ...each, byteCount: 17 } : each)
      const found = find(overlaps, touching)
      holds(found !== undefined, "it is found")
      holds(found?.written === one || found?.other === one, "it is that range")
      same(find(overlaps, apart), undefined)
    },
    { fastCheck: { numRuns: 100 } }
  )

  it("passes over ranges at address 0 and ranges without bytes, which lie anywhere", () => {
    const overlaps = makeOverlaps([true, true, true, true])
    assert.isUndefined(find(overlaps, [
      { address: 0, byteCount: 64 },
      { address: 0, byteCount: 64 },
      { address: 100, byteCount: 8 },
      { address: 104, byteCount: 0 }
    ]))
  })

  it("lets inputs share memory with each other, and with no output", () => {
    const inputs = [{ address: 64, byteCount: 64 }, { address: 80, byteCount: 8 }]
    assert.isUndefined(find(makeOverlaps([false, false]), inputs))
    assert.deepStrictEqual(find(makeOverlaps([false, true]), inputs), { written: 1, other: 0 })
    assert.deepStrictEqual(find(makeOverlaps([true, false]), inputs), { written: 0, other: 1 })
  })

  it("stays right after it was asked about thousands of ranges that all moved", () => {
    const count = 4096
    const overlaps = makeOverlaps(Array.from({ length: count }, () => true))
    const upwards = Array.from({ length: count }, (_, index) => ({ address: 64 + index * 64, byteCount: 64 }))
    assert.isUndefined(find(overlaps, upwards))
    assert.isUndefined(find(overlaps, upwards.toReversed()))
    const met = upwards.with(7, { address: upwards[4000]!.address + 63, byteCount: 1 })
    assert.deepStrictEqual(find(overlaps, met), { written: 7, other: 4000 })
  })
})
