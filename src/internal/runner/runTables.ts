/**
 * Everything that a run of one shape needs, made once and found again: the leases, the argument table, and the tables of
 * transfers that stage it and copy it back.
 */
import type { RunPlan } from "../../RunPlan.ts"
import * as TensorLease from "../../TensorLease.ts"
import type { ArgumentTable } from "../core/argumentTable.ts"
import { LeaseKind, type LeaseTable } from "../core/leaseTable.ts"
import type { Plan } from "../core/plan.ts"
import { type Bindings, Form } from "./bindings.ts"
import type { GivenDims, Resolution } from "./dimensions.ts"
import type { ResidentRecord } from "./handles.ts"
import type { Parameter } from "./parameter.ts"
import { readViewAddresses, type ViewTable } from "./viewTable.ts"

/** The tables of one direction. Parts that are not needed are `undefined`. */
export interface Moves {
  /** What touches plain views, and all else that is small: one native call on the loop's thread. */
  readonly inline: ViewTable | undefined
  /** Host tensors and fills that are large: one native call off the loop's thread. */
  readonly apart: ViewTable | undefined
  /** Staged bytes that move on to plain views once the device's part is done. */
  readonly collect: ViewTable | undefined
}

export class RunTables {
  readonly parameters: ReadonlyArray<Parameter>
  readonly resolution: Resolution
  /** The logical bytes of every tensor, scratch included. */
  readonly byteCounts: Float64Array
  readonly leases: LeaseTable
  readonly args: ArgumentTable
  readonly argumentNames: ReadonlyArray<string>
  /** `undefined` with a zero budget. */
  readonly plan: Plan | undefined
  readonly stage: Moves
  readonly copyBack: Moves
  readonly stagingBytes: number
  readonly hasFreeLeases: boolean
  /** The host addresses of the run's views. */
  readonly viewAddresses: Float64Array
  readonly #forms: Uint8Array
  readonly #keyBytes: Float64Array
  readonly #keyShapes: ReadonlyArray<ReadonlyArray<number> | undefined>
  readonly #given: GivenDims | undefined
  /** The view addresses for which aliases were checked last. */
  readonly #checkedAddresses: Float64Array
  #described: RunPlan | undefined

  constructor(options: {
    readonly parameters: ReadonlyArray<Parameter>
    readonly bindings: Bindings
    readonly given: GivenDims | undefined
    readonly resolution: Resolution
    readonly byteCounts: Float64Array
    readonly leases: LeaseTable
    readonly args: ArgumentTable
    readonly argumentNames: ReadonlyArray<string>
    readonly plan: Plan | undefined
    readonly stage: Moves
    readonly copyBack: Moves
    readonly stagingBytes: number
  }) {
    this.parameters = options.parameters
    this.resolution = options.resolution
    this.byteCounts = options.byteCounts
    this.leases = options.leases
    this.args = options.args
    this.argumentNames = options.argumentNames
    this.plan = options.plan
    this.stage = options.stage
    this.copyBack = options.copyBack
    this.stagingBytes = options.stagingBytes
    this.hasFreeLeases = options.leases.kinds.includes(LeaseKind.free)
    this.viewAddresses = new Float64Array(options.parameters.length)
    this.#forms = options.bindings.forms.slice()
    this.#keyBytes = options.bindings.byteCounts.slice()
    this.#keyShapes = options.bindings.records.map((record) => record?.shape)
    this.#given = options.given === undefined ? undefined : { ...options.given }
    this.#checkedAddresses = new Float64Array(options.parameters.length).fill(-1)
  }

  /** Whether these tables were made for arguments of these sizes, forms and shapes. */
  matches(bindings: Bindings, given: GivenDims | undefined): boolean {
    const { byteCounts, forms, records } = bindings
    for (let index = 0; index < forms.length; index++) {
      if (byteCounts[index] !== this.#keyBytes[index] || forms[index] !== this.#forms[index]) {
        return false
      }
      const shape = this.#keyShapes[index]
      if (shape !== undefined && !isSameShape(shape, records[index]?.shape)) {
        return false
      }
    }
    return given === this.#given || isSameRecord(given, this.#given)
  }

  /** Writes what differs from run to run into the argument table: scalars, and where residents lie. */
  bindArguments(bindings: Bindings): void {
    for (const parameter of this.parameters) {
      const index = parameter.index
      const form = bindings.forms[index]
      if (form === Form.scalar) {
        this.args.setScalar(index, parameter.dtype, bindings.values[index] as number | bigint)
      } else if (form === Form.resident && this.leases.kinds[index] === LeaseKind.externalNoop) {
        const address = (bindings.records[index] as ResidentRecord).address
        this.leases.moveExternal(index, address)
        this.args.setAddress(index, address)
      }
    }
  }

  /** Writes the addresses of what was malloc'd for this run. */
  bindLeases(): void {
    for (let index = 0; index < this.leases.count; index++) {
      if (this.leases.kinds[index] === LeaseKind.free) {
        this.args.setAddress(index, this.leases.addresses[index]!)
      }
    }
    for (const table of this.tables()) {
      table.setLeaseAddresses(this.leases.addresses)
    }
  }

  /** Reads the host addresses of all views. True when any differs from the ones whose aliases were checked last. */
  readViews(bindings: Bindings, hostAddress: (view: ArrayBufferView) => number): boolean {
    readViewAddresses(bindings, hostAddress, this.viewAddresses)
    for (let index = 0; index < this.viewAddresses.length; index++) {
      if (this.viewAddresses[index] !== this.#checkedAddresses[index]) {
        return true
      }
    }
    return false
  }

  /** Remembers that the views as they were read last share no memory. */
  aliasesChecked(): void {
    this.#checkedAddresses.set(this.viewAddresses)
  }

  /** All tables of transfers. */
  tables(): ReadonlyArray<ViewTable> {
    const { copyBack, stage } = this
    return [stage.inline, stage.apart, stage.collect, copyBack.inline, copyBack.apart, copyBack.collect].filter((
      table
    ) => table !== undefined)
  }

  /** What users see of it. */
  describe(): RunPlan {
    this.#described ??= describe(this)
    return this.#described
  }
}

const describe = (tables: RunTables): RunPlan => {
  const leases: Array<TensorLease.TensorLease> = []
  for (const parameter of tables.parameters) {
    const lease = describeLease(tables, parameter)
    if (lease !== undefined) {
      leases.push(lease)
    }
  }
  const all = tables.tables()
  const sum = (bytesOf: (table: ViewTable) => number): number => all.reduce((total, table) => total + bytesOf(table), 0)
  const mallocs = leases.filter((lease) => lease._tag === "Free").length
  return {
    leases,
    dims: tables.resolution.dims,
    bufferBytes: tables.plan?.totalBytes ?? 0,
    paddingBytes: tables.plan?.paddingBytes ?? 0,
    deviceMallocs: mallocs,
    hostToDeviceBytes: sum((table) => table.hostToDeviceBytes),
    deviceToHostBytes: sum((table) => table.deviceToHostBytes),
    clearedBytes: sum((table) => table.clearedBytes),
    stagingBytes: tables.stagingBytes,
    stageCalls: calls(tables.stage),
    copyBackCalls: calls(tables.copyBack)
  }
}

const calls = (moves: Moves): number => (moves.inline === undefined ? 0 : 1) + (moves.apart === undefined ? 0 : 1)

const describeLease = (tables: RunTables, parameter: Parameter): TensorLease.TensorLease | undefined => {
  const index = parameter.index
  const lease = { tensor: parameter.name, byteCount: tables.byteCounts[index]! }
  switch (tables.leases.kinds[index]) {
    case LeaseKind.free:
      return TensorLease.free(lease)
    case LeaseKind.externalNoop:
      return TensorLease.externalNoop(lease)
    case LeaseKind.bufferNoop:
      return TensorLease.bufferNoop({
        ...lease,
        chunkIndex: tables.plan?.chunkIndex[index] ?? 0,
        offsetBytes: tables.plan?.offsetBytes[index] ?? 0
      })
    default:
      return undefined
  }
}

const isSameShape = (left: ReadonlyArray<number>, right: ReadonlyArray<number> | undefined): boolean => {
  if (left === right) {
    return true
  }
  if (right === undefined || left.length !== right.length) {
    return false
  }
  for (let index = 0; index < left.length; index++) {
    if (left[index] !== right[index]) {
      return false
    }
  }
  return true
}

const isSameRecord = (
  left: GivenDims | undefined,
  right: GivenDims | undefined
): boolean => {
  const leftNames = Object.keys(left ?? {})
  return leftNames.length === Object.keys(right ?? {}).length &&
    leftNames.every((name) => left?.[name] === right?.[name])
}
