/** A mutant: a plausible mistake that the sweeps have to find when it is planted in the sources. */
import type { FaultSweep } from "leasehold/testing"

/** One mistake: the exact text of a source that it replaces, and which sweeps are to find it. */
export interface Mutant {
  readonly name: string
  /** What is wrong with it. */
  readonly about: string
  /** Under `src/`. */
  readonly file: string
  /** Occurs exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** Scenarios that are expected to find it, tried in this order. */
  readonly scenarios: readonly [string, ...ReadonlyArray<string>]
  /** Which disturbances are tried, where the mistake is about one of them. Defaults to both. */
  readonly only?: "faults" | "interruptions" | undefined
  /** The forms that have the mistake, where it is in one of them only. Defaults to those of the scenario. */
  readonly forms?: ReadonlyArray<FaultSweep.Form> | undefined
}
