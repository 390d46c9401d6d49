/** Arguments that come again are only looked at: what may have changed about them meanwhile is noticed all the same. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Arg, type Callable, DeviceRunner, Errors } from "leasehold"
import { onEveryForm, runnerOf } from "./utils/forms.ts"
import { add, addInline, native } from "./utils/kernels.ts"

const detach = (view: ArrayBufferView): void => {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] })
}

const failureOf = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<E, A> => Effect.flip(effect)

const scale = { x: Arg.inout("float32", ["n"]), factor: Arg.scalar("float32") }

const isInvalid = (error: unknown, reason: Errors.InvalidArgument["reason"], argument: string): void => {
  assert.instanceOf(error, Errors.InvalidArgument)
  assert.strictEqual(error.reason, reason)
  assert.strictEqual(error.argument, argument)
}

const make = () => ({
  a: Float32Array.of(1, 2, 3),
  b: Float32Array.of(10, 20, 30),
  c: new Float32Array(3)
})

onEveryForm("remembered arguments", (form) => {
  for (const callable of [add, addInline]) {
    it.scoped(`a view that was detached since is refused (${callable.execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        for (const name of ["a", "c"] as const) {
          const args = make()
          yield* runner.run(callable, args)
          detach(args[name])
          isInvalid(yield* failureOf(runner.run(callable, args)), "Detached", name)
          // The next views are looked at whole.
          const others = make()
          yield* runner.run(callable, others)
          assert.deepStrictEqual([...others.c], [11, 22, 33])
        }
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped(`a view that was detached between bind and validate changes nothing (${callable.execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const args = { ...make(), c: new Float32Array(3) }
        const kept = args.c.buffer
        yield* runner.run(callable, args)
        args.c.fill(-1)
        const error = yield* failureOf(Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(callable, args)
          yield* run.launch
          detach(args.c)
          yield* run.validate
        })))
        isInvalid(error, "Detached", "c")
        assert.strictEqual(kept.byteLength, 0)
        const { runs } = yield* runner.stats
        assert.deepInclude(runs, { begun: 2, ended: 2, failed: 1, refused: 0, active: 0 })
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped(`views may be exchanged in an argument object that is used again (${callable.execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const args = make()
        yield* runner.run(callable, args)
        args.a = Float32Array.of(5, 6, 7)
        yield* runner.run(callable, args)
        assert.deepStrictEqual([...args.c], [15, 26, 37])
        args.c = args.a
        isInvalid(yield* failureOf(runner.run(callable, args)), "Aliased", "c")
        args.c = new Float32Array(3)
        yield* runner.run(callable, args)
        assert.deepStrictEqual([...args.c], [15, 26, 37])
        args.c = new Float32Array(4)
        assert.instanceOf(yield* failureOf(runner.run(callable, args)), Errors.ShapeMismatch)
        Object.assign(args, { b: new Float64Array(3), c: new Float32Array(3) })
        isInvalid(yield* failureOf(runner.run(callable, args)), "DType", "b")
        Object.assign(args, { b: undefined })
        isInvalid(yield* failureOf(runner.run(callable, args)), "Missing", "b")
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped(`names may stand in any order, be inherited, or be answered by getters that are asked once (${callable.execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const { a, b, c } = make()
        let asked = 0
        class Views {
          readonly b = b
          get a(): Float32Array {
            asked += 1
            return a
          }
        }
        for (
          const args of [
            { c, b, a },
            { b, c, a },
            Object.assign(Object.create({ a, b }) as object, { c }),
            Object.assign(new Views(), { c })
          ]
        ) {
          for (let round = 0; round < 3; round++) {
            c.fill(0)
            yield* runner.run(callable, args as ReturnType<typeof make>)
            assert.deepStrictEqual([...c], [11, 22, 33])
          }
        }
        assert.strictEqual(asked, 3)
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped(`a name too many is refused in an object that is new, and in its place (${callable.execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const args = make()
        yield* runner.run(callable, args)
        for (
          const extra of [
            Object.assign(Object.create({ a: args.a }) as object, { b: args.b, c: args.c, d: args.a }),
            { ...args, d: args.a },
            { d: args.a, ...args },
            {
              a: args.a,
              d: args.a,
              b: args.b,
              c: args.c
            }
          ]
        ) {
          const run = runner.run(callable, extra as never)
          isInvalid(yield* failureOf(run), "Unknown", "d")
          isInvalid(yield* failureOf(run), "Unknown", "d")
        }
        yield* runner.run(callable, args)
      }).pipe(Effect.provide(runnerOf(form))))
  }

  it.scoped("the sign of a zero, a number that is none, and the next number all reach the kernel", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = native("test_scale", scale, { execution: "inline" })
      const x = new Float32Array(1)
      const args = { x, factor: 0 }
      for (const factor of [0, -0, 0, Number.NaN, Number.NaN, 2, -0]) {
        args.factor = factor
        x[0] = 3
        yield* runner.run(callable, args)
        assert.isTrue(Object.is(x[0], 3 * factor), `3 times ${Object.is(factor, -0) ? "-0" : factor}`)
      }
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a resident that was closed since is refused, and another one is used", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = native("test_accumulate", {
        sum: Arg.resident("float32", { access: "readWrite", dims: ["n"] }),
        x: Arg.input("float32", ["n"]),
        y: Arg.output("float32", ["n"])
      }, { execution: "inline" })
      const scope = yield* Scope.make()
      const first = yield* Scope.extend(runner.allocate("float32", [1]), scope)
      const args = { sum: first, x: Float32Array.of(1), y: new Float32Array(1) }
      yield* runner.run(callable, args)
      yield* runner.run(callable, args)
      assert.deepStrictEqual([...args.y], [2])
      args.sum = yield* runner.allocate("float32", [1])
      yield* runner.run(callable, args)
      assert.deepStrictEqual([...args.y], [1], "another resident has a sum of its own")
      args.sum = first
      yield* runner.run(callable, args)
      assert.deepStrictEqual([...args.y], [3])
      yield* Scope.close(scope, Exit.void)
      isInvalid(yield* failureOf(runner.run(callable, args)), "HandleClosed", "sum")
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a host tensor that was closed since is refused, and views and host tensors may take turns", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const scope = yield* Scope.make()
      const tensor = yield* Scope.extend(runner.allocateHost("float32", [2]), scope)
      tensor.view.set([3, 4])
      const view = Float32Array.of(1, 2)
      const args = { a: view as Callable.Value<typeof add.signature.a>, b: view, c: new Float32Array(2) }
      for (const a of [view, tensor, view, tensor, tensor]) {
        args.a = a
        yield* runner.run(addInline, args)
        assert.deepStrictEqual([...args.c], a === view ? [2, 4] : [4, 6])
      }
      yield* Scope.close(scope, Exit.void)
      isInvalid(yield* failureOf(runner.run(addInline, args)), "HandleClosed", "a")
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("empty views come and go", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const empty = { a: new Float32Array(0), b: new Float32Array(0), c: new Float32Array(0) }
      const full = { a: Float32Array.of(1), b: Float32Array.of(2), c: new Float32Array(1) }
      for (const args of [empty, full, empty, full, empty, empty]) {
        full.c.fill(0)
        yield* runner.run(addInline, args)
        assert.deepStrictEqual([...args.c], args === full ? [3] : [])
      }
      detach(empty.b)
      isInvalid(yield* failureOf(runner.run(addInline, empty)), "Detached", "b")
    }).pipe(Effect.provide(runnerOf(form))))
})
