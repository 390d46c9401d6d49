/**
 * What runs allocate on the JavaScript heap, and how often the young generation is collected for it.
 *
 * V8 says how much each collection gives back, so that what was allocated is known across collections too: what the heap
 * has grown by, and what collections took meanwhile.
 */
import { GCProfiler } from "node:v8"
import type { Batch } from "./measure.ts"

export interface Heap {
  /** JS heap that a run allocates, whether it becomes garbage or not. */
  readonly heapBytesPerRun: number
  readonly minorCollectionsPer1000Runs: number
}

const passes = 3
const maxRuns = 10_000
/** Slow contenders make fewer runs, but so many at least. */
const minRuns = 5
const maxNanos = 4e7

export const measureHeap = async (batch: Batch, nanosPerRun: number): Promise<Heap> => {
  const runs = Math.max(minRuns, Math.min(maxRuns, Math.floor(maxNanos / nanosPerRun)))
  let startBytes = Infinity
  let allBytes = Infinity
  let minorCollections = 0
  for (let pass = 0; pass < passes; pass++) {
    // What starting a batch and looking at the heap allocates, which is small but not nothing, is in both.
    const start = await allocated(batch, 1)
    const all = await allocated(batch, 1 + runs)
    // A compiler that is at work meanwhile can only add, to either.
    startBytes = Math.min(startBytes, start.bytes)
    allBytes = Math.min(allBytes, all.bytes)
    minorCollections += all.minorCollections
  }
  return {
    heapBytesPerRun: Math.max(0, (allBytes - startBytes) / runs),
    minorCollectionsPer1000Runs: minorCollections / (passes * (1 + runs)) * 1000
  }
}

/** What so many runs allocate, and the minor collections meanwhile. */
export const allocated = async (
  batch: Batch,
  runs: number
): Promise<{ readonly bytes: number; readonly minorCollections: number }> => {
  globalThis.gc?.()
  const profiler = new GCProfiler()
  profiler.start()
  const before = process.memoryUsage().heapUsed
  const pending = batch(runs)
  if (pending !== undefined) {
    await pending
  }
  const grownBytes = process.memoryUsage().heapUsed - before
  const { statistics } = profiler.stop()
  const collectedBytes = statistics.reduce(
    (sum, { afterGC, beforeGC }) => sum + beforeGC.heapStatistics.usedHeapSize - afterGC.heapStatistics.usedHeapSize,
    0
  )
  return {
    bytes: grownBytes + collectedBytes,
    minorCollections: statistics.filter(({ gcType }) => gcType === "Scavenge").length
  }
}
