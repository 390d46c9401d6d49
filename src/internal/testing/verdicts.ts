/**
 * Verdicts: what is wrong with a trial, given the clean one.
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { describeAllocation } from "./account.ts"
import { describeOperation } from "./book.ts"
import { type Case, type FaultPoint, mustBeReported } from "./cases.ts"
import { isRelease } from "./operations.ts"
import type { Trial } from "./trial.ts"
import type { WatchedRun } from "./watchedRunner.ts"

export const verdicts = [
  "Swallowed",
  "Leaked",
  "DoubleReleased",
  "EndedTwice",
  "NeverEnded",
  "UsedAfterRelease",
  "CalledAfterLoss",
  "NotReusable",
  "OutputsTouched",
  "ForeignBytes",
  "InvariantBroken",
  "Nondeterministic",
  "Stuck",
  "FailsUndisturbed"
] as const
export type Verdict = (typeof verdicts)[number]

export interface Finding {
  readonly verdict: Verdict
  /** A sentence. */
  readonly detail: string
}

export interface Judging {
  /** Whether the program may go on after a fault as if nothing had happened. */
  readonly mayRecover: boolean
  /** Whether the undisturbed program gives the same outputs each time. */
  readonly comparesOutputs: boolean
}

/** Everything that is wrong with a trial: each verdict once, with what was found first. */
export const judge = (trial: Trial, clean: Trial, tried: Case, judging: Judging): ReadonlyArray<Finding> => {
  const lost = astray(trial, tried)
  const findings = [
    ...stuck(trial),
    // A fault that struck elsewhere is no failure of what it was meant for.
    ...(lost.length > 0 ? lost : swallowed(trial, clean, tried, judging)),
    ...leaked(trial),
    ...breaches(trial),
    ...runsEnded(trial),
    ...reusable(trial, clean, tried),
    ...outputs(trial, clean, tried, judging),
    ...invariant(trial),
    ...stillCounted(trial),
    ...miscounted(trial, tried)
  ]
  return findings.filter(({ verdict }, index) => findings.findIndex((other) => other.verdict === verdict) === index)
}

const found = (condition: boolean, verdict: Verdict, detail: () => string): ReadonlyArray<Finding> =>
  condition ? [{ verdict, detail: detail() }] : []

const stuck = (trial: Trial): ReadonlyArray<Finding> =>
  found(trial.exit === undefined || trial.isRunaway, "Stuck", () =>
    trial.exit !== undefined
      ? `the program ended, and a fiber that it had left behind went on for all of ${trial.steps.length} steps`
      : trial.isRunaway
      ? `the program did not end within ${trial.steps.length} steps`
      : trial.ledger.inFlight.length === 0
      ? "the program did not end, and nothing was left to do"
      : `the program did not end; in flight: ${trial.ledger.inFlight.map(({ operation }) => operation).join(", ")}`)

/** What is wrong with an undisturbed program that fails, where it was not meant to: nothing could be said about others. */
export const failsUndisturbed = ({ exit }: Trial): ReadonlyArray<Finding> =>
  exit === undefined || Exit.isSuccess(exit) ? [] : [{
    verdict: "FailsUndisturbed",
    detail: `the undisturbed program ${
      Cause.isInterruptedOnly(exit.cause) ? "was interrupted" : `failed: ${Cause.pretty(exit.cause).split("\n")[0]!}`
    }`
  }]

/**
 * A program that takes the same steps comes to the step and the operations that a case is about. One that is interrupted may
 * go another way from there.
 */
const astray = (trial: Trial, { faults, interrupt }: Case): ReadonlyArray<Finding> => {
  if (trial.exit === undefined) {
    return []
  }
  const missed = interrupt !== undefined
    ? undefined
    : faults.find((point, index) => trial.fired[index] !== true || !hasStruck(trial, point))
  return [
    ...found(
      missed !== undefined,
      "Nondeterministic",
      () => `operation ${missed!.operation} was ${missed!.target}, and is not any more`
    ),
    ...found(
      interrupt !== undefined && !trial.isInterrupted,
      "Nondeterministic",
      () => `the program did not come to ${interrupt!.mode === "every" ? "step" : "task"} ${interrupt!.step}`
    )
  ]
}

/** Whether the operation at which a fault struck is the one that it was meant for. */
const hasStruck = ({ operations }: Trial, { operation, target }: FaultPoint): boolean =>
  operations[operation]?.kind === target

const swallowed = (trial: Trial, clean: Trial, tried: Case, { mayRecover }: Judging): ReadonlyArray<Finding> =>
  tried.faults.flatMap((point, index) => {
    const { kind, target } = point
    if (
      trial.fired[index] !== true || trial.exit === undefined || kind === "lie" || kind === "hang" ||
      !hasStruck(trial, point) || failsAnyway(clean, tried, point)
    ) {
      return []
    }
    if (mustBeReported(point)) {
      return found(
        Exit.isSuccess(trial.exit) && !mayRecover,
        "Swallowed",
        () => `${target} failed with ${kind}, and the program succeeded`
      )
    }
    // A release that fails does not fail the program, but the runner has to count it.
    return found(
      trial.stats !== undefined && trial.stats.releaseFailures === 0,
      "Swallowed",
      () => `${target} failed with ${kind}, and the runner did not count it`
    )
  })

/**
 * Whether a fault comes after an operation that fails by itself, as the program knows. After another fault operations have
 * other numbers, so there the kind has to do.
 */
const failsAnyway = (clean: Trial, { faults }: Case, { operation, target, timing }: FaultPoint): boolean =>
  timing === "after" && (
    faults.length === 1
      ? clean.operations[operation]?.hasFailed === true
      : clean.operations.some(({ hasFailed, kind }) => hasFailed && kind === target)
  )

/** Memory that is held after everything has closed. A lost device, or one in which a call hangs, is left alone. */
const heldInTheEnd = ({ hangingCount, ledger }: Trial): Trial["leftOpen"] =>
  ledger.isLost || hangingCount > 0 ? [] : ledger.allocations.filter(({ state }) => state === "held")

/** Bytes that a trial leaked. */
export const leakedBytes = (trial: Trial): number =>
  [...new Map([...trial.leftOpen, ...heldInTheEnd(trial)].map((held) => [held.number, held.byteCount])).values()]
    .reduce((sum, byteCount) => sum + byteCount, 0)

const leaked = (trial: Trial): ReadonlyArray<Finding> => {
  const { hangingCount, ledger, leftOpen, leftReservedBytes } = trial
  const reserved = found(
    leftReservedBytes > 0,
    "Leaked",
    () => `${leftReservedBytes} B were still reserved by child budgets when the program had ended`
  )
  if (ledger.isLost || hangingCount > 0) {
    return reserved
  }
  const held = heldInTheEnd(trial)
  return [
    ...reserved,
    ...found(
      leftOpen.length > 0,
      "Leaked",
      () => `still held when the program had ended: ${leftOpen.map(describeAllocation).join("; ")}`
    ),
    ...found(
      held.length > 0,
      "Leaked",
      () => `still held after everything has closed: ${held.map(describeAllocation).join("; ")}`
    )
  ]
}

/**
 * What a runner that has closed says it holds. On a device that is lost too: what it forgets it puts aside. A call that
 * hung may end after the books were closed.
 */
const stillCounted = ({ hangingCount, stats }: Trial): ReadonlyArray<Finding> => {
  if (stats === undefined || hangingCount > 0) {
    return []
  }
  const counts: ReadonlyArray<readonly [string, number]> = [
    ["retained", stats.temporaryBuffer.retainedBytes],
    ["in use by runs", stats.temporaryBuffer.inUseBytes],
    ["that runs wait for", stats.runs.waitingBytes],
    ["in use by residents", stats.residents.inUseBytes],
    ["in use by host tensors", stats.host.hostTensorBytes],
    ["staging", stats.host.stagingBytes]
  ]
  const held = counts.filter(([, byteCount]) => byteCount !== 0)
  return found(
    held.length > 0,
    "Leaked",
    () => `the runner has closed, and still counts ${held.map(([what, bytes]) => `${bytes} B ${what}`).join(", ")}`
  )
}

const breaches = ({ ledger, stats }: Trial): ReadonlyArray<Finding> =>
  // Of several runners on one host API each learns of a loss by itself.
  ledger.breaches.filter(({ verdict }) => verdict !== "CalledAfterLoss" || stats !== undefined)

const runsEnded = ({ leftActiveCount, leftWaitingCount, operations, stats }: Trial): ReadonlyArray<Finding> =>
  stats === undefined ? [] : [
    ...found(
      leftActiveCount > 0,
      "NeverEnded",
      () => `a run was active when the program had ended; its last operation was ${lastOfRun(operations)}`
    ),
    ...found(
      leftWaitingCount > 0 || stats.runs.waiting > 0,
      "NeverEnded",
      () =>
        leftWaitingCount > 0
          ? `${leftWaitingCount} runs still waited for their turn when the program had ended`
          : `the runner has closed, and ${stats.runs.waiting} runs still wait for their turn`
    ),
    ...found(
      stats.runs.ended > stats.runs.begun,
      "EndedTwice",
      () => `${stats.runs.begun} runs have begun and ${stats.runs.ended} ended`
    ),
    ...found(
      stats.runs.ended < stats.runs.begun || stats.runs.active > 0,
      "NeverEnded",
      () => `${stats.runs.begun} runs have begun and ${stats.runs.ended} ended; ${stats.runs.active} are active`
    )
  ]

const lastOfRun = (operations: Trial["operations"]): string => {
  const last = operations.findLast(({ runId }) => runId > 0)
  return last === undefined ? "none" : describeOperation(last)
}

/** How a runner that cannot be used says so. */
const closedStates: ReadonlySet<string> = new Set(["RunnerClosed", "RunnerPoisoned", "RunnerUnconfigured"])

const reusable = (trial: Trial, clean: Trial, tried: Case): ReadonlyArray<Finding> => {
  const { usability } = trial
  // A device that has lied about an allocation has no room for what it promised, and nobody can know.
  const isDeceived = tried.faults.some(({ kind, operation, persistence }, index) =>
    kind === "lie" && trial.fired[index] === true &&
    trial.operations.slice(operation, persistence === "once" ? operation + 1 : undefined).some((struck) =>
      struck.kind === "malloc"
    )
  )
  if (usability?._tag !== "Refused" || isDeceived) {
    return []
  }
  // Known already as a run that never ended.
  if (trial.leftActiveCount > 0) {
    return []
  }
  // The undisturbed program may leave its runner in a state that it names. Any other refusal is as wrong there as here.
  const isSame = closedStates.has(usability.error) && clean.usability?._tag === "Refused" &&
    clean.usability.error === usability.error
  const hung = tried.faults.some(({ kind }, index) => kind === "hang" && trial.fired[index] === true)
  const isKnownState = (usability.error === "RunnerPoisoned" && (trial.ledger.isLost || hung)) ||
    (usability.error === "RunnerUnconfigured" && tried.faults.length > 0 && hasChunkFault(trial, tried))
  return [
    ...found(
      !isSame && !isKnownState,
      "NotReusable",
      () => `a run after the program was refused: ${usability.error}: ${usability.detail}`
    ),
    ...found(
      isKnownState && trial.usabilityOperationCount > 0,
      "CalledAfterLoss",
      () =>
        `the runner refused a run with ${usability.error}, but called the device ${
          trial.usabilityOperationCount === 1 ? "once" : `${trial.usabilityOperationCount} times`
        } for it`
    )
  ]
}

/** Whether a fault may have hit the making or clearing of chunks, which is the one reason to be unconfigured. */
const hasChunkFault = (trial: Trial, tried: Case): boolean =>
  tried.faults.some(({ operation, persistence }, index) =>
    trial.fired[index] === true &&
    trial.operations.slice(operation, persistence === "once" ? operation + 1 : undefined).some(({ purpose }) =>
      purpose === "chunk" || purpose === "clear"
    )
  )

const outputs = (
  trial: Trial,
  clean: Trial,
  tried: Case,
  { comparesOutputs }: Judging
): ReadonlyArray<Finding> => {
  // After an interruption a fault may strike a call of another kind, with a status that such a call never gives.
  const isForeign = tried.faults.some((point, index) =>
    point.timing === "after" && trial.fired[index] === true && !hasStruck(trial, point)
  )
  if (isForeign || tried.faults.some(({ kind }) => kind === "lie")) {
    return []
  }
  const expected = clean.observations.runs.filter(({ outcome }) => outcome === "succeeded")
  const findings: Array<Finding> = []
  // After the first run that did not succeed a program may go another way, and compute something else.
  let isUndisturbed = true
  for (const [index, run] of trial.observations.runs.entries()) {
    const isExpected = expected.some((other) => hasSameOutputs(run, other))
    // An interruption that arrives after the copy back ends the fiber interrupted, with whole outputs.
    const isWhole = run.outcome === "interrupted" && (isExpected || !comparesOutputs || !isUndisturbed)
    if (run.touched.length > 0 && !isWhole) {
      findings.push({
        verdict: "OutputsTouched",
        detail: `run ${index} has ${run.outcome}, and changed ${run.touched.map((name) => `"${name}"`).join(", ")}`
      })
    }
    if (comparesOutputs && isUndisturbed && run.outcome === "succeeded" && !isExpected) {
      findings.push({ verdict: "ForeignBytes", detail: `run ${index} gave bytes that no undisturbed run gives` })
    }
    isUndisturbed = isUndisturbed && run.outcome === "succeeded"
  }
  return findings
}

const hasSameOutputs = (left: WatchedRun, right: WatchedRun): boolean =>
  left.outputs.size === right.outputs.size &&
  [...left.outputs].every(([name, bytes]) => {
    const other = right.outputs.get(name)
    return other?.byteLength === bytes.byteLength && bytes.every((byte, index) => byte === other[index])
  })

/** What the runner says of failed releases, against what happened. */
const miscounted = (trial: Trial, { faults }: Case): ReadonlyArray<Finding> => {
  const { hangingCount, ledger, operations, stats } = trial
  const isLie = faults.some(({ kind }) => kind === "lie" || kind === "hang")
  if (stats === undefined || trial.exit === undefined || hangingCount > 0 || isLie) {
    return []
  }
  const failedCount = operations.filter(({ hasFailed, kind }) => hasFailed && isRelease(kind)).length
  return [
    ...found(
      stats.releaseFailures < failedCount,
      "Swallowed",
      () => `${failedCount} releases failed, and the runner counted ${stats.releaseFailures}`
    ),
    ...found(
      !ledger.isLost && stats.quarantine.bytes < ledger.quarantinedBytes,
      "Swallowed",
      () =>
        `${ledger.quarantinedBytes} B were not taken back, and the runner counts ${stats.quarantine.bytes} B in quarantine`
    )
  ]
}

const invariant = (trial: Trial): ReadonlyArray<Finding> =>
  trial.invariant === undefined || Exit.isSuccess(trial.invariant) ? [] : [{
    verdict: "InvariantBroken",
    detail: Cause.pretty(trial.invariant.cause).split("\n")[0]!
  }]

/** Whether two clean trials took the same way. */
export const isSameWay = (left: Trial, right: Trial): boolean =>
  left.steps.length === right.steps.length &&
  left.taskCount === right.taskCount &&
  left.operations.length === right.operations.length &&
  left.operations.every((operation, index) => {
    const other = right.operations[index]!
    return operation.kind === other.kind && operation.purpose === other.purpose && operation.runId === other.runId
  })

/** Whether two clean trials gave the same outputs. */
export const hasSameResults = (left: Trial, right: Trial): boolean =>
  left.observations.runs.length === right.observations.runs.length &&
  left.observations.runs.every((run, index) => hasSameOutputs(run, right.observations.runs[index]!))
