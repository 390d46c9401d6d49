/**
 * NVIDIA GPUs, through the CUDA driver. The driver is found when the layer is built: neither installing nor building needs
 * one, or a toolkit.
 *
 * A fault of a kernel that reads or writes where it should not ends the device's context, which every runner on that device
 * in the process shares: all of them are poisoned, and the way out is a new process.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import type * as Bytes from "../Bytes.ts"
import type { DType, ScalarDType, ScalarValue } from "../DType.ts"
import type { BackendUnavailable, InvalidConfiguration } from "../Errors.ts"
import { HostApi, type Kernel as HostApiKernel } from "../HostApi.ts"
import * as NativeHostApi from "../internal/native/hostApi.ts"
import { loadLibrary } from "../internal/native/library.ts"
import { optionsOf, settingsText } from "../internal/native/options.ts"
import type { Statistics as DeviceStatistics } from "../internal/native/statistics.ts"
import { stepLaunches } from "../internal/native/steps.ts"
import { layOutValues } from "../internal/native/valueTable.ts"

/**
 * A number along each axis, from x on; what is left out is 1.
 *
 * @since 0.1.0
 * @category models
 */
export type Extent = number | readonly [x: number, y?: number, z?: number]

/**
 * A value that a kernel takes beside the callable's own arguments.
 *
 * @since 0.1.0
 * @category models
 */
export interface Constant {
  readonly dtype: DType
  readonly value: number | bigint
}

/**
 * Values in device memory, for a kernel that takes more than fits into its parameters.
 *
 * @since 0.1.0
 * @category models
 */
export interface Table {
  readonly table: ReadonlyArray<string | number | Constant>
}

/**
 * One kernel of a launch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  /** The kernel's name in the module, as `extern "C"` leaves it. */
  readonly symbol: string
  /** Blocks along each axis. */
  readonly grid: Extent
  /** Threads of a block along each axis. */
  readonly block: Extent
  /** Dynamic shared memory, in bytes. Defaults to `0`. */
  readonly sharedBytes?: number | undefined
  /**
   * What the kernel takes, in its order: arguments of the callable, by name or by place in the signature, constants, and tables
   * of these. A tensor is passed as its device address, null where it is empty, a scalar by value, and a table as the device
   * address of its values. Defaults to all arguments in the order of the signature.
   */
  readonly parameters?: ReadonlyArray<string | number | Constant | Table> | undefined
}

/**
 * Kernels in a module of PTX or of machine code.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kernel extends HostApiKernel {
  readonly backend: "cuda"
  /** The absolute path of the module. */
  readonly module: string
  readonly launches: (
    dims: Readonly<Record<string, number>>,
    shapes: Readonly<Record<string, ReadonlyArray<number>>>
  ) => ReadonlyArray<Step>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Which of the devices that the driver shows. Defaults to `0`. */
  readonly device?: number | undefined
  /**
   * `"serial"` has one stream; `"overlap"` one each for copies in, kernels and copies out, so that with two slots or more one
   * run is copied while another executes. Defaults to `"serial"`.
   */
  readonly lanes?: "serial" | "overlap" | undefined
  /**
   * Copies up to this many bytes in one direction go through staging as one. Defaults to `"1 MiB"`, which nobody has measured on a
   * GPU yet.
   */
  readonly coalesceMaxBytes?: Bytes.Input | undefined
  /** Larger copies travel in pieces of this size, each while the next is staged. Defaults to `"1 MiB"`. */
  readonly pieceBytes?: Bytes.Input | undefined
  /**
   * Where calls are made that may take long: `"worker"` leaves the event loop's thread; `"inline"` stays on it, so that a
   * program takes the same steps in the same order each time, which fault sweeps rely on. Defaults to `"worker"`.
   */
  readonly longCalls?: "worker" | "inline" | undefined
  /** The path of the driver's library, without blanks. Defaults to the first of `driverNames` that can be loaded. */
  readonly driverPath?: string | undefined
  /** The absolute path of the backend's library. Defaults to the one that `make` builds in the package's `native`. */
  readonly libraryPath?: string | undefined
}

/**
 * @since 0.1.0
 * @category configuration
 */
export const defaults = {
  device: 0,
  lanes: "serial",
  coalesceMaxBytes: "1 MiB",
  pieceBytes: "1 MiB",
  longCalls: "worker"
} as const satisfies Options

/**
 * Where the driver is looked for, in this order: names for the loader, and places that it does not know. Source:
 * `native/cuda/driver_library.c`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const driverNames: ReadonlyArray<string> = [
  "libcuda.so.1",
  "libcuda.so",
  "/usr/lib/wsl/lib/libcuda.so.1",
  "/usr/local/cuda/compat/libcuda.so.1"
]

/**
 * What the backend has counted itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Statistics = DeviceStatistics

/**
 * The device beside its `HostApi`: what the backend has counted itself, independent of any runner.
 *
 * @since 0.1.0
 * @category tags
 */
export class Cuda extends Context.Tag("leasehold/backends/Cuda")<
  Cuda,
  { readonly statistics: Effect.Effect<Statistics> }
>() {}

/**
 * A constant for a kernel's parameter list.
 *
 * @since 0.1.0
 * @category constructors
 */
export const constant = <D extends ScalarDType>(dtype: D, value: ScalarValue<D>): Constant => ({ dtype, value })

/**
 * Values for a kernel that takes more than fits into its parameters, 4,096 bytes on most devices: the kernel takes the address of
 * a table in device memory. Each value has eight bytes of the table, from the first on: the device address of a tensor, null
 * where it is empty, or a scalar or constant in its own type. A run's table is planned beside its tensors, counts towards the
 * budget, and is copied in with the inputs.
 *
 * @example
 * ```ts
 * import { Cuda } from "leasehold"
 *
 * // extern "C" __global__ void sum(const float *const *x, int count, float *y)
 * const names = Array.from({ length: 600 }, (_, index) => `x${index}`)
 *
 * export const step: Cuda.Step = {
 *   symbol: "sum",
 *   grid: 1,
 *   block: 256,
 *   parameters: [Cuda.table(names), Cuda.constant("int32", names.length), "y"]
 * }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const table = (values: ReadonlyArray<string | number | Constant>): Table => ({ table: values })

/**
 * Names the kernels that a callable launches, one or many, in a module at `module`, a path or a file URL. `launches` is asked
 * once for each shape that the callable is called with: the symbolic dimensions by name, and the shape of each argument.
 *
 * @example
 * ```ts
 * import { Cuda } from "leasehold"
 *
 * export const add = Cuda.kernels({
 *   module: new URL("file:///opt/kernels/add.ptx"),
 *   launches: ({ n }) => [{
 *     symbol: "add",
 *     grid: Math.ceil(n! / 256),
 *     block: 256,
 *     parameters: ["a", "b", "c", Cuda.constant("int32", n!)]
 *   }]
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const kernels = (options: {
  readonly module: string | URL
  readonly launches: Kernel["launches"]
}): Kernel => {
  const module = typeof options.module === "string" ? options.module : fileURLToPath(options.module)
  return { backend: "cuda", symbol: basename(module), module, ...askedOnce(options.launches) }
}

/**
 * A GPU.
 *
 * Fails with `BackendUnavailable` where there is no driver, naming what was tried, where there is no such device, and where the
 * backend's library is missing; and with `InvalidConfiguration` for an option that is not valid.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<HostApi | Cuda, BackendUnavailable | InvalidConfiguration> =>
  Layer.scopedContext(Effect.gen(function*() {
    const settings = yield* settingsOf(options)
    const longCalls = yield* choice("longCalls", options.longCalls ?? defaults.longCalls, ["worker", "inline"])
    const deviceIndex = yield* wholeNumber("device", options.device ?? defaults.device, maxDeviceIndex)
    const functions = yield* loadLibrary({
      backend: "cuda",
      path: options.libraryPath ?? join(nativeFolder, "build", "libleasehold_cuda.so"),
      hint: "build it with `make -C node_modules/leasehold/native`, or in a clone with `npm run build:native`"
    })
    const context = yield* NativeHostApi.open({
      backend: "cuda",
      functions,
      settings,
      deviceIndex,
      leavesThread: longCalls === "worker",
      launches: stepLaunches,
      driver: {
        paths: options.driverPath === undefined ? driverNames : [options.driverPath],
        hint: "install NVIDIA's driver and see that `nvidia-smi` shows the device, or use Simulator.layer"
      }
    })
    return Context.make(HostApi, context.hostApi).pipe(
      Context.add(Cuda, { statistics: Effect.sync(context.statistics) })
    )
  }))

const { bytes, choice, invalid, wholeNumber } = optionsOf("Cuda")

/** The C sources that come with the package, and what is built from them. */
const nativeFolder = fileURLToPath(new URL("../../native", import.meta.url))

/** More than any machine has. */
const maxDeviceIndex = 1023

/** Checks the options and writes them in the words of the backend's settings. */
const settingsOf = (options: Options): Effect.Effect<string, InvalidConfiguration> =>
  Effect.gen(function*() {
    const { driverPath } = options
    if (driverPath !== undefined && (typeof driverPath !== "string" || !/^[^\s\0]+$/.test(driverPath))) {
      return yield* invalid("Choice", "driverPath", "it should be a path without blanks")
    }
    const settings = {
      ...(driverPath === undefined ? {} : { driver: driverPath }),
      lanes: yield* choice("lanes", options.lanes ?? defaults.lanes, ["serial", "overlap"]),
      coalesce_max_bytes: yield* bytes("coalesceMaxBytes", options.coalesceMaxBytes ?? defaults.coalesceMaxBytes, 0),
      piece_bytes: yield* bytes("pieceBytes", options.pieceBytes ?? defaults.pieceBytes, 4096)
    }
    return settingsText(settings)
  })

/** What came of asking for the steps of a call: what was thrown is thrown again. */
type Answer = { readonly steps: ReadonlyArray<Step> } | { readonly thrown: unknown }

/**
 * A runner asks twice, when it lays a run out and when it launches it, with the same dimensions. What goes wrong the first time
 * goes wrong the second time too: a run that was laid out without its table must not be launched as if it had none.
 */
const askedOnce = (ask: Kernel["launches"]): Pick<Kernel, "launches" | "deviceTable"> => {
  const known = new WeakMap<object, Answer>()
  const launches: Kernel["launches"] = (dims, shapes) => {
    const answer = known.get(dims) ?? { steps: ask(dims, shapes) }
    known.set(dims, answer)
    if ("thrown" in answer) {
      throw answer.thrown
    }
    return answer.steps
  }
  return {
    launches,
    deviceTable: (dims, shapes, names) => {
      try {
        return layOutValues(launches(dims, shapes), names)
      } catch (thrown) {
        known.set(dims, { thrown })
        throw thrown
      }
    }
  }
}
