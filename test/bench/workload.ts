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
  const views = Array.from({ length: count }, (_, index) => new Uint8Array(byteCount).fill(index % 251))
  return {
    count,
    byteCount,
    inputs: views.slice(0, inputCount),
    outputs: views.slice(inputCount),
    args: Object.fromEntries(views.map((view, index) => [`tensor${index}`, view]))
  }
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
