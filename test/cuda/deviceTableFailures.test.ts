/** What goes wrong around a device table is wrong for one run: it says what, and the next one of the same shape is sound. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Option } from "effect"
import { Arg, Callable, Cuda, DeviceRunner } from "leasehold"
import * as CudaDevice from "../utils/cudaDevice.ts"
import * as Loopback from "../utils/loopback.ts"
import { failsWith } from "../utils/programs.ts"

/** y = factor * (x + x), by a table of two addresses and a constant. */
const values: ReadonlyArray<string | number | Cuda.Constant> = ["x", "x", Cuda.constant("float32", 3)]

const stepOf = (table: Cuda.Table): Cuda.Step => ({
  symbol: "gpu_sum_of_table",
  grid: 1,
  block: 32,
  parameters: [table, Cuda.constant("uint32", 2), "y", Cuda.constant("uint64", 2n)]
})

const callableOf = (launches: Cuda.Kernel["launches"]) =>
  Callable.native({
    name: "sum",
    signature: { x: Arg.input("float32", [2]), y: Arg.output("float32", [2]) },
    kernels: [Cuda.kernels({ module: CudaDevice.gpuModule, launches })]
  })

const sound = callableOf(() => [stepOf(Cuda.table(values))])

const args = () => ({ x: Float32Array.of(1, 2), y: new Float32Array(2) })

const assertRuns = (runner: DeviceRunner.Service, callable: typeof sound) =>
  Effect.gen(function*() {
    const { x, y } = args()
    yield* runner.run(callable, { x, y })
    assert.deepStrictEqual(y, Float32Array.of(6, 12))
    assert.strictEqual((yield* runner.stats).runs.active, 0)
  })

const diesWith = <A, E>(effect: Effect.Effect<A, E>, thrown: unknown) =>
  Effect.map(Effect.exit(effect), (exit) => {
    assert.isTrue(Exit.isFailure(exit), "it fails")
    assert.deepStrictEqual(Exit.isFailure(exit) ? Cause.dieOption(exit.cause) : Option.none(), Option.some(thrown))
  })

const onDevice = <A, E>(program: (runner: DeviceRunner.Service) => Effect.Effect<A, E>) =>
  Effect.scoped(
    Effect.flatMap(DeviceRunner.make({ temporaryBuffer: { maxBytes: "64 KiB" } }), program)
  ).pipe(Effect.provide(CudaDevice.layer()))

/** A callable whose launches throw as often as there are errors, and then go on. */
const throwing = (...errors: ReadonlyArray<Error>) => {
  const left = [...errors]
  return callableOf(() => {
    const error = left.shift()
    if (error !== undefined) {
      throw error
    }
    return [stepOf(Cuda.table(values))]
  })
}

describe("launches of a device table that throws", () => {
  it.effect("ends one run with what it threw, and is asked again for the next", () =>
    onDevice((runner) =>
      Effect.gen(function*() {
        const [first, second] = [new Error("not yet"), new Error("still not")]
        const callable = throwing(first, second)
        yield* diesWith(runner.run(callable, args()), first)
        yield* diesWith(runner.run(callable, args()), second)
        yield* assertRuns(runner, callable)
        yield* assertRuns(runner, callable)
      })
    ))

  it.effect("has no plan, and has one when it has ceased to", () =>
    onDevice((runner) =>
      Effect.gen(function*() {
        const thrown = new Error("not yet")
        const callable = throwing(thrown)
        yield* diesWith(runner.plan(callable, args()), thrown)
        const plan = yield* runner.plan(callable, args())
        assert.deepStrictEqual(plan.leases.map(({ tensor }) => tensor), ["x", "y", "device table"])
        yield* assertRuns(runner, callable)
      })
    ))
})

describe("a value that is none", () => {
  const wrong: Readonly<Record<string, unknown>> = {
    "of a type that there is not": Cuda.constant("complex64" as never, 1 as never),
    "of no type": { value: 1 },
    "a table in a table": Cuda.table(["x"])
  }
  for (const [what, value] of Object.entries(wrong)) {
    it.effect(`is refused in a table, and the next run is sound: ${what}`, () =>
      onDevice((runner) =>
        Effect.gen(function*() {
          const callable = callableOf(() => [stepOf(Cuda.table(["x", value as never, Cuda.constant("float32", 3)]))])
          const failure = yield* failsWith("LaunchFailed", runner.run(callable, args()))
          assert.deepStrictEqual([failure.reason, failure.sticky], ["Argument", false])
          assert.include(failure.detail, "neither an argument nor a constant")
          yield* assertRuns(runner, sound)
        })
      ))
  }

  it.effect("is the same mistake in a table as beside it: a number that its type cannot have", () =>
    onDevice((runner) =>
      Effect.gen(function*() {
        const half = Cuda.constant("int64", 0.5 as never)
        const beside: Cuda.Step = { ...stepOf(Cuda.table(values)), parameters: [half] }
        for (const step of [beside, stepOf(Cuda.table(["x", "x", half]))]) {
          const exit = yield* Effect.exit(runner.run(callableOf(() => [step]), args()))
          const thrown = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
          assert.instanceOf(thrown, RangeError)
        }
        yield* assertRuns(runner, sound)
      })
    ))
})

describe("the driver", () => {
  it.runIf(CudaDevice.isLoopback)("was not misused", () => {
    assert.strictEqual(Loopback.violations(), "")
  })
})
