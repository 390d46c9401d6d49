/**
 * The bump allocator: slices are cut from ranges by moving an offset. A plan is made with one, as if its run were alone and
 * every range began at zero.
 *
 * It knows numbers only. A range has a capacity, that of the chunk which it prefers; a slice is a range and an offset.
 */
import { assert } from "../assert.ts"
import { add, alignUp, invalidSize, isSize } from "./sizes.ts"

/** No range: what `take` answers when no range has room. */
export const noRange = -1

/** How slices lie, in the words of the backend's traits. */
export interface SliceRules {
  /** Every slice starts at a multiple of this, in absolute address. A power of two. */
  readonly alignmentBytes: number
  /** The length of every slice is rounded up to a multiple of this. */
  readonly granularityBytes: number
  /** Bytes behind every slice that the device may touch. */
  readonly tailBytes: number
}

/** What a slice of `byteCount` bytes occupies: rounded up to the granularity, plus the tail. */
export const sliceBytes = (byteCount: number, rules: SliceRules): number =>
  add(alignUp(byteCount, rules.granularityBytes), rules.tailBytes)

export class BumpAllocator {
  readonly rangeCount: number
  readonly capacityBytes: Float64Array
  /** How far each range is taken. */
  readonly usedBytes: Float64Array
  readonly rules: SliceRules
  /** Where the last slice taken starts in its range. */
  offsetBytes = 0

  constructor(capacityBytes: ReadonlyArray<number>, rules: SliceRules) {
    this.rangeCount = capacityBytes.length
    this.capacityBytes = Float64Array.from(capacityBytes)
    this.usedBytes = new Float64Array(this.rangeCount)
    this.rules = rules
  }

  /**
   * Cuts a slice from the first range that has room and returns the range's index, or `noRange`. The slice's start is in
   * `offsetBytes`. Nothing changes when there is no room.
   */
  take(byteCount: number): number {
    assert(isSize(byteCount), "a slice has a size")
    const length = sliceBytes(byteCount, this.rules)
    for (let rangeIndex = 0; rangeIndex < this.rangeCount; rangeIndex++) {
      const start = alignUp(this.usedBytes[rangeIndex]!, this.rules.alignmentBytes)
      const end = add(start, length)
      if (end !== invalidSize && end <= this.capacityBytes[rangeIndex]!) {
        this.usedBytes[rangeIndex] = end
        this.offsetBytes = start
        return rangeIndex
      }
    }
    return noRange
  }

  /** Bytes that are taken, padding included. */
  inUseBytes(): number {
    return this.usedBytes.reduce((sum, bytes) => sum + bytes, 0)
  }

  /** The largest piece that a slice could still be cut from, alignment and tail taken off. */
  largestFreeBytes(): number {
    let largest = 0
    for (let rangeIndex = 0; rangeIndex < this.rangeCount; rangeIndex++) {
      const start = alignUp(this.usedBytes[rangeIndex]!, this.rules.alignmentBytes)
      const free = this.capacityBytes[rangeIndex]! - start - this.rules.tailBytes
      if (start !== invalidSize && free > largest) {
        largest = free
      }
    }
    return largest - (largest % this.rules.granularityBytes)
  }

  checkInvariants(): void {
    for (let rangeIndex = 0; rangeIndex < this.rangeCount; rangeIndex++) {
      const used = this.usedBytes[rangeIndex]!
      assert(isSize(used), "a range is taken by a whole number of bytes")
      assert(used <= this.capacityBytes[rangeIndex]!, "a range is never taken beyond its end")
    }
  }
}
