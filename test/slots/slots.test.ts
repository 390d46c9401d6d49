/** Slots: several runs bound at once, inside the one budget. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { gate, kernelRuns, settle, withGate } from "../utils/gated.ts"
import { addInline, openGate as openNow } from "../utils/kernels.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "../utils/programs.ts"
import { bytes, copy, hold, isCopied, rangeOf } from "./holding.ts"

onEveryForm("slots", (form) => {
  it.scoped("runs that are bound at once lie apart, and each has its own results", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const held = yield* Effect.forEach([512, 1024, 2048], (byteCount) => hold(byteCount))
      assert.deepStrictEqual(held.map(({ run }) => rangeOf(run)), [[0, 0, 512], [0, 512, 1536], [0, 1536, 3584]])
      assert.deepStrictEqual(held.map(({ run }) => run.slot), [0, 1, 2])
      const stats = yield* runner.stats
      assert.strictEqual(stats.runs.active, 3)
      assert.strictEqual(stats.temporaryBuffer.inUseBytes, 3584)
      assert.strictEqual(stats.temporaryBuffer.freeBytes, 65_536 - 3584)
      for (const { args, run } of held.toReversed()) {
        yield* run.launch
        yield* run.validate
        assert.isTrue(isCopied(args))
      }
      assert.strictEqual((yield* runner.stats).temporaryBuffer.highWaterBytes, 3584)
      yield* assertNothingHeld
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { slots: 3 }))))

  it.scoped("with one slot a shape always lands on the same addresses", () =>
    Effect.gen(function*() {
      const first = yield* hold(512)
      const range = rangeOf(first.run)
      yield* first.end
      const other = yield* hold(4096)
      yield* other.end
      const second = yield* hold(512)
      assert.deepStrictEqual(rangeOf(second.run), range)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a shape is laid out once, whichever slots its runs take", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const held = yield* Effect.forEach([1, 2, 3, 4], () => hold(512))
      assert.strictEqual(new Set(held.map(({ run }) => rangeOf(run)[1])).size, 4)
      assert.deepStrictEqual((yield* runner.stats).plans, { hits: 3, misses: 1 })
    }).pipe(Effect.provide(runnerOf(form, { slots: 4 }))))

  it.scoped("a run beyond the slots is refused without a native call, and says how many there are", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      yield* Effect.forEach([1, 2], () => hold(512))
      const error = yield* failsWith("RunAlreadyActive", runner.run(copy, bytes(512)))
      assert.deepInclude(error, { holder: "run", activeCallable: "test_copy", slots: 2 })
      assert.include(error.message, "its 2 slots are taken")
      assert.strictEqual((yield* runner.stats).runs.refused, 1)
    }).pipe(Effect.provide(runnerOf(form, { slots: 2 }))))

  it.scoped("what fits in sum but not in one piece fails with the largest free range", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const held = yield* Effect.forEach([16_384, 16_384, 16_384, 16_384], (byteCount) => hold(byteCount))
      const whole = yield* failsWith("BudgetExhausted", runner.run(copy, bytes(512)))
      assert.deepInclude(whole, { reason: "Exhausted", inUseBytes: 65_536, largestFreeBytes: 0 })
      yield* held[0]!.end
      yield* held[2]!.end
      const error = yield* failsWith("BudgetExhausted", runner.run(copy, bytes(32_768)))
      assert.deepInclude(error, { reason: "Fragmented", requestedBytes: 32_768, largestFreeBytes: 16_384 })
      assert.deepStrictEqual(error.largestHolders.map(({ byteCount }) => byteCount), [16_384, 16_384])
      yield* held[1]!.end
      const args = bytes(32_768)
      yield* runner.run(copy, args)
      assert.isTrue(isCopied(args))
    }).pipe(Effect.provide(runnerOf(form, { slots: 5 }))))

  it.scoped("a run takes a range in each chunk that it needs, and another chunk where its own is taken", () =>
    Effect.gen(function*() {
      const first = yield* hold(20_480)
      const second = yield* hold(20_480)
      assert.deepStrictEqual([first, second].map(({ run }) => rangeOf(run)[0]), [0, 1])
      yield* first.end
      yield* second.end
      const wide = yield* hold(49_152)
      assert.deepStrictEqual(wide.run.leases.map((lease) => lease._tag === "BufferNoop" && lease.chunkIndex), [0, 1])
    }).pipe(Effect.provide(
      runnerOf(form, { slots: 2, temporaryBuffer: { maxBytes: "64 KiB", alignmentBytes: 256, chunks: { count: 2 } } })
    )))

  it.scoped("a resident tensor is freed when the last of the runs that use it has ended", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const held = yield* Effect.forEach([1, 2], () => hold(512))
      yield* runner.configure({ maxBytes: "32 KiB" }).pipe((configure) => failsWith("ConfigureWhileActive", configure))
      yield* held[0]!.end
      yield* failsWith("ConfigureWhileActive", runner.configure({ maxBytes: "32 KiB" }))
      yield* held[1]!.end
      yield* runner.configure({ maxBytes: "32 KiB" })
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { slots: 2 }))))

  it.scoped("without a budget every run mallocs its own", () =>
    Effect.gen(function*() {
      const held = yield* Effect.forEach([1, 2], () => hold(512))
      assert.deepStrictEqual(held[1]!.run.leases.map(({ _tag }) => _tag), ["Free", "Free"])
      for (const { args, run } of held) {
        yield* run.launch
        yield* run.validate
        assert.isTrue(isCopied(args))
      }
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, { slots: 2, temporaryBuffer: { maxBytes: 0 } }))))
})

const openGate = Effect.sync(openNow)

const devices = {
  overlapping: Simulator.layer({ totalBytes: "1 MiB", completion: "late", lanes: "overlap" }),
  "immediate and overlapping": Simulator.layer({ totalBytes: "1 MiB", lanes: "overlap" }),
  serial: Simulator.layer({ totalBytes: "1 MiB", completion: "late", lanes: "serial" })
} as const

describe("while a kernel of one run is at work", () => {
  for (const name of ["overlapping", "immediate and overlapping", "serial"] as const) {
    const overlaps = name !== "serial"
    it.scopedLive(`another run is ${overlaps ? "staged" : "not staged"} on a device that is ${name}`, () =>
      withGate(Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        assert.deepStrictEqual((yield* runner.stats).slots, { count: 2, overlap: overlaps })
        yield* runner.load(gate)
        yield* runner.load(addInline)
        const first = yield* Effect.fork(runner.run(gate, vectors(64)))
        yield* kernelRuns
        const second = vectors(64, 5)
        const bound = yield* Effect.fork(Effect.scoped(
          Effect.flatMap(runner.bind(addInline, second), (run) => Effect.zipRight(run.launch, run.validate))
        ))
        const isStaged = Effect.map(runner.stats, ({ device }) => device.transfers === 4)
        yield* overlaps
          ? Effect.repeat(Effect.zipRight(Effect.sleep("1 millis"), isStaged), { until: Boolean })
          : settle
        const stats = yield* runner.stats
        assert.strictEqual(stats.runs.active, 2)
        assert.strictEqual(stats.device.transfers, overlaps ? 4 : 2)
        assert.strictEqual(stats.device.launches, 0)
        yield* openGate
        yield* Fiber.join(first)
        yield* Fiber.join(bound)
        assert.deepStrictEqual(second.c, second.a.map((value, index) => value + second.b[index]!))
      })).pipe(Effect.provide(
        DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, slots: 2 }).pipe(
          Layer.provideMerge(devices[name])
        )
      )))
  }

  it.scoped("an upload waits, on whatever lane there is room", () =>
    withGate(Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const resident = yield* runner.allocate("float32", [4])
      yield* runner.load(gate)
      const run = yield* Effect.fork(runner.run(gate, vectors(64)))
      yield* kernelRuns
      const upload = yield* Effect.fork(resident.upload(Float32Array.of(1, 2, 3, 4)))
      yield* settle
      assert.isNull(yield* Fiber.poll(upload).pipe(Effect.map((exit) => exit._tag === "None" ? null : exit)))
      yield* openGate
      yield* Fiber.join(run)
      yield* Fiber.join(upload)
    })).pipe(Effect.provide(
      DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, slots: 2 }).pipe(
        Layer.provideMerge(devices.overlapping)
      )
    )))
})
