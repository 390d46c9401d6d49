/** Promise 11: a handle of an ended run is refused; it never reaches the device. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Callable, DeviceRunner } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { add, addSignature } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertUsable, failsWith, vectors } from "../utils/programs.ts"

onEveryDevice("promise 11: stale handles are refused", (form) => {
  for (const maxBytes of [0, 65_536]) {
    it.scoped(`after validate, and after the scope, also while another run lies at the same addresses (${maxBytes})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const validated = yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(add, vectors(8))
          yield* run.launch
          yield* run.validate
          yield* failsWith("StaleRun", run.validate)
          return run
        }))
        const left = yield* Effect.scoped(runner.bind(add, vectors(8)))
        yield* Effect.scoped(Effect.gen(function*() {
          const args = vectors(8)
          const current = yield* runner.bind(add, args)
          const calls = yield* probe.during(Effect.gen(function*() {
            for (const stale of [validated, left]) {
              const launch = yield* failsWith("StaleRun", stale.launch)
              assert.deepStrictEqual([launch.operation, launch.generation], ["launch", stale.generation])
              yield* failsWith("StaleRun", stale.validate)
            }
          }))
          assert.deepStrictEqual(calls, [])
          assert.isAbove(current.generation, left.generation)
          yield* current.launch
          yield* current.validate
          assert.strictEqual(args.c[3], 3 + 4)
        }))
      }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes } }))))
  }

  it.scoped("out of order is refused, and the run goes on", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const args = vectors(8)
      yield* Effect.scoped(Effect.gen(function*() {
        const run = yield* runner.bind(add, args)
        const early = yield* failsWith("InvalidArgument", run.validate)
        assert.strictEqual(early.reason, "RunOutOfOrder")
        yield* run.launch
        const calls = yield* probe.during(failsWith("InvalidArgument", run.launch))
        assert.deepStrictEqual(calls, [])
        yield* run.validate
      }))
      assert.strictEqual(args.c[0], 1)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a launch that failed cannot be validated", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = Callable.make({ signature: addSignature, launch: () => Effect.fail("no" as const) })
      yield* Effect.scoped(Effect.gen(function*() {
        const run = yield* runner.bind(callable, vectors(8))
        assert.strictEqual(yield* Effect.flip(run.launch), "no")
        const error = yield* failsWith("InvalidArgument", run.validate)
        assert.strictEqual(error.reason, "RunOutOfOrder")
      }))
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("launched twice at once, it runs once", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const run = yield* runner.bind(add, vectors(8))
      const outcomes = yield* Effect.all([Effect.exit(run.launch), Effect.exit(run.launch)], { concurrency: 2 })
      assert.strictEqual(outcomes.filter(Exit.isSuccess).length, 1)
      assert.strictEqual((yield* runner.stats).device.launches, 1)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("validated twice at once, it copies back once", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const run = yield* runner.bind(add, vectors(8))
      yield* run.launch
      const outcomes = yield* Effect.all([Effect.exit(run.validate), Effect.exit(run.validate)], { concurrency: 2 })
      assert.strictEqual(outcomes.filter(Exit.isSuccess).length, 1)
      const { device, runs } = yield* runner.stats
      assert.deepStrictEqual([device.copyBackCalls, runs.ended], [1, 1])
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("of a closed runner every handle answers RunnerClosed", () =>
    Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const scope = yield* Scope.make()
      const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } }), scope)
      const resident = yield* runner.allocate("float32", [8])
      const run = yield* runner.bind(add, vectors(8))
      yield* run.launch
      yield* Scope.close(scope, Exit.void)
      const calls = yield* probe.during(Effect.gen(function*() {
        yield* failsWith("RunnerClosed", run.launch)
        yield* failsWith("RunnerClosed", run.validate)
        yield* failsWith("RunnerClosed", runner.run(add, vectors(8)))
        yield* failsWith("RunnerClosed", runner.plan(add, vectors(8)))
        yield* failsWith("RunnerClosed", runner.load(add))
        yield* failsWith("RunnerClosed", Effect.scoped(runner.bind(add, vectors(8))))
        yield* failsWith("RunnerClosed", runner.configure({ maxBytes: 1 }))
        yield* failsWith("RunnerClosed", Effect.scoped(runner.allocate("float32", [1])))
        yield* failsWith("RunnerClosed", Effect.scoped(runner.allocateHost("float32", [1])))
        yield* failsWith("RunnerClosed", resident.upload(new Float32Array(8)))
        yield* failsWith("RunnerClosed", resident.download(new Float32Array(8)))
      }))
      assert.deepStrictEqual(calls, [])
      assert.strictEqual(probe.live.size, 1, "only the layer's own runner holds a chunk")
      assert.strictEqual((yield* runner.stats).state, "closed")
    }).pipe(Effect.provide(runnerOf(form))))
})
