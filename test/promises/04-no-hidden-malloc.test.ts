/** Promise 4: with a positive budget there is no hidden malloc, and nothing falls back in silence. */
import { assert, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { Arg, DeviceRunner } from "leasehold"
import { forms, onEveryDevice, runnerOf } from "../utils/forms.ts"
import { add, addInline, native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertUsable, failsWith, vectors } from "../utils/programs.ts"

const scratchOf = (bytes: number) =>
  native("test_nothing", { x: Arg.input("uint8", ["n"]), work: Arg.scratch("uint8", [bytes]) })

onEveryDevice("promise 4: no hidden malloc", (form) => {
  it.scoped("what does not fit fails before any byte moves, and the suggested budget is enough", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const tooLarge = scratchOf(65_536)
      yield* runner.load(tooLarge)
      const args = { x: new Uint8Array(300) }
      const calls = yield* probe.during(Effect.gen(function*() {
        const error = yield* failsWith("BudgetExhausted", runner.run(tooLarge, args))
        assert.strictEqual(error.reason, "Exhausted")
        assert.strictEqual(error.tensor, "work")
        assert.strictEqual(error.requestedBytes, 65_536)
        assert.strictEqual(error.inUseBytes, 300)
        assert.strictEqual(error.maxBytes, 65_536)
        assert.deepStrictEqual(error.largestHolders, [
          { tensor: "work", byteCount: 65_536 },
          { tensor: "x", byteCount: 300 }
        ])
        assert.match(error.message, /"work" needs 65536 B.*fits with 66048 B/)
        assert.strictEqual(error.suggestedMaxBytes, 66_048)
      }))
      assert.deepStrictEqual(calls, [])
      yield* runner.configure({ maxBytes: 66_047, alignmentBytes: 256 })
      yield* failsWith("BudgetExhausted", runner.run(tooLarge, args))
      yield* runner.configure({ maxBytes: 66_048, alignmentBytes: 256 })
      yield* runner.run(tooLarge, args)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a tensor above the whole budget never fits, and says so", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const error = yield* failsWith("BudgetExhausted", runner.run(scratchOf(65_537), { x: new Uint8Array(1) }))
      assert.strictEqual(error.reason, "NeverFits")
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a tensor above every chunk, and pieces that fit only in sum, have errors of their own", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.configure({ maxBytes: 4096, alignmentBytes: 256, chunks: { count: 4 } })
      const exceeds = yield* failsWith("TensorExceedsChunk", runner.run(scratchOf(1025), { x: new Uint8Array(1) }))
      assert.deepStrictEqual([exceeds.tensor, exceeds.largestChunkBytes], ["work", 1024])
      const three = native("test_nothing", {
        a: Arg.scratch("uint8", [700]),
        b: Arg.scratch("uint8", [700]),
        c: Arg.scratch("uint8", [700]),
        d: Arg.scratch("uint8", [700]),
        e: Arg.scratch("uint8", [700])
      })
      const fragmented = yield* failsWith("BudgetExhausted", runner.run(three, {}))
      assert.strictEqual(fragmented.reason, "Fragmented")
      assert.strictEqual(fragmented.tensor, "e")
      assert.strictEqual(fragmented.largestFreeBytes, 256)
      yield* runner.configure({ maxBytes: fragmented.suggestedMaxBytes, alignmentBytes: 256, chunks: { count: 4 } })
      yield* runner.run(three, {})
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a run within the budget mallocs nothing, whatever its sizes", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const calls = yield* probe.during(
        Effect.forEach([1, 17, 255, 1024, 3], (length) =>
          Effect.zipRight(runner.run(add, vectors(length)), runner.run(addInline, vectors(length))))
      )
      const memory = calls.filter((call) =>
        ["malloc", "free", "hostMalloc", "hostFree"].includes(call.operation)
      )
      assert.deepStrictEqual(memory, [])
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a zero budget mallocs and frees every tensor, by Free leases", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const resident = yield* runner.allocate("float32", [4])
      const callable = native("test_nothing", {
        a: Arg.input("float32", ["n"]),
        empty: Arg.input("float32", ["m"]),
        kept: Arg.resident("float32"),
        work: Arg.scratch("float32", ["n"]),
        count: Arg.scalar("int32"),
        c: Arg.output("float32", ["n"])
      })
      const args = {
        a: new Float32Array(4),
        empty: new Float32Array(0),
        kept: resident,
        count: 3,
        c: new Float32Array(4)
      }
      const calls = yield* probe.during(runner.run(callable, args))
      const names = (operation: string): ReadonlyArray<string> =>
        calls.filter((call) => call.operation === operation).map((call) => call.names.join())
      assert.deepStrictEqual(names("malloc"), ["a", "work", "c"])
      assert.deepStrictEqual(names("free"), ["c", "work", "a"])
      const plan = yield* runner.plan(callable, args)
      assert.deepStrictEqual(
        plan.leases.map((lease) => `${lease._tag} ${lease.tensor}`),
        ["Free a", "ExternalNoop kept", "Free work", "Free c"]
      )
      assert.strictEqual(plan.deviceMallocs, 3)
    }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } }))))

  it.effect.prop(
    "the suggested budget is enough, and nothing less",
    [fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 12 })],
    ([sizes]) =>
      Effect.scoped(
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          yield* runner.configure({ maxBytes: 1, alignmentBytes: 64 })
          const signature = Object.fromEntries(
            sizes.map((size, index) => [`t${index}`, Arg.scratch("uint8", [size + 1])])
          )
          const callable = native("test_nothing", signature)
          const error = yield* failsWith("BudgetExhausted", runner.run(callable, {}))
          yield* runner.configure({ maxBytes: error.suggestedMaxBytes - 1, alignmentBytes: 64 })
          yield* failsWith("BudgetExhausted", runner.plan(callable, {}))
          yield* runner.configure({ maxBytes: error.suggestedMaxBytes, alignmentBytes: 64 })
          yield* runner.run(callable, {})
        }).pipe(Effect.provide(runnerOf(form)))
      ),
    { fastCheck: { numRuns: form === forms[0] ? 40 : 5 } }
  )

  it.scoped("a failed release is counted, quarantined and leaves the runner usable", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "free", purpose: "chunk", status: 14 })
      // The chunk that is not taken back is missing from the new budget, which is an error and no smaller buffer in silence.
      yield* failsWith("BudgetExhausted", runner.configure({ maxBytes: "80 KiB", alignmentBytes: 256 }))
      yield* runner.configure({ maxBytes: "80 KiB", alignmentBytes: 256 })
      const stats = yield* runner.stats
      assert.strictEqual(stats.releaseFailures, 1)
      assert.strictEqual(stats.quarantine.bytes, 65_536)
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))
})
