/**
 * What a native backend itself has counted, independent of any runner.
 */
import type { Functions } from "../ffi/declarations.ts"

export interface Statistics {
  readonly liveBytes: number
  readonly liveCount: number
  readonly hostLiveBytes: number
  readonly hostLiveCount: number
  readonly mallocCount: number
  readonly freeCount: number
  readonly copyInCount: number
  readonly copyOutCount: number
  readonly fillCount: number
  readonly launchCount: number
  readonly copiedInBytes: number
  readonly copiedOutBytes: number
  /** Work whose ticket has not ended. */
  readonly inFlightCount: number
  /** Time that the device has spent, virtual or real; 0 where the device does not count it. */
  readonly clockNanos: number
}

/** Source: size asserted in `leasehold_host_api.h`. */
const structBytes = 144

/** Reads the counters of a context. Without one, all are 0. */
export const readStatistics = (functions: Functions, context: unknown): Statistics => {
  const counters: Record<string, number | bigint> = { struct_bytes: structBytes }
  if (context !== undefined) {
    functions.lh_statistics_get(context, counters)
  }
  // koffi answers a 64-bit field as a bigint where a number cannot hold it.
  const counter = (name: string): number => Number(counters[name] ?? 0)
  return {
    liveBytes: counter("live_bytes"),
    liveCount: counter("live_count"),
    hostLiveBytes: counter("host_live_bytes"),
    hostLiveCount: counter("host_live_count"),
    mallocCount: counter("malloc_count"),
    freeCount: counter("free_count"),
    copyInCount: counter("copy_in_count"),
    copyOutCount: counter("copy_out_count"),
    fillCount: counter("fill_count"),
    launchCount: counter("launch_count"),
    copiedInBytes: counter("copied_in_bytes"),
    copiedOutBytes: counter("copied_out_bytes"),
    inFlightCount: counter("in_flight_count"),
    clockNanos: counter("clock_nanos")
  }
}
