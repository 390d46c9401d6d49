/**
 * A `HostApi` over any shared library that exports the native ABI. Backends are thin descriptions on top of it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as DevicePtr from "../../DevicePtr.ts"
import { BackendUnavailable } from "../../Errors.ts"
import * as HostApi from "../../HostApi.ts"
import type { Functions } from "../ffi/declarations.ts"
import { hostAddress } from "../ffi/hostMemory.ts"
import { callNow, Calls, emptyError, offThread } from "./calls.ts"
import type { Launches } from "./launches.ts"
import { readStatistics, type Statistics } from "./statistics.ts"
import { immediate, workOperations } from "./work.ts"

/** An opened context: the host API, and counters of the backend itself. */
export interface NativeContext {
  readonly hostApi: HostApi.Service
  readonly statistics: () => Statistics
}

/** Source: sizes asserted in `leasehold_host_api.h`. */
const structBytes = {
  openOptions: 56,
  deviceInfo: 216,
  traits: 80,
  memoryInfo: 40
} as const

/** Source: `LH_TRAIT_*`. */
const traitFlags = {
  immediate: 1,
  overlapsCopies: 2,
  freeSynchronizes: 4,
  argumentTable: 8,
  recoveryNewProcess: 16
} as const

/** Source: `LH_FEATURE_DEFERRED_LAUNCH`. */
const deferredLaunchFeature = 16

/** Allocations from this size on leave the loop's thread: a device may touch every page of them. */
const offThreadMallocBytes = 65_536

interface OpenOptions {
  readonly backend: string
  readonly functions: Functions
  readonly settings: string
  readonly deviceIndex: number
  /** Whether calls that may take long are made on worker threads. */
  readonly leavesThread: boolean
  /** How its kernels are loaded and launched. */
  readonly launches: (calls: Calls) => Launches
  /** Where it looks for the vendor's driver, and what to do where none is found. */
  readonly driver?: { readonly paths: ReadonlyArray<string>; readonly hint: string }
}

/** Opens a context in the scope. Closing the scope closes it, or abandons it where the device is lost or still busy. */
export const open = (options: OpenOptions): Effect.Effect<NativeContext, BackendUnavailable, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => openContext(options)),
    (context) => context.close
  )

const openContext = (
  options: OpenOptions
): Effect.Effect<NativeContext & { readonly close: Effect.Effect<void> }, BackendUnavailable> => {
  const { backend, functions } = options
  const error = emptyError()
  const contextOut: Array<unknown> = [null]
  const status = functions.lh_context_open(
    {
      struct_bytes: structBytes.openOptions,
      device_index: options.deviceIndex,
      flags: 0,
      reserved_0: 0,
      settings: options.settings,
      reserved: [0, 0, 0, 0]
    },
    error,
    contextOut
  )
  if (status !== HostApi.Status.Ok) {
    const isDriver = status === HostApi.Status.LibraryNotLoaded
    return Effect.fail(
      new BackendUnavailable({
        backend,
        reason: status === HostApi.Status.NoDevice ? "DeviceNotFound" : isDriver ? "DriverNotFound" : "OpenFailed",
        detail: `${HostApi.statusName(Number(status))}${error.detail === "" ? "" : `: ${error.detail}`}`,
        pathsTried: isDriver ? options.driver?.paths ?? [] : [],
        hint: isDriver ? options.driver?.hint ?? "" : ""
      })
    )
  }
  return Effect.succeed(describe(options, new Calls(functions, contextOut[0], options.leavesThread)))
}

const describe = (
  { backend, launches }: OpenOptions,
  calls: Calls
): NativeContext & { readonly close: Effect.Effect<void> } => {
  const { context, functions } = calls
  const traits = readTraits(functions, context)
  const close = Effect.suspend(() => {
    // A context whose device is lost, or in which a call still runs past its deadline, is left alone.
    const isAbandoned = calls.lost || calls.inFlightCount > 0
    calls.ended = true
    return isAbandoned
      ? Effect.sync(() => calls.abandon())
      : calls.make(functions.lh_context_close, [context], [], () => Effect.void)
  })
  return {
    hostApi: {
      backend,
      device: readDevice(functions, context),
      traits,
      memoryInfo: memoryInfo(calls),
      hostAddress,
      ...memoryOperations(calls, traits),
      ...workOperations(calls, launches(calls), {
        answersAtOnce: traits.answersAtOnce,
        defersLaunches: calls.leavesThread && readFeatures(functions, context, deferredLaunchFeature)
      }),
      immediate: traits.answersAtOnce ? immediate(calls) : undefined
    },
    statistics: () => readStatistics(functions, calls.ended ? undefined : context),
    close
  }
}

/** koffi answers a 64-bit field as a bigint where a number cannot hold it. */
type Wide = number | bigint

const readFeatures = (functions: Functions, context: unknown, feature: number): boolean => {
  const info = { struct_bytes: structBytes.deviceInfo, features: 0 }
  functions.lh_device_info_get(context, info)
  return Math.floor(info.features / feature) % 2 === 1
}

const readDevice = (functions: Functions, context: unknown): HostApi.DeviceInfo => {
  const info = { struct_bytes: structBytes.deviceInfo, total_bytes: 0 as Wide, name: "", uuid: "", driver: "" }
  functions.lh_device_info_get(context, info)
  return { name: info.name, uuid: info.uuid, driver: info.driver, totalBytes: Number(info.total_bytes) }
}

const readTraits = (functions: Functions, context: unknown): HostApi.Traits => {
  const traits = {
    struct_bytes: structBytes.traits,
    flags: 0,
    alignment_bytes: 1 as Wide,
    size_granularity_bytes: 1 as Wide,
    tail_bytes: 0 as Wide,
    coalesce_max_bytes: 0 as Wide
  }
  functions.lh_traits_get(context, traits)
  const has = (flag: number): boolean => Math.floor(traits.flags / flag) % 2 === 1
  return {
    alignmentBytes: Number(traits.alignment_bytes),
    granularityBytes: Number(traits.size_granularity_bytes),
    tailBytes: Number(traits.tail_bytes),
    coalesceMaxBytes: Number(traits.coalesce_max_bytes),
    overlapsCopies: has(traitFlags.overlapsCopies),
    freeSynchronizes: has(traitFlags.freeSynchronizes),
    argumentPassing: has(traitFlags.argumentTable) ? "table" : "value",
    recovery: has(traitFlags.recoveryNewProcess) ? "newProcess" : "rebuildRunner",
    answersAtOnce: has(traitFlags.immediate)
  }
}

const memoryInfo = (calls: Calls): Effect.Effect<HostApi.MemoryInfo, HostApi.HostApiError> =>
  Effect.suspend(() => {
    const info = { struct_bytes: structBytes.memoryInfo, total_bytes: 0 as Wide, free_bytes: 0 as Wide }
    const status = callNow(calls, "lh_memory_info_get", [info])
    return status === HostApi.Status.Ok
      ? Effect.succeed({ totalBytes: Number(info.total_bytes), freeBytes: Number(info.free_bytes) })
      : Effect.fail(calls.failure("memoryInfo", status))
  })

const memoryOperations = (
  calls: Calls,
  { freeSynchronizes }: HostApi.Traits
): Pick<HostApi.Service, "malloc" | "free" | "hostMalloc" | "hostFree" | "hostRegister" | "hostUnregister"> => ({
  malloc: (byteCount, alignmentBytes) =>
    Effect.suspend(() => {
      const addressOut = new Float64Array(1)
      const args = [byteCount, alignmentBytes, addressOut]
      // Where a free waits for the device, an allocation may too.
      return byteCount < offThreadMallocBytes && !freeSynchronizes
        ? finishMalloc(calls, callNow(calls, "lh_malloc", args), addressOut)
        : calls.offThread("lh_malloc", args, [], (status) => finishMalloc(calls, status, addressOut))
    }).pipe(Effect.uninterruptible),
  free: (address) => offThread(calls, "free", "lh_free", [address], []),
  hostMalloc: (byteCount) =>
    Effect.suspend(() => {
      const addressOut = new Float64Array(1)
      return Effect.map(
        offThread(calls, "hostMalloc", "lh_host_malloc", [byteCount, addressOut], []),
        () => addressOut[0]!
      )
    }).pipe(Effect.uninterruptible),
  hostFree: (address) => offThread(calls, "hostFree", "lh_host_free", [address], []),
  hostRegister: (buffer) =>
    Effect.suspend(() =>
      offThread(
        calls,
        "hostRegister",
        "lh_host_register",
        [hostAddress(new Uint8Array(buffer)), buffer.byteLength],
        [buffer]
      )
    ),
  hostUnregister: (buffer) =>
    Effect.suspend(() =>
      offThread(calls, "hostUnregister", "lh_host_unregister", [hostAddress(new Uint8Array(buffer))], [buffer])
    )
})

const finishMalloc = (
  calls: Calls,
  status: number,
  addressOut: Float64Array
): Effect.Effect<DevicePtr.DevicePtr, HostApi.HostApiError> => {
  if (status !== HostApi.Status.Ok) {
    return Effect.fail(calls.failure("malloc", status))
  }
  const address = DevicePtr.fromNumber(addressOut[0]!)
  return address === undefined
    ? Effect.fail(calls.failure("malloc", HostApi.Status.AddressTooLarge))
    : Effect.succeed(address)
}
