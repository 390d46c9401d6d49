/**
 * Growing and trimming a temporary buffer that holds what runs have needed: its one chunk is exchanged for another.
 */
import * as Effect from "effect/Effect"
import * as Bytes from "../../Bytes.ts"
import { InvalidConfiguration } from "../../Errors.ts"
import type { Configuration } from "../../TemporaryBuffer.ts"
import { bytesToReserve } from "../core/reservations.ts"
import { alignUp } from "../core/sizes.ts"
import { activeRefusal, type ChunkError, type ConfigureError, exchange } from "./configure.ts"
import type { RunnerState } from "./state.ts"

/** The configuration of now with a chunk of so many bytes, or with none. */
const withChunk = (state: RunnerState, byteCount: number): Configuration => ({
  ...state.configuration,
  chunkBytes: byteCount === 0 ? [] : [byteCount]
})

/** Exchanges the chunk for a larger one, on behalf of a run that is to be admitted then. */
export const growTo = (state: RunnerState, byteCount: number): Effect.Effect<void, ChunkError> =>
  Effect.suspend(() => {
    // The runner may have been closed since this was asked for; then nobody is admitted any more.
    if (state.lifecycle._tag !== "Ready") {
      return Effect.void
    }
    const before = state.counters.retainedBytes
    const wholeBytes = Math.min(
      alignUp(byteCount, state.hostApi.traits.granularityBytes),
      state.capacityBytes[0] ?? byteCount
    )
    return Effect.flatMap(exchange(state, withChunk(state, wholeBytes)), () => {
      state.counters.growths += 1
      return logInfo(`the temporary buffer has grown from ${Bytes.format(before)} to ${Bytes.format(wholeBytes)}`)
    })
  })

/** Gives memory back, down to what is to be kept. Answers how many bytes. */
export const trim = (state: RunnerState, keepBytes: Bytes.Input): Effect.Effect<number, ConfigureError> =>
  Effect.suspend((): Effect.Effect<number, ConfigureError> => {
    // Reading what is given may run code of the user's, so it is read before the runner is asked.
    const parsed = Bytes.parse(keepBytes)
    const refusal = state.refusal("trim") ?? activeRefusal(state)
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    if (parsed === undefined) {
      return invalid("Size", "keepBytes", "it should be a size such as \"8 MiB\", at least 0")
    }
    if (state.configuration.growth !== "highWater") {
      return invalid("Choice", "temporaryBuffer.growth", "only a buffer with growth: \"highWater\" can be trimmed")
    }
    const retained = state.counters.retainedBytes
    // What is reserved stays, each piece at a boundary of its own.
    const reservedBytes = bytesToReserve(state.admission.accounts, state.rules.alignmentBytes)
    const kept = alignUp(Math.max(parsed, reservedBytes), state.hostApi.traits.granularityBytes)
    if (kept < 0 || kept >= retained) {
      return Effect.succeed(0)
    }
    return Effect.flatMap(exchange(state, withChunk(state, kept)), () => {
      state.counters.trims += 1
      state.counters.trimmedBytes += retained - kept
      return Effect.as(
        logInfo(`the temporary buffer was trimmed from ${Bytes.format(retained)} to ${Bytes.format(kept)}`),
        retained - kept
      )
    })
  }).pipe(Effect.uninterruptible)

/** A logger that fails is no reason to fail. */
const logInfo = (message: string): Effect.Effect<void> =>
  Effect.catchAllCause(Effect.logInfo(message), () => Effect.void)

const invalid = (
  reason: InvalidConfiguration["reason"],
  option: string,
  detail: string
): Effect.Effect<never, InvalidConfiguration> => Effect.fail(new InvalidConfiguration({ reason, option, detail }))
