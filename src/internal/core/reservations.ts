/**
 * The reservations of all accounts together: where they lie in the chunks, and what they leave to share.
 */
import { assert } from "../assert.ts"
import type { Account } from "./account.ts"
import { type Range, RangeAllocator, vacantRange } from "./rangeAllocator.ts"
import { alignUp } from "./sizes.ts"

/** Whether a run has its ranges in a space, which is used up by asking. */
export const fits = (space: RangeAllocator, rangeBytes: Float64Array): boolean =>
  rangeBytes.every((byteCount, index) => byteCount === 0 || space.take(vacantRange(), byteCount, index))

export const reservedRanges = (accounts: Iterable<Account>): ReadonlyArray<Range> =>
  [...accounts].flatMap(({ reservation }) => reservation === undefined ? [] : [reservation.range])

/** The bytes of a chunk in which all reservations have room, in any order. */
export const bytesToReserve = (accounts: Iterable<Account>, alignmentBytes: number): number => {
  let byteCount = 0
  for (const { reservation } of accounts) {
    byteCount += alignUp(reservation?.byteCount ?? 0, alignmentBytes)
  }
  return byteCount
}

/** An empty space with all reservations taken from it, or nothing where they do not fit. */
export const carved = (accounts: Iterable<Account>, space: RangeAllocator): RangeAllocator | undefined => {
  for (const { reservation } of accounts) {
    if (reservation !== undefined && !space.takeHighest(vacantRange(), reservation.byteCount)) {
      return undefined
    }
  }
  return space
}

/**
 * A space as it is when nobody is active and its reservations were moved together. Nothing where they stay where they are:
 * between several chunks, where they could fit worse.
 */
export const gatheredSpace = (accounts: Iterable<Account>, space: RangeAllocator): RangeAllocator | undefined =>
  space.chunkCount === 1
    ? carved(accounts, new RangeAllocator(space.baseAddresses, space.capacityBytes, space.alignmentBytes))
    : undefined

/** Moves reservations together, so that what closed accounts left between them is one piece with the rest. */
export const gather = (accounts: Iterable<Account>, space: RangeAllocator): void => {
  if (gatheredSpace(accounts, space) === undefined) {
    return
  }
  for (const { reservation } of accounts) {
    if (reservation !== undefined) {
      space.release(reservation.range)
      reservation.forget()
    }
  }
  for (const { reservation } of accounts) {
    assert(reservation === undefined || reservation.carve(space), "what fitted a moment ago fits")
  }
}
