/** Time as a sweep has it: it stands still while there is something to do, and jumps to the next timer. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { VirtualClock } from "../../src/internal/testing/virtualClock.ts"
import { settle } from "../utils/gated.ts"

/** Sleepers that note when they wake. */
const sleepers = (clock: VirtualClock, sleeps: ReadonlyArray<readonly [string, string | number]>) => {
  const woken: Array<string> = []
  return Effect.map(
    Effect.forEach(sleeps, ([name, duration]) =>
      Effect.fork(
        Effect.sync(() => void woken.push(`${name} at ${clock.clock.unsafeCurrentTimeMillis()}`)).pipe(
          Effect.delay(duration as "1 second"),
          Effect.withClock(clock.clock)
        )
      )),
    (fibers) => ({ woken, fibers })
  )
}

/** Advances until no timer is left, and answers how often that was. */
const run = (clock: VirtualClock): Effect.Effect<number> =>
  Effect.gen(function*() {
    let count = 0
    yield* settle
    while (clock.advance()) {
      count += 1
      yield* settle
    }
    return count
  })

describe("a virtual clock", () => {
  it.effect("wakes timers in the order of their time, and those of one time in the order of their making", () =>
    Effect.gen(function*() {
      const clock = new VirtualClock()
      const { woken } = yield* sleepers(clock, [["late", "3 seconds"], ["a", 1000], ["b", "1 second"], ["now", 0]])
      assert.strictEqual(yield* run(clock), 4)
      assert.deepStrictEqual(woken, ["now at 0", "a at 1000", "b at 1000", "late at 3000"])
    }))

  it.effect("stands still between timers, and does not move without one", () =>
    Effect.gen(function*() {
      const clock = new VirtualClock()
      assert.isFalse(clock.advance())
      assert.strictEqual(yield* clock.clock.currentTimeMillis, 0)
      yield* sleepers(clock, [["a", "1 hour"]])
      yield* settle
      assert.strictEqual(yield* clock.clock.currentTimeMillis, 0)
      assert.isTrue(clock.advance())
      assert.strictEqual(yield* clock.clock.currentTimeMillis, 3_600_000)
      assert.strictEqual(yield* clock.clock.currentTimeNanos, 3_600_000_000_000n)
      assert.isFalse(clock.advance())
    }))

  it.effect("forgets a sleeper that is interrupted, and never wakes one that sleeps for ever", () =>
    Effect.gen(function*() {
      const clock = new VirtualClock()
      const { fibers, woken } = yield* sleepers(clock, [["gone", 1000], ["ever", Infinity], ["there", 2000]])
      yield* settle
      yield* Fiber.interrupt(fibers[0]!)
      assert.strictEqual(yield* run(clock), 1)
      assert.deepStrictEqual(woken, ["there at 2000"])
      yield* Fiber.interrupt(fibers[1]!)
    }))

  it.effect("counts parts of a millisecond up, so that time moves with each timer", () =>
    Effect.gen(function*() {
      const clock = new VirtualClock()
      yield* sleepers(clock, [["short", "1500 micros"]])
      yield* run(clock)
      assert.strictEqual(yield* clock.clock.currentTimeNanos, 1_500_000n)
    }))
})
