/**
 * An account of everything that a program holds on a device: a layer that needs a `HostApi` and provides one, and writes
 * down who allocated what, what was given back, and what is in flight.
 *
 * It believes what the calls answer, so it shows what the program may know. Above a `FaultInjection` it sees the faults.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { DeviceRunner } from "../DeviceRunner.ts"
import * as HostApi from "../HostApi.ts"
import { describeAllocation, renderSnapshot } from "../internal/testing/account.ts"
import { Book } from "../internal/testing/book.ts"
import { capture } from "../internal/testing/callSite.ts"
import { decorate, type OperationKind } from "../internal/testing/operations.ts"
import { withCallSites } from "../internal/testing/runnerCalls.ts"

/**
 * Memory that a program holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Allocation {
  /** Counts allocations from 1, in their order. */
  readonly number: number
  /** Where it is: device memory, host memory of the backend, or host memory of the runner that the backend has pinned. */
  readonly memory: "device" | "host" | "registered"
  /** What for. */
  readonly purpose: HostApi.Purpose
  /** The generation of the run that holds it; 0 where none does. */
  readonly runId: number
  /** The tensor, or what else it is for; may be empty. */
  readonly name: string
  readonly byteCount: number
  /** The line of the program that asked for it, where it is known: see `layerCallSites`. */
  readonly place: string | undefined
  /** `"held"` until it is given back; `"quarantined"` where giving it back failed. */
  readonly state: "held" | "quarantined"
}

/**
 * A call that has begun and not ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface InFlight {
  readonly operation: OperationKind
  readonly purpose: HostApi.Purpose
  readonly runId: number
  readonly names: ReadonlyArray<string>
}

/**
 * Something that must never happen, and did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Breach {
  /**
   * `"DoubleReleased"`: something was released a second time, or was never allocated. `"UsedAfterRelease"`: a call names
   * device memory that is not held, or memory was released while a call that uses it was in flight. `"CalledAfterLoss"`: a
   * call was made on a device that had reported a sticky fault.
   */
  readonly verdict: "DoubleReleased" | "UsedAfterRelease" | "CalledAfterLoss"
  /** A sentence. */
  readonly detail: string
}

/**
 * The account at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  /** What is held or quarantined, oldest first. */
  readonly allocations: ReadonlyArray<Allocation>
  readonly inFlight: ReadonlyArray<InFlight>
  /** In their order. */
  readonly breaches: ReadonlyArray<Breach>
  /** Bytes held, quarantined memory left out. */
  readonly deviceBytes: number
  readonly hostBytes: number
  readonly quarantinedBytes: number
  /** Operations made so far. */
  readonly operationCount: number
  /** Whether the device has reported a sticky fault. What is held then may be forgotten, not released. */
  readonly isLost: boolean
}

/**
 * What has changed between two moments.
 *
 * @since 0.1.0
 * @category models
 */
export interface Difference {
  readonly added: ReadonlyArray<Allocation>
  readonly gone: ReadonlyArray<Allocation>
  readonly deviceBytes: number
  readonly hostBytes: number
}

/**
 * Something is still held, or something happened that must not.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotEmpty extends Schema.TaggedError<NotEmpty>("leasehold/testing/NotEmpty")("NotEmpty", {
  heldCount: Schema.Int,
  deviceBytes: Schema.Number,
  hostBytes: Schema.Number,
  report: Schema.String
}) {
  override get message(): string {
    return this.report
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly snapshot: Effect.Effect<Snapshot>
  /** Fails where memory is held that was not quarantined, a call is in flight, or a breach has happened. */
  readonly assertEmpty: Effect.Effect<void, NotEmpty>
  /** The account in words, one line an allocation. */
  readonly report: Effect.Effect<string>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Ledger extends Context.Tag("leasehold/testing/Ledger")<Ledger, Service>() {}

/**
 * What has changed from one snapshot to a later one.
 *
 * @since 0.1.0
 * @category combinators
 */
export const difference = (before: Snapshot, after: Snapshot): Difference => {
  const numbers = (snapshot: Snapshot) => new Set(snapshot.allocations.map((allocation) => allocation.number))
  const old = numbers(before)
  const now = numbers(after)
  return {
    added: after.allocations.filter((allocation) => !old.has(allocation.number)),
    gone: before.allocations.filter((allocation) => !now.has(allocation.number)),
    deviceBytes: after.deviceBytes - before.deviceBytes,
    hostBytes: after.hostBytes - before.hostBytes
  }
}

/**
 * One allocation in words: how much, whose, and from where.
 *
 * @since 0.1.0
 * @category combinators
 */
export const describe: (allocation: Allocation) => string = describeAllocation

/**
 * A snapshot in words.
 *
 * @since 0.1.0
 * @category combinators
 */
export const render: (snapshot: Snapshot) => string = renderSnapshot

/**
 * Wraps a `HostApi`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Context.Context<Ledger | HostApi.HostApi>, never, HostApi.HostApi> = Effect.map(
  HostApi.HostApi,
  (api) => {
    const book = new Book()
    return Context.make(Ledger, service(book)).pipe(Context.add(HostApi.HostApi, decorate(api, book)))
  }
)

/**
 * Keeps the account of a `HostApi`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Ledger | HostApi.HostApi, never, HostApi.HostApi> = Layer.effectContext(make)

/**
 * Keeps the account, and when the layer's scope closes, dies with `NotEmpty` where something is still held: a check after
 * each test. What is above it in the stack, such as a runner, closes first.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerChecked: Layer.Layer<Ledger | HostApi.HostApi, never, HostApi.HostApi> = Layer.scopedContext(
  Effect.tap(make, (context) => checkAtEnd(Context.get(context, Ledger)))
)

/**
 * Notes the line of the program that calls the runner, so that the account can tell where memory was asked for. It costs a
 * stack trace a call.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCallSites: Layer.Layer<DeviceRunner, never, DeviceRunner> = Layer.effect(
  DeviceRunner,
  Effect.map(DeviceRunner, (runner) => withCallSites(runner, capture))
)

const checkAtEnd = (ledger: Service): Effect.Effect<void, never, Scope.Scope> =>
  Effect.addFinalizer(() => Effect.orDie(ledger.assertEmpty))

const service = (book: Book): Service => ({
  snapshot: Effect.sync(() => book.snapshot()),
  assertEmpty: Effect.suspend(() => {
    const snapshot = book.snapshot()
    const heldCount = snapshot.allocations.filter(({ state }) => state === "held").length
    const isEmpty = snapshot.breaches.length === 0 && snapshot.inFlight.length === 0 &&
      (heldCount === 0 || snapshot.isLost)
    return isEmpty ? Effect.void : Effect.fail(
      new NotEmpty({
        heldCount,
        deviceBytes: snapshot.deviceBytes,
        hostBytes: snapshot.hostBytes,
        report: render(snapshot)
      })
    )
  }),
  report: Effect.sync(() => render(book.snapshot()))
})
