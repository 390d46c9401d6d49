/** A kernel of a GPU gets the parameters that it takes, or is not launched. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Arg, Callable, Cuda, DeviceRunner } from "leasehold"
import * as CudaDevice from "../utils/cudaDevice.ts"
import * as Loopback from "../utils/loopback.ts"
import { failsWith } from "../utils/programs.ts"

/** `gpu_copy` takes two addresses and a uint64. */
const copyOf = (parameters: Cuda.Step["parameters"]) =>
  Callable.native({
    name: "copy",
    signature: { x: Arg.input("uint8", [8]), y: Arg.output("uint8", [8]), byteCount: Arg.scalar("uint64") },
    kernels: [Cuda.kernels({
      module: CudaDevice.gpuModule,
      launches: () => [{ symbol: "gpu_copy", grid: 1, block: 32, parameters }]
    })]
  })

const args = () => ({ x: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), y: new Uint8Array(8), byteCount: 8n })

const onDevice = <A, E>(program: (runner: DeviceRunner.Service) => Effect.Effect<A, E>) =>
  Effect.flatMap(DeviceRunner.DeviceRunner, program).pipe(
    Effect.provide(DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } })),
    Effect.provide(CudaDevice.layer())
  )

describe("the parameters of a step", () => {
  const accepted: Readonly<Record<string, Cuda.Step["parameters"]>> = {
    "all arguments, where none are named": undefined,
    "arguments by name": ["x", "y", "byteCount"],
    "arguments by place, and a constant": [0, 1, Cuda.constant("uint64", 8n)]
  }
  for (const [what, parameters] of Object.entries(accepted)) {
    it.effect(`are ${what}`, () =>
      onDevice((runner) =>
        Effect.gen(function*() {
          const { y, ...inputs } = args()
          yield* runner.run(copyOf(parameters), { ...inputs, y })
          assert.deepStrictEqual(y, inputs.x)
        })
      ))
  }

  // A driver before 12.4 cannot tell what a kernel takes.
  const refused: Readonly<Record<string, NonNullable<Cuda.Step["parameters"]>>> = {
    "one too few, which the driver would read from nowhere": ["x", "y"],
    "none": [],
    "one too many": ["x", "y", "byteCount", 0],
    "one of another size": ["x", "y", Cuda.constant("int32", 8)]
  }
  for (const [what, parameters] of Object.entries(refused)) {
    it.effect(`are refused before the launch: ${what}`, () =>
      onDevice((runner) =>
        Effect.gen(function*() {
          const failure = yield* failsWith("LaunchFailed", runner.run(copyOf(parameters), args()))
          assert.deepStrictEqual([failure.reason, failure.sticky], ["Argument", false])
          assert.match(failure.detail, /than its kernel takes/)
          yield* runner.run(copyOf(undefined), args())
        })
      ))
  }

  it.runIf(CudaDevice.isLoopback)("have not misused the driver", () => {
    assert.strictEqual(Loopback.violations(), "")
  })
})
