/**
 * Measuring contenders side by side. What is compared takes turns within each round, and ratios are taken within a round:
 * when the machine is slower for a while, it is slower for all.
 */
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

/** The order of a round's turns, another in each round, so that nobody always follows the same. The same in every process. */
export const orderOf = (round: number, count: number): ReadonlyArray<number> => {
  const order = Array.from({ length: count }, (_, index) => index)
  // A linear congruential generator. Source: Numerical Recipes, "Random Numbers".
  let state = round + 1
  for (let last = count - 1; last > 0; last--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    const other = Math.floor(state / 2 ** 32 * (last + 1))
    const moved = order[last]!
    order[last] = order[other]!
    order[other] = moved
  }
  return order
}

/** Times all contenders, turn by turn. */
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
    for (const index of orderOf(round, batches.length)) {
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
