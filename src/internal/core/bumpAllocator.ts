/**
 * The bump allocator: slices are cut from chunks by moving an offset, and given back all at once when the run ends.
 *
 * It knows numbers only. Chunks have a base address and a capacity; a slice is a chunk index and an offset. One run at a
 * time holds the allocator, and its generation tells a later run's slices from an earlier run's.
 */
import { assert } from "../assert.ts"
import { add, alignUp, invalidSize, isSize } from "./sizes.ts"

/** No chunk: what `take` answers when no chunk has room. */
export const noChunk = -1

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
  readonly chunkCount: number
  readonly baseAddresses: Float64Array
  readonly capacityBytes: Float64Array
  /** How far each chunk is taken by the active run. */
  readonly usedBytes: Float64Array
  readonly rules: SliceRules
  /** Where the last slice taken starts in its chunk. */
  offsetBytes = 0

  /** Grows by one with every run that begins; the generation of the active run, or of the last one. */
  #generation = 0
  #active = false
  /** Ends of slices in the order taken, for `checkInvariants`. */
  #sliceCount = 0

  constructor(baseAddresses: ReadonlyArray<number>, capacityBytes: ReadonlyArray<number>, rules: SliceRules) {
    assert(baseAddresses.length === capacityBytes.length, "every chunk has a base and a capacity")
    this.chunkCount = baseAddresses.length
    this.baseAddresses = Float64Array.from(baseAddresses)
    this.capacityBytes = Float64Array.from(capacityBytes)
    this.usedBytes = new Float64Array(this.chunkCount)
    this.rules = rules
  }

  get generation(): number {
    return this.#generation
  }

  get active(): boolean {
    return this.#active
  }

  /** Starts a run on an allocator that has none, and returns its generation. */
  begin(): number {
    assert(!this.#active, "one run at a time holds the allocator")
    assert(this.#generation < Number.MAX_SAFE_INTEGER, "generations do not wrap")
    this.#active = true
    this.#sliceCount = 0
    this.#generation += 1
    return this.#generation
  }

  /** Whether `generation` is the run that holds the allocator now. */
  isCurrent(generation: number): boolean {
    return this.#active && generation === this.#generation
  }

  /**
   * Cuts a slice from the first chunk that has room and returns the chunk's index, or `noChunk`. The slice's start is in
   * `offsetBytes`. Nothing changes when there is no room.
   */
  take(byteCount: number): number {
    assert(this.#active, "slices are taken by a run")
    assert(isSize(byteCount), "a slice has a size")
    const length = sliceBytes(byteCount, this.rules)
    for (let chunkIndex = 0; chunkIndex < this.chunkCount; chunkIndex++) {
      const start = this.#alignedStart(chunkIndex)
      const end = start === invalidSize || length === invalidSize ? invalidSize : add(start, length)
      if (end !== invalidSize && end <= this.capacityBytes[chunkIndex]!) {
        this.usedBytes[chunkIndex] = end
        this.offsetBytes = start
        this.#sliceCount += 1
        return chunkIndex
      }
    }
    return noChunk
  }

  /** Takes at once what a plan laid out: one bump per chunk instead of one per slice. */
  takePlanned(plannedBytes: Float64Array): void {
    assert(this.#active, "slices are taken by a run")
    assert(plannedBytes.length === this.chunkCount, "the plan was made for these chunks")
    for (let chunkIndex = 0; chunkIndex < this.chunkCount; chunkIndex++) {
      assert(this.usedBytes[chunkIndex] === 0, "a plan takes a chunk from its start")
      assert(plannedBytes[chunkIndex]! <= this.capacityBytes[chunkIndex]!, "a plan lies inside its chunks")
      this.usedBytes[chunkIndex] = plannedBytes[chunkIndex]!
    }
  }

  /** Gives every slice of the run back. True the first time for a generation, false ever after. */
  end(generation: number): boolean {
    if (!this.isCurrent(generation)) {
      return false
    }
    this.#active = false
    this.usedBytes.fill(0)
    return true
  }

  /** Bytes that the active run holds, padding included. */
  inUseBytes(): number {
    return this.usedBytes.reduce((sum, bytes) => sum + bytes, 0)
  }

  /** The largest piece that a slice could still be cut from, alignment and tail taken off. */
  largestFreeBytes(): number {
    let largest = 0
    for (let chunkIndex = 0; chunkIndex < this.chunkCount; chunkIndex++) {
      const start = this.#alignedStart(chunkIndex)
      const free = this.capacityBytes[chunkIndex]! - start - this.rules.tailBytes
      if (start !== invalidSize && free > largest) {
        largest = free
      }
    }
    return largest - (largest % this.rules.granularityBytes)
  }

  checkInvariants(): void {
    assert(this.#active || this.inUseBytes() === 0, "without a run nothing is taken")
    assert(this.#sliceCount >= 0, "slices are counted up")
    for (let chunkIndex = 0; chunkIndex < this.chunkCount; chunkIndex++) {
      const used = this.usedBytes[chunkIndex]!
      assert(isSize(used), "a chunk is taken by a whole number of bytes")
      assert(used <= this.capacityBytes[chunkIndex]!, "a chunk is never taken beyond its end")
    }
  }

  /** Where the next slice of a chunk would start, aligned in absolute address. */
  #alignedStart(chunkIndex: number): number {
    const base = this.baseAddresses[chunkIndex]!
    const aligned = alignUp(add(base, this.usedBytes[chunkIndex]!), this.rules.alignmentBytes)
    return aligned === invalidSize ? invalidSize : aligned - base
  }
}
