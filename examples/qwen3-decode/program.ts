/** Decodes a text in two modes, compares both with each other and with the reference, and reports what was counted. */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { Bytes, DeviceRunner, type Errors } from "leasehold"
import * as ByteTokenizer from "./byteTokenizer.ts"
import { decode } from "./decode.ts"
import * as Decoder from "./decoder.ts"
import { DecodeRequestInvalid } from "./errors.ts"
import type { Failure } from "./failure.ts"
import * as Model from "./model.ts"
import type { Request } from "./options.ts"
import * as Report from "./report.ts"
import * as Sampler from "./sampler.ts"
import * as Screen from "./screen.ts"
import { verify } from "./verify.ts"

/** How many tokens are run, after the text was shown, before a decode is timed: code that is just loaded is slow. */
const warmUpTokens = 192

/** A runner with these budgets, on a device of one's choice. */
export type RunnerLayer = (budgets: {
  /** Of the temporary buffer. */
  readonly maxBytes: number
  readonly residentMaxBytes: number
}) => Layer.Layer<DeviceRunner.DeviceRunner, Errors.RunnerError>

export const program = (
  request: Request,
  runnerLayer: RunnerLayer
): Effect.Effect<void, Failure, FileSystem.FileSystem | Path.Path> =>
  Effect.scoped(Effect.gen(function*() {
    const model = yield* Model.open(request.model)
    const tokenizer = yield* ByteTokenizer.make(model.config.vocab)
    const { steps } = request
    const prompt = tokenizer.encode(request.prompt)
    const config = yield* contextOf(model.config, { promptCount: prompt.length, steps })
    const screen = Screen.make({ text: request.json ? process.stderr : process.stdout, bars: process.stderr })

    /** One decode from the beginning, on a runner of its own. */
    const decodeWith = (mode: { readonly maxBytes: number; readonly label: string; readonly shown: boolean }) =>
      Effect.gen(function*() {
        const decoder = yield* Decoder.make(model, { config, stepExecution: "inline" })
        const decodeOnce = (onToken: (token: number) => Effect.Effect<void>) =>
          Effect.flatMap(Sampler.make(request), (sampler) => decode({ decoder, prompt, steps, sampler, onToken }))
        const { backend } = yield* DeviceRunner.DeviceRunner
        const pieces = tokenizer.decoder()
        const show = (text: () => string) => mode.shown ? Effect.suspend(() => screen.text(text())) : Effect.void
        const bar = screen.bar(mode.label, steps)

        yield* show(() => request.prompt)
        const decoded = yield* decodeOnce((token) => Effect.zipRight(show(() => pieces.push(token)), bar.advance)).pipe(
          Effect.onError(() => Effect.zipRight(show(() => "\n"), bar.remove))
        )
        yield* show(() => `${pieces.end()}\n`)
        yield* bar.end
        const warmUpRounds = Math.ceil(warmUpTokens / (prompt.length + steps))
        const { runNanos } = yield* Effect.repeatN(decodeOnce(() => Effect.void), warmUpRounds)
        return { ...decoded, runNanos, backend }
      }).pipe(
        Effect.scoped,
        Effect.provide(runnerLayer({
          maxBytes: mode.maxBytes,
          residentMaxBytes: Decoder.residentBytes(model, { config, textCount: 1 })
        }))
      )

    const { budgetBytes } = request
    const budgetLabel = `tokens with a budget of ${Bytes.format(budgetBytes)}`
    const budget = yield* decodeWith({ maxBytes: budgetBytes, label: budgetLabel, shown: true })
    const zero = yield* decodeWith({ maxBytes: 0, label: "tokens with a zero budget", shown: false })
    const bar = screen.bar("tokens compared with the reference", steps)
    const comparison = yield* verify(model, { prompt, decoded: budget, onToken: bar.advance })
    yield* bar.end

    const text = tokenizer.decode(budget.tokens)
    const report = { backend: budget.backend, budgetBytes, text, budget, zero, comparison }
    yield* screen.text(`\n${Report.table(report)}\n\n`)
    if (request.json) {
      yield* Console.log(Report.json(report))
    }
    yield* screen.text(`${yield* Report.verdict(report)}\n`)
  }))

/** The model with room for just the positions that are needed, so that the KV cache is no larger than they are. */
const contextOf = (
  config: Model.ModelConfig,
  asked: { readonly promptCount: number; readonly steps: number }
): Effect.Effect<Model.ModelConfig, DecodeRequestInvalid> => {
  if (asked.promptCount === 0) {
    return new DecodeRequestInvalid({ reason: "PromptInvalid", detail: "The prompt is empty: give at least one byte." })
  }
  // The last token is chosen, but never read.
  const positions = asked.promptCount + asked.steps - 1
  return positions <= config.maxPositions
    ? Model.withMaxPositions(config, positions)
    : new DecodeRequestInvalid({
      reason: "PromptInvalid",
      detail: `A prompt of ${asked.promptCount} tokens and ${asked.steps} more take ${positions} positions, but the ` +
        `model has ${config.maxPositions}: give a shorter prompt, or fewer steps.`
    })
}
