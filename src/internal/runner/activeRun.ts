/**
 * One use of a slot, from begin to end.
 */
import type { Origin, Purpose } from "../../HostApi.ts"
import type { Slot } from "../core/slot.ts"
import type { Bindings } from "./bindings.ts"
import type { Frame } from "./frame.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import type { RunTables } from "./runTables.ts"

/** How far a run has come. `Failed` is a launch that failed: such a run can only end. */
export type Phase = "Binding" | "Bound" | "Launching" | "Launched" | "Failed" | "Validating" | "Ended"

export class ActiveRun {
  readonly generation: number
  readonly frame: Frame
  readonly slot: Slot
  readonly tables: RunTables
  phase: Phase = "Binding"
  /** Whether the outputs reached the host. */
  succeeded = false
  /** Whether the user's own region lets the run be interrupted. */
  isInterruptible = true
  /** Its native calls that are under way. */
  callsInFlight = 0

  constructor(generation: number, frame: Frame, slot: Slot) {
    this.generation = generation
    this.frame = frame
    this.slot = slot
    this.tables = frame.tables
  }

  get prepared(): PreparedCallable {
    return this.frame.prepared
  }

  get bindings(): Bindings {
    return this.frame.bindings
  }

  get name(): string {
    return this.frame.prepared.name
  }

  origin(purpose: Purpose, names: ReadonlyArray<string>): Origin {
    return { purpose, runId: this.generation, names }
  }
}
