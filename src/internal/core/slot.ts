/**
 * A slot: one run's worth of temporary buffer.
 */
import type { Account } from "./account.ts"
import type { Range, RangeAllocator } from "./rangeAllocator.ts"

/** A place among the runs that are bound, and the ranges that its run holds. */
export class Slot {
  readonly index: number
  /** One for each range of a plan, in its order. */
  readonly ranges: Array<Range> = []
  /** Where the ranges were taken: the chunks, or the reservation of the account. */
  space: RangeAllocator | undefined
  account: Account | undefined
  /** Who holds it, where that matters: a fiber. */
  holder: unknown
  byteCount = 0

  constructor(index: number) {
    this.index = index
  }

  /** Where a range of its run begins on the device. */
  address(range: number): number {
    return this.space!.address(this.ranges[range]!)
  }

  /** Where a range of its run lies in the chunks, also where it was cut from a reservation. */
  locate(range: number): Pick<Range, "chunkIndex" | "startBytes"> {
    const { chunkIndex, startBytes } = this.ranges[range]!
    const reservation = this.account?.reservation
    return reservation?.space === this.space && reservation !== undefined
      ? { chunkIndex: reservation.range.chunkIndex, startBytes: reservation.range.startBytes + startBytes }
      : { chunkIndex, startBytes }
  }
}
