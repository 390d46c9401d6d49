/**
 * What a sweep says: the sentence of one that passed, and the page of one that did not.
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { describe, render as renderLedger } from "../../testing/Ledger.ts"
import { describeOperation } from "./book.ts"
import { format } from "./cases.ts"
import type { Failure, Tally } from "./sweep.ts"

export const count = (value: number, noun: string): string =>
  `${value.toLocaleString("en-US")} ${noun}${value === 1 ? "" : "s"}`

/** What a sweep has tried, such as `127 operations, 1,016 faults, 412 interruptions`. */
export const tried = (tally: Pick<Tally, "operations" | "faultCases" | "interruptCases" | "pairCases">): string =>
  [
    count(tally.operations, "operation"),
    count(tally.faultCases, "fault"),
    count(tally.interruptCases, "interruption"),
    ...(tally.pairCases > 0 ? [count(tally.pairCases, "pair")] : [])
  ].join(", ")

/** How a case disturbs the program, in words. */
export const disturbance = ({ case: { faults, form, interrupt }, clean, trial }: Failure): ReadonlyArray<string> => [
  ...faults.map(({ kind, operation, persistence, target, timing }) => {
    const known = trial.operations[operation]
    const what = known === undefined ? target : describeOperation(known)
    return `operation ${operation} (${what}) fails ${timing} its effect, ${persistence}: ${kind}`
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

/** How the program ended, in one line. */
export const ending = (exit: Exit.Exit<unknown, unknown> | undefined): string =>
  exit === undefined
    ? "it did not end"
    : Exit.isSuccess(exit)
    ? "it succeeded"
    : Cause.isInterruptedOnly(exit.cause)
    ? "it was interrupted"
    : `it failed: ${Cause.pretty(exit.cause).split("\n")[0]!}`

/** A failure on a page of its own. */
export const page = (
  failure: Failure,
  header: { readonly name: string; readonly seed: number; readonly program: string }
): string => {
  const { finding, trial } = failure
  const others = failure.count > 1 ? ` (and ${count(failure.count - 1, "other case")} alike)` : ""
  return [
    `${finding.verdict}: ${finding.detail}${others}`,
    `  program:  ${header.name}, seed ${header.seed}`,
    ...disturbance(failure).map((line) => `  case:     ${line}`),
    `  program ended: ${ending(trial.exit)}`,
    ...trial.leftOpen.map((allocation) => `  left open: ${describe(allocation)}`),
    `  account:  ${renderLedger(trial.ledger).split("\n").join("\n            ")}`,
    `  replay:   FaultSweep.assertClean(${header.program}, { ...options, only: "${format(failure.case)}" })`
  ].join("\n")
}
