/**
 * Configuring the temporary buffer: making chunks, exchanging them for others, and giving them back.
 *
 * Retained bytes stay within the larger of the old and the new budget at every moment. Where both sets of chunks fit
 * into it, the new ones are made first, and a failure leaves everything as it was. Where they do not, the old ones go
 * first; if the new ones cannot be had the old ones are made again; if that fails too, the runner is unconfigured.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import {
  BudgetExhausted,
  ConfigureWhileActive,
  type DeviceFailed,
  DeviceOutOfMemory,
  InvalidConfiguration,
  type RunnerClosed,
  type RunnerPoisoned,
  type TransferFailed
} from "../../Errors.ts"
import { type Origin, Status } from "../../HostApi.ts"
import { type Configuration, configuration as makeConfiguration, isSame, type Options } from "../../TemporaryBuffer.ts"
import { assert } from "../assert.ts"
import { call, release } from "./calls.ts"
import { allocationFailure, deviceFailure, deviceFields } from "./failures.ts"
import { releaseFailed } from "./leases.ts"
import { clearMemory } from "./residents.ts"
import { type Chunk, configuring, ready, type RunnerState, unconfigured } from "./state.ts"

/** Why chunks cannot be had. */
export type ChunkError = DeviceOutOfMemory | DeviceFailed | TransferFailed | BudgetExhausted

/** Why the temporary buffer cannot be configured. */
export type ConfigureError =
  | ChunkError
  | ConfigureWhileActive
  | InvalidConfiguration
  | RunnerClosed
  | RunnerPoisoned

const origin = (purpose: Origin["purpose"]): Origin => ({ purpose, runId: 0, names: ["chunk"] })

/** Exchanges the configuration. The same one again does nothing at all. */
export const configure = (state: RunnerState, options: Options): Effect.Effect<void, ConfigureError> =>
  Effect.suspend((): Effect.Effect<void, ConfigureError> => {
    // Reading the options may run code of the user's, which may begin a run; so they are read before the runner is asked.
    const reservedBytes = state.counters.quarantinedBufferBytes
    const made = makeConfiguration(options, { ...state.hostApi.traits, reservedBytes })
    const refusal = state.refusal("configure") ?? activeRefusal(state)
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    if (Either.isLeft(made)) {
      return Effect.fail(made.left)
    }
    const { alignmentBytes, chunkBytes, growth } = made.right
    const largestBytes = growth === "highWater" ? [state.growthMaxBytes(made.right)] : chunkBytes
    if (!state.admission.fitsReservations(largestBytes, alignmentBytes)) {
      return Effect.fail(
        new InvalidConfiguration({
          reason: "Reserved",
          option: "temporaryBuffer",
          detail: `its chunks should hold the ${state.admission.reservedBytes} B that child budgets have reserved`
        })
      )
    }
    if (state.lifecycle._tag === "Ready" && isSame(made.right, state.configuration)) {
      // The chunks are the same, even where another policy cuts them; errors speak of the policy of now.
      state.configuration = { ...made.right, chunkBytes: state.configuration.chunkBytes }
      return Effect.void
    }
    return exchange(state, made.right)
  }).pipe(Effect.uninterruptible)

/** Why the chunks cannot be exchanged now: runs use them, or wait for them. */
export const activeRefusal = (state: RunnerState): ConfigureWhileActive | undefined => {
  if (
    state.lifecycle._tag === "Ready" && (state.activeCount + state.admission.waitingCount > 0 || state.readingArguments)
  ) {
    return new ConfigureWhileActive({ holder: "run", activeCallable: state.anyActiveName ?? "a callable" })
  }
  return state.lifecycle._tag === "Configuring"
    ? new ConfigureWhileActive({ holder: "configuration", activeCallable: "" })
    : undefined
}

const totalBytes = (configuration: Configuration): number =>
  configuration.chunkBytes.reduce((sum, bytes) => sum + bytes, 0)

/** Exchanges the chunks. It starts in the stretch in which the runner was asked, so that nobody comes between. */
export const exchange = (state: RunnerState, next: Configuration): Effect.Effect<void, ChunkError> => {
  const previous = state.configuration
  const wasReady = state.lifecycle._tag === "Ready"
  const refusal = quarantineRefusal(state, next)
  if (refusal !== undefined) {
    return Effect.fail(refusal)
  }
  state.lifecycle = configuring
  state.admission.pause()
  const epoch = state.epoch
  const retained = state.counters.retainedBytes
  const held = retained + state.counters.quarantinedBufferBytes
  const bothFit = held + totalBytes(next) <= Math.max(previous.maxBytes, next.maxBytes)
  if (!bothFit && retained > 0) {
    state.counters.configurationsWithoutOverlap += 1
    state.warnings.push(
      "the temporary buffer gives its old chunks up first, as old and new do not fit in the budget together"
    )
  }
  const steps = bothFit ? makeThenFree(state, next) : freeThenMake(state, previous, next, wasReady)
  return state.operation(Effect.flatMap(Effect.exit(steps), (exit) => {
    settle(state, { isConfigured: Exit.isSuccess(exit) || wasReady, epoch })
    state.checkInvariants()
    return Effect.zipRight(state.logWarnings, Effect.mapError(exit, (error) => restated(state, error)))
  }))
}

/**
 * Says where the runner stands after a configuration, once: ready if it has the chunks that its configuration asks for.
 * Poisoned and closed stay as they are.
 */
const settle = (
  state: RunnerState,
  { epoch, isConfigured }: { readonly isConfigured: boolean; readonly epoch: number }
): void => {
  if (state.lifecycle._tag === "Configuring") {
    const hasChunks = state.chunks.length === state.configuration.chunkBytes.length
    state.lifecycle = isConfigured && hasChunks ? ready : unconfigured
  }
  // Where the runner is unconfigured now, each that waits is refused with that.
  state.admission.resume({ measureAgain: state.epoch !== epoch || state.lifecycle._tag === "Unconfigured" })
  state.notify()
}

/** Memory in quarantine takes the budget's room. It may have come there while the old chunks were given up. */
const quarantineRefusal = (state: RunnerState, next: Configuration): BudgetExhausted | undefined => {
  const quarantined = state.counters.quarantinedBufferBytes
  const requestedBytes = totalBytes(next)
  const { growth, maxBytes } = next
  // What grows may have no chunk for now; else there is none only where nothing is left to cut one from.
  const isPossible = growth === "highWater" ? quarantined < maxBytes : requestedBytes > 0
  if (maxBytes === 0 || quarantined === 0 || (isPossible && requestedBytes + quarantined <= maxBytes)) {
    return undefined
  }
  return new BudgetExhausted({
    reason: "Quarantined",
    tensor: "chunk",
    requestedBytes,
    alignedBytes: requestedBytes,
    inUseBytes: quarantined,
    largestFreeBytes: Math.max(0, maxBytes - quarantined),
    maxBytes,
    suggestedMaxBytes: Math.max(maxBytes, requestedBytes + quarantined),
    suggestedChunks: "same",
    largestHolders: []
  })
}

const makeThenFree = (state: RunnerState, next: Configuration): Effect.Effect<void, ChunkError> =>
  Effect.flatMap(makeChunks(state, next), (chunks) => {
    const old = state.chunks
    state.install(next, chunks)
    return freeChunks(state, old)
  })

const freeThenMake = (
  state: RunnerState,
  previous: Configuration,
  next: Configuration,
  wasReady: boolean
): Effect.Effect<void, ChunkError> =>
  Effect.suspend(() => {
    const old = state.chunks
    state.install(previous, [])
    return freeChunks(state, old).pipe(
      Effect.zipRight(makeChunks(state, next)),
      Effect.map((chunks) => state.install(next, chunks)),
      Effect.tapError(() => wasReady && !state.isPoisoned ? restore(state, previous) : Effect.void)
    )
  })

/** Makes the old chunks again after the new ones could not be had. Where that fails too, the runner is unconfigured. */
const restore = (state: RunnerState, previous: Configuration): Effect.Effect<void> =>
  Effect.matchEffect(makeChunks(state, previous), {
    onFailure: (error) =>
      Effect.sync(() => {
        state.warnings.push(`the temporary buffer could not be restored: ${error.message}`)
      }),
    onSuccess: (chunks) => Effect.sync(() => state.install(previous, chunks))
  })

/** The error says where the runner stands after the attempt, which was not known when it was built. */
const restated = (state: RunnerState, error: ChunkError): ChunkError => {
  const isUnconfigured = state.lifecycle._tag === "Unconfigured"
  switch (error._tag) {
    case "DeviceOutOfMemory":
      return new DeviceOutOfMemory({
        ...deviceFields(error),
        purpose: error.purpose,
        requestedBytes: error.requestedBytes,
        runner: isUnconfigured ? "unconfigured" : "ready"
      })
    case "DeviceFailed":
      return deviceFailure(state, error)
    default:
      return error
  }
}

/** Makes all chunks of a configuration, cleared, or none. */
export const makeChunks = (
  state: RunnerState,
  configuration: Configuration
): Effect.Effect<ReadonlyArray<Chunk>, ChunkError> =>
  Effect.gen(function*() {
    // The device may have been lost while the old chunks were given up. No budget helps then.
    if (state.lifecycle._tag === "Poisoned") {
      return yield* deviceFailure(state, state.lifecycle.error)
    }
    const refusal = quarantineRefusal(state, configuration)
    if (refusal !== undefined) {
      return yield* refusal
    }
    const chunks: Array<Chunk> = []
    const make = (byteCount: number): Effect.Effect<void, ChunkError> =>
      makeChunk(state, configuration, byteCount, chunks)
    yield* Effect.forEach(configuration.chunkBytes, make, { discard: true }).pipe(
      Effect.onError(() => freeChunks(state, chunks))
    )
    return chunks
  }).pipe(Effect.uninterruptible)

const makeChunk = (
  state: RunnerState,
  configuration: Configuration,
  byteCount: number,
  chunks: Array<Chunk>
): Effect.Effect<void, ChunkError> =>
  Effect.suspend(() => {
    assert(
      state.counters.retainedBytes + state.counters.quarantinedBufferBytes + byteCount <=
        Math.max(configuration.maxBytes, state.configuration.maxBytes),
      "retained bytes stay within the budget"
    )
    return call(state, state.hostApi.malloc(byteCount, configuration.alignmentBytes, origin("chunk")))
  }).pipe(
    Effect.mapError((error) => allocationFailure(state, error, { purpose: "a chunk", requestedBytes: byteCount })),
    Effect.tap((address) =>
      Effect.suspend(() => {
        chunks.push({ address, byteCount })
        state.counters.retainedBytes += byteCount
        state.counters.mallocs += 1
        return clearMemory(state, address, byteCount, origin("clear"))
      })
    ),
    Effect.asVoid
  )

/** Gives chunks back, newest first. What the device does not take goes to quarantine. */
export const freeChunks = (state: RunnerState, chunks: ReadonlyArray<Chunk>): Effect.Effect<void> =>
  Effect.forEach(chunks.toReversed(), (chunk) => state.lanes.exclusively(freeChunk(state, chunk)), { discard: true })

const freeChunk = (state: RunnerState, chunk: Chunk): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (state.isPoisoned) {
      state.counters.retainedBytes -= chunk.byteCount
      state.quarantine(chunk.byteCount, "buffer")
      return Effect.void
    }
    return Effect.map(release(state, "free", state.hostApi.free(chunk.address, origin("chunk"))), (status) => {
      state.counters.retainedBytes -= chunk.byteCount
      if (status === Status.Ok) {
        state.counters.frees += 1
      } else {
        state.quarantine(chunk.byteCount, "buffer")
        releaseFailed(state, "a chunk", chunk.byteCount, status)
      }
    })
  })
