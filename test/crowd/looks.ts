/** Looks at a runner's counters while a crowd is at work: whatever happens, they have to fit together. */
import { Effect } from "effect"
import type { RunnerStats } from "leasehold"
import type { Watch } from "./watch.ts"

export const look = (watch: Watch): Effect.Effect<RunnerStats.RunnerStats> =>
  watch.scheduler.undisturbed(Effect.map(
    Effect.zip(
      watch.runner.stats,
      Effect.suspend(() => Effect.forEach(watch.parties, ({ stats }) => stats ?? Effect.succeed(undefined)))
    ),
    ([stats, budgets]) => {
      watch.tally.looks += 1
      watch.tally.mostActive = Math.max(watch.tally.mostActive, stats.runs.active)
      const detail = (what: string) => () => `${what}: ${JSON.stringify({ ...stats, budgets })}`
      for (const [isSo, what] of [...buffer(stats, watch), ...runs(stats, watch)]) {
        watch.expect(isSo, detail(what))
      }
      const children = budgets.filter((budget) => budget !== undefined)
      const sum = (of: (budget: typeof children[number]) => number) =>
        children.reduce((total, budget) => total + of(budget), 0)
      watch.expect(
        budgets.every((budget, index) =>
          (budget?.inUseBytes ?? 0) <= (watch.parties[index]!.setup?.maxBytes ?? Infinity)
        ),
        detail("a child budget holds more than its quota")
      )
      watch.expect(
        sum(({ waiting }) => waiting) <= stats.runs.waiting,
        detail("more wait in child budgets than wait")
      )
      return stats
    }
  ))

type Check = readonly [isSo: boolean, what: string]

const buffer = ({ temporaryBuffer }: RunnerStats.RunnerStats, watch: Watch): ReadonlyArray<Check> => {
  const { freeBytes, highWaterBytes, inUseBytes, largestFreeBytes, maxBytes, paddingBytes, retainedBytes } =
    temporaryBuffer
  const last = watch.configurations.slice(-2)
  return [
    // With a zero budget what is in use was malloc'd for its run.
    [maxBytes === 0 || inUseBytes <= retainedBytes, "more is in use than is retained"],
    [
      retainedBytes <= Math.max(maxBytes, ...last.map((configuration) => configuration.maxBytes)),
      "promise 3: more is retained than the budget"
    ],
    [largestFreeBytes <= freeBytes, "the largest free piece is larger than what is free"],
    [maxBytes === 0 || freeBytes + inUseBytes <= retainedBytes, "more is free or in use than is retained"],
    [inUseBytes <= highWaterBytes && paddingBytes <= highWaterBytes, "the high water is below what is in use"]
  ]
}

const runs = ({ runs: counted, slots }: RunnerStats.RunnerStats, watch: Watch): ReadonlyArray<Check> => {
  const { active, begun, ended, failed, waiting, waitingBytes, waitingHighWater } = counted
  return [
    [active <= slots.count && slots.count === watch.setup.slots, "more runs are active than there are slots"],
    // One that has its slot may not have begun yet.
    [begun - ended <= active, "more runs have begun and not ended than are active"],
    [failed <= ended, "more runs have failed than have ended"],
    [active + waiting <= watch.inFlight.size, "more runs are active or wait than were asked for"],
    [begun <= watch.attemptCount, "more runs have begun than were asked for"],
    [waiting <= waitingHighWater || watch.setup.admission === "fail", "more wait than ever waited"],
    [waitingBytes >= 0 && (waiting > 0 || waitingBytes === 0), "nobody waits, but for some bytes"]
  ]
}
