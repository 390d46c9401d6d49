/**
 * A trial: a program under one schedule, from its first step until nothing is left to do, within one synchronous stretch.
 *
 * It is the explorer of the testing kit without what a user's program needs: no layers, and no fiber but those of the
 * program. So ten thousand schedules take seconds.
 */
import { Clock, Effect, FiberId, Logger, LogLevel, Runtime, RuntimeFlags, Supervisor } from "effect"
import { type AnyFiber, Explorer } from "../../src/internal/testing/explorer.ts"
import type { ListedTurns } from "../../src/internal/testing/schedules.ts"
import { VirtualClock } from "../../src/internal/testing/virtualClock.ts"
import type { Defect, Exits, Program, Stage } from "./program.ts"

/** Programs of this size take some hundreds of steps. One that takes so many goes round in circles. */
const maxStepCount = 20_000

/** What the fibers take for time: the clock of the trial at hand. */
let clockOfNow = new VirtualClock()
const clock: Clock.Clock = {
  [Clock.ClockTypeId]: Clock.ClockTypeId,
  unsafeCurrentTimeMillis: () => clockOfNow.clock.unsafeCurrentTimeMillis(),
  unsafeCurrentTimeNanos: () => clockOfNow.clock.unsafeCurrentTimeNanos(),
  currentTimeMillis: Effect.suspend(() => clockOfNow.clock.currentTimeMillis),
  currentTimeNanos: Effect.suspend(() => clockOfNow.clock.currentTimeNanos),
  sleep: (duration) => clockOfNow.clock.sleep(duration)
}

/** At the time of the trial at hand, and without a log, which thousands of schedules would fill. */
const quietly = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.withClock(effect, clock).pipe(Logger.withMinimumLogLevel(LogLevel.None))

const runtimeApart = Effect.runSync(quietly(Effect.runtime()))

const runApart = <A, E>(effect: Effect.Effect<A, E>): A => Runtime.runSync(runtimeApart)(effect)

/** Which instruction the fiber at work comes to. */
let instruction = ""

class Instructions extends Supervisor.AbstractSupervisor<void> {
  override readonly value = Effect.void
  override onEffect<A, E>(_fiber: unknown, effect: Effect.Effect<A, E, unknown>): void {
    const { _op: name = "" } = effect as { readonly _op?: string }
    instruction = name
  }
}

/**
 * Fibers go on to the next instruction of a chain without touching anything that another sees, and what an interruption does
 * there is what it does one step later. So nobody has to be preempted there, and a third of all steps need no thought.
 */
const isSilent = (): boolean => instruction === "OnSuccess"

const runtime = Effect.runSync(
  quietly(Effect.supervised(Effect.runtime(), new Instructions()))
)
const runFork = Runtime.runFork(
  Runtime.make({ ...runtime, runtimeFlags: RuntimeFlags.enable(runtime.runtimeFlags, RuntimeFlags.OpSupervision) })
)

/** What was seen under one schedule. */
export interface Seen {
  readonly defects: ReadonlyArray<Defect>
  readonly stepCount: number
  readonly exits: Exits
}

class Trial {
  readonly #turns: ListedTurns
  readonly #explorer: Explorer
  readonly #fibers = new Map<string, AnyFiber>()
  /** Those that wait for somebody, unless they could go on now. */
  readonly #parked = new Set<AnyFiber>()
  readonly #parkedAt = new Map<AnyFiber, number>()
  #current: AnyFiber | undefined
  #hasStepped = false

  constructor(turns: ListedTurns) {
    this.#turns = turns
    this.#explorer = new Explorer({ atStep: this.#atStep, pick: this.#pick }, maxStepCount)
    clockOfNow = this.#explorer.clock
  }

  run(program: Program): Seen {
    const stage: Stage = {
      clock: this.#explorer.clock,
      // Finalizers run on the scheduler of those that added them.
      apart: (effect) => runApart(this.#explorer.uncounted(Effect.withScheduler(effect, this.#explorer))),
      interrupt: (name) => Effect.sync(() => this.#fibers.get(name)!.unsafeInterruptAsFork(FiberId.none)),
      isParked: (name) => this.#parked.has(this.#fibers.get(name)!) && !this.#isWaiting(this.#fibers.get(name)!),
      parkedAt: (name) => this.#parkedAt.get(this.#fibers.get(name)!),
      now: () => this.#explorer.taskCount
    }
    const { fibers, judge } = program.make(stage)
    for (const [name, effect] of Object.entries(fibers)) {
      const fiber: AnyFiber = runFork(effect, { scheduler: this.#explorer, immediate: false })
      this.#fibers.set(name, fiber)
    }
    do {
      this.#explorer.drain()
    } while (this.#explorer.clock.advance() && !this.#explorer.isRunaway)
    const exits: Exits = Object.fromEntries(
      [...this.#fibers].map(([name, fiber]) => [name, fiber.unsafePoll() ?? undefined])
    )
    const unended = Object.keys(exits).filter((name) => exits[name] === undefined)
    const stuck: ReadonlyArray<Defect> = unended.length === 0 ? [] : [{
      kind: "lostWakeups",
      detail: this.#explorer.isRunaway
        ? `the program was given up after ${maxStepCount} steps`
        : `nothing is left to do, and these wait for ever: ${unended.join(", ")}`
    }]
    return { defects: [...stuck, ...judge(exits)], stepCount: this.#explorer.stepCount, exits }
  }

  readonly #atStep = (explorer: Explorer, fiber: AnyFiber, step: number): boolean => {
    this.#hasStepped = true
    const { branches } = this.#turns
    const known = branches.length
    const yields = this.#turns.atStep(explorer, fiber, step)
    if (branches.length > known && isSilent()) {
      branches.pop()
    }
    return yields
  }

  readonly #pick = (explorer: Explorer, waitingCount: number): number => {
    const last = this.#current
    if (last !== undefined && last.unsafePoll() === null && !this.#isWaiting(last)) {
      this.#parked.add(last)
      // Who was told of an interruption that has to wait takes no step, and keeps its place.
      if (this.#hasStepped) {
        this.#parkedAt.set(last, explorer.taskCount)
      }
    }
    this.#hasStepped = false
    const index = this.#turns.pick(explorer, waitingCount)
    this.#current = explorer.waitingFiber(index)
    if (this.#current !== undefined) {
      this.#parked.delete(this.#current)
    }
    return index
  }

  #isWaiting(fiber: AnyFiber): boolean {
    const { waitingCount } = this.#explorer
    for (let index = 0; index < waitingCount; index++) {
      if (this.#explorer.waitingFiber(index) === fiber) {
        return true
      }
    }
    return false
  }
}

/** Runs a program under one schedule. */
export const tryOnce = (program: Program, turns: ListedTurns): Seen => new Trial(turns).run(program)
