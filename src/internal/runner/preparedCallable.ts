/**
 * A callable as a runner works with it: its signature compiled to flat parameters, its kernel once it is loaded, the layouts
 * made for it so far, and the frames that its runs use.
 */
import { hasProperty } from "effect/Predicate"
import type * as Arg from "../../Arg.ts"
import type { Any as AnyCallable, Clear, Execution } from "../../Callable.ts"
import { InvalidArgument } from "../../Errors.ts"
import type { Kernel, KernelHandle } from "../../HostApi.ts"
import { boundedCopy } from "../boundedCopy.ts"
import { ArgumentKind } from "../core/argumentTable.ts"
import { dtypes, isDTypeName } from "../core/dtypes.ts"
import { Role } from "../core/plan.ts"
import { isSize, maxRank } from "../core/sizes.ts"
import type { Bindings } from "./bindings.ts"
import type { GivenDims } from "./dimensions.ts"
import { Frame } from "./frame.ts"
import type { Parameter } from "./parameter.ts"
import { RecentlyUsed } from "./recentlyUsed.ts"
import { maxLayoutCount, type RunLayout } from "./runLayout.ts"

/** Source: `LH_ARGUMENT_MAX_COUNT` of the native ABI. */
const maxParameterCount = 65_536

/** Names stand in errors, so they are short. */
const maxNameLength = 256

/** How errors and plans name the device table. */
const deviceTableName = "device table"

export class PreparedCallable {
  readonly callable: AnyCallable
  /** The callable's own fields are read once: what reads them later must not run code of the user's. */
  readonly name: string
  readonly execution: Execution
  readonly clear: Clear | undefined
  /** Whether it has kernels, instead of a function in TypeScript. */
  readonly isNative: boolean
  readonly parameters: ReadonlyArray<Parameter>
  /** The parameters that have a name in the argument object: all but scratch. */
  readonly named: ReadonlyArray<Parameter>
  readonly readWriteResidents: ReadonlyArray<string>
  /** Lays out what the kernel reads from device memory beside its tensors, in the last parameter. */
  readonly deviceTable: Kernel["deviceTable"]
  kernel: KernelHandle | undefined
  /** They hold for one configuration. */
  readonly #layouts = new RecentlyUsed<RunLayout>(maxLayoutCount)
  #epoch = -1
  /** The frames that no run uses, the one given back last at the end. */
  readonly #idleFrames: Array<Frame> = []

  constructor(callable: AnyCallable, parameters: ReadonlyArray<Parameter>, deviceTable: Kernel["deviceTable"]) {
    this.callable = callable
    this.deviceTable = deviceTable
    this.name = callable.name
    this.execution = callable.execution
    this.clear = callable.clear
    this.isNative = callable.implementation._tag === "Native"
    this.parameters = parameters
    this.named = parameters.filter((parameter) => parameter.kind !== ArgumentKind.scratch)
    this.readWriteResidents = parameters.filter(({ writesResident }) => writesResident).map(({ name }) => name)
  }

  /** Whether it can be launched: its kernel was found, or it has none. */
  get isLoaded(): boolean {
    return this.kernel !== undefined || !this.isNative
  }

  takeFrame(): Frame {
    return this.#idleFrames.pop() ?? new Frame(this)
  }

  /** Takes a frame back that no run uses any more. No more are kept than runs can be bound: each remembers views. */
  giveFrame(frame: Frame, slotCount: number): void {
    if (this.#idleFrames.length < slotCount) {
      this.#idleFrames.push(frame)
    }
  }

  /** The layout made for what is bound, in the configuration of now, or `undefined`. */
  findLayout(bindings: Bindings, given: GivenDims | undefined, epoch: number): RunLayout | undefined {
    if (epoch !== this.#epoch) {
      this.#layouts.clear()
      this.#epoch = epoch
    }
    return this.#layouts.find((layout) => layout.matches(bindings, given))
  }

  /** Keeps a layout that was made after `findLayout` had found none. */
  keepLayout(layout: RunLayout): void {
    this.#layouts.add(layout)
  }
}

/** Compiles a signature for a backend, or says what is wrong with it. */
export const prepareCallable = (callable: AnyCallable, backend: string): PreparedCallable | InvalidArgument => {
  // A callable is plain data: it may have gone through JSON, or come from code without types.
  if (!hasProperty(callable, "signature") || !hasProperty(callable.implementation, "_tag")) {
    return invalidSignature("", "what is to be run should be a callable, made by Callable.native or Callable.make")
  }
  const signature: unknown = callable.signature
  if (typeof signature !== "object" || signature === null) {
    return invalidSignature("", `the signature of ${callable.name} should be an object`)
  }
  const entries = Object.entries(callable.signature)
  if (entries.length > maxParameterCount) {
    return invalidSignature("", `the signature of ${callable.name} has more than ${maxParameterCount} arguments`)
  }
  const parameters: Array<Parameter> = []
  for (const [name, arg] of entries) {
    const parameter = compile(name, arg, parameters.length)
    if (parameter instanceof InvalidArgument) {
      return parameter
    }
    parameters.push(parameter)
  }
  const deviceTable = kernelFor(callable, backend)?.deviceTable
  // A signature of as many arguments as there can be has no room for a table.
  if (deviceTable === undefined || parameters.length === maxParameterCount) {
    return new PreparedCallable(callable, parameters, undefined)
  }
  parameters.push(deviceTableParameter(parameters.length))
  return new PreparedCallable(callable, parameters, deviceTable)
}

/** The kernel that a callable names for a backend. */
export const kernelFor = ({ implementation }: AnyCallable, backend: string): Kernel | undefined =>
  implementation._tag === "Native"
    ? implementation.kernels.find((candidate) => candidate.backend === backend)
    : undefined

/** A device table is the runner's own, as scratch is, and moves as an input does. */
const deviceTableParameter = (index: number): Parameter => {
  const info = dtypes.uint8
  return {
    index,
    name: deviceTableName,
    kind: ArgumentKind.scratch,
    role: Role.input,
    dtype: "uint8",
    dtypeCode: info.code,
    elementBytes: info.elementBytes,
    viewTag: info.viewTag,
    // How many there are is told by the kernel.
    dims: [0],
    writesResident: false
  }
}

const kinds = {
  Input: ArgumentKind.input,
  Output: ArgumentKind.output,
  Inout: ArgumentKind.inout,
  Resident: ArgumentKind.resident,
  Scratch: ArgumentKind.scratch,
  Scalar: ArgumentKind.scalar
} as const

const roles = {
  Input: Role.input,
  Output: Role.output,
  Inout: Role.inout,
  Resident: Role.none,
  Scratch: Role.scratch,
  Scalar: Role.none
} as const

const compile = (name: string, arg: Arg.Arg, index: number): Parameter | InvalidArgument => {
  if (name === "" || name.length > maxNameLength) {
    return invalidSignature("", `an argument's name should have from 1 to ${maxNameLength} characters`)
  }
  if (!hasProperty(arg, "_tag") || !Object.hasOwn(kinds, arg._tag) || !isDTypeName(arg.dtype)) {
    return invalidSignature(name, "has no direction or element type that is known")
  }
  const dtype: string = arg.dtype
  if (arg._tag === "Scalar" && (dtype === "float16" || dtype === "bfloat16")) {
    return invalidSignature(name, `is a scalar of ${dtype}, which has no value in JavaScript`)
  }
  const dims = compileDims(arg)
  if (typeof dims === "string") {
    return invalidSignature(name, dims)
  }
  const info = dtypes[arg.dtype]
  return {
    index,
    name,
    kind: kinds[arg._tag],
    role: roles[arg._tag],
    dtype: arg.dtype,
    dtypeCode: info.code,
    elementBytes: info.elementBytes,
    viewTag: info.viewTag,
    dims,
    writesResident: arg._tag === "Resident" && arg.access === "readWrite"
  }
}

/** The dimensions of an argument, copied; or what is wrong with them. Callables from code without types are checked too. */
const compileDims = (arg: Arg.Arg): ReadonlyArray<Arg.Dim> | undefined | string => {
  if (arg._tag === "Scalar" || (arg._tag === "Resident" && arg.dims === undefined)) {
    return undefined
  }
  if (!Array.isArray(arg.dims)) {
    return "should have dimensions, as an array"
  }
  const dims = boundedCopy(arg.dims, maxRank)
  if (dims.length > maxRank) {
    return `has more than ${maxRank} dimensions`
  }
  return dims.every((dim): dim is Arg.Dim => typeof dim === "string" ? dim !== "" : isSize(dim))
    ? dims
    : "should have dimensions that are names, or whole numbers of at least 0"
}

const invalidSignature = (argument: string, detail: string): InvalidArgument =>
  new InvalidArgument({ reason: "Signature", argument, detail })
