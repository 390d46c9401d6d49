/**
 * Finding host ranges that share memory, where one of the two is written.
 *
 * The ranges are walked in the order of their addresses, which is kept from one look to the next: views seldom move, so
 * the order is nearly right already.
 */
import { assert } from "../assert.ts"

/** Two ranges that share memory: `written` is one that is written. */
export interface Overlap {
  readonly written: number
  readonly other: number
}

/** How far ranges may move while the order is put right, for each range; beyond it sorting anew is cheaper. */
const maxShiftsPerRange = 8

export class Overlaps {
  readonly #order: Uint32Array
  readonly #isWritten: Uint8Array

  /** `isWritten` says of each range whether it is written: 1 or 0. */
  constructor(isWritten: Uint8Array) {
    this.#order = Uint32Array.from(isWritten, (_, index) => index)
    this.#isWritten = isWritten
  }

  /**
   * Looks for two ranges that share a byte, of which one is written. Ranges at address 0 and ranges without bytes are
   * passed over. Costs one pass where few ranges have moved since the last look, one sort else.
   */
  find(addresses: Float64Array, byteCounts: Float64Array): Overlap | undefined {
    assert(addresses.length === this.#order.length, "every range has an address")
    assert(byteCounts.length === this.#order.length, "every range has a length")
    this.#sort(addresses)
    // The range that reaches farthest of all so far, and the written one that does.
    let farthest = -1
    let farthestWritten = -1
    let farthestEnd = 0
    let farthestWrittenEnd = 0
    for (const index of this.#order) {
      const start = addresses[index]!
      if (start === 0 || byteCounts[index] === 0) {
        continue
      }
      const end = start + byteCounts[index]!
      const writes = this.#isWritten[index] === 1
      if (start < (writes ? farthestEnd : farthestWrittenEnd)) {
        return writes ? { written: index, other: farthest } : { written: farthestWritten, other: index }
      }
      if (end > farthestEnd) {
        farthest = index
        farthestEnd = end
      }
      if (writes && end > farthestWrittenEnd) {
        farthestWritten = index
        farthestWrittenEnd = end
      }
    }
    return undefined
  }

  #sort(addresses: Float64Array): void {
    const order = this.#order
    let shiftsLeft = order.length * maxShiftsPerRange
    for (let position = 1; position < order.length; position++) {
      const index = order[position]!
      const address = addresses[index]!
      let hole = position
      while (hole > 0 && addresses[order[hole - 1]!]! > address) {
        order[hole] = order[hole - 1]!
        hole -= 1
        shiftsLeft -= 1
      }
      order[hole] = index
      if (shiftsLeft < 0) {
        order.sort((left, right) => addresses[left]! - addresses[right]!)
        return
      }
    }
  }
}
