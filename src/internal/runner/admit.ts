/**
 * Admitting a run that has been read: at once where there is room, after growth, in its turn where the runner lets runs wait,
 * or not at all.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import {
  AdmissionRefused,
  BudgetExhausted,
  RunnerClosed,
  type RunnerPoisoned,
  type RunnerUnconfigured
} from "../../Errors.ts"
import type { BindError } from "../../Run.ts"
import { assert } from "../assert.ts"
import type { Account } from "../core/account.ts"
import type { Demand, Ticket } from "../core/ticket.ts"
import type { ActiveRun } from "./activeRun.ts"
import { begin, checkAgain, currentHolder, dropFrame, findTables, fullRefusal } from "./beginRun.ts"
import { quotaBytes } from "./budgets.ts"
import type { Frame } from "./frame.ts"
import { growTo } from "./growth.ts"
import type { LayoutRefusal } from "./layOutRun.ts"
import type { RunnerState } from "./state.ts"
import { suggestRoom } from "./suggestion.ts"

/** Gives back to an Effect whether the user's own region can be interrupted. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** A run that was not admitted at once. */
class Request {
  readonly state: RunnerState
  readonly account: Account
  readonly frame: Frame
  readonly ticket: Ticket
  /** Whether its run has begun: from then on the run itself gives everything back. */
  hasBegun = false
  /** Why it cannot run with the chunks as they became while it waited. */
  changeRefusal: LayoutRefusal | ReturnType<typeof goneRefusal> | undefined

  constructor(state: RunnerState, account: Account, frame: Frame) {
    this.state = state
    this.account = account
    this.frame = frame
    this.ticket = state.admission.enqueue({
      account,
      demand: frame.tables.layout.demand,
      holder: currentHolder(state),
      wake: () => undefined,
      measure: () => {
        this.changeRefusal = goneRefusal(state, this) ?? findTables(state, frame) ??
          aloneRefusal(state, this, frame.tables.layout.demand)
        return this.changeRefusal === undefined ? frame.tables.layout.demand : undefined
      }
    })
  }

  get name(): string {
    return this.frame.prepared.name
  }

  /** Begins its run in the slot that it was admitted to. */
  begin(): ActiveRun {
    const { slot } = this.ticket
    assert(slot !== undefined, "who is admitted has a slot")
    const run = begin(this.state, this.frame, slot)
    this.hasBegun = true
    return run
  }

  /** Gives everything back. */
  abandon(): void {
    if (this.hasBegun) {
      return
    }
    this.state.admission.withdraw(this.ticket)
    dropFrame(this.state, this.frame)
    // It may have been the last that the closing of the runner waits for.
    this.state.notify()
  }
}

/**
 * Begins a run that was not admitted at once, in an uninterruptible region of the caller's; only the wait for its turn is
 * interruptible, as far as the user's own region is. What follows the beginning begins in the same step. Whatever fails
 * before it, nothing is held, and the frame is given back.
 */
export const admitLater = (
  state: RunnerState,
  { account, begun, frame, restore }: {
    readonly account: Account
    readonly frame: Frame
    readonly restore: Restore
    readonly begun: (run: ActiveRun) => Effect.Effect<ActiveRun, BindError>
  }
): Effect.Effect<ActiveRun, BindError> => {
  const request = new Request(state, account, frame)
  const { ticket } = request
  const refusal = placeRefusal(state, request)
  if (refusal !== undefined) {
    request.abandon()
    state.counters.runsRefused += 1
    return Effect.fail(refusal)
  }
  state.admission.stay(ticket)
  if (ticket.state === "waiting") {
    state.counters.runsWaited += 1
    state.departures.waitingSince(state.nowNanos())
  }
  // The one for which the buffer grows stands in its queue as well.
  state.counters.waitingHighWater = Math.max(state.counters.waitingHighWater, state.admission.waitingCount)
  return Effect.catchAllCause(
    Effect.flatMap(turn(state, ticket, restore), () => proceed(state, request, { begun, restore })),
    (cause) => {
      request.abandon()
      const failure = Cause.failureOption(cause)
      if (Option.isSome(failure) && failure.value._tag === "AdmissionRefused") {
        state.counters.runsRefused += 1
      }
      return Effect.failCause(cause)
    }
  )
}

/**
 * Waits until the ticket's state has changed, or the deadline has passed, in an uninterruptible region of the caller's. The
 * deadline holds also where the user's own region cannot be interrupted, so nothing is raced against it.
 */
const turn = (state: RunnerState, ticket: Ticket, restore: Restore): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (ticket.state !== "waiting") {
      return Effect.void
    }
    let isOver = false
    const woken = restore(Effect.async<void>((resume) => {
      // A scheduler may have let others in between: without a second look nobody would be left to wake this one.
      if (ticket.state === "waiting" && !isOver) {
        ticket.wake = () => resume(Effect.void)
      } else {
        resume(Effect.void)
      }
    }))
    const { admission } = state.settings
    if (admission._tag !== "Wait" || admission.deadline === undefined) {
      return woken
    }
    const expire = Effect.sync(() => {
      isOver = true
      ticket.wake()
    })
    // However the timer ends, it wakes the run: anybody may interrupt a root fiber, and then nobody else would.
    return Effect.flatMap(
      Effect.forkDaemon(Effect.ensuring(Effect.interruptible(Effect.sleep(admission.deadline)), expire)),
      (timer) => Effect.ensuring(woken, Fiber.interrupt(timer))
    )
  })

/** Goes on after the ticket's state has changed. */
const proceed = (
  state: RunnerState,
  request: Request,
  options: {
    readonly restore: Restore
    readonly begun: (run: ActiveRun) => Effect.Effect<ActiveRun, BindError>
  }
): Effect.Effect<ActiveRun, BindError> => {
  const { frame, ticket } = request
  switch (ticket.state) {
    case "admitted": {
      const refusal = goneRefusal(state, request) ?? checkAgain(state, frame)
      // All in one step: what was checked may be gone after another.
      return refusal === undefined ? options.begun(request.begin()) : Effect.fail(refusal)
    }
    case "growing":
      return Effect.flatMap(Effect.exit(growTo(state, ticket.growToBytes)), (exit) => {
        state.admission.endGrowth(ticket, Exit.isSuccess(exit))
        return Exit.isFailure(exit) && ticket.state === "refused"
          ? Effect.failCause(exit.cause)
          : Effect.flatMap(turn(state, ticket, options.restore), () => proceed(state, request, options))
      })
    case "waiting":
      return Effect.fail(refused(state, request, "Deadline"))
    default:
      return Effect.fail(goneRefusal(state, request) ?? request.changeRefusal ?? refused(state, request, "Draining"))
  }
}

/** Why the runner is not what it was when the run began to wait, or `undefined`. */
const goneRefusal = (
  state: RunnerState,
  request: Request
): RunnerClosed | RunnerPoisoned | RunnerUnconfigured | AdmissionRefused | undefined => {
  const refusal = state.planRefusal(`a run of ${request.name}`)
  return refusal instanceof RunnerClosed ? refused(state, request, "Draining") : refusal
}

/** Why a run does not keep its place in a queue, or `undefined`. */
const placeRefusal = (state: RunnerState, request: Request): BindError | undefined => {
  const { ticket } = request
  switch (ticket.state) {
    case "waiting":
      return aloneRefusal(state, request, ticket.demand) ?? waitRefusal(state, request)
    case "growing":
      return aloneRefusal(state, request, ticket.demand)
    default:
      return undefined
  }
}

/** Why a run that would have to wait is refused, or `undefined`. */
const waitRefusal = (state: RunnerState, request: Request): BindError | undefined => {
  const { admission, settings } = state
  const { account, ticket } = request
  const policy = settings.admission
  if (policy._tag === "Fail") {
    return whyNotNow(state, request)
  }
  if (admission.waitsForItself(ticket)) {
    return refused(state, request, "WaitsForItself")
  }
  const position = account.queue.length
  const reason = position > policy.maxQueueCount
    ? "QueueFull"
    : policy._tag === "Shed" && state.departures.estimateNanos(position) > Duration.toMillis(policy.maxWait) * 1e6
    ? "Shed"
    : undefined
  if (reason === undefined) {
    return undefined
  }
  state.departures.turnedAway(state.nowNanos())
  return refused(state, request, reason)
}

/** Why a run would be refused even if it were alone, or `undefined`. */
const aloneRefusal = (
  state: RunnerState,
  request: Request,
  demand: Demand
): AdmissionRefused | BudgetExhausted | undefined => {
  switch (state.admission.prospect(request.account, demand)) {
    case "quota":
      return refused(state, request, "Quota", demand)
    case "reserved":
      return exhausted(state, request, "Reserved", demand)
    default:
      return undefined
  }
}

/** What stands in the way of a run on a runner that lets nobody wait. */
const whyNotNow = (state: RunnerState, request: Request): BindError => {
  const full = fullRefusal(state, request.name)
  if (full !== undefined) {
    // It has counted itself.
    state.counters.runsRefused -= 1
    return full
  }
  switch (state.admission.obstacle(request.account, request.ticket.demand)) {
    case "quota":
      return refused(state, request, "Quota")
    case "fragmented":
      return exhausted(state, request, "Fragmented")
    default:
      return exhausted(state, request, "Exhausted")
  }
}

const exhausted = (
  state: RunnerState,
  { name, ticket }: Request,
  reason: "Exhausted" | "Fragmented" | "Reserved",
  demand: Demand = ticket.demand
): BudgetExhausted => {
  const { space } = state.admission
  const inUseBytes = space.inUseBytes
  return new BudgetExhausted({
    reason,
    tensor: name,
    requestedBytes: demand.totalBytes,
    alignedBytes: demand.totalBytes,
    inUseBytes,
    largestFreeBytes: space.largestFreeBytes(),
    maxBytes: state.configuration.maxBytes,
    ...suggestRoom(state, demand.rangeBytes),
    largestHolders: state.activeRuns
      .map((run) => ({ tensor: run.name, byteCount: run.slot.byteCount }))
      .toSorted((left, right) => right.byteCount - left.byteCount)
      .slice(0, 3)
  })
}

const refused = (
  state: RunnerState,
  request: Request,
  reason: AdmissionRefused["reason"],
  demand: Demand = request.ticket.demand
): AdmissionRefused => {
  const { admission } = state
  const { account, ticket } = request
  // It may stand in the queue itself.
  const own = ticket.state === "waiting" ? 1 : 0
  const queueCount = account.queue.length - own
  return new AdmissionRefused({
    reason,
    callable: request.name,
    budget: account.name,
    requestedBytes: demand.totalBytes,
    queueCount,
    waitingBytes: admission.waitingBytes - own * ticket.demand.totalBytes,
    freeBytes: admission.space.freeBytes(),
    largestFreeBytes: admission.space.largestFreeBytes(),
    maxBytes: quotaBytes(state, account),
    retryAfterMillis: Math.ceil(state.departures.estimateNanos(queueCount + 1) / 1e6)
  })
}
