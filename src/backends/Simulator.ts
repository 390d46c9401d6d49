/**
 * The simulator: a device model over host memory, with true out-of-memory, checked transfers and an optional cost model
 * that lets a laptop behave like a device behind a bus.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type * as Bytes from "../Bytes.ts"
import type { BackendUnavailable, InvalidConfiguration } from "../Errors.ts"
import { HostApi, type Kernel as HostApiKernel } from "../HostApi.ts"
import { isPowerOfTwo } from "../internal/core/sizes.ts"
import * as NativeHostApi from "../internal/native/hostApi.ts"
import { libraryLaunches } from "../internal/native/kernels.ts"
import { loadLibrary } from "../internal/native/library.ts"
import { optionsOf, settingsText } from "../internal/native/options.ts"
import type { Statistics as DeviceStatistics } from "../internal/native/statistics.ts"

/**
 * A kernel of the simulator: a plain C function in a shared library. See `native/include/leasehold_kernel.h`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kernel extends HostApiKernel {
  readonly backend: "simulator"
  /** The absolute path of the library. */
  readonly library: string
}

/**
 * What the simulated device costs. Whatever is left out costs nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface CostModel {
  readonly malloc?: Duration.DurationInput | undefined
  readonly free?: Duration.DurationInput | undefined
  /** Every copy and every fill. */
  readonly transfer?: Duration.DurationInput | undefined
  readonly launch?: Duration.DurationInput | undefined
  readonly hostToDeviceBytesPerSecond?: number | undefined
  readonly deviceToHostBytesPerSecond?: number | undefined
  /** `"real"` sleeps; `"virtual"` only counts, see `Statistics.clockNanos`. Defaults to `"real"`. */
  readonly clock?: "real" | "virtual" | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Device memory. Pages that are never used cost nothing. Defaults to `"1 GiB"`. */
  readonly totalBytes?: Bytes.Input | undefined
  /** Least alignment of a slice, a power of two. Defaults to `64`. */
  readonly alignmentBytes?: Bytes.Input | undefined
  /** Lengths are rounded up to a multiple of this. Defaults to `1`. */
  readonly granularityBytes?: Bytes.Input | undefined
  /** Bytes that every slice has behind its end. Defaults to `0`. */
  readonly tailBytes?: Bytes.Input | undefined
  /** Copies up to this many bytes in one direction go through staging as one. Defaults to `0`, never. */
  readonly coalesceMaxBytes?: Bytes.Input | undefined
  /**
   * `"immediate"` answers within each call; `"late"` hands out tickets and works on threads of its own, as a GPU does.
   * Defaults to `"immediate"`.
   */
  readonly completion?: "immediate" | "late" | undefined
  /** Whether the lanes run one after the other or beside each other. Defaults to `"serial"`. */
  readonly lanes?: "serial" | "overlap" | undefined
  readonly cost?: CostModel | undefined
  /**
   * Where calls are made that may take long: `"worker"` leaves the event loop's thread; `"inline"` stays on it, so that a
   * program takes the same steps in the same order each time, which fault sweeps rely on. Defaults to `"worker"`.
   */
  readonly longCalls?: "worker" | "inline" | undefined
  /**
   * `"fail"` examines every launch of a native kernel: before it, the kernel is executed on the same inputs with other
   * bytes in its outputs and its scratch each time, and what comes out is compared. The launch then fails with
   * `LaunchFailed` (reason `Kernel`, and the guilty tensor in `argument`) where the kernel left bytes of an output
   * unwritten, where it read an output before it wrote it, as an accumulator does that should be declared `inout`, and
   * where it read scratch before it wrote it.
   *
   * Costs five executions of the kernel beside the launch itself, more where something is found, and up to three copies
   * of each tensor in host memory. What the cost model charges for a launch is charged once.
   *
   * It cannot see what was read and shows in no result, a byte that is written back as it was read, and an output or a
   * scratch that overlaps another argument. A kernel that answers differently for the same inputs, or that changes
   * anything but its arguments, cannot be examined: the former fails and is told so. Callables in TypeScript launch no
   * kernel, and are not examined. For tests. Defaults to `"off"`.
   *
   * @since 0.1.0
   */
  readonly memoryLab?: "off" | "fail" | undefined
  /** The absolute path of the simulator's library. Defaults to the one that `make` builds in the package's `native`. */
  readonly libraryPath?: string | undefined
}

/**
 * @since 0.1.0
 * @category configuration
 */
export const defaults = {
  totalBytes: "1 GiB",
  alignmentBytes: 64,
  granularityBytes: 1,
  tailBytes: 0,
  coalesceMaxBytes: 0,
  completion: "immediate",
  lanes: "serial",
  longCalls: "worker",
  memoryLab: "off"
} as const satisfies Options

/**
 * What the simulated device itself has counted.
 *
 * @since 0.1.0
 * @category models
 */
export type Statistics = DeviceStatistics

/**
 * The simulated device beside its `HostApi`: what it has counted itself, independent of any runner.
 *
 * @since 0.1.0
 * @category tags
 */
export class Simulator extends Context.Tag("leasehold/backends/Simulator")<
  Simulator,
  { readonly statistics: Effect.Effect<Statistics> }
>() {}

/**
 * Names a kernel: `symbol` of the shared library at `library`, a path or a file URL.
 *
 * @since 0.1.0
 * @category constructors
 */
export const kernel = (options: { readonly library: string | URL; readonly symbol: string }): Kernel => ({
  backend: "simulator",
  library: typeof options.library === "string" ? options.library : fileURLToPath(options.library),
  symbol: options.symbol
})

/**
 * A simulated device.
 *
 * Fails with `BackendUnavailable` where its library is missing or does not fit, naming the command that builds it, and
 * with `InvalidConfiguration` for an option that is not valid.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<HostApi | Simulator, BackendUnavailable | InvalidConfiguration> =>
  Layer.scopedContext(Effect.gen(function*() {
    const settings = yield* settingsOf(options)
    const longCalls = yield* choice("longCalls", options.longCalls ?? defaults.longCalls, ["worker", "inline"])
    const functions = yield* loadLibrary({
      backend: "simulator",
      path: options.libraryPath ??
        join(nativeFolder, "build", "libleasehold_simulator.so"),
      hint: "build it with `make -C node_modules/leasehold/native`, or in a clone with `npm run build:native`"
    })
    const context = yield* NativeHostApi.open({
      backend: "simulator",
      functions,
      settings,
      deviceIndex: 0,
      leavesThread: longCalls === "worker",
      launches: libraryLaunches
    })
    return Context.make(HostApi, context.hostApi).pipe(
      Context.add(Simulator, { statistics: Effect.sync(context.statistics) })
    )
  }))

/** The C sources that come with the package, and what is built from them. */
const nativeFolder = fileURLToPath(new URL("../../native", import.meta.url))

const { bytes, choice, invalid } = optionsOf("Simulator")

const nanos = (
  option: string,
  input: Duration.DurationInput | undefined
): Effect.Effect<number, InvalidConfiguration> => {
  const duration = Duration.decodeUnknown(input ?? Duration.zero)
  const count = duration._tag === "Some" ? Math.round(Duration.toMillis(duration.value) * 1_000_000) : Infinity
  return Number.isSafeInteger(count)
    ? Effect.succeed(count)
    : invalid("Duration", option, "it should be a finite duration")
}

const rate = (option: string, input: number | undefined): Effect.Effect<number, InvalidConfiguration> =>
  input === undefined || (Number.isSafeInteger(input) && input >= 0)
    ? Effect.succeed(input ?? 0)
    : invalid("Size", option, "it should be a whole number of bytes per second")

/** Checks the options and writes them in the words of the simulator's settings. */
const settingsOf = (options: Options): Effect.Effect<string, InvalidConfiguration> =>
  Effect.gen(function*() {
    const cost = options.cost ?? {}
    const alignmentBytes = yield* bytes("alignmentBytes", options.alignmentBytes ?? defaults.alignmentBytes, 1)
    if (!isPowerOfTwo(alignmentBytes)) {
      return yield* invalid("Alignment", "alignmentBytes", "it should be a power of two")
    }
    const settings = {
      total_bytes: yield* bytes("totalBytes", options.totalBytes ?? defaults.totalBytes, 1),
      alignment_bytes: alignmentBytes,
      size_granularity_bytes: yield* bytes(
        "granularityBytes",
        options.granularityBytes ?? defaults.granularityBytes,
        1
      ),
      tail_bytes: yield* bytes("tailBytes", options.tailBytes ?? defaults.tailBytes, 0),
      coalesce_max_bytes: yield* bytes("coalesceMaxBytes", options.coalesceMaxBytes ?? defaults.coalesceMaxBytes, 0),
      completion: yield* choice("completion", options.completion ?? defaults.completion, ["immediate", "late"]),
      lanes: yield* choice("lanes", options.lanes ?? defaults.lanes, ["serial", "overlap"]),
      memory_lab: yield* choice("memoryLab", options.memoryLab ?? defaults.memoryLab, ["off", "fail"]),
      malloc_nanos: yield* nanos("cost.malloc", cost.malloc),
      free_nanos: yield* nanos("cost.free", cost.free),
      transfer_nanos: yield* nanos("cost.transfer", cost.transfer),
      launch_nanos: yield* nanos("cost.launch", cost.launch),
      in_bytes_per_second: yield* rate("cost.hostToDeviceBytesPerSecond", cost.hostToDeviceBytesPerSecond),
      out_bytes_per_second: yield* rate("cost.deviceToHostBytesPerSecond", cost.deviceToHostBytesPerSecond),
      clock: yield* choice("cost.clock", cost.clock ?? "real", ["real", "virtual"])
    }
    return settingsText(settings)
  })
