/**
 * The long way: bind, launch and validate one run in a scope of your own, and see what it holds in between.
 *
 *     npx tsx examples/long-way.ts
 *
 * It prints how each tensor is held, and the result; then what is left of a run that its scope ended before it was
 * validated: nothing, and its output as it was.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"

/** sum = scale * left + right, computed in TypeScript on what the device holds. */
const scaledSum = Callable.make({
  name: "scaled sum",
  signature: {
    scale: Arg.scalar("float32"),
    left: Arg.resident("float32", { dims: ["n"] }),
    right: Arg.input("float32", ["n"]),
    sum: Arg.output("float32", ["n"])
  },
  launch: (context) =>
    Effect.gen(function*() {
      const left = yield* context.read("left")
      const right = yield* context.read("right")
      yield* context.write("sum", right.map((value, index) => context.scalars.scale * left[index]! + value))
    })
})

const program = Effect.scoped(Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const left = yield* runner.allocate("float32", [4])
  yield* left.upload(Float32Array.of(1, 2, 3, 4))

  const sum = new Float32Array(4)
  const args = { scale: 10, left, right: Float32Array.of(5, 6, 7, 8), sum }

  yield* Effect.scoped(Effect.gen(function*() {
    const run = yield* runner.bind(scaledSum, args)
    for (const lease of run.leases) {
      yield* Console.log(`run ${run.generation} holds "${lease.tensor}": ${lease._tag}`)
    }
    yield* run.launch
    yield* Console.log(`launched:  the device is done, the host has ${sum.join(" ")}`)
    yield* run.validate
    yield* Console.log(`validated: the host has ${sum.join(" ")}`)
  }))

  yield* Effect.scoped(Effect.gen(function*() {
    const run = yield* runner.bind(scaledSum, { ...args, scale: 1000 })
    yield* run.launch
  }))
  const { device, runs, temporaryBuffer } = yield* runner.stats
  yield* Console.log(`not validated: the host still has ${sum.join(" ")}`)
  yield* Console.log(`${runs.begun} runs begun, ${runs.ended} ended, ${temporaryBuffer.inUseBytes} B in use`)
  yield* Console.log(`${device.mallocs} device mallocs: the chunk and the resident tensor; the runs made none`)
}))

const RunnerLive = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } }).pipe(
  Layer.provide(Simulator.layer())
)

program.pipe(
  Effect.provide(RunnerLive),
  Effect.catchAll((error) => Effect.zipRight(Console.error(error.message), Effect.sync(() => process.exitCode = 1))),
  NodeRuntime.runMain
)
