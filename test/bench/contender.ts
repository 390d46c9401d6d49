/** Who takes part in a case. */
import type { ContenderName } from "./report.ts"

/** Counts of one run. */
export interface Counts {
  readonly nativeCalls: number
  readonly deviceMallocs: number
}

export interface Contender {
  readonly name: ContenderName
  /** Makes so many runs, one after the other. */
  readonly batch: (runs: number) => void | Promise<void>
  /** Makes one run in which the launch is the echo of the inputs into the outputs, as `findWrongOutput` expects it. */
  readonly echo: () => void | Promise<void>
  /** Counts one warm run, apart from all timing. */
  readonly count: () => Counts | Promise<Counts>
}
