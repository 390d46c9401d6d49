/**
 * Bad inputs: each is refused with a typed error before any native call, and the runner works afterwards.
 *
 * Rows of the table in rows.ts are executed in rows.test.ts. What stands here is not in the table, or looks at a row more
 * closely; the numbers in the names are those of the rows.
 */
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { Arg, Callable, DeviceRunner } from "leasehold"
import { onEveryForm } from "../utils/forms.ts"
import { add, addInline, addSignature, native } from "../utils/kernels.ts"
import { failsWith, vectors } from "../utils/programs.ts"
import { argumentCases } from "./argumentCases.ts"
import {
  type Attempt,
  awaited,
  detached,
  goodArguments,
  Growable,
  inline,
  Memory,
  onOneRunner,
  onRunner,
  otherRealm,
  refusedOnEveryWay,
  refusedWith,
  runFork,
  runSyncExit,
  ways
} from "./world.ts"

onEveryForm("bad arguments", (form) => {
  onOneRunner(form, "one by one", (check) => {
    for (const [, what, argument, reason, make] of argumentCases.filter(([rows]) => rows === "")) {
      check(`${what} is refused as ${reason}`, (world) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(world.runner)
          const value = yield* make(world)
          const errors = yield* refusedOnEveryWay(world, ["InvalidArgument", reason], { ...good, [argument]: value })
          assert.deepStrictEqual(errors.map((error) => error.argument), errors.map(() => argument))
        }))
    }
  })

  onRunner(form, "row 41: a missing name is refused, whichever it is", (world) =>
    Effect.gen(function*() {
      const good = yield* goodArguments(world.runner)
      for (const name of Object.keys(good)) {
        const { [name]: _, ...rest } = good
        for (const args of [rest, { ...good, [name]: undefined }]) {
          const errors = yield* refusedOnEveryWay(world, ["InvalidArgument", "Missing"], args)
          assert.deepStrictEqual(errors.map((error) => error.argument), errors.map(() => name))
        }
      }
    }))

  onRunner(
    form,
    "rows 41 and 42: a name that is not in the signature is refused, however odd or long",
    (world) =>
      Effect.gen(function*() {
        const good = yield* goodArguments(world.runner)
        for (const name of ["extra", "X", "", "__proto__", "constructor", "work", "0", "n".repeat(10_000_000)]) {
          const args = Object.defineProperty({ ...good }, name, { value: new Float32Array(29), enumerable: true })
          const errors = yield* refusedOnEveryWay(world, ["InvalidArgument", "Unknown"], args)
          assert.deepStrictEqual(errors.map((error) => error.argument), errors.map(() => name.slice(0, 256)))
        }
      })
  )

  onRunner(form, "row 41: whatever is no object with the names is refused", (world) =>
    Effect.gen(function*() {
      const good = yield* goodArguments(world.runner)
      const entries = Object.entries(good)
      for (
        const args of [
          null,
          undefined,
          0,
          "x",
          true,
          Symbol("x"),
          () => good,
          [],
          Object.values(good),
          new Map(entries)
        ]
      ) {
        yield* refusedOnEveryWay(world, ["InvalidArgument", "Missing"], args)
      }
    }))

  onRunner(
    form,
    "rows 39 and 40: an output that shares memory with another argument is refused",
    (world) =>
      Effect.gen(function*() {
        const good = yield* goodArguments(world.runner)
        const host = yield* world.runner.allocateHost("float32", [29])
        const buffer = new ArrayBuffer(400)
        const at = (offset: number) => new Float32Array(buffer, offset, 29)
        const same = at(0)
        const shared: ReadonlyArray<readonly [string, object]> = [
          ["the same view", { x: same, y: same }],
          ["the same buffer", { x: at(0), y: at(0) }],
          ["the last byte and the first", { x: at(0), y: at(112) }],
          ["the first byte and the last", { x: at(112), y: at(0) }],
          ["bytes inside", { y: at(0), raw: new Uint8Array(buffer, 50, 3) }],
          ["the last byte alone", { y: at(0), raw: new Uint8Array(buffer, 115, 3) }],
          ["the first byte alone", { y: at(8), raw: new Uint8Array(buffer, 6, 3) }],
          ["an inout and an output", { y: at(0), z: new Int32Array(buffer, 100, 5) }],
          ["an inout and an input", { x: at(0), z: new Int32Array(buffer, 0, 5) }],
          ["a host tensor twice", { x: host, y: host }]
        ]
        for (const [what, change] of shared) {
          for (const [way, attempt] of ways(world)) {
            yield* world.runner.load(inline)
            yield* world.runner.load(awaited)
            const error = yield* refusedWith(
              world,
              ["InvalidArgument", "Aliased"],
              attempt({ ...good, ...change }),
              `${what} (${way})`
            )
            assert.include(["y", "z"], error.argument)
          }
        }
        // One byte apart is apart, and inputs may share.
        const apart = { ...good, x: at(0), y: at(116), raw: new Uint8Array(buffer, 10, 3) }
        yield* world.untyped.run(inline, apart)
        yield* world.untyped.run(awaited, apart)
      })
  )

  onRunner(
    form,
    "row 39: a resident that is written is refused beside itself, and taken twice where it is only read",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const resident = yield* runner.allocate("float32", [4])
        for (const execution of ["inline", "awaited"] as const) {
          const written = native("test_nothing", {
            one: Arg.resident("float32"),
            two: Arg.resident("float32", { access: "readWrite" })
          }, { execution })
          const read = native("test_nothing", { one: Arg.resident("float32"), two: Arg.resident("float32") }, {
            execution
          })
          yield* runner.load(written)
          const args = { one: resident, two: resident }
          yield* refusedWith(world, ["InvalidArgument", "Aliased"], runner.run(written, args))
          yield* runner.run(read, args)
        }
      })
  )

  onRunner(
    form,
    "row 30: a view that is detached between bind and the copy fails the run, and nothing is written",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        for (const resize of [false, true]) {
          const args = vectors(8)
          const scope = yield* Scope.make()
          const run = yield* Scope.extend(runner.bind(add, args), scope)
          yield* run.launch
          const moved = structuredClone(args.c.buffer, { transfer: [args.c.buffer] })
          const calls = yield* world.probe.during(
            failsWith("InvalidArgument", run.validate).pipe(
              Effect.map((error) => assert.deepStrictEqual([error.reason, error.argument], ["Detached", "c"]))
            )
          )
          // The call is made where the device's bytes have to be fetched first; it is refused before it touches the view.
          assert.isEmpty(calls.filter((call) => call.operation === "collect" && form.immediate), `${resize}`)
          assert.deepStrictEqual(new Float32Array(moved), new Float32Array(8).fill(-7))
          yield* Scope.close(scope, Exit.void)
        }
        // What was copied in when the run was bound may go.
        const args = vectors(8)
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(add, args)
          detached(args.a)
          yield* run.launch
          yield* run.validate
        }))
        assert.strictEqual(args.c[3], 3 + 4)
      })
  )

  onRunner(
    form,
    "views over WebAssembly memory are taken, and refused once the memory has grown",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
        const memory = new Memory({ initial: 1, maximum: 4 })
        const views = () => ({ x: new Uint8Array(memory.buffer, 0, 5), y: new Uint8Array(memory.buffer, 64, 5) })
        const before = views()
        before.x.set([1, 2, 3, 4, 5])
        yield* runner.run(copy, before)
        assert.deepStrictEqual([...before.y], [1, 2, 3, 4, 5])
        memory.grow(1)
        const error = yield* refusedWith(world, ["InvalidArgument", "Detached"], runner.run(copy, before))
        assert.strictEqual(error.argument, "x")
        const after = views()
        after.x.set([9, 8, 7, 6, 5])
        yield* runner.run(copy, after)
        assert.deepStrictEqual([...after.y], [9, 8, 7, 6, 5])
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(copy, after)
          yield* run.launch
          memory.grow(1)
          assert.strictEqual((yield* failsWith("InvalidArgument", run.validate)).reason, "Detached")
        }))
      })
  )

  onRunner(
    form,
    "given dimensions that are no sizes, or contradict the arguments, are refused",
    (world) =>
      Effect.gen(function*() {
        const good = yield* goodArguments(world.runner)
        const odd = [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "29", 29n, null, true, [29]]
        for (const n of odd) {
          yield* refusedOnEveryWay(world, ["InvalidArgument", "Dimension"], good, { dims: { n } })
        }
        for (const n of [0, 28, 30]) {
          yield* refusedOnEveryWay(world, ["ShapeMismatch"], good, { dims: { n } })
        }
        yield* world.untyped.run(inline, good, { dims: { n: 29, m: undefined } })
      })
  )

  onRunner(
    form,
    "code of the user's that runs while arguments are read cannot take back what was checked",
    (world) =>
      Effect.gen(function*() {
        const { runner, untyped } = world
        const flexible = { ...addSignature, work: Arg.scratch("float32", ["w"]) }
        for (const execution of ["inline", "awaited"] as const) {
          const callable = native("test_nothing", flexible, { execution })
          const args = vectors(8)
          yield* runner.run(callable, args, { dims: { w: 4 } })
          const dims = {
            get w() {
              detached(args.a)
              return 4
            }
          }
          const start = world.probe.calls.length
          const exit = yield* Effect.exit(untyped.run(callable, args, { dims }))
          // The dimensions may be read before the arguments or after them: what counts is that no call sees the lost view.
          assert.strictEqual(args.a.byteLength, 0)
          assert.isTrue(Exit.isFailure(exit), `${execution}: a view that is gone was copied`)
          assert.isEmpty(world.probe.calls.slice(start).filter((call) => call.operation === "submit" && form.immediate))
        }
      })
  )

  onRunner(
    form,
    "row 46: a run inside a run, and inside the reading of arguments, is refused",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const refusals: Array<string> = []
        const nested = Callable.make({
          signature: addSignature,
          launch: () =>
            Effect.map(Effect.flip(runner.run(add, vectors(4))), (error) => void refusals.push(error._tag)).pipe(
              Effect.orDie
            )
        })
        yield* runner.run(nested, vectors(4))
        yield* runner.load(add)
        const args = {
          ...vectors(4),
          get a() {
            const exit = runSyncExit(runner.run(add, vectors(4)))
            refusals.push(Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error._tag : "none")
            return new Float32Array(4)
          }
        }
        yield* runner.run(add, args)
        assert.deepStrictEqual(refusals, ["RunAlreadyActive", "RunAlreadyActive"])
      })
  )

  onRunner(
    form,
    "a getter that closes the runner, or configures it, is found out before anything is done",
    (world) =>
      Effect.gen(function*() {
        for (const callable of [add, addInline]) {
          const scope = yield* Scope.make()
          const runner = yield* Scope.extend(
            DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 }, stagingMaxBytes: 4096 }),
            scope
          )
          yield* runner.load(callable)
          const started: Array<Fiber.Fiber<unknown, { readonly _tag: string }>> = []
          const args = (first: Attempt<void>) => ({
            ...vectors(4),
            get b() {
              started.push(runFork(Effect.scoped(first)))
              return new Float32Array(4)
            }
          })
          yield* runner.run(callable, args(runner.configure({ maxBytes: 8192 })))
          yield* Effect.asVoid(failsWith("ConfigureWhileActive", Fiber.join(started[0]!)))
          assert.strictEqual((yield* runner.stats).temporaryBuffer.maxBytes, 4096)
          const calls = yield* world.probe.during(
            failsWith("RunnerClosed", runner.run(callable, args(Scope.close(scope, Exit.void))))
          )
          yield* Fiber.await(started[1]!)
          assert.isEmpty(calls.filter(({ purpose }) => purpose === "stage" || purpose === "launch"))
          const { runs, state } = yield* runner.stats
          assert.deepStrictEqual([runs.begun, runs.ended, state], [1, 1, "closed"])
        }
      })
  )

  onRunner(form, "a getter that throws leaves the runner as it was", (world) =>
    Effect.gen(function*() {
      const { runner, untyped } = world
      const good = yield* goodArguments(runner)
      yield* Effect.all([runner.load(inline), runner.load(awaited)])
      const args = Object.defineProperty({ ...good }, "y", {
        enumerable: true,
        get: () => {
          throw new Error("not today")
        }
      })
      const start = world.probe.calls.length
      for (const callable of [inline, awaited]) {
        const exit = yield* Effect.exit(untyped.run(callable, args))
        assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
        yield* runner.configure({ maxBytes: 65_536, alignmentBytes: 256 })
      }
      assert.strictEqual(world.probe.calls.length, start)
    }))
})

/** An object whose one property is called `__proto__`. */
const own = <A>(value: A): Record<string, A> => Object.defineProperty({}, "__proto__", { value, enumerable: true })

onEveryForm("odd arguments that are fine", (form) => {
  onRunner(
    form,
    "frozen, inherited, without a prototype, behind getters or a proxy",
    (world) =>
      Effect.gen(function*() {
        const { untyped } = world
        class Arguments {
          readonly #vectors = vectors(8)
          get a() {
            return this.#vectors.a
          }
          get b() {
            return this.#vectors.b
          }
          get c() {
            return this.#vectors.c
          }
        }
        const shapes: ReadonlyArray<(args: ReturnType<typeof vectors>) => { readonly c: Float32Array }> = [
          (args) => Object.freeze(args),
          (args) => Object.create(args) as ReturnType<typeof vectors>,
          (args) => Object.assign(Object.create(null) as typeof args, args),
          (args) => new Proxy(args, {}),
          (args) => ({ ...args, [Symbol("unseen")]: 1 }),
          () => new Arguments()
        ]
        for (const shape of shapes) {
          for (const callable of [add, native("test_add", addSignature, { execution: "inline" })]) {
            yield* world.runner.load(callable)
            const args = shape(vectors(8))
            yield* untyped.run(callable, args)
            assert.deepStrictEqual([...args.c], [1, 3, 5, 7, 9, 11, 13, 15])
          }
        }
      })
  )

  onRunner(
    form,
    "pooled buffers, subclasses with getters of their own, views of other realms, subarrays",
    (world) =>
      Effect.gen(function*() {
        const { runner, untyped } = world
        class Boastful extends Uint8Array {
          override get byteLength() {
            return 1e9
          }
          override get byteOffset() {
            return 77
          }
          override get length() {
            return 1e9
          }
          override get buffer() {
            return new ArrayBuffer(1)
          }
          override get [Symbol.toStringTag]() {
            return "Uint8Array" as const
          }
        }
        const bytes = [104, 101, 108, 108, 111]
        const boastful = (): Uint8Array => {
          const view = new Boastful(bytes)
          Object.defineProperty(view, "byteLength", { value: 2 })
          return view
        }
        const sources: ReadonlyArray<() => unknown> = [
          () => Buffer.from("hello"),
          () => Buffer.from("say hello").subarray(4),
          boastful,
          () => otherRealm("Uint8Array.of(104, 101, 108, 108, 111)"),
          () => new Uint8Array([0, 0, 0, ...bytes, 0]).subarray(3, 8)
        ]
        for (const execution of ["inline", "awaited"] as const) {
          const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) }, {
            execution
          })
          yield* runner.load(copy)
          for (const [index, source] of sources.entries()) {
            const target = Buffer.from(".....")
            yield* untyped.run(copy, { x: source(), y: target })
            assert.strictEqual(target.toString(), "hello", `source ${index}, ${execution}`)
          }
          // Outputs of the same kinds.
          const pooled = Buffer.allocUnsafe(5)
          const around = Buffer.from("0123456789")
          for (const target of [pooled, around.subarray(2, 7)]) {
            yield* untyped.run(copy, { x: Buffer.from("hello"), y: target })
            assert.strictEqual(target.toString(), "hello")
          }
          assert.strictEqual(around.toString(), "01hello789")
        }
      })
  )

  onRunner(
    form,
    "row 31: shared views where they are allowed, but growable ones never",
    (world) =>
      Effect.gen(function*() {
        const args = {
          a: new Float32Array(new SharedArrayBuffer(16)).fill(1),
          b: new Float32Array(4).fill(2),
          c: new Float32Array(new SharedArrayBuffer(16))
        }
        yield* world.runner.run(add, args)
        assert.deepStrictEqual([...args.c], [3, 3, 3, 3])
        const growing = { ...args, a: new Float32Array(new Growable(16, { maxByteLength: 32 })) }
        yield* refusedWith(world, ["InvalidArgument", "Resizable"], world.runner.run(add, growing))
      }),
    { allowSharedViews: true }
  )

  onRunner(form, "a callable that went through JSON, or was spread", (world) =>
    Effect.gen(function*() {
      for (const callable of [JSON.parse(JSON.stringify(add)) as typeof add, { ...add }]) {
        const args = vectors(8)
        yield* world.runner.run(callable, args)
        assert.deepStrictEqual([...args.c], [1, 3, 5, 7, 9, 11, 13, 15])
      }
    }))

  onRunner(
    form,
    "row 42: an argument that is called __proto__ is refused, or is an argument like any other",
    (world) =>
      Effect.gen(function*() {
        const { untyped } = world
        const copy = native("test_copy", { ...own(Arg.input("uint8", ["n"])), y: Arg.output("uint8", ["n"]) })
        const reordered = Object.defineProperties({}, {
          ["__proto__"]: { value: Arg.input("uint8", ["n"]), enumerable: true },
          y: { value: Arg.output("uint8", ["n"]), enumerable: true }
        })
        const callable = { ...copy, signature: reordered }
        const y = new Uint8Array(3)
        const args = Object.defineProperties({}, {
          ["__proto__"]: { value: Uint8Array.of(1, 2, 3), enumerable: true },
          y: { value: y, enumerable: true }
        })
        const exit = yield* Effect.exit(untyped.run(callable, args))
        if (Exit.isSuccess(exit)) {
          assert.deepStrictEqual([...y], [1, 2, 3])
        }
        let seen: unknown = "nothing"
        const inTypeScript = Callable.make({
          signature: own(Arg.scalar("int32")),
          launch: (context) =>
            Effect.sync(() => {
              seen = Object.hasOwn(context.scalars, "__proto__")
            })
        })
        const launched = yield* Effect.exit(untyped.run(inTypeScript, own(7)))
        const refused = Exit.isFailure(launched) && launched.cause._tag === "Fail" &&
          launched.cause.error._tag === "InvalidArgument"
        assert.isTrue(refused || seen === true, "the scalar was lost on the way to the launch")
      })
  )
})
