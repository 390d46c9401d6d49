/** Child budgets: quotas and reservations inside a runner's temporary buffer. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { DeviceRunner } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { assertUsable, failsWith } from "../utils/programs.ts"
import { bytes, copy, hold, isCopied, queue, rangeOf, refused, wait } from "./holding.ts"

onEveryForm("child budgets", (form) => {
  it.scoped("count their runs against themselves and the runner, and hold no more than their quota", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const tenant = yield* runner.budget("tenant-a", { maxBytes: "4 KiB" })
      yield* hold(3072, tenant)
      yield* hold(1024)
      assert.deepStrictEqual(yield* tenant.stats, {
        maxBytes: 4096,
        reservedBytes: 0,
        inUseBytes: 3072,
        highWaterBytes: 3072,
        active: 1,
        waiting: 0
      })
      assert.strictEqual((yield* runner.stats).temporaryBuffer.inUseBytes, 4096)
      const now = yield* refused(tenant.run(copy, bytes(2048)))
      assert.deepInclude(now, { reason: "Quota", budget: "tenant-a", maxBytes: 4096, freeBytes: 61_440 })
      const never = yield* refused(tenant.run(copy, bytes(8192)))
      assert.deepInclude(never, { reason: "Quota", requestedBytes: 8192 })
      yield* runner.run(copy, bytes(8192))
    }).pipe(Effect.provide(runnerOf(form, { slots: 4 }))))

  it.scoped("refuse what is above their quota, also where the buffer would grow for it", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const tenant = yield* runner.budget("tenant-a", { maxBytes: "4 KiB" })
      const never = yield* refused(tenant.run(copy, bytes(8192)))
      assert.deepInclude(never, { reason: "Quota", requestedBytes: 8192 })
      const { runs, temporaryBuffer } = yield* runner.stats
      assert.deepInclude(temporaryBuffer, { growths: 0, retainedBytes: 0 })
      assert.deepInclude(runs, { refused: 1, waiting: 0 })
      yield* tenant.run(copy, bytes(4096))
    }).pipe(
      Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: "64 KiB", growth: "highWater" }, admission: wait }))
    ))

  it.scoped("wait for their own quota without holding others off", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const tenant = yield* runner.budget("tenant-a", { maxBytes: "4 KiB" })
      const own = yield* hold(4096, tenant)
      const ended: Array<string> = []
      const waiting = yield* queue("tenant", 512, ended, tenant)
      yield* runner.run(copy, bytes(512))
      assert.deepStrictEqual(ended, [])
      assert.strictEqual((yield* tenant.stats).waiting, 1)
      yield* own.end
      yield* Fiber.join(waiting)
    }).pipe(Effect.provide(runnerOf(form, { slots: 3, admission: wait }))))

  it.scoped("have what they reserved, whatever others take and wait for", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const tenant = yield* runner.budget("tenant-a", { reserveBytes: "16 KiB" })
      const { temporaryBuffer } = yield* runner.stats
      assert.deepInclude(temporaryBuffer, { reservedBytes: 16_384, freeBytes: 49_152 })
      const never = yield* failsWith("BudgetExhausted", runner.run(copy, bytes(65_536)))
      assert.deepInclude(never, { reason: "Reserved", largestFreeBytes: 49_152 })
      const others = yield* hold(49_152)
      const ended: Array<string> = []
      const waiting = yield* queue("other", 49_152, ended)
      const args = bytes(8192)
      yield* tenant.run(copy, args)
      assert.isTrue(isCopied(args))
      const held = yield* hold(16_384, tenant)
      assert.deepStrictEqual(rangeOf(held.run), [0, 49_152, 65_536])
      yield* held.end
      yield* others.end
      yield* Fiber.join(waiting)
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { slots: 3, admission: wait }))))

  it.scoped("are not closed while runs of them are active, and say which", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const tenant = yield* runner.budget("tenant-a", { reserveBytes: "16 KiB" })
      const held = yield* hold(1024, tenant)
      const error = yield* failsWith("BudgetInUse", tenant.close)
      assert.deepStrictEqual(error.runs, [{
        callable: "test_copy",
        generation: held.run.generation,
        byteCount: 1024,
        leases: [{ tensor: "from", byteCount: 512 }, { tensor: "to", byteCount: 512 }]
      }])
      assert.include(error.message, "it holds 1024 B in runs of test_copy (1024 B)")
      yield* held.end
      yield* tenant.close
      assert.strictEqual((yield* runner.stats).temporaryBuffer.reservedBytes, 0)
      assert.strictEqual((yield* refused(tenant.run(copy, bytes(512)))).reason, "Draining")
      yield* runner.run(copy, bytes(65_536))
    }).pipe(Effect.provide(runnerOf(form, { slots: 2 }))))

  it.scoped("give their memory back with their scope, or when their last run has ended", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const scope = yield* Scope.make()
      const tenant = yield* Scope.extend(runner.budget("tenant-a", { reserveBytes: "16 KiB" }), scope)
      const again = yield* failsWith("InvalidConfiguration", runner.budget("tenant-a"))
      assert.strictEqual(again.reason, "Name")
      const held = yield* hold(1024, tenant)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* runner.stats).temporaryBuffer.reservedBytes, 16_384)
      yield* held.end
      assert.strictEqual((yield* runner.stats).temporaryBuffer.reservedBytes, 0)
      yield* runner.budget("tenant-a")
      yield* runner.run(copy, bytes(65_536))
    }).pipe(Effect.provide(runnerOf(form, { slots: 2 }))))

  it.scoped("are refused what is not there, and keep what they have over configurations", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const held = yield* hold(512)
      const error = yield* failsWith("BudgetExhausted", runner.budget("tenant-a", { reserveBytes: "64 KiB" }))
      assert.deepInclude(error, { tensor: "tenant-a", reason: "Exhausted", requestedBytes: 65_536 })
      yield* held.end
      const tenant = yield* runner.budget("tenant-a", { reserveBytes: "48 KiB" })
      const small = yield* failsWith("InvalidConfiguration", runner.configure({ maxBytes: "32 KiB" }))
      assert.strictEqual(small.reason, "Reserved")
      yield* runner.configure({ maxBytes: "128 KiB", alignmentBytes: 256 })
      const wide = yield* hold(49_152, tenant)
      assert.deepStrictEqual(rangeOf(wide.run), [0, 81_920, 131_072])
    }).pipe(Effect.provide(runnerOf(form, { slots: 2 }))))
})
