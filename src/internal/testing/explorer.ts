/**
 * The explorer: a scheduler that owns the steps of a program. It counts them, parks a fiber at a chosen step, interrupts,
 * and decides who goes on, so that what is a matter of luck elsewhere is enumerated here and can be replayed.
 *
 * A step is one turn of a fiber's run loop: `shouldYield` is called before each. A task is a fiber that goes on after it
 * was parked, woken or started. The queue is drained synchronously; where a program waits for something outside (a native
 * call on a worker thread, a promise), the explorer waits with it.
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scheduler from "effect/Scheduler"
import { VirtualClock } from "./virtualClock.ts"

export type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** What an explorer does at the steps and tasks of a program. */
export interface Strategy {
  /** Called before each step. A fiber that yields goes to the end of the queue. */
  readonly atStep?: ((explorer: Explorer, fiber: AnyFiber, step: number) => boolean) | undefined
  /** Called before each task, with the number of tasks that wait. Answers which goes on; first in, first out by default. */
  readonly pick?: ((explorer: Explorer, waitingCount: number) => number) | undefined
}

/** How a program ended under an explorer. */
export interface Outcome<A, E> {
  /** `undefined` for a program that did not end. */
  readonly exit: Exit.Exit<A, E> | undefined
  readonly stepCount: number
  readonly taskCount: number
  /** Whether it was given up because it took more steps than it may. */
  readonly isRunaway: boolean
}

interface Task {
  readonly run: () => void
  /** The fiber that goes on; `undefined` for what is no step of the program. */
  readonly fiber: AnyFiber | undefined
}

/** Source: `MixedScheduler` of Effect 3 yields after as many operations. */
const maxOperationsBeforeYield = 2048

/**
 * Gives way without a priority, which Effect takes for none said. With one, each time that a fiber gives way it takes some
 * thirty steps to set the priority and set it back, at which it may be made to give way again, and never comes to an end.
 */
const givesWay: number = undefined!

export class Explorer implements Scheduler.Scheduler {
  readonly clock = new VirtualClock()
  readonly #strategy: Strategy
  readonly #maxStepCount: number
  #tasks: Array<Task> = []
  #isDraining = false
  #onTask: (() => void) | undefined
  #pausedCount = 0
  #uncountedStepCount = 0
  stepCount = 0
  taskCount = 0
  /** The fiber that runs the whole program. */
  root: AnyFiber | undefined
  /** Every fiber with its number, in the order in which they were started; the program's own is 0. */
  readonly fibers = new Map<AnyFiber, number>()
  /** The program has taken more steps than it may. */
  isRunaway = false

  constructor(strategy: Strategy, maxStepCount: number) {
    this.#strategy = strategy
    this.#maxStepCount = maxStepCount
  }

  shouldYield(fiber: AnyFiber): number | false {
    if (this.#pausedCount > 0) {
      this.#uncountedStepCount += 1
      if (this.#uncountedStepCount > this.#maxStepCount) {
        this.isRunaway = true
        return givesWay
      }
      return fiber.currentOpCount > maxOperationsBeforeYield ? givesWay : false
    }
    const step = this.stepCount
    this.stepCount += 1
    if (step > this.#maxStepCount) {
      this.isRunaway = true
      return givesWay
    }
    const yields = this.#strategy.atStep?.(this, fiber, step) ?? false
    return yields || fiber.currentOpCount > maxOperationsBeforeYield ? givesWay : false
  }

  scheduleTask(run: () => void, _priority: number, fiber?: AnyFiber): void {
    if (fiber !== undefined && !this.fibers.has(fiber)) {
      this.fibers.set(fiber, this.fibers.size)
    }
    this.#tasks.push({ run, fiber })
    if (!this.#isDraining) {
      this.#onTask?.()
    }
  }

  /** Interrupts a fiber before anything else goes on. */
  interrupt(fiber: AnyFiber): void {
    this.#tasks.unshift({ run: () => fiber.unsafeInterruptAsFork(FiberId.none), fiber: undefined })
  }

  /** Runs an effect whose steps are nobody's business. */
  uncounted<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        this.#pausedCount += 1
      }),
      () => effect,
      () =>
        Effect.sync(() => {
          this.#pausedCount -= 1
        })
    )
  }

  /** Runs tasks until none is left. */
  drain(): void {
    this.#isDraining = true
    try {
      while (this.#tasks.length > 0 && !this.isRunaway) {
        const index = this.#pausedCount > 0 ? 0 : this.#strategy.pick?.(this, this.#tasks.length) ?? 0
        this.taskCount += this.#pausedCount > 0 ? 0 : 1
        const [task] = this.#tasks.splice(index, 1)
        task!.run()
      }
    } finally {
      this.#isDraining = false
    }
  }

  get hasTasks(): boolean {
    return this.#tasks.length > 0
  }

  /** Whether what goes on now is nobody's business. */
  get isPaused(): boolean {
    return this.#pausedCount > 0
  }

  /** How many tasks wait while one runs. */
  get waitingCount(): number {
    return this.#tasks.length
  }

  /** The fiber of a task that waits. */
  waitingFiber(index: number): AnyFiber | undefined {
    return this.#tasks[index]?.fiber
  }

  /** Waits until there is a task. */
  readonly awaitTask: Effect.Effect<void> = Effect.async<void>((resume) => {
    if (this.hasTasks) {
      resume(Effect.void)
    } else {
      this.#onTask = () => {
        this.#onTask = undefined
        resume(Effect.void)
      }
    }
    return Effect.sync(() => {
      this.#onTask = undefined
    })
  })
}

export interface Options {
  readonly strategy: Strategy
  /** Above so many steps the program is given up. */
  readonly maxStepCount: number
  /** How long to wait for the outside world when nothing is left to do. */
  readonly patience: Duration.DurationInput
  /** Whether something outside is sure to answer, such as a native call in flight. */
  readonly isAwaited: () => boolean
  /** Called when the program can do nothing by itself. Answers whether that has changed now. */
  readonly onIdle: (explorer: Explorer) => Effect.Effect<boolean>
  /** Run when the program has ended; what it sets going is waited for. */
  readonly onEnd: Effect.Effect<void>
}

/** A call that the backend has not answered for so long will not be answered. */
const maxCallDuration = "30 seconds"

/** A turn of the event loop, in which promises and native callbacks arrive. */
export const turn = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/** Time as it really is, whatever clock the test runs on. */
const realClock = Clock.make()

/** Runs a program under an explorer. */
export const explore = <A, E>(
  program: (explorer: Explorer) => Effect.Effect<A, E>,
  options: Options
): Effect.Effect<Outcome<A, E>> =>
  Effect.suspend(() => {
    const explorer = new Explorer(options.strategy, options.maxStepCount)
    let exit: Exit.Exit<A, E> | undefined
    // The one place where the kit runs an effect: a program under exploration has a scheduler, and a fiber, of its own.
    const seeded = Effect.withRandom(program(explorer), Random.make("leasehold/testing"))
    const fiber = Effect.runFork(Effect.withClock(seeded, explorer.clock.clock), {
      scheduler: explorer,
      immediate: false
    })
    explorer.root = fiber
    fiber.addObserver((ended) => {
      exit = ended
    })
    const outcome = (): Outcome<A, E> => ({
      exit,
      stepCount: explorer.stepCount,
      taskCount: explorer.taskCount,
      isRunaway: explorer.isRunaway
    })
    explorer.drain()
    return settle(explorer, options, () => exit !== undefined).pipe(
      Effect.zipRight(options.onEnd),
      Effect.zipRight(Effect.sync(() => explorer.drain())),
      Effect.map(outcome)
    )
  })

/** After so many timers it is asked what else the program may be waiting for. */
const pulseTimerCount = 100

/** Goes on until the program has ended, or nothing can happen any more. */
const settle = (explorer: Explorer, options: Options, hasEnded: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => hasEnded() ? Effect.void : wait(explorer, options, hasEnded))

const wait = (explorer: Explorer, options: Options, hasEnded: () => boolean): Effect.Effect<void> =>
  Effect.gen(function*() {
    let timerCount = 0
    while (!hasEnded() && !explorer.isRunaway) {
      if (explorer.hasTasks) {
        explorer.drain()
      } else if (options.isAwaited()) {
        if (Option.isNone(yield* Effect.timeoutOption(explorer.awaitTask, maxCallDuration))) {
          return
        }
      } else {
        yield* turn
        timerCount += 1
        // Timers that come again and again are a pulse, and no progress: behind them something may hang.
        if (explorer.hasTasks || (timerCount < pulseTimerCount && explorer.clock.advance())) {
          continue
        }
        timerCount = 0
        if (!(yield* options.onIdle(explorer)) && !explorer.clock.advance()) {
          const woken = yield* Effect.timeoutOption(explorer.awaitTask, options.patience)
          if (Option.isNone(woken)) {
            return
          }
        }
      }
    }
  }).pipe(Effect.withClock(realClock))
