/**
 * Making the tables of a run: dimensions are resolved, tensors are placed, and what is to be cleared and moved is laid out
 * for the backend at hand.
 */
import type { Clear } from "../../Callable.ts"
import {
  BudgetExhausted,
  InvalidArgument,
  type ShapeMismatch,
  StagingExhausted,
  TensorExceedsChunk
} from "../../Errors.ts"
import type { Traits } from "../../HostApi.ts"
import type { Configuration } from "../../TemporaryBuffer.ts"
import { ArgumentKind, ArgumentTable } from "../core/argumentTable.ts"
import { noChunk, type SliceRules } from "../core/bumpAllocator.ts"
import { LeaseKind, LeaseTable } from "../core/leaseTable.ts"
import { makePlan, type Plan, type PlanRefusal, type PlanRequest, Role } from "../core/plan.ts"
import { elementCount, invalidSize, multiply } from "../core/sizes.ts"
import { type Bindings, Form } from "./bindings.ts"
import { type GivenDims, type Resolution, resolveDimensions, type TensorFacts } from "./dimensions.ts"
import { layOutCopyBack, layOutStage } from "./moves.ts"
import type { Parameter } from "./parameter.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import { RunTables } from "./runTables.ts"

/** What the tables of a run depend on beside its arguments. */
export interface TableContext {
  readonly traits: Traits
  readonly configuration: Configuration
  readonly rules: SliceRules
  /** Where the chunks lie; empty with a zero budget. */
  readonly baseAddresses: ReadonlyArray<number>
  readonly clear: Clear
  readonly maxInlineCopyBytes: number
  /** The staging area; no bytes where the backend needs none. */
  readonly staging: { readonly address: number; readonly byteCount: number }
  readonly stagingMaxBytes: number
}

export type TableRefusal = InvalidArgument | ShapeMismatch | BudgetExhausted | TensorExceedsChunk | StagingExhausted

export const makeTables = (
  prepared: PreparedCallable,
  bindings: Bindings,
  given: GivenDims | undefined,
  context: TableContext
): RunTables | TableRefusal => {
  const { parameters } = prepared
  const resolution = resolveDimensions(factsOf(parameters, bindings), given ?? {})
  if (!("shapes" in resolution)) {
    return resolution
  }
  const byteCounts = countBytes(parameters, bindings, resolution)
  if (byteCounts instanceof InvalidArgument) {
    return byteCounts
  }
  const tooLarge = checkInlineCopies(parameters, bindings, context.maxInlineCopyBytes)
  if (tooLarge !== undefined) {
    return tooLarge
  }
  const roles = Uint8Array.from(parameters, (parameter) => parameter.role)
  const request: PlanRequest = {
    byteCounts,
    roles,
    baseAddresses: context.baseAddresses,
    capacityBytes: context.configuration.chunkBytes,
    rules: context.rules
  }
  const plan = context.configuration.maxBytes === 0 ? undefined : makePlan(request)
  if (plan?._tag === "PlanRefusal") {
    return explainRefusal(plan, request, parameters, context.configuration)
  }
  const layout = {
    parameters,
    bindings,
    byteCounts,
    plan,
    traits: context.traits,
    rules: context.rules,
    baseAddresses: context.baseAddresses,
    clear: prepared.clear ?? context.clear,
    staging: context.staging,
    maxInlineCopyBytes: context.maxInlineCopyBytes,
    staysOnThread: prepared.execution === "inline"
  }
  const stage = layOutStage(layout)
  const copyBack = layOutCopyBack(layout)
  const stagingBytes = Math.max(stage.stagingBytes, copyBack.stagingBytes)
  if (stagingBytes > context.staging.byteCount) {
    return new StagingExhausted({
      callable: prepared.name,
      requestedBytes: stagingBytes,
      maxBytes: context.stagingMaxBytes,
      suggestedMaxBytes: stagingBytes
    })
  }
  return new RunTables({
    parameters,
    bindings,
    given,
    resolution,
    byteCounts,
    leases: makeLeases(parameters, byteCounts, plan, context),
    args: makeArguments(parameters, byteCounts, resolution, plan, context),
    launchesOffThread: prepared.execution === "awaited",
    plan,
    stage: stage.moves,
    copyBack: copyBack.moves,
    stagingBytes
  })
}

const factsOf = (parameters: ReadonlyArray<Parameter>, bindings: Bindings): ReadonlyArray<TensorFacts> =>
  parameters.map((parameter) => ({
    name: parameter.name,
    dims: parameter.kind === ArgumentKind.scalar ? [] : parameter.dims,
    shape: bindings.shapes[parameter.index],
    elementCount: parameter.kind === ArgumentKind.scratch
      ? -1
      : parameter.kind === ArgumentKind.scalar
      ? 1
      : bindings.byteCounts[parameter.index]! / parameter.elementBytes
  }))

/** The logical bytes of every tensor. Those of scratch follow from its resolved dimensions. */
const countBytes = (
  parameters: ReadonlyArray<Parameter>,
  bindings: Bindings,
  resolution: Resolution
): Float64Array | InvalidArgument => {
  const byteCounts = bindings.byteCounts.slice()
  for (const parameter of parameters) {
    if (parameter.kind !== ArgumentKind.scratch) {
      continue
    }
    const bytes = multiply(elementCount(resolution.shapes[parameter.index]!), parameter.elementBytes)
    if (bytes === invalidSize) {
      return new InvalidArgument({
        reason: "SizeOverflow",
        argument: parameter.name,
        detail: "has more bytes than can be counted"
      })
    }
    byteCounts[parameter.index] = bytes
  }
  return byteCounts
}

/** Plain views are copied in one synchronous stretch, so they are bounded, in each direction. */
const checkInlineCopies = (
  parameters: ReadonlyArray<Parameter>,
  bindings: Bindings,
  maxInlineCopyBytes: number
): InvalidArgument | undefined => {
  for (const outwards of [false, true]) {
    let bytes = 0
    for (const parameter of parameters) {
      const moves = parameter.role === Role.inout || parameter.role === (outwards ? Role.output : Role.input)
      if (!moves || bindings.forms[parameter.index] !== Form.plainView) {
        continue
      }
      bytes += bindings.byteCounts[parameter.index]!
      if (bytes > maxInlineCopyBytes) {
        return new InvalidArgument({
          reason: "InlineCopyTooLarge",
          argument: parameter.name,
          detail: `brings the plain views that one run copies ${outwards ? "out" : "in"} to ${bytes} B, ` +
            `above maxInlineCopyBytes ${maxInlineCopyBytes}; use a host tensor, made by runner.allocateHost`
        })
      }
    }
  }
  return undefined
}

const makeLeases = (
  parameters: ReadonlyArray<Parameter>,
  byteCounts: Float64Array,
  plan: Plan | undefined,
  context: TableContext
): LeaseTable => {
  const leases = new LeaseTable(parameters.length)
  for (const { index, kind, role } of parameters) {
    const byteCount = byteCounts[index]!
    if (byteCount === 0) {
      continue
    }
    if (kind === ArgumentKind.resident) {
      leases.hold(index, LeaseKind.externalNoop, 0, byteCount)
    } else if (role !== Role.none && plan === undefined) {
      leases.declareFree(index, byteCount)
    } else if (role !== Role.none && plan !== undefined) {
      leases.hold(index, LeaseKind.bufferNoop, sliceAddress(plan, context, index), byteCount)
    }
  }
  return leases
}

const makeArguments = (
  parameters: ReadonlyArray<Parameter>,
  byteCounts: Float64Array,
  resolution: Resolution,
  plan: Plan | undefined,
  context: TableContext
): ArgumentTable => {
  const args = new ArgumentTable(parameters.length)
  for (const { dtypeCode, elementBytes, index, kind } of parameters) {
    const isScalar = kind === ArgumentKind.scalar
    const byteCount = byteCounts[index]!
    args.describe(index, {
      kind,
      dtypeCode,
      byteCount: isScalar ? elementBytes : byteCount,
      alignmentBytes: isScalar || byteCount === 0
        ? 0
        : kind === ArgumentKind.resident
        ? context.traits.alignmentBytes
        : context.rules.alignmentBytes,
      shape: resolution.shapes[index]!
    })
    if (plan !== undefined && plan.chunkIndex[index] !== noChunk) {
      args.setAddress(index, sliceAddress(plan, context, index))
    }
  }
  return args
}

const sliceAddress = (plan: Plan, context: TableContext, index: number): number =>
  context.baseAddresses[plan.chunkIndex[index]!]! + plan.offsetBytes[index]!

/** How many of the largest tensors an error names. */
const namedHolders = 3

const explainRefusal = (
  refusal: PlanRefusal,
  request: PlanRequest,
  parameters: ReadonlyArray<Parameter>,
  configuration: Configuration
): TableRefusal => {
  const tensor = parameters[refusal.tensorIndex]!.name
  const { alignedBytes, largestChunkBytes, largestFreeBytes, requestedBytes } = refusal
  if (refusal.reason === "Overflow" || refusal.singleChunkBytes === invalidSize) {
    return new InvalidArgument({
      reason: "SizeOverflow",
      argument: tensor,
      detail: "brings the run to more bytes than can be counted"
    })
  }
  const { maxBytes } = configuration
  const suggestedMaxBytes = configuration.policy === "count"
    ? refusal.singleChunkBytes * configuration.chunkBytes.length
    : refusal.singleChunkBytes
  if (refusal.reason === "ExceedsChunk" && alignedBytes <= maxBytes && configuration.policy !== "single") {
    return new TensorExceedsChunk({
      tensor,
      requestedBytes,
      alignedBytes,
      largestChunkBytes,
      maxBytes,
      suggestedMaxBytes: refusal.singleChunkBytes
    })
  }
  const capacityBytes = configuration.chunkBytes.reduce((sum, bytes) => sum + bytes, 0)
  return new BudgetExhausted({
    reason: refusal.reason === "ExceedsChunk"
      ? "NeverFits"
      : refusal.singleChunkBytes <= capacityBytes
      ? "Fragmented"
      : "Exhausted",
    tensor,
    requestedBytes,
    alignedBytes,
    inUseBytes: refusal.inUseBytes,
    largestFreeBytes,
    maxBytes,
    suggestedMaxBytes,
    suggestedChunks: configuration.policy === "sizes" ? "single" : "same",
    largestHolders: largestHolders(request, parameters)
  })
}

const largestHolders = (
  request: PlanRequest,
  parameters: ReadonlyArray<Parameter>
): ReadonlyArray<{ readonly tensor: string; readonly byteCount: number }> =>
  parameters
    .filter((parameter) => parameter.role !== Role.none && request.byteCounts[parameter.index]! > 0)
    .map((parameter) => ({ tensor: parameter.name, byteCount: request.byteCounts[parameter.index]! }))
    .toSorted((left, right) => right.byteCount - left.byteCount)
    .slice(0, namedHolders)
