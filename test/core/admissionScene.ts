/** What the tests of admission share: an admission with chunks, tickets with names, and who was told what. */
import { assert } from "@effect/vitest"
import { Account, Reservation } from "../../src/internal/core/account.ts"
import { Admission } from "../../src/internal/core/admission.ts"
import { RangeAllocator } from "../../src/internal/core/rangeAllocator.ts"
import type { Slot } from "../../src/internal/core/slot.ts"
import type { Demand, Ticket } from "../../src/internal/core/ticket.ts"

/** What a run with these ranges needs. */
export const demand = (...rangeBytes: ReadonlyArray<number>): Demand => ({
  rangeBytes: Float64Array.from(rangeBytes),
  totalBytes: rangeBytes.reduce((sum, bytes) => sum + bytes, 0)
})

export const chunksOf = (capacities: ReadonlyArray<number>, alignmentBytes = 1): RangeAllocator =>
  new RangeAllocator(capacities.map((_, index) => 4096 * (index + 1)), capacities, alignmentBytes)

export class Scene {
  readonly admission: Admission
  /** Who was told what, in order: `name state`. */
  readonly told: Array<string> = []
  readonly tickets = new Map<string, Ticket>()

  constructor(
    slotCount: number,
    capacities: ReadonlyArray<number>,
    options: { readonly alignmentBytes?: number; readonly growthMaxBytes?: number } = {}
  ) {
    this.admission = new Admission(slotCount)
    this.admission.install(chunksOf(capacities, options.alignmentBytes), options.growthMaxBytes ?? 0)
  }

  get root(): Account {
    return this.admission.root
  }

  open(name: string, maxBytes: number, reservedBytes = 0): Account {
    const account = new Account(name, maxBytes, reservedBytes > 0 ? new Reservation(reservedBytes) : undefined)
    assert.isTrue(this.admission.open(account), `${name} opens`)
    return account
  }

  /** A run that is active without having waited. */
  run(byteCount: number, account: Account = this.root, holder?: unknown): Slot {
    const slot = this.admission.admit(account, demand(byteCount), holder)
    assert(slot !== undefined, `${byteCount} B are there`)
    this.admission.checkInvariants()
    return slot
  }

  /** A run that waits, or is admitted at once. */
  wait(
    name: string,
    needs: number | Demand,
    options: { readonly account?: Account; readonly holder?: unknown; readonly measure?: () => Demand | undefined } = {}
  ): Ticket {
    const needed = typeof needs === "number" ? demand(needs) : needs
    const ticket = this.admission.enqueue({
      account: options.account ?? this.root,
      demand: needed,
      holder: options.holder,
      measure: options.measure ?? (() => needed),
      wake: () => {
        this.told.push(name)
      }
    })
    this.admission.stay(ticket)
    this.tickets.set(name, ticket)
    this.admission.checkInvariants()
    return ticket
  }

  release(...slots: ReadonlyArray<Slot | undefined>): void {
    for (const slot of slots) {
      assert(slot !== undefined, "there is a slot to give back")
      this.admission.release(slot)
      this.admission.checkInvariants()
    }
  }

  states(): Readonly<Record<string, string>> {
    return Object.fromEntries([...this.tickets].map(([name, { state }]) => [name, state]))
  }

  /** Ends all runs until nobody is active, and asserts that then nothing is taken, and nobody waits. */
  end(): void {
    while (this.admission.activeCount > 0) {
      this.release(this.admission.slots.find(({ account }) => account !== undefined))
    }
    const { accounts, space, waitingBytes, waitingCount } = this.admission
    const reserved = [...accounts].reduce((sum, { reservation }) => sum + (reservation?.byteCount ?? 0), 0)
    assert.strictEqual(space.inUseBytes, reserved, "no byte is lost")
    assert.deepStrictEqual([waitingCount, waitingBytes], [0, 0], "nobody waits for ever")
    assert.isTrue([...accounts].every(({ activeCount, inUseBytes }) => activeCount === 0 && inUseBytes === 0))
  }
}
