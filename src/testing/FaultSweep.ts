/**
 * Sweeps: a program is run undisturbed until it settles; then each of its device operations fails in turn, in every way,
 * and it is interrupted at every step. After each case the account has to be even: nothing leaked, nothing released twice,
 * every run ended once, the failure reported, and the runner usable or in a state that it names.
 *
 * A sweep counts steps, so the program has to take the same ones each time: use a backend that answers at once, such as the
 * simulator with `longCalls: "inline"`. Time is virtual: a program that sleeps takes no time. What it draws from `Random` is
 * the same in each case.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { HostApi, type Service as HostApiService } from "../HostApi.ts"
import {
  applies,
  type Case,
  type FaultKind,
  type Form,
  format,
  parse,
  type Persistence
} from "../internal/testing/cases.ts"
import * as Pages from "../internal/testing/report.ts"
import { shrink } from "../internal/testing/shrink.ts"
import * as Sweep from "../internal/testing/sweep.ts"
import { run as runTrial, type Subject } from "../internal/testing/trial.ts"
import { judge, type Verdict } from "../internal/testing/verdicts.ts"

/**
 * Where a program is interrupted; see `Options`.
 *
 * @since 0.1.0
 * @category models
 */
export type Interruptions = Sweep.Interruptions

export type {
  /**
   * What goes wrong at an operation: a typed error, no memory, a lost device, a defect, a call that does not end, or a call
   * that says that it succeeded and did not do its work.
   *
   * @since 0.1.0
   * @category models
   */
  FaultKind,
  /**
   * How the program sees the backend: with `immediate`, with Effects alone, or with Effects that take a millisecond of
   * virtual time each.
   *
   * @since 0.1.0
   * @category models
   */
  Form,
  /**
   * How often a fault strikes, from its operation on.
   *
   * @since 0.1.0
   * @category models
   */
  Persistence,
  /**
   * What can be wrong with a case.
   *
   * - `Swallowed`: an operation failed and the program succeeded, or the runner did not count a release that failed.
   * - `Leaked`: memory was still held after everything had closed.
   * - `DoubleReleased`: something was released that was not held any more.
   * - `EndedTwice`, `NeverEnded`: runs begun and runs ended are not the same.
   * - `UsedAfterRelease`: a call named memory that was not held, or memory was released under a call.
   * - `CalledAfterLoss`: the device was called after it had reported that it is lost.
   * - `NotReusable`: the runner did not work after the program, and had no known reason not to.
   * - `OutputsTouched`: a run failed and changed its outputs without saying so.
   * - `ForeignBytes`: a run succeeded with bytes that no undisturbed run gives.
   * - `InvariantBroken`: the invariant that the user gave failed.
   * - `Nondeterministic`: the undisturbed program takes another way each time, or does not come to an operation that fails.
   * - `Stuck`: the program did not end.
   * - `FailsUndisturbed`: the program fails although nothing is done to it.
   *
   * @since 0.1.0
   * @category models
   */
  Verdict
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<R, LE, BE> {
  /** The device. It is opened once, and every case finds it empty. */
  readonly backend: Layer.Layer<HostApi, BE>
  /** What the program needs, such as `DeviceRunner.layer(options)`. It is built and closed in each case. */
  readonly layer: Layer.Layer<R, LE, HostApi>
  /** What reports call the program. Defaults to `"program"`. */
  readonly name?: string | undefined
  /** Defaults to `"immediate"`, where the backend has it, and `"effects"`. */
  readonly forms?: ReadonlyArray<Form> | undefined
  /** Defaults to all. */
  readonly faults?: ReadonlyArray<FaultKind> | undefined
  /** Defaults to `"once"` and `"always"`. */
  readonly persistences?: ReadonlyArray<Persistence> | undefined
  /**
   * Where the program is interrupted. Defaults to `["every"]`.
   *
   * - `"every"`: at every step, which Leasehold itself passes.
   * - `"runner"`: at every step within a method of the runner, and nowhere else.
   * - `"reachable"`: wherever a fiber waits or yields anyway.
   *
   * Not everything was made for the first. Operators of Effect 3 that run several fibers at once (`all` with
   * `concurrency`, `race`), and layers that are merged (`Layer.merge`, `mergeAll`, `provideMerge`) while they are built, do
   * not stand an interruption at each of their own steps: the sweep says `Stuck` or `Leaked`. For programs with such parts
   * take `["runner", "reachable"]`.
   */
  readonly interruptions?: ReadonlyArray<Interruptions> | undefined
  /**
   * The share of pairs of a fault and an interruption that is tried, 0 to 1, drawn from the seed. The interruptions are
   * those that `interruptions` names. Defaults to `0`.
   */
  readonly interruptedFaults?: number | undefined
  /** The share of pairs of faults that is tried, 0 to 1, drawn from the seed. Defaults to `0`. */
  readonly faultPairs?: number | undefined
  /** Defaults to `1`. */
  readonly seed?: number | undefined
  /** How many cases are tried at most for each form; of more, a sample is. Defaults to `50_000`. */
  readonly maxCaseCount?: number | undefined
  /**
   * Whether the program may succeed although an operation failed: because it tries again, or goes on without. Defaults to
   * `false`.
   */
  readonly mayRecover?: boolean | undefined
  /**
   * Whether the program may fail although nothing is done to it: because its failure is what the sweep is about. Otherwise
   * the verdict is `FailsUndisturbed`, and nothing else is tried. Defaults to `false`.
   */
  readonly mayFail?: boolean | undefined
  /** What has to hold after each case, while the layer still stands. It fails where it does not. */
  readonly invariant?: Effect.Effect<void, unknown, R | HostApi> | undefined
  /** Tries one case only, as a report names it. */
  readonly only?: string | undefined
  /** Smaller programs of the same kind, smallest first, in which failures are looked for again. */
  readonly smaller?: ReadonlyArray<Effect.Effect<unknown, unknown, R | HostApi | Scope.Scope>> | undefined
  /** How long in real time a program may wait for something outside that nobody knows of. Defaults to `"1 second"`. */
  readonly patience?: Duration.DurationInput | undefined
}

/**
 * One way in which a program went wrong, in the smallest case in which it did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly verdict: Verdict
  /** What is wrong, in a sentence. */
  readonly detail: string
  /** How many cases went wrong in this way. */
  readonly count: number
  /** The case, as `only` takes it. */
  readonly case: string
  /** Everything that is known, over several lines. */
  readonly page: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly name: string
  readonly seed: number
  /** Operations of the undisturbed program, over all forms. */
  readonly operations: number
  /** Steps of the undisturbed program, over all forms. */
  readonly steps: number
  readonly faultCases: number
  readonly interruptCases: number
  readonly pairCases: number
  /** Single faults and interruptions that there are. */
  readonly pointCount: number
  /** Those that were tried and struck. */
  readonly coveredCount: number
  /** Kinds of operations at which a fault struck. */
  readonly operationKinds: ReadonlyArray<string>
  /** Tags of all errors that were seen. */
  readonly errorTags: ReadonlyArray<string>
  /** States in which the program left its runner, as in `RunnerStats`. */
  readonly states: ReadonlyArray<string>
  /** Bytes that were still held where nothing may be, over all cases. */
  readonly leakedBytes: number
  /** One for each verdict that was found. */
  readonly failures: ReadonlyArray<Failure>
}

/**
 * A sweep found something. The message has a page for each verdict.
 *
 * @since 0.1.0
 * @category errors
 */
export class SweepFailed extends Schema.TaggedError<SweepFailed>("leasehold/testing/SweepFailed")("SweepFailed", {
  verdicts: Schema.Array(Schema.String),
  report: Schema.String
}) {
  override get message(): string {
    return this.report
  }
}

/**
 * Sweeps a program and answers what was found.
 *
 * Long sweeps say first, on the standard error stream, what they will cost. `A`, `E` and the environment are the program's own.
 *
 * @since 0.1.0
 * @category testing
 */
export const run = <A, E, R, LE, BE>(
  program: Effect.Effect<A, E, R | HostApi | Scope.Scope>,
  options: Options<R, LE, BE>
): Effect.Effect<Report, BE> =>
  Effect.scoped(Effect.gen(function*() {
    const backend = yield* Layer.build(options.backend)
    const api = Context.get(backend, HostApi)
    const plan = planOf(options)
    const mistake = mistakeIn(plan) ??
      (formsOf(options, api).length === 0 ? "forms: the backend has none of them" : undefined)
    if (mistake !== undefined) {
      return yield* Effect.dieMessage(`a sweep that tries nothing proves nothing: ${mistake}`)
    }
    const tally = Sweep.emptyTally()
    const only = options.only === undefined ? undefined : parse(options.only)
    const isNonsense = only?.faults.some(({ kind, target, timing }) => !applies(target, only.form, kind, timing)) ??
      false
    if (options.only !== undefined && (only === undefined || isNonsense)) {
      return yield* Effect.dieMessage(`"${options.only}" is not a case as a report names it`)
    }
    const subject = subjectOf(program, options)
    for (const form of only === undefined ? formsOf(options, api) : [only.form]) {
      const baseline = yield* Sweep.baseline(api, subject, form, permitsOf(options))
      tally.operations += baseline.trial.operations.length
      tally.steps += baseline.trial.steps.length
      for (const finding of baseline.findings) {
        const { trial } = baseline
        Sweep.addFailure(tally, {
          case: { form, faults: [], interrupt: undefined },
          finding,
          trial,
          clean: trial,
          judging: baseline.judging,
          count: 1
        })
      }
      if (baseline.findings.length === 0) {
        yield* only === undefined
          ? Effect.zipRight(
            estimate(api, subject, baseline, form, plan),
            Sweep.sweepForm({ api, subject, plan, tally }, form, baseline)
          )
          : replay({ api, subject, tally }, only, baseline)
      }
    }
    return yield* reportOf(tally, api, subject, plan, options)
  }))

/**
 * Sweeps a program and fails with `SweepFailed` where anything is wrong. One line in a test.
 *
 * @since 0.1.0
 * @category testing
 */
export const assertClean = <A, E, R, LE, BE>(
  program: Effect.Effect<A, E, R | HostApi | Scope.Scope>,
  options: Options<R, LE, BE>
): Effect.Effect<Report, SweepFailed | BE> =>
  Effect.flatMap(run(program, options), (report) =>
    report.failures.length === 0 ? Effect.succeed(report) : Effect.fail(
      new SweepFailed({ verdicts: report.failures.map(({ verdict }) => verdict), report: render(report) })
    ))

/**
 * What was tried and how it came out, in one line: `127 operations, 1,016 faults, 412 interruptions: clean`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const summary = (report: Report): string =>
  `${Pages.tried(report)}: ${
    report.failures.length === 0
      ? "clean"
      : report.failures.map(({ count, verdict }) => `${verdict} ${Pages.count(count, "time")}`).join(", ")
  }`

/**
 * The summary, and a page for each verdict.
 *
 * @since 0.1.0
 * @category combinators
 */
export const render = (report: Report): string =>
  [`${report.name}: ${summary(report)}`, ...report.failures.map(({ page }) => page)].join("\n\n")

const allFaults: ReadonlyArray<FaultKind> = ["error", "outOfMemory", "deviceLost", "defect", "hang", "lie"]

const planOf = <R, LE, BE>(options: Options<R, LE, BE>): Sweep.Plan => ({
  faults: options.faults ?? allFaults,
  persistences: options.persistences ?? ["once", "always"],
  interruptions: options.interruptions ?? ["every"],
  interruptedFaults: options.interruptedFaults ?? 0,
  faultPairs: options.faultPairs ?? 0,
  seed: options.seed ?? 1,
  maxCaseCount: options.maxCaseCount ?? 50_000
})

const isShare = (value: number): boolean => value >= 0 && value <= 1

/** What keeps a plan from trying anything, or makes no sense. */
const mistakeIn = (plan: Sweep.Plan): string | undefined => {
  const { faultPairs, faults, interruptedFaults, interruptions, maxCaseCount, persistences } = plan
  if (!Number.isSafeInteger(maxCaseCount) || maxCaseCount < 1) {
    return "maxCaseCount should be a whole number from 1"
  }
  if (!isShare(interruptedFaults) || !isShare(faultPairs)) {
    return "interruptedFaults and faultPairs should be shares from 0 to 1"
  }
  return (faults.length === 0 || persistences.length === 0) && interruptions.length === 0
    ? "there are neither faults nor interruptions"
    : undefined
}

const permitsOf = <R, LE, BE>(options: Options<R, LE, BE>): Sweep.Permits => ({
  mayRecover: options.mayRecover ?? false,
  mayFail: options.mayFail ?? false
})

const formsOf = <R, LE, BE>(options: Options<R, LE, BE>, api: HostApiService): ReadonlyArray<Form> =>
  [...new Set<Form>(options.forms ?? ["immediate", "effects"])].filter((form) =>
    form !== "immediate" || api.immediate !== undefined
  )

const subjectOf = <A, E, R, LE, BE>(
  program: Effect.Effect<A, E, R | HostApi | Scope.Scope>,
  options: Options<R, LE, BE>
): Subject<A, E, R, LE> => ({
  program,
  layer: options.layer,
  invariant: options.invariant,
  patience: options.patience ?? "1 second",
  logs: options.only !== undefined,
  notesPlaces: options.only !== undefined
})

/** Sweeps that take longer than this say so first. */
const longSeconds = 5

/** What a trial takes is the mean of so many. */
const timedTrialCount = 5

const realClock = Clock.make()

/** Says what a sweep will cost, where that is much. */
const estimate = <A, E, R, LE>(
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  { trial }: Sweep.Baseline,
  form: Form,
  plan: Sweep.Plan
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const startMillis = yield* realClock.currentTimeMillis
    for (let count = 0; count < timedTrialCount; count++) {
      yield* runTrial(api, subject, { case: { form, faults: [], interrupt: undefined }, clean: trial })
    }
    const durationMillis = ((yield* realClock.currentTimeMillis) - startMillis) / timedTrialCount
    const caseCount = Sweep.countCases(trial, form, plan)
    const triedCount = Math.min(caseCount, plan.maxCaseCount)
    const seconds = Math.ceil(triedCount * durationMillis / 1000)
    if (seconds > longSeconds || triedCount < caseCount) {
      const sampled = triedCount < caseCount ? `, a sample of ${caseCount}` : ""
      // Tests of `@effect/vitest` have no logger.
      yield* Console.error(`sweeping ${triedCount} cases${sampled}, about ${seconds} s`)
    }
  })

/** Tries one case. */
const replay = <A, E, R, LE>(
  { api, subject, tally }: Pick<Sweep.Sweeping<A, E, R, LE>, "api" | "subject" | "tally">,
  only: Case,
  { judging, trial: clean }: Sweep.Baseline
): Effect.Effect<void> =>
  Effect.map(runTrial(api, subject, { case: only, clean }), (trial) => {
    tally.faultCases += only.interrupt === undefined ? 1 : 0
    tally.interruptCases += only.faults.length === 0 ? 1 : 0
    tally.pairCases += only.faults.length > 0 && only.interrupt !== undefined ? 1 : 0
    for (const finding of judge(trial, clean, only, judging)) {
      Sweep.addFailure(tally, { case: only, finding, trial, clean, judging, count: 1 })
    }
  })

const reportOf = <A, E, R, LE, BE>(
  tally: Sweep.Tally,
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  plan: Sweep.Plan,
  options: Options<R, LE, BE>
): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const name = options.name ?? "program"
    const failures: Array<Failure> = []
    for (const found of tally.failures.values()) {
      failures.push(yield* explain(found, api, subject, plan, options))
    }
    return {
      name,
      seed: plan.seed,
      operations: tally.operations,
      steps: tally.steps,
      faultCases: tally.faultCases,
      interruptCases: tally.interruptCases,
      pairCases: tally.pairCases,
      pointCount: tally.pointCount,
      coveredCount: tally.coveredCount,
      operationKinds: [...tally.firedKinds].toSorted(),
      errorTags: [...tally.errorTags].toSorted(),
      states: [...tally.states].toSorted(),
      leakedBytes: tally.leakedBytes,
      failures
    }
  })

/** Makes a failure as small as it can be made, and looks at it once more with the lines that allocate. */
const explain = <A, E, R, LE, BE>(
  found: Sweep.Failure,
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  plan: Sweep.Plan,
  options: Options<R, LE, BE>
): Effect.Effect<Failure> =>
  Effect.gen(function*() {
    const header = { name: options.name ?? "program", seed: plan.seed }
    const verdict = found.finding.verdict
    for (const [index, smaller] of (options.only === undefined ? options.smaller ?? [] : []).entries()) {
      const smallerSubject = subjectOf(smaller, options)
      const shrunk = yield* shrink(api, smallerSubject, found, plan, permitsOf(options))
      if (shrunk !== undefined) {
        const looked = yield* lookAgain(api, smallerSubject, shrunk)
        return failureOf(looked, Pages.page(looked, { ...header, program: `smaller[${index}]` }))
      }
    }
    const looked = verdict === "Nondeterministic" ? found : yield* lookAgain(api, subject, found)
    return failureOf(looked, Pages.page(looked, { ...header, program: "program" }))
  })

const failureOf = ({ case: tried, count, finding }: Sweep.Failure, page: string): Failure => ({
  verdict: finding.verdict,
  detail: finding.detail,
  count,
  case: format(tried),
  page
})

const lookAgain = <A, E, R, LE>(
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  failure: Sweep.Failure
): Effect.Effect<Sweep.Failure> =>
  Effect.map(
    runTrial(api, { ...subject, notesPlaces: true }, { case: failure.case, clean: failure.clean }),
    (trial): Sweep.Failure => {
      const finding = judge(trial, failure.clean, failure.case, failure.judging).find(({ verdict }) =>
        verdict === failure.finding.verdict
      )
      return finding === undefined ? failure : { ...failure, trial, finding }
    }
  )
