/** How often a run calls the CUDA driver: as often for many small tensors as for few. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Arg, Callable, Cuda, DeviceRunner, type RunnerOptions } from "leasehold"
import { readFileSync } from "node:fs"
import * as CudaDevice from "../utils/cudaDevice.ts"
import { native } from "../utils/kernels.ts"
import * as Loopback from "../utils/loopback.ts"

const copies = ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"]
const work = [...copies, "cuMemsetD8Async", "cuLaunchKernel"]
const others = ["cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuEventCreate", "cuEventRecord", "cuModuleLoadData"]

const countsOf = (names: ReadonlyArray<string>): ReadonlyArray<number> => names.map(Loopback.calls)

/** The driver calls of a run of so many tensors, half of them inputs, once it was planned. */
const callsOfRun = (count: number, byteCount: number) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const names = Array.from({ length: count }, (_, index) => `tensor${index}`)
    const signature = Object.fromEntries(names.map((name, index): [string, Arg.Arg] => [
      name,
      index < count / 2 ? Arg.input("uint8", [byteCount]) : Arg.output("uint8", [byteCount])
    ]))
    const args = Object.fromEntries(names.map((name) => [name, new Uint8Array(byteCount)]))
    return yield* callsOfSecond(runner.run(native("test_nothing", signature), args))
  })

const callsOfSecond = <A, E>(run: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    yield* run
    const before = countsOf([...work, ...others])
    yield* run
    return countsOf([...work, ...others]).map((calls, index) => calls - before[index]!)
  })

/** The driver calls of a run whose kernel reads the addresses of so many inputs, and a factor, from a device table. */
const callsOfTable = (count: number) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const names = Array.from({ length: count }, (_, index) => `x${index}`)
    const inputs = Object.fromEntries(names.map((name): [string, Arg.Arg] => [name, Arg.input("float32", [4])]))
    const parameters = [
      Cuda.table([...names, Cuda.constant("float32", 2)]),
      Cuda.constant("uint32", count),
      "y",
      Cuda.constant("uint64", 4n)
    ]
    const callable = Callable.native({
      signature: { ...inputs, y: Arg.output("float32", [4]) },
      kernels: [Cuda.kernels({
        module: CudaDevice.gpuModule,
        launches: () => [{ symbol: "gpu_sum_of_table", grid: 1, block: 32, parameters }]
      })]
    })
    const views = Object.fromEntries(names.map((name) => [name, Float32Array.of(1, 2, 3, 4)]))
    const y = new Float32Array(4)
    const calls = yield* callsOfSecond(runner.run(callable, { ...views, y } as never))
    assert.deepStrictEqual(y, Float32Array.of(1, 2, 3, 4).map((value) => value * 2 * count))
    return calls
  })

const runnerOf = (options: RunnerOptions.RunnerOptions, cuda: Cuda.Options = {}) =>
  DeviceRunner.layer({
    temporaryBuffer: { maxBytes: "4 MiB" },
    stagingMaxBytes: "4 MiB",
    maxInlineCopyBytes: "4 MiB",
    ...options
  }).pipe(Layer.provide(Loopback.layer({ totalBytes: 64 * 2 ** 20, ...cuda })))

describe("the driver calls of a run", () => {
  for (const [clear, fills] of [["none", 0], ["all", 1]] as const) {
    for (const count of [20, 64, 256]) {
      it.scoped(`are ${3 + fills} for ${count} tensors with clear "${clear}"`, () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* callsOfRun(count, 4096), [1, 1, fills, 1, ...others.map(() => 0)])
        }).pipe(Effect.provide(runnerOf({ clear }))))
    }
  }

  for (const [clear, fills] of [["none", 0], ["all", 1]] as const) {
    for (const count of [20, 600]) {
      it.scoped(`are ${3 + fills} with a device table for ${count} tensors and clear "${clear}"`, () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* callsOfTable(count), [1, 1, fills, 1, ...others.map(() => 0)])
        }).pipe(Effect.provide(runnerOf({ clear }))))
    }
  }

  it.scoped("are three records of events more with a stream for each lane, and no event is made anew", () =>
    Effect.gen(function*() {
      const calls = yield* callsOfRun(20, 4096)
      assert.deepStrictEqual(calls.slice(0, work.length), [1, 1, 0, 1])
      assert.deepStrictEqual(calls.slice(work.length), others.map((name) => name === "cuEventRecord" ? 3 : 0))
    }).pipe(Effect.provide(runnerOf({ clear: "none" }, { lanes: "overlap" }))))

  for (const count of [20, 64]) {
    it.scoped(`follow from the bytes and not from ${count} tensors where copies go in pieces`, () =>
      Effect.gen(function*() {
        const byteCount = 2 ** 20 / count
        const [copiesIn] = yield* callsOfRun(count, Math.floor(byteCount / 1024) * 1024)
        assert.isAtMost(copiesIn!, Math.ceil(2 ** 19 / 65_536))
        assert.isAbove(copiesIn!, 1)
      }).pipe(Effect.provide(runnerOf({ clear: "none" }, { coalesceMaxBytes: "64 KiB", pieceBytes: "64 KiB" }))))
  }
})

describe("the CUDA layer", () => {
  it("looks for the driver where it says", () => {
    const source = readFileSync(new URL("../../native/cuda/driver_library.c", import.meta.url), "utf8")
    const [, names = ""] = /known_names\[\] = \{([^}]*)\}/.exec(source) ?? []
    assert.deepStrictEqual(Cuda.driverNames, [...names.matchAll(/"([^"]+)"/g)].map((match) => match[1]!))
  })
})
