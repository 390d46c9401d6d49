/**
 * Canaries: bytes that tell which run they belong to. A canary repeats three bytes; the top two bits of each are its place
 * among the three, which is never 0, and the lower six are a sixth of the run's number each. So no byte of a canary is 0,
 * and each can be judged by itself, wherever it turns up.
 */

/** Runs that can be told apart. */
export const runLimit = 2 ** 18

/** The three bytes of a run. The seed decides which run has which. */
export const canaryOf = (run: number, seed: number): Uint8Array => {
  // Odd, so that no two runs have the same.
  const mixed = (Math.imul(run, 0x9e37_79b1) + Math.imul(seed, 0x85eb_ca77)) & (runLimit - 1)
  return Uint8Array.of(0x40 | (mixed & 63), 0x80 | ((mixed >> 6) & 63), 0xc0 | (mixed >> 12))
}

export const fill = (view: Uint8Array, canary: Uint8Array): Uint8Array => {
  for (let index = 0; index < view.length; index++) {
    view[index] = canary[index % 3]!
  }
  return view
}

/** How many bytes are neither 0 nor of one of these canaries. */
export const countForeign = (view: Uint8Array, canaries: ReadonlyArray<Uint8Array>): number => {
  let foreignCount = 0
  for (const byte of view) {
    if (byte !== 0 && !canaries.some((canary) => canary[(byte >> 6) - 1] === byte)) {
      foreignCount += 1
    }
  }
  return foreignCount
}
