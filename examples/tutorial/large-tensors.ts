/**
 * Tensors above `maxInlineCopyBytes`: a plain view is refused by name, a host tensor is the way.
 *
 *     npx tsx examples/tutorial/large-tensors.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { DeviceRunner, Simulator } from "leasehold"

const elements = 2 ** 21

// #region program
const program = Effect.scoped(Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const weights = yield* runner.allocate("float32", [elements])

  const refusal = yield* Effect.flip(weights.upload(new Float32Array(elements)))
  yield* Console.log(`${refusal._tag}: ${refusal.message}`)

  const source = yield* runner.allocateHost("float32", [elements])
  source.view.fill(1)
  yield* weights.upload(source)

  const part = new Float32Array(4)
  yield* weights.download(part, { offsetElements: elements - 4 })
  yield* Console.log(`the last elements: ${part.join(" ")}`)
}))
// #endregion

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
