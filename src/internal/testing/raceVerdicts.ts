/**
 * Verdicts on schedules: what is wrong with a program under one of them.
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { clean as cleanCase, type Form } from "./cases.ts"
import type { Recorder } from "./recorder.ts"
import { ending } from "./report.ts"
import type { Trial } from "./trial.ts"
import { judge, type Verdict } from "./verdicts.ts"

/** What can be wrong with any trial, or that the program ended as it must not. */
export type RaceVerdict = Verdict | "UnexpectedExit"

export interface RaceFinding {
  readonly verdict: RaceVerdict
  /** A sentence. */
  readonly detail: string
}

export interface RaceJudging {
  /** Whether runs have to give the bytes of undisturbed ones. */
  readonly comparesOutputs: boolean
  /** Which exits are right; success alone where this is left out. */
  readonly accepts: ((exit: Exit.Exit<unknown, unknown>) => boolean) | undefined
}

export const judgeRace = (
  seen: { readonly trial: Trial; readonly recorder: Recorder },
  clean: Trial,
  form: Form,
  { accepts = Exit.isSuccess, comparesOutputs }: RaceJudging
): ReadonlyArray<RaceFinding> => {
  const { recorder, trial } = seen
  const { exit } = trial
  if (exit === undefined) {
    // What it held and had begun is nobody's fault now.
    return [{ verdict: "Stuck", detail: stuck(trial, recorder) }]
  }
  const findings = judge(trial, clean, cleanCase(form), { mayRecover: false, comparesOutputs })
  return accepts(exit)
    ? findings
    : [{ verdict: "UnexpectedExit", detail: `${ending(exit)}, which is not how it may end` }, ...findings]
}

const stuck = ({ ledger }: Trial, recorder: Recorder): string => {
  const names = recorder.waitingNames.map((name) => `"${name}"`).join(", ")
  return recorder.isRunaway
    ? `the program was given up after ${recorder.stepCount} steps; still at work: ${names}`
    : ledger.inFlight.length === 0
    ? `nothing is left to do, and these wait for ever: ${names}`
    : `these wait for ever: ${names}; in flight: ${ledger.inFlight.map(({ operation }) => operation).join(", ")}`
}

/** How a program ended, as a report counts it. */
export const wayOf = (exit: Exit.Exit<unknown, unknown> | undefined): string => {
  if (exit === undefined) {
    return "did not end"
  }
  if (Exit.isSuccess(exit)) {
    return "succeeded"
  }
  const tags = [...Cause.failures(exit.cause)].map((error) =>
    typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : "an error"
  )
  return Cause.isDie(exit.cause)
    ? "died"
    : tags.length === 0
    ? "interrupted"
    : `failed with ${[...new Set(tags)].toSorted().join(", ")}`
}
