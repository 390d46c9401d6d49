/**
 * What a run would need, without touching the device: where its tensors would lie, and what would move.
 *
 *     npx tsx examples/tutorial/plan.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"

// #region callable
const callable = Callable.make({
  signature: {
    x: Arg.input("float32", ["n"]),
    state: Arg.inout("float32", ["n"]),
    work: Arg.scratch("float32", ["n", 4]),
    y: Arg.output("float32", ["n"])
  },
  launch: () => Effect.void
})
// #endregion

// #region program
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const args = { x: new Float32Array(64), state: new Float32Array(64), y: new Float32Array(64) }
  const { leases, ...plan } = yield* runner.plan(callable, args)
  for (const lease of leases) {
    const place = lease._tag === "BufferNoop" ? `chunk ${lease.chunkIndex}, from byte ${lease.offsetBytes}` : lease._tag
    yield* Console.log(`${lease.tensor.padEnd(6)} ${String(lease.byteCount).padStart(4)} B: ${place}`)
  }
  yield* Console.log(`takes ${plan.bufferBytes} B, of which ${plan.paddingBytes} B are padding`)
  yield* Console.log(`copies in ${plan.hostToDeviceBytes} B, clears ${plan.clearedBytes} B: calls ${plan.stageCalls}`)
  yield* Console.log(`copies out ${plan.deviceToHostBytes} B: calls ${plan.copyBackCalls}`)
})
// #endregion

const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB", alignmentBytes: 1024 } })

program.pipe(Effect.provide(Layer.provide(Runner, Simulator.layer())), NodeRuntime.runMain)
