/**
 * The arguments of one run: what stands for each parameter, checked before any native call.
 *
 * Reading and checking are apart. Reading may run code of the user's (a getter, a proxy), which may do anything to what
 * was read before; checking runs none, and nothing runs between it and the native call.
 */
import { InvalidArgument } from "../../Errors.ts"
import { ArgumentKind } from "../core/argumentTable.ts"
import type { DTypeName } from "../core/dtypes.ts"
import { Role } from "../core/plan.ts"
import { isDetached, isResizable, isShared, viewBuffer, viewByteLength, viewTag } from "../hostViews.ts"
import { type HostRecord, openHost, openResident, type ResidentRecord } from "./handles.ts"
import type { Parameter } from "./parameter.ts"

/** What stands for a parameter. */
export const Form = { none: 0, plainView: 1, hostTensor: 2, resident: 3, scalar: 4 } as const
export type Form = (typeof Form)[keyof typeof Form]

export class Bindings {
  readonly parameters: ReadonlyArray<Parameter>
  /** The values as they were read; cleared when the run ends. */
  readonly values: Array<unknown>
  readonly forms: Uint8Array
  /** The logical bytes of each tensor; 0 for scratch, whose bytes follow from its dimensions, and for scalars. */
  readonly byteCounts: Float64Array
  /** For host tensors and residents what is behind the handle. */
  readonly records: Array<HostRecord | ResidentRecord | undefined>

  constructor(parameters: ReadonlyArray<Parameter>) {
    this.parameters = parameters
    this.values = Array.from({ length: parameters.length }, () => undefined)
    this.forms = new Uint8Array(parameters.length)
    this.byteCounts = new Float64Array(parameters.length)
    this.records = Array.from({ length: parameters.length }, () => undefined)
  }

  /** Lets go of everything that the user handed in. */
  clear(): void {
    this.values.fill(undefined)
    this.records.fill(undefined)
  }

  /** The host view of a parameter whose form is a view or a host tensor. */
  hostView(index: number): ArrayBufferView {
    return this.forms[index] === Form.hostTensor
      ? (this.records[index] as HostRecord).view
      : this.values[index] as ArrayBufferView
  }

  /** Whether a plain view is still as it was checked. Runs no code of the user's. */
  isViewIntact(index: number): boolean {
    if (this.forms[index] !== Form.plainView) {
      return true
    }
    const view = this.values[index] as ArrayBufferView
    return viewByteLength(view) === this.byteCounts[index] && !isResizable(viewBuffer(view))
  }
}

/** Reads every argument once. May run code of the user's. */
export const readArguments = (
  bindings: Bindings,
  argumentCount: number,
  args: unknown
): InvalidArgument | undefined => {
  if (typeof args !== "object" || args === null) {
    return new InvalidArgument({ reason: "Missing", argument: "", detail: "the arguments should be an object" })
  }
  const { parameters, values } = bindings
  const named = args as Readonly<Record<string, unknown>>
  for (let index = 0; index < parameters.length; index++) {
    const parameter = parameters[index]!
    if (parameter.kind !== ArgumentKind.scratch) {
      values[index] = named[parameter.name]
      if (values[index] === undefined) {
        return invalid(parameter, "Missing", "is missing")
      }
    }
  }
  return Object.keys(named).length === argumentCount ? undefined : unknownArgument(parameters, named)
}

/** Checks what was read. Runs no code of the user's. */
export const checkArguments = (
  bindings: Bindings,
  owner: object,
  options: { readonly allowSharedViews: boolean }
): InvalidArgument | undefined => {
  const { forms, parameters, values } = bindings
  for (let index = 0; index < parameters.length; index++) {
    const parameter = parameters[index]!
    let failure: InvalidArgument | undefined
    switch (parameter.kind) {
      case ArgumentKind.scratch:
        forms[index] = Form.none
        break
      case ArgumentKind.scalar:
        forms[index] = Form.scalar
        failure = checkScalar(parameter, values[index])
        break
      case ArgumentKind.resident:
        failure = checkResident(bindings, parameter, owner)
        break
      default:
        failure = checkHost(bindings, parameter, owner, options.allowSharedViews)
    }
    if (failure !== undefined) {
      return failure
    }
  }
  return checkResidentAliases(bindings)
}

const invalid = (parameter: Parameter, reason: InvalidArgument["reason"], detail: string): InvalidArgument =>
  new InvalidArgument({ reason, argument: parameter.name, detail })

const unknownArgument = (
  parameters: ReadonlyArray<Parameter>,
  named: Readonly<Record<string, unknown>>
): InvalidArgument | undefined => {
  const expected = new Set<string>()
  for (const parameter of parameters) {
    if (parameter.kind !== ArgumentKind.scratch) {
      expected.add(parameter.name)
    }
  }
  const unknown = Object.keys(named).find((name) => !expected.has(name))
  if (unknown === undefined) {
    // Arguments may be inherited or not enumerable: they were all there.
    return undefined
  }
  const scratch = parameters.some((parameter) => parameter.name === unknown)
  return new InvalidArgument({
    reason: "Unknown",
    argument: unknown.slice(0, 256),
    detail: scratch ? "is scratch, which the runner provides" : "is not in the signature"
  })
}

const checkHost = (
  bindings: Bindings,
  parameter: Parameter,
  owner: object,
  allowSharedViews: boolean
): InvalidArgument | undefined => {
  const index = parameter.index
  const value = bindings.values[index]
  const tag = viewTag(value)
  if (tag === undefined) {
    return checkHostTensor(bindings, parameter, owner)
  }
  if (tag !== parameter.viewTag) {
    return invalid(parameter, "DType", `is a ${tag}, but ${parameter.dtype} is held by a ${parameter.viewTag}`)
  }
  const view = value as ArrayBufferView
  const buffer = viewBuffer(view)
  if (isResizable(buffer)) {
    return invalid(parameter, "Resizable", "is a view of a resizable buffer, whose memory may move away under a copy")
  }
  if (!allowSharedViews && isShared(buffer)) {
    return invalid(
      parameter,
      "Shared",
      "is a view of shared memory, which other threads may change; pass the host tensor itself, or set allowSharedViews"
    )
  }
  const byteCount = viewByteLength(view)
  if (byteCount === 0 && isDetached(buffer)) {
    return invalid(parameter, "Detached", "is a view of a buffer that was transferred away")
  }
  bindings.forms[index] = Form.plainView
  bindings.byteCounts[index] = byteCount
  bindings.records[index] = undefined
  return undefined
}

const checkHostTensor = (bindings: Bindings, parameter: Parameter, owner: object): InvalidArgument | undefined => {
  const record = openHost(bindings.values[parameter.index])
  if (record === undefined) {
    return openResident(bindings.values[parameter.index]) === undefined
      ? invalid(parameter, "NotATensor", `should be a ${parameter.viewTag} or a host tensor`)
      : invalid(parameter, "NotATensor", "is a resident tensor, but the signature asks for a host view")
  }
  return checkRecord(bindings, parameter, record, owner, Form.hostTensor)
}

const checkResident = (bindings: Bindings, parameter: Parameter, owner: object): InvalidArgument | undefined => {
  const record = openResident(bindings.values[parameter.index])
  return record === undefined
    ? invalid(parameter, "NotATensor", "should be a resident tensor, made by runner.allocate")
    : checkRecord(bindings, parameter, record, owner, Form.resident)
}

const checkRecord = (
  bindings: Bindings,
  parameter: Parameter,
  record: HostRecord | ResidentRecord,
  owner: object,
  form: Form
): InvalidArgument | undefined => {
  if (record.owner !== owner) {
    return invalid(parameter, "ForeignHandle", "belongs to another runner")
  }
  if (record.closed) {
    return invalid(parameter, "HandleClosed", "is closed: the scope in which it was allocated has ended")
  }
  if (record.dtype !== parameter.dtype) {
    return invalid(parameter, "DType", `has elements of ${record.dtype}, but the signature asks for ${parameter.dtype}`)
  }
  bindings.forms[parameter.index] = form
  bindings.byteCounts[parameter.index] = record.byteCount
  bindings.records[parameter.index] = record
  return undefined
}

/** The least and the greatest value of each integer type that is a `number`. */
const integerRanges: Readonly<Partial<Record<DTypeName, readonly [number, number]>>> = {
  int8: [-128, 127],
  int16: [-32_768, 32_767],
  int32: [-2_147_483_648, 2_147_483_647],
  uint8: [0, 255],
  uint16: [0, 65_535],
  uint32: [0, 4_294_967_295]
}

const checkScalar = (parameter: Parameter, value: unknown): InvalidArgument | undefined => {
  const { dtype } = parameter
  if (dtype === "int64" || dtype === "uint64") {
    const fits = typeof value === "bigint" &&
      (dtype === "int64" ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) === value
    return fits ? undefined : invalid(parameter, "Scalar", `should be a bigint in the range of ${dtype}`)
  }
  if (typeof value !== "number") {
    return invalid(parameter, "Scalar", `should be a number, for ${dtype}`)
  }
  const range = integerRanges[dtype]
  if (range === undefined) {
    return undefined
  }
  return Number.isInteger(value) && value >= range[0] && value <= range[1]
    ? undefined
    : invalid(parameter, "Scalar", `should be a whole number from ${range[0]} to ${range[1]}, for ${dtype}`)
}

/** A resident that the kernel writes may be passed once only. */
const checkResidentAliases = (bindings: Bindings): InvalidArgument | undefined => {
  const { parameters, records } = bindings
  for (const parameter of parameters) {
    if (!parameter.writesResident || bindings.byteCounts[parameter.index] === 0) {
      continue
    }
    for (let other = 0; other < parameters.length; other++) {
      if (other !== parameter.index && records[other] === records[parameter.index]) {
        return invalid(
          parameter,
          "Aliased",
          `is the same resident tensor as "${parameters[other]!.name}", and is written`
        )
      }
    }
  }
  return undefined
}

/**
 * Checks that no host output shares memory with another argument of the run. `addresses` are the host addresses of the
 * run's views; `order` is scratch space. Costs one sort.
 */
export const checkHostAliases = (
  bindings: Bindings,
  addresses: Float64Array,
  order: Array<number>
): InvalidArgument | undefined => {
  order.length = 0
  for (let index = 0; index < bindings.parameters.length; index++) {
    const form = bindings.forms[index]
    if ((form === Form.plainView || form === Form.hostTensor) && bindings.byteCounts[index]! > 0) {
      order.push(index)
    }
  }
  order.sort((left, right) => addresses[left]! - addresses[right]!)
  // The view that reaches farthest of all so far, and the output that does.
  let farthest = -1
  let farthestOutput = -1
  const end = (index: number): number => index < 0 ? 0 : addresses[index]! + bindings.byteCounts[index]!
  for (const index of order) {
    const parameter = bindings.parameters[index]!
    const writes = parameter.role !== Role.input
    const other = writes ? farthest : farthestOutput
    if (addresses[index]! < end(other)) {
      return invalid(
        writes ? parameter : bindings.parameters[other]!,
        "Aliased",
        `shares host memory with "${(writes ? bindings.parameters[other]! : parameter).name}"; declare an inout instead`
      )
    }
    farthest = end(index) > end(farthest) ? index : farthest
    farthestOutput = writes && end(index) > end(farthestOutput) ? index : farthestOutput
  }
  return undefined
}
