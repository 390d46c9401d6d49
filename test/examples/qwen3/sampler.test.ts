import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Sampler from "../../../examples/qwen3-decode/sampler.ts"

const logits = Float32Array.of(-1, 2, 0.5, 2, -Infinity)

const draw = (options: Sampler.SamplerOptions, count: number) =>
  Effect.gen(function*() {
    const sampler = yield* Sampler.make(options)
    return yield* Effect.replicateEffect(sampler.next(logits), count)
  })

describe("a sampler", () => {
  it.effect("takes the first of the largest logits at temperature 0", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* draw({ temperature: 0, seed: 1 }, 3), [1, 1, 1])
    }))

  it.effect("gives the same tokens for the same seed, and others for another one", () =>
    Effect.gen(function*() {
      const tokens = yield* draw({ temperature: 1, seed: 7 }, 64)
      assert.deepStrictEqual(yield* draw({ temperature: 1, seed: 7 }, 64), tokens)
      assert.notDeepEqual(yield* draw({ temperature: 1, seed: 8 }, 64), tokens)
    }))

  it.effect("draws each token as often as the temperature says", () =>
    Effect.gen(function*() {
      for (const temperature of [0.5, 1, 3]) {
        const weights = [...logits].map((logit) => Math.exp(logit / temperature))
        const total = weights.reduce((left, right) => left + right)
        const tokens = yield* draw({ temperature, seed: 42 }, 20_000)
        weights.forEach((weight, token) => {
          const share = tokens.filter((drawn) => drawn === token).length / tokens.length
          assert.approximately(share, weight / total, 0.015)
        })
      }
    }))

  it.effect("comes down to the largest logit when the temperature is tiny", () =>
    Effect.gen(function*() {
      const sampler = yield* Sampler.make({ temperature: 1e-300, seed: 3 })
      assert.strictEqual(yield* sampler.next(Float32Array.of(1, 3, 2)), 1)
    }))

  it("never leaves the tokens that have a weight, whatever falls", () => {
    for (const uniform of [0, 0.5, 1 - Number.EPSILON / 2, 1]) {
      const token = Sampler.sample(Float32Array.of(-Infinity, 0, 1e-7, -Infinity), { temperature: 1, uniform })
      assert.include([1, 2], token)
    }
  })

  it.effect("refuses logits that are not numbers", () =>
    Effect.gen(function*() {
      for (const temperature of [0, 1]) {
        const sampler = yield* Sampler.make({ temperature, seed: 1 })
        for (const bad of [[1, NaN], [Infinity, 1], [-Infinity], []]) {
          assert.strictEqual((yield* Effect.flip(sampler.next(Float32Array.from(bad)))).reason, "LogitsInvalid")
        }
      }
    }))

  it.effect("refuses options that are out of range", () =>
    Effect.gen(function*() {
      for (const temperature of [-1, NaN, Infinity, 101]) {
        assert.strictEqual((yield* Effect.flip(Sampler.make({ temperature, seed: 1 }))).reason, "SamplingInvalid")
      }
      for (const seed of [-1, 0.5, NaN, 2 ** 32]) {
        assert.strictEqual((yield* Effect.flip(Sampler.make({ temperature: 1, seed }))).reason, "SamplingInvalid")
      }
    }))
})
