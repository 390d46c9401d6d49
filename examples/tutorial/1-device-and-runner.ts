/**
 * Tutorial, step 1: a device, and a runner that retains memory on it.
 *
 *     npx tsx examples/tutorial/1-device-and-runner.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Bytes, DeviceRunner, Simulator } from "leasehold"

// #region program
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const { device, state, temporaryBuffer } = yield* runner.stats
  yield* Console.log(`device:           ${runner.device.name}, ${Bytes.format(runner.device.totalBytes)}`)
  yield* Console.log(`runner:           ${state}`)
  yield* Console.log(
    `temporary buffer: ${Bytes.format(temporaryBuffer.retainedBytes)}, chunks: ${temporaryBuffer.chunkCount}`
  )
  yield* Console.log(`device mallocs:   ${device.mallocs}`)
})
// #endregion

// #region layers
const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
// #endregion
