/**
 * The state of one runner: plain fields, changed in synchronous stretches only.
 */
import type { Clock } from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Any as AnyCallable } from "../../Callable.ts"
import type { DevicePtr } from "../../DevicePtr.ts"
import { RunnerClosed, RunnerPoisoned, RunnerUnconfigured } from "../../Errors.ts"
import { type HostApiError, isSticky, type Service as HostApiService } from "../../HostApi.ts"
import type { Settings } from "../../RunnerOptions.ts"
import { type Configuration, isSame } from "../../TemporaryBuffer.ts"
import { assert } from "../assert.ts"
import { Admission } from "../core/admission.ts"
import type { SliceRules } from "../core/bumpAllocator.ts"
import { Departures } from "../core/departures.ts"
import { RangeAllocator } from "../core/rangeAllocator.ts"
import { alignDown } from "../core/sizes.ts"
import type { Slot } from "../core/slot.ts"
import type { ActiveRun } from "./activeRun.ts"
import type { ArgumentRules } from "./checkArguments.ts"
import type { HostRecord, ResidentRecord } from "./handles.ts"
import { Lanes } from "./lanes.ts"
import type { PreparedCallable } from "./preparedCallable.ts"

/** Where a runner stands. Active runs are apart: they may outlive `Ready` until their scopes close. */
export type Lifecycle =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Configuring" }
  | { readonly _tag: "Unconfigured" }
  | { readonly _tag: "Poisoned"; readonly error: RunnerPoisoned }
  | { readonly _tag: "Closing" }
  | { readonly _tag: "Closed" }

export const ready: Lifecycle = { _tag: "Ready" }
export const configuring: Lifecycle = { _tag: "Configuring" }
export const unconfigured: Lifecycle = { _tag: "Unconfigured" }
export const closing: Lifecycle = { _tag: "Closing" }
export const closed: Lifecycle = { _tag: "Closed" }

/** One device allocation of the temporary buffer. */
export interface Chunk {
  readonly address: DevicePtr
  readonly byteCount: number
}

/** Counters, as `RunnerStats` shows them. */
export interface Counters {
  retainedBytes: number
  freeLeaseBytes: number
  /** What active runs take of the chunks, and what of it is padding. */
  takenBytes: number
  takenPaddingBytes: number
  highWaterBytes: number
  highWaterPaddingBytes: number
  residentBytes: number
  residentHighWaterBytes: number
  residentCount: number
  hostTensorBytes: number
  quarantinedBytes: number
  quarantinedBufferBytes: number
  quarantinedResidentBytes: number
  quarantinedCount: number
  runsBegun: number
  runsEnded: number
  runsFailed: number
  runsRefused: number
  runsWaited: number
  waitingHighWater: number
  growths: number
  trims: number
  trimmedBytes: number
  mallocs: number
  frees: number
  stageCalls: number
  copyBackCalls: number
  transfers: number
  launches: number
  hostToDeviceBytes: number
  deviceToHostBytes: number
  planHits: number
  planMisses: number
  releaseFailures: number
  configurationsWithoutOverlap: number
}

/** The staging area; no bytes where the backend needs none. */
export interface Staging {
  readonly address: number
  readonly byteCount: number
}

export const noStaging: Staging = { address: 0, byteCount: 0 }

const noCounters = (): Counters => ({
  retainedBytes: 0,
  freeLeaseBytes: 0,
  takenBytes: 0,
  takenPaddingBytes: 0,
  highWaterBytes: 0,
  highWaterPaddingBytes: 0,
  residentBytes: 0,
  residentHighWaterBytes: 0,
  residentCount: 0,
  hostTensorBytes: 0,
  quarantinedBytes: 0,
  quarantinedBufferBytes: 0,
  quarantinedResidentBytes: 0,
  quarantinedCount: 0,
  runsBegun: 0,
  runsEnded: 0,
  runsFailed: 0,
  runsRefused: 0,
  runsWaited: 0,
  waitingHighWater: 0,
  growths: 0,
  trims: 0,
  trimmedBytes: 0,
  mallocs: 0,
  frees: 0,
  stageCalls: 0,
  copyBackCalls: 0,
  transfers: 0,
  launches: 0,
  hostToDeviceBytes: 0,
  deviceToHostBytes: 0,
  planHits: 0,
  planMisses: 0,
  releaseFailures: 0,
  configurationsWithoutOverlap: 0
})

export class RunnerState {
  readonly hostApi: HostApiService
  readonly settings: Settings
  /** What the arguments of its runs are checked against. */
  readonly argumentRules: ArgumentRules
  /** Who may use the device now, lane by lane. */
  readonly lanes: Lanes
  /** Who may begin a run now, and with which memory. */
  readonly admission: Admission
  /** How fast those who wait come to their turn. */
  readonly departures = new Departures()
  readonly #clock: Clock
  readonly counters: Counters = noCounters()
  /** By identity, and only as long as the user keeps the callable. */
  prepared = new WeakMap<AnyCallable, PreparedCallable>()
  /** Which configuration the layouts of now were made for. */
  epoch = 0
  readonly residents = new Set<ResidentRecord>()
  readonly hostTensors = new Set<HostRecord>()
  lifecycle: Lifecycle = configuring
  configuration: Configuration
  /** How slices lie in the configuration of now. */
  rules: SliceRules
  /** The most bytes that a run can have of each chunk. */
  capacityBytes: ReadonlyArray<number> = []
  chunks: ReadonlyArray<Chunk> = []
  /** Grows with every run that begins, for ever. */
  generation = 0
  /** Staging for the runs of each slot, and staging for moves of single tensors. */
  stagings: ReadonlyArray<Staging> = []
  moveStaging: Staging = noStaging
  /** For each slot the run that holds it. */
  readonly runs: Array<ActiveRun | undefined>
  /** True while arguments are read, which may run code of the user's. */
  readingArguments = false
  /** Operations under way that closing the runner waits for. */
  operationCount = 0
  /** Warnings that wait for somebody who can log. */
  readonly warnings: Array<string> = []
  readonly #idleWaiters: Array<() => void> = []

  constructor(hostApi: HostApiService, settings: Settings, clock: Clock) {
    this.hostApi = hostApi
    this.#clock = clock
    this.settings = settings
    this.argumentRules = {
      owner: this,
      allowSharedViews: settings.allowSharedViews,
      hostAddress: hostApi.hostAddress
    }
    this.configuration = { ...settings.temporaryBuffer, maxBytes: 0, chunkBytes: [] }
    this.rules = this.#rulesOf(this.configuration)
    this.lanes = new Lanes(settings.slots > 1 && hostApi.traits.overlapsCopies, () => this.notify())
    this.admission = new Admission(settings.slots)
    this.runs = Array.from({ length: settings.slots }, () => undefined)
  }

  /** What the runner's clock reads. */
  readonly nowNanos = (): number => Number(this.#clock.unsafeCurrentTimeNanos())

  /** The runs that are bound, or being bound. */
  get activeRuns(): ReadonlyArray<ActiveRun> {
    return this.runs.filter((run) => run !== undefined)
  }

  get activeCount(): number {
    return this.admission.activeCount
  }

  /** Some run that is active, to name it. */
  get anyActiveName(): string | undefined {
    return this.runs.find((run) => run !== undefined)?.name
  }

  /** Where the runs of a slot stage. */
  stagingOf(slot: Slot): Staging {
    return this.stagings[slot.index] ?? noStaging
  }

  #rulesOf({ alignmentBytes }: Configuration): SliceRules {
    const { granularityBytes, tailBytes } = this.hostApi.traits
    return { alignmentBytes, granularityBytes, tailBytes }
  }

  /** To how many bytes the one chunk of a configuration may grow; 0 where it may not. */
  growthMaxBytes({ growth, maxBytes }: Configuration): number {
    const leftBytes = Math.max(0, maxBytes - this.counters.quarantinedBufferBytes)
    return growth === "highWater" ? alignDown(leftBytes, this.hostApi.traits.granularityBytes) : 0
  }

  /** Installs chunks, between runs. With another configuration runs are laid out anew. */
  install(configuration: Configuration, chunks: ReadonlyArray<Chunk>): void {
    const { alignmentBytes, chunkBytes } = configuration
    const space = new RangeAllocator(
      chunks.map((chunk) => chunk.address),
      chunks.map((chunk) => chunk.byteCount),
      alignmentBytes
    )
    const growthMaxBytes = this.growthMaxBytes(configuration)
    this.admission.install(space, growthMaxBytes)
    this.chunks = chunks
    if (
      growthMaxBytes === 0 || growthMaxBytes !== this.capacityBytes[0] || !isSame(configuration, this.configuration)
    ) {
      this.epoch += 1
    }
    this.configuration = configuration
    this.rules = this.#rulesOf(configuration)
    // Where chunks are missing for a moment, runs that wait for them are planned with what there was, and again when they
    // are there. Where chunks grow, plans reckon with what there can be.
    this.capacityBytes = growthMaxBytes > 0
      ? [growthMaxBytes]
      : chunks.length === chunkBytes.length
      ? space.usableBytes()
      : chunkBytes
  }

  /** Why the runner cannot be used now, or `undefined`. */
  refusal(operation: string): RunnerClosed | RunnerPoisoned | undefined {
    switch (this.lifecycle._tag) {
      case "Closing":
      case "Closed":
        return new RunnerClosed({ operation })
      case "Poisoned":
        return this.lifecycle.error
      default:
        return undefined
    }
  }

  /** Why no run can be planned now, or `undefined`. */
  planRefusal(operation: string): RunnerClosed | RunnerPoisoned | RunnerUnconfigured | undefined {
    return this.lifecycle._tag === "Unconfigured" ? new RunnerUnconfigured({ operation }) : this.refusal(operation)
  }

  /** Whether a bound run uses a resident or a host tensor. */
  isInUse(record: ResidentRecord | HostRecord): boolean {
    return this.runs.some((run) => run?.bindings.records.includes(record) === true)
  }

  get isPoisoned(): boolean {
    return this.lifecycle._tag === "Poisoned"
  }

  /** Looks at a failure of the device: a sticky one poisons the runner, whatever it was about. */
  observe(error: HostApiError): void {
    if (isSticky(error.status)) {
      this.poison(error, "StickyFault")
    }
  }

  poison(
    error: Pick<HostApiError, "operation" | "status" | "statusName" | "deviceCode" | "deviceName" | "detail">,
    reason: RunnerPoisoned["reason"]
  ): void {
    if (this.lifecycle._tag === "Poisoned" || this.lifecycle._tag === "Closed") {
      return
    }
    const { detail, deviceCode, deviceName, operation, status, statusName } = error
    this.lifecycle = {
      _tag: "Poisoned",
      error: new RunnerPoisoned({
        operation,
        status,
        statusName,
        deviceCode,
        deviceName,
        detail,
        reason,
        recovery: this.hostApi.traits.recovery
      })
    }
    this.warnings.push(this.lifecycle.error.message)
    this.admission.stop()
  }

  /** Puts memory aside for ever. It counts against the budget that it came from. */
  quarantine(byteCount: number, from: "buffer" | "residents" | "tensors" | "host"): void {
    this.counters.quarantinedBytes += byteCount
    this.counters.quarantinedCount += 1
    if (from === "buffer") {
      this.counters.quarantinedBufferBytes += byteCount
    } else if (from === "residents") {
      this.counters.quarantinedResidentBytes += byteCount
    }
  }

  /** Work that closing the runner waits for: it holds memory that the runner does not know of yet. */
  operation<A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    // An interruption between counting and the finalizer that uncounts would keep the runner from ever closing.
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        this.operationCount += 1
        return Effect.ensuring(
          restore(work),
          Effect.sync(() => {
            this.operationCount -= 1
            this.notify()
          })
        )
      })
    )
  }

  /** Wakes whoever waits for a condition to hold. */
  notify(): void {
    if (this.#idleWaiters.length === 0) {
      return
    }
    for (const wake of this.#idleWaiters.splice(0)) {
      wake()
    }
  }

  /** Waits until a condition on this state holds. It is looked at again whenever something ends. */
  until(condition: () => boolean): Effect.Effect<void> {
    return Effect.suspend(() =>
      condition()
        ? Effect.void
        : Effect.zipRight(
          Effect.async<void>((resume) => {
            const wake = (): void => resume(Effect.void)
            // A scheduler may have let others in between: without a second look nobody might be left to wake this one.
            if (condition()) {
              wake()
              return Effect.void
            }
            this.#idleWaiters.push(wake)
            return Effect.sync(() => {
              const index = this.#idleWaiters.indexOf(wake)
              if (index >= 0) {
                this.#idleWaiters.splice(index, 1)
              }
            })
          }),
          this.until(condition)
        )
    )
  }

  /** Logs what could not be logged where it happened. A logger that fails is no reason to fail, nor to stop releasing. */
  readonly logWarnings: Effect.Effect<void> = Effect.suspend(() =>
    this.warnings.length === 0
      ? Effect.void
      : Effect.catchAllCause(
        Effect.forEach(this.warnings.splice(0), (warning) => Effect.logWarning(warning), { discard: true }),
        () => Effect.void
      )
  )

  checkInvariants(): void {
    const chunkBytes = this.chunks.reduce((sum, chunk) => sum + chunk.byteCount, 0)
    const { counters } = this
    assert(
      this.lifecycle._tag === "Configuring" || chunkBytes === counters.retainedBytes,
      "retained bytes are the chunks"
    )
    assert(
      this.lifecycle._tag === "Configuring" || counters.retainedBytes <= this.configuration.maxBytes,
      "retained bytes stay within the budget"
    )
    assert(counters.residentBytes <= this.settings.residentMaxBytes, "residents stay within their budget")
    assert(counters.runsBegun === counters.runsEnded + this.activeRuns.length, "every run ends once")
    this.admission.checkInvariants()
    for (const run of this.activeRuns) {
      run.tables.leases.checkInvariants()
    }
  }
}
