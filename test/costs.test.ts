/**
 * What a warm run costs, in counts: native calls, mallocs, plans, Effect operations, and bytes of the JavaScript heap. None
 * of them may grow with the number of tensors. Times are for `npm run bench`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { Scheduler } from "effect"
import { Arg, type Callable, DeviceRunner, Simulator } from "leasehold"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { allocated } from "./bench/heap.ts"
import { loop } from "./bench/loop.ts"
import { native } from "./utils/kernels.ts"
import * as Probe from "./utils/probe.ts"

const counts = [1, 20, 512, 4096]

const byteCount = 64

/** Half inputs, half outputs; the argument object is the program's own and used again in every run. */
const workloadOf = (count: number, execution: Callable.Execution) => {
  const names = Array.from({ length: count }, (_, index) => `tensor${index}`)
  const arg = (index: number): Arg.Input<"uint8"> | Arg.Output<"uint8"> =>
    index < count / 2 ? Arg.input("uint8", [byteCount]) : Arg.output("uint8", [byteCount])
  return {
    callable: native("test_nothing", Object.fromEntries(names.map((name, index) => [name, arg(index)])), { execution }),
    args: Object.fromEntries(names.map((name) => [name, new Uint8Array(byteCount)]))
  }
}

const runnerLayer = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "8 MiB" } })
const simulator = Simulator.layer({ totalBytes: "64 MiB" })
const plain = runnerLayer.pipe(Layer.provide(simulator))
/** How often a fiber waits for another thread is luck; on one thread it does not wait. */
const onOneThread = runnerLayer.pipe(
  Layer.provide(Simulator.layer({ totalBytes: "64 MiB", longCalls: "inline" }))
)
const probed = Layer.provideMerge(runnerLayer, Layer.provide(Probe.layer, simulator))

/** Counts the operations of a fiber: the scheduler is asked before each whether to let others in. */
const countOperations = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    let operations = 0
    const scheduler: Scheduler.Scheduler = {
      shouldYield: () => {
        operations += 1
        return false
      },
      scheduleTask: (task) => setImmediate(task)
    }
    return Effect.map(Effect.withScheduler(effect, scheduler), () => operations)
  })

// Collections at will: what a block of runs has allocated is measured from one to the next.
setFlagsFromString("--expose-gc")
globalThis.gc = runInNewContext("gc") as NodeJS.GCFunction

describe("a warm run", () => {
  for (const count of counts) {
    it.scoped(`makes the same native calls and no malloc with ${count} tensors`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        for (const execution of ["inline", "awaited"] as const) {
          const { args, callable } = workloadOf(count, execution)
          yield* runner.run(callable, args)
          const before = yield* runner.stats
          const calls = yield* probe.during(runner.run(callable, args))
          const moved = count === 1 ? ["submit", "launch"] : ["submit", "launch", "submit"]
          assert.deepStrictEqual(calls.map(({ operation }) => operation), moved)
          const after = yield* runner.stats
          assert.strictEqual(after.plans.hits, before.plans.hits + 1)
          assert.strictEqual(after.plans.misses, before.plans.misses)
        }
      }).pipe(Effect.provide(probed)))
  }

  it.scoped("takes the same few Effect operations with 1 tensor as with 4,096", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const nothing = yield* countOperations(Effect.void)
      const operations = { inline: new Set<number>(), awaited: new Set<number>(), bind: new Set<number>() }
      for (const count of counts) {
        const inline = workloadOf(count, "inline")
        const awaited = workloadOf(count, "awaited")
        yield* runner.run(inline.callable, inline.args)
        yield* runner.run(awaited.callable, awaited.args)
        const bind = Effect.scoped(Effect.flatMap(
          runner.bind(inline.callable, inline.args),
          (run) => Effect.zipRight(run.launch, run.validate)
        ))
        operations.inline.add((yield* countOperations(runner.run(inline.callable, inline.args))) - nothing)
        operations.awaited.add((yield* countOperations(runner.run(awaited.callable, awaited.args))) - nothing)
        operations.bind.add((yield* countOperations(bind)) - nothing)
      }
      assert.deepStrictEqual([...operations.inline], [1])
      assert.deepStrictEqual([...operations.awaited], [32])
      assert.deepStrictEqual([...operations.bind], [80])
    }).pipe(Effect.provide(onOneThread)))

  for (const count of counts) {
    it.scoped(
      `allocates at most 1 KiB on the JavaScript heap with ${count} tensors, over 10,000 runs`,
      () =>
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const { args, callable } = workloadOf(count, "inline")
          const run = runner.run(callable, args)
          // The first run loads the kernel; after some more the code is compiled.
          yield* run
          const runs = (times: number) => Effect.runSync(loop(() => run, times))
          runs(2000)
          const blockRuns = 500
          const bytesPerRun: Array<number> = []
          for (let made = 0; made < 10_000; made += blockRuns) {
            const { bytes } = yield* Effect.promise(() => allocated(runs, blockRuns))
            bytesPerRun.push(bytes / blockRuns)
          }
          // A compiler that is late, or at work meanwhile, can only add to what runs allocate.
          assert.isAtMost(Math.min(...bytesPerRun), 1024)
          assert.isAbove(Math.min(...bytesPerRun), 0)
        }).pipe(Effect.provide(plain)),
      60_000
    )
  }
})
