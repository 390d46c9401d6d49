/**
 * Whether a run waits for what its own holder has: such a run would wait for ever.
 */
import type { Account } from "./account.ts"
import type { Range, RangeAllocator } from "./rangeAllocator.ts"
import { fits } from "./reservations.ts"
import type { Slot } from "./slot.ts"
import type { Demand, Ticket } from "./ticket.ts"

/** All that a run that waits has to do with. */
export interface Crowd {
  readonly slots: ReadonlyArray<Slot>
  readonly space: RangeAllocator
  /** Where the reservations of all accounts lie. */
  readonly reserved: ReadonlyArray<Range>
  /** Who waits, by arrival. */
  readonly waiting: ReadonlyArray<Ticket>
  /** Whether a run that is alone fits into what nobody has reserved. */
  readonly sharesAlone: (demand: Demand) => boolean
  /** Whether the buffer has to grow for a run, which it does when nobody is active. */
  readonly needsGrowth: (ticket: Ticket) => boolean
}

/**
 * Whether a run that waits could not go on before its own holder gives up what it holds already: not if everybody else
 * ended, and whoever could go on then did, and ended too.
 */
export const waitsForItself = (ticket: Ticket, crowd: Crowd): boolean => {
  const { holder } = ticket
  const held = crowd.slots.filter((slot) =>
    holder !== undefined && slot.account !== undefined && slot.holder === holder
  )
  if (ticket.state !== "waiting" || held.length === 0) {
    return false
  }
  let waiting = crowd.waiting
  for (;;) {
    const next = nextBeside(held, { ...crowd, waiting })
    if (next === undefined || next === ticket) {
      return next === undefined
    }
    waiting = waiting.filter((other) => other !== next)
  }
}

/** Who of those who wait goes on next if nobody but these slots is active. */
const nextBeside = (held: ReadonlyArray<Slot>, crowd: Crowd): Ticket | undefined => {
  const { reserved, slots, space, waiting } = crowd
  if (held.length === slots.length) {
    return undefined
  }
  const taken = [...reserved, ...held.flatMap((slot) => slot.space === space ? slot.ranges : [])]
  const queues = new Set<Account>()
  let sharedIsFree = true
  for (const ticket of waiting) {
    const { account, demand } = ticket
    const own = held.filter((slot) => slot.account === account)
    const ownBytes = own.reduce((sum, slot) => sum + slot.byteCount, 0)
    const isHead = !queues.has(account)
    queues.add(account)
    if (!isHead || ownBytes + demand.totalBytes > account.maxBytes) {
      continue
    }
    const { reservation } = account
    const ownRanges = own.flatMap((slot) => slot.space === reservation?.space ? slot.ranges : [])
    if (
      (reservation !== undefined && fits(reservation.space.withOnly(ownRanges), demand.rangeBytes)) ||
      ((sharedIsFree || demand.totalBytes === 0) && fits(space.withOnly(taken), demand.rangeBytes))
    ) {
      return ticket
    }
    if (crowd.needsGrowth(ticket)) {
      return undefined
    }
    sharedIsFree &&= reservation !== undefined && !crowd.sharesAlone(demand)
  }
  return undefined
}
