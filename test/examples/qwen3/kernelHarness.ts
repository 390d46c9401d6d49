/**
 * Calls the kernel library without a runner: the argument table is built here, as the native ABI lays it out. Source:
 * `lh_argument` in `native/include/leasehold_host_api.h`.
 */
import * as koffi from "koffi"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Kernel from "../../../examples/qwen3-decode/kernel.ts"
import type { ModelConfig } from "../../../examples/qwen3-decode/model.ts"

/** What the table says about one argument. */
export interface Argument {
  readonly kind: number
  readonly dtype: number
  readonly dims: ReadonlyArray<number>
  /** The memory of a tensor, which must not move or go while a call lasts. */
  readonly view?: ArrayBufferView | undefined
  /** The value of a scalar. */
  readonly value?: number | undefined
}

/** A weight in memory. */
export interface LoadedWeight {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  readonly dtype: "bfloat16" | "float32"
  readonly view: ArrayBufferView
}

export const kinds = { input: 1, output: 2, resident: 4, scratch: 5, scalar: 6 } as const
export const dtypes = { bfloat16: 2, float32: 3, float64: 4, int32: 7 } as const

const tableEntryDoubles = 16
const scalarOffsetBytes = 40

const kernelFolder = fileURLToPath(new URL("../../../examples/qwen3-decode/kernel", import.meta.url))
execFileSync("make", ["-s", "-C", kernelFolder])
const entry = koffi.load(Kernel.library).func("int32_t qwen3_decode_step(const void *arguments, uint32_t count)")

/** Calls the kernel with a table of these arguments; its status. */
export const call = (args: ReadonlyArray<Argument>): number => {
  const table = new Float64Array(args.length * tableEntryDoubles)
  const bytes = new DataView(table.buffer)
  args.forEach(({ dims, dtype, kind, value, view }, index) => {
    const byteCount = view?.byteLength ?? 0
    const address = view === undefined || byteCount === 0 ? 0 : Number(koffi.address(view))
    table.set([kind, dtype, byteCount, 0, address, 0, dims.length, 0, ...dims], index * tableEntryDoubles)
    if (value !== undefined) {
      const at = index * tableEntryDoubles * Float64Array.BYTES_PER_ELEMENT + scalarOffsetBytes
      writeScalar(bytes, at, { dtype, value })
    }
  })
  return entry(table, args.length)
}

/** A model's weights, its KV cache, and one text in it. */
export class KernelDecoder {
  readonly logits: Float32Array
  readonly keyCache: Float32Array
  readonly valueCache: Float32Array
  private readonly config: ModelConfig
  private readonly weights: ReadonlyArray<LoadedWeight>
  private position = 0

  constructor(config: ModelConfig, weights: ReadonlyArray<LoadedWeight>) {
    const cacheElements = config.layers * config.maxPositions * config.kvHeads * config.headDim
    this.config = config
    this.weights = weights
    this.logits = new Float32Array(config.vocab)
    this.keyCache = new Float32Array(cacheElements)
    this.valueCache = new Float32Array(cacheElements)
  }

  /** The arguments of a call with `tokens` at the next positions. */
  arguments(tokens: ReadonlyArray<number>): Array<Argument> {
    const { config } = this
    const cacheDims = [config.layers, config.maxPositions, config.kvHeads * config.headDim]
    const positions = tokens.map((_, index) => this.position + index)
    // Scratch holds whatever was there before; a kernel that reads it before writing it computes with NaN.
    const workspace = new Float32Array(Kernel.workspaceElements(config, tokens.length)).fill(NaN)
    return [
      tensor(kinds.input, dtypes.int32, Int32Array.from(tokens)),
      tensor(kinds.input, dtypes.int32, Int32Array.from(positions)),
      tensor(kinds.output, dtypes.float32, this.logits),
      tensor(kinds.scratch, dtypes.float32, workspace),
      { ...tensor(kinds.resident, dtypes.float32, this.keyCache), dims: cacheDims },
      { ...tensor(kinds.resident, dtypes.float32, this.valueCache), dims: cacheDims },
      ...scalarArguments(config),
      ...this.weights.map(({ dtype, shape, view }) => ({
        kind: kinds.resident,
        dtype: dtypes[dtype],
        dims: shape,
        view
      }))
    ]
  }

  /** The logits after `tokens`, which are the next ones. They hold until the next call. */
  next(tokens: ReadonlyArray<number>): Float32Array {
    const status = call(this.arguments(tokens))
    if (status !== 0) {
      throw new Error(`the kernel answered ${status}: ${Kernel.statusSentence(status)}`)
    }
    this.position += tokens.length
    return this.logits
  }
}

const tensor = (kind: number, dtype: number, view: Int32Array | Float32Array): Argument => ({
  kind,
  dtype,
  dims: [view.length],
  view
})

const scalarArguments = (config: ModelConfig): ReadonlyArray<Argument> => {
  const values: Readonly<Record<string, number>> = Kernel.scalars(config)
  return Object.entries(Kernel.scalarDTypes).map(([name, dtype]) => ({
    kind: kinds.scalar,
    dtype: dtypes[dtype],
    dims: [],
    value: values[name]
  }))
}

/** The ABI wants the host's byte order, which is little endian wherever Node runs on a supported device. */
const writeScalar = (bytes: DataView, at: number, scalar: { readonly dtype: number; readonly value: number }): void => {
  if (scalar.dtype === dtypes.float64) {
    bytes.setFloat64(at, scalar.value, true)
  } else if (scalar.dtype === dtypes.float32) {
    bytes.setFloat32(at, scalar.value, true)
  } else {
    bytes.setInt32(at, scalar.value, true)
  }
}
