/**
 * Tutorial, step 8: the decode step as a kernel in C, launched inline. Build it first:
 *
 *     make -C examples/tutorial/kernel
 *     npx tsx examples/tutorial/8-native-kernel.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Callable, DeviceRunner, Simulator } from "leasehold"
import { choose, tokenOf, vocabulary } from "./model.ts"
import { allocateState, signature } from "./step.ts"

// #region callable
const step = Callable.native({
  name: "decode step",
  signature,
  kernels: [Simulator.kernel({
    library: new URL("./kernel/build/libtutorial.so", import.meta.url),
    symbol: "tutorial_decode_step"
  })],
  execution: "inline"
})
// #endregion

// #region program
const program = Effect.scoped(Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const state = yield* allocateState
  const token = new Int32Array(1)
  const logits = new Float32Array(vocabulary.length)
  const before = (yield* runner.stats).device
  let text = ""
  for (let position = 0; position < 32; position++) {
    token[0] = position < 5 ? tokenOf("what "[position]!) : choose(logits)
    text += vocabulary[token[0]]
    yield* runner.run(step, { ...state, token, logits })
  }
  yield* Console.log(text)
  const { device, runs } = yield* runner.stats
  yield* Console.log(
    `${runs.ended} runs: ${device.hostToDeviceBytes - before.hostToDeviceBytes} B in, ` +
      `${device.deviceToHostBytes - before.deviceToHostBytes} B out`
  )
  yield* Console.log(
    `native calls: ${device.stageCalls} to stage, ${device.launches} to launch, ` +
      `${device.copyBackCalls} to copy back`
  )
  const failure = yield* Effect.flip(runner.run(step, { ...state, token: Int32Array.of(99), logits }))
  yield* Console.log(`${failure._tag}: ${failure.message}`)
}))
// #endregion

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, residentMaxBytes: "1 MiB" })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
