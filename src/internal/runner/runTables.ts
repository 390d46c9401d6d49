/**
 * Everything that a run of one shape needs, made once and found again: the leases, the argument table, and the tables of
 * transfers that stage it and copy it back.
 */
import { InvalidArgument } from "../../Errors.ts"
import type { Arguments, Origin, Purpose } from "../../HostApi.ts"
import type { RunPlan } from "../../RunPlan.ts"
import * as TensorLease from "../../TensorLease.ts"
import { ArgumentKind, type ArgumentTable } from "../core/argumentTable.ts"
import { LeaseKind, type LeaseTable } from "../core/leaseTable.ts"
import type { Plan } from "../core/plan.ts"
import { type Bindings, isSameShape } from "./bindings.ts"
import type { GivenDims, Resolution } from "./dimensions.ts"
import type { ResidentRecord } from "./handles.ts"
import type { Parameter } from "./parameter.ts"
import type { ViewTable } from "./viewTable.ts"

/** The tables of one direction. Parts that are not needed are `undefined`. */
export interface Moves {
  /** What touches plain views, and all else that is small: one native call on the loop's thread. */
  readonly inline: ViewTable | undefined
  /** Host tensors and fills that are large: one native call off the loop's thread. */
  readonly apart: ViewTable | undefined
  /** Staged bytes that move on to plain views once the device's part is done. */
  readonly collect: ViewTable | undefined
}

/** The origin of one of a run's calls. It is made once, and tells each run's number while that run is bound. */
interface CallOrigin extends Origin {
  runId: number
}

export class RunTables {
  readonly parameters: ReadonlyArray<Parameter>
  readonly resolution: Resolution
  /** The logical bytes of every tensor, scratch included. */
  readonly byteCounts: Float64Array
  readonly leases: LeaseTable
  readonly args: ArgumentTable
  /** What a launch hands to the backend: the cells of `args`. */
  readonly launch: Arguments
  /** `undefined` with a zero budget. */
  readonly plan: Plan | undefined
  readonly stage: Moves
  readonly copyBack: Moves
  readonly stagingBytes: number
  readonly hasFreeLeases: boolean
  readonly stageOrigin: CallOrigin
  readonly launchOrigin: CallOrigin
  readonly copyBackOrigin: CallOrigin
  readonly #scalars: ReadonlyArray<Parameter>
  readonly #residents: ReadonlyArray<Parameter>
  readonly #forms: Uint8Array
  readonly #keyBytes: Float64Array
  readonly #keyShapes: ReadonlyArray<ReadonlyArray<number> | undefined>
  readonly #given: GivenDims | undefined
  /** The version of the bindings whose views these tables point at. */
  #placeVersion = -1
  /** The version of the bindings whose residents the argument table points at. */
  #residentVersion = -1
  #described: RunPlan | undefined

  constructor(options: {
    readonly parameters: ReadonlyArray<Parameter>
    readonly bindings: Bindings
    readonly given: GivenDims | undefined
    readonly resolution: Resolution
    readonly byteCounts: Float64Array
    readonly leases: LeaseTable
    readonly args: ArgumentTable
    /** Whether a launch leaves the event loop's thread. */
    readonly launchesOffThread: boolean
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
    this.launch = { cells: options.args.cells, count: options.args.count, offThread: options.launchesOffThread }
    this.plan = options.plan
    this.stage = options.stage
    this.copyBack = options.copyBack
    this.stagingBytes = options.stagingBytes
    this.hasFreeLeases = options.leases.kinds.includes(LeaseKind.free)
    this.stageOrigin = originOf("stage", options.stage.inline?.names ?? [])
    this.launchOrigin = originOf("launch", options.parameters.map(({ name }) => name))
    this.copyBackOrigin = originOf("copyBack", options.copyBack.inline?.names ?? [])
    this.#scalars = options.parameters.filter(({ kind }) => kind === ArgumentKind.scalar)
    this.#residents = options.parameters.filter(({ index }) => options.leases.kinds[index] === LeaseKind.externalNoop)
    this.#forms = options.bindings.forms.slice()
    this.#keyBytes = options.bindings.byteCounts.slice()
    this.#keyShapes = options.bindings.shapes.slice()
    this.#given = options.given === undefined ? undefined : { ...options.given }
  }

  /** Whether these tables were made for arguments of these sizes, forms and shapes. */
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

  /** Whether these tables were made for dimensions that were given like this. */
  isFor(given: GivenDims | undefined): boolean {
    return given === this.#given || isSameRecord(given, this.#given)
  }

  /** Writes what differs from run to run: the run's number, scalars, and where residents lie. */
  bindRun(runId: number, bindings: Bindings): void {
    this.stageOrigin.runId = runId
    this.launchOrigin.runId = runId
    this.copyBackOrigin.runId = runId
    for (const { dtype, index } of this.#scalars) {
      this.args.setScalar(index, dtype, bindings.values[index] as number | bigint)
    }
    if (this.#residentVersion === bindings.residentVersion) {
      return
    }
    this.#residentVersion = bindings.residentVersion
    for (const { index } of this.#residents) {
      const { address } = bindings.records[index] as ResidentRecord
      this.leases.moveExternal(index, address)
      this.args.setAddress(index, address)
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

  /**
   * Points at the views as they are bound now, once it is sure that no output shares memory with another argument. Does
   * nothing where they are the ones of last time.
   */
  bindViews(bindings: Bindings): InvalidArgument | undefined {
    if (this.#placeVersion === bindings.placeVersion) {
      return undefined
    }
    const alias = bindings.findAliases()
    if (alias !== undefined) {
      return new InvalidArgument({
        reason: "Aliased",
        argument: alias.written.name,
        detail: `shares host memory with "${alias.other.name}"; declare an inout instead`
      })
    }
    for (const table of this.tables()) {
      table.setViewAddresses(bindings.hostAddresses)
    }
    this.#placeVersion = bindings.placeVersion
    return undefined
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

const originOf = (purpose: Purpose, names: ReadonlyArray<string>): CallOrigin => ({ purpose, runId: 0, names })

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

const isSameRecord = (
  left: GivenDims | undefined,
  right: GivenDims | undefined
): boolean => {
  const leftNames = Object.keys(left ?? {})
  return leftNames.length === Object.keys(right ?? {}).length &&
    leftNames.every((name) => left?.[name] === right?.[name])
}
