/**
 * The exploration: a program under one schedule after the other, and what was found.
 */
import * as Effect from "effect/Effect"
import type { Service as HostApiService } from "../../HostApi.ts"
import { clean as cleanCase, type Form } from "./cases.ts"
import { turn } from "./explorer.ts"
import { judgeRace, type RaceFinding, type RaceJudging, type RaceVerdict, wayOf } from "./raceVerdicts.ts"
import { Recorder, TraceHash } from "./recorder.ts"
import { type Choice, format, ListedTurns, type Schedule, strategyOf, type Turns } from "./schedules.ts"
import { run, type Subject, type Trial } from "./trial.ts"

export type StrategyName = "random" | "pct" | "exhaustive"

export interface Plan extends RaceJudging {
  readonly seed: number
  /** For each form. */
  readonly randomCount: number
  readonly pctCount: number
  /** For each form, by the exhaustive strategy. */
  readonly maxScheduleCount: number
  readonly yieldProbability: number
  readonly depth: number
  readonly preemptions: number
  /** How many schedules may fail before the exploration stops. */
  readonly maxFailureCount: number
}

/** What was seen under one schedule. */
export interface Seen {
  readonly trial: Trial
  readonly recorder: Recorder
}

/** A schedule that went wrong, and how many others went wrong in the same way. */
export interface RaceFailure {
  readonly schedule: Schedule
  readonly finding: RaceFinding
  readonly seen: Seen
  /** The undisturbed program, which others are measured by. */
  readonly clean: Seen
  count: number
}

export interface Tally {
  scheduleCount: number
  randomCount: number
  pctCount: number
  exhaustiveCount: number
  /** Schedules that the exhaustive strategy knows of. More may hide behind those that it has not tried. */
  knownCount: number
  /** Most fibers in one schedule, the program's own apart. */
  fiberCount: number
  stepCount: number
  failedCount: number
  readonly traces: Set<string>
  /** Over all schedules, in their order. */
  readonly hash: TraceHash
  /** How often the program ended in which way. */
  readonly endings: Map<string, number>
  readonly failures: Map<RaceVerdict, RaceFailure>
}

export const emptyTally = (): Tally => ({
  scheduleCount: 0,
  randomCount: 0,
  pctCount: 0,
  exhaustiveCount: 0,
  knownCount: 0,
  fiberCount: 0,
  stepCount: 0,
  failedCount: 0,
  traces: new Set(),
  hash: new TraceHash(),
  endings: new Map(),
  failures: new Map()
})

export interface Racing<A, E, R, LE> {
  readonly api: HostApiService
  readonly subject: Subject<A, E, R, LE>
  readonly plan: Plan
  readonly tally: Tally
}

export const addFailure = (tally: Tally, failure: RaceFailure): void => {
  const known = tally.failures.get(failure.finding.verdict)
  if (known === undefined) {
    tally.failures.set(failure.finding.verdict, failure)
  } else {
    known.count += 1
  }
}

/** Runs a program once under a strategy. */
export const observe = <A, E, R, LE>(
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  form: Form,
  options: {
    readonly turns: ListedTurns | ReturnType<typeof strategyOf>
    readonly clean?: Trial | undefined
    readonly keepsTasks?: boolean | undefined
  }
): Effect.Effect<Seen> =>
  Effect.suspend(() => {
    const recorder = new Recorder(options.turns, options.keepsTasks ?? false)
    return Effect.map(
      run(api, subject, {
        case: cleanCase(form),
        // One that did not end says nothing about how long others may take.
        clean: options.clean?.exit === undefined ? undefined : options.clean,
        strategy: recorder,
        onOperation: recorder.onOperation
      }),
      (trial): Seen => ({ trial, recorder })
    )
  })

/** A program may warm up: caches, kernels that are loaded once. It has to settle within so many trials. */
const maxWarmUpCount = 10

/** Runs the program undisturbed until it takes the same way twice. */
export const baseline = <A, E, R, LE>(
  { api, plan, subject }: Pick<Racing<A, E, R, LE>, "api" | "plan" | "subject">,
  form: Form
): Effect.Effect<{ readonly seen: Seen; readonly findings: ReadonlyArray<RaceFinding> }> =>
  Effect.gen(function*() {
    const once = (clean: Trial | undefined) => observe(api, subject, form, { turns: strategyOf(undisturbed), clean })
    let previous = yield* once(undefined)
    for (let count = 1; count < maxWarmUpCount && previous.trial.exit !== undefined; count++) {
      const seen = yield* once(previous.trial)
      if (seen.recorder.traceHash === previous.recorder.traceHash) {
        return { seen, findings: judgeRace(seen, previous.trial, form, plan) }
      }
      previous = seen
    }
    const detail = `the undisturbed program took another way each of ${maxWarmUpCount} times`
    return {
      seen: previous,
      findings: previous.trial.exit === undefined
        ? judgeRace(previous, previous.trial, form, plan)
        : [{ verdict: "Nondeterministic", detail }]
    }
  })

export const undisturbed: Turns = { _tag: "Listed", choices: [] }

const isOver = ({ plan, tally }: Pick<Racing<never, never, never, never>, "plan" | "tally">): boolean =>
  tally.failedCount >= plan.maxFailureCount

/** After so many schedules whoever else lives in this process has a turn: a test runner takes silence for death. */
const schedulesPerTurn = 32

/** Tries one schedule, and counts. */
export const attempt = <A, E, R, LE>(
  racing: Racing<A, E, R, LE>,
  clean: Seen,
  schedule: Schedule,
  turns = strategyOf(schedule.turns)
): Effect.Effect<Seen> =>
  Effect.map(
    afterTurn(racing.tally, observe(racing.api, racing.subject, schedule.form, { turns, clean: clean.trial })),
    (seen) => {
      const { plan, tally } = racing
      const { recorder, trial } = seen
      const { traceHash } = recorder
      const way = wayOf(trial.exit)
      tally.scheduleCount += 1
      tally.stepCount += recorder.stepCount
      tally.fiberCount = Math.max(tally.fiberCount, recorder.fiberCount)
      tally.traces.add(traceHash)
      tally.hash.addText(traceHash)
      tally.endings.set(way, (tally.endings.get(way) ?? 0) + 1)
      const findings = turns instanceof ListedTurns && !turns.isComplete
        ? [strayed(schedule)]
        : judgeRace(seen, clean.trial, schedule.form, plan)
      tally.failedCount += findings.length > 0 ? 1 : 0
      for (const finding of findings) {
        addFailure(tally, { schedule, finding, seen, clean, count: 1 })
      }
      return seen
    }
  )

const afterTurn = <A>({ scheduleCount }: Tally, effect: Effect.Effect<A>): Effect.Effect<A> =>
  scheduleCount % schedulesPerTurn === schedulesPerTurn - 1 ? Effect.zipRight(turn, effect) : effect

const strayed = (schedule: Schedule): RaceFinding => ({
  verdict: "Nondeterministic",
  detail: `"${format(schedule)}" names a choice that the program does not come to any more`
})

/** Tries as many drawn schedules as the plan asks for. */
export const interleaveDrawn = <A, E, R, LE>(
  racing: Racing<A, E, R, LE>,
  clean: Seen,
  form: Form
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { plan, tally } = racing
    const { depth, pctCount, randomCount, seed, yieldProbability } = plan
    const { contendedCount } = clean.recorder
    for (let index = 0; index < randomCount && !isOver(racing); index++) {
      const schedule: Schedule = { form, turns: { _tag: "Random", seed, index, yieldProbability } }
      tally.randomCount += 1
      yield* index === 0 ? attemptTwice(racing, clean, schedule) : attempt(racing, clean, schedule)
    }
    for (let index = 0; index < pctCount && !isOver(racing); index++) {
      const schedule: Schedule = { form, turns: { _tag: "Pct", seed, index, depth, contendedCount } }
      tally.pctCount += 1
      yield* index === 0 ? attemptTwice(racing, clean, schedule) : attempt(racing, clean, schedule)
    }
  })

/**
 * Tries a schedule, and looks whether it goes the same way when it is tried again. What the undisturbed program does not
 * come to may warm up too.
 */
const attemptTwice = <A, E, R, LE>(
  racing: Racing<A, E, R, LE>,
  clean: Seen,
  schedule: Schedule
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { api, subject, tally } = racing
    let previous = yield* attempt(racing, clean, schedule)
    for (let count = 1; count < maxWarmUpCount; count++) {
      const turns = strategyOf(schedule.turns)
      const seen = yield* observe(api, subject, schedule.form, { turns, clean: clean.trial })
      if (seen.recorder.traceHash === previous.recorder.traceHash) {
        return
      }
      previous = seen
    }
    const detail = `"${format(schedule)}" took another way each of ${maxWarmUpCount} times`
    tally.failedCount += 1
    addFailure(tally, { schedule, finding: { verdict: "Nondeterministic", detail }, seen: previous, clean, count: 1 })
  })

/** A schedule that departs from its parent in one choice, behind all choices of the parent. */
interface Node {
  readonly parent: Node | undefined
  readonly choice: Choice | undefined
}

const choicesOf = (node: Node): ReadonlyArray<Choice> => {
  const choices: Array<Choice> = []
  for (let at: Node | undefined = node; at?.choice !== undefined; at = at.parent) {
    choices.push(at.choice)
  }
  return choices.toReversed()
}

/**
 * Tries all schedules with at most so many preemptions, and every choice where a fiber waits, yields or ends: first those
 * without preemption, then those with one, and so on, so that what was tried is a whole where it ends early. Every schedule
 * is reached in exactly one way: from the one that lacks its last choice.
 */
export const interleaveAll = <A, E, R, LE>(
  racing: Racing<A, E, R, LE>,
  clean: Seen,
  form: Form
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { plan, tally } = racing
    let now: Array<Node> = [{ parent: undefined, choice: undefined }]
    let keptCount = 1
    tally.knownCount += 1
    for (let preemptions = 0; preemptions <= plan.preemptions; preemptions++) {
      const later: Array<Node> = []
      for (let node = now.pop(); node !== undefined && keptCount > 0 && !isOver(racing); node = now.pop()) {
        const turns: Turns = { _tag: "Listed", choices: choicesOf(node) }
        const listed = new ListedTurns(turns, preemptions < plan.preemptions ? "all" : "tasks")
        yield* attempt(racing, clean, { form, turns }, listed)
        tally.exhaustiveCount += 1
        for (const { at, firstOption, number, optionCount } of listed.branches) {
          tally.knownCount += optionCount
          for (let option = firstOption; option < firstOption + optionCount; option++) {
            // What is beyond the limit is counted, and not kept.
            if (keptCount < plan.maxScheduleCount) {
              keptCount += 1
              ;(at === "step" ? later : now).push({ parent: node, choice: { at, number, option } })
            }
          }
        }
      }
      now = later.toReversed()
    }
  })
