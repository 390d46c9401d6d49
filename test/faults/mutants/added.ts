/** Mutants beyond those that were asked for: with them, every verdict but `ForeignBytes` and `Nondeterministic` has found one. */
import { admissionMutants } from "./admission.ts"
import type { Mutant } from "./mutant.ts"

export const addedMutants: ReadonlyArray<Mutant> = [
  {
    name: "new chunk forgotten after failed grow",
    about: "When the second of two chunks cannot be had, the first is not freed.",
    file: "internal/runner/configure.ts",
    find: `{ discard: true }).pipe(
      Effect.onError(() => freeChunks(state, chunks))
    )`,
    replace: "{ discard: true })",
    scenarios: ["two chunks instead of one"],
    only: "faults"
  },
  {
    name: "handle judged by the slot alone",
    about: "A handle is stale only while nobody holds the slot, so an old one acts while a new run is active.",
    file: "internal/runner/runAwaited.ts",
    find: `  return run.phase === "Ended"
    ? new StaleRun({ callable: run.name`,
    replace: `  return state.activeRuns.length === 0
    ? new StaleRun({ callable: run.name`,
    scenarios: ["an old handle"]
  },
  {
    name: "interrupt deadline not waited for",
    about: "With an interrupt deadline, an interruption goes on at once instead of waiting that long for the call.",
    file: "internal/runner/calls.ts",
    find: `        Effect.interruptible,
        Effect.onInterrupt(() => giveUp)
`,
    replace: `        Effect.interruptible
`,
    scenarios: ["free leases under an interrupt deadline"]
  },
  {
    name: "32-bit product",
    about: "The elements of a shape are multiplied in 32 bits.",
    file: "internal/core/sizes.ts",
    find: "const product = left * right",
    replace: "const product = Math.imul(left, right)",
    scenarios: ["sizes beyond 32 bits"]
  },
  {
    name: "gate given back without waking the next",
    about: "Who leaves the gate frees it and wakes nobody.",
    file: "internal/runner/gate.ts",
    find: `      next()
    }
  }
}`,
    replace: `      this.#busy = false
    }
  }
}`,
    scenarios: ["waiting for each other"],
    forms: ["delayed"]
  },
  {
    name: "residents in use for ever",
    about: "A run that has ended counts as one that uses its residents, so their scope never closes.",
    file: "internal/runner/state.ts",
    find: "return this.runs.some((run) => run?.bindings.records.includes(record) === true)",
    replace: "return this.generation > 0 && this.residents.has(record as ResidentRecord)",
    scenarios: ["external buffer"]
  },
  {
    name: "inline run ends on success alone",
    about: "A run in one synchronous stretch that fails does not end.",
    file: "internal/runner/runNow.ts",
    find: `  try {
    return bindNow(state, immediate, run) ?? launchNow(state, immediate, run) ?? copyBackNow(state, immediate, run)
  } finally {
    endNow(state, immediate, run)
  }`,
    replace: `  const failure = bindNow(state, immediate, run) ?? launchNow(state, immediate, run) ??
    copyBackNow(state, immediate, run)
  if (failure === undefined) {
    endNow(state, immediate, run)
  }
  return failure`,
    scenarios: ["second run reuses"],
    only: "faults",
    forms: ["immediate"]
  },
  {
    name: "failed launch ignored",
    about: "Only negative statuses of an inline launch are taken for failures.",
    file: "internal/runner/runNow.ts",
    find: `  if (status !== Status.Ok) {
    return launchFailure(`,
    replace: `  if (status < Status.Ok) {
    return launchFailure(`,
    scenarios: ["second run reuses"],
    only: "faults",
    forms: ["immediate"]
  },
  {
    name: "failed copy back called harmless",
    about: "A copy back that failed half way says that no output has changed.",
    file: "internal/runner/failures.ts",
    find: "(writesHostTensors(run) || (table.touchesViews && mayHaveMoved(error.status)))",
    replace: "writesHostTensors(run)",
    scenarios: ["buffer no-op leases, inline"],
    only: "faults"
  },
  {
    name: "failed release not counted",
    about: "A lease that the device did not take back is quarantined, and nobody hears of it.",
    file: "internal/runner/leases.ts",
    find: "if (status !== undefined) {",
    replace: "if (status === undefined) {",
    scenarios: ["free leases"],
    only: "faults"
  },
  {
    name: "frees on a lost device",
    about: "An inline run on a lost device still asks it to take its tensors back.",
    file: "internal/runner/runNow.ts",
    find: `  if (state.isPoisoned) {
    return undefined
  }
  try {`,
    replace: "  try {",
    scenarios: ["free leases, twice"],
    only: "faults",
    forms: ["immediate"]
  },
  {
    name: "resident closed once for each who asks",
    about: "A resident that the runner has freed when it closed is freed again by its own scope.",
    file: "internal/runner/residents.ts",
    find: `    record.closed = true
    return state.until(`,
    replace: "    return state.until(",
    scenarios: ["runner closed with a resident open"]
  },
  {
    name: "staging kept when opening fails",
    about: "A runner whose chunks cannot be had keeps its staging area.",
    file: "internal/runner/close.ts",
    find: "}).pipe(Effect.onError(() => tearDown(state)))",
    replace: "})",
    scenarios: ["coalesced transfers"],
    only: "faults"
  },
  {
    name: "memory not cleared between runs",
    about: "Outputs and scratch start with what the run before left there.",
    file: "internal/runner/moves.ts",
    find: `  return [...entries, ...rest]
`,
    replace: `  return rest.length > 0 ? entries : rest
`,
    scenarios: ["what another run left behind"]
  },
  {
    name: "failed releases counted once for all",
    about: "The second release that fails is not counted.",
    file: "internal/runner/leases.ts",
    find: "state.counters.releaseFailures += 1",
    replace: "state.counters.releaseFailures = 1",
    scenarios: ["free leases"],
    only: "faults"
  },
  {
    name: "quarantine not counted",
    about: "A tensor that the device did not take back is not shown as quarantined.",
    file: "internal/runner/leases.ts",
    find: `  state.quarantine(allocatedBytes, "tensors")
`,
    replace: "",
    scenarios: ["free leases"],
    only: "faults"
  },
  ...admissionMutants
]
