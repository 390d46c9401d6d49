/**
 * Admission: which run takes a slot and its ranges of the temporary buffer, and when.
 *
 * Runs are admitted in the order in which they arrived, by what they need in bytes. Each account has a queue; of the heads of
 * all queues the one that arrived first is looked at first. A head that waits for shared memory holds the others off that
 * memory, so that small runs cannot pass a large one for ever; it does not hold off those that fit into a reservation of
 * their own, unless the buffer has to grow for it, for which nobody may be active. A head that waits for its account's quota, or for its account's reservation alone, holds off nobody.
 *
 * There is no time here and no waiting: what waits is a ticket, and whoever changes something here is told at once, through
 * the tickets, who may go on.
 */
import { assert } from "../assert.ts"
import { Account } from "./account.ts"
import { noChunk, RangeAllocator, vacantRange } from "./rangeAllocator.ts"
import { bytesToReserve, carved, fits, gather, gatheredSpace, reservedRanges } from "./reservations.ts"
import { alignUp } from "./sizes.ts"
import { Slot } from "./slot.ts"
import type { Demand, Ticket } from "./ticket.ts"
import { waitsForItself } from "./waitsForItself.ts"

/** Why a run is not admitted now. */
export type Obstacle = "slots" | "quota" | "exhausted" | "fragmented"

const noChunks = new RangeAllocator([], [], 1)

export class Admission {
  readonly slots: ReadonlyArray<Slot>
  readonly root = new Account("", Infinity)
  readonly accounts = new Set<Account>([this.root])
  /** Which ranges of the chunks are taken. */
  space: RangeAllocator = noChunks
  waitingCount = 0
  waitingBytes = 0
  /** The slots that are free, the one with the lowest index last. */
  readonly #free: Array<Slot>
  #arrivals = 0
  /** While the chunks are exchanged nobody is admitted. */
  #paused = false
  /** Nobody is admitted any more. */
  #stopped = false
  #growing: Ticket | undefined
  /** To how many bytes the one chunk may grow; 0 where it may not. */
  #growthMaxBytes = 0
  /** The most bytes that runs wanted at once. */
  #wantedBytes = 0
  /** Whether a reservation may lie elsewhere than where it would be carved if nobody were active. */
  #isScattered = false

  constructor(slotCount: number) {
    this.slots = Array.from({ length: slotCount }, (_, index) => new Slot(index))
    this.#free = this.slots.toReversed()
  }

  get activeCount(): number {
    return this.slots.length - this.#free.length
  }

  /** Bytes of all reservations that stand. */
  get reservedBytes(): number {
    return bytesToReserve(this.accounts, 1)
  }

  /** Installs chunks, between runs. Reservations are carved out of them again. */
  install(space: RangeAllocator, growthMaxBytes: number): void {
    assert(this.activeCount === 0, "chunks are exchanged between runs")
    for (const { reservation } of this.accounts) {
      reservation?.forget()
    }
    this.space = space
    this.#growthMaxBytes = growthMaxBytes
    this.#wantedBytes = 0
    this.#isScattered = false
    if (space.chunkCount > 0) {
      for (const { reservation } of this.accounts) {
        assert(reservation === undefined || reservation.carve(space), "reservations fit into what is installed")
      }
    }
  }

  /** Whether the reservations that stand would fit into chunks of these sizes that nobody uses. */
  fitsReservations(capacityBytes: ReadonlyArray<number>, alignmentBytes: number): boolean {
    const space = new RangeAllocator(capacityBytes.map(() => 0), capacityBytes, alignmentBytes)
    return carved(this.accounts, space) !== undefined
  }

  /**
   * Opens an account. False, and nothing has changed, where what it reserves does not fit into what is free, or beside the
   * other reservations into chunks made anew, or would take from somebody who waits the memory that he waits for; also while
   * the buffer grows.
   */
  open(account: Account): boolean {
    const { reservation } = account
    if (reservation !== undefined && this.#growing !== undefined) {
      return false
    }
    if (reservation !== undefined && this.space.chunkCount > 0 && !reservation.carve(this.space)) {
      return false
    }
    this.accounts.add(account)
    const wasScattered = this.#isScattered
    this.#isScattered ||= this.activeCount > 0
    const isOpen = reservation === undefined || (this.#reservationsStay() &&
      this.#waiting().every((ticket) => this.prospect(ticket.account, ticket.demand) === "fits"))
    if (!isOpen) {
      this.#remove(account)
      this.#isScattered = wasScattered
    }
    return isOpen
  }

  /**
   * Closes an account: who waits in its queue is refused, and it begins no runs any more. What it reserved is shared again
   * when its last run has ended.
   */
  close(account: Account): void {
    account.isClosed = true
    this.refuseWaiting(account)
    this.#leaveIfClosed(account)
    this.#pump()
  }

  /** Admits nobody until `resume`. */
  pause(): void {
    this.#paused = true
  }

  /** Goes on. Who waits is measured again where the chunks are others now. */
  resume(options: { readonly measureAgain: boolean }): void {
    const refused: Array<Ticket> = []
    this.#paused = false
    if (options.measureAgain) {
      this.#wantedBytes = 0
      for (const ticket of this.#waiting()) {
        // The one for which the buffer grows is measured when it has grown.
        if (ticket !== this.#growing && !this.#measure(ticket)) {
          this.#leave(ticket, "refused")
          refused.push(ticket)
        }
      }
    }
    for (const ticket of refused) {
      ticket.wake()
    }
    this.#pump()
  }

  /** Takes a slot for a run at once, if nobody waits and everything that it needs is there. */
  admit(account: Account, demand: Demand, holder: unknown): Slot | undefined {
    return account.isClosed || this.waitingCount > 0 || this.#paused || this.#stopped ||
        this.#growth(account, demand) > 0
      ? undefined
      : this.#place(account, demand, holder, true)
  }

  /** Gives a run a place in the queue of its account. It may be admitted, or refused, when this returns. */
  enqueue(options: Pick<Ticket, "account" | "demand" | "holder" | "measure" | "wake">): Ticket {
    this.#arrivals += 1
    const ticket: Ticket = {
      ...options,
      arrival: this.#arrivals,
      state: "waiting",
      slot: undefined,
      growToBytes: 0
    }
    if (this.#stopped || ticket.account.isClosed) {
      ticket.state = "refused"
      return ticket
    }
    ticket.account.queue.push(ticket)
    this.waitingCount += 1
    this.waitingBytes += ticket.demand.totalBytes
    this.#pump()
    return ticket
  }

  /**
   * A run that was enqueued stays where it has to wait: a buffer that grows is to have room for it beside those that are active
   * and those that waited before. Who waits for a slot, or behind somebody who does, would wait with more memory too.
   */
  stay(ticket: Ticket): void {
    if (ticket.state === "waiting" && this.waitingCount <= this.#free.length) {
      this.#want(this.space.inUseBytes + this.waitingBytes)
    }
  }

  /** A run does not want to wait any longer. One that was admitted meanwhile gives its slot back. */
  withdraw(ticket: Ticket): void {
    if (ticket.state === "admitted") {
      const { slot } = ticket
      assert(slot !== undefined, "who is admitted has a slot")
      ticket.state = "withdrawn"
      this.release(slot)
    } else if (ticket.state === "waiting" || ticket.state === "growing") {
      this.#leave(ticket, "withdrawn")
      this.#pump()
    }
  }

  /** Gives a slot back, and admits who can be admitted now. */
  release(slot: Slot): void {
    const { account, space } = slot
    assert(account !== undefined, "a slot that is given back was taken")
    this.#vacate(slot, space)
    account.giveBack(slot.byteCount)
    slot.account = undefined
    slot.space = undefined
    slot.holder = undefined
    this.#free.push(slot)
    if (this.#free.length > 1) {
      this.#free.sort((left, right) => right.index - left.index)
    }
    this.#leaveIfClosed(account)
    this.#gather()
    if (this.waitingCount > 0) {
      this.#pump()
    }
  }

  /**
   * The buffer has grown for a ticket, or could not, and the ticket is measured by what there is now. Nobody wishes for more
   * than that any longer, and the ticket is refused, and woken as everybody who is, if it cannot do with it.
   */
  endGrowth(ticket: Ticket, hasGrown: boolean): void {
    assert(this.#growing === ticket, "who grows the buffer is the one who was asked to")
    this.#growing = undefined
    this.#wantedBytes = 0
    ticket.state = "waiting"
    const isRefused = this.#stopped || ticket.account.isClosed || !this.#measure(ticket)
    if (isRefused || (!hasGrown && this.#growth(ticket.account, ticket.demand) > 0)) {
      this.#leave(ticket, "refused")
      ticket.wake()
    }
    this.#pump()
  }

  /** Admits nobody ever again, and sends away who waits. */
  stop(): void {
    this.#stopped = true
    this.refuseWaiting()
  }

  /** Sends away who waits: everybody, or those of one account. */
  refuseWaiting(account?: Account): void {
    const refused = this.#waiting().filter((ticket) =>
      ticket !== this.#growing && (account === undefined || ticket.account === account)
    )
    for (const ticket of refused) {
      this.#leave(ticket, "refused")
    }
    for (const ticket of refused) {
      ticket.wake()
    }
    this.#pump()
  }

  /** Why a run is not admitted now, if it stood first. */
  obstacle(account: Account, demand: Demand): Obstacle {
    if (this.#free.length === 0) {
      return "slots"
    }
    if (!account.hasQuotaFor(demand.totalBytes)) {
      return "quota"
    }
    return demand.totalBytes <= this.space.freeBytes() ? "fragmented" : "exhausted"
  }

  /** Whether a run would be admitted if it were alone, or what stands in its way for good. */
  prospect(account: Account, demand: Demand): "fits" | "quota" | "reserved" {
    if (demand.totalBytes > account.maxBytes) {
      return "quota"
    }
    if (this.#paused && this.space.chunkCount === 0 && this.#growthMaxBytes === 0) {
      // Between the old and the new chunks nobody can say; who waits is measured again when they are there.
      return "fits"
    }
    const { reservation } = account
    const own = new RangeAllocator([0], [reservation?.byteCount ?? 0], this.space.alignmentBytes)
    return fits(this.#alone(), demand.rangeBytes) || fits(own, demand.rangeBytes) ? "fits" : "reserved"
  }

  /** Whether a run that waits could not go on before its own holder gives up what it holds already. */
  waitsForItself(ticket: Ticket): boolean {
    const { holder } = ticket
    // Hardly anybody holds anything, and looking at everybody who waits takes time.
    const holdsSlots = holder !== undefined && this.slots.some((slot) => slot.holder === holder)
    return holdsSlots && waitsForItself(ticket, {
      slots: this.slots,
      space: this.space,
      reserved: reservedRanges(this.accounts),
      waiting: this.#waiting(),
      sharesAlone: (demand) => fits(this.#alone(), demand.rangeBytes),
      needsGrowth: (other) => this.#needsGrowth(other)
    })
  }

  checkInvariants(): void {
    this.space.checkInvariants()
    const taken = this.slots.filter((slot) => slot.account !== undefined)
    assert(taken.length === this.activeCount, "a slot is taken or free")
    let waitingCount = 0
    let waitingBytes = 0
    for (const account of this.accounts) {
      account.reservation?.space.checkInvariants()
      const own = taken.filter((slot) => slot.account === account)
      assert(own.length === account.activeCount, "an account counts its runs")
      assert(own.reduce((sum, slot) => sum + slot.byteCount, 0) === account.inUseBytes, "an account counts its bytes")
      assert(account.inUseBytes <= account.maxBytes, "an account stays within its quota")
      account.queue.forEach((ticket, index) => {
        assert(index === 0 || account.queue[index - 1]!.arrival < ticket.arrival, "a queue stands by arrival")
        assert(ticket.state === "waiting" || ticket === this.#growing, "who stands in a queue waits")
        waitingCount += 1
        waitingBytes += ticket.demand.totalBytes
      })
    }
    assert(waitingCount === this.waitingCount && waitingBytes === this.waitingBytes, "who waits is counted")
  }

  /** Measures a ticket by the chunks of now. False where its run cannot be laid out in them. */
  #measure(ticket: Ticket): boolean {
    const demand = ticket.measure()
    if (demand !== undefined) {
      this.waitingBytes += demand.totalBytes - ticket.demand.totalBytes
      ticket.demand = demand
    }
    return demand !== undefined
  }

  /** Moves reservations together when nobody is active. */
  #gather(): void {
    if (this.#isScattered && this.activeCount === 0) {
      this.#isScattered = false
      gather(this.accounts, this.space)
    }
  }

  /** Takes an account out that is closed, once it has no runs any more, active or waiting. */
  #leaveIfClosed(account: Account): void {
    const isIdle = account.activeCount === 0 && account.queue.length === 0
    if (account.isClosed && isIdle && this.accounts.has(account)) {
      this.#remove(account)
      this.#isScattered = true
      this.#gather()
    }
  }

  #remove(account: Account): void {
    this.accounts.delete(account)
    const { reservation } = account
    if (reservation !== undefined && reservation.range.chunkIndex !== noChunk) {
      this.space.release(reservation.range)
      reservation.forget()
    }
  }

  /** Everybody who waits, by arrival. */
  #waiting(): Array<Ticket> {
    return [...this.accounts].flatMap(({ queue }) => queue).toSorted((left, right) => left.arrival - right.arrival)
  }

  /** Admits whoever can be admitted, the earliest head first. */
  #pump(): void {
    const admitted: Array<Ticket> = []
    const stuck = new Set<Account>()
    let sharedIsFree = true
    while (!this.#paused && !this.#stopped && this.#growing === undefined && this.#free.length > 0) {
      const head = this.#earliestHead(stuck)
      if (head === undefined) {
        break
      }
      const growToBytes = this.#growth(head.account, head.demand)
      if (growToBytes > 0) {
        head.state = "growing"
        head.growToBytes = growToBytes
        this.#growing = head
        admitted.push(head)
        break
      }
      const slot = this.#place(head.account, head.demand, head.holder, sharedIsFree)
      if (slot === undefined) {
        if (this.#needsGrowth(head)) {
          // The buffer grows when nobody is active, on reserved memory either.
          break
        }
        stuck.add(head.account)
        sharedIsFree &&= !this.#waitsForShared(head)
      } else {
        this.#leave(head, "admitted")
        head.slot = slot
        admitted.push(head)
      }
    }
    for (const ticket of admitted) {
      ticket.wake()
    }
  }

  /**
   * Whether a head that was not admitted waits for shared memory: not for its account's quota, and not for its account's
   * reservation alone because it is too large for what is shared.
   */
  #waitsForShared({ account, demand }: Ticket): boolean {
    return account.hasQuotaFor(demand.totalBytes) &&
      (account.reservation === undefined || fits(this.#alone(), demand.rangeBytes))
  }

  #earliestHead(stuck: ReadonlySet<Account>): Ticket | undefined {
    let earliest: Ticket | undefined
    for (const account of this.accounts) {
      const head = stuck.has(account) ? undefined : account.queue[0]
      if (head !== undefined && (earliest === undefined || head.arrival < earliest.arrival)) {
        earliest = head
      }
    }
    return earliest
  }

  #leave(ticket: Ticket, state: "admitted" | "refused" | "withdrawn"): void {
    const { queue } = ticket.account
    queue.splice(queue.indexOf(ticket), 1)
    ticket.state = state
    this.waitingCount -= 1
    this.waitingBytes -= ticket.demand.totalBytes
    if (this.#growing === ticket) {
      this.#growing = undefined
    }
    this.#leaveIfClosed(ticket.account)
  }

  /** Takes a slot and ranges, in the account's reservation or else in what is shared. Nothing has changed where it cannot. */
  #place(account: Account, demand: Demand, holder: unknown, sharedIsFree: boolean): Slot | undefined {
    const slot = this.#free.at(-1)
    if (slot === undefined || !account.hasQuotaFor(demand.totalBytes)) {
      return undefined
    }
    const { reservation } = account
    if (reservation !== undefined && this.#takeRanges(slot, reservation.space, demand)) {
      slot.space = reservation.space
    } else if ((sharedIsFree || demand.totalBytes === 0) && this.#takeRanges(slot, this.space, demand)) {
      slot.space = this.space
    } else {
      return undefined
    }
    this.#free.pop()
    slot.account = account
    slot.holder = holder
    slot.byteCount = demand.totalBytes
    account.hold(demand.totalBytes)
    return slot
  }

  #takeRanges(slot: Slot, space: RangeAllocator, { rangeBytes }: Demand): boolean {
    for (let index = 0; index < rangeBytes.length; index++) {
      if (index === slot.ranges.length) {
        slot.ranges.push(vacantRange())
      }
      if (rangeBytes[index]! > 0 && !space.take(slot.ranges[index]!, rangeBytes[index]!, index)) {
        this.#vacate(slot, space)
        return false
      }
    }
    return true
  }

  #vacate(slot: Slot, space: RangeAllocator | undefined): void {
    for (const range of slot.ranges) {
      if (range.chunkIndex !== noChunk) {
        assert(space !== undefined, "ranges were taken somewhere")
        space.release(range)
      }
    }
  }

  /**
   * To how many bytes the buffer has to grow before a run with this demand is admitted; 0 where it does not have to, or
   * cannot because somebody is active, or where the run would not be admitted even then. What is reserved has room in it
   * beside the run.
   */
  #growth(account: Account, demand: Demand): number {
    const { totalBytes } = demand
    if (this.#growthMaxBytes === 0 || this.activeCount > 0) {
      return 0
    }
    const reservedBytes = bytesToReserve(this.accounts, this.space.alignmentBytes)
    const wantedBytes = Math.max(this.#neededBytes(account, totalBytes, reservedBytes), this.#wantedBytes)
    const grows = Math.min(wantedBytes, this.#growthMaxBytes) > (this.space.capacityBytes[0] ?? 0)
    return grows && this.prospect(account, demand) === "fits"
      ? Math.min(Math.max(wantedBytes, reservedBytes), this.#growthMaxBytes)
      : 0
  }

  /** Of how many bytes the buffer has to be for a run and all that is reserved. */
  #neededBytes(account: Account, totalBytes: number, reservedBytes: number): number {
    if (totalBytes === 0) {
      return 0
    }
    const isOwn = totalBytes <= (account.reservation?.byteCount ?? 0)
    return reservedBytes === 0
      ? totalBytes
      : isOwn
      ? reservedBytes
      : reservedBytes + alignUp(totalBytes, this.space.alignmentBytes)
  }

  /** Whether a head that was not admitted is larger than what there is, and may have it grown. */
  #needsGrowth({ account, demand }: Ticket): boolean {
    if (this.#growthMaxBytes === 0 || !account.hasQuotaFor(demand.totalBytes)) {
      return false
    }
    const reservedBytes = bytesToReserve(this.accounts, this.space.alignmentBytes)
    const neededBytes = this.#neededBytes(account, demand.totalBytes, reservedBytes)
    return Math.min(neededBytes, this.#growthMaxBytes) > (this.space.capacityBytes[0] ?? 0)
  }

  #want(byteCount: number): void {
    this.#wantedBytes = Math.max(this.#wantedBytes, Math.min(byteCount, this.#growthMaxBytes))
  }

  /** Whether all reservations still fit when the chunks are made anew, or have grown as far as they may. */
  #reservationsStay(): boolean {
    const { alignmentBytes, baseAddresses, capacityBytes, chunkCount } = this.space
    if (this.#growthMaxBytes > 0) {
      return this.fitsReservations([this.#growthMaxBytes], alignmentBytes)
    }
    const anew = new RangeAllocator(baseAddresses, capacityBytes, alignmentBytes)
    return chunkCount === 0 || carved(this.accounts, anew) !== undefined
  }

  /** What a run finds that is alone: the buffer, grown as far as it may, with reservations where they lie then. */
  #alone(): RangeAllocator {
    if (this.#growthMaxBytes > 0) {
      return carved(this.accounts, new RangeAllocator([0], [this.#growthMaxBytes], this.space.alignmentBytes)) ??
        noChunks
    }
    const gathered = this.#isScattered ? gatheredSpace(this.accounts, this.space) : undefined
    return gathered ?? this.space.withOnly(reservedRanges(this.accounts))
  }
}
