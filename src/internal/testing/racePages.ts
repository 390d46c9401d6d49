/**
 * What an exploration says: the sentence of one that passed, and the page of one that did not.
 */
import { describeAllocation, renderSnapshot } from "./account.ts"
import type { RaceFailure, Tally } from "./interleave.ts"
import type { Recorder, TaskRecord } from "./recorder.ts"
import { count, ending } from "./report.ts"
import { format, type Schedule } from "./schedules.ts"

const numeral = (value: number): string => value.toLocaleString("en-US")

/** What was tried, such as `2,000 schedules of 3 fibers (random 1,500, PCT 500)`. */
export const tried = (
  tally: Pick<
    Tally,
    "scheduleCount" | "fiberCount" | "randomCount" | "pctCount" | "exhaustiveCount" | "knownCount"
  >,
  preemptions: number
): string => {
  const { exhaustiveCount, fiberCount, knownCount, pctCount, randomCount, scheduleCount } = tally
  const parts = [
    ...(randomCount > 0 ? [`random ${numeral(randomCount)}`] : []),
    ...(pctCount > 0 ? [`PCT ${numeral(pctCount)}`] : []),
    ...(exhaustiveCount === 0
      ? []
      : exhaustiveCount === knownCount
      ? [`all ${numeral(knownCount)} with at most ${count(preemptions, "preemption")}`]
      : [
        `${numeral(exhaustiveCount)} of at least ${numeral(knownCount)} with at most ${
          count(preemptions, "preemption")
        }`
      ])
  ]
  const how = parts.length === 0 ? "" : ` (${parts.join(", ")})`
  return `${count(scheduleCount, "schedule")} of ${count(fiberCount, "fiber")}${how}`
}

/** A failure on a page of its own. */
export const page = (
  failure: RaceFailure,
  header: { readonly name: string; readonly seed: number; readonly found: Schedule; readonly triedCount: number }
): string => {
  const { count: alike, finding, schedule, seen: { recorder, trial } } = failure
  const others = alike > 1 ? ` (and ${count(alike - 1, "other schedule")} alike)` : ""
  const found = format(header.found)
  const smallest = format(schedule)
  return [
    `${finding.verdict}: ${finding.detail}${others}`,
    `  program:  ${header.name}, seed ${header.seed}, ${count(header.triedCount, "schedule")} tried`,
    `  found by: ${found}`,
    ...(smallest === found ? [] : [`  shortest: ${smallest}`]),
    `  program ended: ${ending(trial.exit)}`,
    ...trial.leftOpen.map((allocation) => `  left open: ${describeAllocation(allocation)}`),
    `  account:  ${renderSnapshot(trial.ledger).split("\n").join("\n            ")}`,
    `  last tasks, in the order of time:`,
    ...recorder.tasks.map((task) => `    ${taskLine(recorder, task)}`),
    `  replay:   Interleavings.assertClean(program, { ...options, only: "${smallest}" })`
  ].join("\n")
}

const taskLine = (recorder: Recorder, { ending, fiber, operations, stepCount }: TaskRecord): string => {
  const made = operations.length === 0 ? "" : `: ${operations.join("; ")}`
  return `"${recorder.name(fiber)}" takes ${count(stepCount, "step")} and ${ending}${made}`
}
