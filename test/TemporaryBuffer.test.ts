import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck as fc } from "effect"
import { Errors, TemporaryBuffer } from "leasehold"

const device = { alignmentBytes: 64, granularityBytes: 1 }

const configured = (
  options: TemporaryBuffer.Options,
  traits: Partial<typeof device> = {}
): TemporaryBuffer.Configuration => {
  const made = TemporaryBuffer.configuration(options, { ...device, ...traits })
  assert(Either.isRight(made), Either.isLeft(made) ? made.left.message : "")
  return made.right
}

const refused = (options: unknown, traits: Partial<typeof device> = {}): Errors.InvalidConfiguration => {
  const made = TemporaryBuffer.configuration(options as TemporaryBuffer.Options, { ...device, ...traits })
  assert(Either.isLeft(made), `it is refused: ${fc.stringify(options)}`)
  assert.instanceOf(made.left, Errors.InvalidConfiguration)
  return made.left
}

const badSizes: ReadonlyArray<unknown> = [
  -1,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  "lots",
  "-1 MiB",
  "",
  64n,
  true,
  {},
  []
]

describe("configuration", () => {
  it("has one chunk of 64 MiB and an alignment of 1,024 bytes by default", () => {
    const expected = {
      maxBytes: 67_108_864,
      alignmentBytes: 1024,
      policy: "single",
      growth: "fixed",
      chunkBytes: [67_108_864]
    } as const
    assert.deepStrictEqual(configured({}), expected)
    assert.deepStrictEqual(configured(TemporaryBuffer.defaults), expected)
    assert.deepStrictEqual(
      configured({ maxBytes: undefined, alignmentBytes: undefined, chunks: undefined }),
      expected
    )
  })

  it("makes one chunk of the whole budget with \"single\"", () => {
    assert.deepStrictEqual(configured({ maxBytes: 1000, chunks: "single" }).chunkBytes, [1000])
    assert.strictEqual(configured({ maxBytes: 1000, chunks: "single" }).policy, "single")
    assert.deepStrictEqual(configured({ maxBytes: Number.MAX_SAFE_INTEGER }).chunkBytes, [Number.MAX_SAFE_INTEGER])
  })

  it("makes so many chunks of the same size, rounded down, with { count }", () => {
    const made = configured({ maxBytes: 1000, chunks: { count: 3 } })
    assert.deepStrictEqual(made.chunkBytes, [333, 333, 333])
    assert.strictEqual(made.policy, "count")
    assert.strictEqual(made.maxBytes, 1000)
    assert.strictEqual(configured({ maxBytes: "64 MiB", chunks: { count: 64 } }).chunkBytes.length, 64)
    assert.deepStrictEqual(configured({ maxBytes: 64, chunks: { count: 64 } }).chunkBytes[63], 1)
  })

  it("makes chunks of the sizes asked for, within the budget, with { sizes }", () => {
    const made = configured({ maxBytes: "1 MiB", chunks: { sizes: ["512 KiB", 1024, "1 B"] } })
    assert.deepStrictEqual(made.chunkBytes, [524_288, 1024, 1])
    assert.strictEqual(made.policy, "sizes")
    assert.deepStrictEqual(configured({ maxBytes: 10, chunks: { sizes: [4, 6] } }).chunkBytes, [4, 6])
  })

  it("rounds every chunk down to whole units of allocation", () => {
    const traits = { granularityBytes: 512 }
    assert.deepStrictEqual(configured({ maxBytes: 1600 }, traits).chunkBytes, [1536])
    assert.deepStrictEqual(configured({ maxBytes: 3200, chunks: { count: 2 } }, traits).chunkBytes, [1536, 1536])
    assert.deepStrictEqual(
      configured({ maxBytes: 3200, chunks: { sizes: [1023, 1024] } }, traits).chunkBytes,
      [512, 1024]
    )
  })

  it("has no chunks with a zero budget, whatever the policy", () => {
    for (const chunks of ["single", { count: 8 }] as const) {
      const made = configured({ maxBytes: 0, chunks }, { granularityBytes: 512 })
      assert.deepStrictEqual(made.chunkBytes, [])
      assert.strictEqual(made.maxBytes, 0)
    }
  })

  it("takes the device's alignment where it is larger", () => {
    assert.strictEqual(configured({ alignmentBytes: 16 }, { alignmentBytes: 512 }).alignmentBytes, 512)
    assert.strictEqual(configured({ alignmentBytes: 4096 }, { alignmentBytes: 512 }).alignmentBytes, 4096)
    assert.strictEqual(configured({ alignmentBytes: 1 }, { alignmentBytes: 1 }).alignmentBytes, 1)
    assert.strictEqual(configured({ alignmentBytes: 2 ** 30 }).alignmentBytes, 2 ** 30)
    assert.strictEqual(configured({ alignmentBytes: "4 KiB" }).alignmentBytes, 4096)
  })

  it("refuses a budget that is no size", () => {
    for (const maxBytes of badSizes) {
      const error = refused({ maxBytes })
      assert.strictEqual(error.reason, "Size", String(maxBytes))
      assert.strictEqual(error.option, "temporaryBuffer.maxBytes")
    }
  })

  it("refuses an alignment that is no power of two from 1 to 2^30", () => {
    for (const alignmentBytes of [...badSizes, 0, 3, 48, 1000, -8, 2 ** 31, 2 ** 32 + 1, 2 ** 52, "3 KiB"]) {
      const error = refused({ alignmentBytes })
      assert.strictEqual(error.reason, "Alignment", String(alignmentBytes))
      assert.strictEqual(error.option, "temporaryBuffer.alignmentBytes")
    }
  })

  it("refuses a policy that it does not know", () => {
    for (const chunks of ["double", "", 4, true, 4n]) {
      const error = refused({ chunks })
      assert.strictEqual(error.reason, "Chunks")
      assert.strictEqual(error.option, "temporaryBuffer.chunks")
    }
    for (const chunks of [{}, [], { sizes: undefined }, { sizes: "64 MiB" }, { sizes: { length: 1, 0: 4 } }]) {
      const error = refused({ chunks })
      assert.strictEqual(error.reason, "Chunks")
      assert.strictEqual(error.option, "temporaryBuffer.chunks.sizes")
    }
  })

  it("refuses a count that is no whole number from 1 to 64", () => {
    for (const count of [0, -1, 1.5, 65, Number.NaN, Number.POSITIVE_INFINITY, "4", undefined, null, 4n]) {
      const error = refused({ chunks: { count } })
      assert.strictEqual(error.reason, "Chunks", String(count))
      assert.strictEqual(error.option, "temporaryBuffer.chunks.count")
    }
  })

  it("refuses sizes that are none, too many, empty or no sizes", () => {
    const lists: ReadonlyArray<ReadonlyArray<unknown>> = [
      [],
      Array.from({ length: 65 }, () => 1),
      [0],
      [1024, 0],
      Array.from({ length: 2 }),
      ...badSizes.map((size) => [1024, size])
    ]
    for (const sizes of lists) {
      const error = refused({ chunks: { sizes } })
      assert.strictEqual(error.reason, "Chunks")
      assert.strictEqual(error.option, "temporaryBuffer.chunks.sizes")
    }
  })

  it("refuses sizes that add up to more than the budget, and says to how much", () => {
    const error = refused({ maxBytes: 1000, chunks: { sizes: [600, 401] } })
    assert.strictEqual(error.option, "temporaryBuffer.chunks.sizes")
    assert.include(error.message, "1001 B")
    assert.include(error.message, "maxBytes 1000")
    refused({ maxBytes: Number.MAX_SAFE_INTEGER, chunks: { sizes: [Number.MAX_SAFE_INTEGER, 1] } })
    refused({ maxBytes: 0, chunks: { sizes: [1] } })
  })

  it("refuses chunks that are smaller than one unit of allocation", () => {
    const traits = { granularityBytes: 512 }
    for (
      const options of [
        { maxBytes: 511 },
        { maxBytes: 1024, chunks: { count: 3 } },
        { maxBytes: 4096, chunks: { sizes: [1024, 511] } }
      ] as const
    ) {
      const error = refused(options, traits)
      assert.strictEqual(error.reason, "Chunks")
      assert.strictEqual(error.option, "temporaryBuffer.chunks")
      assert.include(error.message, "512 B")
    }
    assert.strictEqual(refused({ maxBytes: 3, chunks: { count: 4 } }).option, "temporaryBuffer.chunks")
  })

  it.prop(
    "keeps all chunks within the budget, each a whole number of units",
    [
      fc.nat(2 ** 30),
      fc.oneof(
        fc.constant("single" as const),
        fc.integer({ min: 1, max: 64 }).map((count) => ({ count })),
        fc.array(fc.nat(2 ** 26), { minLength: 1, maxLength: 8 }).map((sizes) => ({ sizes }))
      ),
      fc.constantFrom(1, 32, 48, 512, 2 ** 21)
    ],
    ([maxBytes, chunks, granularityBytes]) => {
      const made = TemporaryBuffer.configuration({ maxBytes, chunks }, { ...device, granularityBytes })
      if (Either.isLeft(made)) {
        assert.strictEqual(made.left.reason, "Chunks")
        return
      }
      const { chunkBytes } = made.right
      assert.isAtMost(chunkBytes.reduce((sum, bytes) => sum + bytes, 0), maxBytes)
      assert.isTrue(chunkBytes.every((bytes) => bytes > 0 && bytes % granularityBytes === 0))
      assert.strictEqual(made.right.maxBytes, maxBytes)
      if (maxBytes > 0 && typeof chunks === "object" && "count" in chunks) {
        assert.strictEqual(chunkBytes.length, chunks.count)
        assert.isBelow(maxBytes - chunkBytes[0]! * chunks.count, granularityBytes * chunks.count + chunks.count)
      }
    },
    { fastCheck: { numRuns: 1000 } }
  )
})

describe("isSame", () => {
  it("finds configurations the same whose figures are, however they were written", () => {
    assert.isTrue(TemporaryBuffer.isSame(configured({}), configured({ maxBytes: 64 * 1024 ** 2 })))
    assert.isTrue(TemporaryBuffer.isSame(configured({ alignmentBytes: 16 }), configured({ alignmentBytes: 64 })))
    assert.isTrue(
      TemporaryBuffer.isSame(
        configured({ maxBytes: 1000, chunks: { count: 2 } }),
        configured({ maxBytes: 1000, chunks: { sizes: [500, "500 B"] } })
      )
    )
  })

  it("tells configurations apart by budget, alignment, and the number, size and order of chunks", () => {
    const base = { maxBytes: 1000, chunks: { sizes: [500, 400] } } as const
    const others: ReadonlyArray<TemporaryBuffer.Options> = [
      { ...base, maxBytes: 1001 },
      { ...base, alignmentBytes: 2048 },
      { ...base, chunks: { sizes: [400, 500] } },
      { ...base, chunks: { sizes: [500, 401] } },
      { ...base, chunks: { sizes: [500, 400, 100] } },
      { ...base, chunks: { sizes: [500] } }
    ]
    assert.isTrue(TemporaryBuffer.isSame(configured(base), configured({ ...base })))
    for (const other of others) {
      assert.isFalse(TemporaryBuffer.isSame(configured(base), configured(other)))
      assert.isFalse(TemporaryBuffer.isSame(configured(other), configured(base)))
    }
  })
})
