/**
 * One use of the slot, from begin to end.
 */
import type { Origin, Purpose } from "../../HostApi.ts"
import type { Bindings } from "./bindings.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import type { RunTables } from "./runTables.ts"

/** How far a run has come. `Failed` is a launch that failed: such a run can only end. */
export type Phase = "Binding" | "Bound" | "Launching" | "Launched" | "Failed" | "Validating" | "Ended"

export class ActiveRun {
  readonly generation: number
  readonly prepared: PreparedCallable
  readonly tables: RunTables
  phase: Phase = "Binding"
  /** Whether the outputs reached the host. */
  succeeded = false
  /** Whether the user's own region lets the run be interrupted. */
  isInterruptible = true
  /** The generation of the allocator's run. */
  readonly allocatorGeneration: number

  constructor(generation: number, prepared: PreparedCallable, tables: RunTables, allocatorGeneration: number) {
    this.generation = generation
    this.allocatorGeneration = allocatorGeneration
    this.prepared = prepared
    this.tables = tables
  }

  get bindings(): Bindings {
    return this.prepared.bindings
  }

  get name(): string {
    return this.prepared.name
  }

  origin(purpose: Purpose, names: ReadonlyArray<string>): Origin {
    return { purpose, runId: this.generation, names }
  }
}
