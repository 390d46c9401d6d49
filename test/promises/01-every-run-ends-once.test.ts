/** Promise 1: every run that begins ends exactly once, whoever fails. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { Arg, Callable, DeviceRunner, HostApi } from "leasehold"
import { deviceOf, onEveryDevice, runnerOf } from "../utils/forms.ts"
import { add, addInline, addSignature, closeGate, gateWaiting, native, openGate } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "../utils/programs.ts"

const { Status } = HostApi

/** Every step of a run that the device can fail, with the calls before it that must pass. */
const failingSteps: ReadonlyArray<readonly [string, Probe.Rule]> = [
  ["the first malloc", { operation: "malloc", purpose: "tensor", status: Status.OutOfMemory }],
  ["the last malloc", { operation: "malloc", purpose: "tensor", skip: 2, status: Status.OutOfMemory }],
  ["staging", { operation: "submit", purpose: "stage", status: Status.TransferFailed }],
  ["the launch", { operation: "launch", status: Status.LaunchFailed }],
  ["copying back", { operation: "submit", purpose: "copyBack", status: Status.TransferFailed }],
  ["a release", { operation: "free", purpose: "tensor", status: Status.Busy }]
]

onEveryDevice("promise 1: every run ends once", (form) => {
  for (const [step, rule] of failingSteps) {
    for (const callable of [add, addInline]) {
      // A malloc that took effect and said it failed is memory that nobody was told of.
      for (const after of rule.operation === "malloc" ? [false] : [false, true]) {
        it.scoped(`when the device fails at ${step} (${callable.execution}, ${after ? "after" : "before"} the effect)`, () =>
          Effect.gen(function*() {
            const runner = yield* DeviceRunner.DeviceRunner
            const probe = yield* Probe.Probe
            yield* runner.run(callable, vectors(16))
            probe.fail({ ...rule, after })
            const exit = yield* Effect.exit(runner.run(callable, vectors(16)))
            assert.strictEqual(Exit.isSuccess(exit), rule.operation === "free")
            assert.strictEqual(probe.fired(), 1)
            const stats = yield* runner.stats
            assert.strictEqual(stats.runs.begun, 2)
            assert.strictEqual(stats.runs.ended, 2)
            assert.strictEqual(stats.runs.failed, rule.operation === "free" ? 0 : 1)
            assert.strictEqual(stats.runs.active, 0)
            yield* assertUsable
          }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } }))))
      }
    }
  }

  it.scoped("when the user's own launch fails, dies or is interrupted", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const started = yield* Deferred.make<void>()
      const outcomes = [
        Effect.fail("no" as const),
        Effect.die(new Error("broken")),
        Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)
      ]
      for (const outcome of outcomes) {
        const callable = Callable.make({ signature: addSignature, launch: () => outcome })
        const fiber = yield* Effect.fork(runner.run(callable, vectors(4)))
        if (outcome === outcomes[2]) {
          yield* Deferred.await(started)
          yield* Fiber.interrupt(fiber)
        }
        assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
        const stats = yield* runner.stats
        assert.strictEqual(stats.runs.ended, stats.runs.begun)
      }
      assert.strictEqual((yield* runner.stats).runs.failed, 3)
      yield* assertNothingHeld
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("when it is interrupted while its kernel runs", () =>
    Effect.gen(function*() {
      closeGate()
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = native("test_gate", addSignature)
      yield* runner.load(callable)
      const fiber = yield* Effect.fork(runner.run(callable, vectors(4)))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => gateWaiting() === 1 })
      const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* Effect.yieldNow()
      assert.strictEqual((yield* runner.stats).runs.active, 1)
      openGate()
      yield* Fiber.await(interruption)
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.runs.begun, stats.runs.ended, stats.runs.active], [1, 1, 0])
      yield* assertUsable
    }).pipe(Effect.ensuring(Effect.sync(openGate)), Effect.provide(runnerOf(form))))

  it.scoped("once by validate, and not again by its scope", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const args = vectors(8)
      yield* Effect.scoped(Effect.gen(function*() {
        const run = yield* runner.bind(add, args)
        yield* run.launch
        yield* run.validate
        assert.strictEqual((yield* runner.stats).runs.ended, 1)
        // The slot is free already: another run may hold it when the first one's scope closes.
        yield* Effect.scoped(Effect.zipRight(runner.bind(add, vectors(8)), Effect.void))
      }))
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.runs.begun, stats.runs.ended, stats.runs.failed], [2, 2, 1])
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } }))))

  it.scoped("when planning fails, it has not begun", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* failsWith("ShapeMismatch", runner.run(add, { ...vectors(8), c: new Float32Array(9) }))
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.runs.begun, stats.runs.ended], [0, 0])
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("when its runner closes first", () =>
    Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const runnerScope = yield* Scope.make()
      const runScope = yield* Scope.make()
      const runner = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: 0 } }).pipe(Scope.extend(runnerScope))
      const run = yield* Scope.extend(runner.bind(add, vectors(8)), runScope)
      yield* run.launch
      assert.strictEqual(probe.live.size, 3)
      yield* Scope.close(runnerScope, Exit.void)
      const closed = yield* runner.stats
      assert.deepStrictEqual([closed.runs.begun, closed.runs.ended, closed.state], [1, 1, "closed"])
      assert.strictEqual(probe.live.size, 0)
      yield* Scope.close(runScope, Exit.void)
      assert.strictEqual((yield* runner.stats).runs.ended, 1)
      assert.strictEqual(probe.calls.filter((call) => call.operation === "free").length, 3)
    }).pipe(Effect.provide(deviceOf(form))))

  it.scoped("when a call of the backend dies", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const steps: ReadonlyArray<Probe.Rule["operation"]> = ["malloc", "submit", "launch", "free"]
      for (const callable of [add, addInline]) {
        for (const operation of steps) {
          yield* runner.run(callable, vectors(4))
          probe.fail({ operation, status: Status.Ok, defect: true })
          const exit = yield* Effect.exit(runner.run(callable, vectors(4)))
          assert.strictEqual(Exit.isSuccess(exit), operation === "free")
          const stats = yield* runner.stats
          assert.strictEqual(stats.runs.ended, stats.runs.begun)
          assert.strictEqual(stats.runs.active, 0)
        }
      }
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } }))))

  it.scoped("however many tensors it has, none of them included", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(native("test_nothing", {}), {})
      yield* runner.run(native("test_nothing", { x: Arg.input("uint8", ["n"]) }), { x: new Uint8Array(0) })
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.runs.begun, stats.runs.ended, stats.runs.failed], [2, 2, 0])
    }).pipe(Effect.provide(runnerOf(form))))
})
