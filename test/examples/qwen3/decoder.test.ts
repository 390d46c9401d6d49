import { NodeContext } from "@effect/platform-node"
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { DeviceRunner, Simulator } from "leasehold"
import { afterEach } from "vitest"
import * as Decoder from "../../../examples/qwen3-decode/decoder.ts"
import * as Kernel from "../../../examples/qwen3-decode/kernel.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import { largest, largestDifference, ReferenceDecoder } from "../../../examples/qwen3-decode/reference.ts"
import { violations } from "../../utils/loopback.ts"
import { violation } from "./cudaHarness.ts"
import { cases, folder, loadReference } from "./golden.ts"
import * as HostKernels from "./hostKernels.ts"
import { type ModelOptions, writeModel } from "./makeModel.ts"

/** How far a logit may be from its float64 value. */
const tolerance = 1e-3

const runnerLayer = (maxBytes: "4 MiB" | 0, simulator: Simulator.Options = {}) =>
  DeviceRunner.layer({ temporaryBuffer: { maxBytes } }).pipe(Layer.provide(Simulator.layer(simulator)))

/** Opens a model folder and brings its weights to the device. */
const load = (path: string, options: Partial<Decoder.DecoderOptions> = {}) =>
  Effect.gen(function*() {
    const model = yield* Model.open(path)
    return yield* Decoder.make(model, { config: model.config, stepExecution: "inline", ...options })
  })

const next = (text: Decoder.Text, ...tokens: ReadonlyArray<number>) =>
  Effect.map(text.next(Int32Array.from(tokens)), (logits) => logits.slice())

const modes = {
  "a budget": runnerLayer("4 MiB"),
  "a zero budget": runnerLayer(0),
  "a device that answers late": runnerLayer("4 MiB", { completion: "late" }),
  "the kernels of a GPU": DeviceRunner.layer({ temporaryBuffer: { maxBytes: "4 MiB" } }).pipe(
    Layer.provide(HostKernels.layer)
  )
}

/** How many of the golden prompts are decoded. */
const promptCount = (mode: string): number => stepCount(mode) === Infinity ? cases.length : 3

/** How many tokens are decoded. Kernels of a GPU take their time where threads take turns; all with `LEASEHOLD_LONG=1`. */
const stepCount = (mode: string, most = Infinity): number =>
  mode === "the kernels of a GPU" && process.env["LEASEHOLD_LONG"] !== "1" ? 4 : most

for (const [name, runner] of Object.entries(modes)) {
  describe(`a decoder with ${name}`, () => {
    afterEach(() => {
      assert.strictEqual(violation(), "")
      assert.strictEqual(violations(), "")
    })

    layer(Layer.merge(runner, NodeContext.layer))((it) => {
      it.scoped("computes the golden logits and greedy tokens of every prompt", () =>
        Effect.gen(function*() {
          const decoder = yield* load(folder)
          for (const { greedy_margins, greedy_tokens, logits, prompt, tokens } of cases.slice(0, promptCount(name))) {
            const text = yield* decoder.begin
            let scores = yield* next(text, ...tokens)
            assert.isAtMost(largestDifference(scores, logits), tolerance, prompt)
            for (const [index, expected] of greedy_tokens.slice(0, stepCount(name)).entries()) {
              if (largest(scores).index !== expected) {
                // Behind a choice that was too close to call, the texts are not comparable.
                assert.isAtMost(greedy_margins[index]!, 2 * tolerance, `${prompt}, token ${index}`)
                break
              }
              scores = yield* next(text, expected)
            }
          }
        }))

      it.scoped("stays within the tolerance of the reference at every step of a text", () =>
        Effect.gen(function*() {
          const text = yield* (yield* load(folder, { stepExecution: "awaited" })).begin
          const reference = new ReferenceDecoder(yield* loadReference)
          const { greedy_tokens, tokens } = cases.at(-1)!
          for (const token of [...tokens.slice(-stepCount(name)), ...greedy_tokens.slice(0, stepCount(name, 32))]) {
            assert.isAtMost(largestDifference(yield* next(text, token), reference.next(token)), tolerance)
          }
        }))

      for (
        const [model, options] of Object.entries<ModelOptions>({
          "tied and in bfloat16": { seed: 1 },
          "untied and in float32": { seed: 4, tied: false, dtype: "F32" },
          "untied and mixed": { seed: 5, tied: false, dtype: "mixed" }
        })
      ) {
        it.scoped(`agrees with the reference on a random model that is ${model}`, () =>
          Effect.gen(function*() {
            const { folder, model } = yield* writeModel(options)
            const text = yield* (yield* load(folder)).begin
            const reference = new ReferenceDecoder(model)
            for (let position = 0; position < model.config.max_position_embeddings; position++) {
              const token = (position * 7919 + 13) % model.config.vocab_size
              assert.isAtMost(largestDifference(yield* next(text, token), reference.next(token)), tolerance)
            }
          }))
      }
    })
  })
}

describe("a decoder", () => {
  layer(Layer.merge(runnerLayer("4 MiB"), NodeContext.layer))((it) => {
    it.scoped("gives the same bits however a text is cut, and whatever other texts do", () =>
      Effect.gen(function*() {
        const decoder = yield* load(folder)
        const tokens = cases.at(-1)!.tokens.slice(0, 40)
        const [whole, single, pieced] = yield* Effect.all([decoder.begin, decoder.begin, decoder.begin])
        const expected = yield* next(whole, ...tokens)
        for (const token of tokens.slice(0, -1)) {
          yield* next(single, token)
        }
        yield* next(pieced, ...tokens.slice(0, 7))
        const singly = yield* next(single, tokens.at(-1)!)
        assert.deepStrictEqual(singly, expected)
        assert.deepStrictEqual(yield* next(pieced, ...tokens.slice(7)), expected)
      }))

    it.scoped("says why the kernel refused a token, and goes on", () =>
      Effect.gen(function*() {
        const text = yield* (yield* load(folder)).begin
        for (const tokens of [[256], [1, 2, -1]]) {
          const error = yield* Effect.flip(next(text, ...tokens))
          assert.deepInclude(error, { _tag: "LaunchFailed", reason: "Kernel", deviceCode: 9 })
          assert.isString(Kernel.statusSentence(9))
        }
        const { logits, tokens } = cases[0]!
        assert.isAtMost(largestDifference(yield* next(text, ...tokens), logits), tolerance)
      }))

    it.scoped("refuses to read on when the cache is full", () =>
      Effect.gen(function*() {
        const { config } = yield* Model.open(folder)
        const decoder = yield* load(folder, { config: yield* Model.withMaxPositions(config, 3) })
        const text = yield* decoder.begin
        yield* next(text, 1, 2, 3)
        assert.deepInclude(yield* Effect.flip(next(text, 4)), { _tag: "LaunchFailed", deviceCode: 10 })
      }))

    it.scoped("holds weights and caches for as long as their scopes, and no more than it said", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const inUse = Effect.map(runner.stats, ({ residents }) => residents.inUseBytes)
        const before = yield* inUse
        const model = yield* Model.open(folder)
        const { config } = model
        yield* Effect.scoped(Effect.gen(function*() {
          const decoder = yield* load(folder)
          const weights = yield* inUse
          yield* Effect.scoped(Effect.all([decoder.begin, decoder.begin]))
          assert.strictEqual(yield* inUse, weights)
          yield* Effect.all([decoder.begin, decoder.begin])
          assert.isAbove(yield* inUse, weights)
          assert.isAtMost((yield* inUse) - before, Decoder.residentBytes(model, { config, textCount: 2 }))
        }))
        assert.strictEqual(yield* inUse, before)
      }))
  })
})
