/**
 * More requests than memory: some run, some wait their turn, and the rest are told when to come again.
 *
 *     npx tsx examples/tutorial/waiting.ts
 */
import { HttpServerResponse } from "@effect/platform"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, type Errors, Simulator } from "leasehold"

const reverse = Callable.make({
  name: "reverse",
  signature: { x: Arg.input("float32", ["n"]), y: Arg.output("float32", ["n"]) },
  launch: ({ read, write }) => Effect.flatMap(Effect.delay(read("x"), "100 millis"), (x) => write("y", x.toReversed()))
})

// #region runner
const Runner = DeviceRunner.layer({
  temporaryBuffer: { maxBytes: "64 KiB" },
  slots: 8,
  admission: { wait: { maxQueueCount: 10, deadline: "5 seconds" } }
})
// #endregion

// #region refused
const refused = (error: Errors.AdmissionRefused) => {
  if (error.reason === "WaitsForItself") {
    return HttpServerResponse.text(`${error.message}\n`, { status: 500 })
  }
  if (error.reason === "Quota" && error.requestedBytes > error.maxBytes) {
    return HttpServerResponse.text(`${error.message}\n`, { status: 413 })
  }
  const seconds = Math.max(1, Math.ceil(error.retryAfterMillis / 1000))
  return HttpServerResponse.text(`${error.message}\n`, { status: 503, headers: { "retry-after": String(seconds) } })
}
// #endregion

// #region program
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  // Each needs 16 KiB of the 64 KiB: four fit at once.
  const respond = runner.run(reverse, { x: new Float32Array(2048), y: new Float32Array(2048) }).pipe(
    Effect.as(HttpServerResponse.text("reversed\n")),
    Effect.catchTag("AdmissionRefused", (error) => Effect.succeed(refused(error)))
  )
  const responses = yield* Effect.all(Array.from({ length: 16 }, () => respond), { concurrency: "unbounded" })
  for (const status of [200, 503]) {
    yield* Console.log(`${status}: ${responses.filter((response) => response.status === status).length} times`)
  }
  const { runs } = yield* runner.stats
  yield* Console.log(`${runs.ended} ran, ${runs.waited} of them waited, ${runs.refused} were refused`)
})
// #endregion

program.pipe(Effect.provide(Layer.provide(Runner, Simulator.layer())), NodeRuntime.runMain)
