/**
 * Child budgets: memory that is set apart for one tenant, and a quota for another.
 *
 *     npx tsx examples/tutorial/child-budgets.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"

const fill = Callable.make({
  name: "fill",
  signature: { y: Arg.output("float32", ["n"]) },
  launch: ({ write }) => write("y", new Float32Array(2048).fill(1))
})
const args = () => ({ y: new Float32Array(2048) })

// #region program
const program = Effect.scoped(Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const steady = yield* runner.budget("steady", { reserveBytes: "16 KiB" })
  const guest = yield* runner.budget("guest", { maxBytes: "16 KiB" })

  // Each run holds 8 KiB until the scope closes.
  yield* guest.bind(fill, args())
  yield* guest.bind(fill, args())
  const refusal = yield* Effect.flip(guest.bind(fill, args()))
  yield* Console.log(`${refusal._tag}: ${refusal.message}`)

  // The guest has its quota, and others have the rest; what is reserved is there all the same.
  yield* Effect.repeatN(runner.bind(fill, args()), 3)
  yield* steady.bind(fill, args())
  for (const { name, stats } of [steady, guest]) {
    const { inUseBytes, maxBytes, reservedBytes } = yield* stats
    yield* Console.log(`${name}: ${inUseBytes} B in use, at most ${maxBytes} B, ${reservedBytes} B reserved`)
  }

  const inUse = yield* Effect.flip(guest.close)
  yield* Console.log(`${inUse._tag}: ${inUse.message}`)
}))
// #endregion

const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" }, slots: 8 })

program.pipe(Effect.provide(Layer.provide(Runner, Simulator.layer())), NodeRuntime.runMain)
