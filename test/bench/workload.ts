/** What every contender of a case moves: the same host views, half of them inputs, half outputs. */
import { Arg, Callable, Simulator } from "leasehold"
import { library } from "./native.ts"

export interface Workload {
  readonly count: number
  readonly byteCount: number
  readonly inputs: ReadonlyArray<Uint8Array>
  readonly outputs: ReadonlyArray<Uint8Array>
  /** The argument object of the callables below: the same one in every run. */
  readonly args: Readonly<Record<string, Uint8Array>>
}

/** Slices start at multiples of this. Source: the default of `TemporaryBuffer.Options`. */
export const alignmentBytes = 1024

/** What a tensor of a workload takes of a chunk. */
export const sliceBytes = (byteCount: number): number => Math.ceil(byteCount / alignmentBytes) * alignmentBytes

/** A single tensor is an input. */
export const makeWorkload = (count: number, byteCount: number): Workload => {
  const inputCount = Math.ceil(count / 2)
  const views = Array.from({ length: count }, (_, index) => patterned(byteCount, index))
  return {
    count,
    byteCount,
    inputs: views.slice(0, inputCount),
    outputs: views.slice(inputCount),
    args: Object.fromEntries(views.map((view, index) => [`tensor${index}`, view]))
  }
}

/** The period of the pattern, a prime, so that no two tensors beside each other are alike. */
const period = 251

/** Bytes that differ from tensor to tensor and from place to place. */
const patterned = (byteCount: number, seed: number): Uint8Array => {
  const view = new Uint8Array(byteCount)
  const known = Math.min(byteCount, period)
  for (let index = 0; index < known; index++) {
    view[index] = (index + seed) % period
  }
  for (let filled = known; filled < byteCount; filled *= 2) {
    view.copyWithin(filled, 0, filled)
  }
  return view
}

/** What the outputs hold before a run that is checked. */
const untouched = 0xa5

/** Puts other bytes into the outputs, so that it shows what a run writes. */
export const spoilOutputs = (work: Workload): void => {
  for (const view of work.outputs) {
    view.fill(untouched)
  }
}

/** The place of the first output that is not the echo of its input, which is that input's bytes inverted; -1 if all are. */
export const findWrongOutput = (work: Workload): number =>
  work.outputs.findIndex((view, index) => !isEcho(wordsOf(view), wordsOf(work.inputs[index]!)))

/** All sizes are whole words. */
const wordsOf = (view: Uint8Array): Int32Array => new Int32Array(view.buffer)

const isEcho = (output: Int32Array, input: Int32Array): boolean => {
  for (let index = 0; index < input.length; index++) {
    if (output[index] !== ~input[index]!) {
      return false
    }
  }
  return true
}

/** A callable over a workload's tensors. */
export const callableOf = (
  work: Workload,
  options: {
    readonly symbol: string
    readonly execution: Callable.Execution
    readonly clear: Callable.Clear
  }
) => {
  const arg = (index: number): Arg.Input<"uint8"> | Arg.Output<"uint8"> =>
    index < work.inputs.length ? Arg.input("uint8", [work.byteCount]) : Arg.output("uint8", [work.byteCount])
  return Callable.native({
    signature: Object.fromEntries(Object.keys(work.args).map((name, index) => [name, arg(index)])),
    kernels: [Simulator.kernel({ library, symbol: options.symbol })],
    execution: options.execution,
    clear: options.clear
  })
}
