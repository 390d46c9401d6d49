/**
 * A backend of your own: any shared library that exports the native ABI, `native/include/leasehold_host_api.h`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { fileURLToPath } from "node:url"
import type { BackendUnavailable, InvalidConfiguration } from "../Errors.ts"
import { HostApi, type Kernel as HostApiKernel } from "../HostApi.ts"
import * as NativeHostApi from "../internal/native/hostApi.ts"
import { libraryLaunches } from "../internal/native/kernels.ts"
import { loadLibrary } from "../internal/native/library.ts"
import { optionsOf, settingsText } from "../internal/native/options.ts"

/**
 * A kernel of such a backend: whatever it finds by a symbol in the library or module at a path.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kernel extends HostApiKernel {
  /** The absolute path of the library or module. */
  readonly library: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Its name, in lower case: kernels name it, and errors do. */
  readonly backend: string
  /** The absolute path of its library. */
  readonly libraryPath: string
  /** Which of its devices. Defaults to `0`. */
  readonly device?: number | undefined
  /** What its context is opened with, in its own words; neither names nor values have blanks. Defaults to nothing. */
  readonly settings?: Readonly<Record<string, string | number>> | undefined
  /** Where calls are made that may take long, as for `Simulator.Options`. Defaults to `"worker"`. */
  readonly longCalls?: "worker" | "inline" | undefined
}

/**
 * Names a kernel: `symbol` in the library or module at `library`, a path or a file URL, for the backend of that name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const kernel = (options: {
  readonly backend: string
  readonly library: string | URL
  readonly symbol: string
}): Kernel => ({
  backend: options.backend,
  library: typeof options.library === "string" ? options.library : fileURLToPath(options.library),
  symbol: options.symbol
})

/**
 * A device behind a library of your own. The contract that the library keeps is the header's; nothing else is looked at.
 *
 * Fails with `BackendUnavailable` where the library is missing or does not fit, or the device cannot be opened, and with
 * `InvalidConfiguration` for an option that is not valid.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<HostApi, BackendUnavailable | InvalidConfiguration> =>
  Layer.scoped(
    HostApi,
    Effect.gen(function*() {
      const { backend, device = 0, libraryPath, longCalls = "worker", settings = {} } = options
      if (typeof backend !== "string" || !/^[a-z][a-z0-9-]*$/.test(backend)) {
        return yield* invalid("Name", "backend", "it should be a name in lower case, such as \"heap\"")
      }
      const wrong = Object.entries(settings).flat().find((word) => !/^[^\s=\0]+$/.test(String(word)))
      if (wrong !== undefined) {
        return yield* invalid("Choice", "settings", "names and values should have no blanks and no equals sign")
      }
      const functions = yield* loadLibrary({ backend, path: libraryPath, hint: "build it for this machine" })
      const context = yield* NativeHostApi.open({
        backend,
        functions,
        settings: settingsText(settings),
        deviceIndex: yield* wholeNumber("device", device, maxDeviceIndex),
        leavesThread: (yield* choice("longCalls", longCalls, ["worker", "inline"])) === "worker",
        launches: libraryLaunches
      })
      return context.hostApi
    })
  )

const { choice, invalid, wholeNumber } = optionsOf("NativeBackend")

/** More than any machine has. */
const maxDeviceIndex = 1023
