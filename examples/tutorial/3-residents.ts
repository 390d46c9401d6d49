/**
 * Tutorial, step 3: weights and state stay on the device.
 *
 *     npx tsx examples/tutorial/3-residents.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { tokenOf, vocabulary } from "./model.ts"
import { allocateState, step } from "./step.ts"

// #region program
const program = Effect.scoped(Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const state = yield* allocateState
  const uploaded = (yield* runner.stats).device.hostToDeviceBytes
  const logits = new Float32Array(vocabulary.length)
  for (const letter of "lend") {
    yield* runner.run(step, { ...state, token: Int32Array.of(tokenOf(letter)), logits })
  }
  const { device, residents, runs } = yield* runner.stats
  yield* Console.log(`residents: ${residents.count}, ${residents.inUseBytes} B`)
  yield* Console.log(`uploaded once: ${uploaded} B`)
  yield* Console.log(`then ${runs.ended} runs moved ${device.hostToDeviceBytes - uploaded} B`)
  const seen = new Float32Array(vocabulary.length)
  yield* state.seen.download(seen)
  yield* Console.log(
    `the device remembers: ${Array.from(seen, (times, token) => times > 0 ? vocabulary[token] : "").join("")}`
  )
}))
// #endregion

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, residentMaxBytes: "1 MiB" })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
