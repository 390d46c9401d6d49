/** Tables of the seam, built by hand: what a runner builds in `src/internal/core`, without any of its checks. */
import { Effect } from "effect"
import type { DevicePtr, HostApi } from "leasehold"

/** Source: `LH_TRANSFER_*` of the native ABI. */
export const Kind = { copyIn: 1, copyOut: 2, fill: 3, hostCopy: 4, hostFill: 5 } as const

/** A host view, whose address is written when the table is refreshed, or a number that is taken as it is. */
export type Side = ArrayBufferView | number

export interface Entry {
  readonly kind: number
  readonly destination: Side
  readonly source: Side
  readonly byteCount: number
}

export const copyIn = (destination: number, source: ArrayBufferView): Entry => ({
  kind: Kind.copyIn,
  destination,
  source,
  byteCount: source.byteLength
})

export const copyOut = (destination: ArrayBufferView, source: number): Entry => ({
  kind: Kind.copyOut,
  destination,
  source,
  byteCount: destination.byteLength
})

export const fill = (destination: number, value: number, byteCount: number): Entry => ({
  kind: Kind.fill,
  destination,
  source: value,
  byteCount
})

export const hostCopy = (destination: Side, source: Side, byteCount: number): Entry => ({
  kind: Kind.hostCopy,
  destination,
  source,
  byteCount
})

export const hostFill = (destination: Side, value: number, byteCount: number): Entry => ({
  kind: Kind.hostFill,
  destination,
  source: value,
  byteCount
})

export interface Table extends HostApi.Transfers {
  /** How often it was refreshed. */
  readonly refreshed: () => number
}

/** A table of transfers. `gone` is the entry that `refresh` says is gone. */
export const table = (
  api: HostApi.Service,
  entries: ReadonlyArray<Entry>,
  options: { readonly offThread?: boolean; readonly gone?: number } = {}
): Table => {
  const cells = Float64Array.from(
    entries.flatMap(({ byteCount, destination, kind, source }) => [
      kind,
      typeof destination === "number" ? destination : 0,
      typeof source === "number" ? source : 0,
      byteCount
    ])
  )
  let refreshCount = 0
  return {
    cells,
    count: entries.length,
    offThread: options.offThread ?? false,
    refreshed: () => refreshCount,
    refresh: () => {
      refreshCount += 1
      entries.forEach(({ destination, source }, index) => {
        if (typeof destination !== "number") {
          cells[index * 4 + 1] = api.hostAddress(destination)
        }
        if (typeof source !== "number") {
          cells[index * 4 + 2] = api.hostAddress(source)
        }
      })
      return options.gone ?? -1
    }
  }
}

/** One argument of a launch; whatever is left out is that of a uint8 tensor of one dimension. */
export interface Argument {
  readonly kind?: number
  readonly dtype?: number
  readonly byteCount: number
  readonly alignmentBytes?: number
  readonly address: number
  readonly rank?: number
  readonly reserved?: number
  readonly dims?: ReadonlyArray<number>
  /** The value of a scalar, an int32. */
  readonly scalar?: number
}

/** Source: `LH_DTYPE_*` of the native ABI. */
const uint8 = 9
const int32 = 7

export const scalar = (value: number): Argument => ({
  kind: 6,
  dtype: int32,
  byteCount: 4,
  address: 0,
  rank: 0,
  dims: [],
  scalar: value
})

export const launchTable = (
  entries: ReadonlyArray<Argument>,
  options: { readonly offThread?: boolean } = {}
): HostApi.Arguments => {
  const cells = new Float64Array(entries.length * 16)
  const bytes = new DataView(cells.buffer)
  entries.forEach((entry, index) => {
    const dims = entry.dims ?? [entry.byteCount]
    cells.set([
      entry.kind ?? 1,
      entry.dtype ?? uint8,
      entry.byteCount,
      entry.alignmentBytes ?? 0,
      entry.address,
      0,
      entry.rank ?? dims.length,
      entry.reserved ?? 0,
      ...dims
    ], index * 16)
    if (entry.scalar !== undefined) {
      bytes.setInt32((index * 16 + 5) * 8, entry.scalar, true)
    }
  })
  return { cells, count: entries.length, offThread: options.offThread ?? false, dims: {} }
}

/** The operations that exist in two forms. */
export interface Surface {
  readonly malloc: (
    byteCount: number,
    alignmentBytes?: number
  ) => Effect.Effect<DevicePtr.DevicePtr, HostApi.HostApiError>
  readonly free: (address: number) => Effect.Effect<void, HostApi.HostApiError>
  readonly submit: (lane: HostApi.Lane, transfers: HostApi.Transfers) => Effect.Effect<void, HostApi.HostApiError>
  readonly launch: (
    kernel: HostApi.KernelHandle,
    args: HostApi.Arguments
  ) => Effect.Effect<void, HostApi.HostApiError>
}

export const origin = (purpose: HostApi.Purpose): HostApi.Origin => ({ purpose, runId: 0, names: [] })

export const effects = (api: HostApi.Service): Surface => ({
  malloc: (byteCount, alignmentBytes = 1) => api.malloc(byteCount, alignmentBytes, origin("tensor")),
  free: (address) => api.free(address as DevicePtr.DevicePtr, origin("tensor")),
  submit: (lane, transfers) => api.submit(lane, transfers, origin("stage")),
  launch: (kernel, args) => api.launch(kernel, args, origin("launch"))
})

const nothing = (): void => undefined

/** The plain functions, as Effects that end when they are called. Tables are refreshed by the caller of those. */
export const immediate = (now: HostApi.Immediate): Surface => {
  const answer = <A>(operation: string, status: number, result: () => A): Effect.Effect<A, HostApi.HostApiError> =>
    status === 0 ? Effect.succeed(result()) : Effect.fail(now.lastFailure(operation, status))
  return {
    malloc: (byteCount, alignmentBytes = 1) =>
      Effect.suspend(() => answer("malloc", now.malloc(byteCount, alignmentBytes, origin("tensor")), now.mallocResult)),
    free: (address) =>
      Effect.suspend(() => answer("free", now.free(address as DevicePtr.DevicePtr, origin("tensor")), nothing)),
    submit: (lane, transfers) =>
      Effect.suspend(() => {
        transfers.refresh()
        return answer("submit", now.submit(lane, transfers, origin("stage")), nothing)
      }),
    launch: (kernel, args) =>
      Effect.suspend(() => answer("launch", now.launch(kernel, args, origin("launch")), nothing))
  }
}
