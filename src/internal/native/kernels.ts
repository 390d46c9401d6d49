/** Kernels in shared libraries: checked before koffi and the backend see their names, and loaded off the loop's thread. */
import * as Effect from "effect/Effect"
import * as HostApi from "../../HostApi.ts"
import { callNow, type Calls, offThread } from "./calls.ts"
import { rejectFile, rejectPath } from "./library.ts"

/** A kernel in a shared library. */
export interface LibraryKernel extends HostApi.Kernel {
  /** The absolute path of the library that exports the symbol. */
  readonly library: string
}

/** Finds a kernel. A library that was loaded before is not loaded again: `modules` are those of the context. */
export const loadKernel = (
  calls: Calls,
  modules: Map<string, number>,
  kernel: LibraryKernel
): Effect.Effect<HostApi.KernelHandle, HostApi.HostApiError> =>
  Effect.gen(function*() {
    const rejectedPath = rejectPath(kernel.library)
    if (rejectedPath !== undefined) {
      return yield* notLoaded(HostApi.Status.LibraryNotLoaded, rejectedPath)
    }
    const rejectedSymbol = rejectSymbol(kernel.symbol)
    if (rejectedSymbol !== undefined) {
      return yield* notLoaded(HostApi.Status.SymbolNotFound, rejectedSymbol)
    }
    let module = modules.get(kernel.library)
    if (module === undefined) {
      const rejectedFile = rejectFile(kernel.library)
      if (rejectedFile !== undefined) {
        return yield* notLoaded(HostApi.Status.LibraryNotLoaded, rejectedFile)
      }
      const moduleOut = new Float64Array(1)
      yield* offThread(calls, "loadKernel", "lh_module_load", [kernel.library, moduleOut], [])
      module = moduleOut[0]!
      modules.set(kernel.library, module)
    }
    const kernelOut = new Float64Array(1)
    const status = callNow(calls, "lh_kernel_find", [module, kernel.symbol, kernelOut])
    return status === HostApi.Status.Ok ? kernelOut[0]! : yield* calls.failure("loadKernel", status)
  }).pipe(Effect.uninterruptible)

const notLoaded = (status: number, detail: string): HostApi.HostApiError =>
  new HostApi.HostApiError({
    operation: "loadKernel",
    status,
    statusName: HostApi.statusName(status),
    deviceCode: 0,
    deviceName: "",
    detail,
    entryIndex: -1
  })

/** koffi cuts text at a NUL character, and takes a number for the address of a text. */
const rejectSymbol = (symbol: unknown): string | undefined =>
  typeof symbol === "string" && symbol !== "" && symbol.length <= 1024 && !symbol.includes("\0")
    ? undefined
    : "a kernel's symbol should be a text of 1 to 1024 characters without NUL"
