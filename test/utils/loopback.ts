/** The CUDA backend over the loopback driver of native/test/loopback, with the test kernels of the simulator. */
import { Context, Effect, Layer } from "effect"
import koffi from "koffi"
import { Cuda, type HostApi, Simulator } from "leasehold"
import { join } from "node:path"
import type { ModuleKernel, StepParameter } from "../../src/internal/native/step.ts"
import { nativeFolder } from "./nativeFolder.ts"

export const driverPath = join(nativeFolder, "libleasehold_test_cuda_driver.so")

/** The test kernels as a module of the loopback driver. */
export const modulePath = join(nativeFolder, "test_kernels.loopback")

/** Cells of an argument. Source: `lh_argument` of the native ABI. */
const argumentCells = 16

const uint32 = (value: number): Cuda.Constant => Cuda.constant("uint32", value)
const uint64 = (value: number): Cuda.Constant => Cuda.constant("uint64", BigInt(value))

/** Numbers that are none are for the backend to refuse. */
const whole = (value: number): number => Number.isSafeInteger(value) && value >= 0 ? value : 0

/** What a function with the ABI of kernels is launched with. Source: `native/test/loopback/loopback.h`. */
const described = ({ cells, count }: HostApi.Arguments): ReadonlyArray<StepParameter> => [
  uint32(count),
  ...Array.from({ length: count }, (_, index) => {
    const [kind, dtype, byteCount, , , , rank, , ...dims] = Array.from(
      cells.subarray(index * argumentCells, (index + 1) * argumentCells),
      whole
    )
    return [uint32(kind!), uint32(dtype!), uint64(byteCount!), index, uint32(rank!), ...dims.slice(0, rank).map(uint64)]
  }).flat()
]

/** One of the test kernels. */
export const kernel = (symbol: string): ModuleKernel => ({
  backend: "cuda",
  symbol,
  module: modulePath,
  launches: (_dims, _shapes, args) => [{ symbol, grid: 1, block: 1, parameters: described(args) }]
})

const driver = koffi.load(driverPath)
const violationsOf = driver.func("uint64_t loopback_violations(_Out_ uint8_t *text_out, uint64_t byte_count)")
const callsAfterLossOf = driver.func("uint64_t loopback_calls_after_loss(void)")
const callsOf = driver.func("uint64_t loopback_calls(const char *name)")
const resetAll = driver.func("void loopback_reset(void)")
const isLost = driver.func("int32_t loopback_is_lost(int32_t device)")
const setMemory = driver.func("void loopback_set_memory(uint64_t byte_count)")
const fail = driver.func("void loopback_fail(const char *name, uint64_t nth, int32_t result, int32_t asynchronous)")

/** What the caller has done that no caller should, a line each. */
export const violations = (): string => {
  const text = new Uint8Array(8192)
  violationsOf(text, text.length)
  return Buffer.from(text).toString("utf8").replace(/\0[^]*$/, "")
}

export const callsAfterLoss = (): number => Number(callsAfterLossOf())

/** How often an entry point of the driver was called. */
export const calls = (name: string): number => Number(callsOf(name))

export const reset = (): void => {
  resetAll()
}

/** Lets the nth call of an entry point fail. */
export const failCall = (name: string, nth: number, result: number, options: { readonly later: boolean }): void => {
  fail(name, nth, result, options.later ? 1 : 0)
}

/** Source: `LOOPBACK_DEVICE_COUNT`. */
const deviceCount = 32
let nextDevice = 0

/** A device that no test has lost: a lost one stays so as long as the process lives. */
const sound = (): number => {
  for (let tries = 0; tries < deviceCount; tries++) {
    nextDevice = (nextDevice + 1) % deviceCount
    if (isLost(nextDevice) === 0) {
      return nextDevice
    }
  }
  throw new Error("the tests of this process have lost every device")
}

/** The backend's own statistics under the simulator's name, which is what tests of every backend ask. */
export const withStatistics = <E>(layer: Layer.Layer<HostApi.HostApi | Cuda.Cuda, E>) =>
  Layer.effect(Simulator.Simulator, Effect.map(Cuda.Cuda, (cuda) => cuda)).pipe(
    Layer.provideMerge(layer),
    Layer.map((context) => Context.omit(Cuda.Cuda)(context))
  )

/** A device of so many bytes, which tells what it has counted as the simulator does. */
export const layer = (
  { totalBytes = 64 * 2 ** 20, ...options }: Cuda.Options & { readonly totalBytes?: number } = {}
) =>
  Layer.suspend(() => {
    setMemory(totalBytes)
    return withStatistics(Cuda.layer({ driverPath, device: sound(), ...options }))
  })
