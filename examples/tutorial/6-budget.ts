/**
 * Tutorial, step 6: a run that does not fit, on purpose. The error says what would.
 *
 *     npx tsx examples/tutorial/6-budget.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { tokenOf } from "./model.ts"

// #region callable
const prefill = Callable.make({
  name: "prefill",
  signature: {
    tokens: Arg.input("int32", ["n"]),
    workspace: Arg.scratch("float32", ["n", 1024]),
    last: Arg.output("int32", [1])
  },
  launch: ({ dims, read, write }) => Effect.flatMap(read("tokens"), (tokens) => write("last", tokens.slice(dims.n - 1)))
})
// #endregion

// #region program
const argsOf = (prompt: string) => ({ tokens: Int32Array.from(prompt, tokenOf), last: new Int32Array(1) })

const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner

  const { bufferBytes, paddingBytes } = yield* runner.plan(prefill, argsOf("short"))
  yield* Console.log(`a prompt of 5 needs ${bufferBytes} B, of which ${paddingBytes} B are padding`)
  yield* runner.run(prefill, argsOf("short"))

  const long = argsOf("a longer prompt")
  yield* runner.run(prefill, long).pipe(
    Effect.catchTag("BudgetExhausted", (error) =>
      Effect.gen(function*() {
        yield* Console.log(`${error.reason}: ${error.message}`)
        yield* runner.configure({ maxBytes: error.suggestedMaxBytes })
        yield* runner.run(prefill, long)
      }))
  )
  const { device, temporaryBuffer } = yield* runner.stats
  yield* Console.log(`budget: ${temporaryBuffer.maxBytes} B, most used: ${temporaryBuffer.highWaterBytes} B`)
  yield* Console.log(`device mallocs: ${device.mallocs}, device frees: ${device.frees}`)
})
// #endregion

const Device = Simulator.layer({ totalBytes: "64 MiB" })
const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "32 KiB" } })

program.pipe(Effect.provide(Layer.provide(Runner, Device)), NodeRuntime.runMain)
