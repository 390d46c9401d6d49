/**
 * What users hold: resident and host tensors. The classes keep their records in private fields, so that a handle cannot be
 * invented, copied or read for an address; only this module's functions open one.
 */
import type * as Effect from "effect/Effect"
import type { DevicePtr } from "../../DevicePtr.ts"
import type { DType, View } from "../../DType.ts"
import * as HostTensor from "../../HostTensor.ts"
import * as ResidentTensor from "../../ResidentTensor.ts"

/** The device memory behind a resident tensor. */
export interface ResidentRecord {
  /** The runner that it belongs to. */
  readonly owner: object
  readonly dtype: DType
  readonly shape: ReadonlyArray<number>
  readonly byteCount: number
  /** `byteCount` with granularity and tail: what is counted against the budget. */
  readonly allocatedBytes: number
  /** Null for a tensor without elements. */
  readonly address: DevicePtr
  closed: boolean
}

/** The host memory behind a host tensor. */
export interface HostRecord {
  readonly owner: object
  readonly dtype: DType
  readonly shape: ReadonlyArray<number>
  readonly byteCount: number
  readonly buffer: SharedArrayBuffer
  readonly view: ArrayBufferView
  closed: boolean
}

type Upload<D extends DType> = ResidentTensor.ResidentTensor<D>["upload"]
type Download<D extends DType> = ResidentTensor.ResidentTensor<D>["download"]

class ResidentHandle<in out D extends DType> implements ResidentTensor.ResidentTensor<D> {
  readonly #record: ResidentRecord
  readonly [ResidentTensor.TypeId]: ResidentTensor.TypeId = ResidentTensor.TypeId
  readonly dtype: D
  readonly shape: ReadonlyArray<number>
  readonly byteLength: number
  readonly upload: Upload<D>
  readonly download: Download<D>

  constructor(
    record: ResidentRecord,
    dtype: D,
    moves: { readonly upload: Upload<D>; readonly download: Download<D> }
  ) {
    this.#record = record
    this.dtype = dtype
    this.shape = record.shape
    this.byteLength = record.byteCount
    this.upload = moves.upload
    this.download = moves.download
    Object.freeze(this)
  }

  static open(value: unknown): ResidentRecord | undefined {
    return typeof value === "object" && value !== null && #record in value ? value.#record : undefined
  }
}

class HostHandle<out D extends DType> implements HostTensor.HostTensor<D> {
  readonly #record: HostRecord
  readonly [HostTensor.TypeId]: HostTensor.TypeId = HostTensor.TypeId
  readonly dtype: D
  readonly shape: ReadonlyArray<number>
  readonly byteLength: number
  readonly view: View<D>

  constructor(record: HostRecord, dtype: D, view: View<D>) {
    this.#record = record
    this.dtype = dtype
    this.shape = record.shape
    this.byteLength = record.byteCount
    this.view = view
    Object.freeze(this)
  }

  static open(value: unknown): HostRecord | undefined {
    return typeof value === "object" && value !== null && #record in value ? value.#record : undefined
  }
}

export const makeResident = <D extends DType>(
  record: ResidentRecord,
  dtype: D,
  moves: {
    readonly upload: (...args: Parameters<Upload<D>>) => Effect.Effect<void, ResidentTensor.MoveError>
    readonly download: (...args: Parameters<Download<D>>) => Effect.Effect<void, ResidentTensor.MoveError>
  }
): ResidentTensor.ResidentTensor<D> => new ResidentHandle(record, dtype, moves)

export const makeHost = <D extends DType>(record: HostRecord, dtype: D, view: View<D>): HostTensor.HostTensor<D> =>
  new HostHandle(record, dtype, view)

/** The record behind a resident tensor, or `undefined` for whatever is none. */
export const openResident: (value: unknown) => ResidentRecord | undefined = (value) => ResidentHandle.open(value)

/** The record behind a host tensor, or `undefined` for whatever is none. */
export const openHost: (value: unknown) => HostRecord | undefined = (value) => HostHandle.open(value)
