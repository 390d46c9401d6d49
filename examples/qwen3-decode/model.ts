/**
 * A Qwen3 model in a Hugging Face folder: what its `config.json` says, which tensors it needs, and how they are read
 * from its `model.safetensors`.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { isRecord } from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { DType } from "leasehold"
import { DecodeRequestInvalid, firstIssue, ModelFileInvalid, quoted } from "./errors.ts"
import { regularFile, unreadable } from "./modelFile.ts"
import * as Safetensors from "./safetensors.ts"

/** The sizes and constants of a model. */
export interface ModelConfig {
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly intermediate: number
  readonly vocab: number
  /** How many tokens the KV cache has room for: the model's own limit, or less (see `withMaxPositions`). */
  readonly maxPositions: number
  readonly ropeTheta: number
  readonly rmsEpsilon: number
  /** Whether the head is the token embedding. */
  readonly tied: boolean
}

/** Element types that weights may have; each tensor has its own. */
export type WeightDType = "bfloat16" | "float32"

/** A tensor that the model needs. */
export interface WeightSpec {
  /** Its name in the file. */
  readonly name: string
  readonly shape: ReadonlyArray<number>
}

/** A tensor that the model needs and the file has. */
export interface Weight<out D extends WeightDType = WeightDType> extends WeightSpec {
  readonly dtype: D
  readonly elementCount: number
  readonly byteCount: number
}

/** A part of a weight, in memory of its own. */
export interface Piece<out D extends WeightDType = WeightDType> {
  readonly dtype: D
  readonly offsetElements: number
  /** `bfloat16` travels as its bits. */
  readonly elements: DType.View<D>
}

/** A model whose files are open. It is valid until the scope closes that it was opened in. */
export interface Model {
  readonly config: ModelConfig
  /** In the order in which the kernel takes them. */
  readonly weights: ReadonlyArray<Weight>
  /**
   * Reads a weight from start to end in pieces of at most `maxBytes` (at least one element), one after another, so that
   * no more than one piece is in memory.
   */
  readonly forEachPiece: <D extends WeightDType, E, R>(
    weight: Weight<D>,
    options: { readonly maxBytes: number },
    use: (piece: Piece<D>) => Effect.Effect<void, E, R>
  ) => Effect.Effect<void, E | ModelFileInvalid, R>
}

/** The largest `config.json` that is read, in bytes. */
const configMaxBytes = 1024 * 1024

/** Sizes reach the kernel as int32. */
const sizeMax = 2 ** 31 - 1

/** So many layers fit into 4,096 arguments, eleven weights each beside twenty others. The largest Qwen3 has 94. */
export const layersMax = 370

/**
 * Opens a model folder: reads `config.json`, checks `model.safetensors` against it, and keeps the file open. Fails with
 * `ModelFileInvalid` where a file is damaged, unsupported, or does not match the other.
 */
export const open = (
  folder: string
): Effect.Effect<Model, ModelFileInvalid, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function*() {
    const path = yield* Path.Path
    const config = yield* readConfig(path.join(folder, "config.json"))
    const tensors = yield* Safetensors.open(path.join(folder, "model.safetensors"))
    const weights = yield* matchWeights(config, tensors)
    return {
      config,
      weights,
      forEachPiece: (weight, options, use) => forEachPiece(tensors, weight, options.maxBytes, use)
    }
  })

/** Reads a `config.json`. */
export const readConfig = (
  path: string
): Effect.Effect<ModelConfig, ModelFileInvalid, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const { file, fileBytes } = yield* regularFile(path)
    if (fileBytes > configMaxBytes) {
      const detail = `has ${fileBytes} B, but at most ${configMaxBytes} B are read`
      return yield* new ModelFileInvalid({ file, reason: "ConfigInvalid", detail })
    }
    const text = yield* Effect.mapError((yield* FileSystem.FileSystem).readFileString(path), unreadable(file))
    return yield* parseConfig(text, file)
  })

/** A size that reaches the kernel. */
const Size = Schema.Int.pipe(Schema.between(1, sizeMax))

/** What the kernel computes in one way only. Anything may stand here: it is compared, not believed. */
const Features = Schema.Struct({
  architectures: Schema.Array(Schema.String),
  hidden_act: Schema.optional(Schema.Unknown),
  attention_bias: Schema.optional(Schema.Unknown),
  use_sliding_window: Schema.optional(Schema.Unknown),
  layer_types: Schema.optional(Schema.Unknown),
  rope_scaling: Schema.optional(Schema.Unknown),
  rope_parameters: Schema.optional(Schema.Unknown),
  quantization_config: Schema.optional(Schema.Unknown)
})

const Sizes = Schema.Struct({
  num_hidden_layers: Schema.Int.pipe(Schema.between(1, layersMax)),
  hidden_size: Size,
  num_attention_heads: Size,
  num_key_value_heads: Size,
  head_dim: Size,
  intermediate_size: Size,
  vocab_size: Size,
  max_position_embeddings: Size,
  rope_theta: Schema.Finite.pipe(Schema.positive()),
  rms_norm_eps: Schema.Finite.pipe(Schema.between(0, 1)),
  tie_word_embeddings: Schema.optionalWith(Schema.Boolean, { default: () => false })
})

const decodeFeatures = Schema.decodeUnknownEither(Features)
const decodeSizes = Schema.decodeUnknownEither(Sizes)

/** Parses the text of a `config.json`. `file` is its name in errors. */
export const parseConfig = (text: string, file: string): Either.Either<ModelConfig, ModelFileInvalid> => {
  const invalid = (detail: string) => new ModelFileInvalid({ file, reason: "ConfigInvalid", detail })
  return Either.gen(function*() {
    const json = yield* Either.try({ try: (): unknown => JSON.parse(text), catch: () => invalid("is not JSON") })
    const features = yield* Either.mapLeft(
      decodeFeatures(json),
      (error) => invalid(`is not valid: ${firstIssue(error)}`)
    )
    const unsupported = unsupportedFeature(features)
    if (unsupported !== undefined) {
      return yield* Either.left(new ModelFileInvalid({ file, reason: "ConfigUnsupported", detail: unsupported }))
    }
    const sizes = yield* Either.mapLeft(
      decodeSizes(withRopeTheta(json, features.rope_parameters)),
      (error) => invalid(`is not valid: ${firstIssue(error)}`)
    )
    const config: ModelConfig = {
      layers: sizes.num_hidden_layers,
      hidden: sizes.hidden_size,
      heads: sizes.num_attention_heads,
      kvHeads: sizes.num_key_value_heads,
      headDim: sizes.head_dim,
      intermediate: sizes.intermediate_size,
      vocab: sizes.vocab_size,
      maxPositions: sizes.max_position_embeddings,
      ropeTheta: sizes.rope_theta,
      rmsEpsilon: sizes.rms_norm_eps,
      tied: sizes.tie_word_embeddings
    }
    const contradiction = contradictionOf(config)
    return contradiction === undefined ? config : yield* Either.left(invalid(contradiction))
  })
}

/** A clause about the first thing that the kernel does not compute. */
const unsupportedFeature = (features: typeof Features.Type): string | undefined => {
  if (!features.architectures.includes("Qwen3ForCausalLM")) {
    return `is of the architecture ${
      quoted(features.architectures.join(", "))
    }, but only "Qwen3ForCausalLM" is supported`
  }
  if (features.hidden_act !== undefined && features.hidden_act !== "silu") {
    return `has the "hidden_act" ${quoted(features.hidden_act)}, but only "silu" is supported`
  }
  if (isSet(features.attention_bias)) {
    return `has "attention_bias", which is not supported`
  }
  if (isSet(features.use_sliding_window) || someLayerSlides(features.layer_types)) {
    return `uses a sliding window, which is not supported`
  }
  if (isSet(features.rope_scaling) || hasScaledRope(features.rope_parameters)) {
    return `has "rope_scaling", which is not supported`
  }
  if (isSet(features.quantization_config)) {
    return `has a "quantization_config", but only bfloat16 and float32 weights are supported`
  }
  return undefined
}

const isSet = (value: unknown): boolean => value !== undefined && value !== null && value !== false

const someLayerSlides = (layerTypes: unknown): boolean =>
  isSet(layerTypes) && !(Array.isArray(layerTypes) && layerTypes.every((type) => type === "full_attention"))

/** Newer files keep the rotary constants in `rope_parameters`; its type "default" is the plain one. */
const hasScaledRope = (ropeParameters: unknown): boolean =>
  isSet(ropeParameters) && !(isRecord(ropeParameters) && (ropeParameters["rope_type"] ?? "default") === "default")

const withRopeTheta = (json: unknown, ropeParameters: unknown): unknown =>
  isRecord(json) && json["rope_theta"] === undefined && isRecord(ropeParameters)
    ? { ...json, rope_theta: ropeParameters["rope_theta"] }
    : json

/** A clause about sizes that do not go together. */
const contradictionOf = (config: ModelConfig): string | undefined => {
  if (config.heads % config.kvHeads !== 0) {
    return `has ${config.heads} attention heads, which ${config.kvHeads} key and value heads cannot share evenly`
  }
  if (config.headDim % 2 !== 0) {
    return `has a "head_dim" of ${config.headDim}, but rotary embedding needs an even one`
  }
  const counts = [
    ...weightSpecs(config).map((spec) => elementCountOf(spec.shape)),
    elementCountOf(kvCacheShape(config))
  ]
  return counts.every((count) => Number.isSafeInteger(count * Float32Array.BYTES_PER_ELEMENT))
    ? undefined
    : `describes tensors of more than 2^53 B`
}

const elementCountOf = (shape: ReadonlyArray<number>): number =>
  shape.reduce((product, dimension) => product * dimension, 1)

/** The same model with room for fewer tokens. Fails where that is not between 1 and what the model was made for. */
export const withMaxPositions = (
  config: ModelConfig,
  maxPositions: number
): Either.Either<ModelConfig, DecodeRequestInvalid> =>
  Number.isSafeInteger(maxPositions) && maxPositions >= 1 && maxPositions <= config.maxPositions
    ? Either.right({ ...config, maxPositions })
    : Either.left(
      new DecodeRequestInvalid({
        reason: "ContextInvalid",
        detail: `A context of ${maxPositions} tokens is not possible: the model takes 1 to ${config.maxPositions}.`
      })
    )

/** The shape of the key cache, and of the value cache: layers, positions, and all heads of one position in a row. */
export const kvCacheShape = (config: ModelConfig): readonly [layers: number, positions: number, width: number] => [
  config.layers,
  config.maxPositions,
  config.kvHeads * config.headDim
]

/** The tensors of a model, in the order in which the kernel takes them. The head is absent where it is tied. */
export const weightSpecs = (config: ModelConfig): Array<WeightSpec> => {
  const embedding = [config.vocab, config.hidden]
  const specs: Array<WeightSpec> = [
    { name: "model.embed_tokens.weight", shape: embedding },
    { name: "model.norm.weight", shape: [config.hidden] }
  ]
  if (!config.tied) {
    specs.push({ name: "lm_head.weight", shape: embedding })
  }
  for (let layer = 0; layer < config.layers; layer++) {
    specs.push(...layerSpecs(config, `model.layers.${layer}`))
  }
  return specs
}

const layerSpecs = (config: ModelConfig, prefix: string): ReadonlyArray<WeightSpec> => {
  const { headDim, hidden, intermediate } = config
  const queryWidth = config.heads * headDim
  const kvWidth = config.kvHeads * headDim
  return [
    { name: `${prefix}.input_layernorm.weight`, shape: [hidden] },
    { name: `${prefix}.self_attn.q_proj.weight`, shape: [queryWidth, hidden] },
    { name: `${prefix}.self_attn.k_proj.weight`, shape: [kvWidth, hidden] },
    { name: `${prefix}.self_attn.v_proj.weight`, shape: [kvWidth, hidden] },
    { name: `${prefix}.self_attn.q_norm.weight`, shape: [headDim] },
    { name: `${prefix}.self_attn.k_norm.weight`, shape: [headDim] },
    { name: `${prefix}.self_attn.o_proj.weight`, shape: [hidden, queryWidth] },
    { name: `${prefix}.post_attention_layernorm.weight`, shape: [hidden] },
    { name: `${prefix}.mlp.gate_proj.weight`, shape: [intermediate, hidden] },
    { name: `${prefix}.mlp.up_proj.weight`, shape: [intermediate, hidden] },
    { name: `${prefix}.mlp.down_proj.weight`, shape: [hidden, intermediate] }
  ]
}

const weightDTypes = new Map<string, WeightDType>([["BF16", "bfloat16"], ["F32", "float32"]])

/** Finds every tensor of a model in a file. Tensors that the model does not need are left alone. */
export const matchWeights = (
  config: ModelConfig,
  source: Pick<Safetensors.SafetensorsFile, "file" | "tensors">
): Either.Either<ReadonlyArray<Weight>, ModelFileInvalid> =>
  Either.all(weightSpecs(config).map((spec) => matchWeight(spec, source)))

const matchWeight = (
  spec: WeightSpec,
  source: Pick<Safetensors.SafetensorsFile, "file" | "tensors">
): Either.Either<Weight, ModelFileInvalid> => {
  const refuse = (reason: ModelFileInvalid["reason"], detail: string) =>
    Either.left(new ModelFileInvalid({ file: source.file, reason, detail }))
  const tensor = source.tensors.get(spec.name)
  if (tensor === undefined) {
    return refuse("TensorMissing", `has no tensor "${spec.name}", which the model needs`)
  }
  const expected = spec.shape.join(", ")
  const actual = tensor.shape.join(", ")
  if (actual !== expected) {
    return refuse(
      "TensorMismatch",
      `has the tensor "${spec.name}" in the shape [${actual}], but the configuration asks for [${expected}]`
    )
  }
  const dtype = weightDTypes.get(tensor.dtype)
  if (dtype === undefined) {
    return refuse(
      "TensorMismatch",
      `has the tensor "${spec.name}" in ${tensor.dtype}, but only BF16 and F32 weights are supported`
    )
  }
  return Either.right({ ...spec, dtype, elementCount: elementCountOf(spec.shape), byteCount: tensor.byteCount })
}

const forEachPiece = <D extends WeightDType, E, R>(
  tensors: Safetensors.SafetensorsFile,
  weight: Weight<D>,
  maxBytes: number,
  use: (piece: Piece<D>) => Effect.Effect<void, E, R>
): Effect.Effect<void, E | ModelFileInvalid, R> =>
  Effect.gen(function*() {
    const elementBytes = weight.byteCount / weight.elementCount
    const pieceElements = Math.max(1, Math.floor(maxBytes / elementBytes))
    for (let offsetElements = 0; offsetElements < weight.elementCount; offsetElements += pieceElements) {
      const elementCount = Math.min(pieceElements, weight.elementCount - offsetElements)
      const bytes = yield* tensors.read(weight.name, {
        offsetBytes: offsetElements * elementBytes,
        byteCount: elementCount * elementBytes
      })
      yield* use({ dtype: weight.dtype, offsetElements, elements: viewOf(weight.dtype, bytes) })
    }
  })

const viewOf = <D extends WeightDType>(dtype: D, bytes: Uint8Array<ArrayBuffer>): DType.View<D> => {
  const views: { readonly [K in WeightDType]: () => DType.View<K> } = {
    bfloat16: () => new Uint16Array(bytes.buffer),
    float32: () => new Float32Array(bytes.buffer)
  }
  return views[dtype]()
}
