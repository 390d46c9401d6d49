/**
 * What is known about a crowd without asking the runner: who is at work, which configurations stood, what was closed, how
 * often something was made to fail. It notes whatever does not fit into that.
 */
import { Effect } from "effect"
import { type DeviceRunner, HostApi, type Simulator } from "leasehold"
import type { FaultInjection } from "leasehold/testing"
import type { VirtualClock } from "../../src/internal/testing/virtualClock.ts"
import { canaryOf, countForeign } from "../runs/canaryBytes.ts"
import type { RandomScheduler } from "./scheduler.ts"
import type { BudgetSetup, BufferSetup, Setup } from "./setups.ts"

/** How much a campaign has done. */
export interface Tally {
  crowds: number
  runs: number
  succeeded: number
  waited: number
  refused: number
  failed: number
  interrupted: number
  faults: number
  configurations: number
  growths: number
  trims: number
  closings: number
  looks: number
  mostActive: number
}

export const noTally = (): Tally => ({
  crowds: 0,
  runs: 0,
  succeeded: 0,
  waited: 0,
  refused: 0,
  failed: 0,
  interrupted: 0,
  faults: 0,
  configurations: 0,
  growths: 0,
  trims: 0,
  closings: 0,
  looks: 0,
  mostActive: 0
})

/** On whose behalf runs are made: a child budget, or the runner itself. */
export interface Party {
  readonly name: string
  readonly runs: DeviceRunner.Runs
  readonly setup: BudgetSetup | undefined
  readonly stats: DeviceRunner.ChildBudget["stats"] | undefined
  /** Whether somebody has begun to close it. */
  isClosing: boolean
}

/** How things stood when something began. */
export interface Moment {
  readonly firedCount: number
  readonly configurationIndex: number
  /** Changes of the chunks that had ended. */
  readonly changeCount: number
  /** Runs that were asked for by then, but for those that are in flight. */
  readonly goneCount: number
  readonly clockNanos: bigint
}

/** What was done to a run, beside what is known of all. */
export interface Treatment {
  /** Whether outputs are to be there when it has come through: a run that is left early copies nothing back. */
  readonly comesThrough: boolean
  readonly isInterrupted: boolean
  /** An argument may have gone while it waited. */
  readonly losesArgument: boolean
}

/** A run that is asked for and has not come to its end. */
export interface Attempt {
  readonly number: number
  readonly party: Party
  readonly begin: Moment
  readonly treatment: Treatment
  /** Whether its fiber holds another run of the runner meanwhile. */
  readonly isNested: boolean
}

/** A piece of a chunk that a bound run holds. */
export interface HeldRange {
  readonly run: number
  readonly chunkIndex: number
  readonly startBytes: number
  readonly endBytes: number
}

export interface Parts {
  readonly setup: Setup
  readonly runner: DeviceRunner.Service
  readonly injection: FaultInjection.Service
  readonly simulator: Simulator.Simulator["Type"]
  readonly clock: VirtualClock
  readonly scheduler: RandomScheduler
  readonly tally: Tally
}

export class Watch {
  readonly setup: Setup
  readonly runner: DeviceRunner.Service
  readonly injection: FaultInjection.Service
  readonly simulator: Simulator.Simulator["Type"]
  readonly clock: VirtualClock
  readonly scheduler: RandomScheduler
  readonly tally: Tally
  /** What does not fit. Only the first counts, as others may follow from it. */
  readonly problems: Array<string> = []
  readonly inFlight = new Set<Attempt>()
  /** Every configuration that stood or was tried, in their order; the last is that of now, or the one under way. */
  readonly configurations: Array<BufferSetup>
  /** How often the chunks were to be changed, by a configuration or by trimming, and how many of that are under way. */
  changeCount = 0
  changingCount = 0
  /** How many runs were asked for. */
  attemptCount = 0
  /** The runner's own, and the child budgets that are open. */
  readonly parties: Array<Party>
  /** Whether a child budget with a reservation was ever open. */
  hasReserved = false
  /** What bound runs hold, as their handles say. */
  readonly held = new Set<HeldRange>()
  readonly heldSlots = new Set<number>()
  /** Runs with outputs that came back, as their fibers saw it; and those of which it is not sure. */
  succeededCount = 0
  unsureCount = 0
  #number = 0

  constructor(parts: Parts) {
    this.setup = parts.setup
    this.runner = parts.runner
    this.injection = parts.injection
    this.simulator = parts.simulator
    this.clock = parts.clock
    this.scheduler = parts.scheduler
    this.tally = parts.tally
    this.configurations = [parts.setup.buffer]
    this.parties = [{ name: "", runs: parts.runner, setup: undefined, stats: undefined, isClosing: false }]
  }

  get configuration(): BufferSetup {
    return this.configurations.at(-1)!
  }

  /** Whether the device may be lost. */
  get losesDevice(): boolean {
    return this.setup.rules.some(({ fault }) => fault._tag === "Fail" && HostApi.isSticky(fault.status))
  }

  /** Whether something of this kind is made to fail. */
  fails(operation: FaultInjection.OperationKind): boolean {
    return this.setup.rules.some(({ where }) => [where?.operation].flat().includes(operation))
  }

  /** Whether the buffer may have grown. */
  get mayGrow(): boolean {
    return this.configurations.some(({ growth }) => growth === "highWater")
  }

  /** Whether the buffer may have been one that does not grow. */
  get mayBeFixed(): boolean {
    return this.configurations.some(({ growth }) => growth === "fixed")
  }

  get hasDefects(): boolean {
    return this.setup.rules.some(({ fault }) => fault._tag === "Defect")
  }

  /** A number that no other run of the crowd has, and so bytes that no other has. */
  nextNumber(): number {
    this.#number += 1
    return this.#number
  }

  canary(number: number): Uint8Array {
    return canaryOf(number, this.setup.seed)
  }

  note(problem: string): void {
    this.problems.push(problem)
  }

  /** Notes where something that should be so is not. */
  expect(isSo: boolean, problem: () => string): void {
    if (!isSo) {
      this.note(problem())
    }
  }

  /** Holds what a run can see against what it should see, and says whose it is where it is neither. */
  expectBytes(what: string, number: number, view: Uint8Array, allowed: ReadonlyArray<Uint8Array>): void {
    if (!allowed.some((bytes) => Buffer.compare(bytes, view) === 0)) {
      const foreign = countForeign(view, [this.canary(number)])
      const first = view.findIndex((byte, index) => allowed.every((bytes) => bytes[index] !== byte))
      this.note(
        `run ${number}: ${what} of ${view.length} B is not what it should be, ${foreign} bytes are of others; ` +
          `at ${first} it holds ${view[first]}, and not ${allowed.map((bytes) => bytes[first]).join(" or ")}`
      )
    }
  }

  /** A run is bound: nothing that it holds is held by another. */
  hold(run: number, options: {
    readonly slot: number
    readonly leases: ReadonlyArray<unknown>
  }): ReadonlyArray<HeldRange> {
    this.expect(!this.heldSlots.has(options.slot), () => `run ${run} has slot ${options.slot}, which another holds`)
    this.heldSlots.add(options.slot)
    const ranges = (options.leases as ReadonlyArray<Slice>).flatMap((lease): ReadonlyArray<HeldRange> =>
      lease._tag === "BufferNoop"
        ? [{
          run,
          chunkIndex: lease.chunkIndex,
          startBytes: lease.offsetBytes,
          endBytes: lease.offsetBytes + lease.byteCount
        }]
        : []
    )
    for (const range of ranges) {
      for (const other of this.held) {
        this.expect(
          range.chunkIndex !== other.chunkIndex || range.endBytes <= other.startBytes ||
            other.endBytes <= range.startBytes,
          () => `promise 5: run ${run} holds ${describe(range)}, and run ${other.run} ${describe(other)}`
        )
      }
      this.expect(
        range.startBytes % this.setup.buffer.alignmentBytes === 0,
        () => `run ${run} holds ${describe(range)}, which is not aligned`
      )
    }
    ranges.forEach((range) => this.held.add(range))
    return ranges
  }

  /** A run is about to end. */
  letGo(slot: number, ranges: ReadonlyArray<HeldRange>): void {
    this.heldSlots.delete(slot)
    ranges.forEach((range) => this.held.delete(range))
  }

  readonly firedCount: Effect.Effect<number> = Effect.suspend(() =>
    Effect.map(this.injection.fired, (rules) => rules.reduce((sum, { firedCount }) => sum + firedCount, 0))
  )

  readonly moment: Effect.Effect<Moment> = Effect.suspend(() =>
    Effect.map(this.firedCount, (firedCount) => ({
      firedCount,
      // While they are exchanged, those that stood before are not gone.
      configurationIndex: this.configurations.length - 1 - this.changingCount,
      changeCount: this.changeCount - this.changingCount,
      goneCount: this.attemptCount - this.inFlight.size,
      clockNanos: this.clock.clock.unsafeCurrentTimeNanos()
    }))
  )
}

interface Slice {
  readonly _tag: string
  readonly chunkIndex: number
  readonly offsetBytes: number
  readonly byteCount: number
}

const describe = ({ chunkIndex, endBytes, startBytes }: HeldRange): string =>
  `${startBytes} to ${endBytes} of chunk ${chunkIndex}`
