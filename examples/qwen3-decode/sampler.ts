/** How the next token is chosen from logits: the largest one, or by chance with a temperature and a seed. */
import * as Effect from "effect/Effect"
import * as Utils from "effect/Utils"
import { DecodeRequestInvalid } from "./errors.ts"

/** What a sampler is made from. */
export interface SamplerOptions {
  /** 0 takes the largest logit, 1 samples from the model's own distribution, and more flattens it. At most 100. */
  readonly temperature: number
  /** A 32-bit seed, 0 to 4,294,967,295; the same seed gives the same tokens. Not used where the temperature is 0. */
  readonly seed: number
}

/** Chooses tokens one after another. */
export interface Sampler {
  /** Fails with `LogitsInvalid` where a logit is not a number, or none is finite. */
  readonly next: (logits: Float32Array) => Effect.Effect<number, DecodeRequestInvalid>
}

/** The largest temperature. */
export const temperatureMax = 100

/** Makes a sampler with a generator of its own. Fails with `SamplingInvalid` where an option is out of range. */
export const make = (options: SamplerOptions): Effect.Effect<Sampler, DecodeRequestInvalid> =>
  Effect.suspend(() => {
    const { seed, temperature } = options
    if (!(temperature >= 0 && temperature <= temperatureMax)) {
      const detail = `A temperature of ${temperature} is not possible: it is a number from 0 to ${temperatureMax}.`
      return new DecodeRequestInvalid({ reason: "SamplingInvalid", detail })
    }
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
      const detail = `A seed of ${seed} is not possible: it is an integer from 0 to ${2 ** 32 - 1}.`
      return new DecodeRequestInvalid({ reason: "SamplingInvalid", detail })
    }
    const generator = new Utils.PCGRandom(seed)
    return Effect.succeed({
      next: (logits) =>
        Effect.suspend(() => {
          const token = temperature === 0
            ? greedy(logits)
            : sample(logits, { temperature, uniform: generator.number() })
          return token === -1
            ? new DecodeRequestInvalid({
              reason: "LogitsInvalid",
              detail: "The model's logits are not numbers, so no token can be chosen; its weights may be damaged."
            })
            : Effect.succeed(token)
        })
    })
  })

/** The index of the largest logit, the first of equal ones; -1 where one is not a number or none is finite. */
export const greedy = (logits: Float32Array): number => {
  let best = -1
  let largest = -Infinity
  for (let index = 0; index < logits.length; index++) {
    const logit = logits[index]!
    if (Number.isNaN(logit) || logit === Infinity) {
      return -1
    }
    if (logit > largest) {
      largest = logit
      best = index
    }
  }
  return best
}

/**
 * The index that `uniform` (0 to 1, 1 excluded) falls on when each index has the weight `exp(logit / temperature)`. The
 * temperature is above 0. -1 where a logit is not a number or none is finite.
 */
export const sample = (
  logits: Float32Array,
  options: { readonly temperature: number; readonly uniform: number }
): number => {
  const best = greedy(logits)
  if (best === -1) {
    return -1
  }
  // The largest weight is 1, so the total is neither 0 nor infinite, however small the temperature.
  const largest = logits[best]!
  const weightOf = (logit: number): number => Math.exp((logit - largest) / options.temperature)
  let total = 0
  for (const logit of logits) {
    total += weightOf(logit)
  }
  let remaining = options.uniform * total
  let chosen = best
  for (let index = 0; index < logits.length; index++) {
    const weight = weightOf(logits[index]!)
    if (weight > 0) {
      chosen = index
      remaining -= weight
      if (remaining < 0) {
        break
      }
    }
  }
  return chosen
}
