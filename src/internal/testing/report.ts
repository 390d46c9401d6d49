/**
 * What a sweep says: the sentence of one that passed, and the page of one that did not.
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { describeAllocation, renderSnapshot } from "./account.ts"
import { describeOperation } from "./book.ts"
import { type FaultPoint, format } from "./cases.ts"
import type { Failure, Tally } from "./sweep.ts"

export const count = (value: number, noun: string): string =>
  `${value.toLocaleString("en-US")} ${noun}${value === 1 ? "" : "s"}`

/** What a sweep has tried, such as `127 operations, 1,016 faults, 412 interruptions`. */
export const tried = (
  tally: Pick<Tally, "operations" | "faultCases" | "interruptCases" | "pairCases" | "pointCount">
): string => {
  const { faultCases, interruptCases, operations, pairCases, pointCount } = tally
  return [
    count(operations, "operation"),
    count(faultCases, "fault"),
    count(interruptCases, "interruption"),
    ...(pairCases > 0 ? [count(pairCases, "pair")] : []),
    ...(faultCases + interruptCases < pointCount ? [`a sample of ${pointCount.toLocaleString("en-US")}`] : [])
  ].join(", ")
}

const persistenceWords: Record<FaultPoint["persistence"], string> = {
  once: "once",
  always: "and so does every later one",
  everyOther: "and so does every other one after it"
}

/** What a fault makes of an operation, in words. */
const fate = ({ kind, persistence, timing }: FaultPoint): string => {
  const when = timing === "before" ? "before it had any effect" : "after it had taken effect"
  const often = persistenceWords[persistence]
  switch (kind) {
    case "error":
      return `fails ${when}, ${often}`
    case "outOfMemory":
      return `fails for want of memory ${when}, ${often}`
    case "deviceLost":
      return `loses the device ${when}, ${often}`
    case "defect":
      return `throws ${when}, ${often}`
    case "hang":
      return `hangs ${when}, ${often}`
    default:
      return `says that it succeeded and has done ${timing === "before" ? "nothing" : "half of its work"}, ${often}`
  }
}

/** How a case disturbs the program, in words. */
export const disturbance = ({ case: { faults, form, interrupt }, clean, trial }: Failure): ReadonlyArray<string> => [
  ...faults.map((point) => {
    const known = trial.operations[point.operation]
    return known === undefined
      ? `operation ${point.operation}, ${point.target}, ${fate(point)}`
      : `operation ${point.operation} at step ${known.step} of ${clean.steps.length}, ${describeOperation(known)}, ` +
        fate(point)
  }),
  ...(interrupt === undefined ? [] : [
    `${interrupt.target === "root" ? "the program is" : "the fiber at work is"} interrupted at ` +
    `${interrupt.mode === "every" ? "step" : "task"} ${interrupt.step} of ` +
    `${interrupt.mode === "every" ? clean.steps.length : clean.taskCount}, ${after(trial)}`
  ]),
  ...(faults.length === 0 && interrupt === undefined ? [`undisturbed, in the form "${form}"`] : [])
]

const after = ({ operationCountAtInterrupt, operations }: Failure["trial"]): string => {
  const last = operations[operationCountAtInterrupt - 1]
  return last === undefined ? "before the first operation" : `after ${describeOperation(last)}`
}

/** What is worth knowing about where an interruption came. */
const hint = ({ case: { interrupt }, clean }: Failure): ReadonlyArray<string> =>
  interrupt?.mode === "every" && interrupt.step < clean.buildingStepCount
    ? [
      "the layers were being built. Layer.merge, mergeAll and provideMerge of Effect 3 do not stand an interruption at each " +
      "of their steps; interruptions: [\"runner\", \"reachable\"] leaves those out"
    ]
    : []

/** How the program ended, in one line. */
export const ending = (exit: Exit.Exit<unknown, unknown> | undefined): string =>
  exit === undefined
    ? "it did not end"
    : Exit.isSuccess(exit)
    ? "it succeeded"
    : Cause.isInterruptedOnly(exit.cause)
    ? "it was interrupted"
    : `it failed: ${Cause.pretty(exit.cause).split("\n")[0]!}`

const labelWidth = 14

/** A failure on a page of its own. */
export const page = (
  failure: Failure,
  header: { readonly name: string; readonly seed: number; readonly program: string }
): string => {
  const { finding, trial } = failure
  const others = failure.count > 1 ? ` (and ${count(failure.count - 1, "other case")} alike)` : ""
  // What the sentence above says already is not said again.
  const leftOpen = trial.leftOpen.map(describeAllocation).filter((allocation) => !finding.detail.includes(allocation))
  return [
    `${finding.verdict}: ${finding.detail}${others}`,
    ...[
      ["program", `${header.name}, seed ${header.seed}`],
      ...disturbance(failure).map((line) => ["case", line]),
      ...hint(failure).map((line) => ["hint", line]),
      ["ended", ending(trial.exit)],
      ...leftOpen.map((allocation) => ["left open", allocation]),
      ["in the end", renderSnapshot(trial.ledger).split("\n").join(`\n${" ".repeat(labelWidth)}`)],
      ["replay", `FaultSweep.assertClean(${header.program}, { ...options, only: "${format(failure.case)}" })`]
    ].map(([label, line]) => `  ${`${label}:`.padEnd(labelWidth - 2)}${line}`)
  ].join("\n")
}
