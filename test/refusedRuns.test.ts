/** What a refusal says and counts: figures that can cross a wire, and a counter for every run that was sent away. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, TestClock } from "effect"
import { Arg, Callable, DeviceRunner, Errors, type RunnerOptions, Simulator } from "leasehold"

const copy = Callable.make({
  signature: { x: Arg.input("float32", ["n"]), y: Arg.output("float32", ["n"]) },
  launch: ({ read, write }) => Effect.flatMap(read("x"), (x) => write("y", x))
})
const args = () => ({ x: new Float32Array(1), y: new Float32Array(1) })

/** Has one slot, and lets runs wait for a second, one at a time. */
const patient: RunnerOptions.RunnerOptions = {
  temporaryBuffer: { maxBytes: "8 KiB" },
  admission: { wait: { maxQueueCount: 1, deadline: "1 second" } }
}

/** Lets a run wait in a fiber of its own, and goes on when it does. */
const letWait = <E>({ stats }: DeviceRunner.Service, run: Effect.Effect<void, E>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(run)
    yield* Effect.repeat(Effect.zipRight(Effect.yieldNow(), stats), { until: ({ runs }) => runs.waiting > 0 })
    return fiber
  })

const refusal = <E>(run: Effect.Effect<void, E>) =>
  Effect.flatMap(Effect.fork(run), (fiber) => Effect.flip(Fiber.join(fiber)))

describe("a refused run", () => {
  it.scoped("is counted whether its queue was full, its deadline has passed or its child budget was closed", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.make(patient)
      const tenant = yield* runner.budget("tenant")
      yield* runner.bind(copy, args())
      const late = yield* letWait(runner, runner.run(copy, args()))
      assert.propertyVal(yield* refusal(runner.run(copy, args())), "reason", "QueueFull")
      assert.strictEqual((yield* runner.stats).runs.refused, 1)
      yield* TestClock.adjust("1 second")
      assert.propertyVal(yield* Effect.flip(Fiber.join(late)), "reason", "Deadline")
      assert.strictEqual((yield* runner.stats).runs.refused, 2)
      const drained = yield* letWait(runner, tenant.run(copy, args()))
      yield* tenant.close
      assert.propertyVal(yield* Effect.flip(Fiber.join(drained)), "reason", "Draining")
      assert.strictEqual((yield* runner.stats).runs.refused, 3)
    }).pipe(Effect.provide(Simulator.layer())))

  it.scoped("says so with finite figures, so that the error survives JSON", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.make(patient)
      yield* runner.bind(copy, args())
      const error = yield* Effect.flip(runner.run(copy, args()))
      assert.instanceOf(error, Errors.AdmissionRefused)
      assert.strictEqual(error.maxBytes, 8192)
      const wire: unknown = JSON.parse(JSON.stringify(yield* Schema.encodeUnknown(Errors.RunnerError)(error)))
      assert.deepStrictEqual(yield* Schema.decodeUnknown(Errors.RunnerError)(wire), error)
    }).pipe(Effect.provide(Simulator.layer())))
})

describe("a child budget without a quota", () => {
  it.scoped("runs whatever the runner runs, also with a zero budget and after the buffer has become larger", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: 0 } })
      const tenant = yield* runner.budget("tenant")
      yield* tenant.run(copy, args())
      assert.strictEqual((yield* tenant.stats).maxBytes, 0)
      yield* runner.configure({ maxBytes: "8 KiB" })
      yield* tenant.run(copy, args())
      assert.strictEqual((yield* tenant.stats).maxBytes, 8192)
      assert.strictEqual((yield* runner.stats).runs.ended, 2)
    }).pipe(Effect.provide(Simulator.layer())))
})
