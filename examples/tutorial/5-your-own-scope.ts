/**
 * Tutorial, step 5: the same run in a scope of your own, and what is left when it fails half-way.
 *
 *     npx tsx examples/tutorial/5-your-own-scope.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { choose, tokenOf, vocabulary } from "./model.ts"
import { allocateState, step } from "./step.ts"

// #region program
const program = Effect.scoped(Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const state = yield* allocateState
  const logits = new Float32Array(vocabulary.length)
  const args = { ...state, token: Int32Array.of(tokenOf("w")), logits }

  yield* Effect.scoped(Effect.gen(function*() {
    const run = yield* runner.bind(step, args)
    yield* Console.log(run.leases.map((lease) => `${lease.tensor}: ${lease._tag}, ${lease.byteCount} B`).join("\n"))
    yield* run.launch
    yield* run.validate
    yield* Console.log(`after "w" comes "${vocabulary[choose(logits)]}"`)
  }))

  logits.fill(-1)
  const abandoned = Effect.scoped(Effect.gen(function*() {
    const run = yield* runner.bind(step, args)
    yield* run.launch
    return yield* Effect.fail("the client went away")
  }))
  yield* Console.log(`abandoned half-way: ${(yield* Effect.exit(abandoned))._tag}`)
  yield* Console.log(`logits untouched: ${logits.every((logit) => logit === -1)}`)
  const { runs } = yield* runner.stats
  yield* Console.log(`runs begun: ${runs.begun}, ended: ${runs.ended}, failed: ${runs.failed}, active: ${runs.active}`)
}))
// #endregion

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, residentMaxBytes: "1 MiB" })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
