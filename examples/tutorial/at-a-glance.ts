/**
 * The example of the README: a thousand runs that borrow from one retained chunk.
 *
 *     npx tsx examples/tutorial/at-a-glance.ts
 *
 * Prints the last result, and how often the device was asked for memory.
 */
// #region example
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"

const double = Callable.make({
  signature: { x: Arg.input("float32", ["n"]), y: Arg.output("float32", ["n"]) },
  launch: ({ read, write }) => Effect.flatMap(read("x"), (x) => write("y", x.map((value) => value * 2)))
})
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const y = new Float32Array(3)
  yield* Effect.repeatN(runner.run(double, { x: Float32Array.of(1, 2, 3), y }), 999)
  const { device, runs } = yield* runner.stats
  yield* Console.log(`${y.join(" ")} after ${runs.ended} runs and ${device.mallocs} device malloc`)
})
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "1 MiB" } })
program.pipe(Effect.provide(Layer.provide(Runner, Simulator.layer())), NodeRuntime.runMain)
// #endregion
