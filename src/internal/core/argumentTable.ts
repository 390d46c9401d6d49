/**
 * The argument table: what a launch hands to a kernel, as flat cells that cross the boundary without conversion.
 * Source: `lh_argument` of the native ABI, sixteen doubles an entry, of which one holds a scalar's bytes.
 */
import { assert } from "../assert.ts"
import type { DTypeName } from "./dtypes.ts"
import { littleEndian, writeScalar } from "./scalars.ts"
import { maxRank } from "./sizes.ts"

/** Source: `LH_ARGUMENT_*` of the native ABI. */
export const ArgumentKind = { input: 1, output: 2, inout: 3, resident: 4, scratch: 5, scalar: 6 } as const
export type ArgumentKind = (typeof ArgumentKind)[keyof typeof ArgumentKind]

/** Cells of one entry, and where each lies in it. */
export const argumentCells = 16
const kindCell = 0
const dtypeCell = 1
const byteCountCell = 2
const alignmentCell = 3
const addressCell = 4
const scalarCell = 5
const rankCell = 6
const dimsCell = 8
const cellBytes = 8
/** A cell is written in halves, because no number in JavaScript has eight bytes of a whole number. */
const halfBytes = 4

export class ArgumentTable {
  readonly count: number
  readonly cells: Float64Array
  readonly #bytes: DataView

  constructor(count: number) {
    this.count = count
    this.cells = new Float64Array(count * argumentCells)
    this.#bytes = new DataView(this.cells.buffer)
  }

  /** Describes a tensor; its address is set apart. */
  describe(
    index: number,
    tensor: {
      readonly kind: ArgumentKind
      readonly dtypeCode: number
      readonly byteCount: number
      readonly alignmentBytes: number
      readonly shape: ReadonlyArray<number>
    }
  ): void {
    assert(index >= 0 && index < this.count, "an argument belongs to the signature")
    assert(tensor.shape.length <= maxRank, "a shape has no more dimensions than the native ABI")
    const cell = index * argumentCells
    this.cells[cell + kindCell] = tensor.kind
    this.cells[cell + dtypeCell] = tensor.dtypeCode
    this.cells[cell + byteCountCell] = tensor.byteCount
    this.cells[cell + alignmentCell] = tensor.alignmentBytes
    this.cells[cell + rankCell] = tensor.shape.length
    for (let dimension = 0; dimension < maxRank; dimension++) {
      this.cells[cell + dimsCell + dimension] = tensor.shape[dimension] ?? 0
    }
  }

  setAddress(index: number, address: number): void {
    this.cells[index * argumentCells + addressCell] = address
  }

  address(index: number): number {
    return this.cells[index * argumentCells + addressCell]!
  }

  /** Writes a scalar in its own type. The value was checked against the type before. */
  setScalar(index: number, dtype: DTypeName, value: number | bigint): void {
    writeScalar(this.#bytes, (index * argumentCells + scalarCell) * cellBytes, dtype, value)
  }

  /** The dimensions of a tensor in a table's cells, outermost first. */
  static shape(cells: Float64Array, index: number): ReadonlyArray<number> {
    const cell = index * argumentCells
    return [...cells.subarray(cell + dimsCell, cell + dimsCell + cells[cell + rankCell]!)]
  }

  /**
   * Writes the value of an argument as eight bytes, in the host's byte order: the address of a tensor, or a scalar from the first
   * byte on. `source` is over the bytes of the cells.
   */
  static writeValue(cells: Float64Array, source: DataView, index: number, target: DataView, offset: number): void {
    const cell = index * argumentCells
    if (cells[cell + kindCell] === ArgumentKind.scalar) {
      const scalar = (cell + scalarCell) * cellBytes
      target.setUint32(offset, source.getUint32(scalar))
      target.setUint32(offset + halfBytes, source.getUint32(scalar + halfBytes))
      return
    }
    const address = cells[cell + addressCell]!
    const high = Math.floor(address / 2 ** 32)
    target.setUint32(offset + (littleEndian ? 0 : halfBytes), address - high * 2 ** 32, littleEndian)
    target.setUint32(offset + (littleEndian ? halfBytes : 0), high, littleEndian)
  }

  checkInvariants(): void {
    for (let index = 0; index < this.count; index++) {
      const cell = index * argumentCells
      const byteCount = this.cells[cell + byteCountCell]!
      const address = this.cells[cell + addressCell]!
      assert(this.cells[cell + kindCell]! >= ArgumentKind.input, "an argument has a kind")
      assert(this.cells[cell + kindCell]! <= ArgumentKind.scalar, "an argument has a known kind")
      assert(this.cells[cell + rankCell]! <= maxRank, "a rank is within the native ABI")
      assert(byteCount > 0 || address === 0, "an empty tensor carries a null pointer")
    }
  }
}
