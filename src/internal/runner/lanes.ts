/**
 * The lanes of a runner: the device's work queues, each behind a gate. Where copies run beside kernels, and more than one run
 * can be bound, each lane has a gate of its own, so that one run is staged while another executes. Else one gate stands for
 * all three, and one piece of work is under way at a time.
 */
import type * as Effect from "effect/Effect"
import type { Lane } from "../../HostApi.ts"
import { Gate } from "./gate.ts"

export class Lanes {
  /** Whether work on one lane goes on beside work on another. */
  readonly overlap: boolean
  readonly #gates: Readonly<Record<Lane, Gate>>

  /** `onIdle` is called when work of a lane has ended and nobody waits for it. */
  constructor(overlap: boolean, onIdle: () => void) {
    const first = new Gate(onIdle)
    this.overlap = overlap
    this.#gates = overlap
      ? { in: first, compute: new Gate(onIdle), out: new Gate(onIdle) }
      : { in: first, compute: first, out: first }
  }

  /** Whether work is under way on any lane. */
  get busy(): boolean {
    const { compute, in: inwards, out } = this.#gates
    return inwards.busy || compute.busy || out.busy
  }

  isBusy(lane: Lane): boolean {
    return this.#gates[lane].busy
  }

  /** Runs `work` when its turn on a lane has come, see `Gate.through`. */
  through<A, E>(lane: Lane, work: Effect.Effect<A, E>, onEnd?: () => void): Effect.Effect<A, E> {
    return this.#gates[lane].through(work, onEnd)
  }

  /** Runs `work` while no other is under way on any lane. Lanes are taken in one order, so nobody waits in a circle. */
  exclusively<A, E>(work: Effect.Effect<A, E>, onEnd?: () => void): Effect.Effect<A, E> {
    const { compute, in: inwards, out } = this.#gates
    return this.overlap ? inwards.through(compute.through(out.through(work, onEnd))) : inwards.through(work, onEnd)
  }

  /** Lets everybody in from now on, see `Gate.break`. */
  break(): void {
    for (const gate of Object.values(this.#gates)) {
      gate.break()
    }
  }
}
