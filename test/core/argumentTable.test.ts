import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { argumentCells, ArgumentKind, ArgumentTable } from "../../src/internal/core/argumentTable.ts"
import { type DTypeName, dtypes, isDTypeName } from "../../src/internal/core/dtypes.ts"
import { maxRank } from "../../src/internal/core/sizes.ts"
import { same } from "./same.ts"

/** Where the members of lh_argument lie, in bytes. */
const offset = {
  kind: 0,
  dtype: 8,
  byteCount: 16,
  alignmentBytes: 24,
  address: 32,
  scalar: 40,
  rank: 48,
  reserved: 56,
  dims: 64
} as const

const entryBytes = 128

const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

const tensor = fc.record({
  kind: fc.constantFrom(...Object.values(ArgumentKind)),
  dtypeCode: fc.constantFrom(...Object.values(dtypes).map((dtype) => dtype.code)),
  byteCount: fc.maxSafeNat(),
  alignmentBytes: fc.integer({ min: 0, max: 30 }).map((exponent) => 2 ** exponent),
  shape: fc.array(fc.nat(2 ** 20), { maxLength: maxRank }),
  address: fc.maxSafeNat()
})

const integers = (bits: number, signed: boolean): fc.Arbitrary<number> =>
  signed
    ? fc.integer({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 })
    : fc.integer({ min: 0, max: 2 ** bits - 1 })

/** For each element type its values, and how they are read back. */
const scalars: {
  readonly [D in DTypeName]: {
    readonly values: fc.Arbitrary<number | bigint>
    readonly read: (bytes: DataView, at: number) => number | bigint
  }
} = {
  float16: { values: integers(16, false), read: (bytes, at) => bytes.getUint16(at, littleEndian) },
  bfloat16: { values: integers(16, false), read: (bytes, at) => bytes.getUint16(at, littleEndian) },
  float32: { values: fc.float(), read: (bytes, at) => bytes.getFloat32(at, littleEndian) },
  float64: { values: fc.double(), read: (bytes, at) => bytes.getFloat64(at, littleEndian) },
  int8: { values: integers(8, true), read: (bytes, at) => bytes.getInt8(at) },
  int16: { values: integers(16, true), read: (bytes, at) => bytes.getInt16(at, littleEndian) },
  int32: { values: integers(32, true), read: (bytes, at) => bytes.getInt32(at, littleEndian) },
  int64: {
    values: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    read: (bytes, at) => bytes.getBigInt64(at, littleEndian)
  },
  uint8: { values: integers(8, false), read: (bytes, at) => bytes.getUint8(at) },
  uint16: { values: integers(16, false), read: (bytes, at) => bytes.getUint16(at, littleEndian) },
  uint32: { values: integers(32, false), read: (bytes, at) => bytes.getUint32(at, littleEndian) },
  uint64: {
    values: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    read: (bytes, at) => bytes.getBigUint64(at, littleEndian)
  }
}

const bytesOf = (table: ArgumentTable): DataView => new DataView(table.cells.buffer)

const describeAll = (table: ArgumentTable): ArgumentTable => {
  for (let index = 0; index < table.count; index++) {
    table.describe(index, { kind: ArgumentKind.input, dtypeCode: 3, byteCount: 4, alignmentBytes: 64, shape: [1] })
  }
  return table
}

const tampered = (cell: number, value: number): () => void => {
  const table = describeAll(new ArgumentTable(2))
  table.checkInvariants()
  table.cells[argumentCells + cell] = value
  return () => table.checkInvariants()
}

describe("ArgumentTable", () => {
  it("has sixteen doubles an entry", () => {
    assert.strictEqual(argumentCells * 8, entryBytes)
    assert.strictEqual(new ArgumentTable(3).cells.byteLength, 3 * entryBytes)
  })

  it.prop(
    "lies in memory as lh_argument does",
    [fc.array(tensor, { minLength: 1, maxLength: 12 })],
    ([tensors]) => {
      const table = new ArgumentTable(tensors.length)
      for (const [index, { address, ...described }] of tensors.entries()) {
        table.describe(index, described)
        table.setAddress(index, address)
      }
      const bytes = bytesOf(table)
      const read = (index: number, at: number): number => bytes.getFloat64(index * entryBytes + at, littleEndian)
      for (const [index, expected] of tensors.entries()) {
        same(read(index, offset.kind), expected.kind)
        same(read(index, offset.dtype), expected.dtypeCode)
        same(read(index, offset.byteCount), expected.byteCount)
        same(read(index, offset.alignmentBytes), expected.alignmentBytes)
        same(read(index, offset.address), expected.address)
        same(table.address(index), expected.address)
        same(bytes.getBigUint64(index * entryBytes + offset.scalar), 0n)
        same(read(index, offset.rank), expected.shape.length)
        same(read(index, offset.reserved), 0)
        for (let dimension = 0; dimension < maxRank; dimension++) {
          same(read(index, offset.dims + dimension * 8), expected.shape[dimension] ?? 0)
        }
      }
    },
    { fastCheck: { numRuns: 500 } }
  )

  for (const [name, { read, values }] of Object.entries(scalars)) {
    assert(isDTypeName(name))
    it.prop(
      `writes a scalar of ${name} in its own type, from the first byte on, and nothing beside it`,
      [values, fc.nat(2)],
      ([value, index]) => {
        const table = describeAll(new ArgumentTable(3))
        const expected = table.cells.slice()
        table.setScalar(index, name, value)
        const at = index * entryBytes + offset.scalar
        same(read(bytesOf(table), at), value)
        const bytes = new Uint8Array(table.cells.buffer)
        const before = new Uint8Array(expected.buffer)
        const { elementBytes } = dtypes[name]
        same(bytes.every((byte, place) => byte === before[place] || (place >= at && place < at + elementBytes)), true)
      },
      { fastCheck: { numRuns: 300 } }
    )
  }

  it("keeps the bits of a double that is not a number", () => {
    const table = new ArgumentTable(1)
    table.setScalar(0, "float64", Number.NaN)
    assert.isNaN(bytesOf(table).getFloat64(offset.scalar, littleEndian))
    table.setScalar(0, "float64", -0)
    assert.isTrue(Object.is(bytesOf(table).getFloat64(offset.scalar, littleEndian), -0))
  })

  it("rounds a float32 scalar to the nearest that there is", () => {
    const table = new ArgumentTable(1)
    table.setScalar(0, "float32", 0.1)
    assert.strictEqual(bytesOf(table).getFloat32(offset.scalar, littleEndian), Math.fround(0.1))
  })

  it("leaves nothing of a longer shape behind when an argument is described again", () => {
    const table = new ArgumentTable(1)
    const tensor = { kind: ArgumentKind.input, dtypeCode: 3, byteCount: 96, alignmentBytes: 64 }
    table.describe(0, { ...tensor, shape: [2, 3, 4] })
    table.describe(0, { ...tensor, shape: [24] })
    assert.deepStrictEqual([...table.cells.subarray(8)], [24, 0, 0, 0, 0, 0, 0, 0])
    assert.strictEqual(table.cells[6], 1)
  })

  it("asserts that an argument belongs to the signature", () => {
    const tensor = { kind: ArgumentKind.input, dtypeCode: 3, byteCount: 4, alignmentBytes: 64, shape: [] }
    for (const index of [-1, 2, Number.NaN]) {
      assert.throws(() => new ArgumentTable(2).describe(index, tensor), /belongs to the signature/)
    }
  })

  it("asserts that a shape fits into the native ABI", () => {
    const tensor = { kind: ArgumentKind.input, dtypeCode: 3, byteCount: 4, alignmentBytes: 64 }
    const shape = Array.from({ length: maxRank }, () => 1)
    new ArgumentTable(1).describe(0, { ...tensor, shape })
    assert.throws(() => new ArgumentTable(1).describe(0, { ...tensor, shape: [...shape, 1] }), /no more dimensions/)
  })

  it("finds out when an entry is none", () => {
    assert.throws(() => new ArgumentTable(1).checkInvariants(), /has a kind/)
    assert.throws(tampered(0, 0), /has a kind/)
    assert.throws(tampered(0, 7), /has a known kind/)
    assert.throws(tampered(6, maxRank + 1), /within the native ABI/)
  })

  it("finds out when an empty tensor carries an address", () => {
    const table = new ArgumentTable(1)
    table.describe(0, { kind: ArgumentKind.input, dtypeCode: 3, byteCount: 0, alignmentBytes: 0, shape: [0] })
    table.checkInvariants()
    table.setAddress(0, 4096)
    assert.throws(() => table.checkInvariants(), /carries a null pointer/)
  })

  it("knows the element types by name, and no name that every object has", () => {
    for (const name of Object.keys(dtypes)) {
      assert.isTrue(isDTypeName(name))
    }
    for (const name of ["float33", "toString", "constructor", "__proto__", "", 3, null, undefined, ["int8"]]) {
      assert.isFalse(isDTypeName(name))
    }
  })

  it("counts an element as large as its typed array does", () => {
    const views = {
      Uint16Array,
      Float32Array,
      Float64Array,
      Int8Array,
      Int16Array,
      Int32Array,
      BigInt64Array,
      Uint8Array,
      Uint32Array,
      BigUint64Array
    }
    for (const { elementBytes, viewTag } of Object.values(dtypes)) {
      assert.strictEqual(elementBytes, views[viewTag].BYTES_PER_ELEMENT)
      assert.strictEqual(new views[viewTag](1)[Symbol.toStringTag], viewTag)
    }
  })
})
