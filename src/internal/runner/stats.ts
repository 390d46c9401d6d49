/**
 * A runner's counters as users see them.
 */
import type { RunnerStats } from "../../RunnerStats.ts"
import type { Lifecycle, RunnerState } from "./state.ts"

const stateNames: Readonly<Record<Lifecycle["_tag"], RunnerStats["state"]>> = {
  Ready: "ready",
  Configuring: "configuring",
  Unconfigured: "unconfigured",
  Poisoned: "poisoned",
  Closing: "closed",
  Closed: "closed"
}

export const readStats = (state: RunnerState): RunnerStats => {
  const { counters } = state
  const { admission, configuration, settings } = state
  return {
    state: stateNames[state.lifecycle._tag],
    temporaryBuffer: {
      maxBytes: configuration.maxBytes,
      retainedBytes: counters.retainedBytes,
      chunkCount: state.chunks.length,
      inUseBytes: counters.takenBytes + counters.freeLeaseBytes,
      freeBytes: admission.space.freeBytes(),
      largestFreeBytes: admission.space.largestFreeBytes(),
      reservedBytes: admission.reservedBytes,
      growths: counters.growths,
      trims: counters.trims,
      trimmedBytes: counters.trimmedBytes,
      highWaterBytes: counters.highWaterBytes,
      paddingBytes: counters.highWaterPaddingBytes
    },
    residents: {
      maxBytes: settings.residentMaxBytes,
      inUseBytes: counters.residentBytes,
      highWaterBytes: counters.residentHighWaterBytes,
      count: counters.residentCount
    },
    host: {
      stagingBytes: state.stagings.reduce((sum, { byteCount }) => sum + byteCount, state.moveStaging.byteCount),
      hostTensorBytes: counters.hostTensorBytes
    },
    quarantine: { bytes: counters.quarantinedBytes, count: counters.quarantinedCount },
    runs: {
      begun: counters.runsBegun,
      ended: counters.runsEnded,
      failed: counters.runsFailed,
      refused: counters.runsRefused,
      active: state.activeCount,
      waited: counters.runsWaited,
      waiting: admission.waitingCount,
      waitingBytes: admission.waitingBytes,
      waitingHighWater: counters.waitingHighWater
    },
    slots: { count: settings.slots, overlap: state.lanes.overlap },
    device: {
      mallocs: counters.mallocs,
      frees: counters.frees,
      stageCalls: counters.stageCalls,
      copyBackCalls: counters.copyBackCalls,
      transfers: counters.transfers,
      launches: counters.launches,
      hostToDeviceBytes: counters.hostToDeviceBytes,
      deviceToHostBytes: counters.deviceToHostBytes
    },
    plans: { hits: counters.planHits, misses: counters.planMisses },
    releaseFailures: counters.releaseFailures,
    configurationsWithoutOverlap: counters.configurationsWithoutOverlap
  }
}
