/**
 * The reference model of admission: the rules of who goes on when, as plainly as they can be written.
 *
 * There is one list of active runs and one of those who wait, by arrival. Nothing is kept that can be recomputed: who is
 * in the way of whom is found out anew, from the lists, each time somebody asks.
 */
import { carve, gaps, type ModelSpace, type Piece, placeHighest, placeParts, sum, up } from "./pieces.ts"

export interface ModelAccount {
  readonly id: number
  readonly maxBytes: number
  readonly reservedBytes: number
  /** Where its reservation lies, if it has one and there are chunks. */
  reserved: Piece | undefined
  highWaterBytes: number
}

export interface Want {
  /** What is wanted of each range, in bytes. */
  readonly parts: ReadonlyArray<number>
  readonly totalBytes: number
}

export interface ModelTicket {
  readonly id: number
  readonly account: ModelAccount
  readonly holder: number | undefined
  readonly measure: () => Want | undefined
  want: Want
  state: "waiting" | "growing" | "admitted" | "refused" | "withdrawn"
  growToBytes: number
}

export interface ModelRun {
  readonly account: ModelAccount
  readonly ticket: ModelTicket | undefined
  readonly holder: number | undefined
  readonly slot: number
  readonly totalBytes: number
  /** Whether its pieces lie in its account's reservation: their starts count from there. */
  readonly isReserved: boolean
  readonly pieces: ReadonlyArray<Piece | undefined>
}

export class AdmissionModel {
  readonly slotCount: number
  space: ModelSpace = { chunks: [], alignment: 1 }
  growthMaxBytes = 0
  wantedBytes = 0
  isPaused = false
  accounts: Array<ModelAccount> = [
    { id: 0, maxBytes: Number.MAX_SAFE_INTEGER, reservedBytes: 0, reserved: undefined, highWaterBytes: 0 }
  ]
  runs: Array<ModelRun> = []
  waiting: Array<ModelTicket> = []
  /** Who was told something, in order: a ticket and what became of it. */
  told: Array<string> = []

  constructor(slotCount: number) {
    this.slotCount = slotCount
  }

  get growing(): ModelTicket | undefined {
    return this.waiting.find(({ state }) => state === "growing")
  }

  /** The one chunk, grown as far as it grows. */
  get grown(): ModelSpace {
    return { chunks: [{ base: 0, capacity: this.growthMaxBytes }], alignment: this.space.alignment }
  }

  get waitingBytes(): number {
    return sum(this.waiting.map(({ want }) => want.totalBytes))
  }

  inUse(account: ModelAccount): number {
    return sum(this.runs.filter((run) => run.account === account).map(({ totalBytes }) => totalBytes))
  }

  /** What is taken of the chunks: by reservations, and by runs that share the rest. */
  taken(runs: ReadonlyArray<ModelRun> = this.runs): ReadonlyArray<Piece> {
    return [
      ...this.accounts.flatMap(({ reserved }) => reserved ?? []),
      ...runs.flatMap(({ isReserved, pieces }) => isReserved ? [] : pieces.flatMap((piece) => piece ?? []))
    ]
  }

  /** The reservation of an account as a space of its own. */
  ownSpace({ reserved }: ModelAccount): ModelSpace {
    const { alignment, chunks } = this.space
    return reserved === undefined
      ? { chunks: [], alignment }
      : { chunks: [{ base: chunks[reserved.chunk]!.base + reserved.start, capacity: reserved.byteCount }], alignment }
  }

  takenOfOwn(account: ModelAccount, runs: ReadonlyArray<ModelRun> = this.runs): ReadonlyArray<Piece> {
    return runs.flatMap((run) =>
      run.account === account && run.isReserved ? run.pieces.flatMap((piece) => piece ?? []) : []
    )
  }

  fitsReservations(space: ModelSpace): boolean {
    const placed = { ...space, chunks: space.chunks.map(({ capacity }) => ({ base: 0, capacity })) }
    return carve(placed, this.reservedByteCounts()) !== undefined
  }

  reservedByteCounts(): ReadonlyArray<number> {
    return this.accounts.map(({ reservedBytes }) => reservedBytes).filter((byteCount) => byteCount > 0)
  }

  install(space: ModelSpace, growthMaxBytes: number): void {
    this.space = space
    this.wantedBytes = 0
    this.growthMaxBytes = growthMaxBytes
    const pieces = space.chunks.length === 0 ? [] : carve(space, this.reservedByteCounts())!
    const reserving = this.accounts.filter(({ reservedBytes }) => reservedBytes > 0)
    reserving.forEach((account, index) => {
      account.reserved = pieces[index]
    })
  }

  /** Opens an account, unless its reservation has no place, or takes from somebody who waits what he waits for. */
  open(account: ModelAccount): boolean {
    if (account.reservedBytes > 0 && this.growing !== undefined) {
      return false
    }
    this.accounts.push(account)
    if (account.reservedBytes > 0 && this.space.chunks.length > 0) {
      account.reserved = placeHighest(this.space, this.taken(), account.reservedBytes)
    }
    // Where nobody is active this is where it would have been carved with all others.
    const fits = account.reservedBytes === 0 || (account.reserved !== undefined || this.space.chunks.length === 0) &&
        (this.space.chunks.length === 0 && this.growthMaxBytes === 0 ||
          this.fitsReservations(this.growthMaxBytes === 0 ? this.space : this.grown)) &&
        this.waiting.every((ticket) => this.prospect(ticket.account, ticket.want) === "fits")
    if (!fits) {
      this.accounts.pop()
    }
    return fits
  }

  close(account: ModelAccount): void {
    this.accounts = this.accounts.filter((other) => other !== account)
    this.goOn()
  }

  pause(): void {
    this.isPaused = true
  }

  resume(measureAgain: boolean): void {
    this.isPaused = false
    if (measureAgain) {
      this.wantedBytes = 0
      const measured = this.waiting.filter(({ state }) => state === "waiting")
        .map((ticket) => ({ ticket, want: ticket.measure() }))
      for (const { ticket, want } of measured) {
        if (want === undefined) {
          this.leave(ticket, "refused")
        } else {
          ticket.want = want
        }
      }
      this.tell(measured.flatMap(({ ticket, want }) => want === undefined ? [ticket] : []))
    }
    this.goOn()
  }

  /** A run that does not wait: it has a slot at once, or is not there at all. */
  admit(account: ModelAccount, want: Want, holder: number | undefined): ModelRun | undefined {
    if (this.waiting.length > 0 || this.isPaused || this.growth(account, want) > 0) {
      return undefined
    }
    const alone: ModelTicket = {
      id: -1,
      account,
      holder,
      want,
      state: "waiting",
      growToBytes: 0,
      measure: () => want
    }
    const next = this.nextOf([alone], this.runs)
    return next === undefined ? undefined : this.begin(account, want, undefined, holder, next)
  }

  enqueue(ticket: ModelTicket): void {
    this.waiting.push(ticket)
    this.goOn()
    if (ticket.state === "waiting" && this.runs.length + this.waiting.length <= this.slotCount) {
      const bytes = sum(this.taken().map(({ byteCount }) => byteCount)) + this.waitingBytes
      this.wantedBytes = Math.max(this.wantedBytes, Math.min(bytes, this.growthMaxBytes))
    }
  }

  withdraw(ticket: ModelTicket): void {
    if (ticket.state === "refused" || ticket.state === "withdrawn") {
      return
    }
    this.runs = this.runs.filter((run) => run.ticket !== ticket)
    this.leave(ticket, "withdrawn")
    this.goOn()
  }

  release(run: ModelRun): void {
    this.runs = this.runs.filter((other) => other !== run)
    this.goOn()
  }

  endGrowth(ticket: ModelTicket, hasGrown: boolean): void {
    ticket.state = "waiting"
    this.wantedBytes = 0
    const want = ticket.measure()
    ticket.want = want ?? ticket.want
    if (want === undefined || (!hasGrown && this.growth(ticket.account, want) > 0)) {
      this.leave(ticket, "refused")
      this.tell([ticket])
    }
    this.goOn()
  }

  refuseWaiting(account: ModelAccount | undefined): void {
    const refused = this.waiting.filter((ticket) =>
      ticket.state === "waiting" && (account === undefined || ticket.account === account)
    )
    refused.forEach((ticket) => this.leave(ticket, "refused"))
    this.tell(refused)
    this.goOn()
  }

  obstacle(account: ModelAccount, want: Want): string {
    if (this.runs.length === this.slotCount) {
      return "slots"
    }
    if (this.inUse(account) + want.totalBytes > account.maxBytes) {
      return "quota"
    }
    return want.totalBytes > sum(gaps(this.space, this.taken())) ? "exhausted" : "fragmented"
  }

  prospect(account: ModelAccount, want: Want): string {
    if (want.totalBytes > account.maxBytes) {
      return "quota"
    }
    if (this.isPaused && this.space.chunks.length === 0 && this.growthMaxBytes === 0) {
      return "fits"
    }
    const own = { chunks: [{ base: 0, capacity: account.reservedBytes }], alignment: this.space.alignment }
    return this.sharesAlone(want) || placeParts(own, [], want.parts) !== undefined
      ? "fits"
      : "reserved"
  }

  /** Whether a run that is alone would lie in what is shared, grown as far as it grows. */
  sharesAlone(want: Want): boolean {
    if (this.growthMaxBytes === 0) {
      return placeParts(this.space, this.gathered() ?? this.taken([]), want.parts) !== undefined
    }
    const reserved = carve(this.grown, this.reservedByteCounts())
    return reserved !== undefined && placeParts(this.grown, reserved, want.parts) !== undefined
  }

  /**
   * Whether a ticket would wait on if everything ended but what its holder has, and everybody who can go on then went on
   * and ended too, one after the other.
   */
  waitsForItself(ticket: ModelTicket): boolean {
    const held = this.runs.filter(({ holder }) => holder !== undefined && holder === ticket.holder)
    if (held.length === 0) {
      return false
    }
    let rest: ReadonlyArray<ModelTicket> = this.waiting
    for (;;) {
      const next = this.nextOf(rest, held)
      if (next === undefined || next.ticket === ticket) {
        return next === undefined
      }
      rest = rest.filter((other) => other !== next.ticket)
    }
  }

  /** To how many bytes the buffer has to grow before this run; 0 where it need not, or cannot now. */
  private growth(account: ModelAccount, want: Want): number {
    if (this.growthMaxBytes === 0 || this.runs.length > 0) {
      return 0
    }
    const { alignment, chunks } = this.space
    const reserved = sum(this.reservedByteCounts().map((byteCount) => up(byteCount, alignment)))
    const wanted = Math.min(Math.max(this.neededBytes(account, want), this.wantedBytes), this.growthMaxBytes)
    const isTooSmall = wanted > sum(chunks.map(({ capacity }) => capacity))
    return isTooSmall ? Math.min(Math.max(wanted, reserved), this.growthMaxBytes) : 0
  }

  /** The bytes of a buffer that grows in which a run lies beside all reservations; 0 where it does not grow. */
  private neededBytes(account: ModelAccount, want: Want): number {
    const { alignment } = this.space
    const reservations = this.reservedByteCounts()
    const reserved = sum(reservations.map((byteCount) => up(byteCount, alignment)))
    const shared = want.totalBytes <= account.reservedBytes ? 0 : up(want.totalBytes, alignment)
    const needed = want.totalBytes === 0 ? 0 : reservations.length === 0 ? want.totalBytes : shared + reserved
    return Math.min(needed, this.growthMaxBytes)
  }

  /** Who of these goes on next beside these runs, and where: the first by arrival whom nobody holds off. */
  private nextOf(
    waiting: ReadonlyArray<ModelTicket>,
    runs: ReadonlyArray<ModelRun>
  ):
    | { readonly ticket: ModelTicket; readonly isReserved: boolean; readonly pieces: ReadonlyArray<Piece | undefined> }
    | undefined
  {
    if (runs.length === this.slotCount) {
      return undefined
    }
    const queues = new Set<ModelAccount>()
    let isSharedHeld = false
    for (const ticket of waiting) {
      const { account, want } = ticket
      if (queues.has(account)) {
        continue
      }
      queues.add(account)
      const inUse = sum(runs.filter((run) => run.account === account).map(({ totalBytes }) => totalBytes))
      if (inUse + want.totalBytes > account.maxBytes) {
        continue
      }
      const own = account.reservedBytes > 0
        ? placeParts(this.ownSpace(account), this.takenOfOwn(account, runs), want.parts)
        : undefined
      if (own !== undefined) {
        return { ticket, isReserved: true, pieces: own }
      }
      const isFree = !isSharedHeld || want.parts.every((byteCount) => byteCount === 0)
      const shared = isFree ? placeParts(this.space, this.taken(runs), want.parts) : undefined
      if (shared !== undefined) {
        return { ticket, isReserved: false, pieces: shared }
      }
      if (this.neededBytes(account, want) > sum(this.space.chunks.map(({ capacity }) => capacity))) {
        return undefined
      }
      isSharedHeld ||= this.sharesAlone(want)
    }
    return undefined
  }

  /** Where reservations lie in the one chunk when nobody is active. Among several chunks they stay. */
  private gathered(): ReadonlyArray<Piece> | undefined {
    return this.space.chunks.length === 1 ? carve(this.space, this.reservedByteCounts()) : undefined
  }

  /** Whoever can go on goes on. */
  private goOn(): void {
    const gathered = this.runs.length === 0 ? this.gathered() : undefined
    if (gathered !== undefined) {
      const reserving = this.accounts.filter(({ reservedBytes }) => reservedBytes > 0)
      reserving.forEach((account, index) => {
        account.reserved = gathered[index]
      })
    }
    const told: Array<ModelTicket> = []
    while (!this.isPaused && this.growing === undefined && this.runs.length < this.slotCount) {
      // With nobody active the first head is asked first whether the buffer is large enough.
      const first = this.runs.length === 0 ? this.waiting[0] : undefined
      const growToBytes = first === undefined ? 0 : this.growth(first.account, first.want)
      if (first !== undefined && growToBytes > 0) {
        first.state = "growing"
        first.growToBytes = growToBytes
        told.push(first)
        break
      }
      const next = this.nextOf(this.waiting, this.runs)
      if (next === undefined) {
        break
      }
      this.waiting = this.waiting.filter((ticket) => ticket !== next.ticket)
      next.ticket.state = "admitted"
      this.begin(next.ticket.account, next.ticket.want, next.ticket, next.ticket.holder, next)
      told.push(next.ticket)
    }
    this.tell(told)
  }

  private begin(
    account: ModelAccount,
    want: Want,
    ticket: ModelTicket | undefined,
    holder: number | undefined,
    at: { readonly isReserved: boolean; readonly pieces: ReadonlyArray<Piece | undefined> }
  ): ModelRun {
    const slots = Array.from({ length: this.slotCount }, (_, slot) => slot)
    const slot = slots.find((index) => this.runs.every((run) => run.slot !== index))!
    const { isReserved, pieces } = at
    const run: ModelRun = { account, ticket, holder, slot, totalBytes: want.totalBytes, isReserved, pieces }
    this.runs = [...this.runs, run]
    account.highWaterBytes = Math.max(account.highWaterBytes, this.inUse(account))
    return run
  }

  private leave(ticket: ModelTicket, state: "refused" | "withdrawn"): void {
    this.waiting = this.waiting.filter((other) => other !== ticket)
    ticket.state = state
  }

  private tell(tickets: ReadonlyArray<ModelTicket>): void {
    this.told.push(...tickets.map(({ id, state }) => `${id} ${state}`))
  }
}
