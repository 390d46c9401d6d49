/**
 * The simulator's memory lab: a launch whose kernel trusts memory that nobody defined, or leaves memory undefined, fails
 * and names the tensor; every other launch does what it does without it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, type Errors, type HostApi, Simulator } from "leasehold"
import { inspect } from "node:util"
import { native } from "./utils/kernels.ts"
import { assertNothingHeld, assertUsable, failsWith } from "./utils/programs.ts"

interface World {
  readonly name: string
  readonly execution: Callable.Execution
  readonly layer: (memoryLab?: "off" | "fail") => Layer.Layer<
    DeviceRunner.DeviceRunner | HostApi.HostApi | Simulator.Simulator,
    Errors.RunnerError
  >
}

const worlds: ReadonlyArray<World> = (["64 KiB", 0] as const).flatMap((maxBytes) =>
  (["immediate", "late"] as const).flatMap((completion) =>
    (["worker", "inline"] as const).flatMap((longCalls) =>
      (["awaited", "inline"] as const).map((execution): World => ({
        name: `budget ${maxBytes}, ${completion}, long calls ${longCalls}, ${execution}`,
        execution,
        layer: (memoryLab = "fail") =>
          DeviceRunner.layer({ temporaryBuffer: { maxBytes }, residentMaxBytes: "64 KiB" }).pipe(
            Layer.provideMerge(Simulator.layer({ totalBytes: "1 MiB", completion, longCalls, memoryLab }))
          )
      }))
    )
  )
)

const onEveryWorld = (name: string, suite: (world: World) => void): void => {
  for (const world of worlds) {
    describe(`${name} [${world.name}]`, () => suite(world))
  }
}

const callablesOf = ({ execution }: World) => {
  const on = <const S extends Arg.Signature>(symbol: string, signature: S) => native(symbol, signature, { execution })
  const vector = ["n"] as const
  const accumulated = { x: Arg.input("float32", vector), y: Arg.output("float32", vector) }
  return {
    writeFirst: on("test_write_first", {
      logits: Arg.output("uint8", vector),
      firstCount: Arg.scalar("int32"),
      value: Arg.scalar("int32")
    }),
    sumDeclaredOutput: on("test_accumulate", { sum: Arg.output("float32", vector), ...accumulated }),
    sumDeclaredInout: on("test_accumulate", { sum: Arg.inout("float32", vector), ...accumulated }),
    sumDeclaredResident: on("test_accumulate", {
      sum: Arg.resident("float32", { access: "readWrite", dims: vector }),
      ...accumulated
    }),
    reveal: on("test_reveal", { workspace: Arg.scratch("uint8", vector), y: Arg.output("uint8", vector) }),
    subtract: on("test_subtract_scratch", {
      left: Arg.scratch("float32", vector),
      right: Arg.scratch("float32", vector),
      y: Arg.output("float32", vector)
    }),
    trustCode: on("test_trust_code", { code: Arg.scratch("int32", [1]), y: Arg.inout("int32", vector) }),
    countCalls: on("test_count_calls", {
      y: Arg.output("int32", [1]),
      period: Arg.scalar("int32"),
      phase: Arg.scalar("int32")
    }),
    fails: on("test_fail", { y: Arg.output("uint8", vector) }),
    nothing: on("test_nothing", { x: Arg.input("float32", vector), kept: Arg.inout("float32", vector) }),
    scale: on("test_scale", {
      x: Arg.inout("float32", vector),
      factor: Arg.scalar("float32"),
      unused: Arg.scratch("uint8", [100])
    }),
    copy: on("test_copy", { x: Arg.input("int64", vector), y: Arg.output("int64", vector) }),
    checksum: on("test_checksum", { x: Arg.input("uint8", vector), sum: Arg.output("float64", [1]) }),
    describe: on("test_describe", { x: Arg.input("uint8", vector), y: Arg.output("float64", [6]) })
  }
}

/** The launch fails, and its message says which tensor it was and what was wrong with it. */
const finds = <A, R>(
  argument: string,
  sentence: string,
  run: Effect.Effect<A, Errors.RunnerError, R>
): Effect.Effect<void, never, R> =>
  Effect.map(failsWith("LaunchFailed", run), (error) => {
    assert.deepStrictEqual(
      [error.reason, error.argument, error.deviceCode, error.hostOutputs, error.attribution, error.sticky],
      ["Kernel", argument, 0, "unchanged", "thisRun", false]
    )
    assert.include(error.message, argument === "" ? "failed: " : `failed at the argument "${argument}": `)
    assert.include(error.message, sentence)
  })

const floats = (...values: ReadonlyArray<number>): Float32Array => Float32Array.from(values)

onEveryWorld("the memory lab finds", (world) => {
  const callables = callablesOf(world)

  it.effect("bytes of an output that are never written, and how many", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const logits = new Uint8Array(100).fill(9)
      for (const firstCount of [0, 1, 99]) {
        yield* finds(
          "logits",
          `never wrote ${100 - firstCount} of the 100 bytes of this output, from offset ${firstCount} on`,
          runner.run(callables.writeFirst, { logits, firstCount, value: 4 })
        )
        assert.deepStrictEqual(logits, new Uint8Array(100).fill(9))
      }
      yield* runner.run(callables.writeFirst, { logits, firstCount: 100, value: 4 })
      assert.deepStrictEqual(logits, new Uint8Array(100).fill(4))
      yield* assertNothingHeld
    }).pipe(Effect.provide(world.layer())))

  it.effect("an accumulator that is declared an output, and says to declare it inout", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const args = { sum: floats(1, 2, 3), x: floats(10, 20, 30), y: floats(7, 7, 7) }
      yield* finds(
        "sum",
        "declared an output, but the kernel reads it before it writes it: an accumulator should be declared inout",
        runner.run(callables.sumDeclaredOutput, args)
      )
      assert.deepStrictEqual([args.sum, args.y], [floats(1, 2, 3), floats(7, 7, 7)])
      yield* runner.run(callables.sumDeclaredInout, args)
      assert.deepStrictEqual([args.sum, args.y], [floats(11, 22, 33), floats(11, 22, 33)])
      yield* assertUsable
      yield* assertNothingHeld
    }).pipe(Effect.provide(world.layer())))

  it.effect("scratch that is read before it is written, whatever it shows in", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const sentence = "declared scratch, but the kernel reads it before it writes it"
      const bytes = new Uint8Array(33)
      yield* finds("workspace", sentence, runner.run(callables.reveal, { y: bytes }))
      yield* finds("left", sentence, runner.run(callables.subtract, { y: floats(1, 2, 3) }))
      yield* finds(
        "code",
        `${sentence}: what lay there decides what the kernel returns`,
        runner.run(callables.trustCode, { y: Int32Array.of(1, 2) })
      )
      assert.deepStrictEqual(bytes, new Uint8Array(33))
      yield* assertUsable
      yield* assertNothingHeld
    }).pipe(Effect.provide(world.layer())))

  it.effect("a kernel that is not deterministic, which it cannot judge", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* finds(
        "y",
        "not deterministic",
        runner.run(callables.countCalls, { y: new Int32Array(1), period: 2, phase: 0 })
      )
    }).pipe(Effect.provide(world.layer())))
})

onEveryWorld("the memory lab leaves alone", (world) => {
  const callables = callablesOf(world)

  it.effect("kernels that define what they read and write what they declare", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const { statistics } = yield* Simulator.Simulator
      yield* assertUsable
      const x = floats(1, 2, 3)
      yield* runner.run(callables.scale, { x, factor: 2 })
      assert.deepStrictEqual(x, floats(2, 4, 6))
      const copied = { x: BigInt64Array.of(-1n, 2n ** 62n), y: new BigInt64Array(2) }
      yield* runner.run(callables.copy, copied)
      assert.deepStrictEqual(copied.y, copied.x)
      const sum = new Float64Array(1)
      yield* runner.run(callables.checksum, { x: Uint8Array.of(1, 2, 3), sum })
      assert.deepStrictEqual(sum, Float64Array.of(6))
      const described = new Float64Array(6)
      yield* runner.run(callables.describe, { x: new Uint8Array(5), y: described })
      assert.deepStrictEqual(described, Float64Array.of(1, 9, 5, 1, 1, 5))
      const kept = floats(1, 2)
      yield* runner.run(callables.nothing, { x: floats(3, 4), kept })
      assert.deepStrictEqual(kept, floats(1, 2))
      yield* runner.run(callables.copy, { x: new BigInt64Array(0), y: new BigInt64Array(0) })
      // Two of them are the additions that show that the runner works. However often it is executed, each is one launch.
      assert.strictEqual((yield* statistics).launchCount, 8)
      yield* assertNothingHeld
    }).pipe(Effect.provide(world.layer())))

  it.effect("whatever a kernel writes into its outputs", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      for (let value = 0; value < 256; value += 1) {
        const logits = new Uint8Array(64)
        yield* runner.run(callables.writeFirst, { logits, firstCount: 64, value })
        assert.deepStrictEqual(logits, new Uint8Array(64).fill(value))
      }
    }).pipe(Effect.provide(world.layer())))

  it.scoped("a resident tensor, which each launch changes once", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const sum = yield* runner.allocate("float32", [3])
      const y = new Float32Array(3)
      for (const times of [1, 2, 3]) {
        yield* runner.run(callables.sumDeclaredResident, { sum, x: floats(1, 2, 3), y })
        assert.deepStrictEqual(y, floats(times, 2 * times, 3 * times))
      }
      const held = new Float32Array(3)
      yield* sum.download(held)
      assert.deepStrictEqual(held, y)
    }).pipe(Effect.provide(world.layer())))

  it.effect("a kernel that fails by itself, and its code", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const error = yield* failsWith("LaunchFailed", runner.run(callables.fails, { y: new Uint8Array(8) }))
      assert.deepStrictEqual([error.reason, error.deviceCode, error.argument], ["Kernel", 7, ""])
      assert.include(error.message, "The kernel reported a failure")
    }).pipe(Effect.provide(world.layer())))

  it.effect("callables in TypeScript, even one that leaves its output unwritten", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      let launchCount = 0
      const callable = Callable.make({
        signature: { x: Arg.input("float32", ["n"]), y: Arg.output("float32", ["n"]), z: Arg.output("float32", ["n"]) },
        launch: (context) =>
          Effect.gen(function*() {
            launchCount += 1
            yield* context.write("y", yield* context.read("x"))
          })
      })
      const args = { x: floats(1, 2, 3), y: new Float32Array(3), z: floats(7, 7, 7) }
      yield* runner.run(callable, args)
      assert.deepStrictEqual([args.y, args.z, launchCount], [floats(1, 2, 3), floats(0, 0, 0), 1])
    }).pipe(Effect.provide(world.layer())))

  it.effect("everything where it is off, the default", () =>
    Effect.gen(function*() {
      assert.strictEqual(Simulator.defaults.memoryLab, "off")
      const runner = yield* DeviceRunner.DeviceRunner
      const sum = new Float32Array(2)
      yield* runner.run(callables.sumDeclaredOutput, { sum, x: floats(1, 2), y: new Float32Array(2) })
      assert.deepStrictEqual(sum, floats(1, 2), "because outputs are cleared")
      yield* runner.run(callables.reveal, { y: new Uint8Array(3) })
      yield* runner.run(callables.writeFirst, { logits: new Uint8Array(8), firstCount: 1, value: 1 })
    }).pipe(Effect.provide(world.layer("off"))))
})

describe("the option memoryLab", () => {
  it.scoped("is refused where it is neither \"off\" nor \"fail\"", () =>
    Effect.gen(function*() {
      for (const memoryLab of ["on", "Fail", "", true, 1, "fail completion=late"]) {
        const options: object = { memoryLab }
        const error = yield* failsWith("InvalidConfiguration", Layer.build(Simulator.layer(options)))
        assert.deepStrictEqual([error.reason, error.option], ["Choice", "Simulator.memoryLab"], inspect(memoryLab))
      }
    }))
})
