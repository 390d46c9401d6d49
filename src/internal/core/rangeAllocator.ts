/**
 * The range allocator: which pieces of the chunks are taken. A run takes one range for each chunk that its plan needs, and
 * gives them back when it ends; a reservation takes one for as long as it stands.
 *
 * Ranges start at aligned absolute addresses, so that a plan, made as if it began at zero, lies right wherever its ranges
 * do. A range is an object of its taker's, filled in here, so that taking one allocates nothing.
 */
import { assert } from "../assert.ts"
import { alignDown } from "./sizes.ts"

/** The chunk of a range that nobody has taken. */
export const noChunk = -1

export interface Range {
  /** The chunk, or `noChunk` where nothing is taken. */
  chunkIndex: number
  startBytes: number
  byteCount: number
}

export const vacantRange = (): Range => ({ chunkIndex: noChunk, startBytes: 0, byteCount: 0 })

/** How far the next multiple of the alignment is. The address there may be larger than any that can be counted. */
const bytesToBoundary = (address: number, alignmentBytes: number): number => {
  const past = address % alignmentBytes
  return past === 0 ? 0 : alignmentBytes - past
}

export class RangeAllocator {
  readonly chunkCount: number
  readonly baseAddresses: ReadonlyArray<number>
  readonly capacityBytes: ReadonlyArray<number>
  readonly alignmentBytes: number
  /** For each chunk the ranges taken, by where they start. */
  readonly #taken: ReadonlyArray<Array<Range>>
  /** For each chunk where the first aligned range can start. */
  readonly #firstBytes: ReadonlyArray<number>
  #inUseBytes = 0

  constructor(
    baseAddresses: ReadonlyArray<number>,
    capacityBytes: ReadonlyArray<number>,
    alignmentBytes: number
  ) {
    assert(baseAddresses.length === capacityBytes.length, "every chunk has a base and a capacity")
    this.chunkCount = baseAddresses.length
    this.baseAddresses = baseAddresses
    this.capacityBytes = capacityBytes
    this.alignmentBytes = alignmentBytes
    this.#taken = baseAddresses.map(() => [])
    this.#firstBytes = baseAddresses.map((base) => bytesToBoundary(base, alignmentBytes))
  }

  /** Bytes of all ranges taken. */
  get inUseBytes(): number {
    return this.#inUseBytes
  }

  /**
   * Takes the lowest free range of so many bytes, in the preferred chunk if it has room. False, and nothing has changed,
   * where no chunk has room in one piece.
   */
  take(range: Range, byteCount: number, preferredChunk: number): boolean {
    assert(range.chunkIndex === noChunk, "a range is taken once")
    assert(byteCount > 0, "a range has bytes")
    for (let step = 0; step < this.chunkCount; step++) {
      if (this.#takeLowest(range, byteCount, (preferredChunk + step) % this.chunkCount)) {
        return true
      }
    }
    return false
  }

  /** Takes the highest free range of so many bytes, out of the way of what comes and goes. */
  takeHighest(range: Range, byteCount: number): boolean {
    assert(range.chunkIndex === noChunk, "a range is taken once")
    assert(byteCount > 0, "a range has bytes")
    for (let chunkIndex = this.chunkCount - 1; chunkIndex >= 0; chunkIndex--) {
      const taken = this.#taken[chunkIndex]!
      for (let position = taken.length; position >= 0; position--) {
        const end = taken[position]?.startBytes ?? this.capacityBytes[chunkIndex]!
        const startBytes = this.#alignedDown(chunkIndex, end - byteCount)
        if (startBytes >= this.#gapStart(chunkIndex, position)) {
          this.#insert(range, chunkIndex, startBytes, byteCount, position)
          return true
        }
      }
    }
    return false
  }

  /** Gives a range back. */
  release(range: Range): void {
    const taken = this.#taken[range.chunkIndex]
    assert(taken !== undefined, "a range that is given back was taken")
    const position = taken.length === 1 && taken[0] === range ? 0 : taken.indexOf(range)
    assert(position >= 0, "a range is given back to where it was taken")
    if (position === taken.length - 1) {
      taken.pop()
    } else {
      taken.splice(position, 1)
    }
    this.#inUseBytes -= range.byteCount
    range.chunkIndex = noChunk
  }

  /** Where a range begins on the device. */
  address(range: Range): number {
    return this.baseAddresses[range.chunkIndex]! + range.startBytes
  }

  /** For each chunk the bytes from its first aligned address on: what one run can have of it. */
  usableBytes(): ReadonlyArray<number> {
    return this.capacityBytes.map((byteCount, chunkIndex) => Math.max(0, byteCount - this.#firstBytes[chunkIndex]!))
  }

  /** All bytes that a range could be cut from, alignment taken off. */
  freeBytes(): number {
    let free = 0
    this.#eachGap((byteCount) => {
      free += byteCount
    })
    return free
  }

  /** The largest range that could be taken now. */
  largestFreeBytes(): number {
    let largest = 0
    this.#eachGap((byteCount) => {
      largest = Math.max(largest, byteCount)
    })
    return largest
  }

  /** The same chunks with copies of only these ranges taken: to ask what would be if the others ended. */
  withOnly(ranges: Iterable<Range>): RangeAllocator {
    const copy = new RangeAllocator(this.baseAddresses, this.capacityBytes, this.alignmentBytes)
    for (const { byteCount, chunkIndex, startBytes } of ranges) {
      if (chunkIndex !== noChunk) {
        const taken = copy.#taken[chunkIndex]!
        const position = taken.findIndex((other) => other.startBytes > startBytes)
        copy.#insert(vacantRange(), chunkIndex, startBytes, byteCount, position < 0 ? taken.length : position)
      }
    }
    return copy
  }

  checkInvariants(): void {
    let inUseBytes = 0
    for (let chunkIndex = 0; chunkIndex < this.chunkCount; chunkIndex++) {
      let end = 0
      for (const range of this.#taken[chunkIndex]!) {
        assert(range.chunkIndex === chunkIndex, "a range lies in the chunk that it says")
        assert(
          (this.baseAddresses[chunkIndex]! + range.startBytes) % this.alignmentBytes === 0,
          "a range is aligned in absolute address"
        )
        assert(range.startBytes >= end, "ranges do not overlap")
        end = range.startBytes + range.byteCount
        inUseBytes += range.byteCount
      }
      assert(end <= this.capacityBytes[chunkIndex]!, "a range lies inside its chunk")
    }
    assert(inUseBytes === this.#inUseBytes, "bytes in use are those of the ranges taken")
  }

  #takeLowest(range: Range, byteCount: number, chunkIndex: number): boolean {
    const taken = this.#taken[chunkIndex]!
    for (let position = 0; position <= taken.length; position++) {
      const startBytes = this.#gapStart(chunkIndex, position)
      const end = position < taken.length ? taken[position]!.startBytes : this.capacityBytes[chunkIndex]!
      if (startBytes + byteCount <= end) {
        this.#insert(range, chunkIndex, startBytes, byteCount, position)
        return true
      }
    }
    return false
  }

  /** Where the gap before the range at `position` starts, aligned. */
  #gapStart(chunkIndex: number, position: number): number {
    if (position === 0) {
      return this.#firstBytes[chunkIndex]!
    }
    const before = this.#taken[chunkIndex]![position - 1]!
    const end = before.startBytes + before.byteCount
    return end + bytesToBoundary(this.baseAddresses[chunkIndex]! + end, this.alignmentBytes)
  }

  #alignedDown(chunkIndex: number, startBytes: number): number {
    const base = this.baseAddresses[chunkIndex]!
    return startBytes < 0 ? -1 : alignDown(base + startBytes, this.alignmentBytes) - base
  }

  #insert(range: Range, chunkIndex: number, startBytes: number, byteCount: number, position: number): void {
    range.chunkIndex = chunkIndex
    range.startBytes = startBytes
    range.byteCount = byteCount
    const taken = this.#taken[chunkIndex]!
    if (position === taken.length) {
      taken.push(range)
    } else {
      taken.splice(position, 0, range)
    }
    this.#inUseBytes += byteCount
  }

  #eachGap(use: (byteCount: number) => void): void {
    for (let chunkIndex = 0; chunkIndex < this.chunkCount; chunkIndex++) {
      const taken = this.#taken[chunkIndex]!
      for (let position = 0; position <= taken.length; position++) {
        const end = position < taken.length ? taken[position]!.startBytes : this.capacityBytes[chunkIndex]!
        use(Math.max(0, end - this.#gapStart(chunkIndex, position)))
      }
    }
  }
}
