/** Garbage collections at will, in a process that was started with --expose-gc. */
import { Effect } from "effect"
import { nextTurn } from "../utils/garbage.ts"

const gc = (kind: "minor" | "major"): void => {
  if (globalThis.gc === undefined) {
    throw new Error("the garbage torture needs --expose-gc")
  }
  globalThis.gc({ type: kind })
}

/**
 * Whether all of the heap is collected in a round. In the others it is only what is young, which is where the arrays are; a
 * collection of the young takes a `WeakRef` for a reference.
 */
export const isMajor = (round: number): boolean => round % 8 === 0

const noiseBytes = [8, 128, 256, 512, 4096, 65_536]

/** Collects what nobody holds, and writes other bytes where it was. */
export const collect = (round: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* nextTurn
    gc(isMajor(round) ? "major" : "minor")
    const noise = noiseBytes.flatMap((byteCount) => [0, 1].map(() => new Uint8Array(byteCount).fill(0xee)))
    if (noise.some((bytes) => bytes[0] !== 0xee)) {
      throw new Error("the noise was not written")
    }
    yield* nextTurn
  })

const baitBytes = 2 ** 20

/** Makes an array that nobody holds, and answers whether the collections since have collected it. */
export const bait = (): () => boolean => {
  const before = process.memoryUsage().arrayBuffers
  const large = new Uint8Array(baitBytes)
  const isMade = process.memoryUsage().arrayBuffers >= before + large.byteLength
  return () => isMade && process.memoryUsage().arrayBuffers < before + baitBytes / 2
}
