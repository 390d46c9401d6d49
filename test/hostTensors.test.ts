/** Host tensors: shared memory of the runner's, of any size, in runs and beside them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Arg, DeviceRunner, HostApi, HostTensor } from "leasehold"
import { assertSameBytes, pattern } from "./utils/bytes.ts"
import { type Form, onEveryForm, runnerOf } from "./utils/forms.ts"
import { nextTurn } from "./utils/garbage.ts"
import { add, addInline, closeGate, gateWaiting, native, openGate } from "./utils/kernels.ts"
import * as Probe from "./utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "./utils/programs.ts"

const { Status } = HostApi

const hostFailure = (operation: string, status: number): HostApi.HostApiError =>
  new HostApi.HostApiError({
    operation,
    status,
    statusName: HostApi.statusName(status),
    deviceCode: 0,
    deviceName: "",
    detail: "",
    entryIndex: -1
  })

interface Registered {
  readonly calls: Array<string>
  failing: string
}

/** Notes what is registered with the device, and fails the operation that a test names. */
const watched = (registered: Registered): Layer.Layer<HostApi.HostApi, never, HostApi.HostApi> =>
  Layer.effect(
    HostApi.HostApi,
    Effect.map(HostApi.HostApi, (hostApi) => {
      const noted = (
        operation: "hostRegister" | "hostUnregister"
      ): HostApi.Service["hostRegister"] =>
      (buffer, origin) =>
        Effect.suspend(() => {
          registered.calls.push(`${operation} ${buffer.byteLength} ${origin.purpose}`)
          return registered.failing === operation
            ? Effect.fail(hostFailure(operation, Status.Busy))
            : hostApi[operation](buffer, origin)
        })
      return { ...hostApi, hostRegister: noted("hostRegister"), hostUnregister: noted("hostUnregister") }
    })
  )

const watchedRunner = (form: Form, registered: Registered) =>
  DeviceRunner.layer({ temporaryBuffer: { maxBytes: 4096 }, stagingMaxBytes: 4096 }).pipe(
    Layer.provide(watched(registered)),
    Layer.provide(form.layer())
  )

onEveryForm("host tensors", (form) => {
  it.scoped("come zeroed in shared memory, and say what they are", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const tensor = yield* runner.allocateHost("int16", [3, 5])
      assert.isTrue(HostTensor.isHostTensor(tensor))
      assert.isFalse(HostTensor.isHostTensor(tensor.view))
      assert.deepStrictEqual([tensor.dtype, [...tensor.shape], tensor.byteLength], ["int16", [3, 5], 30])
      assert.instanceOf(tensor.view, Int16Array)
      assert.instanceOf(tensor.view.buffer, SharedArrayBuffer)
      assert.deepStrictEqual([...tensor.view], Array<number>(15).fill(0))
      assert.isTrue(Object.isFrozen(tensor) && Object.isFrozen(tensor.shape))
      assert.throws(() => structuredClone(tensor.view.buffer, { transfer: [tensor.view.buffer as never] }))
      assert.strictEqual((yield* runner.stats).host.hostTensorBytes, 30)
      const wide = yield* runner.allocateHost("uint64", [2])
      assert.instanceOf(wide.view, BigUint64Array)
      const half = yield* runner.allocateHost("bfloat16", [2])
      assert.instanceOf(half.view, Uint16Array)
    }).pipe(Effect.provide(runnerOf(form))))

  for (const callable of [add, addInline]) {
    it.scoped(`serve as inputs and outputs, beside plain views too (${callable.execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const [a, c] = [yield* runner.allocateHost("float32", [8]), yield* runner.allocateHost("float32", [8])]
        a.view.set([1, 2, 3, 4, 5, 6, 7, 8])
        const b = new Float32Array(8).fill(10)
        yield* runner.run(callable, { a, b, c })
        assert.deepStrictEqual([...c.view], [11, 12, 13, 14, 15, 16, 17, 18])
        const plain = new Float32Array(8)
        yield* runner.run(callable, { a: c, b: c, c: plain })
        assert.deepStrictEqual([...plain], [22, 24, 26, 28, 30, 32, 34, 36])
        yield* runner.run(callable, { a: b, b: plain, c: a })
        assert.strictEqual(a.view[7], 46)
      }).pipe(Effect.provide(runnerOf(form))))
  }

  for (const execution of ["inline", "awaited"] as const) {
    it.scoped(`carry more than plain views may, in both directions at once (${execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const bytes = 300_001
        const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) }, { execution })
        const scale = native("test_scale", { x: Arg.inout("float32", ["n"]), factor: Arg.scalar("float32") }, {
          execution
        })
        const [x, y] = [yield* runner.allocateHost("uint8", [bytes]), yield* runner.allocateHost("uint8", [bytes])]
        x.view.set(pattern(bytes))
        yield* runner.run(copy, { x, y })
        assertSameBytes(y.view, pattern(bytes))
        const plain = yield* failsWith("InvalidArgument", runner.run(copy, { x, y: new Uint8Array(bytes) }))
        assert.strictEqual(plain.reason, "InlineCopyTooLarge")
        const inout = yield* runner.allocateHost("float32", [70_000])
        inout.view.fill(1.5)
        yield* runner.run(scale, { x: inout, factor: 4 })
        assert.isTrue(inout.view.every((value) => value === 6))
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form, {
        temporaryBuffer: { maxBytes: "1 MiB" },
        maxInlineCopyBytes: 4096,
        stagingMaxBytes: 4096
      }))))
  }

  it.scoped("have a shape, which has to be the one of the signature", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const flat = native("test_nothing", { x: Arg.input("float32", ["n"]) })
      const grid = native("test_nothing", { x: Arg.input("float32", ["rows", 4]), y: Arg.output("float32", ["rows"]) })
      const square = native("test_nothing", { x: Arg.input("float32", ["n", "n"]) })
      const tensor = yield* runner.allocateHost("float32", [3, 4])
      yield* failsWith("ShapeMismatch", runner.run(flat, { x: tensor }))
      yield* failsWith("ShapeMismatch", runner.run(square, { x: tensor }))
      yield* failsWith("ShapeMismatch", runner.run(grid, { x: tensor, y: new Float32Array(4) }))
      const plan = yield* runner.plan(grid, { x: tensor, y: new Float32Array(3) })
      assert.deepStrictEqual(plan.dims, { rows: 3 })
      yield* runner.run(grid, { x: tensor, y: new Float32Array(3) })
      const turned = yield* runner.allocateHost("float32", [4, 3])
      yield* failsWith("ShapeMismatch", runner.run(grid, { x: turned, y: new Float32Array(3) }))
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("of no elements cost nothing", () =>
    Effect.gen(function*() {
      const registered: Registered = { calls: [], failing: "" }
      yield* Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const empty = yield* Effect.scoped(Effect.tap(runner.allocateHost("float32", [0, 7]), (tensor) =>
          Effect.gen(function*() {
            yield* runner.run(native("test_nothing", { x: Arg.inout("float32", ["a", "b"]) }), { x: tensor })
            const resident = yield* runner.allocate("float32", [0])
            yield* resident.upload(tensor)
          })))
        assert.deepStrictEqual([empty.byteLength, empty.view.length], [0, 0])
      }).pipe(Effect.provide(watchedRunner(form, registered)))
      assert.deepStrictEqual(registered.calls, [])
    }))

  describe("lifetime", () => {
    it.scoped("is that of the scope: registered once, unregistered once, and the memory stays readable", () =>
      Effect.gen(function*() {
        const registered: Registered = { calls: [], failing: "" }
        yield* Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const scope = yield* Scope.make()
          const tensor = yield* Scope.extend(runner.allocateHost("float32", [4]), scope)
          tensor.view.fill(3)
          yield* Scope.close(scope, Exit.void)
          yield* Scope.close(scope, Exit.void)
          assert.deepStrictEqual(registered.calls, ["hostRegister 16 hostTensor", "hostUnregister 16 hostTensor"])
          assert.deepStrictEqual([...tensor.view], [3, 3, 3, 3])
          assert.strictEqual((yield* runner.stats).host.hostTensorBytes, 0)
          const args = { ...vectors(4), a: tensor }
          assert.strictEqual((yield* failsWith("InvalidArgument", runner.run(add, args))).reason, "HandleClosed")
          const resident = yield* runner.allocate("float32", [4])
          assert.strictEqual((yield* failsWith("InvalidArgument", resident.upload(tensor))).reason, "HandleClosed")
          assert.strictEqual((yield* failsWith("InvalidArgument", resident.download(tensor))).reason, "HandleClosed")
        }).pipe(Effect.provide(watchedRunner(form, registered)))
        assert.strictEqual(registered.calls.length, 2)
      }))

    it.scoped("ends with the runner's, newest first", () =>
      Effect.gen(function*() {
        const registered: Registered = { calls: [], failing: "" }
        const scope = yield* Scope.make()
        const [runner, tensor] = yield* Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const tensor = yield* Scope.extend(runner.allocateHost("uint8", [10]), scope)
          yield* Scope.extend(runner.allocateHost("uint8", [20]), scope)
          return [runner, tensor] as const
        }).pipe(Effect.provide(watchedRunner(form, registered)))
        assert.deepStrictEqual(registered.calls.slice(2), [
          "hostUnregister 20 hostTensor",
          "hostUnregister 10 hostTensor"
        ])
        yield* failsWith("RunnerClosed", Effect.scoped(runner.allocateHost("uint8", [1])))
        yield* failsWith("RunnerClosed", runner.run(add, { ...vectors(4), a: tensor as never }))
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(registered.calls.length, 4)
      }))

    it.scoped("waits for the run that uses it", () =>
      Effect.gen(function*() {
        const registered: Registered = { calls: [], failing: "" }
        yield* Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const scope = yield* Scope.make()
          const tensor = yield* Scope.extend(runner.allocateHost("float32", [4]), scope)
          closeGate()
          yield* Effect.addFinalizer(() => Effect.sync(openGate))
          const gate = native("test_gate", { x: Arg.inout("float32", ["n"]) })
          const running = yield* Effect.fork(runner.run(gate, { x: tensor }))
          yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
          const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
          yield* Effect.repeatN(nextTurn, 3)
          assert.strictEqual(registered.calls.length, 1)
          openGate()
          assert.isTrue(Exit.isSuccess(yield* Fiber.await(running)))
          yield* Fiber.await(closing)
          assert.strictEqual(registered.calls.length, 2)
        }).pipe(Effect.provide(watchedRunner(form, registered)))
      }))

    it.scoped("waits for a run that is bound and does nothing yet", () =>
      Effect.gen(function*() {
        const registered: Registered = { calls: [], failing: "" }
        yield* Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const scope = yield* Scope.make()
          const runScope = yield* Scope.make()
          const c = yield* Scope.extend(runner.allocateHost("float32", [4]), scope)
          const run = yield* Scope.extend(runner.bind(add, { ...vectors(4), c }), runScope)
          const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
          yield* Effect.repeatN(nextTurn, 3)
          assert.strictEqual(registered.calls.length, 1)
          yield* run.launch
          yield* run.validate
          yield* Fiber.await(closing)
          assert.strictEqual(registered.calls.length, 2)
          assert.deepStrictEqual([...c.view], [1, 3, 5, 7])
          yield* Scope.close(runScope, Exit.void)
        }).pipe(Effect.provide(watchedRunner(form, registered)))
      }))

    it.scoped("begins whole or not at all: what the device does not register is not there", () =>
      Effect.gen(function*() {
        const registered: Registered = { calls: [], failing: "hostRegister" }
        yield* Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const error = yield* failsWith("DeviceFailed", Effect.scoped(runner.allocateHost("float32", [4])))
          assert.deepStrictEqual([error.operation, error.statusName, error.runner], ["hostRegister", "Busy", "ready"])
          assert.strictEqual((yield* runner.stats).host.hostTensorBytes, 0)
          yield* runner.run(add, vectors(4))
        }).pipe(Effect.provide(watchedRunner(form, registered)))
        assert.deepStrictEqual(registered.calls, ["hostRegister 16 hostTensor"])
      }))

    it.scoped("ends all the same where the device does not let go, and that is counted", () =>
      Effect.gen(function*() {
        const registered: Registered = { calls: [], failing: "hostUnregister" }
        yield* Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          yield* Effect.scoped(runner.allocateHost("float32", [4]))
          const stats = yield* runner.stats
          assert.deepStrictEqual([stats.releaseFailures, stats.host.hostTensorBytes, stats.state], [1, 0, "ready"])
          yield* runner.run(add, vectors(4))
        }).pipe(Effect.provide(watchedRunner(form, registered)))
        assert.strictEqual(registered.calls.length, 2)
      }))
  })

  it.scoped("larger than the host are refused as such", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const start = probe.calls.length
      const error = yield* failsWith("DeviceOutOfMemory", runner.allocateHost("uint8", [2 ** 52]))
      assert.deepStrictEqual(
        [error.operation, error.statusName, error.requestedBytes, error.purpose, error.runner],
        ["allocateHost", "HostOutOfMemory", 2 ** 52, "a host tensor", "ready"]
      )
      assert.strictEqual(probe.calls.length, start)
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("that a failed run was to write are indeterminate, where the device writes them itself", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const c = yield* runner.allocateHost("float32", [4])
      for (const callable of [add, addInline]) {
        yield* runner.load(callable)
        probe.fail({ operation: "submit", purpose: "copyBack", status: Status.TransferFailed })
        const error = yield* failsWith("TransferFailed", runner.run(callable, { ...vectors(4), c }))
        assert.strictEqual(error.hostOutputs, "indeterminate")
        probe.fail({ operation: "submit", purpose: "copyBack", status: Status.TransferFailed })
        const plain = yield* failsWith("TransferFailed", runner.run(callable, { ...vectors(4), a: c }))
        // A copy into staging has not touched the view yet; one straight into it may have.
        const staged = form.late
        assert.strictEqual(plain.hostOutputs, staged ? "unchanged" : "indeterminate")
      }
      yield* assertUsable
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form))))
})
