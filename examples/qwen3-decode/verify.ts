/** Compares what a device computed with the float64 reference, logit by logit and choice by choice. */
import * as Effect from "effect/Effect"
import type { Decoded } from "./decode.ts"
import type { ModelFileInvalid } from "./errors.ts"
import type { Model } from "./model.ts"
import { largest, largestDifference, ReferenceDecoder, type ReferenceModel } from "./reference.ts"

/** How far a logit may be from its float64 value. */
export const logitTolerance = 1e-3

/** By how much the reference's largest logit leads where the device has to agree on the choice. */
const decidedMargin = 2 * logitTolerance

export interface Comparison {
  /** The largest difference of any logit; NaN where a logit is not a number. */
  readonly maxAbsLogitError: number
  /** How many greedy choices differ, although the reference's is clear. */
  readonly differentChoices: number
  readonly matches: boolean
}

/**
 * Runs the reference over the prompt and the tokens that were decoded, and compares the logits of every step. The
 * reference reads the decoded tokens, not its own, so that one close choice does not make the rest incomparable.
 */
export const verify = (
  model: Model,
  options: {
    readonly prompt: Int32Array
    readonly decoded: Decoded
    readonly onToken: Effect.Effect<void>
  }
): Effect.Effect<Comparison, ModelFileInvalid> =>
  Effect.gen(function*() {
    const reference = new ReferenceDecoder(yield* referenceModel(model))
    const { logits, tokens } = options.decoded
    let expected: Float64Array = new Float64Array()
    for (const token of options.prompt) {
      expected = reference.next(token)
    }
    let maxAbsLogitError = 0
    let differentChoices = 0
    for (const [step, actual] of logits.entries()) {
      if (step > 0) {
        expected = reference.next(tokens[step - 1]!)
      }
      maxAbsLogitError = Math.max(maxAbsLogitError, largestDifference(actual, expected))
      const choice = largest(expected)
      if (choice.margin > decidedMargin && largest(actual).index !== choice.index) {
        differentChoices += 1
      }
      yield* options.onToken
    }
    const matches = maxAbsLogitError <= logitTolerance && differentChoices === 0
    return { maxAbsLogitError, differentChoices, matches }
  })

/** The most bytes of a weight that are read at once. */
const pieceMaxBytes = 1024 * 1024

/** Reads a model once more, into float64. */
const referenceModel = (model: Model): Effect.Effect<ReferenceModel, ModelFileInvalid> =>
  Effect.gen(function*() {
    const { config } = model
    const weights = new Map<string, Float64Array>()
    for (const weight of model.weights) {
      const values = new Float64Array(weight.elementCount)
      weights.set(weight.name, values)
      yield* model.forEachPiece(weight, { maxBytes: pieceMaxBytes }, (piece) =>
        Effect.sync(() =>
          values.set(
            piece.elements instanceof Uint16Array ? widened(piece.elements) : piece.elements,
            piece.offsetElements
          )
        ))
    }
    return {
      weights,
      config: {
        hidden_size: config.hidden,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        num_key_value_heads: config.kvHeads,
        head_dim: config.headDim,
        intermediate_size: config.intermediate,
        vocab_size: config.vocab,
        max_position_embeddings: config.maxPositions,
        rope_theta: config.ropeTheta,
        rms_norm_eps: config.rmsEpsilon,
        tie_word_embeddings: config.tied
      }
    }
  })

/** A bfloat16 is the upper half of a float32. */
const widened = (halves: Uint16Array): Float32Array =>
  new Float32Array(Uint32Array.from(halves, (half) => half * 0x1_0000).buffer)
