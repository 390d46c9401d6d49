import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigError, ConfigProvider, Effect, FastCheck as fc } from "effect"
import { Bytes } from "leasehold"

const units = {
  B: 1n,
  KiB: 1024n,
  MiB: 1024n ** 2n,
  GiB: 1024n ** 3n,
  TiB: 1024n ** 4n,
  kB: 1000n,
  MB: 1000n ** 2n,
  GB: 1000n ** 3n,
  TB: 1000n ** 4n
} as const satisfies Record<Bytes.Unit, bigint>

const unit = fc.constantFrom(...Object.keys(units) as ReadonlyArray<Bytes.Unit>)

/** What exact arithmetic makes of a decimal number of units: a whole number of bytes, or nothing. */
const exactly = (digits: string, fraction: string, of: Bytes.Unit): number | undefined => {
  const scale = 10n ** BigInt(fraction.length)
  const scaled = BigInt(digits + fraction) * units[of]
  const bytes = scaled / scale
  return scaled % scale === 0n && bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : undefined
}

describe("parse", () => {
  it("takes a number for bytes", () => {
    for (const bytes of [0, 1, 4096, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
      assert.strictEqual(Bytes.parse(bytes), bytes)
    }
    assert.isTrue(Object.is(Bytes.parse(-0), 0))
  })

  it("takes a number with a unit, with one blank between them or none", () => {
    assert.strictEqual(Bytes.parse("64 MiB"), 67_108_864)
    assert.strictEqual(Bytes.parse("64MiB"), 67_108_864)
    assert.strictEqual(Bytes.parse("1 B"), 1)
    assert.strictEqual(Bytes.parse("1 KiB"), 1024)
    assert.strictEqual(Bytes.parse("1 GiB"), 1_073_741_824)
    assert.strictEqual(Bytes.parse("1 TiB"), 1_099_511_627_776)
    assert.strictEqual(Bytes.parse("1 kB"), 1000)
    assert.strictEqual(Bytes.parse("1 MB"), 1_000_000)
    assert.strictEqual(Bytes.parse("1 GB"), 1_000_000_000)
    assert.strictEqual(Bytes.parse("1 TB"), 1_000_000_000_000)
    assert.strictEqual(Bytes.parse("0 TiB"), 0)
  })

  it("takes digits without a unit for bytes, as the environment has them", () => {
    assert.strictEqual(Bytes.parse("4096"), 4096)
    assert.strictEqual(Bytes.parse("007"), 7)
  })

  it("takes fractions of a unit that are whole bytes, and no others", () => {
    assert.strictEqual(Bytes.parse("1.5 KiB"), 1536)
    assert.strictEqual(Bytes.parse("0.5 MiB"), 524_288)
    assert.strictEqual(Bytes.parse("0.001 kB"), 1)
    assert.strictEqual(Bytes.parse("1.0 B"), 1)
    assert.isUndefined(Bytes.parse("0.5 B"))
    assert.isUndefined(Bytes.parse("1.1 KiB"))
    assert.isUndefined(Bytes.parse("0.0001 kB"))
  })

  it("refuses numbers that are no sizes", () => {
    for (const input of [-1, -0.5, 0.5, 1e300, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.isUndefined(Bytes.parse(input), `${input}`)
    }
  })

  it("refuses text that is no size", () => {
    const texts = [
      "",
      " ",
      "MiB",
      " 64 MiB",
      "64 MiB ",
      "64  MiB",
      "64\tMiB",
      "64 MiB\n",
      "64 mib",
      "64 Mib",
      "64 KB",
      "64 M",
      "64 bytes",
      "64 PiB",
      "-64 MiB",
      "+64 MiB",
      "1e3 MiB",
      "1,5 MiB",
      "1_000 B",
      "0x10 B",
      ".5 KiB",
      "5. KiB",
      "NaN B",
      "Infinity B",
      "٤ KiB",
      "64 MiB 64 MiB"
    ]
    for (const text of texts) {
      assert.isUndefined(Bytes.parse(text), JSON.stringify(text))
    }
  })

  it("refuses what is neither a number nor text", () => {
    for (
      const input of [undefined, null, true, 64n, {}, [], ["64 MiB"], {
        toString: () => "64 MiB"
      }, Symbol("64 B")]
    ) {
      assert.isUndefined(Bytes.parse(input))
    }
  })

  it("refuses sizes beyond 2^53 - 1 instead of rounding them", () => {
    assert.strictEqual(Bytes.parse("9007199254740991 B"), Number.MAX_SAFE_INTEGER)
    assert.isUndefined(Bytes.parse("9007199254740992 B"))
    assert.strictEqual(Bytes.parse("8191 TiB"), 8191 * 1024 ** 4)
    assert.isUndefined(Bytes.parse("8192 TiB"))
    assert.isUndefined(Bytes.parse(`1${"0".repeat(400)} B`))
  })

  it.prop("multiplies whole numbers of units exactly", [fc.maxSafeNat(), unit, fc.boolean()], ([count, of, blank]) => {
    assert.strictEqual(Bytes.parse(`${count}${blank ? " " : ""}${of}`), exactly(`${count}`, "", of))
  }, { fastCheck: { numRuns: 2000 } })

  it.prop(
    "takes a decimal fraction exactly when it is a whole number of bytes",
    [fc.nat(20_000), fc.stringMatching(/^\d{1,6}$/), unit],
    ([count, fraction, of]) => {
      assert.strictEqual(Bytes.parse(`${count}.${fraction} ${of}`), exactly(`${count}`, fraction, of))
    },
    { fastCheck: { numRuns: 5000 } }
  )

  it("takes 1.005 kB for the 1,005 bytes that it is", () => {
    assert.strictEqual(Bytes.parse("1.005 kB"), 1005)
    assert.strictEqual(Bytes.parse("4.035 kB"), 4035)
  })

  it("refuses a fraction of a byte however small it is", () => {
    assert.isUndefined(Bytes.parse("1.00000000000000000001 B"))
    assert.isUndefined(Bytes.parse("1024.00000000000000001 KiB"))
  })
})

describe("format", () => {
  it("writes the largest binary unit in which the size is at least 1", () => {
    assert.strictEqual(Bytes.format(0), "0 B")
    assert.strictEqual(Bytes.format(1), "1 B")
    assert.strictEqual(Bytes.format(1000), "1000 B")
    assert.strictEqual(Bytes.format(1023), "1023 B")
    assert.strictEqual(Bytes.format(1024), "1 KiB")
    assert.strictEqual(Bytes.format(1536), "1.5 KiB")
    assert.strictEqual(Bytes.format(67_108_864), "64 MiB")
    assert.strictEqual(Bytes.format(3 * 1024 ** 3), "3 GiB")
    assert.strictEqual(Bytes.format(1024 ** 4), "1 TiB")
    assert.strictEqual(Bytes.format(Number.MAX_SAFE_INTEGER), "8192 TiB")
  })

  it("writes at most one decimal", () => {
    assert.strictEqual(Bytes.format(1025), "1 KiB")
    assert.strictEqual(Bytes.format(1300), "1.3 KiB")
    assert.strictEqual(Bytes.format(1024 ** 2 * 2.25), "2.3 MiB")
  })

  it.prop(
    "is read back as the same size where one decimal is enough",
    [fc.integer({ min: 1, max: 1023 }), fc.constantFrom<Bytes.Unit>("B", "KiB", "MiB", "GiB", "TiB"), fc.boolean()],
    ([count, of, half]) => {
      const bytes = count * Number(units[of]) + (half && of !== "B" ? Number(units[of]) / 2 : 0)
      assert.strictEqual(Bytes.parse(Bytes.format(bytes)), bytes)
    }
  )
})

/** Reads the variable `SIZE` of an environment that has it, or has it not. */
const read = (value: string | undefined) =>
  Bytes.config("SIZE").pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(value === undefined ? [] : [["SIZE", value]])))
  )

describe("config", () => {
  it.effect("reads a size from the environment", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* read("64 MiB"), 67_108_864)
      assert.strictEqual(yield* read("4096"), 4096)
      assert.strictEqual(yield* read("0"), 0)
    }))

  it.effect("says what is wrong with a value that is no size", () =>
    Effect.gen(function*() {
      for (const value of ["lots", "-1", "64 MB/s", "0.5 B", ""]) {
        const error = yield* Effect.flip(read(value))
        assert(ConfigError.isInvalidData(error), value)
        assert.include(error.path, "SIZE")
        assert.include(error.message, JSON.stringify(value))
      }
    }))

  it.effect("names the variable once, and below its own prefix", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(read("lots"))
      assert(ConfigError.isInvalidData(error))
      assert.deepStrictEqual(error.path, ["SIZE"])
      const nested = yield* Effect.flip(
        Config.nested(Bytes.config("SIZE"), "APP").pipe(
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["APP.SIZE", "lots"]])))
        )
      )
      assert(ConfigError.isInvalidData(nested))
      assert.deepStrictEqual(nested.path, ["APP", "SIZE"])
    }))

  it.effect("says that a value is missing", () =>
    Effect.gen(function*() {
      assert.isTrue(ConfigError.isMissingData(yield* Effect.flip(read(undefined))))
    }))
})
