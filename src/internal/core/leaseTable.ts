/**
 * The lease table: for each tensor of a run what it holds on the device and how that is released, as flat arrays.
 *
 * A lease is settled exactly once: released, or quarantined where the release failed. Only `free` leases need work when a
 * run ends; a table without them ends without a pass over its entries.
 */
import { assert } from "../assert.ts"

/** How a lease is released. */
export const LeaseKind = { none: 0, free: 1, bufferNoop: 2, externalNoop: 3 } as const
export type LeaseKind = (typeof LeaseKind)[keyof typeof LeaseKind]

const State = { vacant: 0, held: 1, released: 2, quarantined: 3 } as const

export class LeaseTable {
  readonly count: number
  readonly kinds: Uint8Array
  readonly addresses: Float64Array
  readonly byteCounts: Float64Array
  readonly #states: Uint8Array
  #heldFreeCount = 0
  /** No `free` lease above this entry is held. */
  #searchFrom = -1

  constructor(count: number) {
    this.count = count
    this.kinds = new Uint8Array(count)
    this.addresses = new Float64Array(count)
    this.byteCounts = new Float64Array(count)
    this.#states = new Uint8Array(count)
  }

  /** How many `free` leases are held and not settled yet. */
  get heldFreeCount(): number {
    return this.#heldFreeCount
  }

  /** Says that a tensor will be malloc'd in every run; nothing is held yet. */
  declareFree(index: number, byteCount: number): void {
    assert(this.#states[index] === State.vacant, "a lease is declared before it is held")
    this.kinds[index] = LeaseKind.free
    this.byteCounts[index] = byteCount
  }

  /** Records what a tensor holds. An entry can be held again once it is settled. */
  hold(index: number, kind: LeaseKind, address: number, byteCount: number): void {
    assert(index >= 0 && index < this.count, "a lease belongs to a tensor of the run")
    assert(this.#states[index] !== State.held || this.kinds[index] !== LeaseKind.free, "a held malloc is not forgotten")
    this.kinds[index] = kind
    this.addresses[index] = address
    this.byteCounts[index] = byteCount
    this.#states[index] = State.held
    if (kind === LeaseKind.free) {
      this.#heldFreeCount += 1
      this.#searchFrom = Math.max(this.#searchFrom, index)
    }
  }

  /** Moves a lease that needs no release to another address: another resident tensor, or a range that lies elsewhere. */
  moveTo(index: number, address: number): void {
    assert(
      this.kinds[index] === LeaseKind.externalNoop || this.kinds[index] === LeaseKind.bufferNoop,
      "what was malloc'd for a run does not move"
    )
    this.addresses[index] = address
  }

  /** The newest `free` lease that is not settled, or -1. Releasing goes from the newest to the oldest. */
  newestHeldFree(): number {
    if (this.#heldFreeCount === 0) {
      return -1
    }
    for (let index = this.#searchFrom; index >= 0; index--) {
      if (this.kinds[index] === LeaseKind.free && this.#states[index] === State.held) {
        this.#searchFrom = index
        return index
      }
    }
    return -1
  }

  /** Settles a `free` lease whose memory the device took back. */
  release(index: number): void {
    this.#settle(index, State.released)
  }

  /** Settles a `free` lease whose memory could not be given back. */
  quarantine(index: number): void {
    this.#settle(index, State.quarantined)
  }

  checkInvariants(): void {
    let heldFree = 0
    for (let index = 0; index < this.count; index++) {
      const state = this.#states[index]!
      assert(state === State.vacant || this.kinds[index] !== LeaseKind.none, "a lease that was held has a kind")
      if (this.kinds[index] === LeaseKind.free && state === State.held) {
        assert(this.addresses[index]! > 0, "what is freed has an address")
        assert(this.byteCounts[index]! > 0, "what is freed has bytes")
        heldFree += 1
      }
    }
    assert(heldFree === this.#heldFreeCount, "held mallocs are counted")
  }

  #settle(index: number, state: number): void {
    assert(this.kinds[index] === LeaseKind.free, "only a malloc is released")
    assert(this.#states[index] === State.held, "a lease is settled exactly once")
    this.#states[index] = state
    this.#heldFreeCount -= 1
  }
}
