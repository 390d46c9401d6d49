/**
 * Resident tensors: device memory that outlives runs, under a budget of its own.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as DevicePtr from "../../DevicePtr.ts"
import type { DType, View } from "../../DType.ts"
import {
  BudgetExhausted,
  type DeviceFailed,
  type DeviceOutOfMemory,
  InvalidArgument,
  type RunnerClosed,
  type RunnerPoisoned,
  ShapeMismatch,
  type TransferFailed
} from "../../Errors.ts"
import { type Origin, Status } from "../../HostApi.ts"
import type { HostTensor } from "../../HostTensor.ts"
import type { MoveError, ResidentTensor } from "../../ResidentTensor.ts"
import { boundedCopy } from "../boundedCopy.ts"
import { sliceBytes } from "../core/bumpAllocator.ts"
import { dtypes, isDTypeName } from "../core/dtypes.ts"
import { elementCount, invalidSize, isSize, maxRank, multiply } from "../core/sizes.ts"
import { TransferKind, TransferTable } from "../core/transferTable.ts"
import { isDetached, isResizable, isShared, viewBuffer, viewByteLength, viewTag } from "../hostViews.ts"
import { call, release } from "./calls.ts"
import { allocationFailure, moveFailure } from "./failures.ts"
import { makeResident, openHost, type ResidentRecord } from "./handles.ts"
import { releaseFailed } from "./leases.ts"
import { checkInlineSize, mayHaveWritten, moveBytes } from "./singleMove.ts"
import type { RunnerState } from "./state.ts"

/** Why a resident tensor cannot be had. */
export type AllocateError =
  | BudgetExhausted
  | InvalidArgument
  | DeviceOutOfMemory
  | DeviceFailed
  | TransferFailed
  | RunnerClosed
  | RunnerPoisoned

/** Checks an element type and a shape, and answers the bytes of such a tensor. The shape is copied once. */
export const checkShape = (
  dtype: unknown,
  shape: ReadonlyArray<number>
): { readonly shape: ReadonlyArray<number>; readonly byteCount: number } | InvalidArgument => {
  if (!isDTypeName(dtype)) {
    return new InvalidArgument({ reason: "DType", argument: "dtype", detail: "is not an element type that is known" })
  }
  const read = Array.isArray(shape) ? boundedCopy(shape, maxRank) : undefined
  if (read === undefined || read.length > maxRank) {
    return invalidShape("Shape", `should be an array of at most ${maxRank} dimensions`)
  }
  if (!read.every(isDimension)) {
    return invalidShape("Shape", "should hold whole numbers of at least 0")
  }
  // Minus zero is zero.
  const copy: ReadonlyArray<number> = Object.freeze(read.map((dimension) => dimension === 0 ? 0 : dimension))
  const byteCount = copy.every(isSize)
    ? multiply(elementCount(copy), dtypes[dtype].elementBytes)
    : invalidSize
  return byteCount === invalidSize
    ? invalidShape("SizeOverflow", `[${copy.join(", ")}] has more bytes than can be counted`)
    : { shape: copy, byteCount }
}

const isDimension = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0

const invalidShape = (reason: InvalidArgument["reason"], detail: string): InvalidArgument =>
  new InvalidArgument({ reason, argument: "shape", detail })

export const allocateResident = <D extends DType>(
  state: RunnerState,
  dtype: D,
  shape: ReadonlyArray<number>
): Effect.Effect<ResidentTensor<D>, AllocateError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(acquire(state, dtype, shape), (record) => releaseResident(state, record)),
    (record) => handle(state, record, dtype)
  )

/** A tensor that has no name of its own, as origins and errors call it. */
export const describeTensor = (tensor: { readonly dtype: DType; readonly shape: ReadonlyArray<number> }): string =>
  `${tensor.dtype} [${tensor.shape.join(", ")}]`

const residentOrigin = (purpose: Origin["purpose"], name: string): Origin => ({ purpose, runId: 0, names: [name] })

const acquire = (
  state: RunnerState,
  dtype: DType,
  requestedShape: ReadonlyArray<number>
): Effect.Effect<ResidentRecord, AllocateError> =>
  Effect.suspend((): Effect.Effect<ResidentRecord, AllocateError> => {
    // Reading the shape may run code of the user's, so it is read before the runner is asked.
    const checked = checkShape(dtype, requestedShape)
    const refusal = state.refusal("allocate")
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    if (checked instanceof InvalidArgument) {
      return Effect.fail(checked)
    }
    const { byteCount, shape } = checked
    const allocatedBytes = byteCount === 0 ? 0 : sliceBytes(byteCount, state.rules)
    const over = allocatedBytes === invalidSize
      ? new InvalidArgument({ reason: "SizeOverflow", argument: "shape", detail: "has more bytes than can be counted" })
      : budgetRefusal(state, byteCount, allocatedBytes)
    if (over !== undefined) {
      return Effect.fail(over)
    }
    // The budget is taken before the device is asked, so that two allocations at once cannot both take the last of it.
    state.counters.residentBytes += allocatedBytes
    const giveBack = Effect.sync(() => {
      state.counters.residentBytes -= allocatedBytes
    })
    const record = (address: DevicePtr.DevicePtr): ResidentRecord => {
      const made = { owner: state, dtype, shape, byteCount, allocatedBytes, address, closed: false }
      state.residents.add(made)
      state.counters.residentCount += 1
      state.counters.residentHighWaterBytes = Math.max(
        state.counters.residentHighWaterBytes,
        state.counters.residentBytes
      )
      return made
    }
    return allocatedBytes === 0
      ? Effect.sync(() => record(0 as DevicePtr.DevicePtr))
      : state.operation(
        Effect.map(
          Effect.onError(mallocCleared(state, allocatedBytes, describeTensor({ dtype, shape })), () => giveBack),
          record
        )
      ).pipe(
        // The runner may have been closed meanwhile, and may have released what it found.
        Effect.tap((made) => {
          const changed = state.refusal("allocate")
          return changed === undefined
            ? Effect.void
            : Effect.zipRight(releaseResident(state, made), Effect.fail(changed))
        })
      )
  })

const budgetRefusal = (
  state: RunnerState,
  byteCount: number,
  allocatedBytes: number
): BudgetExhausted | undefined => {
  const maxBytes = state.settings.residentMaxBytes
  const quarantined = state.counters.quarantinedResidentBytes
  const inUseBytes = state.counters.residentBytes + quarantined
  if (inUseBytes + allocatedBytes <= maxBytes) {
    return undefined
  }
  return new BudgetExhausted({
    reason: state.counters.residentBytes + allocatedBytes <= maxBytes ? "Quarantined" : "Residents",
    tensor: "resident",
    requestedBytes: byteCount,
    alignedBytes: allocatedBytes,
    inUseBytes,
    largestFreeBytes: Math.max(0, maxBytes - inUseBytes),
    maxBytes,
    suggestedMaxBytes: inUseBytes + allocatedBytes,
    suggestedChunks: "same",
    largestHolders: [...state.residents]
      .map((resident) => ({
        tensor: `resident ${describeTensor(resident)}`,
        byteCount: resident.allocatedBytes
      }))
      .toSorted((left, right) => right.byteCount - left.byteCount)
      .slice(0, 3)
  })
}

const mallocCleared = (
  state: RunnerState,
  allocatedBytes: number,
  name: string
): Effect.Effect<DevicePtr.DevicePtr, DeviceOutOfMemory | DeviceFailed | TransferFailed> =>
  Effect.gen(function*() {
    const address = yield* call(
      state,
      state.hostApi.malloc(allocatedBytes, state.rules.alignmentBytes, residentOrigin("resident", name))
    ).pipe(
      Effect.mapError((error) =>
        allocationFailure(state, error, { purpose: "a resident", requestedBytes: allocatedBytes })
      )
    )
    state.counters.mallocs += 1
    yield* clearMemory(state, address, allocatedBytes, residentOrigin("clear", name)).pipe(
      Effect.onError(() => freeResident(state, address, allocatedBytes, name))
    )
    return address
  }).pipe(Effect.uninterruptible)

/** Zeroes device memory that no run has seen yet. */
export const clearMemory = (
  state: RunnerState,
  address: number,
  byteCount: number,
  origin: Origin
): Effect.Effect<void, TransferFailed> =>
  Effect.suspend(() => {
    const table = new TransferTable(1)
    table.push(TransferKind.fill, address, 0, byteCount)
    const transfers = { cells: table.cells, count: 1, offThread: true, refresh: () => -1 }
    return call(state, state.hostApi.submit("in", transfers, origin))
  }).pipe(Effect.mapError((error) => moveFailure(error, "stage", origin.names[0] ?? "", "unchanged")))

const freeResident = (
  state: RunnerState,
  address: DevicePtr.DevicePtr,
  allocatedBytes: number,
  name: string
): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (state.isPoisoned) {
      state.quarantine(allocatedBytes, "residents")
      return Effect.void
    }
    const origin = residentOrigin("resident", name)
    return Effect.map(release(state, "free", state.hostApi.free(address, origin)), (status) => {
      if (status === Status.Ok) {
        state.counters.frees += 1
      } else {
        state.quarantine(allocatedBytes, "residents")
        releaseFailed(state, "a resident tensor", allocatedBytes, status)
      }
    })
  })

/** Frees a resident tensor once no run uses it any more. The second time does nothing. */
export const releaseResident = (state: RunnerState, record: ResidentRecord): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (record.closed) {
      return Effect.void
    }
    record.closed = true
    return state.until(() => !state.isInUse(record)).pipe(
      Effect.zipRight(
        record.allocatedBytes === 0
          ? Effect.void
          : state.lanes.exclusively(freeResident(state, record.address, record.allocatedBytes, describeTensor(record)))
      ),
      Effect.zipRight(Effect.sync(() => {
        state.residents.delete(record)
        state.counters.residentBytes -= record.allocatedBytes
        state.counters.residentCount -= 1
        // The gate has told who waits already, but this tensor was still there then.
        state.notify()
      })),
      Effect.zipRight(state.logWarnings)
    )
  }).pipe(Effect.uninterruptible)

const handle = <D extends DType>(state: RunnerState, record: ResidentRecord, dtype: D): ResidentTensor<D> =>
  makeResident(record, dtype, {
    upload: (source, options) => move(state, record, "upload", source, options?.offsetElements),
    download: (target, options) => move(state, record, "download", target, options?.offsetElements)
  })

const move = <D extends DType>(
  state: RunnerState,
  record: ResidentRecord,
  purpose: "upload" | "download",
  side: View<D> | HostTensor<D>,
  offsetElements: number | undefined
): Effect.Effect<void, MoveError> =>
  Effect.suspend((): Effect.Effect<void, MoveError> => {
    const refusal = state.refusal(purpose)
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    const host = hostSide(state, record, purpose, side)
    if (host instanceof InvalidArgument) {
      return Effect.fail(host)
    }
    const offsetBytes = checkRange(record, host.byteCount, offsetElements)
    if (typeof offsetBytes !== "number") {
      return Effect.fail(offsetBytes)
    }
    const failure = checkInlineSize(state, { ...host, name: purpose })
    if (failure !== undefined) {
      return Effect.fail(failure)
    }
    if (host.byteCount === 0) {
      return Effect.void
    }
    const single = { purpose, name: "resident", runId: 0, deviceAddress: record.address + offsetBytes, ...host }
    return state.lanes.exclusively(Effect.suspend((): Effect.Effect<void, MoveError> => {
      const changed = state.refusal(purpose) ?? (record.closed ? closedHandle(purpose) : undefined)
      return changed === undefined
        ? Effect.mapError(call(state, moveBytes(state, single)), (error) => explain(state, error, single))
        : Effect.fail(changed)
    }))
  })

const explain = (
  state: RunnerState,
  error: Parameters<typeof moveFailure>[0],
  single: {
    readonly purpose: "upload" | "download"
    readonly view: ArrayBufferView
    readonly byteCount: number
    readonly owned: boolean
  }
): MoveError =>
  error.status === Status.InvalidArgument && viewByteLength(single.view) !== single.byteCount
    ? new InvalidArgument({ reason: "Detached", argument: single.purpose, detail: "was detached while it waited" })
    : moveFailure(
      error,
      single.purpose,
      "resident",
      mayHaveWritten(state, single, error) ? "indeterminate" : "unchanged"
    )

const closedHandle = (purpose: string): InvalidArgument =>
  new InvalidArgument({
    reason: "HandleClosed",
    argument: purpose,
    detail: "was called on a resident tensor whose scope has ended"
  })

/** The host side of a move: a plain view, or a host tensor of the same runner. */
const hostSide = (
  state: RunnerState,
  record: ResidentRecord,
  purpose: "upload" | "download",
  side: unknown
): { readonly view: ArrayBufferView; readonly byteCount: number; readonly owned: boolean } | InvalidArgument => {
  const invalid = (reason: InvalidArgument["reason"], detail: string): InvalidArgument =>
    new InvalidArgument({ reason, argument: purpose, detail })
  if (record.closed) {
    return closedHandle(purpose)
  }
  const host = openHost(side)
  if (host !== undefined) {
    return host.owner !== state
      ? invalid("ForeignHandle", "was given a host tensor of another runner")
      : host.closed
      ? invalid("HandleClosed", "was given a host tensor whose scope has ended")
      : host.dtype !== record.dtype
      ? invalid("DType", `was given ${host.dtype}, but the resident tensor holds ${record.dtype}`)
      : { view: host.view, byteCount: host.byteCount, owned: true }
  }
  const { viewTag: expected } = dtypes[record.dtype]
  const tag = viewTag(side)
  if (tag === undefined) {
    return invalid("NotATensor", `should be given a ${expected} or a host tensor`)
  }
  if (tag !== expected) {
    return invalid("DType", `was given a ${tag}, but ${record.dtype} is held by a ${expected}`)
  }
  const view = side as ArrayBufferView
  const buffer = viewBuffer(view)
  if (isResizable(buffer)) {
    return invalid("Resizable", "was given a view of a resizable buffer, whose memory may move away under a copy")
  }
  if (!state.settings.allowSharedViews && isShared(buffer)) {
    return invalid("Shared", "was given a view of shared memory, which other threads may change")
  }
  const byteCount = viewByteLength(view)
  return byteCount === 0 && isDetached(buffer)
    ? invalid("Detached", "was given a view of a buffer that was transferred away")
    : { view, byteCount, owned: false }
}

/** Where a move starts in the tensor, in bytes. Without an offset it moves the whole tensor. */
const checkRange = (
  record: ResidentRecord,
  byteCount: number,
  offsetElements: number | undefined
): number | ShapeMismatch | InvalidArgument => {
  const { elementBytes } = dtypes[record.dtype]
  if (offsetElements !== undefined && !isSize(offsetElements)) {
    return new InvalidArgument({
      reason: "Shape",
      argument: "offsetElements",
      detail: "should be a whole number of at least 0"
    })
  }
  const offsetBytes = multiply(offsetElements ?? 0, elementBytes)
  const fits = offsetElements === undefined
    ? byteCount === record.byteCount
    : offsetBytes !== invalidSize && offsetBytes + byteCount <= record.byteCount
  return fits ? offsetBytes : new ShapeMismatch({
    tensor: "resident",
    expected: `[${record.shape.join(", ")}]`,
    actual: `${byteCount / elementBytes} elements from element ${offsetElements ?? 0} on`
  })
}
