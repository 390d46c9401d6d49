/**
 * Laying a run out: dimensions are resolved, tensors are placed in ranges, and what is to be cleared and moved is worked out
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
import { ArgumentKind } from "../core/argumentTable.ts"
import type { SliceRules } from "../core/bumpAllocator.ts"
import { makePlan, type PlanRefusal, type PlanRequest, Role } from "../core/plan.ts"
import { elementCount, invalidSize, multiply } from "../core/sizes.ts"
import { type Bindings, Form } from "./bindings.ts"
import { layOutDeviceTable, withDeviceTable } from "./deviceTable.ts"
import { type GivenDims, type Resolution, resolveDimensions, type TensorFacts } from "./dimensions.ts"
import { layOutCopyBack, layOutStage } from "./moves.ts"
import type { Parameter } from "./parameter.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import { RunLayout } from "./runLayout.ts"

/** What the layout of a run depends on beside its arguments. */
export interface LayoutContext {
  readonly traits: Traits
  readonly configuration: Configuration
  readonly rules: SliceRules
  /** The most bytes that each range can have; empty with a zero budget. */
  readonly capacityBytes: ReadonlyArray<number>
  readonly clear: Clear
  readonly maxInlineCopyBytes: number
  /** The address of a host view's first byte. */
  readonly hostAddress: (view: ArrayBufferView) => number
  /** The bytes of a slot's staging area, and how many slots there are. */
  readonly stagingMaxBytes: number
  readonly slotCount: number
}

export type LayoutRefusal = InvalidArgument | ShapeMismatch | BudgetExhausted | TensorExceedsChunk | StagingExhausted

export const layOutRun = (
  prepared: PreparedCallable,
  bindings: Bindings,
  given: GivenDims | undefined,
  context: LayoutContext
): RunLayout | LayoutRefusal => {
  const { parameters } = prepared
  const resolved = resolveDimensions(factsOf(parameters, bindings), given ?? {})
  if (!("shapes" in resolved)) {
    return resolved
  }
  const deviceTable = layOutDeviceTable(prepared, resolved, context.hostAddress)
  const resolution = deviceTable === undefined ? resolved : withDeviceTable(resolved, deviceTable)
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
    capacityBytes: context.capacityBytes,
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
    clear: prepared.clear ?? context.clear,
    stagingMaxBytes: context.stagingMaxBytes,
    maxInlineCopyBytes: context.maxInlineCopyBytes,
    staysOnThread: prepared.execution === "inline"
  }
  const stage = layOutStage(layout)
  const copyBack = layOutCopyBack(layout)
  const stagingBytes = Math.max(stage.stagingBytes, copyBack.stagingBytes)
  if (stagingBytes > context.stagingMaxBytes) {
    return new StagingExhausted({
      callable: prepared.name,
      requestedBytes: stagingBytes,
      maxBytes: context.stagingMaxBytes,
      // Each slot has a share of the same size.
      suggestedMaxBytes: stagingBytes * context.slotCount
    })
  }
  return new RunLayout({
    parameters,
    bindings,
    given,
    resolution,
    byteCounts,
    deviceTable,
    rules: context.rules,
    residentAlignmentBytes: context.traits.alignmentBytes,
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

/** The logical bytes of every tensor. Those of what the runner brings follow from its resolved dimensions. */
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

/** How many of the largest tensors an error names. */
const namedHolders = 3

const explainRefusal = (
  refusal: PlanRefusal,
  request: PlanRequest,
  parameters: ReadonlyArray<Parameter>,
  configuration: Configuration
): LayoutRefusal => {
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
