/**
 * A trial: one run of a program under one case, on decorators of its own, from building its layers to closing them, and
 * what was seen.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import type * as Scope from "effect/Scope"
import type { DevicePtr } from "../../DevicePtr.ts"
import { DeviceRunner, type Service as Runner } from "../../DeviceRunner.ts"
import { HostApi, type Origin, type Purpose, type Service as HostApiService } from "../../HostApi.ts"
import type { RunnerStats } from "../../RunnerStats.ts"
import type { Rule } from "../../testing/FaultInjection.ts"
import type { Allocation, Snapshot } from "../../testing/Ledger.ts"
import { Book } from "./book.ts"
import { capture, isInRunner } from "./callSite.ts"
import { type Case, ruleOf } from "./cases.ts"
import { explore, type Explorer, type Strategy } from "./explorer.ts"
import { type Controls, inject } from "./injector.ts"
import { decorate, type Operation } from "./operations.ts"
import { check, type Usability } from "./usability.ts"
import { type Observations, Watch } from "./watchedRunner.ts"

/** What is put on trial. */
export interface Subject<A, E, R, LE> {
  readonly program: Effect.Effect<A, E, R | HostApi | Scope.Scope>
  readonly layer: Layer.Layer<R, LE, HostApi>
  readonly invariant: Effect.Effect<void, unknown, R | HostApi> | undefined
  readonly patience: Duration.DurationInput
  /** Whether the program's log is written, which thousands of cases would fill. */
  readonly logs: boolean
  /** Whether the lines of the program that allocate are noted, which costs a stack trace each. */
  readonly notesPlaces: boolean
}

/** Who took a step, and where. */
export interface Step {
  /** Whether the program's own fiber did. */
  readonly isRoot: boolean
  /** Whether it is within a method of the runner. */
  readonly isInRunner: boolean
}

// Shared, because there are a thousand steps in a trial and a hundred thousand trials in a campaign.
const rootInRunner: Step = { isRoot: true, isInRunner: true }
const otherInRunner: Step = { isRoot: false, isInRunner: true }
const rootOutside: Step = { isRoot: true, isInRunner: false }
const otherOutside: Step = { isRoot: false, isInRunner: false }

/** What was seen. */
export interface Trial {
  readonly exit: Exit.Exit<unknown, unknown> | undefined
  /** Whether it was given up because it took too many steps. */
  readonly isRunaway: boolean
  readonly operations: ReadonlyArray<Operation>
  /** Every step that was taken. */
  readonly steps: ReadonlyArray<Step>
  /** How many steps the building of the layers took; all of them where the program was never reached. */
  readonly buildingStepCount: number
  readonly taskCount: number
  /** Which of the case's faults fired, by the operation that each first hit. */
  readonly fired: ReadonlyArray<boolean>
  readonly isInterrupted: boolean
  /** How many operations had begun when the program was interrupted. */
  readonly operationCountAtInterrupt: number
  /** Operations that hung when the program had ended. */
  readonly hangingCount: number
  /** The account when everything had closed. */
  readonly ledger: Snapshot
  /** What the program had allocated and not given back when it ended, before its layers closed. */
  readonly leftOpen: ReadonlyArray<Allocation>
  /** Runs that were active when the program had ended. */
  readonly leftActiveCount: number
  /** Runs that waited for their turn when the program had ended. */
  readonly leftWaitingCount: number
  /** Bytes that child budgets of the program had reserved when it had ended. */
  readonly leftReservedBytes: number
  readonly stats: RunnerStats | undefined
  /** Where the runner stood when the program had ended, before its layers closed. */
  readonly state: RunnerStats["state"] | undefined
  readonly usability: Usability | undefined
  /** Operations that the check of usability made. */
  readonly usabilityOperationCount: number
  readonly invariant: Exit.Exit<void, unknown> | undefined
  readonly observations: Observations
}

/** Twenty times what the clean program takes is a program that does not end. */
const runawayFactor = 20
const leastMaxStepCount = 20_000
/** So many steps, about a second, may the clean program itself take. */
const cleanMaxStepCount = 1_000_000

/** What makes every call take its time. */
const slowness: Rule = { fault: { _tag: "None" }, often: "always", delay: "1 millis", isOptional: true }

/** Runs a subject under a case. */
export const run = <A, E, R, LE>(
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  options: {
    readonly case: Case
    /** The undisturbed program, where it is known: by its length a program that does not end is found out. */
    readonly clean: Pick<Trial, "steps" | "exit" | "isRunaway"> | undefined
    /** In place of the case's own interruption: how steps and tasks are chosen. */
    readonly strategy?: Strategy | undefined
    /** Called as each operation reaches the backend. */
    readonly onOperation?: ((operation: Operation) => void) | undefined
  }
): Effect.Effect<Trial> =>
  Effect.scoped(Effect.gen(function*() {
    const { clean, case: { faults, form } } = options
    const rules = faults.map(ruleOf)
    const outside = new OutsideCalls(options.onOperation)
    const { controls: injection, hostApi: injected } = yield* inject(
      decorate(api, outside),
      form === "delayed" ? [...rules, slowness] : rules
    )
    const steps: Array<Step> = []
    const book = new Book(() => steps.length)
    const decorated = decorate(injected, book)
    const session = new Session(
      subject,
      injection,
      book,
      () => steps.length,
      form === "immediate" ? decorated : { ...decorated, immediate: undefined }
    )
    const interruption = new Interruption(options.case.interrupt, book)
    let releasesHangs = false
    let hangingCount = 0
    const outcome = yield* explore((explorer) => session.program(explorer), {
      strategy: {
        atStep: (explorer, fiber, step) => {
          const isRoot = explorer.root === undefined || fiber === explorer.root
          steps.push(isInRunner(fiber) ? (isRoot ? rootInRunner : otherInRunner) : isRoot ? rootOutside : otherOutside)
          return interruption.atStep(explorer, fiber, step) ||
            (options.strategy?.atStep?.(explorer, fiber, step) ?? false)
        },
        pick: (explorer, waitingCount) => {
          interruption.atTask(explorer)
          return options.strategy?.pick?.(explorer, waitingCount) ?? 0
        }
      },
      maxStepCount: clean?.exit === undefined || clean.isRunaway
        ? cleanMaxStepCount
        : Math.max(leastMaxStepCount, clean.steps.length * runawayFactor),
      patience: subject.patience,
      isAwaited: () => outside.inFlightCount > 0,
      // A program that waits for a call that hangs is interrupted first, as a user would; then the call may end.
      onIdle: (explorer) =>
        Effect.gen(function*() {
          if ((yield* injection.hangingCount) === 0) {
            return false
          }
          if (releasesHangs || explorer.root === undefined) {
            yield* injection.releaseHangs
          } else {
            releasesHangs = true
            explorer.interrupt(explorer.root)
          }
          return true
        }),
      onEnd: Effect.zipRight(
        Effect.tap(injection.hangingCount, (count) =>
          Effect.sync(() => {
            hangingCount = count
          })),
        injection.releaseHangs
      )
    })
    const fired = (yield* injection.fired).map(({ firedCount }) => firedCount > 0).slice(0, faults.length)
    const ledger = book.snapshot()
    const trial: Trial = {
      exit: outcome.exit,
      isRunaway: outcome.isRunaway,
      operations: book.operations,
      steps,
      buildingStepCount: session.buildingStepCount ?? steps.length,
      taskCount: outcome.taskCount,
      fired,
      isInterrupted: interruption.hasFired,
      operationCountAtInterrupt: interruption.operationCount,
      hangingCount,
      ledger,
      leftOpen: session.leftOpen,
      leftActiveCount: session.leftActiveCount,
      leftWaitingCount: session.leftWaitingCount,
      leftReservedBytes: session.leftReservedBytes,
      stats: session.runner === undefined ? undefined : yield* session.runner.stats,
      state: session.state,
      usability: session.usability,
      usabilityOperationCount: session.usabilityOperationCount,
      invariant: session.invariant,
      observations: session.watch.observations
    }
    yield* cleanUp(api, book)
    return trial
  }))

/** What programs ask for; all else is the runner's own. */
const programPurposes: ReadonlySet<Purpose> = new Set(["tensor", "resident", "hostTensor"])

/** What child budgets have reserved: those of layers outlive the program. */
const reservedBytes = (runner: Runner): Effect.Effect<number> =>
  Effect.map(runner.stats, ({ temporaryBuffer }) => temporaryBuffer.reservedBytes)

/** What a program's layers and the program itself do in a trial. */
class Session<A, E, R, LE> {
  readonly watch = new Watch()
  readonly #subject: Subject<A, E, R, LE>
  readonly #injection: Controls
  readonly #book: Book
  readonly #api: HostApiService
  readonly #countSteps: () => number
  buildingStepCount: number | undefined
  runner: Runner | undefined
  state: RunnerStats["state"] | undefined
  usability: Usability | undefined
  usabilityOperationCount = 0
  invariant: Exit.Exit<void, unknown> | undefined
  leftOpen: ReadonlyArray<Allocation> = []
  leftActiveCount = 0
  leftWaitingCount = 0
  leftReservedBytes = 0

  constructor(
    subject: Subject<A, E, R, LE>,
    injection: Controls,
    book: Book,
    countSteps: () => number,
    api: HostApiService
  ) {
    this.#subject = subject
    this.#injection = injection
    this.#book = book
    this.#countSteps = countSteps
    this.#api = api
  }

  readonly program = (explorer: Explorer): Effect.Effect<A, E | LE> =>
    Effect.scoped(
      Effect.flatMap(Layer.build(this.#subject.layer), (built) => {
        this.buildingStepCount = this.#countSteps()
        const context = this.#watched(built)
        const known = new Set(this.#book.snapshot().allocations.map(({ number }) => number))
        const reserved = this.runner === undefined ? Effect.succeed(0) : reservedBytes(this.runner)
        return Effect.flatMap(reserved, (before) =>
          Effect.onExit(
            Effect.provide(Effect.scoped(this.#subject.program), context),
            () => explorer.uncounted(Effect.provide(this.#afterwards(known, before), context))
          ))
      })
    ).pipe(
      Effect.onExit((exit) => Effect.sync(() => this.watch.note(exit))),
      Logger.withMinimumLogLevel(this.#subject.logs ? LogLevel.Info : LogLevel.None),
      Effect.provideService(HostApi, this.#api)
    )

  /** The same context with the runner in it watched. */
  #watched(context: Context.Context<R>): Context.Context<R | HostApi> {
    const runner = Context.getOption(context as Context.Context<never>, DeviceRunner)
    const complete = Context.add(context, HostApi, this.#api)
    if (runner._tag === "None") {
      return complete
    }
    this.runner = runner.value
    return Context.merge(
      complete,
      Context.make(DeviceRunner, this.watch.wrap(runner.value, this.#subject.notesPlaces ? capture : () => undefined))
    )
  }

  /** While the layers still stand: does the runner work, and does what the user says hold. */
  #afterwards(known: ReadonlySet<number>, reservedBefore: number): Effect.Effect<void, never, R | HostApi> {
    return this.#injection.withoutFaults(Effect.gen(this, function*() {
      const before = this.#book.operations.length
      this.leftOpen = this.#book.snapshot().allocations.filter(({ number, purpose, state }) =>
        state === "held" && !known.has(number) && programPurposes.has(purpose)
      )
      if (this.runner !== undefined) {
        const { runs, state, temporaryBuffer } = yield* this.runner.stats
        this.state = state
        // A run whose call hangs cannot have ended, and is in the way of the next; whoever raced it went on without it.
        if ((yield* this.#injection.hangingCount) === 0) {
          this.leftActiveCount = runs.active
          this.leftWaitingCount = runs.waiting
          this.leftReservedBytes = temporaryBuffer.reservedBytes - reservedBefore
          // Behind those a run might wait for ever, and more is wrong than that.
          if (runs.active + runs.waiting === 0) {
            this.usability = yield* check(this.runner)
          }
        }
        this.usabilityOperationCount = this.#book.operations.length - before
      }
      if (this.#subject.invariant !== undefined) {
        this.invariant = yield* Effect.exit(this.#subject.invariant)
      }
      // They are no operations of the program.
      this.#book.operations.splice(before)
    }))
  }
}

/** Interrupts a program at one step or task. */
class Interruption {
  readonly #point: Case["interrupt"]
  readonly #book: Book
  hasFired = false
  operationCount = 0

  constructor(point: Case["interrupt"], book: Book) {
    this.#point = point
    this.#book = book
  }

  #interrupt(explorer: Explorer, fiber: Parameters<Explorer["interrupt"]>[0]): void {
    this.hasFired = true
    this.operationCount = this.#book.operations.length
    explorer.interrupt(fiber)
  }

  atStep: NonNullable<Strategy["atStep"]> = (explorer, fiber, step) => {
    if (this.#point?.mode !== "every" || this.#point.step !== step || explorer.root === undefined) {
      return false
    }
    this.#interrupt(explorer, this.#point.target === "root" ? explorer.root : fiber)
    return true
  }

  atTask(explorer: Explorer): void {
    if (this.#point?.mode === "reachable" && this.#point.step === explorer.taskCount && explorer.root !== undefined) {
      this.#interrupt(explorer, explorer.root)
    }
  }
}

/** Counts the calls that are with the backend itself, whose end is sure to come. */
class OutsideCalls {
  readonly #onOperation: ((operation: Operation) => void) | undefined
  inFlightCount = 0

  constructor(onOperation: ((operation: Operation) => void) | undefined) {
    this.#onOperation = onOperation
  }

  effect = <A, E>(operation: Operation, call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      this.#onOperation?.(operation)
      this.inFlightCount += 1
      return Effect.ensuring(
        call,
        Effect.sync(() => {
          this.inFlightCount -= 1
        })
      )
    })

  plain = (operation: Operation, call: () => number): number => {
    this.#onOperation?.(operation)
    return call()
  }
}

const origin: Origin = { purpose: "tensor", runId: 0, names: ["left over"] }

/** Frees what a program leaked or was right to forget, so that the next one finds the device as this one did. */
const cleanUp = (api: HostApiService, book: Book): Effect.Effect<void> =>
  Effect.forEach(book.leftovers(), ({ key, memory }) =>
    Effect.exit(
      typeof key !== "number"
        ? api.hostUnregister(key, origin)
        : memory === "device"
        ? api.free(key as DevicePtr, origin)
        : api.hostFree(key, origin)
    ), { discard: true })
