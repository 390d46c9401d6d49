/**
 * What a runner should hold and answer, as plain data: the budget, the residents and their bytes, and how many runs have come
 * through. It knows nothing of how a runner does it.
 */
export interface Resident {
  readonly length: number
  /** What it holds; undefined where a failure has left that open. */
  values: Float32Array | undefined
}

/** Alignment of the slices, in bytes. */
export const alignmentBytes = 64

const aligned = (byteCount: number): number => Math.ceil(byteCount / alignmentBytes) * alignmentBytes

export class Model {
  maxBytes: number
  chunkCount: number
  isUnconfigured = false
  readonly residents: Array<Resident | undefined>

  constructor(maxBytes: number, residentCount: number) {
    this.maxBytes = maxBytes
    this.chunkCount = 1
    this.residents = Array.from({ length: residentCount }, () => undefined)
  }

  /**
   * The error that a run meets whose tensors have so many bytes, or undefined; `"perhaps"` where it takes the allocator to say,
   * because what is left of one chunk may do for it or not.
   */
  refusal(byteCounts: ReadonlyArray<number>): string | undefined {
    if (this.isUnconfigured) {
      return "RunnerUnconfigured"
    }
    if (this.maxBytes === 0) {
      return undefined
    }
    if (byteCounts.some((byteCount) => byteCount > this.chunkBytes)) {
      return byteCounts.some((byteCount) => byteCount > this.maxBytes) || this.chunkCount === 1
        ? "BudgetExhausted"
        : "TensorExceedsChunk"
    }
    const end = byteCounts.reduce((offset, byteCount) => byteCount === 0 ? offset : aligned(offset) + byteCount, 0)
    return end <= this.chunkBytes ? undefined : this.chunkCount === 1 ? "BudgetExhausted" : "perhaps"
  }

  get chunkBytes(): number {
    return Math.floor(this.maxBytes / this.chunkCount)
  }

  /** Bytes of the chunks. */
  get retainedBytes(): number {
    return this.isUnconfigured ? 0 : this.chunkBytes * this.chunkCount
  }
}
