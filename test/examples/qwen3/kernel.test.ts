import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import * as Kernel from "../../../examples/qwen3-decode/kernel.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import { largest, largestDifference, ReferenceDecoder } from "../../../examples/qwen3-decode/reference.ts"
import { cases, folder, loadReference, loadWeights } from "./golden.ts"
import { type Argument, call, dtypes, KernelDecoder, kinds, type LoadedWeight } from "./kernelHarness.ts"
import { encodeConfig, makeModel, type ModelOptions, type RandomModel } from "./makeModel.ts"

/** How far a logit may be from its float64 value. */
const tolerance = 1e-3

const source = readFileSync(
  new URL("../../../examples/qwen3-decode/kernel/qwen3_decode_step.c", import.meta.url),
  "utf8"
)

/** A random model as the loader would hand it to the kernel. */
const load = (model: RandomModel) =>
  Effect.map(Model.parseConfig(encodeConfig(model.config), "config.json"), (config) => {
    const tensors = new Map(model.tensors.map((tensor) => [tensor.name, tensor]))
    const weights = Model.weightSpecs(config).map(({ name, shape }): LoadedWeight => {
      const tensor = tensors.get(name)!
      return { name, shape, dtype: tensor.dtype === "F32" ? "float32" : "bfloat16", view: tensor.bytes }
    })
    return { config, weights }
  })

describe("the kernel on the trained model", () => {
  it.effect("computes the golden logits and greedy tokens of every prompt", () =>
    Effect.gen(function*() {
      const { config, weights } = yield* loadWeights(folder)
      for (const { greedy_margins, greedy_tokens, logits, prompt, tokens } of cases) {
        const decoder = new KernelDecoder(config, weights)
        let scores = decoder.next(tokens)
        assert.isAtMost(largestDifference(scores, logits), tolerance, prompt)
        for (const [index, expected] of greedy_tokens.entries()) {
          const { index: token } = largest(scores)
          if (token !== expected) {
            // Behind a choice that was too close to call, the texts are not comparable.
            assert.isAtMost(greedy_margins[index]!, tolerance, `${prompt}, token ${index}`)
            break
          }
          scores = decoder.next([token])
        }
      }
    }))

  it.effect("stays within the tolerance of the reference at every step of a text", () =>
    Effect.gen(function*() {
      const { config, weights } = yield* loadWeights(folder)
      const reference = new ReferenceDecoder(yield* loadReference)
      const decoder = new KernelDecoder(config, weights)
      const { greedy_tokens, tokens } = cases.at(-1)!
      for (const token of [...tokens, ...greedy_tokens]) {
        assert.isAtMost(largestDifference(decoder.next([token]), reference.next(token)), tolerance)
      }
    }))
})

/** Tied and untied heads, every way of sharing key heads, both element types, sizes that no vector width divides. */
const shapes: Record<string, ModelOptions> = {
  "tied, bfloat16": { seed: 1 },
  "untied, bfloat16": { seed: 2, tied: false },
  "tied, float32": { seed: 3, dtype: "F32" },
  "untied, float32": { seed: 4, tied: false, dtype: "F32" },
  "untied, mixed": { seed: 5, tied: false, dtype: "mixed" },
  "one key head for all": { seed: 6, heads: 6, kvHeads: 1, tied: false },
  "a key head for each": { seed: 7, heads: 3, kvHeads: 3, headDim: 10 },
  "odd sizes": { seed: 8, hidden: 33, heads: 5, kvHeads: 5, headDim: 14, intermediate: 47, vocab: 103, dtype: "mixed" },
  "the least sizes": { seed: 9, layers: 1, hidden: 1, heads: 1, kvHeads: 1, headDim: 2, intermediate: 1, vocab: 2 },
  "wider heads than the model": { seed: 10, hidden: 20, heads: 8, kvHeads: 4, headDim: 16, tied: false },
  "many layers, another theta and epsilon": { seed: 11, layers: 6, ropeTheta: 12_345.678, rmsEpsilon: 0.01 },
  "scores whose exponentials overflow": { seed: 13, sharpness: 300 },
  "sizes of whole vectors": { seed: 12, hidden: 64, heads: 4, kvHeads: 2, headDim: 32, intermediate: 96, vocab: 256 }
}

describe("the kernel on random models", () => {
  for (const [name, options] of Object.entries(shapes)) {
    it.effect(`agrees with the reference, and with itself in pieces: ${name}`, () =>
      Effect.gen(function*() {
        const model = makeModel(options)
        const { config, weights } = yield* load(model)
        const tokens = Array.from({ length: config.maxPositions }, (_, index) => (index * 7919 + 13) % config.vocab)

        const reference = new ReferenceDecoder(model)
        const single = new KernelDecoder(config, weights)
        const logits: Array<Float32Array> = []
        for (const token of tokens) {
          const expected = reference.next(token)
          const actual = single.next([token]).slice()
          logits.push(actual)
          assert.isAtMost(largestDifference(actual, expected), tolerance)
          const choice = largest(expected)
          if (choice.margin > tolerance) {
            assert.strictEqual(largest(actual).index, choice.index)
          }
        }

        for (const pieceLength of [2, 5, tokens.length]) {
          const pieced = new KernelDecoder(config, weights)
          for (let start = 0; start < tokens.length; start += pieceLength) {
            const piece = tokens.slice(start, start + pieceLength)
            assert.deepStrictEqual(pieced.next(piece).slice(), logits[start + piece.length - 1])
          }
          assert.deepStrictEqual(pieced.keyCache, single.keyCache)
          assert.deepStrictEqual(pieced.valueCache, single.valueCache)
        }
      }))
  }
})

/** Where arguments stand in the table. */
const first = { tokens: 0, positions: 1, logits: 2, workspace: 3, keyCache: 4, valueCache: 5, weights: 17 }

const scalar = (name: string): number => 6 + Object.keys(Kernel.scalarDTypes).indexOf(name)

const ints = (...values: ReadonlyArray<number>): Int32Array => Int32Array.from(values)

type Change = (args: Array<Argument>) => void

const set = (index: number, changes: Partial<Argument>): Change => (args) => {
  args[index] = { ...args[index]!, ...changes }
}

const setAll = (...changes: ReadonlyArray<Change>): Change => (args) => changes.forEach((change) => change(args))

/** Takes the last four bytes away. */
const shorten = (index: number): Change => (args) => {
  const { buffer, byteLength, byteOffset } = args[index]!.view!
  set(index, { view: new Uint8Array(buffer, byteOffset, byteLength - 4) })(args)
}

describe("the kernel refuses", () => {
  const tokens = [3, 1, 4]
  const refusals: ReadonlyArray<readonly [string, number, Change]> = [
    ["no arguments", 1, (args) => args.splice(0)],
    ["a missing weight", 1, (args) => args.pop()],
    ["a weight too many", 1, (args) => args.push(args.at(-1)!)],
    ["a head beside a tied one", 1, (args) => args.splice(19, 0, args[17]!)],
    ["more layers than weights", 1, set(scalar("layers"), { value: 2 ** 31 - 1 })],
    ["tokens that are no int32", 2, set(first.tokens, { dtype: dtypes.float32 })],
    ["logits that are no float32", 2, set(first.logits, { dtype: dtypes.int32 })],
    ["a workspace that is no float32", 2, set(first.workspace, { dtype: dtypes.int32 })],
    ["a weight of another type", 2, set(first.weights, { dtype: dtypes.int32 })],
    ["a tensor for a scalar", 2, set(scalar("hidden"), { kind: kinds.input })],
    ["a scalar for a tensor", 2, set(first.keyCache, { kind: kinds.scalar })],
    ["a theta that is no float64", 2, set(scalar("ropeTheta"), { dtype: dtypes.float32, value: 1 })],
    ["a size of zero", 3, set(scalar("vocab"), { value: 0 })],
    ["a negative size", 3, set(scalar("layers"), { value: -1 })],
    ["an odd head", 3, set(scalar("headDim"), { value: 7 })],
    ["heads that cannot share", 3, set(scalar("kvHeads"), { value: 3 })],
    ["a tied that is neither 0 nor 1", 3, set(scalar("tied"), { value: 2 })],
    ["a theta of zero", 3, set(scalar("ropeTheta"), { value: 0 })],
    ["an epsilon that is no number", 3, set(scalar("rmsEpsilon"), { value: NaN })],
    ["no token", 4, setAll(set(first.tokens, { view: ints() }), set(first.positions, { view: ints() }))],
    ["fewer positions than tokens", 4, set(first.positions, { view: ints(0, 1) })],
    ["more positions than tokens", 4, set(first.positions, { view: ints(0, 1, 2, 3) })],
    ["too few logits", 5, shorten(first.logits)],
    ["a key cache that is too small", 6, shorten(first.keyCache)],
    ["a value cache that is too small", 6, shorten(first.valueCache)],
    ["more positions than the caches have", 6, set(scalar("maxPositions"), { value: 2 ** 31 - 1 })],
    ["an embedding of another size", 7, set(scalar("vocab"), { value: 62 })],
    ["a weight that is turned", 7, set(first.weights, { dims: [24, 61] })],
    ["a vector with two dimensions", 7, set(18, { dims: [1, 24] })],
    ["a weight of fewer bytes", 7, set(18, { view: new Uint16Array(23) })],
    ["a workspace that is one element too small", 8, shorten(first.workspace)],
    ["a negative token", 9, set(first.tokens, { view: ints(3, -1, 4) })],
    ["a token beyond the vocabulary", 9, set(first.tokens, { view: ints(3, 1, 61) })],
    ["a negative position", 10, set(first.positions, { view: ints(-1, 0, 1) })],
    ["a position beyond the cache", 10, set(first.positions, { view: ints(30, 31, 32) })],
    ["a position that is left out", 11, set(first.positions, { view: ints(0, 1, 3) })],
    ["a position that is repeated", 11, set(first.positions, { view: ints(0, 1, 1) })],
    ["logits that are not aligned", 12, set(first.logits, { view: new Uint8Array(61 * 4 + 1).subarray(1) })],
    ["a weight that is not aligned", 12, set(18, { view: new Uint8Array(24 * 2 + 1).subarray(1) })]
  ]

  for (const [name, status, change] of refusals) {
    it.effect(`${name}, and writes nothing`, () =>
      Effect.gen(function*() {
        const { config, weights } = yield* load(makeModel({ seed: 1 }))
        const decoder = new KernelDecoder(config, weights)
        const args = decoder.arguments(tokens)
        assert.strictEqual(call(args), 0)
        decoder.logits.fill(7)
        decoder.keyCache.fill(7)
        decoder.valueCache.fill(7)
        change(args)
        assert.strictEqual(call(args), status)
        assert.isTrue(
          [decoder.logits, decoder.keyCache, decoder.valueCache].every((view) => view.every((x) => x === 7))
        )
        assert.isString(Kernel.statusSentence(status))
      }))
  }

  it("every status of its own with a sentence, and no other", () => {
    const codes = [...source.matchAll(/^ {2}QWEN3_\w+ = (\d+)/gm)].map((match) => Number(match[1]))
    assert.deepStrictEqual(codes, Array.from({ length: 12 }, (_, index) => index + 1))
    assert.isTrue(codes.every((code) => Kernel.statusSentence(code) !== undefined))
    assert.isUndefined(Kernel.statusSentence(0))
    assert.isUndefined(Kernel.statusSentence(codes.length + 1))
  })

  it("no scalar that TypeScript names in another order or type", () => {
    const documented = [...source.matchAll(/^ \* +(?:[6-9]|1[0-6]) {2}(\w+) +(int32|float32|float64)/gm)]
    assert.deepStrictEqual(documented.map((match) => [match[1], match[2]]), Object.entries(Kernel.scalarDTypes))
  })
})
