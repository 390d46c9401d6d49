/**
 * A GPU for the tests: its driver, asked beside the backend, and the kernels that only a GPU can have.
 *
 * The driver's own functions are called by this file alone, so that a test can ask somebody else than the backend what the
 * device holds, and can let a kernel wait for the host.
 */
import koffi from "koffi"
import { Cuda } from "leasehold"
import { fileURLToPath } from "node:url"
import type { ModuleKernel, Step } from "../../src/internal/native/step.ts"
import { launchesOf } from "./gpuKernels.ts"

const moduleOf = (name: string): string => fileURLToPath(new URL(`../../native/test/gpu/${name}.ptx`, import.meta.url))

/** The kernels in PTX. */
export const modulePath = moduleOf("test_kernels")
const faultyPath = moduleOf("faulty_kernels")

/** A device that was named in the environment, or the first. */
export const deviceIndex = Number(process.env["LEASEHOLD_CUDA_DEVICE"] ?? "0")

/** Flags of pinned host memory that every context and the device itself can see. Source: the driver's API reference. */
const portable = 1
const deviceMapped = 2

/** The bytes of `gate`, and where its fields lie. Source: `native/test/gpu/faulty_kernels.cu`. */
const gateBytes = 8
const isOpenAt = 0
const waitingCountAt = 4

/** The context that every runner on the device shares, held open. */
export class HeldContext {
  readonly #driver: ReturnType<typeof koffi.load>
  readonly #context: unknown
  readonly #device: number

  constructor(driverPath: string, device: number) {
    this.#driver = koffi.load(driverPath)
    this.#device = device
    this.#call("int cuInit(unsigned int flags)")(0)
    const context: [unknown] = [null]
    this.#call("int cuDevicePrimaryCtxRetain(_Out_ void **context_out, int device)")(context, device)
    this.#context = context[0]
  }

  /** A function of the driver that throws where it fails. */
  #call(prototype: string): (...args: ReadonlyArray<unknown>) => void {
    const call = this.#driver.func(prototype)
    return (...args) => {
      const result: unknown = call(...args)
      if (result !== 0) {
        throw new Error(`${prototype} answered ${String(result)}`)
      }
    }
  }

  #current<A>(use: () => A): A {
    this.#call("int cuCtxPushCurrent_v2(void *context)")(this.#context)
    try {
      return use()
    } finally {
      this.#call("int cuCtxPopCurrent_v2(_Out_ void **context_out)")([null])
    }
  }

  /** What the driver says is free, of all that the device has. */
  freeBytes(): number {
    const free = [0]
    this.#current(() => this.#call("int cuMemGetInfo_v2(_Out_ size_t *free_out, _Out_ size_t *total_out)")(free, [0]))
    return Number(free[0])
  }

  /** Memory of the host that the device sees: its address, and the device's for it. */
  mappedMemory(byteCount: number): { readonly host: unknown; readonly device: bigint } {
    const host: [unknown] = [null]
    // Small integers come as numbers.
    const device: [number | bigint] = [0n]
    this.#current(() => {
      this.#call("int cuMemHostAlloc(_Out_ void **address_out, size_t byte_count, unsigned int flags)")(
        host,
        byteCount,
        portable | deviceMapped
      )
      this.#call("int cuMemHostGetDevicePointer_v2(_Out_ uint64_t *device_out, void *host, unsigned int flags)")(
        device,
        host[0],
        0
      )
    })
    return { host: host[0], device: BigInt(device[0]) }
  }

  release(): void {
    this.#call("int cuDevicePrimaryCtxRelease_v2(int device)")(this.#device)
  }
}

/** The context of the device that is tested on. */
export const holdContext = (): HeldContext => new HeldContext(Cuda.driverNames[0]!, deviceIndex)

/** A gate at which kernels of the device wait for the host. */
class DeviceGate {
  readonly #memory: { readonly host: unknown; readonly device: bigint }

  constructor() {
    this.#memory = holdContext().mappedMemory(gateBytes)
    koffi.encode(this.#memory.host, isOpenAt, "uint32_t", 0)
    koffi.encode(this.#memory.host, waitingCountAt, "uint32_t", 0)
  }

  readonly setOpen = (isOpen: boolean): void => {
    koffi.encode(this.#memory.host, isOpenAt, "uint32_t", isOpen ? 1 : 0)
  }

  readonly waitingCount = (): number => koffi.decode(this.#memory.host, waitingCountAt, "uint32_t") as number

  /** What a kernel that waits there is launched with. */
  get step(): Step {
    return { symbol: "gpu_gate", grid: 1, block: 1, parameters: [Cuda.constant("uint64", this.#memory.device)] }
  }
}

const faultySymbols: Readonly<Record<string, string>> = {
  test_lose_device: "gpu_trap",
  test_write_null: "gpu_write_null"
}

let made: DeviceGate | undefined

/** The gate of this process, made when it is first asked for. */
export const gate = (): DeviceGate => {
  made ??= new DeviceGate()
  return made
}

const moduleKernel = (symbol: string, module: string, launches: ModuleKernel["launches"]): ModuleKernel => ({
  backend: "cuda",
  symbol,
  module,
  launches
})

/** One of the test kernels, in PTX. */
export const kernel = (symbol: string): ModuleKernel => {
  const faulty = faultySymbols[symbol]
  if (faulty !== undefined) {
    return moduleKernel(symbol, faultyPath, () => [{ symbol: faulty, grid: 1, block: 1, parameters: [] }])
  }
  return symbol === "test_gate"
    ? moduleKernel(symbol, faultyPath, () => [gate().step])
    : moduleKernel(symbol, modulePath, launchesOf(symbol))
}
