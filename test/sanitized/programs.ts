/**
 * The programs that are swept while a sanitizer watches. Each is small, because a sweep runs it once for each of its
 * operations and once for each of its steps.
 */
import { Effect, type Layer, type Scope } from "effect"
import { Arg, DeviceRunner, type Errors, type HostApi, type Simulator } from "leasehold"
import { FaultSweep } from "leasehold/testing"
import { addInline, native } from "../utils/kernels.ts"

type BackendError = Errors.BackendUnavailable | Errors.InvalidConfiguration

export interface Sweeping {
  /** The sanitized device. It is given the program's own options. */
  readonly backend: (options: Simulator.Options) => Layer.Layer<HostApi.HostApi, BackendError>
  /** The runner's budget instead of the program's own: `0` turns pooling off. */
  readonly maxBytes?: number | undefined
}

export interface SweptProgram {
  readonly name: string
  readonly sweep: (sweeping: Sweeping) => Effect.Effect<FaultSweep.Report, BackendError>
}

const swept = (
  name: string,
  program: Effect.Effect<void, Errors.RunnerError, DeviceRunner.DeviceRunner | Scope.Scope>
): SweptProgram => ({
  name,
  sweep: ({ backend, maxBytes = 4096 }) =>
    FaultSweep.run(program, {
      name,
      backend: backend({}),
      layer: DeviceRunner.layer({
        temporaryBuffer: { maxBytes, alignmentBytes: 64 },
        residentMaxBytes: "4 KiB",
        stagingMaxBytes: "4 KiB"
      })
    })
})

const floats = (...values: ReadonlyArray<number>): Float32Array => Float32Array.from(values)

const accumulate = native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite", dims: ["n"] }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
}, { execution: "inline" })

export const sweptPrograms: ReadonlyArray<SweptProgram> = [
  swept(
    "two runs of different shapes",
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      for (const length of [3, 17]) {
        const a = new Float32Array(length).fill(1)
        yield* runner.run(addInline, { a, b: a, c: new Float32Array(length) })
      }
    })
  ),
  swept(
    "a run in a scope of its own",
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const run = yield* runner.bind(addInline, { a: floats(1, 2, 3), b: floats(10, 20, 30), c: new Float32Array(3) })
      yield* run.launch
      yield* run.validate
    })
  ),
  swept(
    "a resident tensor that runs write",
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const sum = yield* runner.allocate("float32", [3])
      yield* sum.upload(floats(1, 1, 1))
      yield* runner.run(accumulate, { sum, x: floats(1, 2, 3), y: new Float32Array(3) })
      yield* sum.download(new Float32Array(3))
    })
  )
]
