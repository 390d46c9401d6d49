/**
 * The core as a runner puts it together, and the reference model beside it: each command is done to both, and whatever
 * can be seen of them has to be the same.
 */
import { Either } from "effect"
import { TemporaryBuffer } from "leasehold"
import { BumpAllocator, noRange, type SliceRules } from "../../src/internal/core/bumpAllocator.ts"
import { LeaseKind, LeaseTable } from "../../src/internal/core/leaseTable.ts"
import { makePlan, type Plan, type PlanRequest, Role } from "../../src/internal/core/plan.ts"
import { noChunk, type Range, RangeAllocator, vacantRange } from "../../src/internal/core/rangeAllocator.ts"
import { holds, same } from "../core/same.ts"
import { comparePlan } from "./comparePlan.ts"
import type { Command } from "./coreCommands.ts"
import { chunkSizes, CoreModel, largestFree, type ModelPlan, modelRules, planOf, type Tensor } from "./coreModel.ts"

/** How often each outcome was seen, so that a campaign cannot pass by seeing none. */
export const newOutcomes = () => ({
  configurations: 0,
  refusedConfigurations: 0,
  closings: 0,
  runs: 0,
  slices: 0,
  exhaustions: 0,
  plannedRuns: 0,
  refusedPlans: 0,
  mallocs: 0,
  releases: 0,
  quarantines: 0,
  misuses: 0
})

/** What a misuse is answered with: an assertion. Its stack is not wanted, and costs more than all else here. */
const throwsAssertion = (misuse: () => unknown): boolean => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    misuse()
    return false
  } catch {
    return true
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** Where the mallocs of a run lie: far from each other and from every chunk, which does not matter to the core. */
const mallocAddress = (index: number): number => 2 ** 52 + (index + 1) * 2 ** 20

export class CoreSubject {
  readonly model = new CoreModel()
  readonly #outcomes: ReturnType<typeof newOutcomes>
  #rules: SliceRules = { alignmentBytes: 1, granularityBytes: 1, tailBytes: 0 }
  #space = new RangeAllocator([], [], 1)
  /** What the active run cuts slices with, without a plan or behind it. */
  #allocator = new BumpAllocator([], this.#rules)
  /** What the active run has taken by a plan. */
  #ranges: ReadonlyArray<Range> = []
  #leases = new LeaseTable(0)

  constructor(outcomes: ReturnType<typeof newOutcomes>) {
    this.#outcomes = outcomes
  }

  /** Does a command to both sides and compares them. Throws where they differ. */
  execute(command: Command): void {
    this.#do(command)
    this.#compare()
  }

  #do(command: Command): void {
    const { model } = this
    switch (command._tag) {
      case "configure":
        // A runner refuses this while a run is active, so the core is never asked.
        return model.active ? undefined : this.#configure(command)
      case "close":
        return this.#close()
      case "begin":
        return this.#begin()
      case "take":
        return this.#take(command.byteCount)
      case "bind":
        return this.#bind(command.tensors)
      case "malloc":
        return this.#malloc(command.tensors, command.failingIndex)
      case "settle":
        return model.heldFree.length === 0 ? undefined : this.#settleNewest(command.released)
      case "settleTwice":
        return this.#settleTwice()
      case "takeTwice":
        return this.#takeTwice()
      case "end":
        return this.#end()
      case "endTwice":
        return this.#endTwice()
    }
  }

  #configure(command: Extract<Command, { readonly _tag: "configure" }>): void {
    const { alignmentBytes, chunks, granularityBytes, maxBytes, tailBytes } = command
    const granularity = BigInt(granularityBytes)
    const expected = chunkSizes(maxBytes, chunks, granularity)
    const made = TemporaryBuffer.configuration({ maxBytes, alignmentBytes, chunks }, {
      alignmentBytes: 1,
      granularityBytes
    })
    same(Either.isRight(made), expected !== undefined, "a layout is refused where it is none")
    if (Either.isLeft(made) || expected === undefined) {
      this.#outcomes.refusedConfigurations += 1
      return
    }
    const { chunkBytes } = made.right
    same(chunkBytes.map(BigInt).join(), expected.join(), "the chunks of the layout")
    let address = command.firstAddress
    const bases = chunkBytes.map((byteCount) => {
      const base = address
      address += byteCount + command.gapBytes
      return base
    })
    this.#rules = { alignmentBytes, granularityBytes, tailBytes }
    this.#space = new RangeAllocator(bases, chunkBytes, alignmentBytes)
    this.#allocator = new BumpAllocator(this.#space.usableBytes(), this.#rules)
    this.#outcomes.configurations += 1
    this.model.configure(maxBytes, modelRules(this.#rules), bases.map(BigInt), expected)
  }

  #close(): void {
    this.#end()
    this.#outcomes.closings += 1
    this.#space = new RangeAllocator([], [], this.#rules.alignmentBytes)
    this.#allocator = new BumpAllocator([], this.#rules)
    this.model.configure(0, this.model.rules, [], [])
  }

  #begin(): void {
    const { model } = this
    if (model.active) {
      return
    }
    model.active = true
    this.#outcomes.runs += 1
    this.#allocator = new BumpAllocator(this.#space.usableBytes(), this.#rules)
    this.#leases = new LeaseTable(0)
  }

  #take(byteCount: number): void {
    const { model } = this
    if (!model.active) {
      return
    }
    const expected = model.take(byteCount)
    const range = this.#allocator.take(byteCount)
    same(range, expected === undefined ? noRange : expected.chunk, "the range of a slice")
    if (expected === undefined) {
      this.#outcomes.exhaustions += 1
      return
    }
    this.#outcomes.slices += 1
    same(BigInt(this.#allocator.offsetBytes), expected.start, "where a slice starts")
  }

  #bind(tensors: ReadonlyArray<Tensor>): void {
    const { model } = this
    const request: PlanRequest = {
      byteCounts: Float64Array.from(tensors, ({ byteCount }) => byteCount),
      roles: Uint8Array.from(tensors, ({ role }) => Role[role]),
      capacityBytes: this.#space.usableBytes(),
      rules: this.#rules
    }
    const expected = planOf(model.chunks, model.rules, tensors)
    const made = makePlan(request)
    comparePlan(made, request, tensors, expected, model.chunks.map(({ base }) => Number(base)))
    if (made._tag === "PlanRefusal") {
      this.#outcomes.refusedPlans += 1
      return
    }
    if (model.active && model.inUse === 0n && model.heldFree.length === 0) {
      this.#adopt(made, tensors, expected)
    }
  }

  /** The active run takes the ranges of a plan, and holds a lease for each tensor. */
  #adopt(plan: Plan, tensors: ReadonlyArray<Tensor>, expected: ModelPlan): void {
    const { model } = this
    this.#outcomes.plannedRuns += 1
    this.#ranges = [...plan.rangeBytes].map((byteCount, index) => {
      const range = vacantRange()
      holds(byteCount === 0 || this.#space.take(range, byteCount, index), "a run that is alone has its ranges")
      same(range.chunkIndex, byteCount === 0 ? noChunk : index, "each in its own chunk")
      return range
    })
    this.#allocator.usedBytes.set(plan.rangeBytes)
    this.#leases = new LeaseTable(tensors.length)
    for (const [index, slice] of expected.slices.entries()) {
      if (slice !== undefined) {
        model.slices.push(slice)
        const address = this.#space.address(this.#ranges[plan.rangeIndex[index]!]!) + plan.offsetBytes[index]!
        same(BigInt(address), model.chunks[slice.chunk]!.base + slice.start, "where a tensor lies on the device")
        this.#leases.hold(index, LeaseKind.bufferNoop, address, tensors[index]!.byteCount)
      }
    }
    model.planned = expected.used
    for (const [chunk, used] of expected.used.entries()) {
      model.chunks[chunk]!.used = used
    }
  }

  #malloc(tensors: ReadonlyArray<Tensor>, failingIndex: number): void {
    const { model } = this
    if (!model.active || model.inUse > 0n || model.heldFree.length > 0) {
      return
    }
    this.#leases = new LeaseTable(tensors.length)
    for (const [index, { byteCount, role }] of tensors.entries()) {
      if (role === "none" || byteCount === 0) {
        continue
      }
      this.#leases.declareFree(index, byteCount)
      if (index >= failingIndex) {
        break
      }
      this.#leases.hold(index, LeaseKind.free, mallocAddress(index), byteCount)
      this.#outcomes.mallocs += 1
      model.heldFree.push(index)
    }
  }

  /** The newest malloc goes first: released, or quarantined where the device does not take it back. */
  #settleNewest(released: boolean): void {
    const { model } = this
    const index = model.heldFree.pop()!
    same(this.#leases.newestHeldFree(), index, "the newest malloc is settled first")
    same(this.#leases.addresses[index], mallocAddress(index), "where it lies")
    if (released) {
      this.#outcomes.releases += 1
      this.#leases.release(index)
    } else {
      this.#outcomes.quarantines += 1
      model.quarantined += 1
      this.#leases.quarantine(index)
    }
  }

  #settleTwice(): void {
    if (this.model.heldFree.length > 0) {
      const index = this.model.heldFree.at(-1)!
      this.#settleNewest(true)
      this.#misuse("a lease is settled once", () => this.#leases.release(index))
    }
  }

  #end(): void {
    const { model } = this
    while (model.heldFree.length > 0) {
      this.#settleNewest(true)
    }
    for (const range of this.#ranges) {
      if (range.chunkIndex !== noChunk) {
        this.#space.release(range)
      }
    }
    this.#ranges = []
    this.#allocator = new BumpAllocator(this.#space.usableBytes(), this.#rules)
    model.end()
  }

  /** A range that was given back cannot be given back again. */
  #endTwice(): void {
    const held = this.#ranges.filter(({ chunkIndex }) => chunkIndex !== noChunk)
    this.#end()
    for (const range of held) {
      this.#misuse("a range is given back once", () => this.#space.release(range))
    }
  }

  #takeTwice(): void {
    for (const range of this.#ranges) {
      if (range.chunkIndex !== noChunk) {
        this.#misuse("a range is taken once", () => this.#space.take(range, 1, 0))
      }
    }
  }

  #misuse(what: string, misuse: () => unknown): void {
    this.#outcomes.misuses += 1
    holds(throwsAssertion(misuse), what)
  }

  #compare(): void {
    const { model } = this
    const allocator = this.#allocator
    allocator.checkInvariants()
    for (const [chunk, { used }] of model.chunks.entries()) {
      same(BigInt(allocator.usedBytes[chunk]!), used, "what is taken of a range")
    }
    const { inUse, retained } = model
    same(BigInt(allocator.inUseBytes()), inUse, "what is in use")
    holds(inUse <= retained && retained <= model.maxBytes, "all of it within the budget")
    same(BigInt(allocator.largestFreeBytes()), largestFree(model.chunks, model.rules), "the largest free piece")
    this.#space.checkInvariants()
    const left = model.chunks.map(({ capacity }, chunk) => capacity - (model.planned[chunk] ?? 0n))
    same(BigInt(this.#space.inUseBytes), model.planned.reduce((sum, bytes) => sum + bytes, 0n), "what plans have taken")
    same(BigInt(this.#space.freeBytes()), left.reduce((sum, bytes) => sum + bytes, 0n), "what is free")
    same(
      BigInt(this.#space.largestFreeBytes()),
      left.reduce((most, bytes) => bytes > most ? bytes : most, 0n),
      "the largest free range"
    )
    checkLastSlice(model)
    this.#leases.checkInvariants()
    same(this.#leases.heldFreeCount, model.heldFree.length, "the mallocs that are held")
  }
}

/** The last slice against all before it: in address, inside a chunk, apart. */
const checkLastSlice = ({ chunks, rules, slices }: CoreModel): void => {
  const last = slices.at(-1)
  if (last === undefined) {
    return
  }
  const { base, capacity } = chunks[last.chunk]!
  same((base + last.start) % rules.alignment, 0n, "slices are aligned in absolute address")
  holds(last.start >= 0n && last.end <= capacity, "slices lie inside a chunk")
  for (let index = 0; index < slices.length - 1; index++) {
    const { chunk, end, start } = slices[index]!
    holds(chunk !== last.chunk || end <= last.start || last.end <= start, "slices lie apart")
  }
}
