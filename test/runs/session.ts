/**
 * A session: commands carried out one after the other on one runner, each compared with the model. A session ends early where
 * the runner is lost, or cannot have its whole budget any more.
 */
import { Cause, Context, Effect, Exit, Fiber, Layer, Logger, LogLevel } from "effect"
import { DeviceRunner, type Errors, HostApi, Simulator } from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import { Book } from "../../src/internal/testing/book.ts"
import { explore, type Explorer } from "../../src/internal/testing/explorer.ts"
import { decorate } from "../../src/internal/testing/operations.ts"
import { Attempts, hostLength, type Hosts } from "./attempts.ts"
import { account, counters, differs, ending, errorOf, type Seen, views } from "./checks.ts"
import { type Command, residentCount } from "./commands.ts"
import { alignmentBytes, Model } from "./model.ts"

/** How much a campaign has done. */
export interface Tally {
  runs: number
  faults: number
  interruptions: number
  runners: number
}

/** A difference between the runner and the model: which command of the session, and what is different. */
export interface Difference {
  readonly index: number
  readonly detail: string
}
interface Parts {
  readonly runner: DeviceRunner.Service
  readonly injection: FaultInjection.Service
  readonly book: Book
  readonly model: Model
  readonly hosts: Hosts
  readonly tally: Tally
}
class Session {
  readonly #parts: Parts
  readonly #attempts: Attempts

  constructor(parts: Parts) {
    this.#parts = parts
    this.#attempts = new Attempts(parts.runner, parts.model, parts.hosts)
  }

  /** Carries a command out, and answers what is different from the model. */
  readonly perform = (command: Command, hand: Hand): Effect.Effect<ReadonlyArray<string>> =>
    Effect.gen(this, function*() {
      const { book, injection, model, runner, tally } = this.#parts
      const attempt = this.#attempts.of(command)
      const refusal = (attempt.needs === undefined ? undefined : model.refusal(attempt.needs)) ?? attempt.refusal
      const before = yield* runner.stats
      const firedBefore = yield* firedCount(injection)
      const fiber = yield* Effect.fork(
        command.rule === undefined ? attempt.effect : injection.withRule(command.rule, attempt.effect)
      )
      hand.aim(fiber, command.interruptStep)
      const exit = yield* Fiber.await(fiber)
      const isInterrupted = hand.rest()
      const isFaulty = (yield* firedCount(injection)) > firedBefore
      const after = yield* runner.stats
      tally.runs += attempt.needs === undefined ? 0 : 1
      tally.faults += isFaulty ? 1 : 0
      tally.interruptions += isInterrupted ? 1 : 0
      const seen = { attempt, command, refusal, exit, isInterrupted, isFaulty, before, after }
      const differences = [...ending(seen), ...views(seen), ...counters(seen)]
      if (Exit.isSuccess(exit)) {
        attempt.onSuccess?.()
      } else {
        attempt.onFailure?.(errorOf(exit))
      }
      return [...differences, ...this.#configuration(seen), ...account(book.snapshot(), model, after)]
    })

  /** A configuration that failed leaves the old one, or none; one that was interrupted may have been made all the same. */
  #configuration({ after, command, exit }: Seen): ReadonlyArray<string> {
    const { model } = this.#parts
    const { state, temporaryBuffer: { chunkCount, maxBytes, retainedBytes } } = after
    if (state === "poisoned") {
      return []
    }
    if (command.kind === "configure" && Exit.isFailure(exit)) {
      model.isUnconfigured = state === "unconfigured"
      if (Cause.isInterrupted(exit.cause) && maxBytes === command.maxBytes && !model.isUnconfigured) {
        model.maxBytes = maxBytes
        model.chunkCount = maxBytes === 0 ? 1 : chunkCount
      }
    }
    return [
      ...differs("the state", state, model.isUnconfigured ? "unconfigured" : "ready"),
      ...differs("the retained bytes", retainedBytes, model.retainedBytes)
    ]
  }
}

const firedCount = (injection: FaultInjection.Service): Effect.Effect<number> =>
  Effect.map(injection.fired, (rules) => rules.reduce((sum, { firedCount: count }) => sum + count, 0))

/** The hand that interrupts: a fiber, at the step of its own that it is told. */
class Hand {
  #fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  #stepsLeft = -1
  #hasStruck = false

  aim(fiber: Fiber.RuntimeFiber<unknown, unknown>, step: number | undefined): void {
    this.#fiber = fiber
    this.#stepsLeft = step ?? -1
    this.#hasStruck = false
  }

  /** Answers whether it has interrupted. */
  rest(): boolean {
    this.#fiber = undefined
    return this.#hasStruck
  }

  readonly atStep = (explorer: Explorer, fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean => {
    if (fiber !== this.#fiber || this.#hasStruck || this.#stepsLeft < 0) {
      return false
    }
    this.#hasStruck = this.#stepsLeft === 0
    this.#stepsLeft -= 1
    if (this.#hasStruck) {
      explorer.interrupt(fiber)
    }
    return this.#hasStruck
  }
}

export type Form = "immediate" | "effects"

const firstMaxBytes = 1024

/** What the session of some commands comes to: the first difference from the model, or nothing. */
export const runSession = (
  commands: ReadonlyArray<Command>,
  form: Form,
  tally: Tally
): Effect.Effect<Difference | undefined, Errors.BackendUnavailable | Errors.InvalidConfiguration> =>
  Effect.scoped(Effect.gen(function*() {
    const device = yield* Layer.build(Simulator.layer({ totalBytes: "1 MiB", longCalls: "inline" }))
    const injected = yield* Effect.provide(FaultInjection.make(), device)
    const injection = Context.get(injected, FaultInjection.FaultInjection)
    const book = new Book()
    const decorated = decorate(Context.get(injected, HostApi.HostApi), book)
    const hostApi = form === "immediate" ? decorated : { ...decorated, immediate: undefined }
    const hand = new Hand()
    tally.runners += 1
    const outcome = yield* explore(() =>
      Effect.scoped(carryOut({ book, commands, hand, injection, tally })).pipe(
        Effect.provideService(HostApi.HostApi, hostApi),
        Logger.withMinimumLogLevel(LogLevel.None)
      ), {
      strategy: { atStep: hand.atStep },
      maxStepCount: 1_000_000,
      patience: "1 second",
      isAwaited: () => false,
      onIdle: () => Effect.succeed(false),
      onEnd: Effect.void
    })
    const { exit } = outcome
    if (exit === undefined || Exit.isFailure(exit)) {
      return { index: commands.length, detail: exit === undefined ? "it did not end" : Cause.pretty(exit.cause) }
    }
    const { allocations, isLost } = book.snapshot()
    const held = isLost ? [] : allocations.filter(({ state }) => state === "held")
    return exit.value ??
      (held.length === 0 ? undefined : { index: commands.length, detail: held.map(Ledger.describe).join("; ") })
  }))

const carryOut = (
  { book, commands, hand, injection, tally }: {
    readonly book: Book
    readonly commands: ReadonlyArray<Command>
    readonly hand: Hand
    readonly injection: FaultInjection.Service
    readonly tally: Tally
  }
) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.make({
      temporaryBuffer: { maxBytes: firstMaxBytes, alignmentBytes },
      residentMaxBytes: "64 KiB",
      stagingMaxBytes: "16 KiB"
    })
    const model = new Model(firstMaxBytes, residentCount)
    const hosts = [
      yield* runner.allocateHost("uint8", [hostLength]),
      yield* runner.allocateHost("uint8", [hostLength])
    ] as const
    const session = new Session({ book, hosts, injection, model, runner, tally })
    for (const [index, command] of commands.entries()) {
      const [detail] = yield* session.perform(command, hand)
      if (detail !== undefined) {
        return { index, detail }
      }
      const { quarantine, state } = yield* runner.stats
      // What is in quarantine for good takes the budget's room, which the model knows nothing of.
      if (state === "poisoned" || (command.kind === "configure" && quarantine.count > 0)) {
        return undefined
      }
    }
    return undefined
  })
