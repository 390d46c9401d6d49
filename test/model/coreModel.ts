/**
 * The reference model of the core: the same rules written as plainly as they can be, in exact arithmetic.
 *
 * Every number is a bigint, so that nothing is cut to 32 bits or rounded to a double. Nothing here is fast, and nothing is
 * taken over from the sources but the order of the roles.
 */
import type { SliceRules } from "../../src/internal/core/bumpAllocator.ts"

/** A chunk from its first aligned address on. */
export interface ModelChunk {
  readonly base: bigint
  readonly capacity: bigint
  used: bigint
}

export interface ModelSlice {
  readonly chunk: number
  readonly start: bigint
  readonly end: bigint
}

export interface ModelRules {
  readonly alignment: bigint
  readonly granularity: bigint
  readonly tail: bigint
}

export const modelRules = (rules: SliceRules): ModelRules => ({
  alignment: BigInt(rules.alignmentBytes),
  granularity: BigInt(rules.granularityBytes),
  tail: BigInt(rules.tailBytes)
})

/** In the order in which a plan places them. */
export type RoleName = "input" | "inout" | "output" | "scratch" | "none"
export const placedRoles: ReadonlyArray<RoleName> = ["input", "inout", "output", "scratch"]

export interface Tensor {
  readonly role: RoleName
  readonly byteCount: number
}

/** A plan, or the first tensor that has no room. */
export interface ModelPlan {
  readonly slices: ReadonlyArray<ModelSlice | undefined>
  readonly used: ReadonlyArray<bigint>
  readonly refused: number | undefined
}

export const roundUp = (value: bigint, step: bigint): bigint => ((value + step - 1n) / step) * step

/** What of a chunk a run can have: nothing before its first aligned address. */
export const usableChunk = (base: bigint, capacity: bigint, alignment: bigint): ModelChunk => {
  const first = roundUp(base, alignment)
  const end = base + capacity
  return { base: first, capacity: end > first ? end - first : 0n, used: 0n }
}

/** What a tensor takes: whole granules and the tail. */
export const lengthOf = (byteCount: number, rules: ModelRules): bigint =>
  roundUp(BigInt(byteCount), rules.granularity) + rules.tail

/** The first chunk with room, and where the slice lies in it. */
export const place = (
  chunks: ReadonlyArray<ModelChunk>,
  rules: ModelRules,
  byteCount: number
): ModelSlice | undefined => {
  for (const [chunk, { base, capacity, used }] of chunks.entries()) {
    const start = roundUp(base + used, rules.alignment) - base
    const end = start + lengthOf(byteCount, rules)
    if (end <= capacity) {
      return { chunk, start, end }
    }
  }
  return undefined
}

/** The largest slice for which some chunk has room: whole granules of what is left behind the aligned start. */
export const largestFree = (chunks: ReadonlyArray<ModelChunk>, rules: ModelRules): bigint => {
  let largest = 0n
  for (const { base, capacity, used } of chunks) {
    const free = capacity - (roundUp(base + used, rules.alignment) - base) - rules.tail
    const granules = free > 0n ? free / rules.granularity : 0n
    largest = granules * rules.granularity > largest ? granules * rules.granularity : largest
  }
  return largest
}

/** Places all tensors in empty chunks: those of one role after those of another, each role in its own order. */
export const planOf = (
  chunks: ReadonlyArray<ModelChunk>,
  rules: ModelRules,
  tensors: ReadonlyArray<Tensor>
): ModelPlan => {
  const trial = chunks.map(({ base, capacity }) => ({ base, capacity, used: 0n }))
  const slices: Array<ModelSlice | undefined> = tensors.map(() => undefined)
  for (const role of placedRoles) {
    for (const [index, tensor] of tensors.entries()) {
      if (tensor.role !== role || tensor.byteCount === 0) {
        continue
      }
      const slice = place(trial, rules, tensor.byteCount)
      if (slice === undefined) {
        return { slices, used: trial.map(({ used }) => used), refused: index }
      }
      trial[slice.chunk]!.used = slice.end
      slices[index] = slice
    }
  }
  // The padding behind the last slice of a chunk, up to the next boundary, is the run's as well.
  const used = trial.map(({ base, capacity, used }) => {
    const closed = roundUp(base + used, rules.alignment) - base
    return used === 0n ? 0n : closed < capacity ? closed : capacity
  })
  return { slices, used, refused: undefined }
}

/** The size of one aligned chunk in which all tensors fit, in whole granules. */
export const singleChunk = (rules: ModelRules, tensors: ReadonlyArray<Tensor>): bigint => {
  let end = 0n
  for (const role of placedRoles) {
    for (const tensor of tensors) {
      if (tensor.role === role && tensor.byteCount > 0) {
        end = roundUp(end, rules.alignment) + lengthOf(tensor.byteCount, rules)
      }
    }
  }
  return roundUp(end, rules.granularity)
}

/** How a budget is cut into chunks, or `undefined` where it cannot be. */
export const chunkSizes = (
  maxBytes: number,
  chunks: "single" | { readonly count: number } | { readonly sizes: ReadonlyArray<number> },
  granularity: bigint
): ReadonlyArray<bigint> | undefined => {
  const budget = BigInt(maxBytes)
  const asked = chunks === "single"
    ? [budget]
    : "count" in chunks
    ? Array.from({ length: chunks.count }, () => budget / BigInt(chunks.count))
    : chunks.sizes.map(BigInt)
  const sum = asked.reduce((total, bytes) => total + bytes, 0n)
  if (asked.length === 0 || sum > budget || (chunks !== "single" && "sizes" in chunks && asked.includes(0n))) {
    return undefined
  }
  if (budget === 0n) {
    return []
  }
  const whole = asked.map((bytes) => (bytes / granularity) * granularity)
  return whole.includes(0n) ? undefined : whole
}

/** The whole core, as far as it can be seen from outside. */
export class CoreModel {
  maxBytes = 0n
  retained = 0n
  rules: ModelRules = { alignment: 1n, granularity: 1n, tail: 0n }
  chunks: Array<ModelChunk> = []
  active = false
  slices: Array<ModelSlice> = []
  /** For each chunk what the run has taken of it by a plan. */
  planned: ReadonlyArray<bigint> = []
  /** What is malloc'd for the active run, oldest first: the places of its tensors. */
  heldFree: Array<number> = []
  quarantined = 0

  configure(maxBytes: number, rules: ModelRules, bases: ReadonlyArray<bigint>, sizes: ReadonlyArray<bigint>): void {
    this.maxBytes = BigInt(maxBytes)
    this.rules = rules
    this.retained = sizes.reduce((sum, capacity) => sum + capacity, 0n)
    this.chunks = sizes.map((capacity, index) => usableChunk(bases[index]!, capacity, rules.alignment))
  }

  get inUse(): bigint {
    return this.chunks.reduce((sum, { used }) => sum + used, 0n)
  }

  take(byteCount: number): ModelSlice | undefined {
    const slice = place(this.chunks, this.rules, byteCount)
    if (slice !== undefined) {
      this.chunks[slice.chunk]!.used = slice.end
      this.slices.push(slice)
    }
    return slice
  }

  end(): void {
    this.active = false
    this.slices = []
    this.planned = []
    this.heldFree = []
    for (const chunk of this.chunks) {
      chunk.used = 0n
    }
  }
}
