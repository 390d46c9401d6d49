/**
 * Tutorial, step 2: a callable with a typed signature, and its first run.
 *
 *     npx tsx examples/tutorial/2-first-run.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { choose, tokenOf, vocabulary, weights } from "./model.ts"

// #region callable
const score = Callable.make({
  name: "score",
  signature: {
    token: Arg.input("int32", [1]),
    weights: Arg.input("float32", ["vocabulary", "vocabulary"]),
    logits: Arg.output("float32", ["vocabulary"])
  },
  launch: ({ dims, read, write }) =>
    Effect.gen(function*() {
      const [token] = yield* read("token")
      const start = token! * dims.vocabulary
      yield* write("logits", (yield* read("weights")).slice(start, start + dims.vocabulary))
    })
})
// #endregion

// #region program
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const logits = new Float32Array(vocabulary.length)
  for (const letter of "lend") {
    yield* runner.run(score, { token: Int32Array.of(tokenOf(letter)), weights: weights(), logits })
    yield* Console.log(`after "${letter}" comes "${vocabulary[choose(logits)]}"`)
  }
  const { device, runs } = yield* runner.stats
  yield* Console.log(`${runs.ended} runs moved ${device.hostToDeviceBytes} B to the device`)
})
// #endregion

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
