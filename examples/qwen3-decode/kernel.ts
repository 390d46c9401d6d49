/**
 * The kernel library of this example as TypeScript sees it: where it lies, the scalars it takes, the workspace it
 * needs, and what its own status codes mean. Source: `kernel/qwen3_decode_step.c`; a test compares the two.
 */
import { fileURLToPath } from "node:url"
import type { ModelConfig } from "./model.ts"

/** The library's path; `make -C examples/qwen3-decode/kernel` builds it. */
export const library: string = fileURLToPath(new URL("./kernel/build/libqwen3_decode_step.so", import.meta.url))

export const symbol = "qwen3_decode_step"

/** The scalar arguments by name, in the kernel's order, and with the element types that it expects. */
export const scalarDTypes = {
  layers: "int32",
  hidden: "int32",
  heads: "int32",
  kvHeads: "int32",
  headDim: "int32",
  intermediate: "int32",
  vocab: "int32",
  maxPositions: "int32",
  ropeTheta: "float64",
  rmsEpsilon: "float32",
  tied: "int32"
} as const

/** The values of the scalar arguments. */
export const scalars = (config: ModelConfig): { readonly [K in keyof typeof scalarDTypes]: number } => ({
  layers: config.layers,
  hidden: config.hidden,
  heads: config.heads,
  kvHeads: config.kvHeads,
  headDim: config.headDim,
  intermediate: config.intermediate,
  vocab: config.vocab,
  maxPositions: config.maxPositions,
  ropeTheta: config.ropeTheta,
  rmsEpsilon: config.rmsEpsilon,
  tied: config.tied ? 1 : 0
})

/** How many float32 elements of workspace a call with `tokenCount` tokens needs. */
export const workspaceElements = (config: ModelConfig, tokenCount: number): number =>
  tokenCount * rowElements(config) + config.maxPositions

/**
 * How many float32 elements are enough for each token, so that a workspace of shape `[n, this]` suits every `n`. It is
 * exact for one token; for more, it counts the scores of one head once for each.
 */
export const workspaceElementsPerToken = (config: ModelConfig): number => workspaceElements(config, 1)

const rowElements = (config: ModelConfig): number =>
  2 * config.hidden + 2 * config.heads * config.headDim + 2 * config.intermediate + config.headDim

const statusSentences = new Map<number, string>([
  [1, "the number of arguments is not what the layers and the head ask for"],
  [2, "an argument has another element type, or a scalar and a tensor are mixed up"],
  [3, "a size or constant of the model is out of range"],
  [4, "there is no token, or not as many positions as tokens"],
  [5, "the logits are not as many as the vocabulary has tokens"],
  [6, "a key or value cache has another size than layers, positions and heads ask for"],
  [7, "a weight has another shape than the sizes ask for"],
  [8, "the workspace is too small"],
  [9, "a token is outside the vocabulary"],
  [10, "a position is outside the cache"],
  [11, "the positions do not follow one another"],
  [12, "a tensor has no memory, or is not aligned to its elements"]
])

/** What a status code of the kernel's own means, as a clause; `undefined` for a code that it does not have. */
export const statusSentence = (code: number): string | undefined => statusSentences.get(code)
