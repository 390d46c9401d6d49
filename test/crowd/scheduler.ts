/**
 * A scheduler that decides by lot which fiber goes on, and makes fibers give way at random steps. The same seed decides the
 * same, as long as everything happens on the event loop's thread.
 */
import { Effect, type Fiber, type Scheduler } from "effect"
import type { Random } from "../model/random.ts"

/** So many tasks at a stretch, so that native calls and timers are heard between them. */
const tasksPerTurn = 256

/** Source: `MixedScheduler` of Effect 3 yields after as many operations. */
const maxOperationsBeforeYield = 2048

/** Gives way without a priority, which Effect takes for none said; setting one takes steps that may give way again. */
const givesWay: number = undefined!

export class RandomScheduler implements Scheduler.Scheduler {
  readonly #random: Random
  /** Fibers give way at one in so many steps. */
  readonly #stepsPerPreemption: number
  readonly #tasks: Array<() => void> = []
  #isDraining = false
  #undisturbedCount = 0

  constructor(random: Random, stepsPerPreemption: number) {
    this.#random = random
    this.#stepsPerPreemption = stepsPerPreemption
  }

  shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    return this.#undisturbedCount === 0 &&
        (this.#random.once(this.#stepsPerPreemption) || fiber.currentOpCount > maxOperationsBeforeYield)
      ? givesWay
      : false
  }

  /** Runs what does not wait in one stretch, so that nobody else changes anything meanwhile. */
  undisturbed<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        this.#undisturbedCount += 1
      }),
      () => effect,
      () =>
        Effect.sync(() => {
          this.#undisturbedCount -= 1
        })
    )
  }

  scheduleTask(task: () => void): void {
    this.#tasks.push(task)
    if (!this.#isDraining) {
      this.#isDraining = true
      setImmediate(this.#drain)
    }
  }

  readonly #drain = (): void => {
    for (let count = 0; count < tasksPerTurn && this.#tasks.length > 0; count++) {
      const index = this.#random.below(this.#tasks.length)
      const task = this.#tasks[index]!
      // The last takes its place: their order does not matter.
      this.#tasks[index] = this.#tasks.at(-1)!
      this.#tasks.pop()
      task()
    }
    this.#isDraining = this.#tasks.length > 0
    if (this.#isDraining) {
      setImmediate(this.#drain)
    }
  }
}
