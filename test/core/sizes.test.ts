import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import {
  add,
  alignDown,
  alignUp,
  elementCount,
  invalidSize,
  isPowerOfTwo,
  isSize,
  maxRank,
  multiply
} from "../../src/internal/core/sizes.ts"

const largest = Number.MAX_SAFE_INTEGER

/** Sizes of every magnitude, with the neighbours of powers of two, where 32-bit and rounding mistakes live. */
const size = fc.oneof(
  fc.nat(4096),
  fc.maxSafeNat(),
  fc.tuple(fc.integer({ min: 0, max: 53 }), fc.integer({ min: -2, max: 2 })).map(([exponent, delta]) =>
    Math.min(largest, Math.max(0, 2 ** exponent + delta))
  ),
  fc.nat(4096).map((below) => largest - below)
)

const alignment = fc.oneof(
  fc.integer({ min: 0, max: 52 }).map((exponent) => 2 ** exponent),
  fc.integer({ min: 1, max: 4096 }),
  fc.integer({ min: 1, max: largest })
)

/** What is no size: no whole number, too large, or no number at all. */
const noSizes: ReadonlyArray<unknown> = [
  -1,
  -0.5,
  0.5,
  3.5,
  2 ** 53,
  1e300,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  "4",
  4n,
  null,
  undefined,
  true,
  [4],
  {}
]

/** What exact arithmetic says, cut to what a size can be. */
const fromBigInt = (value: bigint): number => value <= BigInt(largest) ? Number(value) : invalidSize

const runs = { fastCheck: { numRuns: 5000 } }

describe("sizes", () => {
  it("takes safe integers of at least 0 for sizes, and nothing else", () => {
    for (const value of [0, -0, 1, 2 ** 31, 2 ** 32 + 1, largest]) {
      assert.isTrue(isSize(value), `${value}`)
    }
    for (const value of noSizes) {
      assert.isFalse(isSize(value), String(value))
    }
  })

  it("knows every power of two that is a size, and none of their neighbours", () => {
    for (let exponent = 0; exponent <= 52; exponent++) {
      assert.isTrue(isPowerOfTwo(2 ** exponent), `2^${exponent}`)
      assert.strictEqual(isPowerOfTwo(2 ** exponent - 1), exponent === 1, `2^${exponent} - 1`)
      assert.strictEqual(isPowerOfTwo(2 ** exponent + 1), exponent === 0, `2^${exponent} + 1`)
    }
  })

  it("takes no power of two that is not a size", () => {
    for (const value of [0, -1, -2, -(2 ** 31), 0.5, 0.25, 2 ** 53, 2 ** 60, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.isFalse(isPowerOfTwo(value), `${value}`)
    }
  })

  it.prop("agrees with exact arithmetic on what a power of two is", [size], ([value]) => {
    const exact = BigInt(value)
    assert.strictEqual(isPowerOfTwo(value), exact > 0n && (exact & (exact - 1n)) === 0n)
  }, runs)

  it.prop("adds as exact arithmetic does, or says that the sum is no size", [size, size], ([left, right]) => {
    assert.strictEqual(add(left, right), fromBigInt(BigInt(left) + BigInt(right)))
  }, runs)

  it.prop("multiplies as exact arithmetic does, or says that the product is no size", [size, size], ([left, right]) => {
    assert.strictEqual(multiply(left, right), fromBigInt(BigInt(left) * BigInt(right)))
  }, runs)

  it.prop("aligns upwards as exact arithmetic does", [size, alignment], ([value, step]) => {
    const exactStep = BigInt(step)
    assert.strictEqual(
      alignUp(value, step),
      fromBigInt(((BigInt(value) + exactStep - 1n) / exactStep) * exactStep)
    )
  }, runs)

  it.prop("aligns downwards as exact arithmetic does", [size, alignment], ([value, step]) => {
    const exactStep = BigInt(step)
    assert.strictEqual(alignDown(value, step), fromBigInt((BigInt(value) / exactStep) * exactStep))
  }, runs)

  it.prop("hands on what is no size", [size, alignment], ([value, step]) => {
    assert.strictEqual(add(invalidSize, value), invalidSize)
    assert.strictEqual(add(value, invalidSize), invalidSize)
    assert.strictEqual(multiply(invalidSize, value), invalidSize)
    assert.strictEqual(multiply(value, invalidSize), invalidSize)
    assert.strictEqual(alignUp(invalidSize, step), invalidSize)
    assert.strictEqual(alignDown(invalidSize, step), invalidSize)
  })

  it("aligns numbers that bit operators would cut to 32 bits", () => {
    assert.strictEqual(alignUp(2 ** 31, 512), 2_147_483_648)
    assert.strictEqual(alignUp(2 ** 31 + 1, 512), 2_147_484_160)
    assert.strictEqual(alignUp(2 ** 32 + 1, 512), 4_294_967_808)
    assert.strictEqual(alignDown(2 ** 31 + 1, 512), 2_147_483_648)
    assert.strictEqual(alignDown(2 ** 32 + 511, 512), 4_294_967_296)
    assert.strictEqual(multiply(2 ** 31, 2), 2 ** 32)
    assert.strictEqual(add(2 ** 31, 2 ** 31), 2 ** 32)
  })

  it("stops at the largest size instead of rounding", () => {
    assert.strictEqual(add(largest, 1), invalidSize)
    assert.strictEqual(add(largest - 1, 1), largest)
    assert.strictEqual(multiply(2 ** 27, 2 ** 26), invalidSize)
    assert.strictEqual(multiply(2 ** 26, 2 ** 26), 2 ** 52)
    assert.strictEqual(multiply(largest, 1), largest)
    assert.strictEqual(multiply(largest, 0), 0)
    assert.strictEqual(alignUp(largest, 512), invalidSize)
    assert.strictEqual(alignUp(2 ** 53 - 512, 512), 2 ** 53 - 512)
    assert.strictEqual(alignUp(2 ** 53 - 511, 512), invalidSize)
  })

  it("counts the elements of shapes, and refuses what only looks like one", () => {
    assert.strictEqual(elementCount([]), 1)
    assert.strictEqual(elementCount([7]), 7)
    assert.strictEqual(elementCount([2, 3, 4]), 24)
    assert.strictEqual(elementCount([0]), 0)
    assert.strictEqual(elementCount([5, 0, 7]), 0)
    assert.strictEqual(elementCount([2 ** 27, 2 ** 27]), invalidSize)
    assert.strictEqual(elementCount([3.5, 2]), invalidSize)
    assert.strictEqual(elementCount([-1, 4]), invalidSize)
    assert.strictEqual(elementCount([-1, -4]), invalidSize)
    assert.strictEqual(elementCount([2 ** 53, 0]), invalidSize)
    assert.strictEqual(elementCount([0, 2 ** 53]), invalidSize)
    assert.strictEqual(elementCount([Number.NaN, 0]), invalidSize)
  })

  it("counts an empty shape as empty however large its other dimensions are", () => {
    assert.strictEqual(elementCount([2 ** 30, 2 ** 30, 0]), 0)
    assert.strictEqual(elementCount([0, 2 ** 30, 2 ** 30]), 0)
  })

  it("refuses every dimension that is no size, wherever it stands", () => {
    for (const value of noSizes) {
      for (const shape of [[value], [value, 4], [4, value], [0, value], [value, 0]]) {
        assert.strictEqual(elementCount(shape as ReadonlyArray<number>), invalidSize, String(value))
      }
    }
  })

  it("refuses a shape with holes", () => {
    const shape = [2, 3]
    shape.length = 3
    assert.strictEqual(elementCount(shape), invalidSize)
  })

  it.prop(
    "counts elements as exact arithmetic does",
    [fc.array(fc.oneof(fc.nat(8), fc.nat(2 ** 16), size), { maxLength: maxRank })],
    ([shape]) => {
      assert.strictEqual(elementCount(shape), fromBigInt(shape.reduce((count, n) => count * BigInt(n), 1n)))
    },
    runs
  )
})
