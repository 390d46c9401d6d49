/**
 * What a run would need, worked out without touching the device.
 *
 * @since 0.1.0
 */
import type { TensorLease } from "./TensorLease.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface RunPlan {
  /** The lease of every tensor that is not empty, in the order of the signature. */
  readonly leases: ReadonlyArray<TensorLease>
  /** The resolved dimension names. */
  readonly dims: Readonly<Record<string, number>>
  /** Bytes that the run takes of the temporary buffer, padding included; 0 with a zero budget. */
  readonly bufferBytes: number
  /** What of `bufferBytes` is alignment, granularity and tail. */
  readonly paddingBytes: number
  /** Device mallocs, and frees, of the run: 0 unless the budget is zero. */
  readonly deviceMallocs: number
  readonly hostToDeviceBytes: number
  readonly deviceToHostBytes: number
  /** Bytes that are zeroed on the device. */
  readonly clearedBytes: number
  /** Bytes of host staging; 0 where views are copied directly. */
  readonly stagingBytes: number
  /** Native calls that stage the run, clearing included: 0, 1, or 2 where large work leaves the event loop's thread. */
  readonly stageCalls: number
  /** Native calls that copy the outputs back, counted likewise. */
  readonly copyBackCalls: number
}
