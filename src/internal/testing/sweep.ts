/**
 * The sweep: every case of a program, one after the other, and what was found.
 */
import * as Effect from "effect/Effect"
import * as Utils from "effect/Utils"
import type { Service as HostApiService } from "../../HostApi.ts"
import {
  applies,
  type Case,
  clean as cleanCase,
  type FaultKind,
  type FaultPoint,
  type Form,
  type InterruptPoint,
  type Persistence,
  timings
} from "./cases.ts"
import { turn } from "./explorer.ts"
import { run, type Subject, type Trial } from "./trial.ts"
import {
  failsUndisturbed,
  type Finding,
  hasSameResults,
  isSameWay,
  judge,
  type Judging,
  leakedBytes,
  type Verdict
} from "./verdicts.ts"

/** Where a program is interrupted: at every step, at those within the runner's methods, or where a fiber waits anyway. */
export type Interruptions = "every" | "runner" | "reachable"

export interface Plan {
  readonly faults: ReadonlyArray<FaultKind>
  readonly persistences: ReadonlyArray<Persistence>
  readonly interruptions: ReadonlyArray<Interruptions>
  /** What share of the pairs of a fault and an interruption, and of two faults, is tried: 0 to 1. */
  readonly interruptedFaults: number
  readonly faultPairs: number
  readonly seed: number
  readonly maxCaseCount: number
}

/** A case that went wrong, and how many others went wrong in the same way. Cases are tried smallest first. */
export interface Failure {
  readonly case: Case
  readonly finding: Finding
  readonly trial: Trial
  readonly clean: Trial
  readonly judging: Judging
  count: number
}

export interface Tally {
  /** Operations of the clean program, over all forms. */
  operations: number
  /** Steps of the clean program, over all forms. */
  steps: number
  faultCases: number
  interruptCases: number
  pairCases: number
  /** Points that exist: an operation, kind, timing and persistence, or a step and target. */
  pointCount: number
  /** Points that were tried and fired. */
  coveredCount: number
  /** Operation kinds at which a fault fired. */
  readonly firedKinds: Set<string>
  readonly errorTags: Set<string>
  /** States in which a program left its runner. */
  readonly states: Set<string>
  /** Bytes that were leaked, over all cases. */
  leakedBytes: number
  readonly failures: Map<Verdict, Failure>
}

export const emptyTally = (): Tally => ({
  operations: 0,
  steps: 0,
  faultCases: 0,
  interruptCases: 0,
  pairCases: 0,
  pointCount: 0,
  coveredCount: 0,
  firedKinds: new Set(),
  errorTags: new Set(),
  states: new Set(),
  leakedBytes: 0,
  failures: new Map()
})

export const addFailure = (tally: Tally, failure: Failure): void => {
  const known = tally.failures.get(failure.finding.verdict)
  if (known === undefined) {
    tally.failures.set(failure.finding.verdict, failure)
  } else {
    known.count += 1
  }
}

/** The undisturbed program, and how to judge others by it. */
export interface Baseline {
  readonly trial: Trial
  readonly judging: Judging
  readonly findings: ReadonlyArray<Finding>
}

/** A program may warm up: caches, kernels that are loaded once. It has to settle within so many trials. */
const maxWarmUpCount = 10

const hasEnded = ({ exit, isRunaway }: Trial): boolean => exit !== undefined && !isRunaway

/** What a program may do that is a mistake in most. */
export interface Permits {
  /** Succeed although an operation failed. */
  readonly mayRecover: boolean
  /** Fail although nothing did. */
  readonly mayFail: boolean
}

/** Runs the program undisturbed until it takes the same way twice, or does not end. */
export const baseline = <A, E, R, LE>(
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  form: Form,
  { mayFail, mayRecover }: Permits
): Effect.Effect<Baseline> =>
  Effect.gen(function*() {
    const tried = cleanCase(form)
    const once = (known: Trial | undefined) => run(api, subject, { case: tried, clean: known })
    let previous = yield* once(undefined)
    for (let count = 1; count < maxWarmUpCount && hasEnded(previous); count++) {
      const trial = yield* once(previous)
      if (isSameWay(previous, trial)) {
        const judging = { mayRecover, comparesOutputs: hasSameResults(previous, trial) }
        const findings = judge(trial, trial, tried, judging)
        return { trial, judging, findings: mayFail ? findings : [...failsUndisturbed(trial), ...findings] }
      }
      previous = trial
    }
    const judging = { mayRecover, comparesOutputs: false }
    if (!hasEnded(previous)) {
      return { trial: previous, judging, findings: judge(previous, previous, tried, judging) }
    }
    const detail = `the undisturbed program took another way each of ${maxWarmUpCount} times`
    return { trial: previous, judging, findings: [{ verdict: "Nondeterministic", detail }] }
  })

/** Every single fault of a form. */
export const faultPoints = (
  operations: Trial["operations"],
  form: Form,
  plan: Pick<Plan, "faults" | "persistences">
): ReadonlyArray<FaultPoint> =>
  operations.flatMap(({ kind: target }, operation) =>
    plan.faults.flatMap((kind) =>
      timings.flatMap((timing) =>
        plan.persistences.flatMap((persistence) =>
          applies(target, form, kind, timing) ? [{ operation, target, kind, timing, persistence }] : []
        )
      )
    )
  )

/** Every single interruption of a form. */
export const interruptPoints = (
  trial: Pick<Trial, "steps" | "taskCount">,
  plan: Pick<Plan, "interruptions">
): ReadonlyArray<InterruptPoint> =>
  [...new Set(plan.interruptions)].flatMap((interruptions): ReadonlyArray<InterruptPoint> =>
    interruptions === "reachable"
      ? Array.from({ length: trial.taskCount }, (_, step) => ({ step, target: "root" as const, mode: "reachable" }))
      : trial.steps.flatMap(({ isInRunner, isRoot }, step): ReadonlyArray<InterruptPoint> =>
        interruptions === "runner" && !isInRunner ? [] : [
          { step, target: "root", mode: "every" },
          ...(isRoot ? [] : [{ step, target: "current" as const, mode: "every" as const }])
        ]
      )
  )

/** How many cases a plan has for one form: what it costs, before it is paid. */
export const countCases = (trial: Trial, form: Form, plan: Plan): number => {
  const faultCount = faultPoints(trial.operations, form, plan).length
  const stepCount = interruptPoints(trial, plan).length
  const seriousCount = seriousFaults(trial.operations, form, plan).length
  return faultCount + stepCount +
    Math.round(seriousCount * stepCount * plan.interruptedFaults) +
    Math.round(seriousCount * seriousCount * plan.faultPairs / 2)
}

/** The faults that are worth pairing: each way in which an operation can end other than well, once. */
const seriousFaults = (
  operations: Trial["operations"],
  form: Form,
  { faults }: Pick<Plan, "faults">
): ReadonlyArray<FaultPoint> =>
  faultPoints(operations, form, {
    faults: faults.filter((kind) => kind === "error" || kind === "deviceLost" || kind === "defect"),
    persistences: ["once"]
  })

export interface Sweeping<A, E, R, LE> {
  readonly api: HostApiService
  readonly subject: Subject<A, E, R, LE>
  readonly plan: Plan
  readonly tally: Tally
}

/** Trials follow each other without a pause; now and then the event loop has its turn. */
const breathe = (trialCount: number): Effect.Effect<void> => trialCount % trialsPerTurn === 0 ? turn : Effect.void

const trialsPerTurn = 64

/** Sweeps one form of a program. */
export const sweepForm = <A, E, R, LE>(
  sweeping: Sweeping<A, E, R, LE>,
  form: Form,
  { judging, trial: clean }: Baseline
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { api, plan, subject, tally } = sweeping
    const random = new Utils.PCGRandom(plan.seed)
    const budget = new Budget(plan.maxCaseCount, random)

    let trialCount = 0
    const attempt = (tried: Case): Effect.Effect<Trial> =>
      Effect.map(Effect.zipRight(breathe(trialCount), run(api, subject, { case: tried, clean })), (trial) => {
        trialCount += 1
        for (const tag of trial.observations.errorTags) {
          tally.errorTags.add(tag)
        }
        if (trial.state !== undefined) {
          tally.states.add(trial.state)
        }
        for (const [index, fault] of tried.faults.entries()) {
          if (trial.fired[index] === true) {
            tally.firedKinds.add(trial.operations[fault.operation]!.kind)
          }
        }
        // Where calls take real time, what is left after a fault may end a few steps earlier the next time.
        const missed = tried.faults.length > 0 && tried.interrupt !== undefined && !trial.isInterrupted
        const findings = judge(trial, clean, tried, judging)
          .filter(({ verdict }) => !missed || verdict !== "Nondeterministic")
        tally.leakedBytes += findings.some(({ verdict }) => verdict === "Leaked") ? leakedBytes(trial) : 0
        for (const finding of findings) {
          addFailure(tally, { case: tried, finding, trial, clean, judging, count: 1 })
        }
        return trial
      })

    const faults = faultPoints(clean.operations, form, plan)
    const interruptions = interruptPoints(clean, plan)
    tally.pointCount += faults.length + interruptions.length
    for (const fault of budget.choose(faults, interruptions.length)) {
      const trial = yield* attempt({ form, faults: [fault], interrupt: undefined })
      tally.faultCases += 1
      tally.coveredCount += trial.fired[0] === true ? 1 : 0
    }
    for (const interrupt of budget.choose(interruptions, 0)) {
      const trial = yield* attempt({ form, faults: [], interrupt })
      tally.interruptCases += 1
      tally.coveredCount += trial.isInterrupted ? 1 : 0
    }
    if (plan.interruptedFaults === 0 && plan.faultPairs === 0) {
      return
    }
    for (const first of seriousFaults(clean.operations, form, plan)) {
      // What is left of the program after the first fault says which second disturbance can meet it.
      const alone = yield* run(api, subject, { case: { form, faults: [first], interrupt: undefined }, clean })
      for (const interrupt of chosen(random, interruptPoints(alone, plan), plan.interruptedFaults)) {
        if (budget.take()) {
          yield* attempt({ form, faults: [first], interrupt })
          tally.pairCases += 1
        }
      }
      const seconds = seriousFaults(alone.operations, form, plan).filter(({ operation }) => operation > first.operation)
      for (const second of chosen(random, seconds, plan.faultPairs)) {
        if (budget.take()) {
          yield* attempt({ form, faults: [first, second], interrupt: undefined })
          tally.pairCases += 1
        }
      }
    }
  })

/** A seeded share of some points. */
const chosen = <P>(random: Utils.PCGRandom, points: ReadonlyArray<P>, share: number): ReadonlyArray<P> =>
  share === 0 ? [] : points.filter(() => share >= 1 || random.number() < share)

/** How many cases may still be tried. Above that a seeded sample is. */
class Budget {
  #left: number
  readonly #random: Utils.PCGRandom

  constructor(maxCaseCount: number, random: Utils.PCGRandom) {
    this.#left = maxCaseCount
    this.#random = random
  }

  take(): boolean {
    this.#left -= 1
    return this.#left >= 0
  }

  /** All points, or a sample that leaves a fair share to `others`. */
  choose<P>(points: ReadonlyArray<P>, others: number): ReadonlyArray<P> {
    const share = Math.min(1, Math.max(0, this.#left) / Math.max(1, points.length + others))
    let wantedCount = Math.min(Math.max(0, this.#left), Math.ceil(points.length * share))
    const sample = points.filter((_, index) => {
      const isTaken = this.#random.number() * (points.length - index) < wantedCount
      wantedCount -= isTaken ? 1 : 0
      return isTaken
    })
    this.#left -= sample.length
    return sample
  }
}
