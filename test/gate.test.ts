/** The gate through which the device work of a runner goes: one at a time, first come, first served, nobody left behind. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Either, Exit, Fiber, FiberId, type Scheduler } from "effect"
import { type HostApi, RunnerOptions } from "leasehold"
import { Gate } from "../src/internal/runner/gate.ts"
import { RunnerState } from "../src/internal/runner/state.ts"

/** A gate that counts how often it fell idle. */
const makeGate = () => {
  const idle = { count: 0 }
  return { gate: new Gate(() => void (idle.count += 1)), idle }
}

/** Work that takes several turns, and notes when it begins and ends. */
const work = (name: string, events: Array<string>, turns = 3): Effect.Effect<string> =>
  Effect.gen(function*() {
    events.push(`+${name}`)
    yield* Effect.repeatN(Effect.yieldNow(), turns)
    events.push(`-${name}`)
    return name
  })

/** Whether pieces of work began and ended one after the other. */
const isSerial = (events: ReadonlyArray<string>): boolean =>
  events.every((event, index) => event.startsWith("+") ? index % 2 === 0 : events[index - 1] === `+${event.slice(1)}`)

const settle = Effect.repeatN(Effect.yieldNow(), 30)

describe("the gate", () => {
  it.effect("lets work through at once when it is free, and answers what the work answers", () =>
    Effect.gen(function*() {
      const { gate, idle } = makeGate()
      assert.isFalse(gate.busy)
      const busy = yield* gate.through(Effect.sync(() => gate.busy))
      assert.isTrue(busy)
      assert.deepStrictEqual([gate.busy, idle.count], [false, 1])
      assert.strictEqual(yield* gate.through(Effect.succeed(7)), 7)
      assert.strictEqual(yield* Effect.flip(gate.through(Effect.fail("no"))), "no")
      assert.strictEqual(idle.count, 3)
    }))

  it("lets work through in one synchronous stretch when it is free, or broken", () => {
    const { gate } = makeGate()
    assert.deepStrictEqual(Effect.runSyncExit(gate.through(Effect.succeed(1))), Exit.succeed(1))
    gate.break()
    assert.deepStrictEqual(Effect.runSyncExit(gate.through(Effect.succeed(2))), Exit.succeed(2))
  })

  it.effect("lets work through one at a time, in the order of arrival", () =>
    Effect.gen(function*() {
      const { gate, idle } = makeGate()
      const events: Array<string> = []
      const many = Array.from({ length: 20 }, (_, index) => `${index}`)
      const answers = yield* Effect.forEach(
        many,
        (name, index) => gate.through(work(name, events, index % 4)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(answers, many)
      assert.deepStrictEqual(events, many.flatMap((name) => [`+${name}`, `-${name}`]))
      assert.deepStrictEqual([gate.busy, idle.count], [false, 1], "idle once, when the last has left")
    }))

  it.effect("keeps its order when somebody arrives just as another leaves", () =>
    Effect.gen(function*() {
      const { gate } = makeGate()
      const events: Array<string> = []
      const first = yield* Deferred.make<void>()
      const holding = yield* Effect.fork(gate.through(Deferred.await(first)))
      yield* settle
      const waiting = yield* Effect.forEach(["a", "b"], (name) => Effect.fork(gate.through(work(name, events))))
      yield* settle
      yield* Deferred.succeed(first, undefined)
      const late = yield* Effect.fork(gate.through(work("c", events)))
      yield* Fiber.joinAll<unknown, never>([holding, ...waiting, late])
      assert.deepStrictEqual(events, ["+a", "-a", "+b", "-b", "+c", "-c"])
    }))

  it.effect("is left by work that fails, dies, throws or interrupts itself", () =>
    Effect.gen(function*() {
      const { gate, idle } = makeGate()
      const broken = new Error("broken")
      const outcomes: ReadonlyArray<Effect.Effect<never, string>> = [
        Effect.fail("no"),
        Effect.die(broken),
        Effect.sync(() => {
          throw broken
        }),
        Effect.suspend(() => {
          throw broken
        }),
        Effect.interrupt
      ]
      for (const outcome of outcomes) {
        const events: Array<string> = []
        const exits = yield* Effect.forEach(
          [Effect.zipRight(Effect.yieldNow(), outcome), work("next", events)],
          (each) => Effect.exit(gate.through<unknown, string>(each)),
          { concurrency: "unbounded" }
        )
        assert.isTrue(Exit.isFailure(exits[0]!))
        assert.deepStrictEqual(events, ["+next", "-next"])
        assert.isFalse(gate.busy)
      }
      assert.strictEqual(idle.count, outcomes.length)
    }))

  it.effect("does not let go of work that has begun: an interruption is heard when it has ended", () =>
    Effect.gen(function*() {
      const { gate } = makeGate()
      const events: Array<string> = []
      const release = yield* Deferred.make<void>()
      const holding = yield* Effect.fork(gate.through(Effect.zipRight(Deferred.await(release), work("held", events))))
      yield* settle
      const waiting = yield* Effect.fork(gate.through(work("waited", events)))
      yield* settle
      const interruption = yield* Effect.fork(Fiber.interruptAll([holding, waiting]))
      yield* settle
      assert.deepStrictEqual([events.length, (yield* Fiber.poll(holding))._tag], [0, "None"])
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.await(interruption)
      assert.isTrue(isSerial(events), events.join())
      assert.include(events, "-held")
      assert.isFalse(gate.busy)
    }))

  it.effect("is not lost when it is entered in a nested way by other fibers", () =>
    Effect.gen(function*() {
      const { gate } = makeGate()
      const events: Array<string> = []
      // Work of one starts another through the gate, and does not wait for it.
      const fiber = yield* gate.through(Effect.zipLeft(
        Effect.forkDaemon(gate.through(work("inner", events))),
        work("outer", events)
      ))
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(events, ["+outer", "-outer", "+inner", "-inner"])
    }))
})

/**
 * Runs every task itself, and does something at one step of the run loop, wherever that step is. Every step of every fiber
 * asks `shouldYield`, so that counting the questions is counting the steps. The fiber that asks then gives way: to nobody
 * in particular, or to everybody else until they can go no further.
 */
class Explorer implements Scheduler.Scheduler {
  readonly #tasks: Array<() => void> = []
  readonly #last: Array<() => void> = []
  readonly #step: number
  readonly #atStep: () => "giveWay" | "waitForAll"
  steps = 0

  constructor(step: number, atStep: () => "giveWay" | "waitForAll") {
    this.#step = step
    this.#atStep = atStep
  }

  shouldYield(): number | false {
    this.steps += 1
    return this.steps !== this.#step ? false : this.#atStep() === "waitForAll" ? 1 : 0
  }

  scheduleTask(task: () => void, priority: number): void {
    ;(priority > 0 ? this.#last : this.#tasks).push(task)
  }

  /** Runs a program until nothing is left to do. Answers its exit, if it has come to one. */
  run<A, E>(program: Effect.Effect<A, E>): Exit.Exit<A, E> | undefined {
    const fiber = Effect.runFork(program, { scheduler: this })
    for (let task = this.#next(); task !== undefined; task = this.#next()) {
      task()
    }
    return fiber.unsafePoll() ?? undefined
  }

  #next(): (() => void) | undefined {
    return this.#tasks.shift() ?? this.#last.shift()
  }
}

const isSuccess = (exit: Exit.Exit<unknown, unknown> | undefined): boolean => exit !== undefined && Exit.isSuccess(exit)

const names = ["a", "b", "c"] as const

interface Explored {
  readonly steps: number
  readonly events: ReadonlyArray<string>
  readonly busy: boolean
  readonly ended: boolean
  readonly answered: ReadonlyArray<string>
}

/**
 * Three fibers pass the gate, and a fourth comes when all is over. At a step, one of them is interrupted, or whoever is at
 * that step has to wait for all others.
 */
const explore = (step: number, victim?: number): Explored => {
  const { gate } = makeGate()
  const events: Array<string> = []
  const started: Array<Fiber.RuntimeFiber<string>> = []
  const answered: Array<string> = []
  const explorer = new Explorer(step, () => {
    if (victim === undefined) {
      return "waitForAll"
    }
    started[victim]?.unsafeInterruptAsFork(FiberId.none)
    return "giveWay"
  })
  const exit = explorer.run(Effect.gen(function*() {
    started.push(...yield* Effect.forEach(names, (name) => Effect.fork(gate.through(work(name, events, 2)))))
    for (const fiber of started) {
      const exit = yield* Fiber.await(fiber)
      answered.push(Exit.isSuccess(exit) ? exit.value : Cause.isInterruptedOnly(exit.cause) ? "interrupted" : "failed")
    }
    yield* gate.through(work("last", events, 1))
  }))
  return { steps: explorer.steps, events, busy: gate.busy, ended: isSuccess(exit), answered }
}

/** Whatever happened on the way, the gate served one after the other, and is free. */
const assertSound = (outcome: Explored, where: string): void => {
  const account = `${where}: ${outcome.events.join(" ")}`
  assert.isTrue(outcome.ended, `somebody waits for ever, ${account}`)
  assert.isFalse(outcome.busy, account)
  assert.isTrue(isSerial(outcome.events), account)
  assert.deepStrictEqual(outcome.events.slice(-2), ["+last", "-last"], account)
}

const steps = explore(-1).steps

describe("the gate, step by step", () => {
  it("loses no wake-up and starves nobody, whichever fiber is interrupted wherever", () => {
    assert.isAbove(steps, 60)
    let interrupted = 0
    for (const victim of [0, 1, 2]) {
      for (let step = 1; step <= steps + 5; step++) {
        const outcome = explore(step, victim)
        const where = `fiber ${victim} is interrupted at step ${step}`
        assertSound(outcome, where)
        for (const [index, name] of names.entries()) {
          assert.include(index === victim ? [name, "interrupted"] : [name], outcome.answered[index]!, where)
          // Work that has begun has ended.
          assert.strictEqual(outcome.events.includes(`+${name}`), outcome.events.includes(`-${name}`), where)
        }
        interrupted += outcome.answered[victim] === "interrupted" ? 1 : 0
      }
    }
    assert.isAbove(interrupted, 100, "the explorer does interrupt")
  })

  it("lets in who gave way just before it began to wait, as who did not", () => {
    for (let step = 1; step <= steps; step++) {
      const outcome = explore(step)
      assertSound(outcome, `whoever is at step ${step} gives way to all others`)
      assert.deepStrictEqual(outcome.answered, [...names])
    }
  })

  it("lets in who gave way just before it began to wait, also when it breaks meanwhile", () => {
    for (let step = 1; step <= steps; step++) {
      const { gate } = makeGate()
      const events: Array<string> = []
      const explorer = new Explorer(step, () => "waitForAll")
      const exit = explorer.run(Effect.gen(function*() {
        const release = yield* Deferred.make<void>()
        const stuck = yield* Effect.fork(gate.through(Deferred.await(release)))
        yield* Effect.repeatN(Effect.yieldNow(), 3)
        const fibers = yield* Effect.forEach(names, (name) => Effect.fork(gate.through(work(name, events, 1))))
        yield* Effect.repeatN(Effect.yieldNow(), 3)
        gate.break()
        yield* Effect.forEach(fibers, Fiber.await)
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.await(stuck)
      }))
      assert.isTrue(isSuccess(exit), `somebody waits for ever, giving way at step ${step}: ${events.join(" ")}`)
    }
  })

  it("holds for any interleaving of arrivals, work and interruptions", () => {
    for (let seed = 1; seed <= 500; seed++) {
      // A linear congruential generator: the same seed gives the same program.
      let state = seed
      const next = (below: number): number => {
        state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
        return Math.floor(state / 65_536) % below
      }
      const { gate } = makeGate()
      const events: Array<string> = []
      const tasks: Array<() => void> = []
      const scheduler: Scheduler.Scheduler = {
        shouldYield: () => next(20) === 0 ? 0 : false,
        scheduleTask: (task) => void tasks.push(task)
      }
      const arrive = (name: string): Effect.Effect<string> =>
        Effect.zipRight(Effect.repeatN(Effect.yieldNow(), next(5)), gate.through(work(name, events, next(4))))
      const program = Effect.gen(function*() {
        const fibers = yield* Effect.forEach(["0", "1", "2", "3", "4"], (name) => Effect.fork(arrive(name)))
        yield* Effect.repeatN(Effect.yieldNow(), next(10))
        yield* Fiber.interruptFork(fibers[next(5)]!)
        yield* Effect.forEach(fibers, Fiber.await)
        yield* gate.through(work("last", events, 1))
      })
      const fiber = Effect.runFork(program, { scheduler })
      while (tasks.length > 0) {
        tasks.splice(next(tasks.length), 1)[0]!()
      }
      assert.isTrue(
        isSuccess(fiber.unsafePoll() ?? undefined),
        `somebody waits for ever, seed ${seed}: ${events.join(" ")}`
      )
      assert.isTrue(isSerial(events), `seed ${seed}: ${events.join(" ")}`)
      assert.isFalse(gate.busy, `seed ${seed}`)
    }
  })
})

/** The state of a runner that makes no calls. */
const makeState = (): RunnerState => {
  const traits: HostApi.Traits = {
    alignmentBytes: 64,
    granularityBytes: 1,
    tailBytes: 0,
    coalesceMaxBytes: 0,
    overlapsCopies: false,
    freeSynchronizes: false,
    argumentPassing: "value",
    recovery: "rebuildRunner",
    answersAtOnce: true
  }
  const settings = Either.getOrThrow(RunnerOptions.settings({}, traits))
  return new RunnerState({ traits } as HostApi.Service, settings, Clock.make())
}

/** Two fibers wait for a condition that comes true in the third of three changes. */
const waitFor = (step: number): { readonly steps: number; readonly ended: boolean } => {
  const state = makeState()
  let changes = 0
  const explorer = new Explorer(step, () => "waitForAll")
  const exit = explorer.run(Effect.gen(function*() {
    const waiting = yield* Effect.forEach(
      [3, 2],
      (least) => Effect.fork(state.until(() => changes >= least))
    )
    for (const count of [1, 2, 3]) {
      yield* Effect.yieldNow()
      changes = count
      state.notify()
    }
    yield* Effect.forEach(waiting, Fiber.join)
  }))
  return { steps: explorer.steps, ended: isSuccess(exit) }
}

describe("waiting for a condition, step by step", () => {
  it("misses no change, whoever gives way wherever", () => {
    const whole = waitFor(-1)
    assert.isTrue(whole.ended)
    for (let step = 1; step <= whole.steps; step++) {
      assert.isTrue(waitFor(step).ended, `somebody waits for ever, giving way at step ${step}`)
    }
  })

  it.effect("ends when it is interrupted, and is forgotten", () =>
    Effect.gen(function*() {
      const state = makeState()
      let looked = 0
      const waiting = yield* Effect.fork(state.until(() => {
        looked += 1
        return false
      }))
      yield* settle
      yield* Fiber.interrupt(waiting)
      const before = looked
      state.notify()
      yield* settle
      assert.strictEqual(looked, before)
    }))
})

describe("a broken gate", () => {
  it.effect("lets everybody in at once: who waits, and who comes later", () =>
    Effect.gen(function*() {
      const { gate } = makeGate()
      const events: Array<string> = []
      const release = yield* Deferred.make<void>()
      const stuck = yield* Effect.fork(gate.through(Deferred.await(release)))
      yield* settle
      const waiting = yield* Effect.forEach(["a", "b", "c"], (name) => Effect.fork(gate.through(work(name, events))))
      yield* settle
      assert.deepStrictEqual(events, [])
      gate.break()
      yield* settle
      assert.deepStrictEqual(events.slice(0, 3), ["+a", "+b", "+c"], "in the order of their arrival")
      assert.deepStrictEqual(yield* Fiber.joinAll(waiting), ["a", "b", "c"])
      assert.strictEqual((yield* Fiber.poll(stuck))._tag, "None")
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(stuck)
    }))

  it.effect("is left by whoever was inside without harm, and stays broken", () =>
    Effect.gen(function*() {
      const { gate } = makeGate()
      const events: Array<string> = []
      const release = yield* Deferred.make<void>()
      const holding = yield* Effect.fork(gate.through(Deferred.await(release)))
      yield* settle
      const waiting = yield* Effect.fork(gate.through(work("waiting", events)))
      yield* settle
      gate.break()
      gate.break()
      yield* Fiber.join(waiting)
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(holding)
      const together = yield* Effect.forEach(
        ["x", "y"],
        (name) => gate.through(work(name, events)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(together, ["x", "y"])
      assert.deepStrictEqual(events.slice(-4, -2), ["+x", "+y"])
    }))

  it.effect("that nobody waits at lets the next ones in", () =>
    Effect.gen(function*() {
      const { gate } = makeGate()
      gate.break()
      assert.strictEqual(yield* gate.through(Effect.succeed(1)), 1)
      assert.strictEqual(yield* gate.through(gate.through(Effect.succeed(2))), 2)
    }))
})
