/**
 * Tutorial, step 4: the decode loop. Each step's choice is the next step's token.
 *
 *     npx tsx examples/tutorial/4-decode-loop.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { choose, tokenOf, vocabulary } from "./model.ts"
import { allocateState, step } from "./step.ts"

// #region decode
const decode = (prompt: string, length: number) =>
  Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const state = yield* allocateState
    const token = new Int32Array(1)
    const logits = new Float32Array(vocabulary.length)
    let text = ""
    for (let position = 0; position < length; position++) {
      token[0] = position < prompt.length ? tokenOf(prompt[position]!) : choose(logits)
      text += vocabulary[token[0]]
      yield* runner.run(step, { ...state, token, logits })
    }
    return text
  }))
// #endregion

// #region program
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  yield* Console.log(yield* decode("what ", 32))
  yield* Console.log(yield* decode("ends ", 32))
  const { device, plans, residents, runs } = yield* runner.stats
  yield* Console.log(`runs: ${runs.ended}, plans made: ${plans.misses}, plans found again: ${plans.hits}`)
  yield* Console.log(`device mallocs: ${device.mallocs}, device frees: ${device.frees}, residents: ${residents.count}`)
})
// #endregion

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, residentMaxBytes: "1 MiB" })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
