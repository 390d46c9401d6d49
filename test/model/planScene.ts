/** Random runs for the tests of plans: their tensors, their backend, and the fake memory that they lie in. */
import { Either } from "effect"
import { type Callable, TemporaryBuffer } from "leasehold"
import type { SliceRules } from "../../src/internal/core/bumpAllocator.ts"
import type { LayoutContext } from "../../src/internal/runner/layOutRun.ts"
import type { ModelChunk, Tensor } from "./coreModel.ts"
import type { FakeMemory, Region } from "./fakeMemory.ts"
import type { Random } from "./random.ts"

/** What lay in device memory before the run: another run's bytes. */
export const leftOver = 0xaa
/** What lies around the views of the host. */
export const guard = 0x55
export const guardBytes = 16

export interface Scene {
  readonly tensors: ReadonlyArray<Tensor>
  readonly maxBytes: number
  readonly rules: SliceRules
  readonly chunks: "single" | { readonly count: number }
  readonly clear: Callable.Clear
  readonly answersAtOnce: boolean
  readonly coalesceMaxBytes: number
  readonly execution: Callable.Execution
  readonly maxInlineCopyBytes: number
  readonly firstAddress: number
}

export const sceneOf = (random: Random): Scene => {
  const alignmentBytes = 2 ** random.below(9)
  return {
    tensors: random.list(8, () => ({
      role: random.pick(["input", "input", "inout", "output", "scratch"] as const),
      byteCount: random.pick([0, 1, 7, 64, 511, 512, 513, random.below(900)])
    })),
    maxBytes: random.once(5) ? 0 : 1024 + random.below(9000),
    rules: {
      alignmentBytes,
      granularityBytes: random.pick([1, 1, 4, 32, 48]),
      tailBytes: random.pick([0, 0, 1, 32])
    },
    chunks: random.once(2) ? "single" : { count: 1 + random.below(3) },
    clear: random.pick(["all", "outputs", "none"]),
    answersAtOnce: random.once(2),
    coalesceMaxBytes: random.pick([0, 500, 100_000]),
    execution: random.pick(["inline", "awaited"]),
    maxInlineCopyBytes: random.pick([8000, 100_000]),
    // Malloc aligns, so chunks start at boundaries; beyond 32 bits as often as not.
    firstAddress: alignmentBytes * (1 + random.below(1000)) + random.pick([0, 2 ** 31, 2 ** 32, 2 ** 40])
  }
}

/** One tensor of a scene: its name, and its view in the middle of guarded bytes. */
export interface Placed extends Tensor {
  readonly name: string
  readonly view: Uint8Array
  readonly region: Region
}

export const isIn = ({ role }: Tensor): boolean => role === "input" || role === "inout"
export const isOut = ({ role }: Tensor): boolean => role === "inout" || role === "output"

export const inputByte = (tensor: number, index: number): number => (tensor * 37 + index * 11) % 80 + 1
export const outputByte = (tensor: number, index: number): number => (tensor * 41 + index * 13) % 80 + 90

export const contextOf = (
  scene: Scene,
  memory: FakeMemory
): {
  readonly context: LayoutContext
  readonly baseAddresses: ReadonlyArray<number>
  readonly stagingAddress: number
  readonly chunks: ReadonlyArray<ModelChunk>
} => {
  const { chunks, maxBytes, rules } = scene
  const configuration = Either.getOrThrow(
    TemporaryBuffer.configuration({ maxBytes, alignmentBytes: rules.alignmentBytes, chunks }, {
      alignmentBytes: 1,
      granularityBytes: rules.granularityBytes
    })
  )
  let next = scene.firstAddress
  const baseAddresses = configuration.chunkBytes.map((byteCount, chunk) => {
    const base = next
    // A guarded stretch lies behind each chunk, which no transfer may touch.
    next += Math.ceil((byteCount + 64) / rules.alignmentBytes) * rules.alignmentBytes
    memory.add(`chunk ${chunk}`, base, new Uint8Array(byteCount).fill(leftOver))
    return base
  })
  const staging = { address: 2 ** 46, byteCount: scene.answersAtOnce && scene.coalesceMaxBytes === 0 ? 0 : 100_000 }
  memory.add("staging", staging.address, new Uint8Array(staging.byteCount).fill(leftOver))
  return {
    context: {
      traits: {
        alignmentBytes: 1,
        granularityBytes: rules.granularityBytes,
        tailBytes: rules.tailBytes,
        coalesceMaxBytes: scene.coalesceMaxBytes,
        overlapsCopies: false,
        freeSynchronizes: false,
        argumentPassing: "value",
        recovery: "rebuildRunner",
        answersAtOnce: scene.answersAtOnce
      },
      configuration,
      rules,
      capacityBytes: configuration.chunkBytes,
      clear: scene.clear,
      maxInlineCopyBytes: scene.maxInlineCopyBytes,
      hostAddress: () => 0,
      stagingMaxBytes: staging.byteCount,
      slotCount: 1
    },
    baseAddresses,
    stagingAddress: staging.address,
    chunks: baseAddresses.map((base, chunk) => ({
      base: BigInt(base),
      capacity: BigInt(configuration.chunkBytes[chunk]!),
      used: 0n
    }))
  }
}
