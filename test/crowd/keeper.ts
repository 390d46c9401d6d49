/** The fiber that changes everything under the others: configurations, trims, child budgets, and the time. */
import { Cause, Effect, Exit, Fiber, Scope } from "effect"
import type { Errors } from "leasehold"
import type { Random } from "../model/random.ts"
import { look } from "./looks.ts"
import { budgetOf, type BudgetSetup, bufferOf, type BufferSetup } from "./setups.ts"
import type { Party, Watch } from "./watch.ts"

/** Fibers wait here while the keeper wants quiet. */
export interface Gate {
  readonly open: Effect.Effect<unknown>
  readonly close: Effect.Effect<unknown>
}

interface OpenBudget {
  readonly party: Party
  readonly scope: Scope.CloseableScope
  readonly close: Effect.Effect<void, Errors.BudgetInUse>
}

export class Keeper {
  readonly #watch: Watch
  readonly #random: Random
  readonly #gate: Gate
  readonly #budgets = new Set<OpenBudget>()
  #isOver = false

  constructor(watch: Watch, random: Random, gate: Gate) {
    this.#watch = watch
    this.#random = random
    this.#gate = gate
  }

  /** Opens the child budgets of the crowd. */
  readonly begin: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(this.#watch.setup.budgets, (setup, index) => this.#open(`tenant-${index}`, setup), { discard: true })
  )

  /** Does one thing after the other until it is told to stop. */
  readonly work: Effect.Effect<void> = Effect.gen(this, function*() {
    while (!this.#isOver) {
      yield* this.#step()
      const { state } = yield* look(this.#watch)
      if (state === "unconfigured") {
        // A growth or a configuration has failed so far that nothing is left.
        yield* this.#watch.injection.withoutFaults(this.#configure(this.#watch.configuration))
      }
      yield* this.#pause(40)
    }
  })

  /** Closes what is open and was not closed before. */
  readonly end: Effect.Effect<void> = Effect.suspend(() => {
    this.#isOver = true
    return Effect.forEach([...this.#budgets], (budget) => this.#leave(budget), { discard: true })
  })

  stop(): void {
    this.#isOver = true
  }

  #pause(most: number): Effect.Effect<unknown> {
    return Effect.repeatN(Effect.yieldNow(), this.#random.below(most))
  }

  #step(): Effect.Effect<unknown> {
    switch (this.#random.below(10)) {
      case 0:
        return this.#quietly(this.#configureAnew())
      case 1:
        return this.#configureAnew()
      case 2:
        return this.#quietly(this.#trim())
      case 3:
        return this.#trim()
      case 4:
      case 5:
        return this.#exchangeBudget()
      default:
        return this.#passTime()
    }
  }

  /** Time goes on, at most to the next moment for which somebody waits. */
  #passTime(): Effect.Effect<unknown> {
    const { clock } = this.#watch
    return Effect.gen(this, function*() {
      const fiber = yield* Effect.fork(Effect.sleep(1 + this.#random.below(5)))
      yield* Effect.yieldNow()
      clock.advance()
      yield* Fiber.interrupt(fiber)
    })
  }

  /** Begins when nobody is at work, and lets the others go on while it is under way. */
  #quietly(work: Effect.Effect<unknown>): Effect.Effect<unknown> {
    const { inFlight } = this.#watch
    return Effect.gen(this, function*() {
      yield* this.#gate.close
      // Time goes on meanwhile, for who waits may have a deadline.
      yield* Effect.repeat(Effect.yieldNow(), { until: () => inFlight.size === 0 || this.#isOver })
      const fiber = yield* Effect.fork(work)
      yield* this.#pause(4)
      yield* this.#gate.open
      yield* Fiber.join(fiber)
    })
  }

  #configureAnew(): Effect.Effect<unknown> {
    const { buffer, looksAtPadding } = this.#watch.setup
    return this.#configure(bufferOf(this.#random, { alignmentBytes: buffer.alignmentBytes, looksAtPadding }))
  }

  #configure(buffer: BufferSetup): Effect.Effect<unknown> {
    return this.#changed("configure", this.#watch.runner.configure(buffer), buffer, (isDone) => {
      this.#watch.tally.configurations += isDone ? 1 : 0
    })
  }

  #trim(): Effect.Effect<unknown> {
    const keepBytes = this.#random.pick([0, 1024, 4096])
    return this.#changed("trim", this.#watch.runner.trim(keepBytes), this.#watch.configuration, (isDone) => {
      this.#watch.tally.trims += isDone ? 1 : 0
    })
  }

  /** Changes the chunks, and looks whether something explains how that came out. */
  #changed(
    name: string,
    change: Effect.Effect<unknown, Errors.RunnerError>,
    next: BufferSetup,
    onEnd: (isDone: boolean) => void
  ): Effect.Effect<unknown> {
    const watch = this.#watch
    return Effect.gen(this, function*() {
      const before = watch.configuration
      const firedBefore = yield* watch.firedCount
      const attemptsBefore = watch.attemptCount - watch.inFlight.size
      watch.changeCount += 1
      watch.changingCount += 1
      watch.configurations.push(next)
      const exit = yield* Effect.exit(change)
      watch.changingCount -= 1
      if (Exit.isFailure(exit)) {
        watch.configurations.push(before)
        const isFaulty = (yield* watch.firedCount) > firedBefore
        const mayBeActive = watch.attemptCount > attemptsBefore
        const isSo = [...Cause.failures(exit.cause)].every((error) =>
          this.#explains(error, { isFaulty, mayBeActive })
        ) &&
          (isFaulty || Cause.isFailType(exit.cause))
        watch.expect(isSo, () => `${name} ended with ${Cause.pretty(exit.cause)}, which nothing explains`)
      }
      onEnd(Exit.isSuccess(exit))
    })
  }

  #explains(error: Errors.RunnerError, facts: { readonly isFaulty: boolean; readonly mayBeActive: boolean }): boolean {
    const watch = this.#watch
    switch (error._tag) {
      case "ConfigureWhileActive":
        return facts.mayBeActive
      case "InvalidConfiguration":
        return (error.reason === "Reserved" && watch.hasReserved) || (error.reason === "Choice" && watch.mayBeFixed)
      case "BudgetExhausted":
        return error.reason === "Quarantined" && watch.fails("free")
      case "RunnerPoisoned":
        return watch.losesDevice
      case "DeviceOutOfMemory":
      case "DeviceFailed":
      case "TransferFailed":
        return facts.isFaulty
      default:
        return false
    }
  }

  #open(name: string, setup: BudgetSetup): Effect.Effect<void> {
    const watch = this.#watch
    return Effect.gen(this, function*() {
      const scope = yield* Scope.make()
      watch.hasReserved ||= setup.reserveBytes > 0
      const options = setup.maxBytes === undefined ? { reserveBytes: setup.reserveBytes } : {
        maxBytes: setup.maxBytes,
        reserveBytes: setup.reserveBytes
      }
      const made = yield* Effect.either(Scope.extend(watch.runner.budget(name, options), scope))
      if (made._tag === "Left") {
        const { left } = made
        const isSo = left._tag === "InvalidConfiguration"
          // One that was closed may have runs that are not over; one that reserves may ask for more than there is.
          ? left.reason === "Name" || setup.reserveBytes > 0
          : left._tag === "BudgetExhausted"
          ? setup.reserveBytes > 0
          : left._tag === "RunnerPoisoned"
          ? watch.losesDevice
          : watch.fails("malloc") || watch.fails("free") || watch.fails("submit")
        watch.expect(isSo, () => `a child budget cannot be had: ${left.message}`)
        yield* Scope.close(scope, Exit.void)
        return
      }
      const budget = made.right
      const party: Party = { name, runs: budget, setup, stats: budget.stats, isClosing: false }
      watch.parties.push(party)
      this.#budgets.add({ party, scope, close: budget.close })
    })
  }

  /** Closes a child budget, with whatever waits in it or is active, and opens another. */
  #exchangeBudget(): Effect.Effect<void> {
    const [budget] = this.#budgets
    const { configuration } = this.#watch
    if (budget === undefined) {
      return this.#watch.setup.budgets.length === 0
        ? Effect.void
        : this.#open(`tenant-${this.#random.below(3)}`, budgetOf(this.#random, configuration))
    }
    return Effect.gen(this, function*() {
      const { party } = budget
      party.isClosing = true
      if (this.#random.once(2)) {
        const exit = yield* Effect.exit(budget.close)
        if (Exit.isFailure(exit)) {
          // It has runs, so it stays, and nothing has happened.
          party.isClosing = false
          return
        }
      }
      yield* this.#leave(budget)
      yield* this.#open(party.name, budgetOf(this.#random, configuration))
    })
  }

  #leave(budget: OpenBudget): Effect.Effect<void> {
    const { parties, tally } = this.#watch
    return Effect.suspend(() => {
      budget.party.isClosing = true
      this.#budgets.delete(budget)
      parties.splice(parties.indexOf(budget.party), 1)
      tally.closings += 1
      return Scope.close(budget.scope, Exit.void)
    })
  }
}
