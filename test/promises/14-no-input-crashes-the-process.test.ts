/** Promise 14: no user input crashes the process; handles cannot be invented. The whole table is in test/badInputs. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, FastCheck as fc } from "effect"
import { Arg, type Callable, DeviceRunner } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { addSignature, native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertUsable } from "../utils/programs.ts"

const callable = native("test_nothing", {
  ...addSignature,
  count: Arg.scalar("int32"),
  long: Arg.scalar("int64"),
  kept: Arg.resident("float32")
}, { execution: "inline" })

/** Hands over whatever it is, as a program without types would. */
type Untyped = (
  callable: Callable.Any,
  args: unknown,
  options?: unknown
) => Effect.Effect<void, { readonly _tag: string }>

const detached = (): Float32Array => {
  const view = new Float32Array(4)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}

const weird: fc.Arbitrary<unknown> = fc.oneof(
  fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true, withTypedArray: true }),
  fc.constant(detached()),
  fc.constant(new Float32Array(new SharedArrayBuffer(16))),
  fc.constant({ buffer: new ArrayBuffer(16), byteLength: 16, byteOffset: 0, length: 4 }),
  fc.constant(Object.create(Float32Array.prototype)),
  fc.constant(new DataView(new ArrayBuffer(16))),
  fc.constant(Object.defineProperty(new Float32Array(4), "byteLength", { value: 1e9 })),
  fc.constant(Object.defineProperty(new Float32Array(4), "buffer", { value: new ArrayBuffer(0) }))
)

onEveryDevice("promise 14: no input crashes the process", (form) => {
  it.effect.prop(
    "any value for any argument is taken for what it is, or refused without a native call",
    [fc.constantFrom("a", "b", "c", "count", "long", "kept", "extra", "__proto__"), weird],
    ([name, value]) =>
      Effect.scoped(
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const probe = yield* Probe.Probe
          const kept = yield* runner.allocate("float32", [4])
          yield* runner.load(callable)
          const args: Record<string, unknown> = {
            a: new Float32Array(4),
            b: new Float32Array(4),
            c: new Float32Array(4),
            count: 1,
            long: 1n,
            kept
          }
          Object.defineProperty(args, name, { value, enumerable: true, configurable: true, writable: true })
          const start = probe.calls.length
          const exit = yield* Effect.exit((runner.run as Untyped)(callable, args))
          if (Exit.isFailure(exit)) {
            assert.strictEqual(exit.cause._tag, "Fail", String(exit.cause))
            const tag = exit.cause._tag === "Fail" ? exit.cause.error._tag : ""
            assert.include(["InvalidArgument", "ShapeMismatch"], tag)
            assert.strictEqual(probe.calls.length, start)
          }
          const { runs } = yield* runner.stats
          assert.strictEqual(runs.begun, runs.ended)
          yield* assertUsable
        }).pipe(Effect.provide(runnerOf(form)))
      ),
    { fastCheck: { numRuns: 60 } }
  )

  it.effect.prop(
    "any shape for an allocation is allocated or refused without a native call",
    [
      fc.anything({ withBigInt: true, withSparseArray: true }),
      fc.constantFrom("float32", "float33", "toString", 7, null)
    ],
    ([shape, dtype]) =>
      Effect.scoped(
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const probe = yield* Probe.Probe
          const start = probe.calls.length
          const exit = yield* Effect.exit(runner.allocate(dtype as "float32", shape as ReadonlyArray<number>))
          if (Exit.isFailure(exit)) {
            assert.strictEqual(exit.cause._tag, "Fail", String(exit.cause))
            assert.strictEqual(probe.calls.length, start)
          }
          assert.strictEqual((yield* runner.stats).state, "ready")
        }).pipe(Effect.provide(runnerOf(form)))
      ),
    { fastCheck: { numRuns: 60 } }
  )

  it.scoped("a getter that detaches an argument read before is caught", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const add = native("test_add", addSignature, { execution: "inline" })
      yield* runner.load(add)
      const a = new Float32Array(4)
      const args = {
        a,
        get b() {
          structuredClone(a.buffer, { transfer: [a.buffer] })
          return new Float32Array(4)
        },
        c: new Float32Array(4)
      }
      const calls = yield* probe.during(Effect.map(Effect.flip(runner.run(add, args)), (error) => {
        assert.strictEqual(error._tag, "InvalidArgument")
        if (error._tag === "InvalidArgument") {
          assert.deepStrictEqual([error.reason, error.argument], ["Detached", "a"])
        }
      }))
      assert.deepStrictEqual(calls, [])
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("handles show no address, and copies of them are worth nothing", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const resident = yield* runner.allocate("float32", [4])
      const host = yield* runner.allocateHost("float32", [4])
      const run = yield* runner.bind(native("test_nothing", { kept: Arg.resident("float32") }), { kept: resident })
      const addresses = [...probe.live.keys()].map(String)
      for (const handle of [resident, host, run, run.leases, run.plan]) {
        const text = JSON.stringify(handle)
        for (const address of addresses) {
          assert.notInclude(text, address)
        }
      }
      yield* Effect.void
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("sizes that overflow are refused", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const big = native("test_nothing", { work: Arg.scratch("float32", [2 ** 27, 2 ** 27]) })
      const error = yield* Effect.flip(runner.run(big, {}))
      assert.strictEqual(error._tag, "InvalidArgument")
      const sum = native("test_nothing", {
        one: Arg.scratch("uint8", [2 ** 52]),
        two: Arg.scratch("uint8", [2 ** 52]),
        three: Arg.scratch("uint8", [2 ** 52])
      })
      const refused = yield* Effect.flip(runner.run(sum, {}))
      assert.include(["InvalidArgument", "BudgetExhausted"], refused._tag)
    }).pipe(Effect.provide(runnerOf(form))))
})
