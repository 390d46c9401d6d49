/**
 * The temporary buffer: device memory that a runner retains across runs, and that runs slice from. This module holds its
 * options and what becomes of them.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Bytes from "./Bytes.ts"
import { InvalidConfiguration } from "./Errors.ts"
import { boundedCopy } from "./internal/boundedCopy.ts"
import { alignDown, isPowerOfTwo } from "./internal/core/sizes.ts"

/**
 * How the budget is cut into chunks.
 *
 * - `"single"`: one chunk of the whole budget, so whatever is within the budget fits.
 * - `{ count }`: so many chunks of the same size, rounded down.
 * - `{ sizes }`: chunks of these sizes; their sum is within the budget.
 *
 * At most 64 chunks.
 *
 * @since 0.1.0
 * @category models
 */
export type Chunks =
  | "single"
  | { readonly count: number }
  | { readonly sizes: ReadonlyArray<Bytes.Input> }

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The budget in bytes, padding included. 0 turns the temporary buffer off: every tensor is malloc'd for its run and
   * freed after it. Defaults to `"64 MiB"`.
   */
  readonly maxBytes?: Bytes.Input | undefined
  /**
   * Every slice starts at a multiple of this many bytes, a power of two from 1 to 2^30. Where the device asks for more,
   * the device's alignment is taken. Defaults to `1024`.
   */
  readonly alignmentBytes?: Bytes.Input | undefined
  /** How the budget is cut into chunks. Defaults to `"single"`. */
  readonly chunks?: Chunks | undefined
  /**
   * - `"fixed"`: the chunks are made when the buffer is configured, and stay.
   * - `"highWater"`: the buffer starts with nothing. Its one chunk grows, before a run is admitted, to what runs have needed
   *   at once, up to `maxBytes`; `runner.trim` gives memory back. Each growth is an event: a counter and a line in the log.
   *
   * Defaults to `"fixed"`.
   */
  readonly growth?: "fixed" | "highWater" | undefined
}

/**
 * Options with every size in bytes and every default filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Configuration {
  readonly maxBytes: number
  readonly alignmentBytes: number
  /** Which of the policies of `Chunks` was chosen. */
  readonly policy: "single" | "count" | "sizes"
  /** Whether the chunk grows with what runs need. */
  readonly growth: "fixed" | "highWater"
  /** The bytes of every chunk; empty when the budget is zero, and as long as nothing has grown. */
  readonly chunkBytes: ReadonlyArray<number>
}

/**
 * @since 0.1.0
 * @category configuration
 */
export const defaults = {
  maxBytes: "64 MiB",
  alignmentBytes: 1024,
  chunks: "single",
  growth: "fixed"
} as const satisfies Options

/** The most chunks that a temporary buffer has. */
const maxChunkCount = 64

/** The largest alignment that can be asked for. */
const maxAlignmentBytes = 2 ** 30

/**
 * Checks options and works out the chunks. `device` is what the backend's traits ask for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const configuration = (
  options: Options,
  device: {
    readonly alignmentBytes: number
    readonly granularityBytes: number
    /** Bytes of the budget that are in quarantine; chunks are cut from the rest. Defaults to `0`. */
    readonly reservedBytes?: number | undefined
  }
): Either.Either<Configuration, InvalidConfiguration> => {
  const maxBytes = Bytes.parse(options.maxBytes ?? defaults.maxBytes)
  if (maxBytes === undefined) {
    return invalid("Size", "temporaryBuffer.maxBytes", "it should be a size such as \"64 MiB\", at least 0")
  }
  const asked = Bytes.parse(options.alignmentBytes ?? defaults.alignmentBytes)
  if (asked === undefined || !isPowerOfTwo(asked) || asked > maxAlignmentBytes) {
    return invalid("Alignment", "temporaryBuffer.alignmentBytes", "it should be a power of two from 1 to 2^30")
  }
  const alignmentBytes = Math.max(asked, device.alignmentBytes)
  const chunks = options.chunks ?? defaults.chunks
  const policy = typeof chunks !== "object" ? "single" : "count" in chunks ? "count" : "sizes"
  const growth = options.growth ?? defaults.growth
  if (growth !== "fixed" && growth !== "highWater") {
    return invalid("Choice", "temporaryBuffer.growth", "it should be \"fixed\" or \"highWater\"")
  }
  if (growth === "highWater") {
    return chunks === "single"
      ? Either.right({ maxBytes, alignmentBytes, policy: "single", growth, chunkBytes: [] })
      : invalid("Chunks", "temporaryBuffer.chunks", "a buffer that grows has one chunk: it should be \"single\"")
  }
  return Either.map(
    chunkSizes({ maxBytes, reservedBytes: device.reservedBytes ?? 0 }, chunks, device.granularityBytes),
    (chunkBytes) => ({ maxBytes, alignmentBytes, policy, growth, chunkBytes })
  )
}

/**
 * Whether two configurations are the same, so that configuring one after the other does nothing.
 *
 * @since 0.1.0
 * @category models
 */
export const isSame = (left: Configuration, right: Configuration): boolean =>
  left.maxBytes === right.maxBytes &&
  left.alignmentBytes === right.alignmentBytes &&
  left.growth === right.growth &&
  (left.growth === "highWater" || (
    left.chunkBytes.length === right.chunkBytes.length &&
    left.chunkBytes.every((bytes, index) => bytes === right.chunkBytes[index])
  ))

const invalid = (
  reason: InvalidConfiguration["reason"],
  option: string,
  detail: string
): Either.Either<never, InvalidConfiguration> => Either.left(new InvalidConfiguration({ reason, option, detail }))

const chunkSizes = (
  budget: { readonly maxBytes: number; readonly reservedBytes: number },
  chunks: Chunks,
  granularityBytes: number
): Either.Either<ReadonlyArray<number>, InvalidConfiguration> => {
  const { maxBytes, reservedBytes } = budget
  const freeBytes = Math.max(0, maxBytes - reservedBytes)
  if (chunks === "single") {
    return wholeChunks(budget, [freeBytes], granularityBytes)
  }
  if (typeof chunks !== "object") {
    return invalid("Chunks", "temporaryBuffer.chunks", "it should be \"single\", { count } or { sizes }")
  }
  if ("count" in chunks) {
    const count = chunks.count
    if (!Number.isSafeInteger(count) || count < 1 || count > maxChunkCount) {
      return invalid("Chunks", "temporaryBuffer.chunks.count", `it should be a whole number from 1 to ${maxChunkCount}`)
    }
    return wholeChunks(budget, Array.from({ length: count }, () => Math.floor(freeBytes / count)), granularityBytes)
  }
  const sizes = Array.isArray(chunks.sizes) ? boundedCopy(chunks.sizes, maxChunkCount) : []
  if (sizes.length < 1 || sizes.length > maxChunkCount) {
    return invalid("Chunks", "temporaryBuffer.chunks.sizes", `it should hold from 1 to ${maxChunkCount} sizes`)
  }
  const parsed = Array.from(sizes, (size) => Bytes.parse(size) ?? 0)
  if (parsed.includes(0)) {
    return invalid("Chunks", "temporaryBuffer.chunks.sizes", "every size should be at least 1 byte")
  }
  const totalBytes = parsed.reduce((sum, bytes) => sum + bytes, 0)
  if (totalBytes > maxBytes) {
    return invalid(
      "Chunks",
      "temporaryBuffer.chunks.sizes",
      `the chunks add up to ${totalBytes} B, more than maxBytes ${maxBytes}`
    )
  }
  return wholeChunks(budget, parsed, granularityBytes)
}

/** Rounds every chunk down to whole units of allocation, so that what is requested is what is counted. */
const wholeChunks = (
  budget: { readonly maxBytes: number; readonly reservedBytes: number },
  chunkBytes: ReadonlyArray<number>,
  granularityBytes: number
): Either.Either<ReadonlyArray<number>, InvalidConfiguration> => {
  // A budget that is in quarantine as a whole is refused where it is configured, with its figures.
  if (budget.maxBytes <= budget.reservedBytes) {
    return Either.right([])
  }
  const whole = chunkBytes.map((bytes) => alignDown(bytes, granularityBytes))
  return whole.includes(0)
    ? invalid(
      "Chunks",
      "temporaryBuffer.chunks",
      `every chunk should have at least ${granularityBytes} B on this device`
    )
    : Either.right(whole)
}
