/**
 * Watches the admission of a runner at work: after each change it looks who has a slot now and who waits, and whether that
 * is right by the rules of the docs. It knows the rules, and not how they are kept.
 */
import { Admission } from "../../src/internal/core/admission.ts"
import type { Slot } from "../../src/internal/core/slot.ts"
import type { Ticket } from "../../src/internal/core/ticket.ts"
import type { Defect } from "./program.ts"

/** Methods that change who has what. */
const changing = [
  "add",
  "remove",
  "install",
  "resume",
  "admit",
  "enqueue",
  "withdraw",
  "release",
  "endGrowth",
  "close",
  "refuseWaiting"
] as const

type Method = (this: Admission, ...args: Array<unknown>) => unknown

/** The watch of the trial at hand. */
let watchOfNow: AdmissionWatch | undefined

/** A method may call another, and only when the first has returned everything stands as it will. */
let depth = 0

for (const name of changing) {
  const methods = Admission.prototype as unknown as Record<string, Method>
  const method = methods[name]!
  methods[name] = function(...args) {
    depth += 1
    try {
      const answer = method.apply(this, args)
      if (name === "enqueue") {
        watchOfNow?.noteTicket(answer as Ticket)
      }
      if (name === "admit" && answer !== undefined) {
        watchOfNow?.noteAtOnce(this, answer as Slot)
      }
      return answer
    } finally {
      depth -= 1
      if (depth === 0) {
        watchOfNow?.look(this)
      }
    }
  }
}

export class AdmissionWatch {
  readonly defects: Array<Defect> = []
  #tickets: Array<Ticket> = []
  readonly #admissions = new Set<Admission>()

  noteTicket(ticket: Ticket): void {
    this.#tickets.push(ticket)
  }

  /** A run that came just now has gone before all that wait. */
  noteAtOnce(admission: Admission, slot: Slot): void {
    const passed = this.#tickets.find((ticket) => ticket.state === "waiting" && holdsOff(admission, ticket, slot))
    if (passed !== undefined) {
      this.#starved(passed)
    }
  }

  look(admission: Admission): void {
    this.#admissions.add(admission)
    const admitted = this.#tickets.filter(({ state }) => state === "admitted")
    const waiting = this.#tickets.filter(({ state }) => state === "waiting")
    this.#tickets = this.#tickets.filter(({ state }) => state === "waiting" || state === "growing")
    for (const { arrival, slot } of admitted) {
      const passed = waiting.find((ticket) => ticket.arrival < arrival && holdsOff(admission, ticket, slot!))
      if (passed !== undefined) {
        this.#starved(passed)
      }
    }
    this.#lookAtRanges(admission)
  }

  #starved({ demand }: Ticket): void {
    this.defects.push({
      kind: "starved",
      detail: `a run that needs ${demand.totalBytes} B waits, and one that came later goes before it`
    })
  }

  /** No byte belongs to two. */
  #lookAtRanges({ slots }: Admission): void {
    const taken = slots.flatMap((slot) =>
      slot.account === undefined ?
        [] :
        slot.ranges.flatMap((range, index) =>
          range.chunkIndex < 0 ? [] : [{ slot, start: slot.address(index), end: slot.address(index) + range.byteCount }]
        )
    )
    for (const [index, left] of taken.entries()) {
      const right = taken.slice(index + 1).find(({ end, start }) => start < left.end && left.start < end)
      if (right !== undefined) {
        this.defects.push({
          kind: "overlaps",
          detail: `slots ${left.slot.index} and ${right.slot.index} have bytes in common`
        })
      }
    }
  }

  /** What is not back when all runs have ended. */
  finish(): ReadonlyArray<Defect> {
    watchOfNow = undefined
    const lost: Array<Defect> = []
    for (const admission of this.#admissions) {
      const { activeCount, reservedBytes, space, waitingBytes, waitingCount } = admission
      const accounts = [...admission.accounts].filter((account) =>
        account.activeCount > 0 || account.inUseBytes > 0 || account.queue.length > 0
      )
      if (
        activeCount + waitingCount + waitingBytes + accounts.length > 0 || space.inUseBytes > reservedBytes
      ) {
        lost.push({
          kind: "permitsLost",
          detail:
            `all runs have ended, and ${activeCount} slots, ${space.inUseBytes} B and ${waitingCount} places in ` +
            `queues, for ${waitingBytes} B, are not back`
        })
      }
      try {
        admission.checkInvariants()
      } catch (error) {
        lost.push({ kind: "permitsLost", detail: `the books do not balance: ${String(error)}` })
      }
    }
    return [...this.defects, ...lost]
  }
}

/** A watch that is told of everything from now on, in place of the one before. */
export const watchAdmission = (): AdmissionWatch => {
  watchOfNow = new AdmissionWatch()
  return watchOfNow
}

/**
 * Whether one that waits holds a slot's run off: those of its own account, because they queue up; all that take of the shared
 * memory, if it is the first of its account and waits for shared memory too.
 */
const holdsOff = ({ space }: Admission, { account, demand }: Ticket, slot: Slot): boolean =>
  account === slot.account || (slot.space === space && account.hasQuotaFor(demand.totalBytes))
