/**
 * Everything that a run hands to the backend: the leases, the argument table, and the tables of transfers that stage it and
 * copy it back. Made once per frame and shape from a layout, and moved to where the ranges of the run at hand lie.
 */
import type { InvalidArgument } from "../../Errors.ts"
import type { Arguments, Origin, Purpose } from "../../HostApi.ts"
import type { RunPlan } from "../../RunPlan.ts"
import { ArgumentKind, type ArgumentTable } from "../core/argumentTable.ts"
import { noRange } from "../core/bumpAllocator.ts"
import { LeaseKind, type LeaseTable } from "../core/leaseTable.ts"
import type { Plan } from "../core/plan.ts"
import { noChunk } from "../core/rangeAllocator.ts"
import type { Slot } from "../core/slot.ts"
import type { Bindings } from "./bindings.ts"
import { checkViewAliases } from "./checkArguments.ts"
import { alone, describeRun, type Placement } from "./describeRun.ts"
import type { HostTable } from "./deviceTable.ts"
import type { ResidentRecord } from "./handles.ts"
import type { Moves } from "./moves.ts"
import type { Parameter } from "./parameter.ts"
import type { RunLayout } from "./runLayout.ts"
import { type TableLayout, ViewTable } from "./viewTable.ts"

/** The origin of one of a run's calls. It is made once, and tells each run's number while that run is bound. */
interface CallOrigin extends Origin {
  runId: number
}

export class RunTables {
  readonly layout: RunLayout
  readonly leases: LeaseTable
  readonly args: ArgumentTable
  /** What a launch hands to the backend: the cells of `args`. */
  readonly launch: Arguments
  readonly stage: Moves<ViewTable>
  readonly copyBack: Moves<ViewTable>
  readonly hasFreeLeases: boolean
  readonly stageOrigin: CallOrigin
  readonly launchOrigin: CallOrigin
  readonly copyBackOrigin: CallOrigin
  readonly #all: ReadonlyArray<ViewTable>
  /** What of `args` the kernel reads from device memory. */
  readonly #deviceTable: HostTable | undefined
  readonly #scalars: ReadonlyArray<Parameter>
  readonly #residents: ReadonlyArray<Parameter>
  /** Where the ranges begin and, behind them, where the slot's staging area does. */
  readonly #bases: Float64Array
  readonly #rangeCount: number
  /** The version of the bindings whose views these tables point at. */
  #placeVersion = -1
  /** The version of the bindings whose residents the argument table points at. */
  #residentVersion = -1
  /** What users were shown last, and where the ranges lay then. */
  #described: RunPlan | undefined
  readonly #shown: Placement

  constructor(layout: RunLayout, bindings: Bindings) {
    const rangeCount = layout.demand.rangeBytes.length
    const tableOf = (table: TableLayout | undefined): ViewTable | undefined =>
      table === undefined ? undefined : new ViewTable(table, bindings, rangeCount)
    const movesOf = ({ apart, collect, inline }: Moves<TableLayout>): Moves<ViewTable> => ({
      inline: tableOf(inline),
      apart: tableOf(apart),
      collect: tableOf(collect)
    })
    this.layout = layout
    this.#deviceTable = layout.deviceTable?.make()
    this.leases = layout.makeLeases()
    this.args = layout.makeArguments()
    this.launch = {
      cells: this.args.cells,
      count: this.args.count,
      offThread: layout.launchesOffThread,
      dims: layout.resolution.dims,
      deviceTable: layout.deviceTable?.index
    }
    this.stage = movesOf(layout.stage)
    this.copyBack = movesOf(layout.copyBack)
    this.hasFreeLeases = this.leases.kinds.includes(LeaseKind.free)
    this.stageOrigin = originOf("stage", this.stage.inline?.names ?? [])
    this.launchOrigin = originOf("launch", layout.parameters.map(({ name }) => name))
    this.copyBackOrigin = originOf("copyBack", this.copyBack.inline?.names ?? [])
    this.#all = [this.stage, this.copyBack].flatMap(({ apart, collect, inline }) =>
      [inline, apart, collect].filter((table) => table !== undefined)
    )
    this.#scalars = layout.parameters.filter(({ kind }) => kind === ArgumentKind.scalar)
    this.#residents = layout.parameters.filter(({ index }) => this.leases.kinds[index] === LeaseKind.externalNoop)
    this.#bases = new Float64Array(rangeCount + 1)
    this.#rangeCount = rangeCount
    this.#shown = alone(layout)
  }

  get parameters(): ReadonlyArray<Parameter> {
    return this.layout.parameters
  }

  /** The logical bytes of every tensor, scratch included. */
  get byteCounts(): Float64Array {
    return this.layout.byteCounts
  }

  /** Moves everything to where a slot's ranges and its staging area lie. Does nothing where that is where it is. */
  place(slot: Slot, stagingAddress: number): void {
    let hasMoved = this.#moveBase(this.#bases.length - 1, stagingAddress)
    for (let range = 0; range < this.#rangeCount; range++) {
      if (slot.ranges[range]!.chunkIndex !== noChunk) {
        hasMoved = this.#moveBase(range, slot.address(range)) || hasMoved
      }
    }
    if (hasMoved) {
      this.#move()
    }
  }

  #moveBase(index: number, address: number): boolean {
    const hasMoved = this.#bases[index] !== address
    this.#bases[index] = address
    return hasMoved
  }

  #move(): void {
    const { plan } = this.layout
    if (plan !== undefined) {
      this.#moveSlices(plan)
    }
    for (const table of this.#all) {
      table.setBases(this.#bases)
    }
  }

  #moveSlices({ offsetBytes, rangeIndex }: Plan): void {
    for (let index = 0; index < this.leases.count; index++) {
      const range = rangeIndex[index]!
      if (range !== noRange) {
        const address = this.#bases[range]! + offsetBytes[index]!
        this.leases.moveTo(index, address)
        this.args.setAddress(index, address)
      }
    }
  }

  /** Writes what differs from run to run: the run's number, scalars, and where residents lie. */
  bindRun(runId: number, bindings: Bindings): void {
    this.stageOrigin.runId = runId
    this.launchOrigin.runId = runId
    this.copyBackOrigin.runId = runId
    for (const { dtype, index } of this.#scalars) {
      this.args.setScalar(index, dtype, bindings.values[index] as number | bigint)
    }
    if (this.#residentVersion !== bindings.residentVersion) {
      this.#residentVersion = bindings.residentVersion
      for (const { index } of this.#residents) {
        const { address } = bindings.records[index] as ResidentRecord
        this.leases.moveTo(index, address)
        this.args.setAddress(index, address)
      }
    }
    this.#deviceTable?.write(this.launch)
  }

  /** Writes the addresses of what was malloc'd for this run. */
  bindLeases(): void {
    for (let index = 0; index < this.leases.count; index++) {
      if (this.leases.kinds[index] === LeaseKind.free) {
        this.args.setAddress(index, this.leases.addresses[index]!)
      }
    }
    for (const table of this.#all) {
      table.setLeaseAddresses(this.leases.addresses)
    }
    this.#deviceTable?.write(this.launch)
  }

  /**
   * Points at the views as they are bound now, once it is sure that no output shares memory with another argument. Does
   * nothing where they are the ones of last time.
   */
  bindViews(bindings: Bindings): InvalidArgument | undefined {
    if (this.#placeVersion === bindings.placeVersion) {
      return undefined
    }
    const failure = checkViewAliases(bindings)
    if (failure !== undefined) {
      return failure
    }
    if (this.#deviceTable !== undefined) {
      bindings.hostAddresses[this.#deviceTable.index] = this.#deviceTable.hostAddress
    }
    for (const table of this.#all) {
      table.setViewAddresses(bindings.hostAddresses)
    }
    this.#placeVersion = bindings.placeVersion
    return undefined
  }

  /**
   * What users see of it, where the ranges of this slot lie. Chunks may have been exchanged for others at the same addresses,
   * so that nothing has moved and yet lies elsewhere in its chunk.
   */
  describe(slot: Slot): RunPlan {
    const { chunkIndex, startBytes } = this.#shown
    for (let range = 0; range < this.#rangeCount; range++) {
      const location = slot.locate(range)
      if (location.chunkIndex !== chunkIndex[range] || location.startBytes !== startBytes[range]) {
        chunkIndex[range] = location.chunkIndex
        startBytes[range] = location.startBytes
        this.#described = undefined
      }
    }
    this.#described ??= describeRun(this.layout, this.#shown)
    return this.#described
  }
}

const originOf = (purpose: Purpose, names: ReadonlyArray<string>): CallOrigin => ({ purpose, runId: 0, names })
