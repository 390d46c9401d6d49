/**
 * Measuring contenders side by side. What is compared takes turns within each round, and ratios are taken within a round:
 * when the machine is slower for a while, it is slower for all.
 */
import { constants, performance, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks"
import type { Timing } from "./report.ts"

/** Makes so many runs, one after the other. */
export type Batch = (runs: number) => void | Promise<void>

export interface Effort {
  /** How long a batch should take. Long against the cost of starting it. */
  readonly batchNanos: number
  /** How long each contender is run before it is timed, so that it is compiled. */
  readonly warmUpNanos: number
  /** How long all rounds together should take. */
  readonly totalNanos: number
  readonly minRounds: number
  readonly maxRounds: number
}

/** One contender's times, in the order of the rounds. */
export interface Times {
  readonly runsPerRound: number
  readonly nanosPerRun: ReadonlyArray<number>
}

const nanosOf = async (batch: Batch, runs: number): Promise<number> => {
  const begun = process.hrtime.bigint()
  const pending = batch(runs)
  if (pending !== undefined) {
    await pending
  }
  return Number(process.hrtime.bigint() - begun)
}

/** Warms a contender up, and answers how many of its runs make a batch. */
const calibrate = async (batch: Batch, effort: Effort): Promise<number> => {
  let spent = 0
  let runs = 1
  let fastest = Infinity
  while (spent < effort.warmUpNanos) {
    const nanos = await nanosOf(batch, runs)
    spent += nanos
    fastest = Math.min(fastest, nanos / runs)
    runs = runsWithin(effort.batchNanos, fastest)
  }
  return runs
}

const runsWithin = (nanos: number, nanosPerRun: number): number => Math.max(1, Math.round(nanos / nanosPerRun))

/** Times all contenders, turn by turn. The order shifts by one each round, so that nobody always follows the same. */
export const interleave = async (
  batches: ReadonlyArray<Batch>,
  effort: Effort
): Promise<ReadonlyArray<Times>> => {
  const times: Array<{ runsPerRound: number; nanosPerRun: Array<number> }> = []
  for (const batch of batches) {
    times.push({ runsPerRound: await calibrate(batch, effort), nanosPerRun: [] })
  }
  const begun = process.hrtime.bigint()
  for (let round = 0; round < effort.maxRounds; round++) {
    if (round >= effort.minRounds && Number(process.hrtime.bigint() - begun) > effort.totalNanos) {
      break
    }
    for (let turn = 0; turn < batches.length; turn++) {
      const index = (round + turn) % batches.length
      const { nanosPerRun, runsPerRound } = times[index]!
      nanosPerRun.push(await nanosOf(batches[index]!, runsPerRound) / runsPerRound)
    }
  }
  return times
}

/** The value below which `share` of all values lie. */
export const quantile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = values.toSorted((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

export const timingOf = ({ nanosPerRun, runsPerRound }: Times): Timing => ({
  nanosPerRun: median(nanosPerRun),
  p10: quantile(nanosPerRun, 0.1),
  p90: quantile(nanosPerRun, 0.9),
  rounds: nanosPerRun.length,
  runsPerRound
})

/** The median of the ratios within each round. */
export const ratio = (times: Times, to: Times): number =>
  median(times.nanosPerRun.map((nanos, round) => nanos / to.nanosPerRun[round]!))

/** How much a batch may allocate so that the young generation surely holds it. */
const quietBytes = 1_500_000
const quietNanos = 2e7

/**
 * JS heap that a run leaves behind, as garbage or not: what twice as many runs allocate more. `null` where a few runs alone
 * make collections necessary.
 */
export const heapBytesPerRun = async (batch: Batch, nanosPerRun: number): Promise<number | null> => {
  const few = await allocated(batch, 4)
  if (few === null) {
    return null
  }
  const runs = Math.max(2, Math.min(Math.floor(quietBytes * 2 / Math.max(few, 1)), runsWithin(quietNanos, nanosPerRun)))
  const figures: Array<number> = []
  for (let attempt = 0; attempt < 7; attempt++) {
    const once = await allocated(batch, runs)
    const twice = await allocated(batch, 2 * runs)
    if (once !== null && twice !== null) {
      figures.push((twice - once) / runs)
    }
  }
  return figures.length === 0 ? null : Math.max(0, median(figures))
}

const allocated = async (batch: Batch, runs: number): Promise<number | null> => {
  globalThis.gc?.()
  const { all, value } = await collecting(async () => {
    const before = process.memoryUsage().heapUsed
    await batch(runs)
    return process.memoryUsage().heapUsed - before
  })
  return all > 0 ? null : value
}

/** Minor collections in a thousand runs, from as many runs as fit the time. */
export const minorCollectionsPer1000Runs = async (batch: Batch, nanosPerRun: number): Promise<number> => {
  const runs = Math.max(1, Math.min(1000, runsWithin(5e7, nanosPerRun)))
  globalThis.gc?.()
  const { minor } = await collecting(async () => batch(runs))
  return minor / runs * 1000
}

const collecting = async <A>(
  work: () => Promise<A>
): Promise<{ readonly value: A; readonly all: number; readonly minor: number }> => {
  let all = 0
  let minor = 0
  const begun = performance.now()
  const observer = new PerformanceObserver((list) => {
    // A collection of before may be reported only now.
    for (const entry of list.getEntries().filter(({ startTime }) => startTime >= begun)) {
      const { kind } = (entry as PerformanceEntry & { readonly detail: { readonly kind: number } }).detail
      all += 1
      minor += kind === constants.NODE_PERFORMANCE_GC_MINOR ? 1 : 0
    }
  })
  observer.observe({ entryTypes: ["gc"] })
  const value = await work()
  // Entries arrive in a turn of the event loop of their own.
  await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
  observer.disconnect()
  return { value, all, minor }
}
