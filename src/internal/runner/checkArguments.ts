/**
 * Checking arguments that were read, before any native call. Nothing here runs code of the user's, and nothing runs between
 * the check and the native call.
 */
import { InvalidArgument } from "../../Errors.ts"
import { ArgumentKind } from "../core/argumentTable.ts"
import type { DTypeName } from "../core/dtypes.ts"
import { isDetached, isResizable, isShared, viewBuffer, viewByteLength, viewTag } from "../hostViews.ts"
import { type Bindings, Form } from "./bindings.ts"
import { type HostRecord, openHost, openResident, type ResidentRecord } from "./handles.ts"
import type { Parameter } from "./parameter.ts"

/** What arguments are checked against. */
export interface ArgumentRules {
  /** The runner that handles have to belong to. */
  readonly owner: object
  readonly allowSharedViews: boolean
  /** The address of a host view's first byte. */
  readonly hostAddress: (view: ArrayBufferView) => number
}

/** Checks what was read, and accepts it argument by argument. One that is remembered costs a look. */
export const checkArguments = (bindings: Bindings, rules: ArgumentRules): InvalidArgument | undefined => {
  const { parameters } = bindings
  for (let index = 0; index < parameters.length; index++) {
    if (bindings.isRemembered(index)) {
      continue
    }
    const failure = checkArgument(bindings, parameters[index]!, rules)
    if (failure !== undefined) {
      return failure
    }
  }
  return checkResidentAliases(bindings)
}

const checkArgument = (
  bindings: Bindings,
  parameter: Parameter,
  rules: ArgumentRules
): InvalidArgument | undefined => {
  const { index } = parameter
  switch (parameter.kind) {
    case ArgumentKind.scratch:
      bindings.acceptNothing(index)
      return undefined
    case ArgumentKind.scalar: {
      const failure = checkScalar(parameter, bindings.incoming[index])
      if (failure === undefined) {
        bindings.acceptScalar(index)
      }
      return failure
    }
    case ArgumentKind.resident:
      return checkResident(bindings, parameter, rules)
    default:
      return checkHost(bindings, parameter, rules)
  }
}

const invalid = (parameter: Parameter, reason: InvalidArgument["reason"], detail: string): InvalidArgument =>
  new InvalidArgument({ reason, argument: parameter.name, detail })

const checkHost = (
  bindings: Bindings,
  parameter: Parameter,
  rules: ArgumentRules
): InvalidArgument | undefined => {
  const index = parameter.index
  const value = bindings.incoming[index]
  const tag = viewTag(value)
  if (tag === undefined) {
    return checkHostTensor(bindings, parameter, rules)
  }
  if (tag !== parameter.viewTag) {
    return invalid(parameter, "DType", `is a ${tag}, but ${parameter.dtype} is held by a ${parameter.viewTag}`)
  }
  const view = value as ArrayBufferView
  const buffer = viewBuffer(view)
  if (isResizable(buffer)) {
    return invalid(parameter, "Resizable", "is a view of a resizable buffer, whose memory may move away under a copy")
  }
  if (!rules.allowSharedViews && isShared(buffer)) {
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
  bindings.acceptView(index, byteCount, byteCount === 0 ? 0 : rules.hostAddress(view), buffer)
  return undefined
}

const checkHostTensor = (
  bindings: Bindings,
  parameter: Parameter,
  rules: ArgumentRules
): InvalidArgument | undefined => {
  const value = bindings.incoming[parameter.index]
  const record = openHost(value)
  if (record === undefined) {
    return openResident(value) === undefined
      ? invalid(parameter, "NotATensor", `should be a ${parameter.viewTag} or a host tensor`)
      : invalid(parameter, "NotATensor", "is a resident tensor, but the signature asks for a host view")
  }
  const failure = checkRecord(parameter, record, rules)
  if (failure === undefined) {
    const address = record.byteCount === 0 ? 0 : rules.hostAddress(record.view)
    bindings.acceptHandle(parameter.index, Form.hostTensor, record, address)
  }
  return failure
}

const checkResident = (
  bindings: Bindings,
  parameter: Parameter,
  rules: ArgumentRules
): InvalidArgument | undefined => {
  const record = openResident(bindings.incoming[parameter.index])
  if (record === undefined) {
    return invalid(parameter, "NotATensor", "should be a resident tensor, made by runner.allocate")
  }
  const failure = checkRecord(parameter, record, rules)
  if (failure === undefined) {
    bindings.acceptHandle(parameter.index, Form.resident, record, 0)
  }
  return failure
}

const checkRecord = (
  parameter: Parameter,
  record: HostRecord | ResidentRecord,
  rules: ArgumentRules
): InvalidArgument | undefined => {
  if (record.owner !== rules.owner) {
    return invalid(parameter, "ForeignHandle", "belongs to another runner")
  }
  if (record.closed) {
    return invalid(parameter, "HandleClosed", "is closed: the scope in which it was allocated has ended")
  }
  if (record.dtype !== parameter.dtype) {
    return invalid(parameter, "DType", `has elements of ${record.dtype}, but the signature asks for ${parameter.dtype}`)
  }
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
/** No output shares host memory with another argument. */
export const checkViewAliases = (bindings: Bindings): InvalidArgument | undefined => {
  const alias = bindings.findAliases()
  return alias === undefined
    ? undefined
    : invalid(alias.written, "Aliased", `shares host memory with "${alias.other.name}"; declare an inout instead`)
}

const checkResidentAliases = (bindings: Bindings): InvalidArgument | undefined => {
  const { records } = bindings
  for (const parameter of bindings.writtenResidents) {
    const record = records[parameter.index]!
    const other = records.indexOf(record) === parameter.index
      ? records.indexOf(record, parameter.index + 1)
      : records.indexOf(record)
    if (record.byteCount > 0 && other >= 0) {
      return invalid(
        parameter,
        "Aliased",
        `is the same resident tensor as "${bindings.parameters[other]!.name}", and is written`
      )
    }
  }
  return undefined
}
