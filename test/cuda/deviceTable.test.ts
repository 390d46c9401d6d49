/** Kernels that take more than fits into their parameters: through a table in device memory, planned with the run. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Option } from "effect"
import { Arg, Callable, Cuda, DeviceRunner, type RunnerOptions } from "leasehold"
import * as CudaDevice from "../utils/cudaDevice.ts"
import * as Loopback from "../utils/loopback.ts"
import * as Probe from "../utils/probe.ts"
import { failsWith } from "../utils/programs.ts"

/** More than fits: 4,096 B are 512 addresses. */
const tensorCount = 600

const module = CudaDevice.gpuModule

// #region callable
const names = Array.from({ length: tensorCount }, (_, index) => `x${index}`)
const inputs = Object.fromEntries(names.map((name): [string, Arg.Arg] => [name, Arg.input("float32", ["n"])]))

const sum = Callable.native({
  name: "sum",
  signature: { ...inputs, factor: Arg.scalar("float32"), y: Arg.output("float32", ["n"]) },
  kernels: [Cuda.kernels({
    module,
    launches: ({ n }) => [{
      symbol: "gpu_sum_of_table",
      grid: 1,
      block: 32,
      parameters: [
        Cuda.table([...names, "factor"]),
        Cuda.constant("uint32", names.length),
        "y",
        Cuda.constant("uint64", BigInt(n!))
      ]
    }]
  })]
})
// #endregion

const argumentsOf = (length: number, factor = 2) => ({
  ...Object.fromEntries(names.map((name, index) => [name, new Float32Array(length).fill(index)])),
  factor,
  y: new Float32Array(length)
})

/** 0 + 1 + ... + 599. */
const total = tensorCount * (tensorCount - 1) / 2

/** Runs it once and looks at the sum, which is exact in float32 for these factors. */
const assertSum = (runner: DeviceRunner.Service, length: number, factor = 2) =>
  Effect.gen(function*() {
    const args = argumentsOf(length, factor)
    yield* runner.run(sum, args as never)
    assert.deepStrictEqual(args.y, new Float32Array(length).fill(total * factor))
  })

const runner = (options: RunnerOptions.RunnerOptions = {}) =>
  DeviceRunner.make({
    temporaryBuffer: { maxBytes: "2 MiB", alignmentBytes: 256 },
    residentMaxBytes: "1 MiB",
    stagingMaxBytes: "4 MiB",
    maxInlineCopyBytes: "4 MiB",
    ...options
  })

const onDevice = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(effect).pipe(Effect.provide(Probe.layer), Effect.provide(CudaDevice.layer()))

/** A callable of one small tensor. */
const of = (launches: Cuda.Kernel["launches"]) =>
  Callable.native({
    signature: { x: Arg.input("uint8", [4]) },
    kernels: [Cuda.kernels({ module, launches })]
  })

/** y = factor * the sum of so many tensors of two elements. */
const sumStep = (tensors: ReadonlyArray<string>, factor: number, y: string): Cuda.Step => ({
  symbol: "gpu_sum_of_table",
  grid: 1,
  block: 32,
  parameters: [
    Cuda.table([...tensors, Cuda.constant("float32", factor)]),
    Cuda.constant("uint32", tensors.length),
    y,
    Cuda.constant("uint64", 2n)
  ]
})

/** Source: `LH_TRANSFER_*` of the native ABI. */
const hostCopy = 4

/** A host view that is copied into staging: where it lies. Source: `lh_transfer` of the native ABI. */
const stagedFrom = (calls: ReadonlyArray<Probe.Call>, byteCount: number): ReadonlyArray<number> =>
  calls.filter(({ purpose }) => purpose === "stage").flatMap(({ cells }) =>
    Array.from({ length: cells.length / 4 }, (_, index) => cells.subarray(index * 4, index * 4 + 4))
      .filter(([kind, , , bytes]) => kind === hostCopy && bytes === byteCount)
      .map(([, , source]) => source!)
  )

describe("a device table", () => {
  it.effect("brings 600 tensors and a scalar to a kernel of four parameters, for any shape and again", () =>
    onDevice(Effect.gen(function*() {
      const small = yield* runner()
      for (const length of [4, 100, 4, 100, 4]) {
        yield* assertSum(small, length)
        yield* assertSum(small, length, 3)
      }
    })))

  it.effect("is laid out by the steps that are launched: launches is asked once for each shape", () =>
    onDevice(Effect.gen(function*() {
      const own = yield* runner()
      const asked: Array<number> = []
      const callable = Callable.native({
        signature: { x: Arg.input("uint8", ["n"]) },
        kernels: [Cuda.kernels({
          module,
          launches: ({ n }) => {
            asked.push(n!)
            return [{ symbol: "gpu_nothing", grid: 1, block: 32, parameters: [] }]
          }
        })]
      })
      yield* Effect.forEach([1, 2, 1, 2, 2], (length) => own.run(callable, { x: new Uint8Array(length) }))
      assert.deepStrictEqual(asked, [1, 2])
    })))

  it.effect("has its bytes written anew where the run lies elsewhere: other slots, other chunks, memory of its own", () =>
    onDevice(Effect.gen(function*() {
      const two = yield* runner({ slots: 2, temporaryBuffer: { maxBytes: "1 MiB", alignmentBytes: 256 } })
      yield* Effect.all(Array.from({ length: 8 }, (_, index) => assertSum(two, 4, index + 1)), { concurrency: 2 })
      yield* two.configure({ maxBytes: "2 MiB", alignmentBytes: 512 })
      yield* assertSum(two, 4)
      const other = yield* runner({ temporaryBuffer: { maxBytes: 0 } })
      yield* assertSum(other, 4)
      yield* assertSum(other, 4, 5)
    })))

  for (const slots of [1, 2]) {
    it.effect(`is where the chunk is after it has grown and was given back, with ${slots} slots`, () =>
      onDevice(Effect.gen(function*() {
        const own = yield* runner({
          slots,
          temporaryBuffer: { maxBytes: "4 MiB", alignmentBytes: 256, growth: "highWater" },
          admission: { wait: { maxQueueCount: 8 } }
        })
        const assertSums = (length: number) =>
          Effect.all([1, 2, 3].map((factor) => assertSum(own, length, factor)), { concurrency: "unbounded" })
        yield* assertSums(4)
        const { growths } = (yield* own.stats).temporaryBuffer
        yield* assertSums(100)
        yield* assertSums(400)
        yield* assertSums(4)
        assert.isAtLeast((yield* own.stats).temporaryBuffer.growths, growths + 2)
        yield* own.trim(0)
        yield* assertSums(4)
        yield* assertSums(400)
      })))
  }

  it.effect("holds residents, by place as well as by name, and constants", () =>
    onDevice(Effect.gen(function*() {
      const own = yield* runner()
      const resident = yield* own.allocate("float32", [4])
      yield* resident.upload(Float32Array.of(1, 2, 3, 4))
      const weighted = Callable.native({
        signature: { weights: Arg.resident("float32"), x: Arg.input("float32", [4]), y: Arg.output("float32", [4]) },
        kernels: [Cuda.kernels({
          module,
          launches: () => [{
            symbol: "gpu_sum_of_table",
            grid: 1,
            block: 32,
            parameters: [
              Cuda.table([0, "x", 0, Cuda.constant("float32", 0.5)]),
              Cuda.constant("uint32", 3),
              "y",
              Cuda.constant("uint64", 4n)
            ]
          }]
        })]
      })
      const y = new Float32Array(4)
      yield* own.run(weighted, { weights: resident, x: Float32Array.of(10, 10, 10, 10), y })
      assert.deepStrictEqual(y, Float32Array.of(6, 7, 8, 9))
      const another = yield* own.allocate("float32", [4])
      yield* own.run(weighted, { weights: another, x: Float32Array.of(10, 10, 10, 10), y })
      assert.deepStrictEqual(y, Float32Array.of(5, 5, 5, 5))
    })))

  it.effect("is one for the tables of all steps, each of which begins behind the one before it", () =>
    onDevice(Effect.gen(function*() {
      const own = yield* runner()
      const tensor = Arg.input("float32", [2])
      const callable = Callable.native({
        signature: { a: tensor, b: tensor, y: Arg.output("float32", [2]), z: Arg.output("float32", [2]) },
        kernels: [Cuda.kernels({
          module,
          launches: () => [sumStep(["a", "a", "b"], 2, "y"), sumStep(["y", "b"], 3, "z"), sumStep(["z"], 0.5, "y")]
        })]
      })
      const [y, z] = [new Float32Array(2), new Float32Array(2)]
      const args = { a: Float32Array.of(1, 2), b: Float32Array.of(10, 20), y, z }
      const { leases } = yield* own.plan(callable, args)
      assert.deepStrictEqual(
        leases.filter((lease) => lease.tensor === "device table").map((lease) => lease.byteCount),
        [
          (4 + 3 + 2) * 8
        ]
      )
      yield* own.run(callable, args)
      assert.deepStrictEqual([z, y], [Float32Array.of(102, 204), Float32Array.of(51, 102)])
    })))

  it.effect("is of one run alone: those that are bound at once are staged from bytes of their own", () =>
    onDevice(Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const two = yield* runner({ slots: 2 })
      const [first, second] = [argumentsOf(4, 2), argumentsOf(4, 5)]
      const calls = yield* probe.during(Effect.scoped(Effect.gen(function*() {
        const runs = [yield* two.bind(sum, first as never), yield* two.bind(sum, second as never)]
        for (const run of runs) {
          yield* run.launch
          yield* run.validate
        }
      })))
      assert.deepStrictEqual([first.y[3], second.y[3]], [total * 2, total * 5])
      const sources = stagedFrom(calls, (tensorCount + 1) * 8)
      assert.strictEqual(sources.length, 2)
      assert.notStrictEqual(sources[0], sources[1])
    })))

  it.effect("is planned: it is in the plan, in the budget, and in the one copy in", () =>
    onDevice(Effect.gen(function*() {
      const probe = yield* Probe.Probe
      const own = yield* runner()
      const plan = yield* own.plan(sum, argumentsOf(4) as never)
      const tableBytes = (tensorCount + 1) * 8
      const lease = plan.leases.find(({ tensor }) => tensor === "device table")
      assert.strictEqual(lease?.byteCount, tableBytes)
      assert.isAtLeast(plan.hostToDeviceBytes, tensorCount * 16 + tableBytes)
      yield* assertSum(own, 4)
      const calls = yield* probe.during(assertSum(own, 4))
      assert.deepStrictEqual(calls.map(({ operation, purpose }) => `${operation} ${purpose}`), [
        "submit stage",
        "launch launch",
        "submit copyBack",
        "collect copyBack"
      ])
      const bufferBytes = (yield* own.plan(sum, argumentsOf(4) as never)).bufferBytes
      const tight = yield* runner({ temporaryBuffer: { maxBytes: bufferBytes, alignmentBytes: 256 } })
      yield* assertSum(tight, 4)
      const tooTight = yield* runner({ temporaryBuffer: { maxBytes: bufferBytes - 256, alignmentBytes: 256 } })
      yield* failsWith("BudgetExhausted", tooTight.run(sum, argumentsOf(4) as never))
      // Room for the tensors, each at a multiple of 64 B, and for nothing else.
      const unstaged = yield* runner({ stagingMaxBytes: tensorCount * 64 })
      yield* failsWith("StagingExhausted", unstaged.run(sum, argumentsOf(4) as never))
    })))

  it.effect("is what a step above the limit is told to use", () =>
    onDevice(Effect.gen(function*() {
      const own = yield* runner()
      // 33,656 B: the newest devices take 32,764.
      const values = Array.from({ length: 7 }, () => [...names, "factor"]).flat()
      const step = { symbol: "gpu_sum_of_table", grid: 1, block: 32, parameters: values }
      const kernels = [Cuda.kernels({ module, launches: () => [step] })]
      const wide = Callable.native({ name: "wide", signature: sum.signature, kernels })
      const failure = yield* failsWith("LaunchFailed", own.run(wide, argumentsOf(4) as never))
      assert.strictEqual(failure.reason, "Argument")
      assert.include(failure.detail, "a table in device memory")
      yield* assertSum(own, 4)
    })))

  it.effect("names an argument that is not there, and lets launches throw, as without one; the runner goes on", () =>
    onDevice(Effect.gen(function*() {
      const own = yield* runner()
      const step = { symbol: "gpu_nothing", grid: 1, block: 32 }
      for (const wrong of ["z", "device table", 1, -1, 0.5]) {
        const callable = of(() => [{ ...step, parameters: [Cuda.table(["x", wrong])] }])
        const failure = yield* failsWith("LaunchFailed", own.run(callable, { x: new Uint8Array(4) }))
        assert.include(failure.detail, JSON.stringify(wrong))
      }
      const thrown = new Error("no steps today")
      const exit = yield* Effect.exit(
        own.run(
          of(() => {
            throw thrown
          }),
          { x: new Uint8Array(4) }
        )
      )
      assert.isTrue(Exit.isFailure(exit) && Option.contains(Cause.dieOption(exit.cause), thrown))
      assert.strictEqual((yield* own.stats).runs.active, 0)
      yield* assertSum(own, 4)
    })))

  it.runIf(CudaDevice.isLoopback)("has not misused the driver", () => {
    assert.strictEqual(Loopback.violations(), "")
  })
})
