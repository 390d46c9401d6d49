/** Resident tensors: what is uploaded is what is downloaded, in order, within a budget, as long as the scope lasts. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { Arg, DeviceRunner, type DType, HostApi, ResidentTensor } from "leasehold"
import { assertSameBytes, pattern } from "./utils/bytes.ts"
import { onEveryForm, runnerOf } from "./utils/forms.ts"
import { nextTurn } from "./utils/garbage.ts"
import { add, closeGate, gateWaiting, native, openGate } from "./utils/kernels.ts"
import * as Probe from "./utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "./utils/programs.ts"

const { Status } = HostApi

const views: { readonly [D in DType.DType]: (values: ReadonlyArray<number>) => DType.View<D> } = {
  float16: (values) => Uint16Array.from(values),
  bfloat16: (values) => Uint16Array.from(values),
  float32: (values) => Float32Array.from(values),
  float64: (values) => Float64Array.from(values),
  int8: (values) => Int8Array.from(values),
  int16: (values) => Int16Array.from(values),
  int32: (values) => Int32Array.from(values),
  int64: (values) => BigInt64Array.from(values, BigInt),
  uint8: (values) => Uint8Array.from(values),
  uint16: (values) => Uint16Array.from(values),
  uint32: (values) => Uint32Array.from(values),
  uint64: (values) => BigUint64Array.from(values, BigInt)
}

const dtypes = Object.keys(views) as Array<DType.DType>

const gate = native("test_gate", {})

/** Occupies the device with a kernel that waits until the gate is opened. */
const busy = Effect.gen(function*() {
  closeGate()
  yield* Effect.addFinalizer(() => Effect.sync(openGate))
  const runner = yield* DeviceRunner.DeviceRunner
  const running = yield* Effect.fork(runner.run(gate, {}))
  yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
  return running
})

onEveryForm("residents", (form) => {
  describe("moving", () => {
    it.scoped("they come zeroed, and say what they are", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const resident = yield* runner.allocate("float32", [2, 3])
        assert.isTrue(ResidentTensor.isResidentTensor(resident))
        assert.isFalse(ResidentTensor.isResidentTensor({ dtype: "float32", shape: [2, 3] }))
        assert.deepStrictEqual(
          [resident.dtype, [...resident.shape], resident.byteLength],
          ["float32", [2, 3], 24]
        )
        assert.isTrue(Object.isFrozen(resident) && Object.isFrozen(resident.shape))
        const read = new Float32Array(6).fill(7)
        yield* resident.download(read)
        assert.deepStrictEqual(read, new Float32Array(6))
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("what is uploaded is downloaded, for every element type", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        for (const dtype of dtypes) {
          const resident = yield* runner.allocate(dtype, [5])
          const written = views[dtype]([1, 2, 3, 4, 100])
          const read = views[dtype]([0, 0, 0, 0, 0])
          yield* resident.upload(written)
          yield* resident.download(read)
          assert.deepStrictEqual(read, written)
          assert.strictEqual(resident.byteLength, written.byteLength)
        }
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("in parts, from any element on, without touching the others", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const resident = yield* runner.allocate("int32", [4, 5])
        const expected = Int32Array.from({ length: 20 }, (_, index) => index)
        yield* resident.upload(expected)
        for (const [offsetElements, length] of [[0, 1], [19, 1], [3, 7], [0, 20], [20, 0], [7, 0]] as const) {
          const part = Int32Array.from({ length }, (_, index) => -1 - index - offsetElements)
          yield* resident.upload(part, { offsetElements })
          expected.set(part, offsetElements)
          const whole = new Int32Array(20)
          yield* resident.download(whole)
          assert.deepStrictEqual(whole, expected)
          const read = new Int32Array(length)
          yield* resident.download(read, { offsetElements })
          assert.deepStrictEqual(read, part)
        }
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("from and to the middle of larger buffers", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const resident = yield* runner.allocate("uint8", [10])
        const source = pattern(100)
        yield* resident.upload(source.subarray(41, 51))
        const target = new Uint8Array(100).fill(0xee)
        yield* resident.download(target.subarray(7, 17))
        const expected = new Uint8Array(100).fill(0xee)
        expected.set(source.subarray(41, 51), 7)
        assertSameBytes(target, expected)
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("of no elements, for free", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const calls = yield* probe.during(Effect.scoped(Effect.gen(function*() {
          const empty = yield* runner.allocate("float32", [4, 0])
          yield* empty.upload(new Float32Array(0))
          yield* empty.download(new Float32Array(0), { offsetElements: 0 })
          yield* failsWith("ShapeMismatch", empty.upload(new Float32Array(1)))
          assert.strictEqual((yield* runner.stats).residents.count, 1)
        })))
        assert.deepStrictEqual(calls, [])
        assert.strictEqual((yield* runner.stats).residents.count, 0)
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("up to the limit of plain views in one go, and above it from host tensors of any size", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const limit = 65_536
        const elements = 5 * limit + 3
        const resident = yield* runner.allocate("uint8", [elements])
        yield* resident.upload(pattern(limit), { offsetElements: 0 })
        const over = yield* failsWith("InvalidArgument", resident.upload(pattern(limit + 1), { offsetElements: 0 }))
        assert.strictEqual(over.reason, "InlineCopyTooLarge")
        const source = yield* runner.allocateHost("uint8", [elements])
        const target = yield* runner.allocateHost("uint8", [elements])
        source.view.set(pattern(elements, 5))
        yield* resident.upload(source)
        yield* resident.download(target)
        assertSameBytes(target.view, source.view)
        const small = yield* runner.allocateHost("uint8", [7])
        small.view.fill(9)
        yield* resident.upload(small, { offsetElements: elements - 7 })
        const last = new Uint8Array(10)
        yield* resident.download(last, { offsetElements: elements - 10 })
        assertSameBytes(last, Uint8Array.of(...pattern(elements, 5).slice(-10, -7), 9, 9, 9, 9, 9, 9, 9))
        const { device } = yield* runner.stats
        assert.deepStrictEqual(
          [device.hostToDeviceBytes, device.deviceToHostBytes],
          [limit + elements + 7, elements + 10]
        )
      }).pipe(Effect.provide(runnerOf(form, { maxInlineCopyBytes: 65_536, stagingMaxBytes: 1 }))))

    it.scoped("of one device by two runners, each its own", () =>
      Effect.gen(function*() {
        const runners = [
          yield* DeviceRunner.DeviceRunner,
          yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: 0 } })
        ]
        const residents = yield* Effect.forEach(runners, (runner) => runner.allocate("uint8", [64]))
        yield* Effect.forEach(residents, (resident, index) => resident.upload(pattern(64, index)), { concurrency: 2 })
        for (const [index, resident] of residents.entries()) {
          const read = new Uint8Array(64)
          yield* resident.download(read)
          assertSameBytes(read, pattern(64, index))
        }
      }).pipe(Effect.provide(runnerOf(form))))
  })

  describe("order", () => {
    it.scoped("moves that are started together take effect in the order of their start", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const resident = yield* runner.allocate("int32", [64])
        const reads = Array.from({ length: 20 }, () => new Int32Array(64))
        const moves = reads.flatMap((read, index) => [
          resident.upload(new Int32Array(64).fill(index)),
          resident.download(read)
        ])
        yield* Effect.all(moves, { concurrency: "unbounded", discard: true })
        assert.deepStrictEqual(reads, reads.map((_, index) => new Int32Array(64).fill(index)))
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("moves that wait behind a kernel follow it in their order", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const resident = yield* runner.allocate("int32", [4])
        const running = yield* busy
        const read = new Int32Array(4)
        const waiting = yield* Effect.forEach([
          resident.upload(Int32Array.of(1, 1, 1, 1)),
          resident.upload(Int32Array.of(2, 2), { offsetElements: 1 }),
          resident.download(read),
          resident.upload(Int32Array.of(3, 3, 3, 3))
        ], (move) => Effect.fork(move))
        yield* Effect.repeatN(nextTurn, 3)
        assert.deepStrictEqual([...read], [0, 0, 0, 0])
        openGate()
        yield* Fiber.joinAll(waiting)
        yield* Fiber.join(running)
        assert.deepStrictEqual([...read], [1, 2, 2, 1])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("moves between the steps of a bound run are seen by the steps that follow", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const accumulate = native("test_accumulate", {
          accumulator: Arg.resident("float32", { access: "readWrite" }),
          x: Arg.input("float32", ["n"]),
          y: Arg.output("float32", ["n"])
        })
        const accumulator = yield* runner.allocate("float32", [2])
        const y = new Float32Array(2)
        const run = yield* runner.bind(accumulate, { accumulator, x: Float32Array.of(1, 2), y })
        yield* accumulator.upload(Float32Array.of(100, 200))
        yield* run.launch
        const between = new Float32Array(2)
        yield* accumulator.download(between)
        yield* accumulator.upload(Float32Array.of(0, 0))
        yield* run.validate
        assert.deepStrictEqual([[...between], [...y]], [[101, 202], [101, 202]])
        yield* accumulator.download(between)
        assert.deepStrictEqual([...between], [0, 0])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("a view that is detached while its move waits fails the move, and the tensor is as before", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const resident = yield* runner.allocate("int32", [4])
        yield* resident.upload(Int32Array.of(1, 2, 3, 4))
        const running = yield* busy
        const source = Int32Array.of(9, 9, 9, 9)
        const target = new Int32Array(4)
        const uploading = yield* Effect.fork(resident.upload(source))
        const downloading = yield* Effect.fork(resident.download(target))
        yield* nextTurn
        const moved = [source, target].map((view) => structuredClone(view.buffer, { transfer: [view.buffer] }))
        openGate()
        for (const [fiber, name] of [[uploading, "upload"], [downloading, "download"]] as const) {
          const error = yield* failsWith("InvalidArgument", Effect.flatten(Fiber.await(fiber)))
          assert.deepStrictEqual([error.reason, error.argument], ["Detached", name])
        }
        yield* Fiber.join(running)
        assert.deepStrictEqual(moved.map((buffer) => Array.from(new Int32Array(buffer))), [[9, 9, 9, 9], [0, 0, 0, 0]])
        const read = new Int32Array(4)
        yield* resident.download(read)
        assert.deepStrictEqual([...read], [1, 2, 3, 4])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("an interruption while a move waits is heard when the move has ended", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const resident = yield* runner.allocate("int32", [2])
        const running = yield* busy
        const uploading = yield* Effect.fork(resident.upload(Int32Array.of(5, 6)))
        yield* nextTurn
        const interruption = yield* Effect.fork(Fiber.interrupt(uploading))
        yield* Effect.repeatN(nextTurn, 3)
        assert.strictEqual((yield* Fiber.poll(uploading))._tag, "None")
        openGate()
        yield* Fiber.await(interruption)
        yield* Fiber.join(running)
        const read = new Int32Array(2)
        yield* resident.download(read)
        assert.include([[0, 0].join(), [5, 6].join()], read.join(), "all or nothing")
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form))))
  })

  describe("budget", () => {
    it.scoped("is counted with granularity and tail, and given back", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const chunks = probe.live.size
        yield* Effect.scoped(Effect.gen(function*() {
          yield* runner.allocate("uint8", [1])
          yield* runner.allocate("uint8", [64])
          const { residents } = yield* runner.stats
          assert.deepStrictEqual(residents, {
            maxBytes: 1000,
            inUseBytes: 64 + 32 + 64 + 32,
            highWaterBytes: 192,
            count: 2
          })
          assert.deepStrictEqual([...probe.live.values()].slice(chunks), [96, 96])
        }))
        const { residents } = yield* runner.stats
        assert.deepStrictEqual(residents, { maxBytes: 1000, inUseBytes: 0, highWaterBytes: 192, count: 0 })
        yield* assertNothingHeld
      }).pipe(Effect.provide(runnerOf(form, { residentMaxBytes: 1000 }, { granularityBytes: 64, tailBytes: 32 }))))

    it.scoped("that is spent is refused with what holds it, and with the budget that is enough", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        yield* runner.allocate("uint8", [100])
        yield* runner.allocate("float32", [50])
        yield* runner.allocate("uint8", [300])
        yield* runner.allocate("uint8", [50])
        const start = probe.calls.length
        const error = yield* failsWith("BudgetExhausted", runner.allocate("float64", [100]))
        assert.strictEqual(probe.calls.length, start)
        const { alignedBytes, inUseBytes, largestFreeBytes, largestHolders, maxBytes, reason, requestedBytes } = error
        assert.deepStrictEqual(
          {
            alignedBytes,
            inUseBytes,
            largestFreeBytes,
            maxBytes,
            reason,
            requestedBytes,
            fits: error.suggestedMaxBytes
          },
          {
            alignedBytes: 800,
            inUseBytes: 650,
            largestFreeBytes: 350,
            maxBytes: 1000,
            reason: "Residents",
            requestedBytes: 800,
            fits: 1450
          }
        )
        assert.deepStrictEqual(largestHolders.map(({ byteCount, tensor }) => [tensor, byteCount]), [
          ["resident uint8 [300]", 300],
          ["resident float32 [50]", 200],
          ["resident uint8 [100]", 100]
        ])
        yield* runner.allocate("uint8", [350])
        yield* failsWith("BudgetExhausted", runner.allocate("uint8", [1]))
        const roomy = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: 0 }, residentMaxBytes: 1450 })
        yield* roomy.allocate("uint8", [650])
        yield* roomy.allocate("float64", [100])
      }).pipe(Effect.provide(runnerOf(form, { residentMaxBytes: 1000 }))))

    it.scoped("is not overrun by allocations that are made at once", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 12 }),
          () => Effect.exit(runner.allocate("uint8", [100_000])),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(outcomes.filter(Exit.isSuccess).length, 3)
        assert.strictEqual((yield* runner.stats).residents.inUseBytes, 300_000)
        yield* assertNothingHeld
      }).pipe(Effect.provide(runnerOf(form, { residentMaxBytes: 399_999 }))))

    it.scoped("is as it was when the device refuses the memory, or its clearing", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        probe.fail({ operation: "malloc", purpose: "resident", status: Status.OutOfMemory })
        const memory = yield* failsWith("DeviceOutOfMemory", runner.allocate("uint8", [100]))
        assert.deepStrictEqual([memory.requestedBytes, memory.runner], [100, "ready"])
        probe.fail({ operation: "malloc", purpose: "resident", status: Status.Busy })
        const busyDevice = yield* failsWith("DeviceFailed", runner.allocate("uint8", [100]))
        assert.deepStrictEqual([busyDevice.statusName, busyDevice.runner], ["Busy", "ready"])
        probe.fail({ operation: "submit", purpose: "clear", status: Status.TransferFailed })
        yield* failsWith("TransferFailed", runner.allocate("uint8", [100]))
        assert.strictEqual(probe.fired(), 3)
        assert.deepStrictEqual(
          [(yield* runner.stats).residents.inUseBytes, (yield* runner.stats).residents.count],
          [0, 0]
        )
        yield* assertNothingHeld
        yield* runner.allocate("uint8", [1000])
      }).pipe(Effect.provide(runnerOf(form, { residentMaxBytes: 1000 }))))

    it.scoped("of nothing allows tensors without elements only", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* runner.allocate("uint8", [0])
        yield* failsWith("BudgetExhausted", runner.allocate("uint8", [1]))
      }).pipe(Effect.provide(runnerOf(form, { residentMaxBytes: 0 }))))
  })

  describe("lifetime", () => {
    it.scoped("ends with the scope: the memory is freed once, and the handle is refused", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const scope = yield* Scope.make()
        const resident = yield* Scope.extend(runner.allocate("float32", [4]), scope)
        const live = probe.live.size
        const calls = yield* probe.during(Scope.close(scope, Exit.void))
        assert.deepStrictEqual(calls.map((call) => [call.operation, call.purpose]), [["free", "resident"]])
        assert.strictEqual(probe.live.size, live - 1)
        const after = yield* probe.during(Effect.gen(function*() {
          for (const move of [resident.upload(new Float32Array(4)), resident.download(new Float32Array(4))]) {
            assert.strictEqual((yield* failsWith("InvalidArgument", move)).reason, "HandleClosed")
          }
          yield* Scope.close(scope, Exit.void)
        }))
        assert.deepStrictEqual(after, [])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("ends newest first, and outlasts a new configuration", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const scope = yield* Scope.make()
        const before = new Set(probe.live.keys())
        const first = yield* Scope.extend(runner.allocate("uint8", [10]), scope)
        yield* Scope.extend(runner.allocate("uint8", [20]), scope)
        const addresses = [...probe.live.keys()].filter((address) => !before.has(address))
        yield* first.upload(pattern(10))
        yield* runner.configure({ maxBytes: "128 KiB" })
        yield* runner.configure({ maxBytes: 0 })
        const read = new Uint8Array(10)
        yield* first.download(read)
        assertSameBytes(read, pattern(10))
        const calls = yield* probe.during(Scope.close(scope, Exit.void))
        assert.deepStrictEqual(calls.map((call) => call.address), addresses.toReversed())
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("ends with the runner, and the scope of the tensor has nothing left to do", () =>
      Effect.gen(function*() {
        const probe = yield* Probe.Probe
        const runnerScope = yield* Scope.make()
        const scope = yield* Scope.make()
        const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 0 } }), runnerScope)
        const live = probe.live.size
        const resident = yield* Scope.extend(runner.allocate("uint8", [10]), scope)
        yield* Scope.close(runnerScope, Exit.void)
        assert.strictEqual(probe.live.size, live)
        const calls = yield* probe.during(Effect.gen(function*() {
          yield* failsWith("RunnerClosed", resident.upload(new Uint8Array(10)))
          yield* Scope.close(scope, Exit.void)
        }))
        assert.deepStrictEqual(calls, [])
        assert.deepStrictEqual((yield* runner.stats).residents.inUseBytes, 0)
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("waits for the kernel that uses it, and for moves that are under way", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const scope = yield* Scope.make()
        const kept = yield* Scope.extend(runner.allocate("float32", [4]), scope)
        closeGate()
        yield* Effect.addFinalizer(() => Effect.sync(openGate))
        const using = native("test_gate", { kept: Arg.resident("float32") })
        const running = yield* Effect.fork(runner.run(using, { kept }))
        yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
        const uploading = yield* Effect.fork(kept.upload(new Float32Array(4)))
        yield* nextTurn
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* Effect.repeatN(nextTurn, 3)
        assert.isEmpty(probe.calls.filter((call) => call.operation === "free"))
        assert.strictEqual(
          (yield* failsWith("InvalidArgument", kept.upload(new Float32Array(4)))).reason,
          "HandleClosed"
        )
        openGate()
        yield* Fiber.join(running)
        yield* Fiber.await(closing)
        const upload = yield* Fiber.await(uploading)
        assert.isTrue(
          Exit.isSuccess(upload) || upload.cause._tag === "Fail" && upload.cause.error._tag === "InvalidArgument"
        )
        const order = probe.calls.filter((call) => call.purpose === "upload" || call.operation === "free")
        assert.strictEqual(order.at(-1)?.operation, "free", "nothing touches the memory after it was freed")
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("waits for a run that is bound and does nothing yet", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const scope = yield* Scope.make()
        const kept = yield* Scope.extend(runner.allocate("float32", [4]), scope)
        const live = probe.live.size
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(native("test_nothing", { kept: Arg.resident("float32") }), { kept })
          yield* Effect.fork(Scope.close(scope, Exit.void))
          yield* Effect.repeatN(nextTurn, 3)
          assert.strictEqual(probe.live.size, live)
          yield* run.launch
          assert.strictEqual(probe.live.size, live)
        }))
        yield* Effect.repeat(nextTurn, { until: () => probe.live.size === live - 1 })
        yield* assertNothingHeld
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("begins whole or not at all, whenever it is interrupted", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const live = probe.live.size
        for (let turns = 0; turns < 8; turns++) {
          const release = yield* Deferred.make<void>()
          const fiber = yield* Effect.fork(
            Effect.scoped(Effect.zipRight(runner.allocate("uint8", [100_000]), Deferred.await(release)))
          )
          yield* Effect.repeatN(Effect.yieldNow(), turns)
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(probe.live.size, live, `interrupted after ${turns} turns`)
          assert.strictEqual((yield* runner.stats).residents.inUseBytes, 0)
        }
        yield* assertNothingHeld
      }).pipe(Effect.provide(runnerOf(form))))
  })

  describe("failures", () => {
    it.scoped("of a move are named by their step, and the runner goes on", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const resident = yield* runner.allocate("uint8", [16])
        const host = yield* runner.allocateHost("uint8", [16])
        yield* resident.upload(pattern(16))
        const target = new Uint8Array(16).fill(0xee)
        for (
          const [step, move, hostOutputs] of [
            ["upload", resident.upload(new Uint8Array(16)), "unchanged"],
            ["download", resident.download(target), form.late ? "unchanged" : "indeterminate"],
            ["download", resident.download(host), "indeterminate"]
          ] as const
        ) {
          probe.fail({ operation: "submit", purpose: step, status: Status.TransferFailed })
          const error = yield* failsWith("TransferFailed", move)
          assert.deepStrictEqual(
            [error.step, error.tensor, error.sticky, error.deviceName, error.hostOutputs],
            [step, "resident", false, "INJECTED", hostOutputs]
          )
        }
        assertSameBytes(target, new Uint8Array(16).fill(0xee))
        yield* resident.download(target)
        assertSameBytes(target, pattern(16))
        const { device } = yield* runner.stats
        assert.deepStrictEqual([device.transfers, device.hostToDeviceBytes, device.deviceToHostBytes], [2, 16, 16])
        yield* runner.run(add, vectors(4))
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("of a move that are sticky poison the runner", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const resident = yield* runner.allocate("uint8", [16])
        probe.fail({ operation: "submit", purpose: "upload", status: Status.DeviceLost })
        assert.isTrue((yield* failsWith("TransferFailed", resident.upload(new Uint8Array(16)))).sticky)
        yield* failsWith("RunnerPoisoned", resident.upload(new Uint8Array(16)))
        yield* failsWith("RunnerPoisoned", resident.download(new Uint8Array(16)))
        yield* failsWith("RunnerPoisoned", runner.run(add, vectors(4)))
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("of a release are counted, and the bytes stay taken", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        probe.fail({ operation: "free", purpose: "resident", status: Status.Busy })
        yield* Effect.scoped(runner.allocate("uint8", [600]))
        const stats = yield* runner.stats
        assert.deepStrictEqual(
          [stats.releaseFailures, stats.quarantine.bytes, stats.residents.inUseBytes, stats.state],
          [1, 600, 0, "ready"]
        )
        const error = yield* failsWith("BudgetExhausted", runner.allocate("uint8", [500]))
        assert.deepStrictEqual([error.reason, error.suggestedMaxBytes], ["Quarantined", 1100])
        yield* runner.allocate("uint8", [400])
      }).pipe(Effect.provide(runnerOf(form, { residentMaxBytes: 1000 }))))
  })
})
