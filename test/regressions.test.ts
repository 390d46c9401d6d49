/** Bugs that were found, each with a test that failed before it was mended and names the symptom. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, Scope, TestClock } from "effect"
import { Arg, Callable, DeviceRunner, HostApi, Simulator } from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import { deviceOf, onEveryForm, runnerOf } from "./utils/forms.ts"
import { gate, kernelRuns, settle, withGate } from "./utils/gated.ts"
import { add, addInline, native, openGate } from "./utils/kernels.ts"
import * as Probe from "./utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "./utils/programs.ts"

const frees = (calls: ReadonlyArray<Probe.Call>): number => calls.filter((call) => call.operation === "free").length

onEveryForm("with an interrupt deadline", (form) => {
  const zeroBudget = { temporaryBuffer: { maxBytes: 0 }, interruptDeadline: "1 hour" } as const

  it.scoped("a second interruption did not wait for the kernel, and freed the memory under it", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const fiber = yield* Effect.fork(runner.run(gate, vectors(4)))
        yield* kernelRuns
        yield* Fiber.interruptFork(fiber)
        yield* settle
        yield* Fiber.interruptFork(fiber)
        yield* settle
        assert.strictEqual(frees(probe.calls), 0)
        assert.strictEqual((yield* runner.stats).runs.active, 1)
        openGate()
        yield* Fiber.await(fiber)
        assert.strictEqual(frees(probe.calls), 3)
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form, zeroBudget)))
    ))

  it.scoped("an interruption while a lease was freed freed it twice", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const fiber = yield* Effect.fork(runner.run(add, vectors(4)))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => frees(probe.calls) > 0 })
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(frees(probe.calls), 3)
      assert.strictEqual((yield* runner.stats).quarantine.count, 0)
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, zeroBudget))))

  it.scoped("a wait that was over in time poisoned the runner later", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const scope = yield* Scope.make()
        const run = yield* Scope.extend(runner.bind(gate, vectors(4)), scope)
        const launching = yield* Effect.fork(run.launch)
        yield* kernelRuns
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* settle
        openGate()
        yield* Effect.all([Fiber.await(closing), Fiber.await(launching)])
        yield* TestClock.adjust("2 hours")
        assert.strictEqual((yield* runner.stats).state, "ready")
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form, zeroBudget)))
    ))

  it.scoped("a resident that closed beside a long kernel poisoned the runner, though nobody was interrupted", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const scope = yield* Scope.make()
        yield* Scope.extend(runner.allocate("float32", [4]), scope)
        const running = yield* Effect.fork(runner.run(gate, vectors(4)))
        yield* kernelRuns
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* settle
        yield* TestClock.adjust("2 hours")
        openGate()
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(running)))
        yield* Fiber.await(closing)
        assert.strictEqual((yield* runner.stats).state, "ready")
      }).pipe(Effect.provide(runnerOf(form, { interruptDeadline: "1 hour" })))
    ))

  it.scoped("a run in a finalizer always ended interrupted", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const args = vectors(4)
      const fiber = yield* Effect.fork(
        Effect.ensuring(Effect.never, Effect.orDie(runner.run(add, args)))
      )
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(args.c[3], 3 + 4)
    }).pipe(Effect.provide(runnerOf(form, { interruptDeadline: "1 hour" }))))
})

onEveryForm("closing", (form) => {
  it.scoped("missed an allocation that was under way, and leaked it", () =>
    Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const scope = yield* Scope.make()
      const tensors = yield* Scope.make()
      const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 0 } }), scope)
      const allocating = yield* Effect.fork(Scope.extend(runner.allocate("uint8", [200_000]), tensors))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => probe.calls.some((call) => call.operation === "malloc") })
      yield* Scope.close(scope, Exit.void)
      yield* failsWith("RunnerClosed", Effect.flatten(Fiber.await(allocating)))
      assert.strictEqual(probe.live.size, 0)
      const { residents } = yield* runner.stats
      assert.deepStrictEqual([residents.inUseBytes, residents.count], [0, 0])
      yield* Scope.close(tensors, Exit.void)
    }).pipe(Effect.provide(deviceOf(form))))

  it.scoped("skipped a resident that waited for its run, and left it to a device that was gone", () =>
    Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const scope = yield* Scope.make()
      const residentScope = yield* Scope.make()
      const runScope = yield* Scope.make()
      const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 0 } }), scope)
      const kept = yield* Scope.extend(runner.allocate("float32", [64]), residentScope)
      yield* Scope.extend(runner.bind(native("test_nothing", { kept: Arg.resident("float32") }), { kept }), runScope)
      const closing = yield* Effect.fork(Scope.close(residentScope, Exit.void))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(probe.live.size, 0)
      assert.strictEqual((yield* runner.stats).residents.inUseBytes, 0)
      yield* Fiber.await(closing)
      yield* Scope.close(runScope, Exit.void)
    }).pipe(Effect.provide(deviceOf(form))))

  it.scoped("beside a configuration left its chunks behind", () =>
    Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const scope = yield* Scope.make()
      const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } }), scope)
      const configuring = yield* Effect.fork(runner.configure({ maxBytes: 200_000 }))
      yield* Effect.repeat(Effect.yieldNow(), {
        until: () => probe.calls.filter((call) => call.operation === "malloc").length === 2
      })
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.await(configuring)
      assert.strictEqual(probe.live.size, 0)
      const { state, temporaryBuffer } = yield* runner.stats
      assert.deepStrictEqual([state, temporaryBuffer.retainedBytes], ["closed", 0])
    }).pipe(Effect.provide(deviceOf(form))))

  it.scoped("stopped where a logger threw, and leaked the rest", () =>
    Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const broken = Logger.replace(
        Logger.defaultLogger,
        Logger.make(() => {
          throw new Error("EPIPE")
        })
      )
      const scope = yield* Scope.make()
      const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } }), scope)
      yield* runner.bind(add, vectors(4))
      yield* Effect.provide(Scope.close(scope, Exit.void), broken)
      assert.strictEqual(probe.live.size, 0)
      assert.strictEqual((yield* runner.stats).state, "closed")
    }).pipe(Effect.provide(deviceOf(form))))
})

onEveryForm("a runner", (form) => {
  it.scoped("died when it planned between the old and the new chunks", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const configuring = yield* Effect.fork(runner.configure({ maxBytes: "64 KiB", alignmentBytes: 512 }))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => frees(probe.calls) > 0 })
      const plan = yield* runner.plan(add, vectors(4))
      assert.strictEqual(plan.bufferBytes, 3 * 512)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(configuring)))
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("took the plan of other dimensions, where one was named and left out", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = native("test_nothing", { work: Arg.scratch("uint8", ["b"]) })
      yield* runner.run(callable, {}, { dims: { b: 8 } })
      const none = { a: undefined } as unknown as { readonly b?: number }
      const error = yield* failsWith("InvalidArgument", runner.run(callable, {}, { dims: none }))
      assert.strictEqual(error.reason, "Dimension")
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("went beside an upload that a getter among its arguments had started", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const host = yield* runner.allocateHost("float32", [200_000])
        const resident = yield* Effect.provide(
          runner.allocate("float32", [200_000]),
          Logger.replace(Logger.defaultLogger, Logger.none)
        )
        yield* runner.load(addInline)
        const started: Array<Fiber.RuntimeFiber<void, unknown>> = []
        const args = {
          ...vectors(4),
          get b() {
            if (started.length === 0) {
              started.push(start(resident.upload(host)))
            }
            return Float32Array.of(1, 1, 1, 1)
          }
        }
        yield* runner.run(addInline, args)
        assert.deepStrictEqual(args.c, Float32Array.of(1, 2, 3, 4))
        const order = probe.calls.map((call) => call.purpose).filter((purpose) =>
          purpose === "upload" || purpose === "launch"
        )
        assert.deepStrictEqual(order, ["upload", "launch"])
        yield* Fiber.await(started[0]!)
      }).pipe(Effect.provide(runnerOf(form, { residentMaxBytes: "2 MiB" })))
    ))

  it.scoped("counted no launch that was interrupted in its last step", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const fiber = yield* Effect.fork(runner.run(gate, vectors(4)))
        yield* kernelRuns
        yield* Fiber.interruptFork(fiber)
        yield* settle
        openGate()
        yield* Fiber.await(fiber)
        assert.strictEqual((yield* runner.stats).device.launches, 1)
      }).pipe(Effect.provide(runnerOf(form)))
    ))

  it.scoped("blamed the host for an upload that failed on its way out", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const host = yield* runner.allocateHost("float32", [4])
      const resident = yield* runner.allocate("float32", [4])
      probe.fail({ operation: "submit", purpose: "upload", status: HostApi.Status.TransferFailed })
      const error = yield* failsWith("TransferFailed", resident.upload(host))
      assert.strictEqual(error.hostOutputs, "unchanged")
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("said nothing of what a kernel had written, when an output was gone after it", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const acc = yield* runner.allocate("float32", [2])
      const callable = native("test_accumulate", {
        acc: Arg.resident("float32", { access: "readWrite" }),
        x: Arg.input("float32", ["n"]),
        y: Arg.output("float32", ["n"])
      })
      const y = new Float32Array(2)
      const run = yield* runner.bind(callable, { acc, x: Float32Array.of(1, 2), y })
      yield* run.launch
      structuredClone(y.buffer, { transfer: [y.buffer] })
      const error = yield* failsWith("InvalidArgument", run.validate)
      assert.deepStrictEqual([error.reason, error.hostOutputs], ["Detached", "unchanged"])
      assert.deepStrictEqual(error.indeterminateResidents, ["acc"])
    }).pipe(Effect.provide(runnerOf(form))))
})

/** Starts an Effect outside of every fiber, as a getter has to. */
const start = <A, E>(effect: Effect.Effect<A, E>): Fiber.RuntimeFiber<A, E> => Effect.runFork(effect)

onEveryForm("a configuration whose old chunk could not be freed because the device was lost", (form) => {
  it.scoped("answered that a larger budget would help", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "free", purpose: "chunk", status: HostApi.Status.DeviceLost })
      const error = yield* failsWith("DeviceFailed", runner.configure({ maxBytes: "96 KiB" }))
      assert.deepStrictEqual([error.runner, error.operation, error.statusName], ["poisoned", "free", "DeviceLost"])
      assert.strictEqual((yield* runner.stats).state, "poisoned")
    }).pipe(Effect.provide(runnerOf(form))))
})

it.effect("a read in a launch that was given up went on to its next call after the runner was closed", () =>
  Effect.gen(function*() {
    const injection = yield* FaultInjection.FaultInjection
    const ledger = yield* Ledger.Ledger
    const reading = Callable.make({
      signature: { x: Arg.inout("uint8", [4]) },
      launch: (context) => Effect.asVoid(context.read("x"))
    })
    const scope = yield* Scope.make()
    const runner = yield* Scope.extend(DeviceRunner.make({ interruptDeadline: "5 seconds" }), scope)
    const fiber = yield* Effect.fork(runner.run(reading, { x: new Uint8Array(4) }))
    yield* Effect.repeat(Effect.yieldNow(), { until: () => Effect.map(injection.hangingCount, (count) => count === 1) })
    yield* Fiber.interruptFork(fiber)
    yield* settle
    yield* TestClock.adjust("5 seconds")
    yield* Fiber.await(fiber)
    yield* Scope.close(scope, Exit.void)
    const before = yield* ledger.snapshot
    yield* injection.releaseHangs
    yield* settle
    const after = yield* ledger.snapshot
    assert.deepStrictEqual([after.operationCount, after.inFlight], [before.operationCount, []])
  }).pipe(
    Effect.provide(
      Ledger.layer.pipe(
        Layer.provideMerge(
          FaultInjection.layer([{ where: { operation: "submit", purpose: "read" }, fault: FaultInjection.hang }])
        ),
        Layer.provide(Simulator.layer({ totalBytes: "128 MiB", completion: "late", longCalls: "inline" }))
      )
    )
  ))

onEveryForm("an interrupted launch", (form) => {
  it.scoped("left its run launching for ever, so that ending it waited for other work until a deadline", () =>
    withGate(
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(gate, vectors(4))
          const launch = yield* Effect.fork(run.launch)
          yield* kernelRuns
          const interruption = yield* Effect.fork(Fiber.interrupt(launch))
          yield* settle
          openGate()
          yield* Fiber.join(interruption)
          // The kernel was executed, whoever waited for it.
          yield* run.validate
        }))
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form)))
    ))
})
