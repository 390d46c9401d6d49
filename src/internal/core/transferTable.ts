/**
 * The transfer table: the copies and fills of one native call, as flat cells that cross the boundary without conversion.
 * Source: `lh_transfer` of the native ABI, four doubles an entry.
 */
import { assert } from "../assert.ts"

/** Source: `LH_TRANSFER_*` of the native ABI. */
export const TransferKind = { copyIn: 1, copyOut: 2, fill: 3, hostCopy: 4, hostFill: 5 } as const
export type TransferKind = (typeof TransferKind)[keyof typeof TransferKind]

/** Cells of one entry, and where each lies in it. */
export const transferCells = 4
const kindCell = 0
const destinationCell = 1
const sourceCell = 2
const byteCountCell = 3

export class TransferTable {
  /** `transferCells` doubles an entry; only the first `count` entries mean something. */
  readonly cells: Float64Array
  readonly capacity: number
  #count = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.cells = new Float64Array(capacity * transferCells)
  }

  get count(): number {
    return this.#count
  }

  /** Appends an entry and returns its index. An address that is not known yet is 0 and set before the call. */
  push(kind: TransferKind, destination: number, source: number, byteCount: number): number {
    assert(this.#count < this.capacity, "a transfer table is made large enough")
    assert(byteCount > 0, "a transfer moves at least one byte")
    const entry = this.#count
    const cell = entry * transferCells
    this.cells[cell + kindCell] = kind
    this.cells[cell + destinationCell] = destination
    this.cells[cell + sourceCell] = source
    this.cells[cell + byteCountCell] = byteCount
    this.#count = entry + 1
    return entry
  }

  setDestination(entry: number, address: number): void {
    this.cells[entry * transferCells + destinationCell] = address
  }

  setSource(entry: number, address: number): void {
    this.cells[entry * transferCells + sourceCell] = address
  }

  kind(entry: number): number {
    return this.cells[entry * transferCells + kindCell]!
  }

  destination(entry: number): number {
    return this.cells[entry * transferCells + destinationCell]!
  }

  source(entry: number): number {
    return this.cells[entry * transferCells + sourceCell]!
  }

  byteCount(entry: number): number {
    return this.cells[entry * transferCells + byteCountCell]!
  }

  /** The bytes of all entries of a kind. */
  bytesOf(kind: TransferKind): number {
    let bytes = 0
    for (let entry = 0; entry < this.#count; entry++) {
      if (this.kind(entry) === kind) {
        bytes += this.byteCount(entry)
      }
    }
    return bytes
  }

  clear(): void {
    this.#count = 0
  }

  checkInvariants(): void {
    assert(this.#count >= 0 && this.#count <= this.capacity, "a transfer table holds no more than its capacity")
    for (let entry = 0; entry < this.#count; entry++) {
      const kind = this.kind(entry)
      assert(kind >= TransferKind.copyIn && kind <= TransferKind.hostFill, "a transfer has a kind")
      assert(Number.isSafeInteger(this.destination(entry)), "a destination is an address")
      assert(Number.isSafeInteger(this.source(entry)), "a source is an address or a byte")
      assert(this.byteCount(entry) > 0, "a transfer moves at least one byte")
    }
  }
}
