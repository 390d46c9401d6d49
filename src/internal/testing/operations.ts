/**
 * Operations: the calls of a `HostApi`, one object each, and the decorator that hands every one of them to an interceptor,
 * whichever form of the seam it is made through.
 */
import * as Effect from "effect/Effect"
import type { DevicePtr } from "../../DevicePtr.ts"
import {
  type Arguments,
  type HostApiError,
  type Immediate,
  type Lane,
  type Origin,
  type Purpose,
  type Service,
  Status,
  type Transfers
} from "../../HostApi.ts"
import { argumentCells } from "../core/argumentTable.ts"
import { transferCells } from "../core/transferTable.ts"

export const operationKinds = [
  "malloc",
  "free",
  "hostMalloc",
  "hostFree",
  "hostRegister",
  "hostUnregister",
  "submit",
  "collect",
  "loadKernel",
  "launch",
  "memoryInfo"
] as const
export type OperationKind = (typeof operationKinds)[number]

/** Operations that give something back. Their failures are counted and quarantined; they fail no program. */
const releases: ReadonlySet<OperationKind> = new Set(["free", "hostFree", "hostUnregister"])
export const isRelease = (kind: OperationKind): boolean => releases.has(kind)

/** One call of a `HostApi`, as an interceptor sees it. */
export interface Operation {
  readonly kind: OperationKind
  readonly form: "immediate" | "effect"
  readonly purpose: Purpose
  readonly runId: number
  readonly names: ReadonlyArray<string>
  /** Bytes asked for by an allocation, moved by a table, or taken by a launch's tensors. 0 for all else. */
  readonly byteCount: number
  /** What is released; for an allocation what it answered, 0 until then. */
  address: number
  /** How many steps of the program came before it, where they are counted. */
  step: number
  /** Whether it has ended otherwise than well. */
  hasFailed: boolean
  /** A copy of the table's cells; empty where there is no table. */
  readonly cells: Float64Array
  /** The buffer that is registered or unregistered. */
  readonly buffer: SharedArrayBuffer | undefined
}

/** What a decorated call can be made to do other than itself. Only what makes sense for the operation is there. */
export interface Variants<A> {
  /** The same table with less in it, or an allocation of fewer bytes. */
  readonly half?: (() => A) | undefined
}

export interface Interceptor {
  /** Called for each Effect of the seam, when it runs. */
  readonly effect: <A>(
    operation: Operation,
    call: Effect.Effect<A, HostApiError>,
    variants: Variants<Effect.Effect<A, HostApiError>>
  ) => Effect.Effect<A, HostApiError>
  /** Called for each plain function of the seam. */
  readonly plain: (operation: Operation, call: () => number, variants: Variants<number>) => number
  /** What is known about the last plain call, where the interceptor itself made it fail. */
  readonly lastFailure?: ((operation: string, status: number) => HostApiError | undefined) | undefined
}

const noCells = new Float64Array(0)
const nowhere: Origin = { purpose: "load", runId: 0, names: [] }

type Facts = Partial<Pick<Operation, "byteCount" | "address" | "cells" | "buffer">>

const describe = (kind: OperationKind, form: Operation["form"], origin: Origin, facts: Facts): Operation => ({
  kind,
  form,
  purpose: origin.purpose,
  runId: origin.runId,
  names: [...origin.names],
  byteCount: facts.byteCount ?? 0,
  address: facts.address ?? 0,
  step: 0,
  hasFailed: false,
  cells: facts.cells ?? noCells,
  buffer: facts.buffer
})

const tableFacts = (transfers: Transfers): Facts => {
  const cells = transfers.cells.slice(0, transfers.count * transferCells)
  let byteCount = 0
  for (let entry = 0; entry < transfers.count; entry++) {
    byteCount += cells[entry * transferCells + 3]!
  }
  return { cells, byteCount }
}

const argumentFacts = (args: Arguments): Facts => {
  const cells = args.cells.slice(0, args.count * argumentCells)
  let byteCount = 0
  for (let entry = 0; entry < args.count; entry++) {
    byteCount += cells[entry * argumentCells + 2]!
  }
  return { cells, byteCount }
}

/** The same table with half of the bytes of each entry. Its cells are read when the call is made, after `refresh`. */
const halved = (transfers: Transfers): Transfers => {
  const cells = transfers.cells.slice(0, transfers.count * transferCells)
  let count = 0
  const refresh = (): number => {
    const gone = transfers.refresh()
    count = 0
    for (let entry = 0; entry < transfers.count; entry++) {
      const from = entry * transferCells
      const byteCount = Math.floor(transfers.cells[from + 3]! / 2)
      if (byteCount > 0) {
        cells.set(transfers.cells.subarray(from, from + 3), count * transferCells)
        cells[count * transferCells + 3] = byteCount
        count += 1
      }
    }
    return gone
  }
  refresh()
  return {
    cells,
    get count() {
      return count
    },
    offThread: transfers.offThread,
    refresh
  }
}

const unlessEmpty = (
  transfers: Transfers,
  call: (transfers: Transfers) => Effect.Effect<void, HostApiError>
): Effect.Effect<void, HostApiError> => transfers.count === 0 ? Effect.void : call(transfers)

/** The smallest allocation that still is one. */
const halfOf = (byteCount: number): number => Math.max(1, Math.floor(byteCount / 2))

/** Notes where an allocation lies. */
const answered = <A extends number>(operation: Operation) => (address: A): A => {
  operation.address = address
  return address
}

/** Wraps both forms of a `HostApi`. */
export const decorate = (api: Service, interceptor: Interceptor): Service => {
  const around = <A>(
    kind: OperationKind,
    origin: Origin,
    facts: () => Facts,
    call: (operation: Operation) => Effect.Effect<A, HostApiError>,
    half?: (operation: Operation) => Effect.Effect<A, HostApiError>
  ): Effect.Effect<A, HostApiError> =>
    Effect.suspend(() => {
      const operation = describe(kind, "effect", origin, facts())
      return interceptor.effect(
        operation,
        Effect.suspend(() => call(operation)),
        { half: half === undefined ? undefined : () => half(operation) }
      )
    }).pipe(Effect.uninterruptible)

  return {
    ...api,
    memoryInfo: around("memoryInfo", nowhere, () => ({}), () => api.memoryInfo),
    malloc: (byteCount, alignmentBytes, origin) => {
      const allocate = (bytes: number) => (operation: Operation) =>
        Effect.map(api.malloc(bytes, alignmentBytes, origin), answered(operation))
      return around("malloc", origin, () => ({ byteCount }), allocate(byteCount), allocate(halfOf(byteCount)))
    },
    free: (address, origin) => around("free", origin, () => ({ address }), () => api.free(address, origin)),
    hostMalloc: (byteCount, origin) =>
      around(
        "hostMalloc",
        origin,
        () => ({ byteCount }),
        (operation) => Effect.map(api.hostMalloc(byteCount, origin), answered(operation))
      ),
    hostFree: (address, origin) => around("hostFree", origin, () => ({ address }), () => api.hostFree(address, origin)),
    hostRegister: (buffer, origin) =>
      around(
        "hostRegister",
        origin,
        () => ({ byteCount: buffer.byteLength, buffer }),
        () => api.hostRegister(buffer, origin)
      ),
    hostUnregister: (buffer, origin) =>
      around("hostUnregister", origin, () => ({ buffer }), () => api.hostUnregister(buffer, origin)),
    submit: (lane, transfers, origin) =>
      around(
        "submit",
        origin,
        () => tableFacts(transfers),
        () => api.submit(lane, transfers, origin),
        () => unlessEmpty(halved(transfers), (half) => api.submit(lane, half, origin))
      ),
    collect: (transfers, origin) =>
      around(
        "collect",
        origin,
        () => tableFacts(transfers),
        () => api.collect(transfers, origin),
        () => unlessEmpty(halved(transfers), (half) => api.collect(half, origin))
      ),
    loadKernel: (kernel, origin) => around("loadKernel", origin, () => ({}), () => api.loadKernel(kernel, origin)),
    launch: (kernel, args, origin) =>
      around("launch", origin, () => argumentFacts(args), () => api.launch(kernel, args, origin)),
    immediate: api.immediate === undefined ? undefined : decorateImmediate(api.immediate, interceptor)
  }
}

const decorateImmediate = (api: Immediate, interceptor: Interceptor): Immediate => ({
  malloc: (byteCount, alignmentBytes, origin) => {
    const operation = describe("malloc", "immediate", origin, { byteCount })
    const allocate = (bytes: number) => (): number => {
      const status = api.malloc(bytes, alignmentBytes, origin)
      if (status === Status.Ok) {
        operation.address = api.mallocResult()
      }
      return status
    }
    return interceptor.plain(operation, allocate(byteCount), { half: allocate(halfOf(byteCount)) })
  },
  mallocResult: api.mallocResult,
  free: (address: DevicePtr, origin) =>
    interceptor.plain(describe("free", "immediate", origin, { address }), () => api.free(address, origin), {}),
  submit: (lane: Lane, transfers, origin) =>
    interceptor.plain(
      describe("submit", "immediate", origin, tableFacts(transfers)),
      () => api.submit(lane, transfers, origin),
      {
        half: () => {
          const half = halved(transfers)
          return half.count === 0 ? Status.Ok : api.submit(lane, half, origin)
        }
      }
    ),
  launch: (kernel, args, origin) =>
    interceptor.plain(
      describe("launch", "immediate", origin, argumentFacts(args)),
      () => api.launch(kernel, args, origin),
      {}
    ),
  lastFailure: (operation, status) => interceptor.lastFailure?.(operation, status) ?? api.lastFailure(operation, status)
})
