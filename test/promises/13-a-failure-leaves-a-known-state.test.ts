/** Promise 13: after any failure the runner is ready, unconfigured or poisoned, and says which. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Arg, DeviceRunner, HostApi, Simulator } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { add, addInline, addSignature, native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "../utils/programs.ts"

const { Status } = HostApi

onEveryDevice("promise 13: a failure leaves a known state", (form) => {
  const canFail = form.canFail ?? true

  it.scoped.runIf(canFail)("ready, after a failure that is not sticky", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const fail = native("test_fail", addSignature)
      const error = yield* failsWith("LaunchFailed", runner.run(fail, vectors(4)))
      assert.deepStrictEqual(
        [error.reason, error.statusName, error.deviceCode, error.sticky, error.attribution],
        ["Kernel", "LaunchFailed", 7, false, "thisRun"]
      )
      assert.strictEqual((yield* runner.stats).state, "ready")
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("ready, after a configuration that could be undone", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "malloc", purpose: "chunk", skip: 1, status: Status.OutOfMemory })
      const error = yield* failsWith(
        "DeviceOutOfMemory",
        runner.configure({ maxBytes: "256 KiB", chunks: { count: 3 } })
      )
      assert.deepStrictEqual([error.runner, error.purpose], ["ready", "a chunk"])
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.state, stats.temporaryBuffer.maxBytes], ["ready", 65_536])
      yield* assertUsable
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("unconfigured, when neither the new nor the old chunks can be had; configure may be retried", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "malloc", purpose: "chunk", times: 2, status: Status.OutOfMemory })
      const error = yield* failsWith("DeviceOutOfMemory", runner.configure({ maxBytes: "64 KiB", alignmentBytes: 512 }))
      assert.strictEqual(error.runner, "unconfigured")
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.state, stats.temporaryBuffer.retainedBytes], ["unconfigured", 0])
      assert.strictEqual(stats.configurationsWithoutOverlap, 1)
      yield* Effect.all([runner.load(add), runner.load(addInline)])
      const calls = yield* probe.during(Effect.gen(function*() {
        yield* failsWith("RunnerUnconfigured", runner.run(add, vectors(4)))
        yield* failsWith("RunnerUnconfigured", runner.run(addInline, vectors(4)))
        yield* failsWith("RunnerUnconfigured", runner.plan(add, vectors(4)))
      }))
      assert.deepStrictEqual(calls, [])
      yield* runner.configure({ maxBytes: "64 KiB", alignmentBytes: 512 })
      yield* assertUsable
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("ready, when the old chunks could be made again", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "malloc", purpose: "chunk", status: Status.OutOfMemory })
      yield* failsWith("DeviceOutOfMemory", runner.configure({ maxBytes: "64 KiB", alignmentBytes: 512 }))
      assert.strictEqual((yield* runner.stats).state, "ready")
      yield* assertUsable
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("the same configuration does nothing at all", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const calls = yield* probe.during(runner.configure({ maxBytes: 65_536, alignmentBytes: 256, chunks: "single" }))
      assert.deepStrictEqual(calls, [])
    }).pipe(Effect.provide(runnerOf(form))))

  for (const execution of ["inline", "awaited"] as const) {
    for (const maxBytes of [0, 65_536]) {
      it.scoped.runIf(canFail)(
        `poisoned, after a sticky fault: nothing reaches the device any more (${execution}, ${maxBytes})`,
        () =>
          Effect.gen(function*() {
            const runner = yield* DeviceRunner.DeviceRunner
            const probe = yield* Probe.Probe
            const resident = yield* runner.allocate("float32", [4])
            yield* runner.load(add)
            const lose = native("test_lose_device", addSignature, { execution })
            const error = yield* failsWith("LaunchFailed", runner.run(lose, vectors(4)))
            assert.deepStrictEqual([error.reason, error.sticky, error.statusName], ["DeviceLost", true, "DeviceLost"])
            const stats = yield* runner.stats
            assert.deepStrictEqual([stats.state, stats.runs.active, stats.runs.ended], ["poisoned", 0, 1])
            const calls = yield* probe.during(Effect.gen(function*() {
              for (const callable of [add, lose]) {
                const refusal = yield* failsWith("RunnerPoisoned", runner.run(callable, vectors(4)))
                assert.deepStrictEqual(
                  [refusal.reason, refusal.statusName, refusal.recovery],
                  ["StickyFault", "DeviceLost", form.recovery ?? "rebuildRunner"]
                )
              }
              yield* failsWith("RunnerPoisoned", runner.plan(add, vectors(4)))
              yield* failsWith("RunnerPoisoned", runner.configure({ maxBytes: 1 }))
              yield* failsWith("RunnerPoisoned", Effect.scoped(runner.allocate("float32", [1])))
              yield* failsWith("RunnerPoisoned", Effect.scoped(runner.allocateHost("float32", [1])))
              yield* failsWith("RunnerPoisoned", resident.upload(new Float32Array(4)))
            }))
            assert.deepStrictEqual(calls, [])
          }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes } })))
      )
    }
  }

  it.scoped("a status that nobody knows is sticky; out of memory and busy are not", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      for (const status of [Status.OutOfMemory, Status.Busy, Status.TransferFailed]) {
        probe.fail({ operation: "submit", purpose: "stage", status })
        const error = yield* failsWith("TransferFailed", runner.run(add, vectors(4)))
        assert.isFalse(error.sticky)
      }
      yield* assertUsable
      probe.fail({ operation: "submit", purpose: "copyBack", status: 9999 })
      const error = yield* failsWith("TransferFailed", runner.run(addInline, vectors(4)))
      assert.deepStrictEqual([error.sticky, error.status, error.statusName], [true, 9999, "Unknown"])
      assert.deepStrictEqual([error.deviceCode, error.deviceName], [4242, "INJECTED"])
      yield* failsWith("RunnerPoisoned", runner.run(add, vectors(4)))
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped.runIf(canFail)(
    "a handle of a run that the fault met answers RunnerPoisoned, and ends",
    () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(native("test_lose_device", addSignature), vectors(4))
          yield* failsWith("LaunchFailed", run.launch)
          yield* failsWith("RunnerPoisoned", run.validate)
          yield* failsWith("RunnerPoisoned", run.launch)
        }))
        const stats = yield* runner.stats
        assert.deepStrictEqual([stats.runs.begun, stats.runs.ended, stats.runs.active], [1, 1, 0])
      }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } })))
  )

  it.scoped.runIf(canFail)(
    "closing a poisoned runner forgets its memory, and asks the dead device for nothing",
    () =>
      Effect.gen(function*() {
        const probe = yield* Probe.Probe
        const scope = yield* Scope.make()
        const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: "1 MiB" } }), scope)
        yield* Scope.extend(runner.allocate("float32", [64]), scope)
        yield* Scope.extend(runner.allocateHost("float32", [64]), scope)
        yield* failsWith("LaunchFailed", runner.run(native("test_lose_device", {}), {}))
        const calls = yield* probe.during(Scope.close(scope, Exit.void))
        assert.deepStrictEqual(calls, [])
        const stats = yield* runner.stats
        assert.strictEqual(stats.state, "closed")
        assert.strictEqual(stats.quarantine.bytes, 2 ** 20 + 256)
      }).pipe(Effect.provide(runnerOf(form)))
  )

  it.scoped.runIf(canFail)("a runner built anew on a new device works", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          yield* failsWith("LaunchFailed", runner.run(native("test_lose_device", {}), {}))
        }).pipe(Effect.provide(runnerOf(form)))
      )
      yield* Effect.scoped(Effect.provide(assertUsable, runnerOf(form)))
    }))

  it.scoped("an error tells what it knows, and no address", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const messages: Array<string> = []
      const collect = <E extends { readonly message: string }, A>(effect: Effect.Effect<A, E>) =>
        Effect.map(Effect.flip(effect), (error) => void messages.push(error.message))
      probe.fail({ operation: "launch", status: Status.LaunchFailed })
      yield* collect(runner.run(add, vectors(4)))
      yield* collect(runner.run(native("test_nothing", { work: Arg.scratch("uint8", [2 ** 20]) }), {}))
      probe.fail({ operation: "submit", purpose: "stage", status: Status.TransferFailed })
      yield* collect(runner.run(add, vectors(4)))
      yield* collect(runner.configure({ maxBytes: 2 ** 40 }))
      yield* collect(runner.run(native("no_such_kernel", {}), {}))
      const { statistics } = yield* Simulator.Simulator
      assert.isAbove((yield* statistics).liveBytes, 0)
      for (const message of messages) {
        assert.notMatch(message, /0x[0-9a-f]{4,}|undefined|NaN|\[object/i)
        for (const address of probe.live.keys()) {
          assert.notInclude(message, String(address))
        }
      }
      assert.strictEqual(messages.length, 5)
    }).pipe(Effect.provide(runnerOf(form))))
})
