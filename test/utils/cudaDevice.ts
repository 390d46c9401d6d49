/**
 * What the tests of the CUDA backend run on, by the variable LEASEHOLD_CUDA:
 *
 * - not set: the loopback driver, and the kernels of the simulator, of which it knows what they touch;
 * - `device`: a GPU, and the kernels of native/test/gpu. This is what `npm run test:cuda` sets;
 * - `rehearsal`: the loopback driver, and those kernels compiled for the host, to see that all is ready for a GPU.
 *
 * A kernel of a GPU cannot fail with a code of its own, and whatever makes it fail ends the device for the whole process. Tests
 * that need more than that are left out there; what happens instead is looked at in test/cuda/loss.test.ts.
 */
import { Cuda, type HostApi } from "leasehold"
import { join } from "node:path"
import type { ModuleKernel } from "../../src/internal/native/step.ts"
import * as Gpu from "./gpu.ts"
import { launchesOf } from "./gpuKernels.ts"
import * as Loopback from "./loopback.ts"
import { nativeFolder } from "./nativeFolder.ts"

const modes = ["loopback", "device", "rehearsal"] as const

export const mode = modes.find((known) => known === (process.env["LEASEHOLD_CUDA"] ?? "loopback"))
if (mode === undefined) {
  throw new Error(`LEASEHOLD_CUDA should be one of ${modes.join(", ")}`)
}

/** Whether it is the loopback driver, which can be asked what was done with it. */
export const isLoopback = mode !== "device"

/** Whether kernels can fail with a code of their own, and a device can be lost without its process. */
export const canFail = mode === "loopback"

/** The kernels for a GPU, in PTX or compiled for the host by `make -C native on-host`. */
export const gpuModule = isLoopback ? join(nativeFolder, "gpu_kernels.loopback") : Gpu.modulePath

const onHost = (symbol: string): ModuleKernel => ({
  backend: "cuda",
  symbol,
  module: gpuModule,
  launches: launchesOf(symbol)
})

/** What only a GPU can have is the loopback's own there. */
const ofLoopback: ReadonlySet<string> = new Set(["test_gate", "test_lose_device"])

/** One of the test kernels as a GPU has it, on the loopback driver. */
export const rehearsed = (symbol: string): HostApi.Kernel =>
  ofLoopback.has(symbol) ? Loopback.kernel(symbol) : onHost(symbol)

/** One of the test kernels. */
export const kernel = (symbol: string): HostApi.Kernel => {
  switch (mode) {
    case "device":
      return Gpu.kernel(symbol)
    case "rehearsal":
      return rehearsed(symbol)
    default:
      return Loopback.kernel(symbol)
  }
}

/** With how many arguments a kernel can be launched at least: the loopback passes each with what describes it. */
export const mostArguments = mode === "loopback" ? 600 : 4096

/** A device of its own where there are many; a GPU is always the same, whatever size a test asks for. */
export const layer = (
  options: Parameters<typeof Loopback.layer>[0] = {}
): ReturnType<typeof Loopback.layer> => {
  if (isLoopback) {
    return Loopback.layer(options)
  }
  const { totalBytes: _, ...own } = options
  return Loopback.withStatistics(Cuda.layer({ device: Gpu.deviceIndex, ...own }))
}
