/**
 * Some steps on a CUDA device, each result looked at. Started by `computeSanitizer.test.ts` with the budget of the temporary
 * buffer in bytes; it ends with 0 where every result is right.
 */
import { Effect, Layer } from "effect"
import { Arg, DeviceRunner } from "leasehold"
import * as CudaDevice from "../utils/cudaDevice.ts"
import { add, addInline, native } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"

const maxBytes = Number(process.argv[2])
const stepCount = 20

const accumulate = native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite" }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
})

const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const sum = yield* runner.allocate("float32", [100])
  for (let step = 1; step <= stepCount; step++) {
    for (const callable of [add, addInline]) {
      const { a, b, c } = vectors(step * 37, step)
      yield* runner.run(callable, { a, b, c })
      if (!c.every((value, index) => value === a[index]! + b[index]!)) {
        throw new Error(`step ${step} has a wrong sum`)
      }
    }
    const y = new Float32Array(100)
    yield* runner.run(accumulate, { sum, x: new Float32Array(100).fill(step), y })
    if (!y.every((value) => value === step * (step + 1) / 2)) {
      throw new Error(`step ${step} has accumulated ${y[0]}`)
    }
  }
}).pipe(
  Effect.scoped,
  Effect.provide(
    DeviceRunner.layer({ temporaryBuffer: { maxBytes }, residentMaxBytes: "64 KiB", slots: 2 }).pipe(
      Layer.provide(CudaDevice.layer({ lanes: "overlap" }))
    )
  )
)

await Effect.runPromise(program)
