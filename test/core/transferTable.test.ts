import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { transferCells, TransferKind, TransferTable } from "../../src/internal/core/transferTable.ts"
import { same } from "./same.ts"

const kind = fc.constantFrom(...Object.values(TransferKind))

const entry = fc.record({
  kind,
  destination: fc.maxSafeNat(),
  source: fc.maxSafeNat(),
  byteCount: fc.integer({ min: 1, max: 2 ** 40 })
})

const tableOf = (entries: ReadonlyArray<typeof entry extends fc.Arbitrary<infer E> ? E : never>): TransferTable => {
  const table = new TransferTable(entries.length)
  entries.forEach(({ byteCount, destination, kind, source }) => table.push(kind, destination, source, byteCount))
  return table
}

const tampered = (cell: number, value: number): () => void => {
  const table = new TransferTable(2)
  table.push(TransferKind.copyIn, 8, 16, 24)
  table.push(TransferKind.hostFill, 8, 255, 24)
  table.checkInvariants()
  table.cells[transferCells + cell] = value
  return () => table.checkInvariants()
}

describe("TransferTable", () => {
  it.prop(
    "lies in memory as lh_transfer does: kind, destination, source and byte_count, 32 bytes an entry",
    [fc.array(entry, { maxLength: 40 })],
    ([entries]) => {
      const table = tableOf(entries)
      table.checkInvariants()
      const bytes = new DataView(table.cells.buffer)
      same(table.count, entries.length)
      same(bytes.byteLength, entries.length * 32)
      for (const [index, expected] of entries.entries()) {
        same(bytes.getFloat64(index * 32, true), expected.kind)
        same(bytes.getFloat64(index * 32 + 8, true), expected.destination)
        same(bytes.getFloat64(index * 32 + 16, true), expected.source)
        same(bytes.getFloat64(index * 32 + 24, true), expected.byteCount)
        same(table.kind(index), expected.kind)
        same(table.destination(index), expected.destination)
        same(table.source(index), expected.source)
        same(table.byteCount(index), expected.byteCount)
      }
    },
    { fastCheck: { numRuns: 1000 } }
  )

  it.prop(
    "sums the bytes of each kind, and of no entry that was cleared",
    [fc.array(entry, { maxLength: 40 }), fc.array(entry, { maxLength: 3 })],
    ([entries, later]) => {
      const sum = (of: typeof entries, kind: TransferKind): number =>
        of.reduce((total, candidate) => total + (candidate.kind === kind ? candidate.byteCount : 0), 0)
      const table = new TransferTable(Math.max(entries.length, later.length))
      for (const round of [entries, later]) {
        table.clear()
        same(table.count, 0)
        round.forEach(({ byteCount, destination, kind, source }) => table.push(kind, destination, source, byteCount))
        for (const kind of Object.values(TransferKind)) {
          same(table.bytesOf(kind), sum(round, kind))
        }
      }
    },
    { fastCheck: { numRuns: 1000 } }
  )

  it.prop(
    "changes one address of one entry and nothing else",
    [fc.array(entry, { minLength: 1, maxLength: 8 }), fc.nat(7), fc.maxSafeNat(), fc.boolean()],
    ([entries, position, address, isSource]) => {
      const at = position % entries.length
      const table = tableOf(entries)
      const expected = table.cells.slice()
      expected[at * transferCells + (isSource ? 2 : 1)] = address
      if (isSource) {
        table.setSource(at, address)
      } else {
        table.setDestination(at, address)
      }
      assert.deepStrictEqual(table.cells, expected)
    }
  )

  it("answers the index of each entry as it is appended", () => {
    const table = new TransferTable(2)
    assert.strictEqual(table.push(TransferKind.copyIn, 0, 0, 1), 0)
    assert.strictEqual(table.push(TransferKind.fill, 0, 255, 1), 1)
    table.clear()
    assert.strictEqual(table.push(TransferKind.copyOut, 0, 0, 1), 0)
  })

  it("asserts that it is made large enough", () => {
    const table = new TransferTable(1)
    table.push(TransferKind.copyIn, 1, 2, 3)
    assert.throws(() => table.push(TransferKind.copyIn, 1, 2, 3), /large enough/)
    assert.strictEqual(table.count, 1)
    assert.throws(() => new TransferTable(0).push(TransferKind.copyIn, 1, 2, 3), /large enough/)
  })

  it("asserts that a transfer moves at least one byte", () => {
    for (const byteCount of [0, -1, Number.NaN]) {
      const table = new TransferTable(1)
      assert.throws(() => table.push(TransferKind.copyIn, 1, 2, byteCount), /at least one byte/)
      assert.strictEqual(table.count, 0)
    }
  })

  it("finds out when an entry is none", () => {
    for (const value of [0, 6, Number.NaN]) {
      assert.throws(tampered(0, value), /has a kind/)
    }
    for (const value of [0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(tampered(1, value), /a destination is an address/)
      assert.throws(tampered(2, value), /a source is an address/)
    }
    for (const value of [0, -1, Number.NaN]) {
      assert.throws(tampered(3, value), /at least one byte/)
    }
  })
})
