/** Kernels in shared libraries and modules: checked before koffi and the backend see their names, and loaded off the loop's thread. */
import * as Effect from "effect/Effect"
import * as HostApi from "../../HostApi.ts"
import { callNow, type Calls, offThread } from "./calls.ts"
import type { Launches } from "./launches.ts"
import { rejectFile, rejectPath } from "./library.ts"

/** A kernel in a shared library. */
export interface LibraryKernel extends HostApi.Kernel {
  /** The absolute path of the library that exports the symbol. */
  readonly library: string
}

/** The modules of a context, and the kernels in them. */
export class Modules {
  readonly #calls: Calls
  /** A module that was loaded before is not loaded again. */
  readonly #loaded = new Map<string, number>()

  constructor(calls: Calls) {
    this.#calls = calls
  }

  /** Loads the library or module of kernels at a path. */
  load(path: string): Effect.Effect<number, HostApi.HostApiError> {
    return Effect.suspend(() => {
      const known = this.#loaded.get(path)
      if (known !== undefined) {
        return Effect.succeed(known)
      }
      const rejected = rejectPath(path) ?? rejectFile(path)
      if (rejected !== undefined) {
        return Effect.fail(notLoaded(HostApi.Status.LibraryNotLoaded, rejected))
      }
      const moduleOut = new Float64Array(1)
      return Effect.map(offThread(this.#calls, "loadKernel", "lh_module_load", [path, moduleOut], []), () => {
        this.#loaded.set(path, moduleOut[0]!)
        return moduleOut[0]!
      })
    }).pipe(Effect.uninterruptible)
  }

  /** Finds a kernel in a module, on the event loop's thread. */
  find(module: number, symbol: string): HostApi.KernelHandle | HostApi.HostApiError {
    const rejected = rejectSymbol(symbol)
    if (rejected !== undefined) {
      return notLoaded(HostApi.Status.SymbolNotFound, rejected)
    }
    const kernelOut = new Float64Array(1)
    const status = callNow(this.#calls, "lh_kernel_find", [module, symbol, kernelOut])
    return status === HostApi.Status.Ok ? kernelOut[0]! : this.#calls.failure("loadKernel", status)
  }
}

/** Kernels that are one function of a shared library each, and are launched with the argument table and no more. */
export const libraryLaunches = (calls: Calls): Launches => {
  const modules = new Modules(calls)
  return {
    load: (kernel) =>
      Effect.suspend(() => {
        const { library, symbol } = kernel as LibraryKernel
        // What is wrong with a name needs no library to be loaded.
        const rejected = rejectSymbol(symbol)
        return rejected === undefined || rejectPath(library) !== undefined
          ? Effect.flatMap(modules.load(library), (module) => {
            const found = modules.find(module, symbol)
            return typeof found === "number" ? Effect.succeed(found) : Effect.fail(found)
          })
          : Effect.fail(notLoaded(HostApi.Status.SymbolNotFound, rejected))
      }),
    prepare: undefined
  }
}

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
