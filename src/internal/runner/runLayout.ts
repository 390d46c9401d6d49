/**
 * How a run of one shape is laid out: its plan, and the transfers that stage it and copy it back. It is made once per shape
 * and configuration, and knows no address; tables are made from it for each frame, and moved to where a run's ranges lie.
 */
import { ArgumentKind, ArgumentTable } from "../core/argumentTable.ts"
import { sliceBytes, type SliceRules } from "../core/bumpAllocator.ts"
import { LeaseKind, LeaseTable } from "../core/leaseTable.ts"
import { type Plan, Role } from "../core/plan.ts"
import type { Demand } from "../core/ticket.ts"
import { type Bindings, isSameShape } from "./bindings.ts"
import type { DeviceTableLayout } from "./deviceTable.ts"
import type { GivenDims, Resolution } from "./dimensions.ts"
import type { Moves } from "./moves.ts"
import type { Parameter } from "./parameter.ts"
import type { TableLayout } from "./viewTable.ts"

/** How many layouts are kept for one callable; the one used longest ago goes first. */
export const maxLayoutCount = 32

export class RunLayout {
  readonly parameters: ReadonlyArray<Parameter>
  readonly resolution: Resolution
  /** The logical bytes of every tensor, scratch included. */
  readonly byteCounts: Float64Array
  /** What the kernel reads from device memory beside its tensors, if anything. */
  readonly deviceTable: DeviceTableLayout | undefined
  /** `undefined` with a zero budget. */
  readonly plan: Plan | undefined
  readonly stage: Moves<TableLayout>
  readonly copyBack: Moves<TableLayout>
  readonly stagingBytes: number
  readonly launchesOffThread: boolean
  /** What a run of this shape needs of the temporary buffer, or mallocs with a zero budget. */
  readonly demand: Demand
  readonly #alignmentBytes: number
  readonly #residentAlignmentBytes: number
  readonly #forms: Uint8Array
  readonly #keyBytes: Float64Array
  readonly #keyShapes: ReadonlyArray<ReadonlyArray<number> | undefined>
  readonly #given: GivenDims | undefined

  constructor(options: {
    readonly parameters: ReadonlyArray<Parameter>
    readonly bindings: Bindings
    readonly given: GivenDims | undefined
    readonly resolution: Resolution
    readonly byteCounts: Float64Array
    readonly deviceTable: DeviceTableLayout | undefined
    readonly rules: SliceRules
    /** What residents are aligned to: no more than the device asks for is known of them. */
    readonly residentAlignmentBytes: number
    /** Whether a launch leaves the event loop's thread. */
    readonly launchesOffThread: boolean
    readonly plan: Plan | undefined
    readonly stage: Moves<TableLayout>
    readonly copyBack: Moves<TableLayout>
    readonly stagingBytes: number
  }) {
    this.parameters = options.parameters
    this.resolution = options.resolution
    this.byteCounts = options.byteCounts
    this.deviceTable = options.deviceTable
    this.plan = options.plan
    this.stage = options.stage
    this.copyBack = options.copyBack
    this.stagingBytes = options.stagingBytes
    this.launchesOffThread = options.launchesOffThread
    this.demand = options.plan === undefined
      ? { rangeBytes: new Float64Array(0), totalBytes: mallocBytes(options) }
      : options.plan
    this.#alignmentBytes = options.rules.alignmentBytes
    this.#residentAlignmentBytes = options.residentAlignmentBytes
    this.#forms = options.bindings.forms.slice()
    this.#keyBytes = options.bindings.byteCounts.slice()
    this.#keyShapes = options.bindings.shapes.slice()
    this.#given = options.given === undefined ? undefined : { ...options.given }
  }

  /** Whether this was made for arguments of these sizes, forms and shapes. */
  matches(bindings: Bindings, given: GivenDims | undefined): boolean {
    const { byteCounts, forms, shapes } = bindings
    for (let index = 0; index < forms.length; index++) {
      if (byteCounts[index] !== this.#keyBytes[index] || forms[index] !== this.#forms[index]) {
        return false
      }
      if (!isSameShape(this.#keyShapes[index], shapes[index])) {
        return false
      }
    }
    return this.isFor(given)
  }

  /**
   * Whether this was made for dimensions that were given like this. One whose kernel threw is for nobody: the kernel is asked
   * again.
   */
  isFor(given: GivenDims | undefined): boolean {
    return this.deviceTable?.thrown === undefined && (given === this.#given || isSameRecord(given, this.#given))
  }

  /** Leases of this shape, at no address yet. */
  makeLeases(): LeaseTable {
    const leases = new LeaseTable(this.parameters.length)
    for (const { index, kind, role } of this.parameters) {
      const byteCount = this.byteCounts[index]!
      if (byteCount === 0) {
        continue
      }
      if (kind === ArgumentKind.resident) {
        leases.hold(index, LeaseKind.externalNoop, 0, byteCount)
      } else if (role !== Role.none && this.plan === undefined) {
        leases.declareFree(index, byteCount)
      } else if (role !== Role.none) {
        leases.hold(index, LeaseKind.bufferNoop, 0, byteCount)
      }
    }
    return leases
  }

  /** Arguments of this shape, at no address yet. */
  makeArguments(): ArgumentTable {
    const args = new ArgumentTable(this.parameters.length)
    for (const { dtypeCode, elementBytes, index, kind } of this.parameters) {
      const isScalar = kind === ArgumentKind.scalar
      const byteCount = this.byteCounts[index]!
      args.describe(index, {
        kind,
        dtypeCode,
        byteCount: isScalar ? elementBytes : byteCount,
        alignmentBytes: isScalar || byteCount === 0
          ? 0
          : kind === ArgumentKind.resident
          ? this.#residentAlignmentBytes
          : this.#alignmentBytes,
        shape: this.resolution.shapes[index]!
      })
    }
    return args
  }
}

/** What is malloc'd for a run without a budget. */
const mallocBytes = (options: {
  readonly parameters: ReadonlyArray<Parameter>
  readonly byteCounts: Float64Array
  readonly rules: SliceRules
}): number =>
  options.parameters.reduce((sum, { index, role }) => {
    const byteCount = options.byteCounts[index]!
    return role === Role.none || byteCount === 0 ? sum : sum + sliceBytes(byteCount, options.rules)
  }, 0)

const isSameRecord = (
  left: GivenDims | undefined,
  right: GivenDims | undefined
): boolean => {
  const leftNames = Object.keys(left ?? {})
  return leftNames.length === Object.keys(right ?? {}).length &&
    leftNames.every((name) => left?.[name] === right?.[name])
}
