/**
 * Two devices in one program: `DeviceRunner.make`, and tags of one's own.
 *
 *     npx tsx examples/tutorial/two-devices.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Context, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"

// #region tags
class Small extends Context.Tag("app/Small")<Small, DeviceRunner.Service>() {}
class Large extends Context.Tag("app/Large")<Large, DeviceRunner.Service>() {}

const SmallRunner = Layer.scoped(Small, DeviceRunner.make({ temporaryBuffer: { maxBytes: "64 KiB" } })).pipe(
  Layer.provide(Simulator.layer({ totalBytes: "16 MiB" }))
)
const LargeRunner = Layer.scoped(Large, DeviceRunner.make({ temporaryBuffer: { maxBytes: "8 MiB" } })).pipe(
  Layer.provide(Simulator.layer({ totalBytes: "1 GiB" }))
)
// #endregion

// #region program
const negate = Callable.make({
  signature: { x: Arg.inout("float32", ["n"]) },
  launch: ({ read, write }) => Effect.flatMap(read("x"), (x) => write("x", x.map((value) => -value)))
})

const program = Effect.gen(function*() {
  const small = yield* Small
  const large = yield* Large
  const x = Float32Array.of(1, 2)
  const y = Float32Array.of(3, 4)
  yield* Effect.all([small.run(negate, { x }), large.run(negate, { x: y })], { concurrency: 2 })
  yield* Console.log(`${x.join(" ")} | ${y.join(" ")}`)
  for (const runner of [small, large]) {
    const { runs, temporaryBuffer } = yield* runner.stats
    yield* Console.log(`runs: ${runs.ended}, budget: ${temporaryBuffer.maxBytes} B`)
  }
})
// #endregion

program.pipe(Effect.provide([SmallRunner, LargeRunner]), NodeRuntime.runMain)
