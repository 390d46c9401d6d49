/**
 * Tickets: runs that may have to wait, and what they wait for.
 */
import type { Account } from "./account.ts"
import type { Slot } from "./slot.ts"

/** What a run needs of the temporary buffer. */
export interface Demand {
  /** The bytes of each of its ranges; the one at an index prefers the chunk of that index. */
  readonly rangeBytes: Float64Array
  /** What counts against its account: the sum of its ranges, or what is malloc'd for it. */
  readonly totalBytes: number
}

/** A run that may have to wait. */
export interface Ticket {
  readonly account: Account
  demand: Demand
  /** Earlier runs have smaller numbers. */
  readonly arrival: number
  /** Who waits, where that matters: a fiber. */
  readonly holder: unknown
  /**
   * - `waiting`: it has a place in its queue;
   * - `growing`: it is the head, and the buffer has to grow to `growToBytes` before it goes on;
   * - `admitted`: it has a slot;
   * - `refused`: it was told to go, and has lost its place;
   * - `withdrawn`: it went by itself.
   */
  state: "waiting" | "growing" | "admitted" | "refused" | "withdrawn"
  slot: Slot | undefined
  growToBytes: number
  /** Called when the state has changed and everything else stands as it will. */
  wake: () => void
  /** Asks what the run needs of chunks that are others now. `undefined` where it cannot run with them at all. */
  readonly measure: () => Demand | undefined
}
