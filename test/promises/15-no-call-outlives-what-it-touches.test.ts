/** Promise 15: no native call outlives what it touches. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, TestClock } from "effect"
import { DeviceRunner, HostApi } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { gate, kernelRuns, settle, withGate } from "../utils/gated.ts"
import { openGate } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertUsable, failsWith, vectors } from "../utils/programs.ts"

onEveryDevice("promise 15: no call outlives what it touches", (form) => {
  it.scoped("interrupting a run waits for the kernel, and releases nothing before it has ended", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        yield* runner.load(gate)
        const fiber = yield* Effect.fork(runner.run(gate, vectors(4)))
        yield* kernelRuns
        const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* settle
        assert.isEmpty(probe.calls.filter((call) => call.operation === "free"))
        assert.strictEqual((yield* runner.stats).runs.active, 1)
        openGate()
        yield* Fiber.await(interruption)
        assert.strictEqual(probe.calls.filter((call) => call.operation === "free").length, 3)
        assert.strictEqual((yield* runner.stats).runs.active, 0)
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } })))
    ))

  it.scoped("closing the scope of a run whose launch is in flight elsewhere waits for it", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const scope = yield* Scope.make()
        const run = yield* Scope.extend(runner.bind(gate, vectors(4)), scope)
        const launching = yield* Effect.fork(run.launch)
        yield* kernelRuns
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* settle
        assert.isEmpty(probe.calls.filter((call) => call.operation === "free"))
        openGate()
        yield* Fiber.await(closing)
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(launching)))
        assert.strictEqual(probe.calls.filter((call) => call.operation === "free").length, 3)
        yield* failsWith("StaleRun", run.validate)
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } })))
    ))

  it.scoped("closing the runner while a launch is in flight waits for it", () =>
    withGate(
      Effect.gen(function*() {
        const probe = yield* Probe.Probe
        const scope = yield* Scope.make()
        const runScope = yield* Scope.make()
        const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } }), scope)
        const run = yield* Scope.extend(runner.bind(gate, vectors(4)), runScope)
        const launching = yield* Effect.fork(run.launch)
        yield* kernelRuns
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* settle
        assert.isEmpty(probe.calls.filter((call) => call.operation === "free"))
        yield* failsWith("RunnerClosed", run.validate)
        openGate()
        yield* Fiber.await(closing)
        yield* Fiber.await(launching)
        assert.strictEqual(probe.calls.filter((call) => call.operation === "free").length, 1)
        yield* Scope.close(runScope, Exit.void)
      }).pipe(Effect.provide(runnerOf(form)))
    ))

  it.scoped("an upload waits for the kernel that runs, and follows it", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const resident = yield* runner.allocate("float32", [4])
        const running = yield* Effect.fork(runner.run(gate, vectors(4)))
        yield* kernelRuns
        const uploading = yield* Effect.fork(resident.upload(Float32Array.of(1, 2, 3, 4)))
        yield* settle
        assert.isEmpty(probe.calls.filter((call) => call.purpose === "upload"))
        openGate()
        yield* Fiber.await(running)
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(uploading)))
        const read = new Float32Array(4)
        yield* resident.download(read)
        assert.deepStrictEqual(read, Float32Array.of(1, 2, 3, 4))
      }).pipe(Effect.provide(runnerOf(form)))
    ))

  it.scoped("an input that is detached while the kernel runs was copied before", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const args = vectors(4)
        const running = yield* Effect.fork(runner.run(gate, args))
        yield* kernelRuns
        structuredClone(args.a.buffer, { transfer: [args.a.buffer] })
        openGate()
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(running)))
      }).pipe(Effect.provide(runnerOf(form)))
    ))

  it.scoped("an output that is detached while the kernel runs fails the run, and is not written", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const args = vectors(4)
        const running = yield* Effect.fork(runner.run(gate, args))
        yield* kernelRuns
        const moved = structuredClone(args.c.buffer, { transfer: [args.c.buffer] })
        openGate()
        const error = yield* failsWith("InvalidArgument", Effect.flatten(Fiber.await(running)))
        assert.deepStrictEqual([error.reason, error.argument], ["Detached", "c"])
        assert.deepStrictEqual(new Float32Array(moved), new Float32Array(4).fill(-7))
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form)))
    ))

  it.scoped("only an interrupt deadline that expires gives up: the memory is quarantined, the runner poisoned", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        yield* runner.load(gate)
        const fiber = yield* Effect.fork(runner.run(gate, vectors(4)))
        yield* kernelRuns
        const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* settle
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual([(yield* runner.stats).state, (yield* runner.stats).runs.active], ["ready", 1])
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.await(interruption)
        const stats = yield* runner.stats
        assert.deepStrictEqual([stats.state, stats.runs.active, stats.quarantine.count], ["poisoned", 0, 3])
        const error = yield* failsWith("RunnerPoisoned", runner.run(gate, vectors(4)))
        assert.deepStrictEqual([error.reason, error.operation], ["InterruptDeadline", "launch"])
        assert.isEmpty(probe.calls.filter((call) => call.operation === "free"))
        openGate()
      }).pipe(
        Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 }, interruptDeadline: "5 seconds" }))
      )
    ))

  it.scoped("within the deadline an interruption is an ordinary one", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* runner.load(gate)
        const fiber = yield* Effect.fork(runner.run(gate, vectors(4)))
        yield* kernelRuns
        const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* settle
        openGate()
        yield* Fiber.await(interruption)
        assert.strictEqual((yield* runner.stats).state, "ready")
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form, { interruptDeadline: "5 seconds" })))
    ))

  it.scoped("a view is looked at again in the synchronous stretch that copies it", () =>
    Effect.gen(function*() {
      const hostApi = yield* HostApi.HostApi
      const address = yield* hostApi.malloc(64, 64, { purpose: "tensor", runId: 0, names: [] })
      let looked = 0
      const transfers: HostApi.Transfers = {
        cells: Float64Array.of(1, address, 1, 64),
        count: 1,
        offThread: false,
        refresh: () => {
          looked += 1
          return 0
        }
      }
      const error = yield* Effect.flip(hostApi.submit("in", transfers, { purpose: "stage", runId: 0, names: ["x"] }))
      assert.deepStrictEqual([looked, error.statusName, error.entryIndex], [1, "InvalidArgument", 0])
    }).pipe(Effect.provide(runnerOf(form))))
})
