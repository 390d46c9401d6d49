/**
 * A `HostApi` over any shared library that exports the native ABI. Backends are thin descriptions on top of it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as DevicePtr from "../../DevicePtr.ts"
import { BackendUnavailable } from "../../Errors.ts"
import * as HostApi from "../../HostApi.ts"
import { callOffThread } from "../ffi/calls.ts"
import type { FunctionName, Functions, NativeFunction } from "../ffi/declarations.ts"
import { hostAddress } from "../ffi/hostMemory.ts"
import { rejectFile, rejectPath } from "./library.ts"

/** A kernel in a shared library. */
export interface LibraryKernel extends HostApi.Kernel {
  /** The absolute path of the library that exports the symbol. */
  readonly library: string
}

/** An opened context: the host API, and counters of the backend itself. */
export interface NativeContext {
  readonly hostApi: HostApi.Service
  readonly statistics: () => Readonly<Record<string, number>>
}

/** Source: sizes asserted in `leasehold_host_api.h`. */
const structBytes = {
  openOptions: 56,
  error: 256,
  deviceInfo: 216,
  traits: 80,
  memoryInfo: 40,
  statistics: 144
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

/** Added to the lane of a launch that is deferred. Source: `LH_LANE_DEFERRED`. */
const deferredLane = 0x8000_0000

/** Source: `LH_LANE_*`. */
const lanes: Readonly<Record<HostApi.Lane, number>> = { in: 0, compute: 1, out: 2 }

/** A failed index of `UINT32_MAX` means that no entry failed. */
const noEntry = 0xffff_ffff

/** Allocations from this size on leave the loop's thread: a device may touch every page of them. */
const offThreadMallocBytes = 65_536

/** The longest native wait. Source: `lh_wait` never waits longer than 100 ms a call. */
const waitNanos = 100_000_000

/**
 * How long a wait stays on the event loop's thread before it leaves it: leaving it and coming back takes about as long. A
 * loop that is held up for so long is none that anybody notices.
 */
const briefWaitNanos = 50_000

interface LastError {
  readonly struct_bytes: number
  readonly status: number
  readonly device_code: number | bigint
  readonly device_name: string
  readonly detail: string
}

const emptyError = (): LastError => ({
  struct_bytes: structBytes.error,
  status: 0,
  device_code: 0,
  device_name: "",
  detail: ""
})

interface OpenOptions {
  readonly backend: string
  readonly functions: Functions
  readonly settings: string
  readonly deviceIndex: number
  /** Whether calls that may take long are made on worker threads. */
  readonly leavesThread: boolean
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
    return Effect.fail(
      new BackendUnavailable({
        backend,
        reason: status === HostApi.Status.NoDevice ? "DeviceNotFound" : "OpenFailed",
        detail: `${HostApi.statusName(Number(status))}${error.detail === "" ? "" : `: ${error.detail}`}`,
        pathsTried: [],
        hint: ""
      })
    )
  }
  return Effect.succeed(describe(backend, new Calls(functions, contextOut[0], options.leavesThread)))
}

/**
 * The calls of one context: which of them are in flight, and whether the device is lost. Once the context has ended its
 * handle is dead, and whoever still holds the host API, or waits in it, gets `DeviceLost` without a native call.
 */
class Calls {
  readonly functions: Functions
  readonly context: unknown
  readonly leavesThread: boolean
  inFlightCount = 0
  lost = false
  ended = false
  #abandonWhenIdle = false

  constructor(functions: Functions, context: unknown, leavesThread: boolean) {
    this.functions = functions
    this.context = context
    this.leavesThread = leavesThread
  }

  /** Makes a native call, off the event loop's thread where that is the way of the device. */
  make<A, E>(
    native: NativeFunction,
    args: ReadonlyArray<unknown>,
    touched: ReadonlyArray<unknown>,
    finish: (status: number) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> {
    return this.leavesThread
      ? callOffThread(native, args, touched, finish)
      : Effect.suspend(() => finish(Number(native(...args))))
  }

  /** Looks at a status that a call returned, and hands it on. */
  observe(status: number): number {
    if (status !== HostApi.Status.Ok && HostApi.isSticky(status)) {
      this.lost = true
    }
    return status
  }

  /** Makes a call that may take long, and goes on with what `finish` makes of its status. Called within a step. */
  offThread<A, E>(
    name: FunctionName,
    args: ReadonlyArray<unknown>,
    touched: ReadonlyArray<unknown>,
    finish: (status: number) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> {
    if (this.ended) {
      return finish(HostApi.Status.DeviceLost)
    }
    this.inFlightCount += 1
    const native: NativeFunction = this.functions[name]
    return this.make(native, [this.context, ...args], touched, (status) => {
      this.inFlightCount -= 1
      this.#abandonIfIdle()
      return finish(this.observe(status))
    })
  }

  /**
   * Ends the context without touching the device, once no call is on its way to it: a call that waits for a thread would
   * find a dead handle. Where a call never ends, the context is left alone for ever.
   */
  abandon(): void {
    this.#abandonWhenIdle = true
    this.#abandonIfIdle()
  }

  #abandonIfIdle(): void {
    if (this.#abandonWhenIdle && this.inFlightCount === 0) {
      this.#abandonWhenIdle = false
      this.functions.lh_context_abandon(this.context)
    }
  }

  failure(operation: string, status: number, entry = noEntry): HostApi.HostApiError {
    const error = emptyError()
    if (!this.ended) {
      this.functions.lh_last_error(this.context, error)
    }
    const known = !this.ended && error.status === status
    return new HostApi.HostApiError({
      operation,
      status,
      statusName: HostApi.statusName(status),
      deviceCode: known ? Number(error.device_code) : 0,
      deviceName: known ? error.device_name : "",
      detail: known ? error.detail : "",
      entryIndex: entry === noEntry ? -1 : entry
    })
  }
}

const describe = (
  backend: string,
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
      ...memoryOperations(calls),
      ...workOperations(calls, {
        answersAtOnce: traits.answersAtOnce,
        defersLaunches: calls.leavesThread && readFeatures(functions, context, deferredLaunchFeature)
      }),
      immediate: traits.answersAtOnce ? immediate(calls) : undefined
    },
    statistics: () => calls.ended ? {} : readStatistics(functions, context),
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

const readStatistics = (functions: Functions, context: unknown): Readonly<Record<string, number>> => {
  const statistics: Record<string, number | bigint> = { struct_bytes: structBytes.statistics }
  functions.lh_statistics_get(context, statistics)
  return Object.fromEntries(
    Object.entries(statistics).flatMap(([name, value]) =>
      typeof value === "number" || typeof value === "bigint" ? [[name, Number(value)]] : []
    )
  )
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
  calls: Calls
): Pick<HostApi.Service, "malloc" | "free" | "hostMalloc" | "hostFree" | "hostRegister" | "hostUnregister"> => ({
  malloc: (byteCount, alignmentBytes) =>
    Effect.suspend(() => {
      const addressOut = new Float64Array(1)
      const args = [byteCount, alignmentBytes, addressOut]
      return byteCount < offThreadMallocBytes
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

const workOperations = (
  calls: Calls,
  { answersAtOnce, defersLaunches }: { readonly answersAtOnce: boolean; readonly defersLaunches: boolean }
): Pick<HostApi.Service, "submit" | "collect" | "loadKernel" | "launch"> => {
  const modules = new Map<string, number>()
  return {
    submit: (lane, transfers) =>
      Effect.suspend(() => {
        const gone = transfers.refresh()
        if (gone >= 0) {
          return Effect.fail(viewGone("submit", gone))
        }
        const ticketOut = new Float64Array(1)
        const failedOut = new Uint32Array(1).fill(noEntry)
        const args = [lanes[lane], transfers.cells, transfers.count, ticketOut, failedOut]
        const finish = (status: number): Effect.Effect<void, HostApi.HostApiError> =>
          status === HostApi.Status.Ok
            ? waitFor(calls, "submit", ticketOut[0]!)
            : Effect.fail(calls.failure("submit", status, failedOut[0]))
        return answersAtOnce && transfers.offThread
          ? calls.offThread("lh_submit", args, [transfers], finish)
          : finish(callNow(calls, "lh_submit", args))
      }).pipe(Effect.uninterruptible),
    collect: (transfers) =>
      Effect.suspend(() => {
        const gone = transfers.refresh()
        if (gone >= 0) {
          return Effect.fail(viewGone("collect", gone))
        }
        const failedOut = new Uint32Array(1).fill(noEntry)
        const status = callNow(calls, "lh_collect", [transfers.cells, transfers.count, failedOut])
        return status === HostApi.Status.Ok ? Effect.void : Effect.fail(calls.failure("collect", status, failedOut[0]))
      }),
    loadKernel: (kernel) => loadKernel(calls, modules, kernel as LibraryKernel),
    launch: (kernel, table) =>
      Effect.suspend(() => {
        const ticketOut = new Float64Array(1)
        const failedOut = new Uint32Array(1).fill(noEntry)
        // A deferred launch is told apart within the call, which copies the table: nothing has to be held until it ends.
        const isDeferred = defersLaunches && table.offThread
        const lane = isDeferred ? lanes.compute + deferredLane : lanes.compute
        const args = [lane, kernel, null, table.cells, table.count, 0, ticketOut, failedOut]
        const finish = (status: number): Effect.Effect<void, HostApi.HostApiError> =>
          status === HostApi.Status.Ok
            ? waitFor(calls, "launch", ticketOut[0]!)
            : Effect.fail(calls.failure("launch", status, failedOut[0]))
        return answersAtOnce && table.offThread && !isDeferred
          ? calls.offThread("lh_launch", args, [table], finish)
          : finish(callNow(calls, "lh_launch", args))
      }).pipe(Effect.uninterruptible)
  }
}

const callNow = (calls: Calls, name: FunctionName, args: ReadonlyArray<unknown>): number =>
  calls.ended ? HostApi.Status.DeviceLost : calls.observe(Number(calls.functions[name](calls.context, ...args)))

const offThread = (
  calls: Calls,
  operation: string,
  name: FunctionName,
  args: ReadonlyArray<unknown>,
  touched: ReadonlyArray<unknown>
): Effect.Effect<void, HostApi.HostApiError> =>
  Effect.uninterruptible(Effect.suspend(() =>
    calls.offThread(
      name,
      args,
      touched,
      (status) => status === HostApi.Status.Ok ? Effect.void : Effect.fail(calls.failure(operation, status))
    )
  ))

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

const viewGone = (operation: string, entryIndex: number): HostApi.HostApiError =>
  new HostApi.HostApiError({
    operation,
    status: HostApi.Status.InvalidArgument,
    statusName: "InvalidArgument",
    deviceCode: 0,
    deviceName: "",
    detail: "a host view was detached or resized",
    entryIndex
  })

/** Waits until a ticket ends: briefly where it is, then in waits of bounded length on a worker thread. */
const waitFor = (calls: Calls, operation: string, ticket: number): Effect.Effect<void, HostApi.HostApiError> => {
  if (ticket === 0) {
    return Effect.void
  }
  const failedOut = new Uint32Array(1).fill(noEntry)
  const finish = (status: number): Effect.Effect<void, HostApi.HostApiError> => {
    switch (status) {
      case HostApi.Status.Ok:
        return Effect.void
      case HostApi.Status.NotReady:
      case HostApi.Status.Timeout:
        return calls.offThread("lh_wait", [ticket, waitNanos, failedOut], [], finish)
      default:
        return Effect.fail(calls.failure(operation, status, failedOut[0]))
    }
  }
  return finish(
    calls.leavesThread
      ? callNow(calls, "lh_wait", [ticket, briefWaitNanos, failedOut])
      : callNow(calls, "lh_poll", [ticket, failedOut])
  )
}

const loadKernel = (
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

/** The plain functions. Their out-parameters are made once: these calls end before the next begins. */
const immediate = (calls: Calls): HostApi.Immediate => {
  const { context, functions } = calls
  const addressOut = new Float64Array(1)
  const ticketOut = new Float64Array(1)
  const failedOut = new Uint32Array(1)
  const { lh_free: free, lh_launch: launch, lh_malloc: malloc, lh_submit: submit } = functions
  return {
    malloc: (byteCount, alignmentBytes) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      const status = calls.observe(Number(malloc(context, byteCount, alignmentBytes, addressOut)))
      return status === HostApi.Status.Ok && DevicePtr.fromNumber(addressOut[0]!) === undefined
        ? HostApi.Status.AddressTooLarge
        : status
    },
    mallocResult: () => addressOut[0] as DevicePtr.DevicePtr,
    free: (address) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      return calls.observe(Number(free(context, address)))
    },
    submit: (lane, transfers) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      return calls.observe(Number(submit(context, lanes[lane], transfers.cells, transfers.count, ticketOut, failedOut)))
    },
    launch: (kernel, args) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      return calls.observe(
        Number(launch(context, lanes.compute, kernel, null, args.cells, args.count, 0, ticketOut, failedOut))
      )
    },
    lastFailure: (operation, status) => calls.failure(operation, status, failedOut[0])
  }
}
