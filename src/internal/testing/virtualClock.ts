/**
 * A clock that stands still while there is something to do, and jumps to the next timer when there is not, so that programs
 * that sleep take no time and always the same steps.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

interface Timer {
  readonly dueNanos: bigint
  readonly order: number
  readonly wake: () => void
}

const nanosPerMilli = 1_000_000n

export class VirtualClock {
  #nowNanos = 0n
  #order = 0
  #timers: ReadonlyArray<Timer> = []

  readonly clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => Number(this.#nowNanos / nanosPerMilli),
    unsafeCurrentTimeNanos: () => this.#nowNanos,
    currentTimeMillis: Effect.sync(() => this.clock.unsafeCurrentTimeMillis()),
    currentTimeNanos: Effect.sync(() => this.#nowNanos),
    sleep: (duration) =>
      Effect.async<void>((resume) => {
        const cancel = this.#schedule(() => resume(Effect.void), duration)
        return Effect.sync(() => void cancel())
      })
  }

  /** Goes on to the next timer and wakes it. Answers whether there was one. */
  advance(): boolean {
    const next = this.#timers[0]
    if (next === undefined) {
      return false
    }
    this.#timers = this.#timers.slice(1)
    this.#nowNanos = next.dueNanos > this.#nowNanos ? next.dueNanos : this.#nowNanos
    next.wake()
    return true
  }

  #schedule(wake: () => void, duration: Duration.Duration): () => boolean {
    if (!Duration.isFinite(duration)) {
      return () => true
    }
    this.#order += 1
    const nanos = BigInt(Math.ceil(Duration.toMillis(duration) * Number(nanosPerMilli)))
    const timer: Timer = { dueNanos: this.#nowNanos + nanos, order: this.#order, wake }
    this.#timers = [...this.#timers, timer].toSorted((left, right) =>
      left.dueNanos === right.dueNanos ? left.order - right.order : left.dueNanos < right.dueNanos ? -1 : 1
    )
    return () => {
      const countBefore = this.#timers.length
      this.#timers = this.#timers.filter((other) => other !== timer)
      return this.#timers.length < countBefore
    }
  }
}
