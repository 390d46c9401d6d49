/**
 * How fast those who wait come to their turn, as it was of late: the time between one run that ended while others waited and
 * the next, smoothed. While nobody waits it counts nothing but how soon after somebody was turned away a run ended: an
 * estimate that keeps everybody from waiting would otherwise never be looked at again.
 */

/** What a new sample weighs. */
const weight = 1 / 8

export class Departures {
  #meanNanos = 0
  #lastNanos: number | undefined
  #turnedAwayNanos: number | undefined

  /** Somebody has begun to wait. */
  waitingSince(nowNanos: number): void {
    this.#lastNanos ??= nowNanos
  }

  /** Somebody would have begun to wait, but may not. */
  turnedAway(nowNanos: number): void {
    this.#turnedAwayNanos ??= nowNanos
  }

  /** A run has ended. The clock is looked at only where somebody waits, or was turned away. */
  observe(waitingCount: number, nowNanos: () => number): void {
    const since = waitingCount === 0 ? this.#turnedAwayNanos : this.#lastNanos
    const now = waitingCount > 0 || since !== undefined ? nowNanos() : 0
    this.#turnedAwayNanos = undefined
    this.#lastNanos = waitingCount === 0 ? undefined : now
    if (since !== undefined) {
      const sample = Math.max(0, now - since)
      this.#meanNanos = this.#meanNanos === 0 ? sample : this.#meanNanos + (sample - this.#meanNanos) * weight
    }
  }

  /** How long one waits before whom so many stand, itself included; 0 as long as nothing is known. */
  estimateNanos(position: number): number {
    return this.#meanNanos * position
  }
}
