/** With what the kernels of native/test/gpu/test_kernels.cu are launched, so that each does what its namesake of the simulator does. */
import { Cuda, type HostApi } from "leasehold"
import type { Step, StepParameter, StepsOf } from "../../src/internal/native/step.ts"

/** Where the cells of an argument begin, and what they are. Source: `lh_argument` of the native ABI. */
const argumentCells = 16
const cell = { kind: 0, dtype: 1, byteCount: 2, alignmentBytes: 3, rank: 6, firstDim: 8 } as const
const scalarKind = 6

/** One block, whose threads take the elements by turns. */
const blockThreads = 32

const step = (symbol: string, parameters: ReadonlyArray<StepParameter>): Step => ({
  symbol,
  grid: 1,
  block: blockThreads,
  parameters
})

/** A figure of an argument. Numbers that are none are for the backend to refuse. */
const figure = ({ cells }: HostApi.Arguments, index: number, which: keyof typeof cell): number => {
  const value = cells[index * argumentCells + cell[which]]!
  return Number.isSafeInteger(value) && value >= 0 ? value : 0
}

const uint32 = (value: number): Cuda.Constant => Cuda.constant("uint32", value)
const uint64 = (value: number): Cuda.Constant => Cuda.constant("uint64", BigInt(value))

const byteCount = (args: HostApi.Arguments, index: number) => uint64(figure(args, index, "byteCount"))
const floatCount = (args: HostApi.Arguments, index: number) => uint64(figure(args, index, "byteCount") / 4)

/** A step for each argument but the last. */
const forEach = (args: HostApi.Arguments, stepOf: (index: number) => Step): ReadonlyArray<Step> =>
  Array.from({ length: args.count - 1 }, (_, index) => stepOf(index))

const describe = (args: HostApi.Arguments, index: number): Step => {
  const isTensor = figure(args, index, "kind") !== scalarKind
  return step("gpu_describe", [
    args.count - 1,
    uint32(index),
    isTensor ? index : uint64(0),
    uint32(figure(args, index, "alignmentBytes")),
    uint32(figure(args, index, "kind")),
    uint32(figure(args, index, "dtype")),
    byteCount(args, index),
    uint32(figure(args, index, "rank")),
    uint64(figure(args, index, "firstDim"))
  ])
}

const stepsOf: Readonly<Record<string, (args: HostApi.Arguments) => ReadonlyArray<Step>>> = {
  test_nothing: () => [step("gpu_nothing", [])],
  test_add: (args) => [step("gpu_add", [0, 1, 2, floatCount(args, 2)])],
  test_scale: (args) => [step("gpu_scale", [0, 1, floatCount(args, 0)])],
  test_accumulate: (args) => [step("gpu_accumulate", [0, 1, 2, floatCount(args, 0)])],
  test_copy: (args) => [step("gpu_copy", [0, 1, byteCount(args, 1)])],
  test_reveal: (args) => [step("gpu_copy", [0, 1, byteCount(args, 1)])],
  test_write_first: () => [step("gpu_write_first", [0, 1, 2])],
  test_reveal_around: (args) => [step("gpu_reveal_around", [0, byteCount(args, 0), 1, 2, 3])],
  test_checksum: (args) =>
    forEach(args, (index) => step("gpu_checksum", [index, byteCount(args, index), uint32(index), args.count - 1])),
  test_describe: (args) => forEach(args, (index) => describe(args, index))
}

/** The steps of a test kernel, by its symbol; those of one that is not there name a function that no module has. */
export const launchesOf = (symbol: string): StepsOf => {
  const known = stepsOf[symbol]
  return (_dims, _shapes, args) => known === undefined ? [step(symbol, [])] : known(args)
}
