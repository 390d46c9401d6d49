/**
 * An account: on whose behalf runs take memory, how much of it they may take together, and who of them waits. The runner has
 * one of its own, and one for each child budget.
 */
import { assert } from "../assert.ts"
import { noChunk, type Range, RangeAllocator, vacantRange } from "./rangeAllocator.ts"
import type { Ticket } from "./ticket.ts"

/** Memory that is set apart for one account: a range of a chunk, and who has taken which piece of it. */
export class Reservation {
  readonly byteCount: number
  readonly range: Range = vacantRange()
  /** Over the reserved range alone; without chunks while there is none. */
  space: RangeAllocator = new RangeAllocator([], [], 1)

  constructor(byteCount: number) {
    this.byteCount = byteCount
  }

  /** Carves the reservation out of the chunks. False, and nothing has changed, where it does not fit. */
  carve(chunks: RangeAllocator): boolean {
    if (!chunks.takeHighest(this.range, this.byteCount)) {
      return false
    }
    this.space = new RangeAllocator([chunks.address(this.range)], [this.byteCount], chunks.alignmentBytes)
    return true
  }

  /** The chunks that it was carved from are gone. */
  forget(): void {
    assert(this.space.inUseBytes === 0, "nobody uses a reservation whose chunks go")
    this.range.chunkIndex = noChunk
    this.space = new RangeAllocator([], [], 1)
  }
}

export class Account {
  readonly name: string
  /** The most bytes that its runs hold at once. */
  readonly maxBytes: number
  reservation: Reservation | undefined
  inUseBytes = 0
  highWaterBytes = 0
  activeCount = 0
  /** Whether it takes no runs any more. */
  isClosed = false
  /** Who waits, by arrival. */
  readonly queue: Array<Ticket> = []

  constructor(name: string, maxBytes: number, reservation?: Reservation) {
    this.name = name
    this.maxBytes = maxBytes
    this.reservation = reservation
  }

  hasQuotaFor(byteCount: number): boolean {
    return this.inUseBytes + byteCount <= this.maxBytes
  }

  hold(byteCount: number): void {
    this.activeCount += 1
    this.inUseBytes += byteCount
    this.highWaterBytes = Math.max(this.highWaterBytes, this.inUseBytes)
  }

  giveBack(byteCount: number): void {
    this.activeCount -= 1
    this.inUseBytes -= byteCount
  }
}
