/**
 * Admission as a runner uses it, and the reference model beside it: each command is done to both, and whatever can be seen
 * of them has to be the same. Beside that the promises are looked at that need no model to be told.
 */
import { Account, Reservation } from "../../src/internal/core/account.ts"
import { Admission } from "../../src/internal/core/admission.ts"
import { noChunk, RangeAllocator } from "../../src/internal/core/rangeAllocator.ts"
import type { Demand, Ticket } from "../../src/internal/core/ticket.ts"
import type { AdmissionCommand } from "./admissionCommands.ts"
import { AdmissionModel, type ModelAccount, type ModelTicket, type Want } from "./admissionModel.ts"
import { alike, holds } from "./alike.ts"
import { compareAdmission, type OpenAccount, type Running } from "./compareAdmission.ts"
import { type ModelSpace, sum } from "./pieces.ts"

/** How often each outcome was seen, so that a campaign cannot pass by seeing none. */
export const newAdmissionOutcomes = () => ({
  configurations: 0,
  misfitReservations: 0,
  opened: 0,
  notOpened: 0,
  closed: 0,
  atOnce: 0,
  enqueued: 0,
  neverFit: 0,
  admitted: 0,
  inReservations: 0,
  releases: 0,
  withdrawnWaiting: 0,
  withdrawnAdmitted: 0,
  withdrawnGrowing: 0,
  withdrawnLate: 0,
  growths: 0,
  failedGrowths: 0,
  refusals: 0,
  measuredAgain: 0,
  pausedArrivals: 0,
  asked: 0,
  waitsForItself: 0,
  drains: 0
})

export type AdmissionOutcomes = ReturnType<typeof newAdmissionOutcomes>

interface Arrived {
  readonly real: Ticket
  readonly model: ModelTicket
  readonly account: OpenAccount
}

export class AdmissionSubject {
  readonly #outcomes: AdmissionOutcomes
  #real = new Admission(1)
  #model = new AdmissionModel(1)
  #accounts: Array<OpenAccount> = []
  /** All tickets that were ever made, by their number. */
  #arrived: Array<Arrived> = []
  #running: Array<Running> = []
  #told: Array<string> = []
  #accountCount = 0

  constructor(outcomes: AdmissionOutcomes) {
    this.#outcomes = outcomes
    this.#restart(1)
  }

  /** Does a command to both sides and compares them. Throws where they differ. */
  execute(command: AdmissionCommand): void {
    this.#do(command)
    this.#follow()
    this.#compare()
  }

  #do(command: AdmissionCommand): void {
    const real = this.#real
    const model = this.#model
    switch (command._tag) {
      case "restart":
        return this.#restart(command.slotCount)
      case "configure":
        return this.#configure(command)
      case "open":
        return this.#open(command.maxBytes, command.reservedBytes)
      case "close":
        return this.#close(this.#accounts[command.account % this.#accounts.length]!)
      case "arrive":
        return this.#arrive(command)
      case "withdraw":
        return this.#withdraw(this.#arrived[this.#arrived.length - 1 - command.position])
      case "withdrawWaiting":
        return this.#withdraw(this.#waitingAt(command.position))
      case "release":
        return this.#release(this.#running[command.position % this.#running.length])
      case "endGrowth":
        return this.#endGrowth(command.hasGrown, command.keepsChunk)
      case "refuse":
        return this.#refuse(this.#accounts[command.account % this.#accounts.length])
      case "refuseAll":
        return this.#refuse(undefined)
      case "pause":
        real.pause()
        return model.pause()
      case "resume":
        return this.#resume(false)
      case "measureAgain":
        return model.growing === undefined ? this.#resume(true) : undefined
      case "ask":
        return this.#ask()
      case "drain":
        return this.#drain()
    }
  }

  #restart(slotCount: number): void {
    this.#real = new Admission(slotCount)
    this.#model = new AdmissionModel(slotCount)
    this.#accounts = [{ real: this.#real.root, model: this.#model.accounts[0]! }]
    this.#arrived = []
    this.#running = []
    this.#told = []
  }

  #install(space: ModelSpace, growthMaxBytes: number): void {
    const bases = space.chunks.map(({ base }) => base)
    const capacities = space.chunks.map(({ capacity }) => capacity)
    this.#real.install(new RangeAllocator(bases, capacities, space.alignment), growthMaxBytes)
    this.#model.install(space, growthMaxBytes)
  }

  /** As a runner configures: nobody begins any more, who is active ends, and then the chunks are exchanged. */
  #configure({ alignment, capacities, firstAddress, growthMaxBytes }: Extract<
    AdmissionCommand,
    { readonly _tag: "configure" }
  >): void {
    const model = this.#model
    this.#real.pause()
    model.pause()
    if (model.growing !== undefined) {
      return this.#resume(false)
    }
    this.#follow()
    while (this.#running.length > 0) {
      this.#release(this.#running[0])
    }
    // A runner mallocs at boundaries, and reservations are promised for such chunks only.
    const step = model.reservedByteCounts().length > 0 ? alignment : 1
    let next = firstAddress
    const chunks = capacities.map((capacity) => {
      const base = Math.ceil(next / step) * step
      next = base + capacity + 100
      return { base, capacity }
    })
    const space = { chunks, alignment }
    const fits = model.fitsReservations(space)
    const largest = growthMaxBytes > 0 ? [growthMaxBytes] : capacities
    alike(this.#real.fitsReservations(capacities, alignment), fits, "whether reservations would fit")
    const fitsGrown = model.fitsReservations({ alignment, chunks: largest.map((capacity) => ({ base: 0, capacity })) })
    if (capacities.length === 0 ? fitsGrown || growthMaxBytes === 0 : fits && fitsGrown) {
      this.#outcomes.configurations += 1
      this.#install(space, growthMaxBytes)
      return this.#resume(true)
    }
    this.#outcomes.misfitReservations += 1
    this.#resume(false)
  }

  #resume(measureAgain: boolean): void {
    this.#outcomes.measuredAgain += measureAgain ? 1 : 0
    this.#real.resume({ measureAgain })
    this.#model.resume(measureAgain)
  }

  #open(maxBytes: number, reservedBytes: number): void {
    if (this.#accounts.length >= 5) {
      return
    }
    this.#accountCount += 1
    const reservation = reservedBytes > 0 ? new Reservation(reservedBytes) : undefined
    const real = new Account(`account ${this.#accountCount}`, maxBytes, reservation)
    const model: ModelAccount = {
      id: this.#accountCount,
      maxBytes,
      reservedBytes,
      reserved: undefined,
      highWaterBytes: 0
    }
    const isOpen = this.#real.open(real)
    alike(isOpen, this.#model.open(model), "whether an account opens")
    if (isOpen) {
      this.#outcomes.opened += 1
      this.#accounts.push({ real, model })
    } else {
      this.#outcomes.notOpened += 1
      alike(reservation?.range.chunkIndex, noChunk, "an account that was not opened has no reservation")
    }
  }

  #close(account: OpenAccount): void {
    if (account.real === this.#real.root || this.#model.growing?.account === account.model) {
      return
    }
    this.#refuse(account)
    this.#follow()
    for (;;) {
      const running = this.#running.find(({ model }) => model.account === account.model)
      if (running === undefined) {
        break
      }
      this.#release(running)
      this.#follow()
    }
    this.#outcomes.closed += 1
    this.#real.close(account.real)
    this.#model.close(account.model)
    this.#accounts = this.#accounts.filter((other) => other !== account)
  }

  /** What a run wants, as its plan would have it for the chunks that there are. */
  #wantOf(parts: ReadonlyArray<number>): Want {
    const { growthMaxBytes, space } = this.#model
    const rangeCount = growthMaxBytes > 0 ? 1 : space.chunks.length
    const ranges = Array.from({ length: Math.min(rangeCount, parts.length) }, () => 0)
    parts.forEach((byteCount, index) => {
      if (ranges.length > 0) {
        ranges[index % ranges.length]! += byteCount
      }
    })
    const totalBytes = sum(parts)
    if (ranges.length > 0 && totalBytes > 0) {
      // Padding is another with other chunks, so that who waits has to be measured again; not where they grow.
      ranges[0]! += growthMaxBytes > 0 ? 1 : space.chunks.length
    }
    return { parts: ranges, totalBytes: ranges.length > 0 ? sum(ranges) : totalBytes }
  }

  #arrive(command: Extract<AdmissionCommand, { readonly _tag: "arrive" }>): void {
    const real = this.#real
    const model = this.#model
    const account = this.#accounts[command.account % this.#accounts.length]!
    // Who waits for a run does nothing else meanwhile.
    const isBusy = model.waiting.some(({ holder }) => holder === command.holder)
    const holder = command.holder === 0 || isBusy ? undefined : command.holder
    const want = this.#wantOf(command.parts)
    const prospect = model.prospect(account.model, want)
    alike(real.prospect(account.real, demandOf(want)), prospect, "the prospect")
    if (prospect !== "fits") {
      this.#outcomes.neverFit += 1
      return
    }
    this.#outcomes.pausedArrivals += model.isPaused ? 1 : 0
    const slot = real.admit(account.real, demandOf(want), holder)
    const run = model.admit(account.model, want, holder)
    alike(slot === undefined, run === undefined, "whether a run is admitted at once")
    if (slot !== undefined && run !== undefined) {
      this.#outcomes.atOnce += 1
      this.#running.push({ slot, model: run })
      return
    }
    this.#outcomes.enqueued += 1
    const id = this.#arrived.length
    const measure = (): Want | undefined => {
      const again = this.#wantOf(command.parts)
      return model.prospect(account.model, again) === "fits" ? again : undefined
    }
    const modelTicket: ModelTicket = {
      id,
      account: account.model,
      holder,
      want,
      state: "waiting",
      growToBytes: 0,
      measure
    }
    const ticket = real.enqueue({
      account: account.real,
      demand: demandOf(want),
      holder,
      measure: () => {
        const again = measure()
        return again === undefined ? undefined : demandOf(again)
      },
      wake: () => {
        // A ticket can be woken before it is in anybody's hands.
        const woken = this.#arrived[id]?.real ?? [...account.real.queue].find(({ arrival }) => arrival === id + 1)
        this.#told.push(`${id} ${woken?.state ?? "admitted"}`)
      }
    })
    real.stay(ticket)
    this.#arrived.push({ real: ticket, model: modelTicket, account })
    model.enqueue(modelTicket)
  }

  #waitingAt(position: number): Arrived | undefined {
    const { waiting } = this.#model
    return waiting.length === 0 ? undefined : this.#arrived[waiting[position % waiting.length]!.id]
  }

  #withdraw(arrived: Arrived | undefined): void {
    if (arrived === undefined) {
      return
    }
    const { state } = arrived.model
    const running = this.#running.find(({ model }) => model.ticket === arrived.model)
    if (state === "admitted" && running === undefined) {
      // Its run has ended: the ticket is out of use.
      return
    }
    this.#outcomes.withdrawnAdmitted += state === "admitted" ? 1 : 0
    this.#outcomes.withdrawnGrowing += state === "growing" ? 1 : 0
    this.#outcomes.withdrawnWaiting += state === "waiting" ? 1 : 0
    this.#outcomes.withdrawnLate += state === "refused" || state === "withdrawn" ? 1 : 0
    this.#running = this.#running.filter((other) => other !== running)
    this.#real.withdraw(arrived.real)
    this.#model.withdraw(arrived.model)
  }

  #release(running: Running | undefined): void {
    if (running === undefined) {
      return
    }
    this.#outcomes.releases += 1
    this.#running = this.#running.filter((other) => other !== running)
    this.#real.release(running.slot)
    this.#model.release(running.model)
    this.#follow()
  }

  #endGrowth(hasGrown: boolean, keepsChunk: boolean): void {
    const growing = this.#model.growing
    if (growing === undefined) {
      return
    }
    const { growthMaxBytes, space } = this.#model
    holds(growing.growToBytes <= growthMaxBytes, "the buffer never grows above its limit")
    if (hasGrown || !keepsChunk) {
      const chunks = hasGrown ? [{ base: space.alignment * 7, capacity: growing.growToBytes }] : []
      this.#install({ ...space, chunks }, growthMaxBytes)
    }
    this.#outcomes.growths += hasGrown ? 1 : 0
    this.#outcomes.failedGrowths += hasGrown ? 0 : 1
    this.#real.endGrowth(this.#arrived[growing.id]!.real, hasGrown)
    this.#model.endGrowth(growing, hasGrown)
    holds(!hasGrown || this.#model.isPaused || growing.state === "admitted", "who has grown the buffer goes on")
  }

  #refuse(account: OpenAccount | undefined): void {
    this.#real.refuseWaiting(account?.real)
    this.#model.refuseWaiting(account?.model)
  }

  #ask(): void {
    for (const ticket of this.#model.waiting) {
      const { account, real } = this.#arrived[ticket.id]!
      this.#outcomes.asked += 1
      alike(
        this.#real.obstacle(account.real, real.demand),
        this.#model.obstacle(account.model, ticket.want),
        "obstacle"
      )
      alike(
        this.#real.prospect(account.real, real.demand),
        this.#model.prospect(account.model, ticket.want),
        "prospect"
      )
      const waitsForItself = this.#model.waitsForItself(ticket)
      alike(this.#real.waitsForItself(real), waitsForItself, `whether ticket ${ticket.id} waits for itself`)
      this.#outcomes.waitsForItself += waitsForItself ? 1 : 0
    }
  }

  /** When all have ended nobody waits any more: whoever was let into a queue fits. */
  #drain(): void {
    this.#resume(false)
    this.#follow()
    for (;;) {
      if (this.#model.growing !== undefined) {
        this.#endGrowth(true, true)
      } else if (this.#running.length > 0) {
        this.#release(this.#running[0])
      } else {
        break
      }
      this.#follow()
    }
    this.#outcomes.drains += 1
    alike(this.#real.waitingCount, 0, "nobody waits when all have ended")
  }

  /** Whoever was admitted meanwhile runs, on both sides in the same order. */
  #follow(): void {
    const told = this.#model.told
    alike(this.#told.join(), told.join(), "who was told what, in which order")
    for (const line of told) {
      const arrived = this.#arrived[Number.parseInt(line, 10)]!
      const model = this.#model.runs.find(({ ticket }) => ticket === arrived.model)
      this.#outcomes.refusals += arrived.model.state === "refused" ? 1 : 0
      if (model !== undefined && this.#running.every((other) => other.model !== model)) {
        this.#outcomes.admitted += 1
        this.#outcomes.inReservations += model.isReserved ? 1 : 0
        this.#running.push({ slot: arrived.real.slot!, model })
      }
    }
    this.#told = []
    this.#model.told = []
  }

  #compare(): void {
    compareAdmission(this.#real, this.#model, this.#accounts, this.#running)
    for (const ticket of this.#model.waiting) {
      const { growToBytes, state } = this.#arrived[ticket.id]!.real
      alike(state, ticket.state, "the state of who waits")
      alike(growToBytes, ticket.growToBytes, "how far it grows")
    }
  }
}

const demandOf = ({ parts, totalBytes }: Want): Demand => ({ rangeBytes: Float64Array.from(parts), totalBytes })
