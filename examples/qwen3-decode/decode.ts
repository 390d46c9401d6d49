/** The decode loop: a prompt, then one token after another, each chosen from the logits that the run before it gave. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { DeviceRunner, type Run, type RunnerStats } from "leasehold"
import type { Decoder } from "./decoder.ts"
import type { DecodeRequestInvalid } from "./errors.ts"
import type { Sampler } from "./sampler.ts"

/** What a decode gave, and what the runner counted meanwhile. */
export interface Decoded {
  readonly tokens: ReadonlyArray<number>
  /** The logits from which each token was chosen. */
  readonly logits: ReadonlyArray<Float32Array>
  /** How long each run took, the whole prompt's first. */
  readonly runNanos: ReadonlyArray<number>
  /** The counters after the first run of one token, since when every shape is known; `undefined` where there was none. */
  readonly settled: RunnerStats.RunnerStats | undefined
  /** The counters at the end. */
  readonly stats: RunnerStats.RunnerStats
}

/** How many runs it takes until every shape has been seen: the prompt's, and that of one token. */
export const settlingRuns = 2

/** Decodes `steps` tokens. `onToken` sees each as it comes. */
export const decode = (options: {
  readonly decoder: Decoder
  readonly prompt: Int32Array
  readonly steps: number
  readonly sampler: Sampler
  readonly onToken: (token: number) => Effect.Effect<void>
}): Effect.Effect<
  Decoded,
  Run.RunError | DeviceRunner.AllocateError | DecodeRequestInvalid,
  DeviceRunner.DeviceRunner
> =>
  Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const text = yield* options.decoder.begin
    const tokens: Array<number> = []
    const logits: Array<Float32Array> = []
    const runNanos: Array<number> = []
    let settled: RunnerStats.RunnerStats | undefined
    let next = options.prompt
    while (tokens.length < options.steps) {
      const begun = yield* Clock.currentTimeNanos
      const scores = yield* text.next(next)
      runNanos.push(Number((yield* Clock.currentTimeNanos) - begun))
      const token = yield* options.sampler.next(scores)
      logits.push(scores.slice())
      tokens.push(token)
      if (tokens.length === settlingRuns) {
        settled = yield* runner.stats
      }
      yield* options.onToken(token)
      next = Int32Array.of(token)
    }
    return { tokens, logits, runNanos, settled, stats: yield* runner.stats }
  }))
