/**
 * Growth and trimming: a buffer that holds what runs have needed, and gives it back.
 *
 *     npx tsx examples/tutorial/growth.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer, Schedule } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"

const negate = Callable.make({
  signature: { x: Arg.inout("float32", ["n"]) },
  launch: ({ read, write }) => Effect.flatMap(read("x"), (x) => write("x", x.map((value) => -value)))
})

// #region runner
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "1 MiB", growth: "highWater" } })

const Trimmed = DeviceRunner.layerTrim({ schedule: Schedule.spaced("30 seconds"), keepBytes: "64 KiB" }).pipe(
  Layer.provideMerge(Runner)
)
// #endregion

// #region program
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const show = (when: string) =>
    Effect.flatMap(
      runner.stats,
      ({ temporaryBuffer }) => Console.log(`${when}: ${temporaryBuffer.retainedBytes} B retained`)
    )
  yield* show("at first")
  for (const length of [1024, 65_536, 1024]) {
    yield* runner.run(negate, { x: new Float32Array(length) })
    yield* show(`after ${length} elements`)
  }
  const trimmedBytes = yield* runner.trim("64 KiB")
  yield* show(`${trimmedBytes} B given back`)
})
// #endregion

program.pipe(Effect.provide(Layer.provide(Trimmed, Simulator.layer())), NodeRuntime.runMain)
