/**
 * A few things by recency, the one used last first; the one used longest ago goes.
 */
export class RecentlyUsed<A> {
  readonly #items: Array<A> = []
  readonly #maxCount: number

  constructor(maxCount: number) {
    this.#maxCount = maxCount
  }

  get last(): A | undefined {
    return this.#items[0]
  }

  /** The first that fits, which is the last one used from now on. */
  find(fits: (item: A) => boolean): A | undefined {
    const index = this.#items.findIndex(fits)
    if (index < 0) {
      return undefined
    }
    const [found] = this.#items.splice(index, 1)
    this.#items.unshift(found!)
    return found
  }

  add(item: A): void {
    this.#items.unshift(item)
    if (this.#items.length > this.#maxCount) {
      this.#items.pop()
    }
  }

  clear(): void {
    this.#items.length = 0
  }
}
