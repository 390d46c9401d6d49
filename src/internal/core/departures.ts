/**
 * How fast those who wait come to their turn, as it was of late: the time between one run that ended while others waited and
 * the next, smoothed. It counts nothing while nobody waits.
 */

/** What a new sample weighs. */
const weight = 1 / 8

export class Departures {
  #meanNanos = 0
  #lastNanos: number | undefined

  /** Somebody has begun to wait. */
  waitingSince(nowNanos: number): void {
    this.#lastNanos ??= nowNanos
  }

  /** A run has ended. The clock is looked at only where somebody waits. */
  observe(waitingCount: number, nowNanos: () => number): void {
    if (waitingCount === 0) {
      this.#lastNanos = undefined
      return
    }
    const now = nowNanos()
    if (this.#lastNanos !== undefined) {
      const sample = Math.max(0, now - this.#lastNanos)
      this.#meanNanos = this.#meanNanos === 0 ? sample : this.#meanNanos + (sample - this.#meanNanos) * weight
    }
    this.#lastNanos = now
  }

  /** How long one waits before whom so many stand, itself included; 0 as long as nothing is known. */
  estimateNanos(position: number): number {
    return this.#meanNanos * position
  }
}
