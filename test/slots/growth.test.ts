/** A temporary buffer that grows to what runs need, and is trimmed. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule, TestClock } from "effect"
import { DeviceRunner, HostApi } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import * as Probe from "../utils/probe.ts"
import { assertNothingHeld, failsWith } from "../utils/programs.ts"
import { bytes, copy, hold, isCopied, queue, rangeOf, refused, wait } from "./holding.ts"

onEveryForm("a buffer that grows", (form) => {
  const highWater = { temporaryBuffer: { maxBytes: "64 KiB", alignmentBytes: 256, growth: "highWater" } } as const
  const retained = Effect.map(
    Effect.flatMap(DeviceRunner.DeviceRunner, (runner) => runner.stats),
    ({ temporaryBuffer }): ReadonlyArray<number> => [temporaryBuffer.retainedBytes, temporaryBuffer.growths]
  )

  it.scoped("starts with nothing, and grows before a run to what it needs", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      assert.deepStrictEqual(yield* retained, [0, 0])
      for (const [byteCount, expected] of [[1024, [1024, 1]], [512, [1024, 1]], [8192, [8192, 2]]] as const) {
        const args = bytes(byteCount)
        yield* runner.run(copy, args)
        assert.isTrue(isCopied(args))
        assert.deepStrictEqual(yield* retained, expected)
      }
      const { device, plans } = yield* runner.stats
      assert.deepInclude(device, { mallocs: 2, frees: 1 })
      assert.deepStrictEqual(plans, { hits: 0, misses: 3 })
      yield* runner.run(copy, bytes(1024))
      assert.deepStrictEqual((yield* runner.stats).plans, { hits: 1, misses: 3 })
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, highWater))))

  it.scoped("does not grow under a run, and grows to what runs wanted at once when nobody is active", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const first = yield* hold(16_384)
      const ended: Array<string> = []
      const second = yield* queue("second", 16_384, ended)
      assert.deepStrictEqual(yield* retained, [16_384, 1])
      yield* first.end
      yield* Fiber.join(second)
      assert.deepStrictEqual(yield* retained, [32_768, 2])
      const both = yield* Effect.forEach([1, 2], () => hold(16_384))
      assert.strictEqual((yield* runner.stats).runs.waited, 1)
      assert.strictEqual(both.length, 2)
    }).pipe(Effect.provide(runnerOf(form, { ...highWater, slots: 2, admission: wait }))))

  it.scoped("does not grow for a run that was turned away", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(copy, bytes(512))
      const held = yield* hold(512)
      yield* failsWith("RunAlreadyActive", runner.run(copy, bytes(32_768)))
      yield* held.end
      yield* runner.run(copy, bytes(512))
      assert.deepStrictEqual(yield* retained, [512, 1])
    }).pipe(Effect.provide(runnerOf(form, highWater))))

  it.scoped("gives its old chunk up first where both do not fit, and counts that", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(copy, bytes(40_960))
      assert.strictEqual((yield* runner.stats).configurationsWithoutOverlap, 0)
      yield* runner.run(copy, bytes(65_536))
      assert.strictEqual((yield* runner.stats).configurationsWithoutOverlap, 1)
      assert.deepStrictEqual(yield* retained, [65_536, 2])
    }).pipe(Effect.provide(runnerOf(form, highWater))))

  it.scoped("fails a run with what the device says where it cannot grow, and goes on with what there is", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(copy, bytes(4096))
      const error = yield* failsWith("DeviceOutOfMemory", runner.run(copy, bytes(32_768)))
      assert.deepInclude(error, { purpose: "a chunk", requestedBytes: 32_768, runner: "ready" })
      assert.deepStrictEqual(yield* retained, [4096, 1])
      yield* runner.run(copy, bytes(4096))
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, highWater, { totalBytes: "24 KiB" }))))

  it.scoped("is trimmed to what is to be kept, between runs, and grows again", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(copy, bytes(16_384))
      const held = yield* hold(512)
      yield* failsWith("ConfigureWhileActive", runner.trim(0))
      yield* held.end
      assert.strictEqual(yield* runner.trim("32 KiB"), 0)
      assert.strictEqual(yield* runner.trim("4 KiB"), 12_288)
      assert.deepStrictEqual(yield* retained, [4096, 1])
      assert.strictEqual(yield* runner.trim(0), 4096)
      assert.deepStrictEqual(yield* retained, [0, 1])
      assert.deepInclude((yield* runner.stats).temporaryBuffer, { trims: 2, trimmedBytes: 16_384 })
      yield* runner.run(copy, bytes(1024))
      assert.deepStrictEqual(yield* retained, [1024, 2])
      assert.strictEqual((yield* failsWith("InvalidConfiguration", runner.trim("much" as never))).reason, "Size")
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, highWater))))

  it.scoped("that is fixed is not trimmed", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const error = yield* failsWith("InvalidConfiguration", runner.trim(0))
      assert.deepInclude(error, { reason: "Choice", option: "temporaryBuffer.growth" })
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("keeps room for what is reserved when it grows, and does not trim it away", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const tenant = yield* runner.budget("tenant-a", { reserveBytes: "16 KiB" })
      assert.deepStrictEqual(yield* retained, [0, 0])
      yield* runner.run(copy, bytes(4096))
      assert.deepStrictEqual(yield* retained, [20_480, 1])
      const held = yield* hold(16_384, tenant)
      assert.deepStrictEqual(rangeOf(held.run), [0, 4096, 20_480])
      yield* held.end
      assert.strictEqual(yield* runner.trim(0), 4096)
      yield* hold(16_384, tenant)
      assert.deepStrictEqual(yield* retained, [16_384, 1])
    }).pipe(Effect.provide(runnerOf(form, highWater))))

  it.scoped("keeps what is reserved at the boundaries of now when it is trimmed", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* Effect.forEach(["a", "b"], (name) => runner.budget(name, { reserveBytes: "1 KiB" }))
      yield* runner.configure({ ...highWater.temporaryBuffer, alignmentBytes: "4 KiB" })
      yield* runner.run(copy, bytes(8192))
      assert.deepStrictEqual(yield* retained, [16_384, 1])
      assert.strictEqual(yield* runner.trim(0), 8192)
      assert.deepStrictEqual(yield* retained, [8192, 1])
      yield* runner.run(copy, bytes(8192))
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, { ...highWater, slots: 2 }))))

  it.scoped("is trimmed to nothing, and configured to grow, while memory is in quarantine", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      yield* runner.run(copy, bytes(16_384))
      probe.fail({ operation: "free", purpose: "chunk", status: HostApi.Status.Busy })
      yield* runner.trim("4 KiB")
      assert.deepStrictEqual((yield* runner.stats).quarantine, { bytes: 16_384, count: 1 })
      assert.strictEqual(yield* runner.trim(0), 4096)
      assert.deepStrictEqual(yield* retained, [0, 1])
      yield* runner.configure({ ...highWater.temporaryBuffer, maxBytes: "24 KiB" })
      yield* runner.run(copy, bytes(8192))
      assert.strictEqual((yield* failsWith("BudgetExhausted", runner.run(copy, bytes(16_384)))).maxBytes, 24_576)
      const spent = yield* failsWith(
        "BudgetExhausted",
        runner.configure({ ...highWater.temporaryBuffer, maxBytes: "16 KiB" })
      )
      assert.deepInclude(spent, { reason: "Quarantined", inUseBytes: 16_384 })
    }).pipe(Effect.provide(runnerOf(form, highWater))))

  it.scoped("is not configured to less than is reserved, by what memory in quarantine leaves of it", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const tenant = yield* runner.budget("tenant-a", { reserveBytes: "16 KiB" })
      yield* runner.run(copy, bytes(16_384))
      probe.fail({ operation: "free", purpose: "chunk", status: HostApi.Status.Busy })
      assert.strictEqual(yield* runner.trim(0), 16_384)
      const smaller = { ...highWater.temporaryBuffer, maxBytes: "40 KiB" } as const
      assert.strictEqual((yield* failsWith("InvalidConfiguration", runner.configure(smaller))).reason, "Reserved")
      yield* runner.configure({ ...smaller, maxBytes: "48 KiB" })
      yield* runner.run(copy, bytes(512)).pipe((run) => failsWith("BudgetExhausted", run))
      yield* tenant.run(copy, bytes(512))
    }).pipe(Effect.provide(runnerOf(form, highWater))))

  for (const admission of ["fail", wait] as const) {
    const policy = admission === "fail" ? "fails" : "waits"
    it.scoped(`does not grow for a run that could never be admitted, where what finds no room ${policy}`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const tenant = yield* runner.budget("tenant-a", { maxBytes: "20 KiB", reserveBytes: "16 KiB" })
        const quota = yield* refused(tenant.run(copy, bytes(24_576)))
        assert.deepInclude(quota, { reason: "Quota", maxBytes: 20_480 })
        const reserved = yield* failsWith("BudgetExhausted", runner.run(copy, bytes(57_344)))
        assert.strictEqual(reserved.reason, "Reserved")
        assert.deepStrictEqual(yield* retained, [0, 0])
        yield* runner.run(copy, bytes(49_152))
        yield* assertNothingHeld
      }).pipe(Effect.provide(runnerOf(form, { ...highWater, admission }))))
  }

  it.scoped("gives memory back by itself when it was not used from one tick to the next", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* Effect.yieldNow()
      yield* runner.run(copy, bytes(16_384))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* retained, [16_384, 1])
      const held = yield* hold(512)
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(yield* retained, [16_384, 1])
      yield* held.end
      yield* TestClock.adjust("10 seconds")
      // The device takes its own time to free the old chunk.
      yield* Effect.repeat(Effect.zipRight(Effect.yieldNow(), retained), { until: ([byteCount]) => byteCount === 4096 })
      assert.deepStrictEqual(yield* retained, [4096, 1])
    }).pipe(Effect.provide(
      DeviceRunner.layerTrim({ schedule: Schedule.spaced("10 seconds"), keepBytes: "4 KiB" }).pipe(
        Layer.provideMerge(runnerOf(form, highWater))
      )
    )))
})
