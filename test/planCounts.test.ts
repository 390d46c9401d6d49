/** How often plans are made and found, whatever a run has to go through before it begins. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"

const negate = Callable.make({
  signature: { x: Arg.inout("float32", ["n"]) },
  launch: ({ read, write }) => Effect.flatMap(read("x"), (x) => write("x", x.map((value) => -value)))
})
const args = () => ({ x: new Float32Array(4) })

describe("the counts of plans", () => {
  it.scoped("have each run once, also one that has waited for its turn", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.make({ admission: { wait: { maxQueueCount: 1 } } })
      const run = yield* runner.bind(negate, args())
      const waiting = yield* Effect.fork(runner.run(negate, args()))
      yield* Effect.repeat(Effect.zipRight(Effect.yieldNow(), runner.stats), {
        until: ({ runs }) => runs.waiting > 0
      })
      yield* run.launch
      yield* run.validate
      yield* Fiber.join(waiting)
      const { plans, runs } = yield* runner.stats
      assert.deepInclude(runs, { ended: 2, waited: 1 })
      // The frame of the first run was in use, so the second one has its own; what is made once is the plan.
      assert.deepStrictEqual(plans, { hits: 1, misses: 1 })
    }).pipe(Effect.provide(Simulator.layer())))

  it.scoped("have each run once, also one for which the buffer grows", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.make({ temporaryBuffer: { growth: "highWater" } })
      yield* runner.run(negate, args())
      assert.strictEqual((yield* runner.stats).temporaryBuffer.growths, 1)
      assert.deepStrictEqual((yield* runner.stats).plans, { hits: 0, misses: 1 })
      yield* runner.run(negate, args())
      assert.deepStrictEqual((yield* runner.stats).plans, { hits: 1, misses: 1 })
    }).pipe(Effect.provide(Simulator.layer())))
})
