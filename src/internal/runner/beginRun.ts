/**
 * Beginning a run and ending it, in the synchronous steps that every way through a run shares: arguments are read and checked,
 * the run is laid out, and it takes a slot.
 */
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import {
  type InvalidArgument,
  RunAlreadyActive,
  type RunnerClosed,
  type RunnerPoisoned,
  type RunnerUnconfigured,
  type ShapeMismatch
} from "../../Errors.ts"
import { assert } from "../assert.ts"
import type { Account } from "../core/account.ts"
import type { Slot } from "../core/slot.ts"
import { ActiveRun } from "./activeRun.ts"
import { checkArguments } from "./checkArguments.ts"
import type { GivenDims } from "./dimensions.ts"
import type { Frame } from "./frame.ts"
import { type LayoutRefusal, layOutRun } from "./layOutRun.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import { readArguments } from "./readArguments.ts"
import { RunLayout } from "./runLayout.ts"
import type { RunnerState } from "./state.ts"

export type ReadRefusal =
  | LayoutRefusal
  | RunAlreadyActive
  | RunnerClosed
  | RunnerPoisoned
  | RunnerUnconfigured

/** Why no run can be read now, or `undefined`. Whether there is room for it is asked later. */
const readRefusal = (
  state: RunnerState,
  callable: string
): RunAlreadyActive | RunnerClosed | RunnerPoisoned | RunnerUnconfigured | undefined => {
  const refusal = state.lifecycle._tag === "Ready" ? undefined : state.planRefusal(`a run of ${callable}`)
  if (refusal !== undefined) {
    return refusal
  }
  if (state.readingArguments) {
    return alreadyActive(state, callable)
  }
  // Whoever waits is read first, because only then it is known what for.
  return state.settings.admission._tag === "Fail" ? fullRefusal(state, callable) : undefined
}

/** Why no slot can be had now, whatever it is for, or `undefined`. */
export const fullRefusal = (state: RunnerState, callable: string): RunAlreadyActive | undefined =>
  state.activeCount === state.settings.slots || state.lifecycle._tag === "Configuring"
    ? alreadyActive(state, callable)
    : undefined

const alreadyActive = (state: RunnerState, callable: string): RunAlreadyActive => {
  state.counters.runsRefused += 1
  const isConfigured = state.lifecycle._tag === "Configuring" && state.activeCount === 0
  return new RunAlreadyActive({
    callable,
    holder: isConfigured ? "configuration" : "run",
    activeCallable: isConfigured ? "" : state.anyActiveName ?? callable,
    slots: state.settings.slots
  })
}

/**
 * Reads and checks the arguments of a run, and lays it out. One synchronous stretch; whatever it refuses, nothing has changed.
 */
export const readRun = (
  state: RunnerState,
  prepared: PreparedCallable,
  args: unknown,
  given: GivenDims | undefined
): Frame | ReadRefusal => {
  const refusal = readRefusal(state, prepared.name)
  if (refusal !== undefined) {
    return refusal
  }
  const { counters } = state
  const { planMisses } = counters
  const frame = prepared.takeFrame()
  state.readingArguments = true
  let failure: ReadRefusal | undefined
  try {
    failure = readOnly(state, frame, args, given) ?? findTables(state, frame)
  } finally {
    state.readingArguments = false
  }
  // Reading the arguments may have run code of the user's, so the runner may have been closed or configured meanwhile.
  failure = readRefusal(state, prepared.name) ?? failure
  if (failure !== undefined) {
    dropFrame(state, frame)
    return failure
  }
  counters.planHits += counters.planMisses === planMisses ? 1 : 0
  return frame
}

/** Reads arguments and checks them, for whoever wants no more. */
export const readOnly = (
  state: RunnerState,
  frame: Frame,
  args: unknown,
  given: GivenDims | undefined
): InvalidArgument | ShapeMismatch | undefined => {
  // Read once, as the arguments are: both may run code of the user's, and none may run after the check.
  frame.given = given === undefined ? undefined : readDims(given)
  return readArguments(frame.bindings, frame.prepared.named, args) ??
    checkArguments(frame.bindings, state.argumentRules)
}

/** Checks what was read once more: while a run waits, views and tensors may go, and chunks may be exchanged. */
export const checkAgain = (state: RunnerState, frame: Frame): LayoutRefusal | undefined =>
  checkArguments(frame.bindings, state.argumentRules) ?? findTables(state, frame)

/** Finds the tables for what a frame has read, or makes them. */
export const findTables = (state: RunnerState, frame: Frame): LayoutRefusal | undefined => {
  const { bindings } = frame
  if (frame.findTables(state.epoch)) {
    return frame.tables.bindViews(bindings)
  }
  const layout = layOut(state, frame)
  if (!(layout instanceof RunLayout)) {
    return layout
  }
  state.counters.planMisses += 1
  frame.adopt(layout)
  return frame.tables.bindViews(bindings)
}

/** Lays out a run of what a frame has read. */
export const layOut = (
  state: RunnerState,
  { bindings, given, prepared }: Frame
): RunLayout | LayoutRefusal => {
  const { capacityBytes, configuration, hostApi, rules, settings } = state
  return layOutRun(prepared, bindings, given, {
    traits: hostApi.traits,
    configuration,
    rules,
    capacityBytes,
    clear: settings.clear,
    maxInlineCopyBytes: settings.maxInlineCopyBytes,
    hostAddress: hostApi.hostAddress,
    stagingMaxBytes: state.stagings[0]?.byteCount ?? 0,
    slotCount: settings.slots
  })
}

/** The dimensions that are given, without those that are named and left out. */
const readDims = (given: GivenDims): GivenDims =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))

/** Gives a frame back whose run never began. */
export const dropFrame = (state: RunnerState, frame: Frame): void => {
  frame.bindings.refuse()
  frame.prepared.giveFrame(frame, state.settings.slots)
}

/** Who begins a run, where it may have to wait: a fiber that holds a slot should not wait for itself. */
export const currentHolder = (state: RunnerState): unknown =>
  state.settings.admission._tag === "Fail" ? undefined : Option.getOrUndefined(Fiber.getCurrentFiber())

/** Begins a run that was read, if there is a slot and memory for it at once. */
export const beginNow = (state: RunnerState, account: Account, frame: Frame): ActiveRun | undefined => {
  const slot = state.admission.admit(account, frame.tables.layout.demand, currentHolder(state))
  return slot === undefined ? undefined : begin(state, frame, slot)
}

/** Begins a run that was admitted. */
export const begin = (state: RunnerState, frame: Frame, slot: Slot): ActiveRun => {
  assert(state.runs[slot.index] === undefined, "a run begins on a free slot")
  state.generation += 1
  const run = new ActiveRun(state.generation, frame, slot)
  state.runs[slot.index] = run
  const { counters } = state
  counters.runsBegun += 1
  const { plan } = run.tables.layout
  if (plan !== undefined) {
    counters.takenBytes += plan.totalBytes
    counters.takenPaddingBytes += plan.paddingBytes
    raiseHighWater(state, counters.takenBytes, counters.takenPaddingBytes)
  }
  run.tables.place(slot, state.stagingOf(slot).address)
  run.tables.bindRun(run.generation, frame.bindings)
  return run
}

export const raiseHighWater = (state: RunnerState, bytes: number, paddingBytes: number): void => {
  if (bytes > state.counters.highWaterBytes) {
    state.counters.highWaterBytes = bytes
    state.counters.highWaterPaddingBytes = paddingBytes
  }
}

/**
 * Gives the slot back. The one place where a run ends; its `free` leases are settled already. Nothing happens where the run
 * had ended before.
 */
export const finishRun = (state: RunnerState, run: ActiveRun): void => {
  if (run.phase === "Ended") {
    return
  }
  const { frame, slot, tables } = run
  assert(state.runs[slot.index] === run, "the run that ends is the one that holds its slot")
  assert(tables.leases.heldFreeCount === 0, "what was malloc'd for a run is settled before it ends")
  run.phase = "Ended"
  state.runs[slot.index] = undefined
  const { counters } = state
  counters.runsEnded += 1
  if (!run.succeeded) {
    counters.runsFailed += 1
  }
  const { plan } = tables.layout
  if (plan !== undefined) {
    counters.takenBytes -= plan.totalBytes
    counters.takenPaddingBytes -= plan.paddingBytes
  }
  frame.bindings.releaseHostTensors()
  frame.prepared.giveFrame(frame, state.settings.slots)
  state.departures.observe(state.admission.waitingCount, state.nowNanos)
  state.admission.release(slot)
  state.notify()
}
