/**
 * What one decode step launches on a GPU: the kernels of `kernel/qwen3_decode.cu` in their order, each with its grid and its
 * parameters. The arguments are those of the simulator's kernel, by the names that `callables.ts` gives them.
 */
import { Cuda } from "leasehold"
import { fileURLToPath } from "node:url"
import type { ModelConfig, Weight } from "./model.ts"

/** The module's path; `make -C examples/qwen3-decode/kernel ptx` builds it. */
export const module: string = fileURLToPath(new URL("./kernel/qwen3_decode.ptx", import.meta.url))

/** One kernel of a step. Every parameter of the kernel is named. */
export interface Launch extends Cuda.Step {
  readonly grid: readonly [x: number, y: number]
  readonly block: number
  readonly sharedBytes: number
  readonly parameters: ReadonlyArray<string | Cuda.Constant>
}

const warpThreads = 32

/** Threads of every block: a warp for each of eight rows of a matrix. */
const blockThreads = 256
const blockWarps = blockThreads / warpThreads

/** Source: CUDA C++ Programming Guide, compute capabilities: the grid's largest y. The kernels go on behind it. */
const gridMaxY = 65_535

/** Sizes reach the kernels as int32. */
const sizeMax = 2 ** 31 - 1

/**
 * What the launches of a call follow from: the symbolic dimensions, of which there is `n`, the count of tokens; and the shape
 * of each argument.
 */
export type Launches = (
  dims: Readonly<Record<string, number>>,
  shapes: Readonly<Record<string, ReadonlyArray<number>>>
) => ReadonlyArray<Launch>

/**
 * The launches of a model's calls. All sizes come from the model, not from the scalars of a call. A kernel that reads behind a
 * tensor ends the device's context, so that a weight of another shape than the model's is a mistake that is found here.
 */
export const make = (model: {
  readonly config: ModelConfig
  readonly weights: ReadonlyArray<Pick<Weight, "name" | "shape" | "dtype">>
}): Launches => {
  const { config, weights } = model
  const narrow = new Map(weights.map(({ dtype, name }) => [name, dtype === "bfloat16" ? 1 : 0]))
  const weight: WeightParameters = (name) => [name, int32(narrow.get(name)!)]
  return ({ n = 0 }, shapes) => {
    for (const { name, shape } of weights) {
      if (String(shapes[name]) !== String(shape)) {
        throw new RangeError(`the weight ${name} has the shape [${String(shapes[name])}] instead of [${String(shape)}]`)
      }
    }
    return [
      ...begin(config, n, weight),
      ...Array.from({ length: config.layers }, (_, layer) => [
        ...attention(config, n, layer, weight),
        ...feedForward(config, n, layer, weight)
      ]).flat(),
      ...end(config, n, weight)
    ]
  }
}

/** A weight as kernels take it: where it is, and whether it is narrow. */
type WeightParameters = (name: string) => readonly [string, Cuda.Constant]

const begin = (config: ModelConfig, n: number, weight: WeightParameters): ReadonlyArray<Launch> => {
  const at = layout(config, n)
  return [
    launch("qwen3_begin", {
      blocks: 1,
      parameters: [
        "tokens",
        "positions",
        "workspace",
        at.firstPosition,
        ...[n, config.vocab, config.maxPositions].map(int32)
      ]
    }),
    launch("qwen3_embed", {
      blocks: n,
      parameters: [
        "tokens",
        ...weight("model.embed_tokens.weight"),
        "workspace",
        at.residual,
        at.cosine,
        at.sine,
        at.firstPosition,
        "ropeTheta",
        ...[config.hidden, config.headDim].map(int32)
      ]
    })
  ]
}

const attention = (
  config: ModelConfig,
  n: number,
  layer: number,
  weight: WeightParameters
): ReadonlyArray<Launch> => {
  const at = layout(config, n)
  const { headDim, heads, hidden, kvHeads, maxPositions } = config
  const { kvWidth, queryWidth } = widths(config)
  const prefix = `model.layers.${layer}`
  return [
    rmsNorm(config, { in: at.residual, rows: n, weight: weight(`${prefix}.input_layernorm.weight`), out: at.normed }),
    launch("qwen3_query_key_value", {
      warps: queryWidth + 2 * kvWidth,
      tokens: n,
      parameters: [
        "workspace",
        at.normed,
        at.query,
        at.firstPosition,
        "keyCache",
        "valueCache",
        ...weight(`${prefix}.self_attn.q_proj.weight`),
        ...weight(`${prefix}.self_attn.k_proj.weight`),
        ...weight(`${prefix}.self_attn.v_proj.weight`),
        ...[layer, n, hidden, queryWidth, kvWidth, maxPositions].map(int32)
      ]
    }),
    launch("qwen3_norm_and_rope", {
      warps: n * (heads + kvHeads),
      parameters: [
        "workspace",
        at.query,
        at.cosine,
        at.sine,
        at.firstPosition,
        "keyCache",
        ...weight(`${prefix}.self_attn.q_norm.weight`),
        ...weight(`${prefix}.self_attn.k_norm.weight`),
        "rmsEpsilon",
        ...[layer, n, heads, kvHeads, headDim, maxPositions].map(int32)
      ]
    }),
    launch("qwen3_attend", {
      blocks: heads,
      tokens: n,
      sharedElements: headDim + blockWarps * (headDim + 2),
      parameters: [
        "workspace",
        at.query,
        at.attended,
        at.firstPosition,
        "keyCache",
        "valueCache",
        ...[layer, n, heads, kvHeads, headDim, maxPositions].map(int32)
      ]
    }),
    projectAdd(n, {
      in: at.attended,
      columns: queryWidth,
      weight: weight(`${prefix}.self_attn.o_proj.weight`),
      out: at.residual,
      rows: hidden
    })
  ]
}

const feedForward = (
  config: ModelConfig,
  n: number,
  layer: number,
  weight: WeightParameters
): ReadonlyArray<Launch> => {
  const at = layout(config, n)
  const { hidden, intermediate } = config
  const prefix = `model.layers.${layer}`
  const norm = weight(`${prefix}.post_attention_layernorm.weight`)
  return [
    rmsNorm(config, { in: at.residual, rows: n, weight: norm, out: at.normed }),
    launch("qwen3_gate_up", {
      warps: intermediate,
      tokens: n,
      parameters: [
        "workspace",
        at.normed,
        at.gated,
        ...weight(`${prefix}.mlp.gate_proj.weight`),
        ...weight(`${prefix}.mlp.up_proj.weight`),
        ...[n, intermediate, hidden].map(int32)
      ]
    }),
    projectAdd(n, {
      in: at.gated,
      columns: intermediate,
      weight: weight(`${prefix}.mlp.down_proj.weight`),
      out: at.residual,
      rows: hidden
    })
  ]
}

/** The logits of the last token. */
const end = (config: ModelConfig, n: number, weight: WeightParameters): ReadonlyArray<Launch> => {
  const at = layout(config, n)
  // Of the residual rows, which come first.
  const last = int64((n - 1) * config.hidden)
  return [
    rmsNorm(config, { in: last, rows: 1, weight: weight("model.norm.weight"), out: at.normed }),
    launch("qwen3_logits", {
      warps: config.vocab,
      parameters: [
        "workspace",
        at.normed,
        at.firstPosition,
        ...weight(config.tied ? "model.embed_tokens.weight" : "lm_head.weight"),
        "logits",
        ...[config.vocab, config.hidden].map(int32)
      ]
    })
  ]
}

const rmsNorm = (config: ModelConfig, options: {
  readonly in: Cuda.Constant
  readonly rows: number
  readonly weight: readonly [string, Cuda.Constant]
  readonly out: Cuda.Constant
}): Launch =>
  launch("qwen3_rms_norm", {
    blocks: options.rows,
    sharedElements: blockWarps,
    parameters: ["workspace", options.in, options.out, ...options.weight, "rmsEpsilon", int32(config.hidden)]
  })

const projectAdd = (n: number, options: {
  readonly in: Cuda.Constant
  readonly columns: number
  readonly weight: readonly [string, Cuda.Constant]
  readonly out: Cuda.Constant
  readonly rows: number
}): Launch =>
  launch("qwen3_project_add", {
    warps: options.rows,
    tokens: n,
    parameters: [
      "workspace",
      options.in,
      options.out,
      ...options.weight,
      ...[n, options.rows, options.columns].map(int32)
    ]
  })

/** A launch of so many blocks, or of blocks for so many warps, for each of `tokens`. */
const launch = (
  symbol: string,
  options: {
    readonly parameters: Launch["parameters"]
    readonly tokens?: number
    readonly sharedElements?: number
  } & ({ readonly blocks: number } | { readonly warps: number })
): Launch => {
  const x = "blocks" in options ? options.blocks : Math.ceil(options.warps / blockWarps)
  return {
    symbol,
    grid: [x, Math.min(options.tokens ?? 1, gridMaxY)],
    block: blockThreads,
    sharedBytes: (options.sharedElements ?? 0) * Float32Array.BYTES_PER_ELEMENT,
    parameters: options.parameters
  }
}

const widths = ({ headDim, heads, kvHeads }: ModelConfig) => ({
  queryWidth: heads * headDim,
  kvWidth: kvHeads * headDim
})

/**
 * Where each part of the workspace begins, in elements. It has the room that the simulator's kernel needs, of which `gated`
 * takes less than gate and up, and the first position less than the scores of a head.
 */
const layout = (config: ModelConfig, n: number) => {
  const { headDim, hidden, intermediate } = config
  const { queryWidth } = widths(config)
  let next = 0
  const rows = (elementsPerToken: number): Cuda.Constant => {
    const begin = next
    next += n * elementsPerToken
    return int64(begin)
  }
  return {
    residual: rows(hidden),
    normed: rows(hidden),
    query: rows(queryWidth),
    attended: rows(queryWidth),
    gated: rows(intermediate),
    cosine: rows(headDim / 2),
    sine: rows(headDim / 2),
    firstPosition: int64(next)
  }
}

const int32 = (value: number): Cuda.Constant => {
  if (value > sizeMax) {
    throw new RangeError(`a size of ${value} does not reach a kernel as int32`)
  }
  return Cuda.constant("int32", value)
}

const int64 = (value: number): Cuda.Constant => Cuda.constant("int64", BigInt(value))
