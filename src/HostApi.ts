/**
 * The seam between the framework and a device: memory, transfers and launches as the host sees them.
 *
 * A backend is a layer that provides `HostApi`. A decorator is a layer that needs one and provides one, and wraps both
 * forms: the Effects, and `immediate`, the same operations as plain functions, where the backend can answer at once.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { DevicePtr } from "./DevicePtr.ts"

/**
 * The statuses of the native ABI that the framework knows. Whatever is not listed is sticky: what is not known is not
 * trusted. Source: `LH_*` of `leasehold_host_api.h`.
 *
 * @since 0.1.0
 * @category models
 */
export const Status = {
  Ok: 0,
  InvalidArgument: 1,
  OutOfMemory: 2,
  HostOutOfMemory: 3,
  OutOfRange: 4,
  UseAfterFree: 5,
  DoubleFree: 6,
  ForeignPointer: 7,
  NotReady: 8,
  Timeout: 9,
  UnknownHandle: 10,
  LibraryNotLoaded: 11,
  SymbolNotFound: 12,
  LaunchFailed: 13,
  Busy: 14,
  Unsupported: 15,
  NoDevice: 16,
  AddressTooLarge: 17,
  TransferFailed: 18,
  Misaligned: 19,
  DeviceLost: 100
} as const

const statusNames = new Map<number, string>(Object.entries(Status).map(([name, status]) => [status, name]))

/**
 * The name of a status; `Unknown` for one that is not listed.
 *
 * @since 0.1.0
 * @category models
 */
export const statusName = (status: number): string => statusNames.get(status) ?? "Unknown"

/**
 * Whether a status means that the device or its context is lost.
 *
 * @since 0.1.0
 * @category guards
 */
export const isSticky = (status: number): boolean => status === Status.DeviceLost || !statusNames.has(status)

/**
 * Whether a transfer that failed with this status may have moved bytes all the same. With any other status the table was
 * refused as a whole.
 *
 * @since 0.1.0
 * @category guards
 */
export const mayHaveMoved = (status: number): boolean => status === Status.TransferFailed || isSticky(status)

/**
 * An operation of the seam failed. Runners turn it into one of their own errors; backends and decorators build it.
 *
 * @since 0.1.0
 * @category errors
 */
export class HostApiError extends Schema.TaggedError<HostApiError>("leasehold/HostApiError")("HostApiError", {
  operation: Schema.String,
  status: Schema.Int,
  statusName: Schema.String,
  /** The vendor's own code, or the kernel's return value; 0 where there is none. */
  deviceCode: Schema.Number,
  /** The vendor's own name of the code; empty where there is none. */
  deviceName: Schema.String,
  /** A sentence for a person, without addresses; may be empty. */
  detail: Schema.String,
  /** The entry of the table that failed; -1 where no entry did. */
  entryIndex: Schema.Int
}) {
  override get message(): string {
    return `${this.operation} answered ${this.statusName}${this.detail === "" ? "" : `: ${this.detail}`}`
  }
}

/**
 * Why the framework makes a call.
 *
 * @since 0.1.0
 * @category models
 */
export type Purpose =
  | "chunk"
  | "tensor"
  | "resident"
  | "hostTensor"
  | "staging"
  | "clear"
  | "stage"
  | "launch"
  | "copyBack"
  | "upload"
  | "download"
  | "read"
  | "write"
  | "load"

/**
 * Where a call comes from. It is valid until the call has ended; copy what you keep.
 *
 * @since 0.1.0
 * @category models
 */
export interface Origin {
  readonly purpose: Purpose
  /** The generation of the run on whose behalf the call is made; 0 where there is none. */
  readonly runId: number
  /** For each entry of the call's table the name of its tensor; for other calls the names of what they are about. */
  readonly names: ReadonlyArray<string>
}

/**
 * A lane: where work queues. Work on one lane happens in order.
 *
 * @since 0.1.0
 * @category models
 */
export type Lane = "in" | "compute" | "out"

/**
 * A table of transfers: four doubles an entry, as `lh_transfer` of the native ABI.
 *
 * A backend calls `refresh` in the same synchronous stretch in which its native call reads or writes host memory: it
 * checks every host view of the table once more and writes the addresses as they are now. -1 means that all is well;
 * any other answer is the entry whose view is gone, and the call fails with `InvalidArgument` without touching anything.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transfers {
  readonly cells: Float64Array
  readonly count: number
  /** True when no entry names a plain host view, so that the call may leave the event loop's thread. */
  readonly offThread: boolean
  readonly refresh: () => number
}

/**
 * The arguments of a launch: sixteen doubles an entry, as `lh_argument` of the native ABI.
 *
 * @since 0.1.0
 * @category models
 */
export interface Arguments {
  readonly cells: Float64Array
  readonly count: number
  /** Whether the launch leaves the event loop's thread. */
  readonly offThread: boolean
  /** The symbolic dimensions of the call, by name. */
  readonly dims: Readonly<Record<string, number>>
  /** Which of them is the device table of the kernel, in the signature of nobody; `undefined` where there is none. */
  readonly deviceTable?: number | undefined
}

/**
 * Values that a kernel reads from device memory, because it cannot be launched with so many: addresses of its arguments, scalars,
 * constants. A runner keeps room for them among the tensors of a run, and copies them in with its inputs.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeviceTable {
  readonly byteCount: number
  /** Writes the values, once all addresses of a run are known. It must not throw. */
  readonly write: (bytes: Uint8Array, args: Arguments) => void
}

/**
 * A kernel as a callable names it, for one backend. Backends extend it with what they need to load it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kernel {
  /** The `backend` of the host API that can load it. */
  readonly backend: string
  /** The kernel's name in its library or module. */
  readonly symbol: string
  /**
   * The device table for a call of these dimensions and shapes, with the names of the arguments in the order of the signature; one
   * of no bytes where none is needed. `undefined` for kernels that never have one. Asked when a run is laid out. Where it throws,
   * the run goes on without a table, and the launch should fail; the next run asks again.
   */
  readonly deviceTable?:
    | ((
      dims: Readonly<Record<string, number>>,
      shapes: Readonly<Record<string, ReadonlyArray<number>>>,
      names: ReadonlyArray<string>
    ) => DeviceTable)
    | undefined
}

/**
 * A kernel that a backend has loaded. It lives as long as the backend.
 *
 * @since 0.1.0
 * @category models
 */
export type KernelHandle = number

/**
 * @since 0.1.0
 * @category models
 */
export interface DeviceInfo {
  readonly name: string
  /** Empty where the device has none. */
  readonly uuid: string
  readonly driver: string
  readonly totalBytes: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface MemoryInfo {
  readonly totalBytes: number
  /** The sum of what is free, not the largest piece. */
  readonly freeBytes: number
}

/**
 * What a backend is like.
 *
 * @since 0.1.0
 * @category models
 */
export interface Traits {
  /** Least alignment of a slice. A power of two. */
  readonly alignmentBytes: number
  /** Lengths of slices and chunks are whole multiples of this. */
  readonly granularityBytes: number
  /** Bytes behind each slice that the device may touch. */
  readonly tailBytes: number
  /** Copies up to this many bytes in one direction go through staging as one. 0 means never. */
  readonly coalesceMaxBytes: number
  /** Whether copies run beside kernels. */
  readonly overlapsCopies: boolean
  /** Whether free waits for all work of the device. */
  readonly freeSynchronizes: boolean
  /** How arguments reach a kernel. */
  readonly argumentPassing: "value" | "table"
  /** How a sticky fault is recovered from. */
  readonly recovery: "rebuildRunner" | "newProcess"
  /**
   * Whether copies end within the call that starts them, so that plain host views can be copied without staging. A
   * backend with `immediate` has it; a decorator that removes `immediate` leaves it.
   */
  readonly answersAtOnce: boolean
}

/**
 * The operations as plain functions that return a status, for a backend that can answer at once. They block the caller.
 *
 * @since 0.1.0
 * @category models
 */
export interface Immediate {
  readonly malloc: (byteCount: number, alignmentBytes: number, origin: Origin) => number
  /** What the last `malloc` that answered `Ok` returned. */
  readonly mallocResult: () => DevicePtr
  readonly free: (address: DevicePtr, origin: Origin) => number
  /** The caller has refreshed the table in this synchronous stretch. */
  readonly submit: (lane: Lane, transfers: Transfers, origin: Origin) => number
  readonly launch: (kernel: KernelHandle, args: Arguments, origin: Origin) => number
  /** What is known about the last call that did not answer `Ok`. */
  readonly lastFailure: (operation: string, status: number) => HostApiError
}

/**
 * A device's operations. Every Effect is uninterruptible and ends when its native call has ended, so that nothing that a
 * call touches can be released under it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The backend's name, in lower case. */
  readonly backend: string
  readonly device: DeviceInfo
  readonly traits: Traits
  /** What the device says now. Nothing is remembered of it: a device that is lost is not asked, and this fails with its status. */
  readonly memoryInfo: Effect.Effect<MemoryInfo, HostApiError>
  /** Allocates at least 1 device byte at a multiple of `alignmentBytes`. Contents are undefined. */
  readonly malloc: (
    byteCount: number,
    alignmentBytes: number,
    origin: Origin
  ) => Effect.Effect<DevicePtr, HostApiError>
  readonly free: (address: DevicePtr, origin: Origin) => Effect.Effect<void, HostApiError>
  /** Allocates host memory for staging, pinned where the device has that. The result is a host address. */
  readonly hostMalloc: (byteCount: number, origin: Origin) => Effect.Effect<number, HostApiError>
  readonly hostFree: (address: number, origin: Origin) => Effect.Effect<void, HostApiError>
  /** Pins host memory that the runner owns. The buffer can be neither detached nor resized. */
  readonly hostRegister: (buffer: SharedArrayBuffer, origin: Origin) => Effect.Effect<void, HostApiError>
  readonly hostUnregister: (buffer: SharedArrayBuffer, origin: Origin) => Effect.Effect<void, HostApiError>
  /**
   * The address of a view's first byte, as the backend's tables take it. It stays right as long as the view's buffer is
   * neither detached nor resized.
   */
  readonly hostAddress: (view: ArrayBufferView) => number
  /**
   * Submits a table and waits for it. The whole table is checked before a byte moves: only failures that `mayHaveMoved` is
   * true of can leave it half done.
   */
  readonly submit: (lane: Lane, transfers: Transfers, origin: Origin) => Effect.Effect<void, HostApiError>
  /** Copies staged bytes to host views, within one synchronous stretch. Fails as `submit` does. */
  readonly collect: (transfers: Transfers, origin: Origin) => Effect.Effect<void, HostApiError>
  readonly loadKernel: (kernel: Kernel, origin: Origin) => Effect.Effect<KernelHandle, HostApiError>
  /** Launches a kernel and waits for it. */
  readonly launch: (
    kernel: KernelHandle,
    args: Arguments,
    origin: Origin
  ) => Effect.Effect<void, HostApiError>
  /** Present on a backend that can answer at once. */
  readonly immediate: Immediate | undefined
}

/**
 * @since 0.1.0
 * @category tags
 */
export class HostApi extends Context.Tag("leasehold/HostApi")<HostApi, Service>() {}
