/**
 * Programs for the explorer: a few fibers that contend for a gate or a runner, made anew for every schedule, and what has to
 * hold whichever way they take turns.
 */
import type { Effect, Exit } from "effect"
import type { VirtualClock } from "../../src/internal/testing/virtualClock.ts"

/**
 * What can be wrong after a schedule.
 *
 * - `lostWakeups`: somebody waits, and nobody is left to wake it.
 * - `starved`: a run that was neither interrupted nor rightly refused did not run, or one that came later went before it.
 * - `overlaps`: two were inside at once, or runs that were active at the same time shared bytes.
 * - `permitsLost`: a slot, bytes or a place in a queue did not come back.
 * - `unexpected`: a fiber ended in a way that no schedule explains, such as with a defect.
 */
export const defectKinds = ["lostWakeups", "starved", "overlaps", "permitsLost", "unexpected"] as const
export type DefectKind = (typeof defectKinds)[number]

export interface Defect {
  readonly kind: DefectKind
  /** A sentence. */
  readonly detail: string
}

/** What the fibers of a program can do to each other and to time. */
export interface Stage {
  readonly clock: VirtualClock
  /** Runs an effect outside of the schedule, in one stretch. What it leaves behind for later is part of the schedule again. */
  readonly apart: <A, E>(effect: Effect.Effect<A, E>) => A
  /** Interrupts a fiber, and does not wait for it. */
  readonly interrupt: (name: string) => Effect.Effect<void>
  /** Whether a fiber waits for somebody: it has begun, and could not go on now. */
  readonly isParked: (name: string) => boolean
  /** When a fiber last began to wait, as `now` counts; `undefined` where it never did. */
  readonly parkedAt: (name: string) => number | undefined
  /** How many times somebody went on by now. */
  readonly now: () => number
}

/** How the fibers ended. `undefined` stands for one that did not. */
export type Exits = Readonly<Record<string, Exit.Exit<unknown, unknown> | undefined>>

export interface Attempt {
  /** They start in this order. */
  readonly fibers: Readonly<Record<string, Effect.Effect<unknown, unknown>>>
  /** What was wrong. Called once, when nothing is left to do. */
  readonly judge: (exits: Exits) => ReadonlyArray<Defect>
}

export interface Program {
  readonly name: string
  /** How many fibers contend: those that only interrupt, or let time pass, do not count. */
  readonly fiberCount: 2 | 3
  /** Whether one is interrupted, or something else comes between. */
  readonly isDisturbed: boolean
  readonly make: (stage: Stage) => Attempt
}
