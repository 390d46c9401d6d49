/** Programs as people write them: with time, chance, promises, timers, logs and daemons. What a sweep makes of them. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Random, Schedule } from "effect"
import type { HostApi } from "leasehold"
import { FaultSweep } from "leasehold/testing"
import { simulator } from "./programs/seam.ts"
import { memory, verdictsOf } from "./programs/sweeps.ts"

const options = {
  backend: simulator,
  layer: Layer.empty,
  patience: "20 millis",
  forms: ["effects"],
  persistences: ["once"],
  interruptions: ["reachable"]
} as const

/** Does something while memory is held. */
const holding = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<void, unknown, HostApi.HostApi> =>
  Effect.scoped(Effect.zipRight(memory, Effect.asVoid(effect)))

/** What is found out about something that is done while memory is held, in words. */
const found = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.map(
    FaultSweep.run(holding(effect), options),
    ({ failures }) => failures.map(({ detail, verdict }) => `${verdict}: ${detail}`)
  )

describe("a program is swept that", () => {
  for (
    const [title, effect] of [
      ["sleeps for an hour, in no time", Effect.sleep("1 hour")],
      ["waits with a timeout", Effect.timeoutOption(Effect.never, "3 seconds")],
      [
        "tries again on a schedule",
        Effect.ignore(
          Effect.retry(Effect.fail("x"), Schedule.intersect(Schedule.exponential("1 second"), Schedule.recurs(3)))
        )
      ],
      ["waits for a promise", Effect.promise(() => Promise.resolve(1))],
      [
        "waits for a timer of the process",
        Effect.async<void>((resume) => void setTimeout(() => resume(Effect.void), 1))
      ],
      ["writes to the log", Effect.logError("it is written in replays only")],
      ["leaves a daemon behind that ends", Effect.forkDaemon(Effect.yieldNow())]
    ] as const
  ) {
    it.effect(title, () => Effect.map(found(effect), (lines) => assert.deepStrictEqual(lines, [])))
  }

  it.effect("draws numbers, which are the same in each case", () =>
    Effect.gen(function*() {
      const drawn = new Set<number>()
      const draws = Effect.flatMap(Random.nextIntBetween(0, 1000), (count) => {
        drawn.add(count)
        return Effect.repeatN(Effect.yieldNow(), count % 7)
      })
      assert.deepStrictEqual(yield* found(draws), [])
      assert.strictEqual(drawn.size, 1)
    }))

  it.effect("looks at the clock, which begins anew in each case", () =>
    Effect.gen(function*() {
      const times = new Set<number>()
      const looks = Effect.zipRight(
        Effect.sleep("2 seconds"),
        Effect.map(Clock.currentTimeMillis, (time) => times.add(time))
      )
      assert.deepStrictEqual(yield* found(looks), [])
      assert.deepStrictEqual([...times], [2000])
    }))
})

describe("a layer with a pulse", () => {
  it.effect("does not hide a call that hangs", () =>
    Effect.gen(function*() {
      const pulse = Layer.scopedDiscard(Effect.forkScoped(Effect.forever(Effect.sleep("1 second"))))
      const report = yield* FaultSweep.run(holding(Effect.void), {
        ...options,
        layer: pulse,
        faults: ["hang"],
        interruptions: []
      })
      assert.deepStrictEqual(report.failures.map(({ page }) => page), [])
      assert.strictEqual(report.faultCases, 4)
    }))

  it.effect("does not end a program that sleeps more often than that", () =>
    Effect.gen(function*() {
      const sleeps = holding(Effect.repeatN(Effect.sleep("1 second"), 150))
      assert.deepStrictEqual(verdictsOf(yield* FaultSweep.run(sleeps, { ...options, interruptions: [] })), [])
    }))
})

describe("a program is found out that", () => {
  it.effect("leaves a daemon behind that holds memory", () =>
    Effect.gen(function*() {
      const daemon = Effect.forkDaemon(Effect.scoped(Effect.zipRight(memory, Effect.never)))
      const report = yield* FaultSweep.run(Effect.asVoid(daemon), options)
      assert.deepStrictEqual(verdictsOf(report), ["Leaked"])
      assert.include(report.failures[0]!.detail, "still held after everything has closed: 64 B of device memory")
    }))

  it.effect("leaves a daemon behind that never rests", () =>
    Effect.gen(function*() {
      const lines = yield* found(Effect.forkDaemon(Effect.forever(Effect.yieldNow())))
      assert.lengthOf(lines, 1)
      assert.match(
        lines[0]!,
        /^Stuck: the program ended, and a fiber that it had left behind went on for all of \d+ steps$/
      )
    }))

  it.effect("takes the same way twice, and another one later", () =>
    Effect.gen(function*() {
      let count = 0
      const program = Effect.suspend(() => {
        count += 1
        return count <= 2 ? Effect.scoped(Effect.zipRight(memory, memory)) : holding(Effect.void)
      })
      const { failures } = yield* FaultSweep.run(program, { ...options, faults: ["error"], interruptions: [] })
      assert.deepStrictEqual(failures.map(({ detail, verdict }) => [verdict, detail]), [
        ["Nondeterministic", "operation 1 was malloc, and is not any more"]
      ])
    }))

  it.effect("does not come to the operation of a case that is replayed", () =>
    Effect.gen(function*() {
      const only = "effects operation=7,free,error,before,once"
      const { failures } = yield* FaultSweep.run(holding(Effect.void), { ...options, only })
      assert.deepStrictEqual(failures.map(({ detail, verdict }) => [verdict, detail]), [
        ["Nondeterministic", "operation 7 was free, and is not any more"]
      ])
    }))

  it.effect("waits for longer than the sweep has patience", () =>
    Effect.gen(function*() {
      const waits = Effect.promise(() => new Promise<never>(() => undefined))
      assert.include(yield* found(waits), "Stuck: the program did not end, and nothing was left to do")
    }))

  it.effect("cannot be interrupted", () =>
    Effect.gen(function*() {
      assert.include(
        yield* found(Effect.uninterruptible(Effect.never)),
        "Stuck: the program did not end, and nothing was left to do"
      )
    }))
})
