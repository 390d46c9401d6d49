/** A seeded generator of random numbers: the same seed gives the same numbers on every machine. */

/** The seed that a campaign uses where `LEASEHOLD_SEED` names none. */
const fixedSeed = 42

/** The seeds to use: one, or with `LEASEHOLD_LONG=1` ten. */
export const campaignSeeds = (): ReadonlyArray<number> => {
  const given = process.env["LEASEHOLD_SEED"]
  const first = given === undefined || given === "" ? fixedSeed : Number(given)
  if (!Number.isSafeInteger(first) || first < 0) {
    throw new Error(`LEASEHOLD_SEED should be a whole number from 0, not ${given}`)
  }
  const count = process.env["LEASEHOLD_LONG"] === "1" ? 10 : 1
  return Array.from({ length: count }, (_, index) => first + index)
}

/** Sizes around which arithmetic in 32 bits, or in doubles, goes wrong. */
const cliffs = [2 ** 15, 2 ** 16, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52, 2 ** 53 - 4]

export class Random {
  #state: number

  constructor(seed: number) {
    // Neighbouring seeds start far apart.
    this.#state = Math.imul(seed % 2 ** 32, 0x9e37_79b1) ^ Math.floor(seed / 2 ** 32)
  }

  /** A number from 0 up to 1, without 1: the generator known as mulberry32. */
  next(): number {
    this.#state = (this.#state + 0x6d2b_79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from 0 up to `limit`, without `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  pick<A>(choices: ReadonlyArray<A>): A {
    return choices[this.below(choices.length)]!
  }

  /** True once in so many times. */
  once(times: number): boolean {
    return this.below(times) === 0
  }

  /** A size: mostly small, at times next to a cliff. Always a safe integer. */
  size(): number {
    switch (this.below(12)) {
      case 0:
        return Math.floor(this.pick(cliffs) * this.next())
      case 1:
        return this.pick(cliffs) + this.below(7) - 3
      case 2:
        return this.below(4)
      case 3:
      case 4:
        return this.below(6000)
      case 5:
      case 6:
      case 7:
        return this.below(600)
      default:
        return this.below(70)
    }
  }

  /** So many values, or fewer. */
  list<A>(most: number, make: (index: number) => A): Array<A> {
    return Array.from({ length: this.below(most + 1) }, (_, index) => make(index))
  }
}
