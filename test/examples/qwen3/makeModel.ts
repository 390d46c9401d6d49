/** Random small models for tests: in memory, or as a folder with `config.json` and `model.safetensors`. */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Utils from "effect/Utils"
import type { HuggingFaceConfig, ReferenceModel } from "../../../examples/qwen3-decode/reference.ts"

/** What a random model is like. What is left out has a small default. */
export interface ModelOptions {
  readonly seed: number
  readonly layers?: number | undefined
  readonly hidden?: number | undefined
  readonly heads?: number | undefined
  readonly kvHeads?: number | undefined
  readonly headDim?: number | undefined
  readonly intermediate?: number | undefined
  readonly vocab?: number | undefined
  readonly maxPositions?: number | undefined
  readonly ropeTheta?: number | undefined
  readonly rmsEpsilon?: number | undefined
  readonly tied?: boolean | undefined
  /** What the attention scores are multiplied by; 1 keeps them around one. */
  readonly sharpness?: number | undefined
  /** `mixed` alternates from tensor to tensor. */
  readonly dtype?: "BF16" | "F32" | "mixed" | undefined
}

/** A tensor as a safetensors file holds it. */
export interface RawTensor {
  readonly name: string
  readonly dtype: string
  readonly shape: ReadonlyArray<number>
  readonly bytes: Uint8Array
}

/** A random model: its configuration, its tensors as bytes, and the very same values in float64. */
export interface RandomModel extends ReferenceModel {
  readonly tensors: ReadonlyArray<RawTensor>
}

/** Makes a model. The same options give the same model. */
export const makeModel = (options: ModelOptions): RandomModel => {
  const config: HuggingFaceConfig = {
    hidden_size: options.hidden ?? 24,
    num_hidden_layers: options.layers ?? 2,
    num_attention_heads: options.heads ?? 4,
    num_key_value_heads: options.kvHeads ?? 2,
    head_dim: options.headDim ?? 8,
    intermediate_size: options.intermediate ?? 40,
    vocab_size: options.vocab ?? 61,
    max_position_embeddings: options.maxPositions ?? 32,
    rope_theta: options.ropeTheta ?? 10_000,
    rms_norm_eps: options.rmsEpsilon ?? 1e-6,
    tie_word_embeddings: options.tied ?? true
  }
  const generator = new Utils.PCGRandom(options.seed)
  const weights = new Map<string, Float64Array>()
  const tensors: Array<RawTensor> = []
  shapesOf(config).forEach(([name, shape], index) => {
    const dtype = options.dtype === "mixed" ? (index % 2 === 0 ? "F32" : "BF16") : (options.dtype ?? "BF16")
    const scale = name.endsWith("q_norm.weight") ? options.sharpness ?? 1 : 1
    const values = randomValues(generator, name, shape).map((value) => value * scale)
    const bytes = dtype === "F32" ? new Uint8Array(values.buffer) : new Uint8Array(toBfloat16(values).buffer)
    tensors.push({ name, dtype, shape, bytes })
    weights.set(name, toFloat64(dtype, bytes))
  })
  return { config, weights, tensors }
}

/** The bytes of a safetensors file. `header` takes the place of the one that describes the tensors. */
export const encodeSafetensors = (
  tensors: ReadonlyArray<RawTensor>,
  header?: string
): Uint8Array<ArrayBuffer> => {
  let endBytes = 0
  const entries = tensors.map(({ bytes, dtype, name, shape }) => {
    const beginBytes = endBytes
    endBytes += bytes.byteLength
    return [name, { dtype, shape, data_offsets: [beginBytes, endBytes] }]
  })
  const text = new TextEncoder().encode(header ?? JSON.stringify(Object.fromEntries(entries)))
  const file = new Uint8Array(8 + text.byteLength + endBytes)
  new DataView(file.buffer).setBigUint64(0, BigInt(text.byteLength), true)
  file.set(text, 8)
  let at = 8 + text.byteLength
  for (const { bytes } of tensors) {
    file.set(bytes, at)
    at += bytes.byteLength
  }
  return file
}

/** The text of a `config.json`, as Hugging Face writes it. `changes` are laid over it. */
export const encodeConfig = (config: HuggingFaceConfig, changes: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({
    architectures: ["Qwen3ForCausalLM"],
    attention_bias: false,
    hidden_act: "silu",
    model_type: "qwen3",
    rope_scaling: null,
    sliding_window: null,
    use_sliding_window: false,
    ...config,
    ...changes
  })

/** Writes a random model into a folder of its own, which goes when the scope closes. */
export const writeModel = (options: ModelOptions) =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const folder = yield* fileSystem.makeTempDirectoryScoped({ prefix: "qwen3-" })
    const model = makeModel(options)
    yield* fileSystem.writeFileString(path.join(folder, "config.json"), encodeConfig(model.config))
    yield* fileSystem.writeFile(path.join(folder, "model.safetensors"), encodeSafetensors(model.tensors))
    return { folder, model }
  })

/** The values of a tensor's bytes, exactly. */
export const toFloat64 = (dtype: string, bytes: Uint8Array): Float64Array => {
  const { buffer } = Uint8Array.from(bytes)
  if (dtype === "F32") {
    return Float64Array.from(new Float32Array(buffer))
  }
  const bits = Uint32Array.from(new Uint16Array(buffer), (half) => half * 0x1_0000)
  return Float64Array.from(new Float32Array(bits.buffer))
}

const shapesOf = (config: HuggingFaceConfig): ReadonlyArray<readonly [string, ReadonlyArray<number>]> => {
  const { head_dim: d, hidden_size: D, intermediate_size: F, vocab_size: V } = config
  const [H, K] = [config.num_attention_heads, config.num_key_value_heads]
  const layer = (n: number): ReadonlyArray<readonly [string, ReadonlyArray<number>]> => [
    [`model.layers.${n}.input_layernorm.weight`, [D]],
    [`model.layers.${n}.mlp.down_proj.weight`, [D, F]],
    [`model.layers.${n}.mlp.gate_proj.weight`, [F, D]],
    [`model.layers.${n}.mlp.up_proj.weight`, [F, D]],
    [`model.layers.${n}.post_attention_layernorm.weight`, [D]],
    [`model.layers.${n}.self_attn.k_norm.weight`, [d]],
    [`model.layers.${n}.self_attn.k_proj.weight`, [K * d, D]],
    [`model.layers.${n}.self_attn.o_proj.weight`, [D, H * d]],
    [`model.layers.${n}.self_attn.q_norm.weight`, [d]],
    [`model.layers.${n}.self_attn.q_proj.weight`, [H * d, D]],
    [`model.layers.${n}.self_attn.v_proj.weight`, [K * d, D]]
  ]
  return [
    ...(config.tie_word_embeddings ? [] : [["lm_head.weight", [V, D]] as const]),
    ["model.embed_tokens.weight", [V, D]],
    ...Array.from({ length: config.num_hidden_layers }, (_, n) => layer(n)).flat(),
    ["model.norm.weight", [D]]
  ]
}

/** Matrices keep the size of what they multiply; norm weights are around one. */
const randomValues = (
  generator: Utils.PCGRandom,
  name: string,
  shape: ReadonlyArray<number>
): Float32Array<ArrayBuffer> => {
  const [rows, columns] = [shape[0]!, shape[1]]
  const spread = columns === undefined ? 0.2 : name.includes("embed") ? 1 : 1 / Math.sqrt(columns)
  const center = columns === undefined ? 1 : 0
  return Float32Array.from({ length: rows * (columns ?? 1) }, () => center + spread * normal(generator))
}

/** A normally distributed number, by the method of Box and Muller. */
const normal = (generator: Utils.PCGRandom): number =>
  Math.sqrt(-2 * Math.log(1 - generator.number())) * Math.cos(2 * Math.PI * generator.number())

/** Rounds to nearest, ties to even. */
const toBfloat16 = (values: Float32Array<ArrayBuffer>): Uint16Array<ArrayBuffer> =>
  Uint16Array.from(new Uint32Array(values.buffer), (bits) => (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16)
