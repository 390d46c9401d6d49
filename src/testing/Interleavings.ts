/**
 * Races: a program of several fibers is run under one schedule after the other. Who goes on, and where a fiber gives way to
 * another, is decided here and not by luck, at every step of every fiber: a race that shows itself once in a million times
 * is found in hundreds, and has a name by which it happens again.
 *
 * Three strategies choose schedules. `"random"` draws who gives way and who goes on. `"pct"`, probabilistic concurrency
 * testing, draws priorities and changes few of them, which finds bugs that take few events in one order. `"exhaustive"`
 * tries all schedules with at most so many preemptions, for two or three fibers and short programs.
 *
 * After each schedule the account has to be even, as after the cases of a `FaultSweep`, the program must have ended as it
 * may, and what the user says has to hold. Schedules count steps, so the program has to take the same ones each time: use a
 * backend that answers at once, such as the simulator with `longCalls: "inline"`. Time is virtual.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { HostApi, type Service as HostApiService } from "../HostApi.ts"
import { assert } from "../internal/assert.ts"
import type { Form } from "../internal/testing/cases.ts"
import * as FiberNames from "../internal/testing/fiberNames.ts"
import * as Interleave from "../internal/testing/interleave.ts"
import * as Pages from "../internal/testing/racePages.ts"
import { judgeRace, type RaceVerdict } from "../internal/testing/raceVerdicts.ts"
import { format, parse, type Schedule, strategyOf } from "../internal/testing/schedules.ts"
import { shorten } from "../internal/testing/shorten.ts"
import type { Subject } from "../internal/testing/trial.ts"

/**
 * How schedules are chosen.
 *
 * @since 0.1.0
 * @category models
 */
export type Strategy = "random" | "pct" | "exhaustive"

/**
 * What can be wrong with a schedule: the verdicts of a `FaultSweep`, and these.
 *
 * - `UnexpectedExit`: the program ended in a way that `accepts` does not.
 * - `Stuck`: fibers wait for each other, or for nobody. The detail names them.
 * - `Nondeterministic`: the same schedule came out otherwise, or went another way, when it was tried again.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = RaceVerdict

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<A, E, R, LE, BE> {
  /** The device. It is opened once, and every schedule finds it empty. */
  readonly backend: Layer.Layer<HostApi, BE>
  /** What the program needs, such as `DeviceRunner.layer(options)`. It is built and closed in each schedule. */
  readonly layer: Layer.Layer<R, LE, HostApi>
  /** What reports call the program. Defaults to `"program"`. */
  readonly name?: string | undefined
  /** Defaults to `"immediate"`, where the backend has it, and `"effects"`. */
  readonly forms?: ReadonlyArray<Form> | undefined
  /** Defaults to `"random"` and `"pct"`. */
  readonly strategies?: ReadonlyArray<Strategy> | undefined
  /** Defaults to `1`. */
  readonly seed?: number | undefined
  /**
   * How many schedules are drawn for each form: three in four by `"random"` and one by `"pct"` where both are asked for.
   * Defaults to `400`.
   */
  readonly scheduleCount?: number | undefined
  /** How likely `"random"` is to preempt a fiber at a step, 0 to 1. Defaults to `0.05`. */
  readonly yieldProbability?: number | undefined
  /**
   * How many events in one order a bug may take for `"pct"` to be made for it: priorities change at one step fewer. At least
   * 1, defaults to `3`.
   */
  readonly depth?: number | undefined
  /**
   * How often `"exhaustive"` preempts, 0 to 3; where fibers wait, yield or end it tries every successor as well. Defaults to
   * `2`. The number of schedules grows with the number of steps to this power.
   */
  readonly preemptions?: number | undefined
  /**
   * How many schedules `"exhaustive"` tries for each form. Beyond, the rest is counted and left out, and the report says so.
   * Defaults to `50_000`.
   */
  readonly maxScheduleCount?: number | undefined
  /** After how many schedules that fail it stops. Defaults to `1`. */
  readonly maxFailureCount?: number | undefined
  /**
   * Which exits are right. Defaults to success alone, under every schedule. A program of which a part may fail, such as a
   * run that is refused because another is active, says so: with `Effect.exit` or `Effect.catchTag` around that part, or
   * here. The value is there to be looked at too.
   */
  readonly accepts?: ((exit: Exit.Exit<NoInfer<A>, NoInfer<E | LE>>) => boolean) | undefined
  /** What has to hold after each schedule, while the layer still stands. It fails where it does not. */
  readonly invariant?: Effect.Effect<void, unknown, R | HostApi> | undefined
  /**
   * Whether every run that succeeds has to give the bytes of a run of the undisturbed program. Defaults to `false`: who
   * comes first may change what is computed.
   */
  readonly comparesOutputs?: boolean | undefined
  /** Tries one schedule only, as a report names it. */
  readonly only?: string | undefined
  /** How long in real time a program may wait for something outside that nobody knows of. Defaults to `"1 second"`. */
  readonly patience?: Duration.DurationInput | undefined
}

/**
 * One way in which a program went wrong.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly verdict: Verdict
  /** What is wrong, in a sentence. */
  readonly detail: string
  /** How many schedules went wrong in this way. */
  readonly count: number
  /** The schedule with the fewest choices that could be found, where they are few, as `only` takes it. */
  readonly schedule: string
  /** The schedule that found it, as `only` takes it. */
  readonly foundBy: string
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
  /** Schedules that were tried, over all forms. */
  readonly scheduleCount: number
  readonly randomCount: number
  readonly pctCount: number
  readonly exhaustiveCount: number
  /** Schedules with at most `preemptions` preemptions that are known to exist. */
  readonly knownCount: number
  /** Whether `"exhaustive"` has tried all that there are. */
  readonly isExhausted: boolean
  readonly preemptions: number
  /** Schedules in which something happened in another order: fibers took other steps, or made other operations. */
  readonly distinctCount: number
  /** Most fibers that took part in one schedule, the program's own apart. */
  readonly fiberCount: number
  /** Steps of all schedules. */
  readonly stepCount: number
  /** How often the program ended in which way, such as `{ succeeded: 400 }`. */
  readonly endings: Readonly<Record<string, number>>
  /** Of all schedules in their order: the same for the same seed. */
  readonly traceHash: string
  /** One for each verdict that was found. */
  readonly failures: ReadonlyArray<Failure>
}

/**
 * Schedules went wrong. The message has a page for each verdict.
 *
 * @since 0.1.0
 * @category errors
 */
export class InterleavingsFailed
  extends Schema.TaggedError<InterleavingsFailed>("leasehold/testing/InterleavingsFailed")("InterleavingsFailed", {
    verdicts: Schema.Array(Schema.String),
    report: Schema.String
  })
{
  override get message(): string {
    return this.report
  }
}

/**
 * Names the fiber that runs an effect, for reports.
 *
 * @since 0.1.0
 * @category combinators
 */
export const named: (name: string) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> =
  FiberNames.named

/**
 * Runs effects at once, each in a fiber that bears its name, and answers what they answer. It waits for all of them, also
 * where one fails, and fails then. It takes fewer steps of its own than `Effect.all`, which leaves more schedules for those
 * of the program.
 *
 * @since 0.1.0
 * @category combinators
 */
export const together = <const P extends Readonly<Record<string, Effect.Effect<unknown, unknown, unknown>>>>(
  programs: P
): Effect.Effect<
  { readonly [K in keyof P]: Effect.Effect.Success<P[K]> },
  Effect.Effect.Error<P[keyof P]>,
  Effect.Effect.Context<P[keyof P]>
> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const fibers: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
      for (const [name, program] of Object.entries(programs)) {
        fibers.push(yield* Effect.fork(restore(named(name)(program))))
      }
      const exits = yield* Effect.onInterrupt(restore(awaitAll(fibers)), () => Fiber.interruptAll(fibers))
      const names = Object.keys(programs)
      const all = Exit.all(exits, { parallel: true })
      return yield* all._tag === "None"
        ? Effect.succeed({})
        : Exit.map(all.value, (values) => Object.fromEntries(values.map((value, index) => [names[index]!, value])))
    })
  ) as Effect.Effect<
    // What is collected by name here has the types that the record says.
    { readonly [K in keyof P]: Effect.Effect.Success<P[K]> },
    Effect.Effect.Error<P[keyof P]>,
    Effect.Effect.Context<P[keyof P]>
  >

/** Waits for all fibers at once, so that the one that waits is woken once, when it cannot get in anybody's way any more. */
const awaitAll = (
  fibers: ReadonlyArray<Fiber.RuntimeFiber<unknown, unknown>>
): Effect.Effect<ReadonlyArray<Exit.Exit<unknown, unknown>>> =>
  Effect.async((resume) => {
    let left = fibers.length
    const exits: Array<Exit.Exit<unknown, unknown>> = []
    const check = () => {
      if (left === 0) {
        resume(Effect.succeed(exits))
      }
    }
    for (const [index, fiber] of fibers.entries()) {
      fiber.addObserver((exit) => {
        exits[index] = exit
        left -= 1
        check()
      })
    }
    if (fibers.length === 0) {
      check()
    }
  })

/**
 * Runs a program under many schedules and answers what was found.
 *
 * Long explorations say first what they will cost.
 *
 * @since 0.1.0
 * @category testing
 */
export const run = <A, E, R, LE, BE>(
  program: Effect.Effect<A, E, R | HostApi | Scope.Scope>,
  options: Options<A, E, R, LE, BE>
): Effect.Effect<Report, BE> =>
  Effect.scoped(Effect.gen(function*() {
    const backend = yield* Layer.build(options.backend)
    const api = Context.get(backend, HostApi)
    const only = options.only === undefined ? undefined : parse(options.only)
    if (options.only !== undefined && only === undefined) {
      return yield* Effect.dieMessage(`"${options.only}" is not a schedule as a report names it`)
    }
    const racing: Interleave.Racing<A, E, R, LE> = {
      api,
      subject: subjectOf(program, options),
      plan: planOf(options),
      tally: Interleave.emptyTally()
    }
    const forms = only === undefined ? formsOf(options, api) : [only.form]
    assert(forms.length > 0, "the backend has one of the forms")
    for (const form of forms) {
      const { findings, seen } = yield* Interleave.baseline(racing, form)
      const schedule: Schedule = { form, turns: Interleave.undisturbed }
      for (const finding of findings) {
        racing.tally.failedCount += 1
        Interleave.addFailure(racing.tally, { schedule, finding, seen, clean: seen, count: 1 })
      }
      if (only !== undefined) {
        yield* Interleave.attempt(racing, seen, only)
      } else if (findings.length === 0) {
        yield* explore(racing, seen, form, options)
      }
    }
    return yield* reportOf(racing, options)
  }))

/**
 * Runs a program under many schedules and fails with `InterleavingsFailed` where one goes wrong. One line in a test.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { DeviceRunner, Simulator } from "leasehold"
 * import { Interleavings } from "leasehold/testing"
 *
 * // Two tenants of one runner allocate and fill weights of their own at once.
 * const tenant = (value: number) =>
 *   Effect.scoped(Effect.gen(function*() {
 *     const runner = yield* DeviceRunner.DeviceRunner
 *     const weights = yield* runner.allocate("float32", [4])
 *     yield* weights.upload(new Float32Array(4).fill(value))
 *     const found = new Float32Array(4)
 *     yield* weights.download(found)
 *     return found[0]
 *   }))
 *
 * const report = await Effect.runPromise(
 *   Interleavings.assertClean(Interleavings.together({ first: tenant(1), second: tenant(2) }), {
 *     name: "two tenants",
 *     backend: Simulator.layer({ totalBytes: "1 MiB", longCalls: "inline" }),
 *     layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, residentMaxBytes: "64 KiB" }),
 *     accepts: (exit) => exit._tag === "Success" && exit.value.first === 1 && exit.value.second === 2,
 *     scheduleCount: 100
 *   })
 * )
 *
 * assert.strictEqual(Interleavings.summary(report), "200 schedules of 2 fibers (random 150, PCT 50): clean")
 * ```
 *
 * @since 0.1.0
 * @category testing
 */
export const assertClean = <A, E, R, LE, BE>(
  program: Effect.Effect<A, E, R | HostApi | Scope.Scope>,
  options: Options<A, E, R, LE, BE>
): Effect.Effect<Report, InterleavingsFailed | BE> =>
  Effect.flatMap(run(program, options), (report) =>
    report.failures.length === 0 ? Effect.succeed(report) : Effect.fail(
      new InterleavingsFailed({ verdicts: report.failures.map(({ verdict }) => verdict), report: render(report) })
    ))

/**
 * What was tried and how it came out, in one line: `2,000 schedules of 3 fibers (random 1,500, PCT 500): clean`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const summary = (report: Report): string =>
  `${Pages.tried(report, report.preemptions)}: ${
    report.failures.length === 0
      ? "clean"
      : report.failures.map(({ count, verdict }) => `${verdict} ${count === 1 ? "once" : `${count} times`}`).join(", ")
  }`

/**
 * The summary, and a page for each verdict.
 *
 * @since 0.1.0
 * @category combinators
 */
export const render = (report: Report): string =>
  [`${report.name}: ${summary(report)}`, ...report.failures.map(({ page }) => page)].join("\n\n")

const strategiesOf = <A, E, R, LE, BE>(options: Options<A, E, R, LE, BE>): ReadonlySet<Strategy> =>
  new Set(options.strategies ?? ["random", "pct"])

const isCount = (count: number): boolean => Number.isSafeInteger(count) && count >= 1

const planOf = <A, E, R, LE, BE>(options: Options<A, E, R, LE, BE>): Interleave.Plan => {
  const { accepts, depth = 3, preemptions = 2, scheduleCount = 400, yieldProbability = 0.05 } = options
  assert(Number.isInteger(preemptions) && preemptions >= 0 && preemptions <= 3, "preemptions is 0, 1, 2 or 3")
  assert(Number.isInteger(depth) && depth >= 1, "depth is a whole number of at least 1")
  const maxFailureCount = options.maxFailureCount ?? 1
  const maxScheduleCount = options.maxScheduleCount ?? 50_000
  assert(
    isCount(scheduleCount) && isCount(maxScheduleCount) && isCount(maxFailureCount),
    "scheduleCount, maxScheduleCount and maxFailureCount are whole numbers from 1"
  )
  assert(yieldProbability >= 0 && yieldProbability <= 1, "yieldProbability is from 0 to 1")
  const strategies = strategiesOf(options)
  assert(strategies.size > 0, "there is a strategy")
  const pctCount = !strategies.has("pct") ? 0 : strategies.has("random") ? Math.floor(scheduleCount / 4) : scheduleCount
  return {
    seed: options.seed ?? 1,
    randomCount: strategies.has("random") ? scheduleCount - pctCount : 0,
    pctCount,
    maxScheduleCount: maxScheduleCount,
    yieldProbability: yieldProbability,
    depth,
    preemptions,
    maxFailureCount: maxFailureCount,
    comparesOutputs: options.comparesOutputs ?? false,
    // A trial has forgotten the types of the program that it ran, which is the one given here.
    accepts: accepts as Interleave.Plan["accepts"]
  }
}

const formsOf = <A, E, R, LE, BE>(options: Options<A, E, R, LE, BE>, api: HostApiService): ReadonlyArray<Form> =>
  (options.forms ?? ["immediate", "effects"]).filter((form) => form !== "immediate" || api.immediate !== undefined)

const subjectOf = <A, E, R, LE, BE>(
  program: Effect.Effect<A, E, R | HostApi | Scope.Scope>,
  options: Options<A, E, R, LE, BE>
): Subject<A, E, R, LE> => ({
  program,
  layer: options.layer,
  invariant: options.invariant,
  patience: options.patience ?? "1 second",
  logs: options.only !== undefined,
  notesPlaces: false
})

/** Explorations that take longer than this say so first. */
const longSeconds = 5

const realClock = Clock.make()

const explore = <A, E, R, LE, BE>(
  racing: Interleave.Racing<A, E, R, LE>,
  seen: Interleave.Seen,
  form: Form,
  options: Options<A, E, R, LE, BE>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { api, plan, subject } = racing
    const startMillis = yield* realClock.currentTimeMillis
    yield* Interleave.observe(api, subject, form, { turns: strategyOf(Interleave.undisturbed), clean: seen.trial })
    const durationMillis = (yield* realClock.currentTimeMillis) - startMillis
    const scheduleCount = plan.randomCount + plan.pctCount
    const seconds = Math.ceil(scheduleCount * durationMillis / 1000)
    if (seconds > longSeconds) {
      yield* Effect.logInfo(`trying ${scheduleCount} schedules, about ${seconds} s`)
    }
    yield* Interleave.interleaveDrawn(racing, seen, form)
    if (strategiesOf(options).has("exhaustive")) {
      yield* Interleave.interleaveAll(racing, seen, form)
    }
  })

const reportOf = <A, E, R, LE, BE>(
  racing: Interleave.Racing<A, E, R, LE>,
  options: Options<A, E, R, LE, BE>
): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const { plan, tally } = racing
    const name = options.name ?? "program"
    const failures: Array<Failure> = []
    for (const found of tally.failures.values()) {
      const looked = yield* explain(racing, found)
      const header = { name, seed: plan.seed, found: found.schedule, triedCount: tally.scheduleCount }
      failures.push({
        verdict: looked.finding.verdict,
        detail: looked.finding.detail,
        count: looked.count,
        schedule: format(looked.schedule),
        foundBy: format(found.schedule),
        page: Pages.page(looked, header)
      })
    }
    return {
      name,
      seed: plan.seed,
      scheduleCount: tally.scheduleCount,
      randomCount: tally.randomCount,
      pctCount: tally.pctCount,
      exhaustiveCount: tally.exhaustiveCount,
      knownCount: tally.knownCount,
      isExhausted: tally.exhaustiveCount > 0 && tally.exhaustiveCount === tally.knownCount,
      preemptions: plan.preemptions,
      distinctCount: tally.traces.size,
      fiberCount: tally.fiberCount,
      stepCount: tally.stepCount,
      endings: Object.fromEntries(tally.endings),
      traceHash: tally.hash.text,
      failures
    }
  })

/** Looks at a failure once more, with all that can be known, and makes its schedule as short as it can be made. */
const explain = <A, E, R, LE>(
  racing: Interleave.Racing<A, E, R, LE>,
  found: Interleave.RaceFailure
): Effect.Effect<Interleave.RaceFailure> =>
  Effect.gen(function*() {
    const { api, plan, subject } = racing
    const { clean, finding: { verdict }, schedule } = found
    if (verdict === "Nondeterministic") {
      return found
    }
    const seen = yield* Interleave.observe(api, { ...subject, notesPlaces: true }, schedule.form, {
      turns: strategyOf(schedule.turns),
      clean: clean.trial,
      keepsTasks: true
    })
    const findings = judgeRace(seen, clean.trial, schedule.form, plan)
    const finding = findings.find((other) => other.verdict === verdict)
    if (finding === undefined) {
      const verdicts = findings.map((other) => other.verdict).join(", ")
      const again = verdicts === "" ? "nothing" : verdicts
      const detail = `"${format(schedule)}" gave ${verdict} at first, and ${again} when it was tried again`
      return { ...found, finding: { verdict: "Nondeterministic", detail } }
    }
    const looked = { ...found, seen, finding }
    return schedule.turns._tag === "Listed"
      ? looked
      : (yield* shorten(racing, looked, seen.recorder.choices)) ?? looked
  })
