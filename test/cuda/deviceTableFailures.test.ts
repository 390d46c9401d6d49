/** What goes wrong around a device table is wrong for one run: it says what, and the next one of the same shape is sound. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
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

const onDevice = <A, E>(program: (runner: DeviceRunner.Service) => Effect.Effect<A, E>) =>
  Effect.scoped(
    Effect.flatMap(DeviceRunner.make({ temporaryBuffer: { maxBytes: "64 KiB" } }), program)
  ).pipe(Effect.provide(CudaDevice.layer()))

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
})

describe("the driver", () => {
  it.runIf(CudaDevice.isLoopback)("was not misused", () => {
    assert.strictEqual(Loopback.violations(), "")
  })
})
