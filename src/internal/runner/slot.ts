/**
 * The slot: taking it for a run and giving it back, in the synchronous steps that every way through a run shares.
 */
import { RunAlreadyActive, type RunnerClosed, type RunnerPoisoned, type RunnerUnconfigured } from "../../Errors.ts"
import { assert } from "../assert.ts"
import { ActiveRun } from "./activeRun.ts"
import type { Bindings } from "./bindings.ts"
import { checkArguments } from "./checkArguments.ts"
import type { GivenDims } from "./dimensions.ts"
import { makeTables, type TableRefusal } from "./makeTables.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import { readArguments } from "./readArguments.ts"
import { RunTables } from "./runTables.ts"
import type { RunnerState } from "./state.ts"

export type BeginRefusal =
  | TableRefusal
  | RunAlreadyActive
  | RunnerClosed
  | RunnerPoisoned
  | RunnerUnconfigured

/** Why the slot cannot be taken now, or `undefined`. */
export const slotRefusal = (
  state: RunnerState,
  callable: string
): RunAlreadyActive | RunnerClosed | RunnerPoisoned | RunnerUnconfigured | undefined => {
  const refusal = state.lifecycle._tag === "Ready" ? undefined : state.planRefusal(`a run of ${callable}`)
  if (refusal !== undefined) {
    return refusal
  }
  if (state.activeRun !== undefined || state.readingArguments) {
    state.counters.runsRefused += 1
    return new RunAlreadyActive({
      callable,
      holder: "run",
      activeCallable: state.activeRun?.name ?? callable
    })
  }
  if (state.lifecycle._tag === "Configuring") {
    state.counters.runsRefused += 1
    return new RunAlreadyActive({ callable, holder: "configuration", activeCallable: "" })
  }
  return undefined
}

/**
 * Takes the slot for a run: checks the arguments, finds or makes the plan, and begins. One synchronous stretch; whatever
 * it refuses, nothing has changed.
 */
export const beginRun = (
  state: RunnerState,
  prepared: PreparedCallable,
  args: unknown,
  given: GivenDims | undefined
): ActiveRun | BeginRefusal => {
  const tables = readRun(state, prepared, args, given)
  return tables instanceof RunTables ? take(state, prepared, tables) : tables
}

/**
 * The same for a run that goes on in this very stretch. `undefined` when there is device work to wait for, which reading
 * the arguments may have started.
 */
export const beginRunNow = (
  state: RunnerState,
  prepared: PreparedCallable,
  args: unknown,
  given: GivenDims | undefined
): ActiveRun | BeginRefusal | undefined => {
  const tables = readRun(state, prepared, args, given)
  if (!(tables instanceof RunTables)) {
    return tables
  }
  if (state.gate.busy) {
    prepared.bindings.refuse()
    return undefined
  }
  return take(state, prepared, tables)
}

const readRun = (
  state: RunnerState,
  prepared: PreparedCallable,
  args: unknown,
  given: GivenDims | undefined
): RunTables | BeginRefusal => {
  const refusal = slotRefusal(state, prepared.name)
  if (refusal !== undefined) {
    return refusal
  }
  const { bindings } = prepared
  state.readingArguments = true
  let tables: RunTables | TableRefusal
  try {
    tables = findTables(state, prepared, bindings, args, given)
  } finally {
    state.readingArguments = false
  }
  // Reading the arguments may have run code of the user's, so the runner may have been closed or configured meanwhile.
  const outcome = slotRefusal(state, prepared.name) ?? tables
  if (!(outcome instanceof RunTables)) {
    bindings.refuse()
  }
  return outcome
}

/** Reads and checks arguments, and answers the tables for their shape. */
export const findTables = (
  state: RunnerState,
  prepared: PreparedCallable,
  bindings: Bindings,
  args: unknown,
  given: GivenDims | undefined
): RunTables | TableRefusal => {
  // Read once, as the arguments are: both may run code of the user's, and none may run after the check.
  const dims = given === undefined ? undefined : readDims(given)
  const failure = readArguments(bindings, prepared.named, args) ?? checkArguments(bindings, state.argumentRules)
  if (failure !== undefined) {
    return failure
  }
  const known = bindings === prepared.bindings ? prepared.findPlan(dims, state.epoch) : undefined
  if (known !== undefined) {
    state.counters.planHits += 1
    return known.bindViews(bindings) ?? known
  }
  const { configuration, hostApi, settings } = state
  const tables = makeTables(prepared, bindings, dims, {
    traits: hostApi.traits,
    configuration,
    rules: state.rules,
    baseAddresses: state.chunks.map((chunk) => chunk.address),
    clear: settings.clear,
    maxInlineCopyBytes: settings.maxInlineCopyBytes,
    staging: state.staging,
    stagingMaxBytes: settings.stagingMaxBytes
  })
  if (!(tables instanceof RunTables)) {
    return tables
  }
  if (bindings === prepared.bindings) {
    state.counters.planMisses += 1
    prepared.keepPlan(tables)
  }
  return tables.bindViews(bindings) ?? tables
}

/** The dimensions that are given, without those that are named and left out. */
const readDims = (given: GivenDims): GivenDims =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))

const take = (state: RunnerState, prepared: PreparedCallable, tables: RunTables): ActiveRun => {
  assert(state.activeRun === undefined, "a run begins on a free slot")
  state.generation += 1
  const run = new ActiveRun(state.generation, prepared, tables, state.allocator.begin())
  state.activeRun = run
  state.counters.runsBegun += 1
  if (tables.plan !== undefined) {
    state.allocator.takePlanned(tables.plan.usedBytes)
    raiseHighWater(state, tables.plan.totalBytes, tables.plan.paddingBytes)
  }
  tables.bindRun(run.generation, prepared.bindings)
  return run
}

export const raiseHighWater = (state: RunnerState, bytes: number, paddingBytes: number): void => {
  if (bytes > state.counters.highWaterBytes) {
    state.counters.highWaterBytes = bytes
    state.counters.highWaterPaddingBytes = paddingBytes
  }
}

/**
 * Gives the slot back. The one place where a run ends; its `free` leases are settled already. False when the run had
 * ended before.
 */
export const finishRun = (state: RunnerState, run: ActiveRun): boolean => {
  if (run.phase === "Ended") {
    return false
  }
  assert(state.activeRun === run, "the run that ends is the one that holds the slot")
  assert(run.tables.leases.heldFreeCount === 0, "what was malloc'd for a run is settled before it ends")
  run.phase = "Ended"
  const ended = state.allocator.end(run.allocatorGeneration)
  assert(ended, "the allocator's run ends with the run")
  state.activeRun = undefined
  state.counters.runsEnded += 1
  if (!run.succeeded) {
    state.counters.runsFailed += 1
  }
  run.bindings.releaseHostTensors()
  state.notify()
  return true
}
