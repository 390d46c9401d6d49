/**
 * The step of a model as launches on a GPU: which kernels of `cuda/qwen3_decode.cu`, in which order, with what. The arguments
 * and the division of the workspace are those of `kernel/qwen3_decode_step.c`.
 */
import { Cuda } from "leasehold"
import { fileURLToPath } from "node:url"
import type * as Model from "./model.ts"

/** The module's path; `make -C examples/qwen3-decode/cuda` builds it where there is nvcc. */
export const module: string = fileURLToPath(new URL("./cuda/qwen3_decode.ptx", import.meta.url))

/** Threads of a block. Source: `WARP` of `qwen3_decode.cu`. */
const block = 32

/** Weights of a layer, in the order of the signature. Source: `kernel/qwen3_decode_step.c`. */
const weightsPerLayer = 11

const int32 = (value: number): Cuda.Constant => Cuda.constant("int32", value)
const offset = (value: number): Cuda.Constant => Cuda.constant("uint64", BigInt(value))
/** A pointer that a kernel does without. */
const none = Cuda.constant("uint64", 0n)

/** Names the kernels of a model. */
export const kernelOf = (config: Model.ModelConfig, weights: ReadonlyArray<Model.Weight>): Cuda.Kernel =>
  Cuda.kernels({ module, launches: ({ n = 0 }) => steps(config, weights, n) })

/** All launches of a call with so many tokens. */
const steps = (
  config: Model.ModelConfig,
  weights: ReadonlyArray<Model.Weight>,
  tokenCount: number
): ReadonlyArray<Cuda.Step> => {
  const { headDim, heads, hidden, intermediate, kvHeads, layers, maxPositions, rmsEpsilon, ropeTheta, vocab } = config
  const [embedTokens, finalNorm, ...others] = weights.map(({ dtype, name }) => ({ dtype, name }))
  const layerWeights = config.tied ? others : others.slice(1)
  const head = config.tied ? embedTokens : others[0]
  if (embedTokens === undefined || finalNorm === undefined || head === undefined) {
    return []
  }
  const queryWidth = heads * headDim
  const kvWidth = kvHeads * headDim
  const epsilon = Cuda.constant("float32", rmsEpsilon)
  const at = workspaceOf(config, tokenCount)

  const norm = (weight: Named, from: number, to: number, rows: number): Cuda.Step => ({
    symbol: `rms_norm_${weight.dtype}`,
    grid: rows,
    block,
    parameters: [weight.name, "workspace", offset(from), offset(to), int32(hidden), epsilon]
  })
  const matVec = (weight: Named, rows: number, columns: number, options: {
    readonly from: number
    readonly to: readonly [tensor: string, offset: number]
    readonly count?: number
    readonly accumulates?: boolean
  }): Cuda.Step => {
    const [tensor, start] = options.to
    const isCache = tensor === "keyCache" || tensor === "valueCache"
    return {
      symbol: `mat_vec_${weight.dtype}`,
      grid: [rows, options.count ?? tokenCount],
      block,
      parameters: [
        weight.name,
        "workspace",
        offset(options.from),
        tensor,
        offset(start),
        isCache ? "positions" : none,
        int32(columns),
        int32(options.accumulates === true ? 1 : 0)
      ]
    }
  }
  const normAndRope = (
    weight: Named,
    rows: readonly [tensor: string, offset: number],
    headCount: number
  ): Cuda.Step => ({
    symbol: `norm_and_rope_${weight.dtype}`,
    grid: [headCount, tokenCount],
    block,
    parameters: [
      weight.name,
      rows[0],
      offset(rows[1]),
      rows[0] === "keyCache" ? "positions" : none,
      "workspace",
      offset(at.cosine),
      offset(at.sine),
      int32(headDim),
      epsilon
    ]
  })

  const layer = (index: number): ReadonlyArray<Cuda.Step> => {
    const own = layerWeights.slice(index * weightsPerLayer, (index + 1) * weightsPerLayer)
    const [inputNorm, query, key, value, queryNorm, keyNorm, output, postNorm, gate, up, down] = own as unknown as Layer
    const cache = index * maxPositions * kvWidth
    return [
      norm(inputNorm, at.residual, at.normed, tokenCount),
      matVec(query, queryWidth, hidden, { from: at.normed, to: ["workspace", at.query] }),
      matVec(key, kvWidth, hidden, { from: at.normed, to: ["keyCache", cache] }),
      matVec(value, kvWidth, hidden, { from: at.normed, to: ["valueCache", cache] }),
      normAndRope(queryNorm, ["workspace", at.query], heads),
      normAndRope(keyNorm, ["keyCache", cache], kvHeads),
      {
        symbol: "attend",
        grid: [heads, tokenCount],
        block,
        sharedBytes: maxPositions * Float32Array.BYTES_PER_ELEMENT,
        parameters: [
          "workspace",
          offset(at.query),
          offset(at.attended),
          "keyCache",
          "valueCache",
          offset(cache),
          "positions",
          int32(headDim),
          int32(kvHeads)
        ]
      },
      matVec(output, hidden, queryWidth, { from: at.attended, to: ["workspace", at.residual], accumulates: true }),
      norm(postNorm, at.residual, at.normed, tokenCount),
      matVec(gate, intermediate, hidden, { from: at.normed, to: ["workspace", at.gate] }),
      matVec(up, intermediate, hidden, { from: at.normed, to: ["workspace", at.up] }),
      {
        symbol: "swiglu",
        grid: Math.ceil(tokenCount * intermediate / block),
        block,
        parameters: ["workspace", offset(at.gate), offset(at.up), offset(tokenCount * intermediate)]
      },
      matVec(down, hidden, intermediate, { from: at.gate, to: ["workspace", at.residual], accumulates: true })
    ]
  }

  return [
    {
      symbol: "rope_angles",
      grid: tokenCount,
      block,
      parameters: [
        "positions",
        "workspace",
        offset(at.cosine),
        offset(at.sine),
        int32(headDim),
        Cuda.constant("float64", ropeTheta)
      ]
    },
    {
      symbol: `embed_${embedTokens.dtype}`,
      grid: tokenCount,
      block,
      parameters: ["tokens", embedTokens.name, "workspace", offset(at.residual), int32(hidden), int32(vocab)]
    },
    ...Array.from({ length: layers }, (_, index) => layer(index)).flat(),
    norm(finalNorm, at.residual + (tokenCount - 1) * hidden, at.normed, 1),
    matVec(head, vocab, hidden, { from: at.normed, to: ["logits", 0], count: 1 })
  ]
}

interface Named {
  readonly dtype: Model.WeightDType
  readonly name: string
}

type Layer = readonly [Named, Named, Named, Named, Named, Named, Named, Named, Named, Named, Named]

/** Where each part of the workspace begins, in elements. One row for each token. */
const workspaceOf = ({ headDim, heads, hidden, intermediate }: Model.ModelConfig, tokenCount: number) => {
  const sizes = [hidden, hidden, heads * headDim, heads * headDim, intermediate, intermediate, headDim / 2, headDim / 2]
  const starts: Array<number> = []
  let next = 0
  for (const size of sizes) {
    starts.push(next)
    next += tokenCount * size
  }
  const [residual = 0, normed = 0, query = 0, attended = 0, gate = 0, up = 0, cosine = 0, sine = 0] = starts
  return { residual, normed, query, attended, gate, up, cosine, sine }
}
