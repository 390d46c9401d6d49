/**
 * What a run may come to, from what is known about the time in which it was asked for. An error that nothing explains is a
 * problem, and so are outputs that are not as the outcome says.
 */
import { Cause, Duration, Effect, Exit, Option } from "effect"
import type { Errors } from "leasehold"
import type { BufferSetup } from "./setups.ts"
import { ownDefect, ownError, type Spec } from "./specs.ts"
import type { Attempt, Treatment, Watch } from "./watch.ts"

export const untouched: Treatment = { comesThrough: true, isInterrupted: false, losesArgument: false }

interface Case {
  readonly watch: Watch
  readonly attempt: Attempt
  readonly spec: Spec
  readonly treatment: Treatment
  /** Operations that were made to fail meanwhile, of whomever. */
  readonly firedCount: number
}

const aligned = (byteCount: number, alignmentBytes: number): number =>
  Math.ceil(byteCount / alignmentBytes) * alignmentBytes

/** The bytes from the first slice of a run to the end of its last, where all lie in one chunk. */
export const extentBytes = (sizes: ReadonlyArray<number>, alignmentBytes: number): number =>
  sizes.reduce((end, size) => size === 0 ? end : aligned(end, alignmentBytes) + size, 0)

/** Whether a run of these tensors fits into an empty buffer; `"perhaps"` where it takes the allocator to say. */
const fits = (sizes: ReadonlyArray<number>, buffer: BufferSetup): boolean | "perhaps" => {
  const { alignmentBytes, chunks, maxBytes } = buffer
  if (maxBytes === 0) {
    return true
  }
  const chunkCount = chunks === "single" ? 1 : chunks.count
  const chunkBytes = Math.floor(maxBytes / chunkCount)
  return extentBytes(sizes, alignmentBytes) <= chunkBytes
    ? true
    : chunkCount === 1 || sizes.some((size) => size > chunkBytes)
    ? false
    : "perhaps"
}

/** The configurations that may have stood while a run was under way. */
const configurationsOf = ({ attempt, watch }: Case): ReadonlyArray<BufferSetup> =>
  watch.configurations.slice(attempt.begin.configurationIndex)

/** Whether a run is too large for a configuration that may have stood, even alone. */
const mayNotFit = (that: Case): boolean =>
  configurationsOf(that).some((buffer) => fits(that.spec.sizes, buffer) !== true)

/** How many other runs were under way at some time while this one was. */
const otherCount = ({ attempt, watch }: Case): number => watch.attemptCount - attempt.begin.goneCount - 1

const isChanged = ({ attempt, watch }: Case): boolean => watch.changeCount > attempt.begin.changeCount

const mayBeExhausted = (that: Case, error: Errors.BudgetExhausted): boolean => {
  const { watch } = that
  // What is in quarantine takes the budget's room.
  const mayBeTooLarge = watch.fails("free") || mayNotFit(that)
  switch (error.reason) {
    case "NeverFits":
      return mayBeTooLarge
    case "Exhausted":
    case "Fragmented":
      return mayBeTooLarge ||
        watch.setup.admission === "fail" && (otherCount(that) > 0 || watch.hasReserved || isChanged(that))
    case "Reserved":
      return watch.hasReserved
    case "Quarantined":
      return watch.fails("free")
    default:
      return false
  }
}

const mayBeRefused = (that: Case, error: Errors.AdmissionRefused): boolean => {
  const { attempt, spec, watch } = that
  const { admission, buffer } = watch.setup
  const policy = admission === "fail" ? undefined : "wait" in admission ? admission.wait : admission.shed
  const { maxBytes: quotaBytes } = attempt.party.setup ?? {}
  switch (error.reason) {
    case "QueueFull":
      return policy !== undefined && otherCount(that) >= policy.maxQueueCount
    case "Deadline": {
      const waitedNanos = watch.clock.clock.unsafeCurrentTimeNanos() - attempt.begin.clockNanos
      const deadline = policy !== undefined && "deadline" in policy ? policy.deadline : undefined
      return deadline !== undefined && Number(waitedNanos) >= Duration.toMillis(deadline) * 1e6
    }
    case "Shed":
      return policy !== undefined && "maxWait" in policy && (otherCount(that) > 0 || isChanged(that))
    case "Quota":
      return quotaBytes !== undefined && (extentBytes(spec.sizes, buffer.alignmentBytes) > quotaBytes ||
        configurationsOf(that).some((configuration) =>
          fits(spec.sizes, configuration) !== true ||
          configuration.maxBytes === 0
        ) ||
        (policy === undefined && otherCount(that) > 0))
    case "Draining":
      return attempt.party.isClosing
    case "WaitsForItself":
      return attempt.isNested && policy !== undefined
    default:
      return false
  }
}

/** Whether something explains a typed error. */
const isExplained = (that: Case, error: Errors.RunnerError | typeof ownError): boolean => {
  const { firedCount, spec, treatment, watch } = that
  const { failure } = spec
  switch (error._tag) {
    case "Own":
      return failure === "own" && error === ownError
    case "LaunchFailed":
      return firedCount > 0 || (failure === "LaunchFailed" && "reason" in error && error.reason === "Kernel")
    case "TransferFailed":
    case "DeviceFailed":
    case "DeviceOutOfMemory":
      return firedCount > 0
    case "BudgetExhausted":
      return mayBeExhausted(that, error as Errors.BudgetExhausted)
    case "TensorExceedsChunk":
      return mayNotFit(that)
    case "RunAlreadyActive":
      return watch.setup.admission === "fail" && (otherCount(that) >= watch.setup.slots || isChanged(that) ||
        (watch.mayGrow && otherCount(that) > 0))
    case "AdmissionRefused":
      return mayBeRefused(that, error as Errors.AdmissionRefused)
    case "RunnerUnconfigured":
      // Chunks are cleared when they are made.
      return watch.fails("malloc") || watch.fails("free") || watch.fails("submit")
    case "RunnerPoisoned":
      return watch.losesDevice
    case "InvalidArgument":
      return treatment.losesArgument && "reason" in error &&
        (error.reason === "Detached" || error.reason === "HandleClosed")
    default:
      return false
  }
}

const isInterruptedBySomebody = ({ spec, treatment }: Case): boolean =>
  treatment.isInterrupted || spec.failure === "interrupt"

/** Whether something explains how a run failed. */
const isCauseExplained = (that: Case, cause: Cause.Cause<unknown>): boolean => {
  if (Cause.isInterruptedOnly(cause)) {
    return isInterruptedBySomebody(that)
  }
  const defects = [...Cause.defects(cause)]
  const failures = [...Cause.failures(cause)] as ReadonlyArray<Errors.RunnerError>
  return defects.every((defect) =>
    (defect === ownDefect && that.spec.failure === "die") ||
    (defect === "a planted defect" && that.watch.hasDefects && that.firedCount > 0)
  ) && failures.every((error) => isExplained(that, error))
}

/** How a cause reads in a report. */
const describeCause = (cause: Cause.Cause<unknown>): string => {
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  return error === undefined ? Cause.pretty(cause) : JSON.stringify(error)
}

/** Looks at the views: what they should hold after this outcome, and nobody else's bytes whatever the outcome. */
const judgeViews = (that: Case, exit: Exit.Exit<unknown, unknown>): void => {
  const { firedCount, spec, treatment, watch } = that
  const { number } = spec
  for (const { after, before, name, view } of spec.views) {
    // A view that was transferred away shows nothing any more.
    if (treatment.losesArgument && view.byteLength === 0) {
      continue
    }
    const isSure = Exit.isSuccess(exit) || !(firedCount > 0 || treatment.isInterrupted)
    const isThrough = Exit.isSuccess(exit) && treatment.comesThrough
    const allowed = isSure ? [isThrough ? after : before] : [before, after]
    const outcome = Exit.isSuccess(exit) ? "success" : describeCause(exit.cause)
    watch.expectBytes(`the view "${name}" after ${outcome}`, number, view, allowed)
  }
}

const count = ({ spec, treatment, watch }: Case, exit: Exit.Exit<unknown, unknown>, isFaulty: boolean): void => {
  const { tally } = watch
  if (Exit.isSuccess(exit)) {
    tally.succeeded += 1
    watch.succeededCount += treatment.comesThrough ? 1 : 0
    return
  }
  watch.unsureCount += treatment.isInterrupted || isFaulty ? 1 : 0
  const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
  const isRefused = error !== undefined && spec.failure === undefined && !isFaulty
  tally.interrupted += Cause.isInterrupted(exit.cause) ? 1 : 0
  tally.refused += isRefused ? 1 : 0
  tally.failed += isRefused || Cause.isInterrupted(exit.cause) ? 0 : 1
}

/** Asks for a run, and holds what it comes to against what is known. */
export const attempted = <R>(
  watch: Watch,
  options: Pick<Attempt, "party" | "isNested"> & {
    readonly spec: Spec
    readonly treatment: Treatment
    /** Answers how the run came out. It does not fail, and is not interrupted. */
    readonly use: Effect.Effect<Exit.Exit<unknown, unknown>, never, R>
  }
): Effect.Effect<Exit.Exit<unknown, unknown>, never, R> =>
  Effect.gen(function*() {
    const { isNested, party, spec, treatment, use } = options
    const begun = watch.scheduler.undisturbed(Effect.map(watch.moment, (begin): Attempt => {
      const made = { number: spec.number, party, isNested, begin, treatment }
      watch.attemptCount += 1
      watch.inFlight.add(made)
      watch.tally.runs += 1
      return made
    }))
    // A run inside a run is interrupted with the fiber that holds the outer one.
    const [attempt, exit] = yield* Effect.acquireUseRelease(
      begun,
      (made) => Effect.map(use, (exit) => [made, exit] as const),
      (made) => Effect.sync(() => watch.inFlight.delete(made))
    )
    const firedCount = (yield* watch.firedCount) - attempt.begin.firedCount
    const that: Case = { watch, attempt, spec, treatment, firedCount }
    const who = `run ${spec.number} of "${party.name}"`
    if (Exit.isSuccess(exit)) {
      watch.expect(
        !treatment.comesThrough || spec.failure === undefined,
        () => `${who} came through, and not: ${spec.failure}`
      )
      const { alignmentBytes } = watch.setup.buffer
      const configurations = configurationsOf(that)
      watch.expect(
        configurations.some((buffer) => fits(spec.sizes, buffer) !== false),
        () => `${who} came through, although it could not fit`
      )
      const quotaBytes = party.setup?.maxBytes ?? Infinity
      watch.expect(
        extentBytes(spec.sizes, alignmentBytes) <= quotaBytes ||
          configurations.some((buffer) => fits(spec.sizes, buffer) === "perhaps" || buffer.maxBytes === 0),
        () => `${who} came through, although it is above its quota of ${quotaBytes} B`
      )
    } else {
      watch.expect(isCauseExplained(that, exit.cause), () =>
        `${who} of ${JSON.stringify(spec.sizes)} B ended with ` +
        `${describeCause(exit.cause)}, which nothing explains`)
    }
    judgeViews(that, exit)
    count(that, exit, firedCount > 0)
    return exit
  })
