/**
 * A program of its own, with the sanitized libraries and the sanitizer's runtime preloaded: `child.ts correct` ends with
 * success and says so; `child.ts readsOnePastSlice` and its like make one mistake each and do not live to say anything;
 * `child.ts sweepPooled` and `child.ts sweepUnpooled` sweep all scenarios and print a line of JSON for each.
 */
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import assert from "node:assert/strict"
import { join } from "node:path"
import type { Scenario } from "../faults/scenario.ts"
import { add, addInline, native } from "../utils/kernels.ts"
import { nativeFolder } from "../utils/nativeFolder.ts"
import { pooledScenarios, unpooledScenarios } from "./programs.ts"

const simulator = (options: Simulator.Options = {}) =>
  Simulator.layer({
    totalBytes: "1 MiB",
    libraryPath: join(nativeFolder, "libleasehold_simulator.so"),
    ...options
  })

/** A runner whose slices lie 64 bytes apart. */
const runnerOn = (options?: Simulator.Options, maxBytes = 4096) =>
  DeviceRunner.layer({ temporaryBuffer: { maxBytes, alignmentBytes: 64 }, residentMaxBytes: 4096 }).pipe(
    Layer.provideMerge(simulator(options))
  )

const touch = native("test_touch", {
  x: Arg.inout("uint8", ["n"]),
  offset: Arg.scalar("int32"),
  writes: Arg.scalar("int32"),
  neighbour: Arg.input("uint8", ["m"])
})

const remember = native("test_remember", { x: Arg.inout("uint8", ["n"]), y: Arg.inout("uint8", ["m"]) })

const addOne = Callable.make({
  signature: { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) },
  launch: (context) => Effect.flatMap(context.read("x"), (x) => context.write("y", x.map((value) => value + 1)))
})

/** Runs, kernels, copies and residents on devices of every kind, all of them in order. */
const correct = Effect.forEach(
  (["immediate", "late"] as const).flatMap((completion) =>
    (["worker", "inline"] as const).flatMap((longCalls) =>
      [4096, 0].map((maxBytes) => runnerOn({ completion, longCalls, lanes: "overlap", memoryLab: "fail" }, maxBytes))
    )
  ),
  (layer) =>
    Effect.scoped(Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      for (const length of [0, 1, 7, 8, 9, 100]) {
        const a = Float32Array.from({ length }, (_, index) => index)
        for (const callable of [add, addInline]) {
          const c = new Float32Array(length)
          yield* runner.run(callable, { a, b: a, c })
          assert.deepEqual(c, a.map((value) => 2 * value))
        }
        const x = new Uint8Array(length + 1)
        yield* runner.run(touch, { x, offset: length, writes: 1, neighbour: new Uint8Array(length) })
        assert.equal(x[length], 7)
        const y = new Uint8Array(length)
        yield* runner.run(addOne, { x: new Uint8Array(length), y })
        assert.deepEqual(y, new Uint8Array(length).fill(1))
      }
      const resident = yield* runner.allocate("uint8", [100])
      yield* resident.upload(new Uint8Array(100).fill(3))
      const downloaded = new Uint8Array(100)
      yield* resident.download(downloaded)
      assert.deepEqual(downloaded, new Uint8Array(100).fill(3))
    })).pipe(Effect.provide(layer)),
  { discard: true }
)

/** Touches a byte so far from a slice of 20 bytes, whose neighbour begins 64 bytes from it. */
const stray = (offset: number, writes: number) =>
  Effect.flatMap(
    DeviceRunner.DeviceRunner,
    (runner) => runner.run(touch, { x: new Uint8Array(20), offset, writes, neighbour: new Uint8Array(20) })
  )

/** Reads, in one run, through a pointer that a kernel kept in another one. */
const readReleased = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  yield* runner.run(remember, { x: new Uint8Array(20), y: new Uint8Array(20) })
  yield* runner.run(remember, { x: new Uint8Array(20), y: new Uint8Array(0) })
})

/** Sweeps scenarios with a budget, or with their own. */
const sweep = (scenarios: ReadonlyArray<Scenario>, maxBytes: number | undefined) =>
  Effect.forEach(
    scenarios,
    (scenario) =>
      Effect.flatMap(
        scenario.sweep({ backend: (options) => simulator({ longCalls: "inline", ...options }), maxBytes }),
        ({ coveredCount, faultCases, interruptCases, name, pointCount, ...report }) =>
          Console.log(JSON.stringify({
            name,
            faultCases,
            interruptCases,
            pointCount,
            coveredCount,
            failures: report.failures.map(({ page }) => page)
          }))
      ),
    { discard: true }
  )

const tasks: Readonly<Record<string, Effect.Effect<void, unknown>>> = {
  correct,
  readsOnePastSlice: Effect.provide(stray(20, 0), runnerOn()),
  writesPadding: Effect.provide(stray(63, 1), runnerOn()),
  readsBehindLastSlice: Effect.provide(stray(128, 0), runnerOn({ completion: "late" })),
  readsReleasedSlice: Effect.provide(readReleased, runnerOn()),
  readsReleasedAllocation: Effect.provide(readReleased, runnerOn({}, 0)),
  sweepPooled: sweep(pooledScenarios, undefined),
  sweepUnpooled: sweep(unpooledScenarios, 0)
}

const task = tasks[process.argv[2] ?? ""]
if (task === undefined) {
  throw new Error(`there is no task "${process.argv[2]}"`)
}
await Effect.runPromise(Effect.zipRight(task, Console.log("lived")))
