/** The kernels of native/test/test_kernels.c, and its gate. */
import { Effect } from "effect"
import koffi from "koffi"
import { Arg, Callable, Cuda, Simulator } from "leasehold"
import { join } from "node:path"
import * as CudaDevice from "./cudaDevice.ts"
import * as Gpu from "./gpu.ts"
import { nativeFolder } from "./nativeFolder.ts"

const library = join(nativeFolder, "libleasehold_test_kernels.so")

export const kernel = (symbol: string): Simulator.Kernel => Simulator.kernel({ library, symbol })

/** A callable over one of the test kernels. */
export const native = <const S extends Arg.Signature>(
  symbol: string,
  signature: S,
  options: { readonly execution?: Callable.Execution; readonly clear?: Callable.Clear } = {}
): Callable.Callable<S> =>
  Callable.native({ signature, kernels: [kernel(symbol), CudaDevice.kernel(symbol)], ...options })

export const addSignature = {
  a: Arg.input("float32", ["n"]),
  b: Arg.input("float32", ["n"]),
  c: Arg.output("float32", ["n"])
}

/** c = a + b */
export const add = native("test_add", addSignature)

/** The same; on the CUDA backend the addresses of its inputs lie in device memory. */
export const addByTable = (execution: Callable.Execution): Callable.Callable<typeof addSignature> =>
  Callable.native({
    signature: addSignature,
    execution,
    kernels: [
      kernel("test_add"),
      Cuda.kernels({
        module: CudaDevice.gpuModule,
        launches: ({ n }) => [{
          symbol: "gpu_sum_of_table",
          grid: 1,
          block: 32,
          parameters: [
            Cuda.table(["a", "b", Cuda.constant("float32", 1)]),
            Cuda.constant("uint32", 2),
            "c",
            Cuda.constant("uint64", BigInt(n!))
          ]
        }]
      })
    ]
  })

/** The same, on the event loop's thread. */
export const addInline = native("test_add", addSignature, { execution: "inline" })

/** The gate of the kernel `test_gate`, which blocks until it is opened. */
const gateLibrary = koffi.load(library)
const openHostGate = gateLibrary.func("void lh_test_gate_open(void)") as () => void
const closeHostGate = gateLibrary.func("void lh_test_gate_close(void)") as () => void
const hostGateWaiting = gateLibrary.func("int lh_test_gate_waiting(void)") as () => number

/** Kernels of a GPU wait at a gate of their own, which opens and closes with the host's. */
const setDeviceGate = (isOpen: boolean): void => {
  if (!CudaDevice.isLoopback) {
    Gpu.gate().setOpen(isOpen)
  }
}

export const openGate = (): void => {
  setDeviceGate(true)
  openHostGate()
}

export const closeGate = (): void => {
  setDeviceGate(false)
  closeHostGate()
}

/** How many kernels, and threads of the host, stand at the gate. */
export const gateWaiting = (): number => hostGateWaiting() + (CudaDevice.isLoopback ? 0 : Gpu.gate().waitingCount())

const gateKernel = gateLibrary.func("int32_t test_gate(const void *arguments, uint32_t count)") as unknown as {
  readonly async: (args: null, count: number, done: () => void) => void
}

/** Stands at the gate on a worker thread of the process, without a device. */
export const waitAtGate: Effect.Effect<void> = Effect.async((resume) => {
  gateKernel.async(null, 0, () => resume(Effect.void))
})

/** The gate as contracts take it. */
export const gate = { open: openGate, close: closeGate, waiting: gateWaiting, wait: waitAtGate }
