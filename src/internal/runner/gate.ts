/**
 * The gate: device work of one runner goes through it one piece at a time, in the order of arrival.
 *
 * The fast path of a run looks at it synchronously. Whoever waits is uninterruptible, and is handed the gate by the piece
 * that ends, inside that piece's own uninterruptible region, so that no wake-up is lost.
 */
import * as Effect from "effect/Effect"
import { assert } from "../assert.ts"

export class Gate {
  #busy = false
  #broken = false
  readonly #waiting: Array<() => void> = []
  readonly #onIdle: () => void

  /** `onIdle` is called when work has ended and nobody waits. */
  constructor(onIdle: () => void) {
    this.#onIdle = onIdle
  }

  /** Whether work is under way now. */
  get busy(): boolean {
    return this.#busy
  }

  /**
   * Runs `work` when its turn has come. Work that has begun is not interrupted. `onEnd` is called in the very step in which it
   * ends.
   */
  through<A, E>(work: Effect.Effect<A, E>, onEnd?: () => void): Effect.Effect<A, E> {
    const inside = this.#inside(work, onEnd)
    return Effect.uninterruptible(
      Effect.suspend(() => this.#tryEnter() ? inside : Effect.zipRight(this.#wait, inside))
    )
  }

  /**
   * Lets everybody in from now on. For a poisoned runner whose last call never ends: nobody touches the device any more,
   * so nobody has to wait for it.
   */
  break(): void {
    this.#broken = true
    while (this.#waiting.length > 0) {
      this.#waiting.shift()!()
    }
  }

  /** What has entered leaves in the very step in which it ends. Runs in an uninterruptible region. */
  #inside<A, E>(work: Effect.Effect<A, E>, onEnd: (() => void) | undefined): Effect.Effect<A, E> {
    return Effect.matchCauseEffect(work, {
      onFailure: (cause) => {
        onEnd?.()
        this.#leave()
        return Effect.failCause(cause)
      },
      onSuccess: (value) => {
        onEnd?.()
        this.#leave()
        return Effect.succeed(value)
      }
    })
  }

  #tryEnter(): boolean {
    if (this.#busy && !this.#broken) {
      return false
    }
    this.#busy = !this.#broken
    return true
  }

  readonly #wait: Effect.Effect<void> = Effect.async((resume) => {
    // A scheduler may have let others in between: without a second look nobody would be left to wake this one.
    if (this.#tryEnter()) {
      resume(Effect.void)
    } else {
      this.#waiting.push(() => resume(Effect.void))
    }
  })

  #leave(): void {
    if (this.#broken) {
      return
    }
    assert(this.#busy, "only who entered the gate leaves it")
    const next = this.#waiting.shift()
    if (next === undefined) {
      this.#busy = false
      this.#onIdle()
    } else {
      next()
    }
  }
}
