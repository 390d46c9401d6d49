/**
 * Tutorial, step 7: the same loop with a retained chunk, and with a malloc and a free for each tensor.
 *
 *     npx tsx examples/tutorial/7-what-it-saved.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { choose, tokenOf, vocabulary } from "./model.ts"
import { allocateState, step } from "./step.ts"

// #region program
const countSteps = (length: number) =>
  Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const state = yield* allocateState
    const token = Int32Array.of(tokenOf("w"))
    const logits = new Float32Array(vocabulary.length)
    const before = (yield* runner.stats).device
    for (let position = 0; position < length; position++) {
      yield* runner.run(step, { ...state, token, logits })
      token[0] = choose(logits)
    }
    const after = (yield* runner.stats).device
    return `mallocs ${after.mallocs - before.mallocs}, frees ${after.frees - before.frees}, last "${
      vocabulary[token[0]!]
    }"`
  }))

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const withBudget = (maxBytes: "64 KiB" | 0) =>
  countSteps(100).pipe(
    Effect.provide(Layer.provide(DeviceRunner.layer({ temporaryBuffer: { maxBytes } }), Device)),
    Effect.flatMap((counts) => Console.log(`100 steps, budget ${maxBytes}: ${counts}`))
  )
// #endregion

NodeRuntime.runMain(Effect.zipRight(withBudget("64 KiB"), withBudget(0)))
