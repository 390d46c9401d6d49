/** Promise 10: a run on a full runner fails fast, or waits its turn as configured, and corrupts nothing. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Arg, Callable, DeviceRunner } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { add, addInline, native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertUsable, failsWith, vectors } from "../utils/programs.ts"

/** Runs an Effect outside of every fiber, as a getter has to. */
const refusalOf = <A, E extends { readonly _tag: string }>(effect: Effect.Effect<A, E>): string =>
  Effect.runSync(Effect.flip(effect))._tag

onEveryDevice("promise 10: a full runner fails fast", (form) => {
  it.scoped("a second run is refused without a native call, and the first one is right", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      yield* Effect.all([runner.load(add), runner.load(addInline)])
      const args = vectors(32)
      yield* Effect.scoped(Effect.gen(function*() {
        const run = yield* runner.bind(add, args)
        const calls = yield* probe.during(Effect.gen(function*() {
          for (const callable of [add, addInline]) {
            const error = yield* failsWith("RunAlreadyActive", runner.run(callable, vectors(32, 9)))
            assert.deepStrictEqual([error.holder, error.activeCallable], ["run", "test_add"])
            yield* failsWith("RunAlreadyActive", Effect.scoped(runner.bind(callable, vectors(32, 9))))
          }
          const error = yield* failsWith("ConfigureWhileActive", runner.configure({ maxBytes: 1 }))
          assert.strictEqual(error.activeCallable, "test_add")
        }))
        assert.deepStrictEqual(calls, [])
        yield* run.launch
        yield* failsWith("RunAlreadyActive", runner.run(add, vectors(32, 9)))
        yield* run.validate
      }))
      assert.deepStrictEqual(args.c, args.a.map((value, index) => value + args.b[index]!))
      assert.strictEqual((yield* runner.stats).runs.refused, 5)
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a run inside a run of the same runner is refused, and does not wait for itself", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const outer = Callable.make({
        signature: { x: Arg.inout("float32", ["n"]) },
        launch: () => Effect.asVoid(failsWith("RunAlreadyActive", runner.run(addInline, vectors(4))))
      })
      yield* runner.run(outer, { x: new Float32Array(4) })
      assert.strictEqual((yield* runner.stats).runs.refused, 1)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a run started by a getter among the arguments is refused", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* Effect.all([runner.load(add), runner.load(addInline)])
      for (const callable of [add, addInline]) {
        const inner: Array<string> = []
        const args = {
          ...vectors(4),
          get b() {
            inner.push(refusalOf(runner.run(addInline, vectors(4))))
            inner.push(refusalOf(runner.configure({ maxBytes: 1 })))
            return Float32Array.of(1, 1, 1, 1)
          }
        }
        yield* runner.run(callable, args)
        assert.deepStrictEqual(inner, ["RunAlreadyActive", "ConfigureWhileActive"])
        assert.deepStrictEqual(args.c, Float32Array.of(1, 2, 3, 4))
      }
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("many fibers at once: those that run are right, the others are refused", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const outcomes = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, index) => vectors(64, index + 1)),
        (args) =>
          Effect.map(Effect.either(runner.run(add, args)), (outcome) => {
            if (outcome._tag === "Left") {
              assert.strictEqual(outcome.left._tag, "RunAlreadyActive")
              assert.isTrue(args.c.every((value) => value === -7))
            } else {
              assert.deepStrictEqual(args.c, args.a.map((value, index) => value + args.b[index]!))
            }
            return outcome._tag
          }),
        { concurrency: "unbounded" }
      )
      assert.include(outcomes, "Right")
      const stats = yield* runner.stats
      assert.strictEqual(stats.runs.begun + stats.runs.refused, 20)
      assert.strictEqual(stats.runs.begun, stats.runs.ended)
    }).pipe(Effect.provide(runnerOf(form))))

  for (const slots of [1, 3]) {
    it.scoped(`many fibers at once, with ${slots === 1 ? "one slot" : "three slots"}, where runs wait: all are right`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* Effect.forEach(
          Array.from({ length: 40 }, (_, index) => vectors(64 * (1 + index % 5), index + 1)),
          (args, index) =>
            Effect.map(runner.run(index % 2 === 0 ? add : addInline, args), () => {
              assert.deepStrictEqual(args.c, args.a.map((value, at) => value + args.b[at]!))
            }),
          { concurrency: "unbounded" }
        )
        assert.deepInclude((yield* runner.stats).runs, {
          begun: 40,
          ended: 40,
          failed: 0,
          refused: 0,
          active: 0,
          waiting: 0
        })
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form, { slots, admission: { wait: { maxQueueCount: 40 } } }))))
  }

  it.scoped("a run of nothing occupies the slot like any other", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* Effect.scoped(Effect.gen(function*() {
        yield* runner.bind(native("test_nothing", {}), {})
        yield* failsWith("RunAlreadyActive", runner.run(add, vectors(1)))
      }))
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))
})
