/**
 * Bad inputs: each is refused with a typed error before any native call, and the runner works afterwards.
 *
 * The numbers in the names are the rows of a table of 68 bad inputs that was drawn up before the code. These of its rows do
 * not apply today:
 *
 * - 44 (external pointers that are null or misaligned): there are no external pointers, and typed arrays are aligned.
 * - 48 (closing while runs are queued): `admission` is `"fail"`, so no run waits; what waits behind a kernel is here.
 * - 49 (grid and block sizes): the simulator has no launch geometry.
 * - 52 (symbolic links): there is no folder that libraries have to lie in; see Simulator.test.ts for writable files.
 * - 55 (hashes of libraries), 62 and 63 (validators of outputs), 66 (queues), 67 (tenants): there are none.
 * - 56 (device indexes): the simulator has one device; see Simulator.test.ts for a library that has none.
 * - 50, 51, 53, 54, 57: also in Simulator.test.ts, for the backend's own library.
 * - 61 (a device that copies fewer bytes than it says): the native ABI has no partial transfer.
 * - 65 (releases that fail or hang): promises 1, 13 and 15.
 *
 * A size given as text (row 7) is a size here, where its unit is one; a budget of zero (row 14) is a mode. What a kernel is
 * called and where its library lies (rows 49 to 53) is found out by the backend, so those cases do reach it.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Exit, Fiber, Layer, Runtime, Scope } from "effect"
import { Arg, Callable, DeviceRunner, type Errors, HostApi, type RunnerOptions, Simulator } from "leasehold"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"
import { runInNewContext } from "node:vm"
import { type Form, onEveryForm, runnerOf } from "./utils/forms.ts"
import { nextTurn } from "./utils/garbage.ts"
import { add, addInline, addSignature, closeGate, gateWaiting, kernel, native, openGate } from "./utils/kernels.ts"
import { spoiled, temporaryFolder } from "./utils/libraries.ts"
import * as Probe from "./utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "./utils/programs.ts"

/** Whatever fails with a tag. */
type Attempt<A = unknown> = Effect.Effect<A, { readonly _tag: string }, Scope.Scope>

/** A runner as a program without types sees it. */
interface Untyped {
  readonly run: (callable: unknown, args: unknown, options?: unknown) => Attempt
  readonly bind: (callable: unknown, args: unknown, options?: unknown) => Attempt
  readonly plan: (callable: unknown, args: unknown, options?: unknown) => Attempt
  readonly load: (callable: unknown) => Attempt
  readonly allocate: (dtype: unknown, shape: unknown) => Attempt
  readonly allocateHost: (dtype: unknown, shape: unknown) => Attempt
  readonly configure: (options: unknown) => Attempt
}

interface World {
  readonly runner: DeviceRunner.Service
  readonly untyped: Untyped
  readonly probe: Probe.ProbeService
}

const untyped = (runner: DeviceRunner.Service): Untyped => runner as object as Untyped

const world: Effect.Effect<World, never, DeviceRunner.DeviceRunner | Probe.Probe> = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  return { runner, untyped: untyped(runner), probe: yield* Probe.Probe }
})

/** Fails with the class and the reason, without a native call; answers the error. */
const refusedWith = <R>(
  world: World,
  expected: readonly [tag: string, reason?: string],
  attempt: Effect.Effect<unknown, { readonly _tag: string }, R>,
  what = ""
): Effect.Effect<{ readonly message: string; readonly argument?: string }, never, R> =>
  Effect.gen(function*() {
    const start = world.probe.calls.length
    const exit = yield* Effect.exit(attempt)
    if (Exit.isSuccess(exit) || exit.cause._tag !== "Fail") {
      const outcome = Exit.isSuccess(exit) ? "it succeeded" : exit.cause.toString()
      throw new Error(`${what}: expected ${expected.join(" ")}, but ${outcome}`)
    }
    const error = exit.cause.error as Errors.InvalidArgument
    const actual = expected.length === 2 ? [error._tag, error.reason] : [error._tag]
    assert.deepStrictEqual(actual, [...expected] as Array<string>, `${what}: ${error.message}`)
    assert.deepStrictEqual(world.probe.calls.slice(start).map((call) => call.operation), [], what)
    assert.isAtMost(error.message.length, 2000, what)
    assert.notMatch(error.message, /0x[0-9a-f]{6,}|\[object|\bundefined\b/i, what)
    const { runs, state } = yield* world.runner.stats
    assert.deepStrictEqual([runs.begun, runs.active, state], [runs.ended, 0, "ready"], what)
    return error
  })

/** A test on a runner that works when it is over. */
const onRunner = (
  form: Form,
  title: string,
  test: (world: World) => Effect.Effect<
    void,
    { readonly _tag: string },
    Scope.Scope | HostApi.HostApi | Simulator.Simulator
  >,
  options: RunnerOptions.RunnerOptions = {}
): void => {
  it.scoped(title, () =>
    Effect.gen(function*() {
      yield* test(yield* world)
      yield* assertUsable
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, options))))
}

/** Cases that all meet the same runner, one after the other. */
type Check = (
  title: string,
  test: (world: World) => Effect.Effect<void, { readonly _tag: string }, Scope.Scope>
) => void

const onOneRunner = (form: Form, name: string, cases: (check: Check) => void): void => {
  layer(runnerOf(form))(name, (it) => {
    cases((title, test) => {
      it.scoped(title, () => Effect.flatMap(world, (made) => Effect.zipRight(test(made), assertUsable)))
    })
  })
}

/** A signature with an argument of every direction. */
const signature = {
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"]),
  z: Arg.inout("int32", ["m"]),
  raw: Arg.input("uint8", ["k"]),
  count: Arg.scalar("int32"),
  long: Arg.scalar("int64"),
  natural: Arg.scalar("uint64"),
  kept: Arg.resident("float32"),
  work: Arg.scratch("float32", ["n"])
}

const inline = native("test_nothing", signature, { execution: "inline" })
const awaited = native("test_nothing", signature)

type Good = Record<string, unknown>

/** Arguments that fit; `x` and `y` have 29 elements, 116 bytes. */
const goodArguments = (runner: DeviceRunner.Service): Effect.Effect<Good, Errors.RunnerError, Scope.Scope> =>
  Effect.map(runner.allocate("float32", [4]), (kept) => ({
    x: new Float32Array(29),
    y: new Float32Array(29),
    z: new Int32Array(5),
    raw: new Uint8Array(3),
    count: 3,
    long: 7n,
    natural: 7n,
    kept
  }))

/** Every way in which arguments reach a runner. */
const ways = (world: World): ReadonlyArray<readonly [string, (args: unknown, options?: unknown) => Attempt]> => [
  ["run, inline", (args, options) => world.untyped.run(inline, args, options)],
  ["run, awaited", (args, options) => world.untyped.run(awaited, args, options)],
  ["bind", (args, options) => world.untyped.bind(awaited, args, options)],
  ["plan", (args, options) => world.untyped.plan(awaited, args, options)]
]

const refusedOnEveryWay = (
  world: World,
  expected: readonly [tag: string, reason?: string],
  args: unknown,
  options?: unknown
): Effect.Effect<ReadonlyArray<{ readonly argument?: string }>, Errors.RunnerError, Scope.Scope> =>
  Effect.gen(function*() {
    yield* Effect.all([world.runner.load(inline), world.runner.load(awaited)])
    return yield* Effect.forEach(
      ways(world),
      ([way, attempt]) => refusedWith(world, expected, attempt(args, options), way)
    )
  })

/** For getters, which are called in the middle of a synchronous stretch. */
const runFork = Runtime.runFork(Runtime.defaultRuntime)
const runSyncExit = Runtime.runSyncExit(Runtime.defaultRuntime)

const detached = <V extends ArrayBufferView>(view: V): V => {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] })
  return view
}

type ResizableConstructor = new(
  byteLength: number,
  options: { readonly maxByteLength: number }
) => ArrayBuffer & { readonly resize: (byteLength: number) => void }

/** ECMAScript 2024, which Node 20 has; the library of types is older. */
const Resizable = ArrayBuffer as object as ResizableConstructor
const Growable = SharedArrayBuffer as object as new(
  byteLength: number,
  options: { readonly maxByteLength: number }
) => SharedArrayBuffer

/** The types of Node know WebAssembly as a namespace of types only. */
const { Memory } = (globalThis as object as {
  readonly WebAssembly: {
    readonly Memory: new(
      options: { readonly initial: number; readonly maximum: number; readonly shared?: boolean }
    ) => { readonly buffer: ArrayBuffer; readonly grow: (pages: number) => number }
  }
}).WebAssembly

const resizable = (byteLength: number): ArrayBuffer => new Resizable(byteLength, { maxByteLength: 1024 })

const shrunk = (): Float32Array => {
  const buffer = new Resizable(116, { maxByteLength: 256 })
  const view = new Float32Array(buffer, 0, 29)
  buffer.resize(8)
  return view
}

const otherRealm = (source: string): unknown => runInNewContext(source, { SharedArrayBuffer: undefined })

const without = (object: object, prototype: object | null): object => Object.setPrototypeOf(object, prototype) as object

/** What a value for an argument is made of: it may need a runner. */
type Make = (world: World) => Effect.Effect<unknown, Errors.RunnerError, Scope.Scope>

const plain = (make: () => unknown): Make => () => Effect.sync(make)

const inClosedScope = <A>(
  allocate: Effect.Effect<A, Errors.RunnerError, Scope.Scope>
): Effect.Effect<A, Errors.RunnerError> => Effect.scoped(allocate)

/** Another runner, on another device. */
const stranger: Effect.Effect<DeviceRunner.Service, never, Scope.Scope> = Effect.map(
  Layer.build(
    DeviceRunner.layer({ temporaryBuffer: { maxBytes: 4096 } }).pipe(
      Layer.provide(Layer.fresh(Simulator.layer({ totalBytes: "1 MiB" })))
    )
  ),
  (context) => Context.get(context, DeviceRunner.DeviceRunner)
).pipe(Effect.orDie)

type ArgumentCase = readonly [rows: string, what: string, argument: string, reason: string, make: Make]

const notATensor: ReadonlyArray<readonly [rows: string, what: string, make: () => unknown]> = [
  ["7", "null", () => null],
  ["37", "a number", () => 4096],
  ["37", "a bigint", () => 4096n],
  ["32", "text", () => "1,2,3"],
  ["32", "true", () => true],
  ["32", "an array", () => [1, 2, 3]],
  ["32", "a function", () => () => new Float32Array(29)],
  ["32", "an effect", () => Effect.succeed(new Float32Array(29))],
  ["32", "an object that looks like a view", () => ({ buffer: new ArrayBuffer(116), byteLength: 116, length: 29 })],
  ["32", "an object with the prototype of a view", () => Object.create(Float32Array.prototype)],
  ["32", "a proxy of a view", () => new Proxy(new Float32Array(29), {})],
  ["32", "a DataView", () => new DataView(new ArrayBuffer(116))],
  ["32", "a bare ArrayBuffer", () => new ArrayBuffer(116)],
  ["32", "a bare SharedArrayBuffer", () => new SharedArrayBuffer(116)]
]

const argumentCases: ReadonlyArray<ArgumentCase> = [
  ...notATensor.flatMap(([rows, what, make]): ReadonlyArray<ArgumentCase> => [
    [rows, `${what} as an input`, "x", "NotATensor", plain(make)],
    [rows, `${what} as an output`, "y", "NotATensor", plain(make)],
    [rows, `${what} as a resident`, "kept", "NotATensor", plain(make)]
  ]),
  // Element types
  ["24", "a Float64Array for float32", "x", "DType", plain(() => new Float64Array(29))],
  ["24", "an Int32Array for float32", "y", "DType", plain(() => new Int32Array(29))],
  ["24", "bytes for float32", "x", "DType", plain(() => new Uint8Array(116))],
  ["24", "a Uint32Array for int32", "z", "DType", plain(() => new Uint32Array(5))],
  ["24", "a Uint8ClampedArray for uint8", "raw", "DType", plain(() => new Uint8ClampedArray(3))],
  ["24", "an Int8Array for uint8", "raw", "DType", plain(() => new Int8Array(3))],
  ["24", "a resident of int32", "kept", "DType", ({ runner }) => runner.allocate("int32", [4])],
  ["24", "a host tensor of float64", "x", "DType", ({ runner }) => runner.allocateHost("float64", [29])],
  // Buffers that are not there, or may move
  ["27", "a detached view", "x", "Detached", plain(() => detached(new Float32Array(29)))],
  ["27", "a detached output", "y", "Detached", plain(() => detached(new Float32Array(29)))],
  ["27", "a detached view that was empty before", "raw", "Detached", plain(() => detached(new Uint8Array(0)))],
  ["28", "a view of a resizable buffer", "x", "Resizable", plain(() => new Float32Array(resizable(116)))],
  [
    "28",
    "a view of a growable shared buffer",
    "x",
    "Resizable",
    plain(() => new Float32Array(new Growable(116, { maxByteLength: 256 })))
  ],
  ["29", "a view that is out of bounds since a shrink", "x", "Resizable", plain(shrunk)],
  [
    "28",
    "a resizable buffer that says it is none",
    "x",
    "Resizable",
    plain(() => new Float32Array(Object.defineProperty(resizable(116), "resizable", { value: false })))
  ],
  [
    "28",
    "a resizable buffer without a prototype",
    "x",
    "Resizable",
    plain(() => {
      const view = new Float32Array(resizable(116))
      without(view.buffer, null)
      return view
    })
  ],
  ["31", "a view of shared memory", "x", "Shared", plain(() => new Float32Array(new SharedArrayBuffer(116)))],
  ["31", "an output in shared memory", "y", "Shared", plain(() => new Float32Array(new SharedArrayBuffer(116)))],
  [
    "31",
    "the view of a host tensor",
    "x",
    "Shared",
    ({ runner }) => Effect.map(runner.allocateHost("float32", [29]), ({ view }) => view)
  ],
  [
    "31",
    "a view of shared WebAssembly memory",
    "raw",
    "Shared",
    plain(() => new Uint8Array(new Memory({ initial: 1, maximum: 1, shared: true }).buffer, 0, 3))
  ],
  [
    "31",
    "shared memory that says it is none",
    "x",
    "Shared",
    plain(() => {
      const view = new Float32Array(new SharedArrayBuffer(116))
      without(view.buffer, ArrayBuffer.prototype)
      return view
    })
  ],
  [
    "31",
    "shared memory of another realm",
    "x",
    "Shared",
    plain(() => runInNewContext("new Float32Array(new SharedArrayBuffer(116))"))
  ],
  // Handles
  [
    "33",
    "a host tensor of another runner",
    "x",
    "ForeignHandle",
    () => Effect.flatMap(stranger, (other) => other.allocateHost("float32", [29]))
  ],
  [
    "33",
    "a resident of another runner",
    "kept",
    "ForeignHandle",
    () => Effect.flatMap(stranger, (other) => other.allocate("float32", [4]))
  ],
  [
    "34",
    "a host tensor whose scope has ended",
    "x",
    "HandleClosed",
    ({ runner }) => inClosedScope(runner.allocateHost("float32", [29]))
  ],
  [
    "34",
    "a resident whose scope has ended",
    "kept",
    "HandleClosed",
    ({ runner }) => inClosedScope(runner.allocate("float32", [4]))
  ],
  [
    "35",
    "a resident whose scope has ended and whose memory is another's",
    "kept",
    "HandleClosed",
    ({ probe, runner }) =>
      Effect.gen(function*() {
        const addresses = new Set(probe.live.keys())
        const before = yield* inClosedScope(Effect.map(runner.allocate("float32", [4]), (closed) => ({
          closed,
          address: [...probe.live.keys()].find((address) => !addresses.has(address))
        })))
        yield* runner.allocate("float32", [4])
        assert.isTrue(probe.live.has(before.address!), "the memory is taken again")
        return before.closed
      })
  ],
  ["38", "a resident for a host view", "x", "NotATensor", ({ runner }) => runner.allocate("float32", [29])],
  ["38", "a host tensor for a resident", "kept", "NotATensor", ({ runner }) => runner.allocateHost("float32", [4])],
  ...(["spread", "JSON", "an heir", "a proxy"] as const).flatMap((copy): ReadonlyArray<ArgumentCase> => {
    const copied = (handle: object): unknown =>
      copy === "spread"
        ? { ...handle }
        : copy === "JSON"
        ? JSON.parse(JSON.stringify(handle))
        : copy === "an heir"
        ? Object.create(handle)
        : new Proxy(handle, {})
    return [
      [
        "38",
        `a copy of a resident (${copy})`,
        "kept",
        "NotATensor",
        ({ runner }) => Effect.map(runner.allocate("float32", [4]), copied)
      ],
      [
        "38",
        `a copy of a host tensor (${copy})`,
        "x",
        "NotATensor",
        ({ runner }) => Effect.map(runner.allocateHost("float32", [29]), copied)
      ]
    ]
  }),
  [
    "38",
    "a structured clone of a host tensor",
    "x",
    "NotATensor",
    ({ runner }) =>
      Effect.map(
        runner.allocateHost("float32", [29]),
        ({ byteLength, dtype, shape, view }) => structuredClone({ byteLength, dtype, shape, view })
      )
  ],
  // Scalars
  ...([
    ["1.5", 1.5],
    ["no number", Number.NaN],
    ["endless", Number.POSITIVE_INFINITY],
    ["2^31", 2 ** 31],
    ["-2^31 - 1", -(2 ** 31) - 1],
    ["2^53", 2 ** 53],
    ["text", "7"],
    ["a bigint", 7n],
    ["true", true],
    ["null", null],
    ["an array", [7]],
    ["an object that stands for a number", { valueOf: () => 7 }]
  ] as const).map((
    [what, value]
  ): ArgumentCase => ["3 to 9", `${what} for int32`, "count", "Scalar", plain(() => value)]),
  ...([
    ["a number", 7],
    ["2^63", 2n ** 63n],
    ["-2^63 - 1", -(2n ** 63n) - 1n],
    ["text", "7"],
    ["null", null]
  ] as const).map(([what, value]): ArgumentCase => ["8", `${what} for int64`, "long", "Scalar", plain(() => value)]),
  ...([
    ["a number", 7],
    ["-1", -1n],
    ["2^64", 2n ** 64n]
  ] as const).map(([what, value]): ArgumentCase => ["8", `${what} for uint64`, "natural", "Scalar", plain(() => value)])
]

onEveryForm("bad arguments", (form) => {
  onOneRunner(form, "one by one", (check) => {
    for (const [rows, what, argument, reason, make] of argumentCases) {
      check(`row ${rows}: ${what} is refused as ${reason}`, (world) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(world.runner)
          const value = yield* make(world)
          const errors = yield* refusedOnEveryWay(world, ["InvalidArgument", reason], { ...good, [argument]: value })
          assert.deepStrictEqual(errors.map((error) => error.argument), errors.map(() => argument))
        }))
    }
  })

  for (const [row, length] of [[25, 25], [26, 30]] as const) {
    onRunner(
      form,
      `row ${row}: ${length * 4} bytes for a tensor of 116 are refused`,
      (world) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(world.runner)
          for (const name of ["x", "y"]) {
            yield* refusedOnEveryWay(world, ["ShapeMismatch"], { ...good, [name]: new Float32Array(length) })
          }
        })
    )
  }

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
          yield* failsWith("ConfigureWhileActive", Fiber.join(started[0]!))
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

  onRunner(form, "row 2: minus zero is zero", (world) =>
    Effect.gen(function*() {
      const { runner, untyped } = world
      yield* untyped.configure({ maxBytes: -0 })
      assert.isTrue(Object.is((yield* runner.stats).temporaryBuffer.maxBytes, 0))
      yield* runner.configure({ maxBytes: 65_536 })
      for (
        const empty of [yield* runner.allocate("float32", [-0, 4]), yield* runner.allocateHost("float32", [-0, 4])]
      ) {
        assert.strictEqual(empty.byteLength, 0)
        assert.isTrue(Object.is(empty.shape[0], 0), "the shape shows the zero that was meant")
      }
    }))

  onRunner(form, "row 22: a shape is read once, and nobody changes it afterwards", (world) =>
    Effect.gen(function*() {
      const { runner } = world
      let reads = 0
      const shape = new Proxy([4, 4], {
        get: (target, key, receiver) => {
          reads += key === "0" ? 1 : 0
          return key === "0" && reads > 1 ? 1e9 : Reflect.get(target, key, receiver) as unknown
        }
      })
      const twice = yield* runner.allocate("float32", shape)
      assert.deepStrictEqual([reads, twice.byteLength, [...twice.shape]], [1, 64, [4, 4]])
      const mutable = [4]
      const resident = yield* runner.allocate("float32", mutable)
      mutable[0] = 1e9
      assert.deepStrictEqual([resident.shape[0], resident.byteLength], [4, 16])
      assert.throws(() => {
        ;(resident.shape as Array<number>)[0] = 5
      })
      yield* refusedWith(world, ["ShapeMismatch"], resident.upload(new Float32Array(8)))
    }))

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

const badShapes: ReadonlyArray<readonly [rows: string, what: string, shape: unknown, reason: string]> = [
  ["1", "minus one", [-1], "Shape"],
  ["17", "a negative dimension", [-1, 4], "Shape"],
  ["3", "one and a half", [1.5], "Shape"],
  ["18", "a dimension that is no whole number", [3.5, 2], "Shape"],
  ["4", "no number", [Number.NaN], "Shape"],
  ["5", "an endless dimension", [Number.POSITIVE_INFINITY], "Shape"],
  ["6", "2^53", [2 ** 53], "SizeOverflow"],
  ["20", "2^53 beside a zero", [2 ** 53, 0], "SizeOverflow"],
  ["7", "text", ["4"], "Shape"],
  ["7", "null", [null], "Shape"],
  ["7", "true", [true], "Shape"],
  ["8", "2n ** 64n", [2n ** 64n], "Shape"],
  ["9", "a bigint", [64n], "Shape"],
  // oxlint-disable-next-line no-sparse-arrays -- a hole is what is tested
  ["19", "a hole", [4, , 4], "Shape"],
  ["19", "an array in an array", [[4]], "Shape"],
  ["16", "[2^27, 2^27] of float32", [2 ** 27, 2 ** 27], "SizeOverflow"],
  ["16", "a product above the safe integers", [2 ** 50, 2 ** 50], "SizeOverflow"],
  ["21", "rank 9", [1, 1, 1, 1, 1, 1, 1, 1, 1], "Shape"],
  ["21", "rank 65", Array.from({ length: 65 }, () => 1), "Shape"],
  ["19", "no array but a number", 4, "Shape"],
  ["19", "no array but text", "4", "Shape"],
  ["19", "nothing", undefined, "Shape"],
  ["19", "null for a shape", null, "Shape"],
  ["19", "an object like an array", { 0: 4, length: 1 }, "Shape"],
  ["19", "a typed array", Int32Array.of(4), "Shape"]
]

onEveryForm("bad shapes and element types", (form) => {
  onOneRunner(form, "one by one", (check) => {
    for (const [rows, what, shape, reason] of badShapes) {
      check(`row ${rows}: ${what} is refused as ${reason}`, (world) =>
        Effect.gen(function*() {
          for (const allocate of [world.untyped.allocate, world.untyped.allocateHost]) {
            const error = yield* refusedWith(world, ["InvalidArgument", reason], allocate("float32", shape))
            assert.strictEqual(error.argument, "shape")
          }
        }))
    }
  })

  onRunner(form, "row 23: an element type that nobody knows is refused", (world) =>
    Effect.gen(function*() {
      for (const dtype of ["float33", "Float32", "", "toString", "__proto__", undefined, null, 3, {}, ["float32"]]) {
        for (const allocate of [world.untyped.allocate, world.untyped.allocateHost]) {
          const error = yield* refusedWith(world, ["InvalidArgument", "DType"], allocate(dtype, [4]))
          assert.strictEqual(error.argument, "dtype")
        }
      }
    }))

  onRunner(form, "row 10: sizes that wrap with what lies before them are refused", (world) =>
    Effect.gen(function*() {
      const { runner } = world
      const most = Arg.scratch("uint8", [2 ** 53 - 1])
      const alone = native("test_nothing", { most })
      const second = native("test_nothing", { first: Arg.scratch("uint8", [1]), most })
      yield* Effect.all([runner.load(alone), runner.load(second)])
      yield* refusedWith(world, ["BudgetExhausted", "NeverFits"], runner.run(alone, {}))
      yield* refusedWith(world, ["InvalidArgument", "SizeOverflow"], runner.run(second, {}))
      yield* refusedWith(world, ["BudgetExhausted", "Residents"], runner.allocate("uint8", [2 ** 53 - 1]))
    }))
})

onEveryForm("bad sizes on a device with tails", (form) => {
  it.scoped("row 10: scratch and residents that wrap with their tail are refused", () =>
    Effect.gen(function*() {
      const made = yield* world
      const scratch = native("test_nothing", { work: Arg.scratch("uint8", [2 ** 53 - 1]) })
      yield* made.runner.load(scratch)
      yield* refusedWith(made, ["InvalidArgument", "SizeOverflow"], made.runner.run(scratch, {}))
      yield* refusedWith(made, ["InvalidArgument", "SizeOverflow"], made.runner.allocate("uint8", [2 ** 53 - 1]))
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, {}, { tailBytes: 32 }))))
})

/** A callable whose scratch has these sizes. */
const work = (...sizes: ReadonlyArray<number>) =>
  native(
    "test_nothing",
    Object.fromEntries(sizes.map((bytes, index) => [`t${index}`, Arg.scratch("uint8", [bytes])]))
  )

const figures = (error: unknown) => {
  const { inUseBytes, maxBytes, requestedBytes, suggestedMaxBytes, tensor } = error as Errors.BudgetExhausted
  return { tensor, requestedBytes, inUseBytes, maxBytes, suggestedMaxBytes }
}

onEveryForm("bad budgets", (form) => {
  onRunner(
    form,
    "rows 11 and 12: what is above the budget is refused with the figures, alone or together",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const never = work(65_537)
        const together = work(40_000, 30_000)
        yield* Effect.all([runner.load(never), runner.load(together)])
        for (const attempt of [runner.run(never, {}), runner.plan(never, {})] as ReadonlyArray<Attempt>) {
          const error = yield* refusedWith(world, ["BudgetExhausted", "NeverFits"], attempt)
          assert.deepStrictEqual(figures(error), {
            tensor: "t0",
            requestedBytes: 65_537,
            inUseBytes: 0,
            maxBytes: 65_536,
            suggestedMaxBytes: 65_537
          })
        }
        const error = yield* refusedWith(world, ["BudgetExhausted", "Exhausted"], runner.run(together, {}))
        assert.deepStrictEqual(figures(error), {
          tensor: "t1",
          requestedBytes: 30_000,
          inUseBytes: 40_000,
          maxBytes: 65_536,
          suggestedMaxBytes: 40_192 + 30_000
        })
        yield* refusedWith(world, ["BudgetExhausted", "Residents"], runner.allocate("uint8", [2 ** 20 + 1]))
      })
  )

  onRunner(
    form,
    "more bytes in plain views than the event loop may stand still for are refused",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
        yield* runner.load(copy)
        const args = { x: new Uint8Array(2000), y: new Uint8Array(2000) }
        yield* refusedWith(world, ["InvalidArgument", "InlineCopyTooLarge"], runner.run(copy, args))
        const resident = yield* runner.allocate("uint8", [2000])
        yield* refusedWith(world, ["InvalidArgument", "InlineCopyTooLarge"], resident.upload(args.x))
        yield* refusedWith(world, ["InvalidArgument", "InlineCopyTooLarge"], resident.download(args.x))
      }),
    { maxInlineCopyBytes: 1999 }
  )

  onRunner(
    form,
    "more bytes than the staging area has are refused where they have to go through it",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
        yield* runner.load(copy)
        const attempt = runner.run(copy, { x: new Uint8Array(2000), y: new Uint8Array(2000) })
        if (form.late) {
          yield* refusedWith(world, ["StagingExhausted"], attempt)
        } else {
          yield* attempt
        }
      }),
    { stagingMaxBytes: 1999 }
  )
})

const badSizes: ReadonlyArray<readonly [rows: string, value: unknown]> = [
  ["1", -1],
  ["3", 1.5],
  ["4", Number.NaN],
  ["5", Number.POSITIVE_INFINITY],
  ["5", Number.NEGATIVE_INFINITY],
  ["6", 2 ** 53],
  ["14", 2 ** 60],
  ["7", true],
  ["8", 2n ** 64n],
  ["9", 64n],
  ["7", {}],
  ["7", [64]],
  ["", ""],
  ["", " "],
  ["", "64MB "],
  ["", " 64MB"],
  ["", "64  MB"],
  ["", "64 MIB"],
  ["", "64 mb"],
  ["", "64 KiBi"],
  ["", "64 bytes"],
  ["", "-1 B"],
  ["", "1.5 B"],
  ["", "1e6"],
  ["", "0x10"],
  ["", "64,5 MiB"],
  ["", "٦٤ MiB"],
  ["", "64 MiB\n"],
  ["", "9000000000 TiB"],
  ["", "Infinity"]
]

type OptionCase = readonly [rows: string, path: ReadonlyArray<string>, value: unknown, reason: string, option: string]

const chunkSizesThatOverflow = { sizes: ["9007199254740991 B", "9007199254740991 B"] }

const optionCases: ReadonlyArray<OptionCase> = [
  ...badSizes.flatMap(([rows, value]): ReadonlyArray<OptionCase> => [
    [rows, ["temporaryBuffer", "maxBytes"], value, "Size", "temporaryBuffer.maxBytes"],
    [rows, ["temporaryBuffer", "alignmentBytes"], value, "Alignment", "temporaryBuffer.alignmentBytes"],
    [rows, ["temporaryBuffer", "chunks"], { sizes: [value] }, "Chunks", "temporaryBuffer.chunks.sizes"],
    [rows, ["residentMaxBytes"], value, "Size", "residentMaxBytes"],
    [rows, ["stagingMaxBytes"], value, "Size", "stagingMaxBytes"],
    [rows, ["maxInlineCopyBytes"], value, "Size", "maxInlineCopyBytes"]
  ]),
  ...[0, 3, -8, 2 ** 31, 48, "1000 B", "1 kB"].map((value): OptionCase => [
    "13",
    ["temporaryBuffer", "alignmentBytes"],
    value,
    "Alignment",
    "temporaryBuffer.alignmentBytes"
  ]),
  ...([
    [{ sizes: ["65 MiB"] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: ["63 MiB", "2 MiB"] }, "temporaryBuffer.chunks.sizes"],
    [chunkSizesThatOverflow, "temporaryBuffer.chunks.sizes"],
    [{ sizes: [] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: [0] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: Array.from({ length: 65 }, () => 64) }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: "64 MiB" }, "temporaryBuffer.chunks.sizes"],
    [{}, "temporaryBuffer.chunks.sizes"],
    [[64], "temporaryBuffer.chunks.sizes"],
    [{ count: 0 }, "temporaryBuffer.chunks.count"],
    [{ count: -1 }, "temporaryBuffer.chunks.count"],
    [{ count: 1.5 }, "temporaryBuffer.chunks.count"],
    [{ count: 65 }, "temporaryBuffer.chunks.count"],
    [{ count: Number.NaN }, "temporaryBuffer.chunks.count"],
    [{ count: "2" }, "temporaryBuffer.chunks.count"],
    ["double", "temporaryBuffer.chunks"],
    [2, "temporaryBuffer.chunks"],
    [true, "temporaryBuffer.chunks"]
  ] as const).map(([value, option]): OptionCase => ["15", ["temporaryBuffer", "chunks"], value, "Chunks", option]),
  ...[0, 2, 1.5, "1", true].map((value): OptionCase => ["", ["slots"], value, "Choice", "slots"]),
  ...["wait", "queue", true, 0].map((value): OptionCase => ["", ["admission"], value, "Choice", "admission"]),
  ...["some", "ALL", true, 0].map((value): OptionCase => ["", ["clear"], value, "Choice", "clear"]),
  ...[0, -1, Number.NaN, Number.NEGATIVE_INFINITY, "soon", "0 seconds", "5 parsecs", {}, true].map((
    value
  ): OptionCase => ["68", ["interruptDeadline"], value, "Duration", "interruptDeadline"])
]

const atPath = (path: ReadonlyArray<string>, value: unknown): Record<string, unknown> => {
  const [first, ...rest] = path
  return { [first!]: rest.length === 0 ? value : atPath(rest, value) }
}

onEveryForm("bad options", (form) => {
  const byOption = new Map<string, Array<OptionCase>>()
  for (const optionCase of optionCases) {
    const key = optionCase[1].join(".")
    byOption.set(key, [...byOption.get(key) ?? [], optionCase])
  }
  for (const [option, cases] of byOption) {
    const rows = [...new Set(cases.map(([row]) => row).filter((row) => row !== ""))].join(", ")
    onRunner(
      form,
      `${rows === "" ? "" : `rows ${rows}: `}${option} is refused by name, whatever is wrong with it`,
      (world) =>
        Effect.gen(function*() {
          for (const [, path, value, reason, named] of cases) {
            const options = atPath(path, value)
            const make = DeviceRunner.make(options)
            const configure = world.untyped.configure(options["temporaryBuffer"])
            for (const attempt of path[0] === "temporaryBuffer" ? [make, configure] : [make]) {
              const error = yield* refusedWith(
                world,
                ["InvalidConfiguration", reason],
                attempt,
                `${option} ${String(value)}`
              )
              assert.strictEqual((error as Errors.InvalidConfiguration).option, named)
            }
          }
        })
    )
  }

  onRunner(form, "row 14: a budget of zero is a mode, not an error", (world) =>
    Effect.gen(function*() {
      for (const maxBytes of [0, "0", "0 B", "0 MiB"] as const) {
        yield* world.untyped.configure({ maxBytes })
        assert.strictEqual((yield* world.runner.stats).temporaryBuffer.retainedBytes, 0)
        yield* world.runner.run(add, vectors(4))
      }
    }))

  onRunner(form, "an environment with a size that is none is refused, and named", (world) =>
    Effect.gen(function*() {
      const start = world.probe.calls.length
      for (const [name, value] of [["LEASEHOLD_MAX_BYTES", "64 MIB"], ["LEASEHOLD_CLEAR", "some"]] as const) {
        const provider = Layer.setConfigProvider(ConfigProvider.fromMap(new Map([[name, value]])))
        const exit = yield* Effect.exit(Layer.build(Layer.provide(DeviceRunner.layerConfig(), provider)))
        assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Fail")
        assert.include(String(Exit.isFailure(exit) ? exit.cause : ""), name)
      }
      assert.strictEqual(world.probe.calls.length, start)
    }))

  onRunner(
    form,
    "options whose getter begins a run are refused while that run is active",
    (world) =>
      Effect.gen(function*() {
        const { runner, untyped } = world
        yield* runner.load(add)
        const scope = yield* Scope.make()
        const bound: Array<Fiber.Fiber<unknown, unknown>> = []
        const options = {
          get maxBytes() {
            bound.push(runFork(Scope.extend(runner.bind(add, vectors(4)), scope)))
            return 4096
          }
        }
        const exit = yield* Effect.exit(untyped.configure(options))
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(bound[0]!)), "the run was there first")
        assert.isTrue(
          Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error._tag === "ConfigureWhileActive",
          String(exit)
        )
        yield* Scope.close(scope, Exit.void)
        yield* runner.configure({ maxBytes: 65_536 })
        assert.strictEqual((yield* runner.stats).runs.active, 0)
      })
  )
})

const scratch = Arg.scratch("float32", [4])

const badSignatures: ReadonlyArray<readonly [rows: string, what: string, signature: () => unknown]> = [
  ["42", "an empty name", () => ({ "": scratch })],
  ["42", "a name of 257 characters", () => ({ ["n".repeat(257)]: scratch })],
  ["42", "a name of ten million characters", () => ({ ["n".repeat(10_000_000)]: scratch })],
  ["23", "an element type that nobody knows", () => ({ x: { ...scratch, dtype: "float33" } })],
  ["23", "an element type off the prototype", () => ({ x: { ...scratch, dtype: "toString" } })],
  ["23", "no element type", () => ({ x: { ...scratch, dtype: undefined } })],
  ["23", "a scalar of float16, which has no value in JavaScript", () => ({ x: { _tag: "Scalar", dtype: "float16" } })],
  ["17", "a negative dimension", () => ({ x: { ...scratch, dims: [-1] } })],
  ["18", "a dimension that is no whole number", () => ({ x: { ...scratch, dims: [1.5] } })],
  ["19", "a dimension that is no number", () => ({ x: { ...scratch, dims: [Number.NaN] } })],
  ["19", "null for a dimension", () => ({ x: { ...scratch, dims: [null] } })],
  // oxlint-disable-next-line no-sparse-arrays -- a hole is what is tested
  ["19", "a hole for a dimension", () => ({ x: { ...scratch, dims: [4, , 4] } })],
  ["20", "a dimension of 2^53", () => ({ x: { ...scratch, dims: [2 ** 53] } })],
  ["9", "a bigint for a dimension", () => ({ x: { ...scratch, dims: [4n] } })],
  ["42", "an empty dimension name", () => ({ x: { ...scratch, dims: [""] } })],
  ["21", "rank 9", () => ({ x: { ...scratch, dims: [1, 1, 1, 1, 1, 1, 1, 1, 1] } })],
  ["21", "rank 65", () => ({ x: { ...scratch, dims: Array.from({ length: 65 }, () => 1) } })],
  ["19", "a number for dimensions", () => ({ x: { ...scratch, dims: 4 } })],
  ["19", "text for dimensions", () => ({ x: { ...scratch, dims: "batch" } })],
  ["19", "scratch without dimensions", () => ({ x: { ...scratch, dims: undefined } })],
  ["41", "a direction that nobody knows", () => ({ x: { ...scratch, _tag: "Outside" } })],
  ["41", "no direction", () => ({ x: { dtype: "float32", dims: [4] } })],
  ["41", "null for an argument", () => ({ x: null })],
  ["41", "undefined for an argument", () => ({ x: undefined })],
  ["41", "text for an argument", () => ({ x: "float32" })],
  ["41", "null for a signature", () => null],
  ["41", "undefined for a signature", () => undefined]
]

onEveryForm("bad callables", (form) => {
  onOneRunner(form, "one by one", (check) => {
    for (const [rows, what, make] of badSignatures) {
      check(`row ${rows}: ${what} is refused as Signature`, (world) =>
        Effect.gen(function*() {
          const { untyped } = world
          for (const execution of ["inline", "awaited"] as const) {
            const callable = { ...native("test_nothing", {}, { execution }), signature: make() }
            const attempts = [
              untyped.load(callable),
              untyped.run(callable, {}),
              untyped.bind(callable, {}),
              untyped.plan(callable, {})
            ]
            for (const attempt of attempts) {
              yield* refusedWith(world, ["InvalidArgument", "Signature"], attempt, what)
            }
          }
        }))
    }
  })

  onRunner(
    form,
    "whatever is no callable is refused, and so are arguments in its place",
    (world) =>
      Effect.gen(function*() {
        const { untyped } = world
        for (const callable of [null, undefined, 7, "test_add", {}, [], () => undefined, vectors(4)]) {
          const attempts = [
            untyped.load(callable),
            untyped.run(callable, vectors(4)),
            untyped.bind(callable, vectors(4)),
            untyped.plan(callable, vectors(4))
          ]
          for (const attempt of attempts) {
            yield* refusedWith(world, ["InvalidArgument", "Signature"], attempt, inspect(callable))
          }
        }
      })
  )

  onRunner(form, "a callable without a kernel for the backend is refused by name", (world) =>
    Effect.gen(function*() {
      const { runner } = world
      const elsewhere = { backend: "cuda", symbol: "add" }
      for (const kernels of [[], [elsewhere], [elsewhere, { backend: "Simulator", symbol: "test_add" }]]) {
        const callable = Callable.native({ signature: addSignature, kernels, name: "nowhere" })
        for (
          const attempt of [runner.load(callable), runner.run(callable, vectors(4)), runner.bind(callable, vectors(4))]
        ) {
          const error = yield* refusedWith(world, ["InvalidArgument", "Backend"], attempt)
          assert.include(error.message, "nowhere")
          assert.include(error.message, "simulator")
        }
      }
    }))

  onRunner(form, "row 43: 65,537 arguments are refused as Signature", (world) =>
    Effect.gen(function*() {
      const names = Array.from({ length: 65_537 }, (_, index) => `t${index}`)
      const many: Arg.Signature = Object.fromEntries(names.map((name) => [name, scratch]))
      const callable = native("test_nothing", many)
      yield* refusedWith(world, ["InvalidArgument", "Signature"], world.untyped.load(callable))
      yield* refusedWith(world, ["InvalidArgument", "Signature"], world.untyped.run(callable, {}))
    }))

  onRunner(form, "row 43: four thousand tensors are fine", (world) =>
    Effect.gen(function*() {
      const shape = Object.fromEntries(
        Array.from({ length: 4096 }, (_, index) => [`t${index}`, Arg.input("uint8", [1])] as const)
      )
      const args = Object.fromEntries(
        Array.from({ length: 4096 }, (_, index) => [`t${index}`, Uint8Array.of(1)] as const)
      )
      yield* world.runner.run(native("test_nothing", shape), args)
      assert.strictEqual((yield* world.runner.stats).runs.ended, 1)
    }), { temporaryBuffer: { maxBytes: "2 MiB", alignmentBytes: 64 } })
})

const testKernels = kernel("test_add").library

const launchFailure = (attempt: Attempt): Effect.Effect<Errors.LaunchFailed, never, Scope.Scope> =>
  failsWith("LaunchFailed", attempt as Effect.Effect<unknown, Errors.LaunchFailed, Scope.Scope>)

// A kernel is looked for by the backend, so its library and symbol are the one input that a call carries there.
onEveryForm("bad kernels", (form) => {
  onRunner(
    form,
    "rows 50 and 51: a library that cannot be loaded is named as LibraryNotLoaded, and may be mended",
    (world) =>
      Effect.gen(function*() {
        const { runner, untyped } = world
        const folder = yield* temporaryFolder
        const text = join(folder, "text.so")
        writeFileSync(text, "this is no library\n")
        const libraries: ReadonlyArray<unknown> = [
          "",
          "kernels.so",
          "./kernels.so",
          "../kernels.so",
          "~/kernels.so",
          "file:///kernels.so",
          `${testKernels}\0.evil`,
          `/${"x".repeat(4096)}`,
          `/${"x".repeat(300)}`,
          "/no/such/library.so",
          join(testKernels, "kernels.so"),
          join(folder, "missing.so"),
          folder,
          text,
          spoiled(testKernels, join(folder, "empty.so"), { byteCount: 0 }),
          spoiled(testKernels, join(folder, "short.so"), { byteCount: 100 }),
          spoiled(testKernels, join(folder, "foreign.so"), { machine: true }),
          null,
          undefined,
          7,
          {}
        ]
        for (const library of libraries) {
          for (const execution of ["inline", "awaited"] as const) {
            const broken = { backend: "simulator", symbol: "test_add", library }
            const callable = Callable.native({ signature: addSignature, kernels: [broken], execution })
            const args = vectors(4)
            for (const attempt of [untyped.load(callable), untyped.run(callable, args), untyped.bind(callable, args)]) {
              const { reason, sticky } = yield* launchFailure(attempt)
              assert.deepStrictEqual([reason, sticky], ["LibraryNotLoaded", false], inspect(library))
            }
          }
        }
        assert.isEmpty(world.probe.calls.filter((call) => call.operation === "launch" || call.purpose === "stage"))
        // The same path works once there is a library.
        const library = spoiled(testKernels, join(folder, "missing.so"), {})
        const kernels = [Simulator.kernel({ library, symbol: "test_add" })]
        yield* runner.run(Callable.native({ signature: addSignature, kernels }), vectors(4))
      })
  )

  onRunner(
    form,
    "row 53: a symbol that the library does not have is named as SymbolNotFound",
    (world) =>
      Effect.gen(function*() {
        const { untyped } = world
        for (
          const symbol of [
            "no_such_kernel",
            "malloc",
            "strlen",
            "test_add\0",
            "test_add\0x",
            " test_add",
            "x".repeat(5000)
          ]
        ) {
          const { reason } = yield* launchFailure(untyped.run(native(symbol, addSignature), vectors(4)))
          assert.strictEqual(reason, "SymbolNotFound", inspect(symbol.slice(0, 40)))
        }
      })
  )

  onRunner(
    form,
    "row 53: a symbol that is no text fails to load, a number that is an address of text included",
    (world) =>
      Effect.gen(function*() {
        const text = Buffer.from("test_add\0")
        const address = (yield* HostApi.HostApi).hostAddress(text)
        for (const symbol of ["", null, undefined, {}, text, address, BigInt(address)]) {
          const kernels = [{ ...kernel("test_add"), symbol: symbol as string }]
          const callable = Callable.native({ signature: addSignature, kernels, name: "broken" })
          const error = yield* failsWith("LaunchFailed", world.runner.run(callable, vectors(4)))
          assert.include(["SymbolNotFound", "Argument"], error.reason)
        }
        assert.strictEqual(text.toString(), "test_add\0")
      })
  )

  onRunner(
    form,
    "row 49: arguments that are not the kernel's are reported with the kernel's code",
    (world) =>
      Effect.gen(function*() {
        for (const execution of ["inline", "awaited"] as const) {
          const callable = native("test_add", { a: Arg.input("float32", ["n"]) }, { execution })
          const error = yield* failsWith("LaunchFailed", world.runner.run(callable, { a: new Float32Array(4) }))
          assert.deepStrictEqual([error.reason, error.deviceCode, error.sticky], ["Kernel", 1000, false])
        }
      })
  )

  it("row 50: a library can be named by a file URL, and by no other", () => {
    const url = new URL("../native/build/libleasehold_test_kernels.so", import.meta.url)
    assert.strictEqual(Simulator.kernel({ library: url, symbol: "test_add" }).library, fileURLToPath(url))
    assert.throws(() => Simulator.kernel({ library: new URL("http://example.com/x.so"), symbol: "x" }))
  })
})

onEveryForm("bad uploads and downloads", (form) => {
  const cases: ReadonlyArray<readonly [rows: string, what: string, reason: string, make: Make]> = [
    ...notATensor.map(([rows, what, make]) => [rows, what, "NotATensor", plain(make)] as const),
    ...argumentCases.flatMap(([rows, what, argument, reason, make]) =>
      argument === "x" && !what.includes(" as an input") ? [[rows, what, reason, make] as const] : []
    )
  ]
  onOneRunner(form, "one by one", (check) => {
    for (const [rows, what, reason, make] of cases) {
      check(`row ${rows}: ${what} is refused as ${reason}`, (world) =>
        Effect.gen(function*() {
          const resident = yield* world.runner.allocate("float32", [29])
          const side = (yield* make(world)) as Float32Array
          const whole = { offsetElements: 0 }
          for (const attempt of [resident.upload(side), resident.download(side), resident.upload(side, whole)]) {
            yield* refusedWith(world, ["InvalidArgument", reason], attempt, what)
          }
        }))
    }
  })

  onRunner(
    form,
    "offsets that are no sizes, and ranges beyond the end, are refused",
    (world) =>
      Effect.gen(function*() {
        const resident = yield* world.runner.allocate("float32", [4, 4])
        yield* resident.upload(Float32Array.from({ length: 16 }, (_, index) => index))
        const view = new Float32Array(4)
        for (const offset of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "1", 1n, null, {}]) {
          const options = { offsetElements: offset as number }
          yield* refusedWith(world, ["InvalidArgument", "Shape"], resident.upload(view, options), inspect(offset))
          yield* refusedWith(world, ["InvalidArgument", "Shape"], resident.download(view, options), inspect(offset))
        }
        for (const offsetElements of [13, 16, 17, 2 ** 32, 2 ** 52, Number.MAX_SAFE_INTEGER]) {
          yield* refusedWith(world, ["ShapeMismatch"], resident.upload(view, { offsetElements }))
          yield* refusedWith(world, ["ShapeMismatch"], resident.download(view, { offsetElements }))
        }
        for (const length of [0, 15, 17]) {
          yield* refusedWith(world, ["ShapeMismatch"], resident.upload(new Float32Array(length)))
          yield* refusedWith(world, ["ShapeMismatch"], resident.download(new Float32Array(length)))
        }
        const all = new Float32Array(16)
        yield* resident.download(all)
        assert.deepStrictEqual([...all], Array.from({ length: 16 }, (_, index) => index))
      })
  )
})

onEveryForm("calls at the wrong time", (form) => {
  onRunner(form, "row 34: the handle of an ended run is refused", (world) =>
    Effect.gen(function*() {
      const run = yield* Effect.scoped(world.runner.bind(add, vectors(4)))
      yield* refusedWith(world, ["StaleRun"], run.launch)
      yield* refusedWith(world, ["StaleRun"], run.validate)
      const copied = { ...run }
      yield* refusedWith(world, ["StaleRun"], copied.launch)
    }))

  onRunner(form, "row 36: releasing twice frees once", (world) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.extend(world.runner.allocate("float32", [4]), scope)
      yield* Scope.extend(world.runner.bind(add, vectors(4)), scope)
      const calls = yield* world.probe.during(
        Effect.all([Scope.close(scope, Exit.void), Scope.close(scope, Exit.void)], { concurrency: 2 })
      )
      assert.strictEqual(calls.filter((call) => call.operation === "free").length, 1)
      assert.deepStrictEqual(yield* world.probe.during(Scope.close(scope, Exit.void)), [])
    }))

  onRunner(form, "row 45: a closed runner refuses, and its neighbour goes on", (world) =>
    Effect.gen(function*() {
      const closed = yield* Effect.scoped(stranger)
      yield* refusedWith(world, ["RunnerClosed"], closed.run(add, vectors(4)))
      yield* refusedWith(world, ["RunnerClosed"], closed.allocate("float32", [4]))
      yield* refusedWith(world, ["RunnerClosed"], untyped(closed).run(null, null))
    }))

  onRunner(
    form,
    "row 48: what waits behind a kernel when the runner closes is refused",
    (world) =>
      Effect.gen(function*() {
        closeGate()
        const scope = yield* Scope.make()
        const runner = yield* Scope.extend(
          DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 }, residentMaxBytes: 4096, stagingMaxBytes: 4096 }),
          scope
        )
        const resident = yield* runner.allocate("float32", [4])
        const running = yield* Effect.fork(runner.run(native("test_gate", {}), {}))
        yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
        const waiting = yield* Effect.fork(resident.upload(new Float32Array(4)))
        yield* nextTurn
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* nextTurn
        openGate()
        yield* failsWith("RunnerClosed", Effect.flatten(Fiber.await(waiting)))
        yield* Fiber.await(running)
        yield* Fiber.await(closing)
        assert.isEmpty(world.probe.calls.filter((call) => call.purpose === "upload"))
      }).pipe(Effect.ensuring(Effect.sync(openGate)))
  )

  it.scoped("rows 47 and 59: after a fatal fault every call is refused, with the fault in the error", () =>
    Effect.gen(function*() {
      const made = yield* world
      const { probe, runner } = made
      const resident = yield* runner.allocate("float32", [4])
      yield* runner.load(add)
      const lost = yield* failsWith("LaunchFailed", runner.run(native("test_lose_device", {}), {}))
      assert.deepStrictEqual([lost.reason, lost.sticky], ["DeviceLost", true])
      const start = probe.calls.length
      const attempts: ReadonlyArray<Attempt> = [
        runner.run(add, vectors(4)),
        runner.bind(add, vectors(4)),
        runner.allocate("float32", [4]),
        runner.allocateHost("float32", [4]),
        runner.configure({ maxBytes: 1 }),
        resident.upload(new Float32Array(4)),
        made.untyped.run(null, null)
      ]
      for (const attempt of attempts) {
        const error = yield* failsWith("RunnerPoisoned", attempt) as Effect.Effect<unknown, never, Scope.Scope>
        assert.strictEqual((error as Errors.RunnerPoisoned).statusName, "DeviceLost")
      }
      assert.strictEqual(probe.calls.length, start)
    }).pipe(Effect.provide(runnerOf(form))))

  onRunner(
    form,
    "row 58: a device without room is reported, and the runner stays ready",
    (world) =>
      Effect.gen(function*() {
        const { probe, runner } = world
        probe.fail({ operation: "malloc", purpose: "resident", status: HostApi.Status.OutOfMemory })
        const error = yield* failsWith("DeviceOutOfMemory", runner.allocate("float32", [4]))
        assert.deepStrictEqual([error.requestedBytes, error.runner], [16, "ready"])
        assert.strictEqual((yield* runner.stats).residents.inUseBytes, 0)
      })
  )

  it.scoped("row 60: a status that nobody knows is kept, and poisons the runner", () =>
    Effect.gen(function*() {
      const { probe, runner } = yield* world
      yield* runner.load(add)
      probe.fail({ operation: "launch", status: 9999 })
      const error = yield* failsWith("LaunchFailed", runner.run(add, vectors(4)))
      assert.deepStrictEqual([error.status, error.statusName, error.sticky], [9999, "Unknown", true])
      yield* failsWith("RunnerPoisoned", runner.run(add, vectors(4)))
    }).pipe(Effect.provide(runnerOf(form))))

  onRunner(
    form,
    "row 64: whatever a launch of the user's throws is kept as a defect, and the run ends",
    (world) =>
      Effect.gen(function*() {
        for (const thrown of [new Error("broken"), "text", undefined, null, 0]) {
          for (const late of [false, true]) {
            const launch = (): Effect.Effect<void> => {
              if (!late) {
                // oxlint-disable-next-line no-throw-literal -- whatever a user may throw
                throw thrown
              }
              return Effect.sync(() => {
                // oxlint-disable-next-line no-throw-literal -- whatever a user may throw
                throw thrown
              })
            }
            const exit = yield* Effect.exit(
              world.runner.run(Callable.make({ signature: addSignature, launch }), vectors(4))
            )
            assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die" && exit.cause.defect === thrown)
          }
        }
        const { runs } = yield* world.runner.stats
        assert.deepStrictEqual([runs.begun, runs.ended, runs.failed], [10, 10, 10])
      })
  )
})

describe("handles", () => {
  it.scoped("row 38: a resident cannot be cloned at all", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const resident = yield* runner.allocate("float32", [4])
      assert.throws(() => structuredClone(resident))
      const host = yield* runner.allocateHost("float32", [4])
      const copy = Callable.make({
        signature: { x: Arg.input("float32", [4]) },
        launch: () => Effect.void
      })
      const cloned = structuredClone(host)
      const exit = yield* Effect.exit(untyped(runner).run(copy, { x: cloned }))
      const error = Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined
      assert.deepStrictEqual(
        [error?._tag, (error as Errors.InvalidArgument | undefined)?.reason],
        ["InvalidArgument", "NotATensor"]
      )
    }).pipe(Effect.provide(
      DeviceRunner.layer({ temporaryBuffer: { maxBytes: 4096 } }).pipe(
        Layer.provide(Simulator.layer({ totalBytes: "1 MiB" }))
      )
    )))
})
