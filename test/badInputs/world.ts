/** What the tests of bad inputs share: a runner without types, and values that lie. */
import { assert, it, layer } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Runtime, type Scope } from "effect"
import { Arg, DeviceRunner, type Errors, type HostApi, type RunnerOptions, Simulator } from "leasehold"
import { runInNewContext } from "node:vm"
import { type Form, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertNothingHeld, assertUsable } from "../utils/programs.ts"

/** Whatever fails with a tag. */
export type Attempt<A = unknown> = Effect.Effect<A, { readonly _tag: string }, Scope.Scope>

/** A runner as a program without types sees it. */
export interface Untyped {
  readonly run: (callable: unknown, args: unknown, options?: unknown) => Attempt
  readonly bind: (callable: unknown, args: unknown, options?: unknown) => Attempt
  readonly plan: (callable: unknown, args: unknown, options?: unknown) => Attempt
  readonly load: (callable: unknown) => Attempt
  readonly allocate: (dtype: unknown, shape: unknown) => Attempt
  readonly allocateHost: (dtype: unknown, shape: unknown) => Attempt
  readonly configure: (options: unknown) => Attempt
  readonly budget: (name: unknown, options?: unknown) => Attempt
  readonly trim: (keepBytes: unknown) => Attempt
}

export interface World {
  readonly runner: DeviceRunner.Service
  readonly untyped: Untyped
  readonly probe: Probe.ProbeService
}

export const untyped = (runner: DeviceRunner.Service): Untyped => runner as object as Untyped

export const world: Effect.Effect<World, never, DeviceRunner.DeviceRunner | Probe.Probe> = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  return { runner, untyped: untyped(runner), probe: yield* Probe.Probe }
})

/** Fails with the class and the reason, without a native call; answers the error. */
export const refusedWith = <R>(
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
export const onRunner = (
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
export type Check = (
  title: string,
  test: (world: World) => Effect.Effect<void, { readonly _tag: string }, Scope.Scope>
) => void

export const onOneRunner = (form: Form, name: string, cases: (check: Check) => void): void => {
  layer(runnerOf(form))(name, (it) => {
    cases((title, test) => {
      it.scoped(title, () => Effect.flatMap(world, (made) => Effect.zipRight(test(made), assertUsable)))
    })
  })
}

/** A signature with an argument of every direction. */
export const signature = {
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

export const inline = native("test_nothing", signature, { execution: "inline" })
export const awaited = native("test_nothing", signature)

export type Good = Record<string, unknown>

/** Arguments that fit; `x` and `y` have 29 elements, 116 bytes. */
export const goodArguments = (runner: DeviceRunner.Service): Effect.Effect<Good, Errors.RunnerError, Scope.Scope> =>
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
export const ways = (world: World): ReadonlyArray<readonly [string, (args: unknown, options?: unknown) => Attempt]> => [
  ["run, inline", (args, options) => world.untyped.run(inline, args, options)],
  ["run, awaited", (args, options) => world.untyped.run(awaited, args, options)],
  ["bind", (args, options) => world.untyped.bind(awaited, args, options)],
  ["plan", (args, options) => world.untyped.plan(awaited, args, options)]
]

export const refusedOnEveryWay = (
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
export const runFork = Runtime.runFork(Runtime.defaultRuntime)
export const runSyncExit = Runtime.runSyncExit(Runtime.defaultRuntime)

export const detached = <V extends ArrayBufferView>(view: V): V => {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] })
  return view
}

export type ResizableConstructor = new(
  byteLength: number,
  options: { readonly maxByteLength: number }
) => ArrayBuffer & { readonly resize: (byteLength: number) => void }

/** ECMAScript 2024, which Node 20 has; the library of types is older. */
export const Resizable = ArrayBuffer as object as ResizableConstructor
export const Growable = SharedArrayBuffer as object as new(
  byteLength: number,
  options: { readonly maxByteLength: number }
) => SharedArrayBuffer

/** The types of Node know WebAssembly as a namespace of types only. */
export const { Memory } = (globalThis as object as {
  readonly WebAssembly: {
    readonly Memory: new(
      options: { readonly initial: number; readonly maximum: number; readonly shared?: boolean }
    ) => { readonly buffer: ArrayBuffer; readonly grow: (pages: number) => number }
  }
}).WebAssembly

export const resizable = (byteLength: number): ArrayBuffer => new Resizable(byteLength, { maxByteLength: 1024 })

export const shrunk = (): Float32Array => {
  const buffer = new Resizable(116, { maxByteLength: 256 })
  const view = new Float32Array(buffer, 0, 29)
  buffer.resize(8)
  return view
}

export const otherRealm = (source: string): unknown => runInNewContext(source, { SharedArrayBuffer: undefined })

export const without = (object: object, prototype: object | null): object =>
  Object.setPrototypeOf(object, prototype) as object

/** What a value for an argument is made of: it may need a runner. */
export type Make = (world: World) => Effect.Effect<unknown, Errors.RunnerError, Scope.Scope>

export const plain = (make: () => unknown): Make => () => Effect.sync(make)

export const inClosedScope = <A>(
  allocate: Effect.Effect<A, Errors.RunnerError, Scope.Scope>
): Effect.Effect<A, Errors.RunnerError> => Effect.scoped(allocate)

/** Another runner, on another device. */
export const stranger: Effect.Effect<DeviceRunner.Service, never, Scope.Scope> = Effect.map(
  Layer.build(
    DeviceRunner.layer({ temporaryBuffer: { maxBytes: 4096 } }).pipe(
      Layer.provide(Layer.fresh(Simulator.layer({ totalBytes: "1 MiB" })))
    )
  ),
  (context) => Context.get(context, DeviceRunner.DeviceRunner)
).pipe(Effect.orDie)
