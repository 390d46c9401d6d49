/**
 * Runs the kernels for a GPU without one: `qwen3_decode.cu`, compiled for the host by `cuda/Makefile`, launched as
 * `cudaLaunches.ts` says.
 */
import * as koffi from "koffi"
import type { Cuda } from "leasehold"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as CudaLaunches from "../../../examples/qwen3-decode/cudaLaunches.ts"
import * as Kernel from "../../../examples/qwen3-decode/kernel.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import type { LoadedWeight } from "./kernelHarness.ts"

execFileSync("make", ["-s", "-C", fileURLToPath(new URL("cuda", import.meta.url))])

/** The library, whose kernels the loopback driver launches too. */
export const library = fileURLToPath(
  new URL("../../../examples/qwen3-decode/kernel/build/libqwen3_on_host.so", import.meta.url)
)

const loaded = koffi.load(library)
const setOrderOf = loaded.func("void cuda_on_host_set_order(uint32_t seed)")
const violationsOf = loaded.func("uint64_t cuda_on_host_violations(_Out_ uint8_t *text_out, uint64_t byte_count)")

/** In which order blocks and threads take their turns: 0 ascending, 1 descending, else shuffled by this seed. */
export const setOrder = (seed: number): void => {
  setOrderOf(seed)
}

/** The first thing since the last call that no kernel should do, or an empty text. */
export const violation = (): string => {
  const text = new Uint8Array(200)
  violationsOf(text, text.length)
  return Buffer.from(text).toString("utf8").replace(/\0[^]*$/, "")
}

/** Source: `CUDA_ADDRESS_BIAS` of `native/test/cuda_on_host/cuda_run.h`. */
const addressBias = 2n ** 44n

/** What a backend promises, at least. */
const alignmentBytes = 256

/** As a float32 or two bfloat16 it is NaN, as a token or position it is outside. */
const marginByte = 0xff

/** Memory of a tensor between margins: reading them spoils what is computed, and writing them is seen. */
class Tensor {
  readonly bytes: Uint8Array
  readonly address: bigint
  private readonly margins: ReadonlyArray<Uint8Array>

  constructor(byteCount: number) {
    const all = new Uint8Array(byteCount + 3 * alignmentBytes).fill(marginByte)
    const offset = alignmentBytes + (alignmentBytes - Number(koffi.address(all) % BigInt(alignmentBytes)))
    this.bytes = all.subarray(offset, offset + byteCount)
    this.address = koffi.address(this.bytes) + addressBias
    this.margins = [all.subarray(0, offset), all.subarray(offset + byteCount)]
  }

  get float32(): Float32Array {
    return new Float32Array(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength / 4)
  }

  static of(view: ArrayBufferView): Tensor {
    const tensor = new Tensor(view.byteLength)
    tensor.bytes.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
    return tensor
  }

  static zeros(elementCount: number): Tensor {
    return Tensor.of(new Float32Array(elementCount))
  }

  isIntact(): boolean {
    return this.margins.every((margin) => margin.every((byte) => byte === marginByte))
  }
}

const entries = new Map<
  string,
  { readonly run: ReturnType<typeof loaded.func>; readonly sizes: ReadonlyArray<number> }
>()

/** A kernel, and the bytes of each of its parameters. */
const entryOf = (symbol: string) => {
  const known = entries.get(symbol)
  if (known !== undefined) {
    return known
  }
  const run = loaded.func(`void ${symbol}(const void *parameters, const void *launch)`)
  const all: ReadonlyArray<number> = koffi.decode(loaded.symbol(`${symbol}_parameters`, "uint8_t"), "uint8_t", 64)
  const entry = { run, sizes: Array.from(all).slice(0, Array.from(all).indexOf(0)) }
  entries.set(symbol, entry)
  return entry
}

/** The bytes of a parameter, as a launch has them. */
export const parameterBytes = (parameter: string | Cuda.Constant): number => {
  if (typeof parameter === "object") {
    return parameter.dtype === "int32" ? 4 : 8
  }
  return parameter === "rmsEpsilon" ? 4 : 8
}

/** A model's weights, its KV cache, and one text in it. */
export class CudaDecoder {
  readonly keyCache: Tensor
  readonly valueCache: Tensor
  private readonly config: Model.ModelConfig
  private readonly launches: CudaLaunches.Launches
  private readonly shapes: Readonly<Record<string, ReadonlyArray<number>>>
  private readonly weights: ReadonlyMap<string, Tensor>
  private readonly gridMaxY: number
  private position = 0

  /** With fewer blocks along y than a GPU has, kernels have to go on behind the grid's end, as for very many tokens. */
  constructor(config: Model.ModelConfig, weights: ReadonlyArray<LoadedWeight>, gridMaxY = Infinity) {
    const cacheElements = Model.kvCacheShape(config).reduce((product, count) => product * count, 1)
    this.config = config
    this.gridMaxY = gridMaxY
    this.launches = CudaLaunches.make({ config, weights })
    this.shapes = Object.fromEntries(weights.map(({ name, shape }) => [name, shape]))
    this.weights = new Map(weights.map(({ name, view }) => [name, Tensor.of(view)]))
    this.keyCache = Tensor.zeros(cacheElements)
    this.valueCache = Tensor.zeros(cacheElements)
  }

  /** The logits after `tokens`, which are the next ones. */
  next(tokens: ReadonlyArray<number>): Float32Array {
    const logits = this.call(tokens, tokens.map((_, index) => this.position + index))
    this.position += tokens.length
    return logits
  }

  /** The logits after tokens at these positions. The workspace is full of the byte. */
  call(
    tokens: ReadonlyArray<number>,
    positions: ReadonlyArray<number>,
    workspaceByte: number = marginByte
  ): Float32Array {
    const { config } = this
    const logits = new Tensor(config.vocab * 4)
    const workspace = new Tensor(Kernel.workspaceElements(config, tokens.length) * 4)
    workspace.bytes.fill(workspaceByte)
    const tensors = new Map([
      ...this.weights,
      ["tokens", Tensor.of(Int32Array.from(tokens))],
      ["positions", Tensor.of(Int32Array.from(positions))],
      ["logits", logits],
      // Scratch holds whatever was there before; a kernel that reads it before writing it computes with NaN.
      ["workspace", workspace],
      ["keyCache", this.keyCache],
      ["valueCache", this.valueCache]
    ])
    for (const launch of this.launches({ n: tokens.length }, this.shapes)) {
      this.launch(launch, tensors)
    }
    const wrong = violation() ||
      [...tensors].filter(([, tensor]) => !tensor.isIntact()).map(([name]) => `a write beside ${name}`).join()
    if (wrong !== "") {
      throw new Error(wrong)
    }
    return logits.float32
  }

  private launch({ block, grid, parameters, sharedBytes, symbol }: CudaLaunches.Launch, tensors: Map<string, Tensor>) {
    const { run, sizes } = entryOf(symbol)
    const taken = sizes.join()
    const given = parameters.map(parameterBytes).join()
    if (taken !== given) {
      throw new Error(`${symbol} takes parameters of ${taken} B, and is launched with ${given} B`)
    }
    const values = new DataView(new ArrayBuffer(parameters.length * 8))
    parameters.forEach((parameter, index) => this.writeParameter(values, index * 8, parameter, tensors))
    const begin = koffi.address(values)
    const pointers = BigUint64Array.from(parameters, (_, index) => begin + BigInt(index * 8))
    const [x, y] = grid
    run(pointers, Uint32Array.of(x, Math.min(y, this.gridMaxY), 1, block, 1, 1, sharedBytes))
  }

  private writeParameter(
    values: DataView,
    at: number,
    parameter: string | Cuda.Constant,
    tensors: Map<string, Tensor>
  ): void {
    if (typeof parameter === "object") {
      return parameter.dtype === "int32"
        ? values.setInt32(at, Number(parameter.value), true)
        : values.setBigInt64(at, BigInt(parameter.value), true)
    }
    if (parameter === "rmsEpsilon") {
      return values.setFloat32(at, this.config.rmsEpsilon, true)
    }
    return parameter === "ropeTheta"
      ? values.setFloat64(at, this.config.ropeTheta, true)
      : values.setBigUint64(at, tensors.get(parameter)!.address, true)
  }
}
