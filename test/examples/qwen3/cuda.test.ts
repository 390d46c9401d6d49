/** The kernels for a GPU, without one: their arithmetic on the host, and what their PTX says about itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { dirname } from "node:path"
import * as CudaLaunches from "../../../examples/qwen3-decode/cudaLaunches.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import { largest, largestDifference, ReferenceDecoder } from "../../../examples/qwen3-decode/reference.ts"
import { CudaDecoder, parameterBytes, setOrder } from "./cudaHarness.ts"
import { cases, folder, loadWeights } from "./golden.ts"
import { KernelDecoder, type LoadedWeight } from "./kernelHarness.ts"
import { encodeConfig, makeModel, type ModelOptions, type RandomModel } from "./makeModel.ts"

/** How far a logit on a GPU may be from its float64 value. */
const tolerance = 1e-2

/** On the host nothing is contracted or approximated, so that more would be a mistake in the source. */
const hostTolerance = 1e-3

const isLong = process.env["LEASEHOLD_LONG"] === "1"

/** Whole texts take a minute here. */
const promptMaxTokens = isLong ? Infinity : 16
const greedyMaxTokens = isLong ? Infinity : 12

describe("the kernels for a GPU on the trained model", { timeout: 300_000 }, () => {
  it.effect("compute the golden logits and greedy tokens, and the logits of the simulator's kernel", () =>
    Effect.gen(function*() {
      const { config, weights } = yield* loadWeights(folder)
      for (const { greedy_margins, greedy_tokens, logits, prompt, tokens } of cases) {
        if (tokens.length > promptMaxTokens) {
          continue
        }
        const decoder = new CudaDecoder(config, weights)
        const simulator = new KernelDecoder(config, weights)
        let scores = decoder.next(tokens)
        assert.isAtMost(largestDifference(scores, logits), hostTolerance, prompt)
        assert.isAtMost(largestDifference(scores, simulator.next(tokens)), hostTolerance, prompt)
        for (const [index, expected] of greedy_tokens.slice(0, greedyMaxTokens).entries()) {
          if (greedy_margins[index]! > 2 * tolerance) {
            assert.strictEqual(largest(scores).index, expected, `${prompt}, token ${index}`)
          }
          // The golden text is read, whatever was chosen, so that one close choice does not make the rest incomparable.
          scores = decoder.next([expected])
          assert.isAtMost(largestDifference(scores, simulator.next([expected])), hostTolerance, prompt)
        }
      }
    }))
})

/** A random model as the loader would hand it to the kernels. */
const load = (model: RandomModel) =>
  Effect.map(Model.parseConfig(encodeConfig(model.config), "config.json"), (config) => {
    const tensors = new Map(model.tensors.map((tensor) => [tensor.name, tensor]))
    const weights = Model.weightSpecs(config).map(({ name, shape }): LoadedWeight => {
      const tensor = tensors.get(name)!
      return { name, shape, dtype: tensor.dtype === "F32" ? "float32" : "bfloat16", view: tensor.bytes }
    })
    return { config, weights }
  })

/** Tied and untied heads, every way of sharing key heads, both element types, rows that begin within a word. */
const shapes: Record<string, ModelOptions> = {
  "tied, bfloat16": { seed: 1 },
  "untied, mixed": { seed: 5, tied: false, dtype: "mixed" },
  "untied, float32": { seed: 4, tied: false, dtype: "F32" },
  "one key head for all": { seed: 6, heads: 6, kvHeads: 1, tied: false },
  "odd sizes": { seed: 8, hidden: 33, heads: 5, kvHeads: 5, headDim: 14, intermediate: 47, vocab: 103, dtype: "mixed" },
  "odd sizes, bfloat16": { seed: 14, hidden: 33, heads: 3, kvHeads: 3, headDim: 10, intermediate: 47 },
  "the least sizes": { seed: 9, layers: 1, hidden: 1, heads: 1, kvHeads: 1, headDim: 2, intermediate: 1, vocab: 2 },
  "heads wider than a warp": { seed: 10, hidden: 20, heads: 4, kvHeads: 2, headDim: 80, tied: false },
  "rows wider than a block": { seed: 15, layers: 1, hidden: 300, heads: 2, kvHeads: 1, headDim: 8, intermediate: 20 },
  "another theta and epsilon": { seed: 11, layers: 3, ropeTheta: 12_345.678, rmsEpsilon: 0.01 },
  "scores whose exponentials overflow": { seed: 13, sharpness: 300 }
}

describe("the kernels for a GPU on random models", { timeout: 300_000 }, () => {
  for (const [name, options] of Object.entries(shapes)) {
    it.effect(`agree with the reference, and with themselves in pieces and in any order: ${name}`, () =>
      Effect.gen(function*() {
        const model = makeModel({ maxPositions: 19, ...options })
        const { config, weights } = yield* load(model)
        const tokens = Array.from({ length: config.maxPositions }, (_, index) => (index * 7919 + 13) % config.vocab)

        const reference = new ReferenceDecoder(model)
        const single = new CudaDecoder(config, weights)
        const logits: Array<Float32Array> = []
        for (const token of tokens) {
          const actual = single.next([token])
          assert.isAtMost(largestDifference(actual, reference.next(token)), hostTolerance)
          logits.push(actual)
        }

        for (const [order, pieceLength, gridMaxY] of [[1, 5, 2], [7, tokens.length, 65_535], [8, 7, 1]] as const) {
          setOrder(order)
          const pieced = new CudaDecoder(config, weights, gridMaxY)
          for (let start = 0; start < tokens.length; start += pieceLength) {
            const piece = tokens.slice(start, start + pieceLength)
            assert.deepStrictEqual(pieced.next(piece), logits[start + piece.length - 1])
          }
          assert.deepStrictEqual(pieced.keyCache.bytes, single.keyCache.bytes)
          assert.deepStrictEqual(pieced.valueCache.bytes, single.valueCache.bytes)
        }
      }).pipe(Effect.ensuring(Effect.sync(() => setOrder(0)))))
  }
})

describe("the kernels for a GPU refuse", () => {
  const refusals: ReadonlyArray<readonly [string, ReadonlyArray<number>, ReadonlyArray<number>]> = [
    ["a negative token", [3, -1, 4], [0, 1, 2]],
    ["a token beyond the vocabulary", [3, 1, 61], [0, 1, 2]],
    ["a negative position", [3, 1, 4], [-1, 0, 1]],
    ["a position beyond the cache", [3, 1, 4], [30, 31, 32]],
    ["the largest position", [3, 1, 4], [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1]],
    ["a position that is left out", [3, 1, 4], [0, 1, 3]],
    ["a position that is repeated", [3, 1, 4], [0, 1, 1]],
    [
      "more tokens than the cache has room for",
      Array.from({ length: 33 }, () => 3),
      Array.from({ length: 33 }, (_, t) => t)
    ]
  ]

  for (const [name, tokens, positions] of refusals) {
    it.effect(`${name}: every logit is no number, and the cache is as it was`, () =>
      Effect.gen(function*() {
        const { config, weights } = yield* load(makeModel({ seed: 1 }))
        const decoder = new CudaDecoder(config, weights)
        assert.isFalse(decoder.next([3, 1, 4]).some(Number.isNaN))
        const caches = [decoder.keyCache, decoder.valueCache]
        const before = caches.map(({ bytes }) => bytes.slice())
        // A workspace of zeros, because from one of NaN the logits would be NaN in any case.
        assert.isTrue(decoder.call(tokens, positions, 0).every(Number.isNaN))
        assert.deepStrictEqual(caches.map(({ bytes }) => bytes.slice()), before)
      }))
  }

  it.effect("a weight of another shape, before anything is launched", () =>
    Effect.gen(function*() {
      const { config, weights } = yield* load(makeModel({ seed: 1 }))
      const name = "model.norm.weight"
      const shapesOfWeights = Object.fromEntries(weights.map((weight) => [weight.name, weight.shape]))
      const launches = CudaLaunches.make({ config, weights })
      assert.throws(
        () => launches({ n: 1 }, { ...shapesOfWeights, [name]: [23] }),
        "the weight model.norm.weight has the shape [23]"
      )
      assert.throws(
        () => CudaLaunches.make({ config: { ...config, heads: 2 ** 29 }, weights })({ n: 1 }, shapesOfWeights),
        RangeError
      )
    }))
})

describe("the PTX of the kernels for a GPU", () => {
  const ptx = readFileSync(new URL("../../../examples/qwen3-decode/kernel/qwen3_decode.ptx", import.meta.url), "utf8")

  it("is what its source gives", () => {
    execFileSync("make", ["-s", "check-ptx"], { cwd: dirname(CudaLaunches.module), stdio: "pipe" })
  })

  it("needs no newer driver than compute capability 7.5 does", () => {
    assert.match(ptx, /^\.version 6\.3$/m)
    assert.match(ptx, /^\.target sm_75$/m)
  })

  it.effect("has the kernels that are launched, with the parameters that they are launched with", () =>
    Effect.gen(function*() {
      const { config, weights } = yield* load(makeModel({ seed: 1 }))
      const shapesOfWeights = Object.fromEntries(weights.map(({ name, shape }) => [name, shape]))
      const entries = [...ptx.matchAll(/\.visible \.entry (\w+)\(([^)]*)\)/g)].map(([, symbol, list]) => {
        const bits = [...list!.matchAll(/\.param \.[a-z](\d+) /g)].map((match) => Number(match[1]))
        return [symbol, bits.map((count) => count / 8)]
      })
      const launches = CudaLaunches.make({ config, weights })({ n: 3 }, shapesOfWeights)
      const launched = launches.map(({ parameters, symbol }) => [symbol, parameters.map(parameterBytes)] as const)
      for (const [symbol, sizes] of launched) {
        assert.deepInclude(entries, [symbol, sizes])
      }
      // As the example's README says: four, and eight for each layer.
      assert.strictEqual(launches.length, 4 + 8 * config.layers)
      assert.strictEqual(new Set(launched.map(([symbol]) => symbol)).size, entries.length)
    }))
})
