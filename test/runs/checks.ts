/** Comparing what a command came to with the model. Each check answers what is different, in words. */
import { Cause, Exit } from "effect"
import type { HostApi, RunnerStats } from "leasehold"
import { FaultInjection, type Ledger } from "leasehold/testing"
import { type Attempt, field } from "./attempts.ts"
import type { Command } from "./commands.ts"
import type { Model } from "./model.ts"

const isSame = (view: ArrayLike<number>, values: ReadonlyArray<number>): boolean =>
  view.length === values.length && values.every((value, index) => view[index] === value)

/** The error with which a command failed, where it failed with one. */
export const errorOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined

const tagOf = (exit: Exit.Exit<unknown, unknown>): string => {
  const error = errorOf(exit)
  return Exit.isSuccess(exit)
    ? "success"
    : typeof error === "object" && error !== null && "_tag" in error
    ? String(error._tag)
    : exit.cause._tag
}
/** What was seen of a command. */
export interface Seen {
  readonly attempt: Attempt
  readonly command: Command
  readonly refusal: string | undefined
  readonly exit: Exit.Exit<unknown, unknown>
  readonly isInterrupted: boolean
  readonly isFaulty: boolean
  readonly before: RunnerStats.RunnerStats
  readonly after: RunnerStats.RunnerStats
}

export const differs = (what: string, actual: unknown, expected: unknown): ReadonlyArray<string> =>
  Object.is(actual, expected) ? [] : [`${what}: ${String(actual)}, and not ${String(expected)}`]

/** How the command ended: as the model says, unless something was done to it, which it has to say. */
export const ending = ({ after, before, exit, isFaulty, isInterrupted, refusal }: Seen): ReadonlyArray<string> => {
  const outcome = tagOf(exit)
  const allowed = refusal === "perhaps" ? ["success", "BudgetExhausted", "TensorExceedsChunk"] : [refusal ?? "success"]
  if (isFaulty || isInterrupted) {
    const isCounted = after.releaseFailures > before.releaseFailures
    return [
      ...(Exit.isSuccess(exit) && !allowed.includes("success")
        ? [`it succeeded, and not: ${allowed.join(" or ")}`]
        : []),
      ...(Exit.isSuccess(exit) && isFaulty && !isCounted ? ["a fault was swallowed"] : [])
    ]
  }
  return allowed.includes(outcome) ? [] : [`it ended with ${outcome}, and not: ${allowed.join(" or ")}`]
}

const mayHaveChanged = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) &&
  (Cause.isDie(exit.cause) ||
    [...Cause.failures(exit.cause)].some((error) => field(error, "hostOutputs") === "indeterminate"))

/** What the views hold: what a success promises, or what they held before. */
export const views = ({ attempt, exit, isInterrupted }: Seen): ReadonlyArray<string> =>
  (attempt.watched ?? []).flatMap(({ after, before, view }) =>
    Exit.isSuccess(exit)
      ? isSame(view, after) ? [] : [`a view holds ${view.join(" ")}, and not ${after.join(" ")}`]
      : isSame(view, before) || mayHaveChanged(exit) || (isInterrupted && isSame(view, after))
      ? []
      : [`a view changed to ${view.join(" ")}, although the command ended with ${tagOf(exit)}`]
  )

/** The counters of runs, and whether the runner is poisoned by what poisons, and by nothing else. */
export const counters = (
  { after, attempt, before, command, exit, isFaulty, isInterrupted }: Seen
): ReadonlyArray<string> => {
  const completed = after.runs.begun - after.runs.failed - (before.runs.begun - before.runs.failed)
  const expected = Exit.isSuccess(exit) && attempt.completes === true ? 1 : 0
  // An interruption that comes after the copy back ends the fiber of a run that has come through.
  const mayComplete = isInterrupted && attempt.completes === true
  return [
    ...differs("active runs", after.runs.active, 0),
    ...differs("ended runs", after.runs.ended, after.runs.begun),
    ...(mayComplete && completed === 1 ? [] : differs("completed runs", completed, expected)),
    ...differs("bytes in use", after.temporaryBuffer.inUseBytes, 0),
    ...differs("poisoned", after.state === "poisoned", isFaulty && command.rule?.fault === FaultInjection.deviceLost)
  ]
}

/** The account of the device: what is held is what the model knows of. */
export const account = (
  { allocations, breaches, inFlight, isLost }: Ledger.Snapshot,
  model: Model,
  stats: RunnerStats.RunnerStats
): ReadonlyArray<string> => {
  const heldFor = (purpose: HostApi.Purpose): number =>
    allocations.filter((allocation) => allocation.purpose === purpose && allocation.state === "held").length
  const live = model.residents.filter((resident) => resident !== undefined)
  return [
    // What is in quarantine still counts against the budget.
    ...(stats.quarantine.count > 0 ? [] : differs(
      "bytes of residents",
      stats.residents.inUseBytes,
      live.reduce((sum, { length }) => sum + length * 4, 0)
    )),
    ...differs("residents", stats.residents.count, live.length),
    ...breaches.map(({ detail }) => detail),
    ...differs("calls in flight", inFlight.length, 0),
    ...(isLost ? [] : [
      ...differs("tensors held", heldFor("tensor"), 0),
      ...differs(
        "residents held",
        heldFor("resident"),
        live.filter(({ length }) => length > 0).length
      ),
      ...differs("chunks held", heldFor("chunk"), stats.temporaryBuffer.chunkCount)
    ])
  ]
}
