/**
 * A runner's counters. They are plain numbers and the truth; metrics are read off them.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category models
 */
export interface RunnerStats {
  /** Where the runner stands. */
  readonly state: "ready" | "configuring" | "unconfigured" | "poisoned" | "closed"
  readonly temporaryBuffer: {
    readonly maxBytes: number
    /** Bytes of all chunks, as requested from the device. Never more than `maxBytes`. */
    readonly retainedBytes: number
    readonly chunkCount: number
    /** Bytes that active runs take, padding included; with a zero budget the bytes that were malloc'd for them. */
    readonly inUseBytes: number
    /** Bytes that are neither taken nor reserved, and the largest piece of them. */
    readonly freeBytes: number
    readonly largestFreeBytes: number
    /** Bytes that child budgets have reserved. */
    readonly reservedBytes: number
    /** How often the buffer has grown; only with `growth: "highWater"`. */
    readonly growths: number
    /** How often memory was given back by `trim`, and how much in all. */
    readonly trims: number
    readonly trimmedBytes: number
    /** The largest `inUseBytes` since the runner was made. */
    readonly highWaterBytes: number
    /** What of `highWaterBytes` was padding. */
    readonly paddingBytes: number
  }
  readonly residents: {
    readonly maxBytes: number
    readonly inUseBytes: number
    readonly highWaterBytes: number
    readonly count: number
  }
  readonly host: {
    /** Bytes of the staging areas. */
    readonly stagingBytes: number
    /** Bytes of the live host tensors. */
    readonly hostTensorBytes: number
  }
  /** Memory whose release failed or could not be waited for. It is never reused. */
  readonly quarantine: { readonly bytes: number; readonly count: number }
  readonly runs: {
    readonly begun: number
    readonly ended: number
    /** Runs that ended without their outputs copied back. */
    readonly failed: number
    /** Runs refused because there was no slot, no memory or no place in a queue for them. */
    readonly refused: number
    /** Runs that hold a slot: they are bound, or about to be. */
    readonly active: number
    /** Runs that had to wait for their turn, whatever came of it. */
    readonly waited: number
    /** Runs that wait now, what they need together, and the most that ever waited at once. */
    readonly waiting: number
    readonly waitingBytes: number
    readonly waitingHighWater: number
  }
  readonly slots: {
    /** How many runs may be bound at once. */
    readonly count: number
    /** Whether one run is staged while another executes: with more than one slot, on a device whose copies overlap. */
    readonly overlap: boolean
  }
  readonly device: {
    readonly mallocs: number
    readonly frees: number
    /** Native calls that submitted transfers of runs: staging. */
    readonly stageCalls: number
    /** Native calls that submitted transfers of runs: copying back. */
    readonly copyBackCalls: number
    /** Entries of all submitted tables that copied between host and device. */
    readonly transfers: number
    readonly launches: number
    readonly hostToDeviceBytes: number
    readonly deviceToHostBytes: number
  }
  readonly plans: { readonly hits: number; readonly misses: number }
  /** Releases that the device refused. Each is a warning in the log, and its bytes are in quarantine. */
  readonly releaseFailures: number
  /** Configurations that had to give the old chunks up before the new ones were there. */
  readonly configurationsWithoutOverlap: number
}
