/** Promise 3: retained bytes never exceed the budget, not even for a moment. */
import { assert, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { DeviceRunner, HostApi, type TemporaryBuffer } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import * as Probe from "../utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith } from "../utils/programs.ts"

const KiB = 1024

const bufferOptions: fc.Arbitrary<TemporaryBuffer.Options> = fc.record({
  maxBytes: fc.integer({ min: 0, max: 64 }).map((count) => count * KiB),
  alignmentBytes: fc.constantFrom(1, 64, 256, 1024)
}).chain(({ alignmentBytes, maxBytes }) =>
  fc.constantFrom<TemporaryBuffer.Chunks>("single", { count: 3 }, {
    sizes: maxBytes < 4 ? [1] : [maxBytes / 4, maxBytes / 2]
  })
    .map((chunks) => ({ maxBytes, alignmentBytes, chunks: maxBytes === 0 ? "single" : chunks }))
)

onEveryDevice("promise 3: retained bytes stay within the budget", (form) => {
  it.scoped("for each chunk policy, as requested from the device", () =>
    Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const policies: ReadonlyArray<TemporaryBuffer.Chunks> = ["single", { count: 3 }, { sizes: ["8 KiB", 1000] }]
      for (const chunks of policies) {
        yield* Effect.scoped(Effect.gen(function*() {
          const runner = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: "16 KiB", chunks } })
          const requested = [...probe.live.values()].reduce((sum, bytes) => sum + bytes, 0) - 64 * KiB
          const { retainedBytes } = (yield* runner.stats).temporaryBuffer
          assert.strictEqual(requested, retainedBytes)
          assert.isAtMost(retainedBytes, 16 * KiB)
          assert.isAbove(retainedBytes, 8 * KiB)
        }))
      }
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("during a reconfiguration the larger of both budgets is the bound", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const budgets = [64, 64, 16, 48, 8, 56, 64, 1, 0, 32].map((count) => count * KiB)
      let previous = 64 * KiB
      for (const maxBytes of budgets) {
        probe.resetPeak()
        yield* runner.configure({ maxBytes })
        assert.isAtMost(probe.peakBytes(), Math.max(previous, maxBytes), `from ${previous} to ${maxBytes}`)
        assert.strictEqual((yield* runner.stats).temporaryBuffer.retainedBytes, maxBytes)
        previous = maxBytes
      }
      yield* assertNothingHeld
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.effect.prop(
    "for any sequence of configurations, failing ones included",
    [fc.array(fc.tuple(bufferOptions, fc.option(fc.nat(3), { nil: undefined })), { maxLength: 6 })],
    ([steps]) =>
      Effect.scoped(
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const probe = yield* Probe.Probe
          let bound = 64 * KiB
          for (const [options, failAt] of steps) {
            probe.resetPeak()
            if (failAt !== undefined) {
              probe.fail({ operation: "malloc", purpose: "chunk", skip: failAt, status: HostApi.Status.OutOfMemory })
            }
            const before = (yield* runner.stats).temporaryBuffer
            yield* Effect.exit(runner.configure(options))
            const after = (yield* runner.stats).temporaryBuffer
            bound = Math.max(before.maxBytes, options.maxBytes as number)
            assert.isAtMost(probe.peakBytes(), bound)
            assert.isAtMost(after.retainedBytes, after.maxBytes)
            assert.strictEqual([...probe.live.values()].reduce((sum, bytes) => sum + bytes, 0), after.retainedBytes)
          }
        }).pipe(Effect.provide(runnerOf(form)))
      ),
    { fastCheck: { numRuns: 40 } }
  )

  it.scoped("memory in quarantine counts against the budget", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "free", purpose: "chunk", status: HostApi.Status.Busy })
      probe.resetPeak()
      const spent = yield* failsWith("BudgetExhausted", runner.configure({ maxBytes: "32 KiB" }))
      assert.deepStrictEqual([spent.reason, spent.inUseBytes], ["Quarantined", 64 * KiB])
      assert.strictEqual(probe.peakBytes(), 64 * KiB)
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.state, stats.quarantine], ["unconfigured", { bytes: 64 * KiB, count: 1 }])
      // Chunks are cut from what the quarantine leaves of a budget.
      yield* runner.configure({ maxBytes: "80 KiB" })
      assert.strictEqual((yield* runner.stats).temporaryBuffer.retainedBytes, 16 * KiB)
      yield* assertUsable
      const sizes = { chunks: { sizes: ["20 KiB"] } } as const
      const refused = yield* failsWith("BudgetExhausted", runner.configure({ maxBytes: "80 KiB", ...sizes }))
      assert.strictEqual(refused.suggestedMaxBytes, 84 * KiB)
      yield* assertUsable
      yield* runner.configure({ maxBytes: refused.suggestedMaxBytes, ...sizes })
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("residents stay within a budget of their own", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.allocate("uint8", [1024 * KiB - 16])
      const error = yield* failsWith("BudgetExhausted", runner.allocate("uint8", [17]))
      assert.strictEqual(error.reason, "Residents")
      assert.strictEqual(error.largestFreeBytes, 16)
      yield* runner.allocate("uint8", [16])
      const { residents } = yield* runner.stats
      assert.deepStrictEqual(residents, {
        maxBytes: 1024 * KiB,
        inUseBytes: 1024 * KiB,
        highWaterBytes: 1024 * KiB,
        count: 2
      })
    }).pipe(Effect.provide(runnerOf(form))))
})
