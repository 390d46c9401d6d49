/** Summing up a campaign: what the sweeps of all scenarios come to, and what was never hit. */
import { Errors } from "leasehold"
import type { FaultSweep } from "leasehold/testing"
import { operationKinds } from "../../src/internal/testing/operations.ts"
import type { MutantOutcome } from "./mutants/index.ts"
import { allScenarios as scenarios } from "./scenarios/index.ts"

/** The states in which a program can leave its runner. */
const states: ReadonlyArray<string> = ["ready", "unconfigured", "poisoned", "closed"]

const errorClasses: ReadonlyArray<string> = Object.entries(Errors)
  .filter(([, value]) => typeof value === "function" && value.prototype instanceof Error)
  .map(([name]) => name)

const missingOf = (
  known: ReadonlyArray<string>,
  reports: ReadonlyArray<FaultSweep.Report>,
  hit: (report: FaultSweep.Report) => ReadonlyArray<string>
): ReadonlyArray<string> => {
  const seen = new Set(reports.flatMap(hit))
  return known.filter((name) => !seen.has(name))
}

export const summarize = (
  reports: ReadonlyArray<FaultSweep.Report>,
  mutants: ReadonlyArray<MutantOutcome>,
  seed: number
) => {
  const sum = (figure: (report: FaultSweep.Report) => number): number =>
    reports.reduce((total, report) => total + figure(report), 0)
  const found = (...verdicts: ReadonlyArray<FaultSweep.Verdict>): number =>
    sum((report) =>
      report.failures.filter(({ verdict }) => verdicts.includes(verdict)).reduce((total, { count }) => total + count, 0)
    )
  return {
    scenarios: reports.length,
    operations: sum((report) => report.operations),
    steps: sum((report) => report.steps),
    faultCases: sum((report) => report.faultCases),
    interruptCases: sum((report) => report.interruptCases),
    pairCases: sum((report) => report.pairCases),
    leakedBytes: sum((report) => report.leakedBytes),
    leaks: found("Leaked"),
    doubleReleases: found("DoubleReleased"),
    endedTwice: found("EndedTwice"),
    neverEnded: found("NeverEnded"),
    usedAfterRelease: found("UsedAfterRelease"),
    calledAfterLoss: found("CalledAfterLoss"),
    swallowed: found("Swallowed"),
    runnerUnusable: found("NotReusable"),
    outputsTouched: found("OutputsTouched"),
    foreignBytes: found("ForeignBytes"),
    invariantsBroken: found("InvariantBroken"),
    nondeterministic: found("Nondeterministic"),
    stuck: found("Stuck"),
    failsUndisturbed: found("FailsUndisturbed"),
    mutantsPlanted: mutants.length,
    mutantsKilled: mutants.filter(({ killed }) => killed).length,
    /** Killed by what the undisturbed program showed already, to the kit's own verdicts or to a scenario's own eye. */
    mutantsKilledUndisturbed: mutants.filter(({ case: found, killed }) => killed && !/[= ]/.test(found)).length,
    pointCoverage: sum((report) => report.coveredCount) / sum((report) => report.pointCount),
    /** Scenarios that are interrupted within the runner's methods and where fibers wait, and not at every step. */
    partlyInterrupted: scenarios.filter(({ name, isPartlyInterrupted }) =>
      isPartlyInterrupted && reports.some((report) => report.name === name)
    ).map(({ name }) => name),
    missingOperations: missingOf(operationKinds, reports, (report) => report.operationKinds),
    missingErrors: missingOf(errorClasses, reports, (report) => report.errorTags),
    missingStates: missingOf(states, reports, (report) => report.states),
    seed
  }
}

export type Summary = ReturnType<typeof summarize>

/** Everything that keeps a campaign from having passed, in words. */
export const complaints = (
  summary: Summary,
  reports: ReadonlyArray<FaultSweep.Report>,
  mutants: ReadonlyArray<MutantOutcome>
): ReadonlyArray<string> => [
  ...reports.flatMap(({ failures, name }) =>
    failures.map(({ count, verdict }) => `${name}: ${verdict} ${count} times`)
  ),
  ...mutants.filter(({ killed }) => !killed).map(({ mutant }) => `the mutant "${mutant}" lives`),
  ...summary.missingOperations.map((kind) => `no fault has struck ${kind}`),
  ...summary.missingErrors.map((name) => `no ${name} was ever built`),
  ...summary.missingStates.map((state) => `no program has left its runner ${state}`),
  ...(summary.pointCoverage === 1 ? [] : [`only ${summary.pointCoverage} of all points were struck`])
]
