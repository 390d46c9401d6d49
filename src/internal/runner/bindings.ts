/**
 * What stands for each parameter of a callable: the arguments of the run that is bound, or of the last one.
 *
 * Arguments hardly change from one run to the next, so they are remembered: a view that comes again is only looked at for
 * whether it was detached meanwhile. Remembered are plain views and scalars; host tensors are let go when the run ends, so
 * that memory which a user has closed is not kept.
 */
import { ArgumentKind } from "../core/argumentTable.ts"
import { Overlaps } from "../core/overlaps.ts"
import { Role } from "../core/plan.ts"
import type { HostRecord, ResidentRecord } from "./handles.ts"
import type { Parameter } from "./parameter.ts"

/** What stands for a parameter. */
export const Form = { none: 0, plainView: 1, hostTensor: 2, resident: 3, scalar: 4 } as const
export type Form = (typeof Form)[keyof typeof Form]

export class Bindings {
  readonly parameters: ReadonlyArray<Parameter>
  readonly writtenResidents: ReadonlyArray<Parameter>
  /** The names that an argument object has: those of all parameters but scratch. */
  readonly names: ReadonlySet<string>
  /** What was read and is not accepted yet. */
  readonly incoming: Array<unknown>
  /** What was accepted. */
  readonly values: Array<unknown>
  readonly forms: Uint8Array
  /** The logical bytes of each tensor; 0 for scratch, whose bytes follow from its dimensions, and for scalars. */
  readonly byteCounts: Float64Array
  /** For host tensors and residents what is behind the handle. */
  readonly records: Array<HostRecord | ResidentRecord | undefined>
  /** The shape of host tensors and residents; the other forms have none of their own. */
  readonly shapes: Array<ReadonlyArray<number> | undefined>
  /** Where each host view begins; 0 for whatever is none, and for an empty one. */
  readonly hostAddresses: Float64Array
  /** The argument object whose names were checked last. */
  namedBy: object | undefined
  #hostTensorCount = 0
  /** Grows when a form, a size or a shape changes: then another plan may be needed. */
  shapeVersion = 0
  /** Grows when a host view is another, or elsewhere: then addresses and aliases have to be looked at. */
  placeVersion = 0
  /** Grows when a resident is another. */
  residentVersion = 0
  readonly #overlaps: Overlaps
  /** For each plain view that is not empty one of ours over the same buffer: its first byte is gone when the buffer is. */
  readonly #probes: Array<Uint8Array | undefined>

  constructor(parameters: ReadonlyArray<Parameter>) {
    const none = (): Array<undefined> => Array.from({ length: parameters.length }, () => undefined)
    this.parameters = parameters
    this.names = new Set(
      parameters.filter(({ kind }) => kind !== ArgumentKind.scratch).map(({ name }) => name)
    )
    this.writtenResidents = parameters.filter((parameter) => parameter.writesResident)
    this.incoming = none()
    this.values = none()
    this.forms = new Uint8Array(parameters.length)
    this.byteCounts = new Float64Array(parameters.length)
    this.records = none()
    this.shapes = none()
    this.hostAddresses = new Float64Array(parameters.length)
    this.#probes = none()
    this.#overlaps = new Overlaps(
      Uint8Array.from(parameters, ({ role }) => role === Role.output || role === Role.inout ? 1 : 0)
    )
  }

  /** Whether what was read is what was accepted before, and is still as it was. Runs no code of the user's. */
  isRemembered(index: number): boolean {
    if (this.incoming[index] !== this.values[index]) {
      return false
    }
    const probe = this.#probes[index]
    if (probe !== undefined) {
      return probe[0] !== undefined
    }
    const form = this.forms[index]
    switch (form) {
      case Form.resident:
        return !this.records[index]!.closed
      case Form.scalar:
        // 0 and -0 are equal and not the same.
        return Object.is(this.incoming[index], this.values[index])
      default:
        return form === Form.none
    }
  }

  /** Accepts a plain view. `hostAddress` is where it begins; `buffer` is its own. */
  acceptView(index: number, byteCount: number, hostAddress: number, buffer: ArrayBufferLike): void {
    this.#accept(index, Form.plainView, byteCount, undefined, hostAddress)
    this.records[index] = undefined
    this.#probes[index] = byteCount === 0 ? undefined : new Uint8Array(buffer)
  }

  /** Accepts a host tensor or a resident. */
  acceptHandle(
    index: number,
    form: typeof Form.hostTensor | typeof Form.resident,
    record: HostRecord | ResidentRecord,
    hostAddress: number
  ): void {
    this.#accept(index, form, record.byteCount, record.shape, hostAddress)
    if (form === Form.resident && record !== this.records[index]) {
      this.residentVersion += 1
    }
    this.records[index] = record
    this.#probes[index] = undefined
  }

  acceptScalar(index: number): void {
    this.#accept(index, Form.scalar, 0, undefined, 0)
  }

  /** Scratch stands for itself. */
  acceptNothing(index: number): void {
    this.#accept(index, Form.none, 0, undefined, 0)
  }

  #accept(
    index: number,
    form: Form,
    byteCount: number,
    shape: ReadonlyArray<number> | undefined,
    hostAddress: number
  ): void {
    const before = this.forms[index]
    if (form !== before || byteCount !== this.byteCounts[index] || !isSameShape(shape, this.shapes[index])) {
      this.shapeVersion += 1
      this.placeVersion += 1
      this.#hostTensorCount += (form === Form.hostTensor ? 1 : 0) - (before === Form.hostTensor ? 1 : 0)
      this.forms[index] = form
      this.byteCounts[index] = byteCount
      this.shapes[index] = shape
    }
    if (hostAddress !== this.hostAddresses[index]) {
      this.placeVersion += 1
      this.hostAddresses[index] = hostAddress
    }
    this.values[index] = this.incoming[index]
  }

  /** Lets go of what was read and refused. Some of it may have been accepted before the rest was refused. */
  refuse(): void {
    this.incoming.fill(undefined)
    this.namedBy = undefined
    this.releaseHostTensors()
  }

  /** Lets go of host tensors, with no run bound: once they are closed, nobody should keep their memory. */
  releaseHostTensors(): void {
    if (this.#hostTensorCount === 0) {
      return
    }
    for (let index = 0; index < this.forms.length; index++) {
      if (this.forms[index] === Form.hostTensor) {
        this.incoming[index] = undefined
        this.values[index] = undefined
        this.records[index] = undefined
        this.namedBy = undefined
      }
    }
  }

  /** Whether a plain view is still as it was accepted. Runs no code of the user's. */
  isViewIntact(index: number): boolean {
    const probe = this.#probes[index]
    return probe === undefined || probe[0] !== undefined
  }

  /** Two host views that share memory and of which one is written, or `undefined`. */
  findAliases(): { readonly written: Parameter; readonly other: Parameter } | undefined {
    const found = this.#overlaps.find(this.hostAddresses, this.byteCounts)
    return found === undefined
      ? undefined
      : { written: this.parameters[found.written]!, other: this.parameters[found.other]! }
  }
}

/** Whether two shapes are the same; `undefined` is the shape of what has none of its own. */
export const isSameShape = (
  left: ReadonlyArray<number> | undefined,
  right: ReadonlyArray<number> | undefined
): boolean => {
  if (left === right) {
    return true
  }
  if (left === undefined || right === undefined || left.length !== right.length) {
    return false
  }
  return left.every((extent, index) => extent === right[index])
}
