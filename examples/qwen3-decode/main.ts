/**
 * Decodes text with a small trained model, twice: from a retained buffer, and with a malloc and a free for each tensor.
 *
 *     npm start                                         64 tokens as they come, and a table that compares the two modes
 *     npm start -- --prompt "In the" --temperature 0.8
 *     npm start -- --backend cuda                       the same on a GPU
 *     npm start -- --json                               ends with one line of JSON
 *     npm start -- --help
 *
 * In the same run, every logit is compared with a float64 reference. Whatever goes wrong ends with a sentence on standard
 * error and a non-zero exit code.
 */
import * as Command from "@effect/cli/Command"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { Cuda, DeviceRunner, Simulator } from "leasehold"
import * as Failure from "./failure.ts"
import { options, type Request } from "./options.ts"
import { program, type RunnerLayer } from "./program.ts"

/** Another device is another layer here, and a kernel for it in `callables.ts`. */
const runnerOn = (backend: Request["backend"]): RunnerLayer => ({ maxBytes, residentMaxBytes }) => {
  const runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes }, residentMaxBytes })
  return backend === "cuda"
    ? Layer.provide(runner, Cuda.layer())
    : Layer.provide(runner, Simulator.layer({ totalBytes: residentMaxBytes + 2 ** 30 }))
}

/** Standard output is for the text and the report. */
const LoggerLive = Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true }))

const command = Command.make("qwen3-decode", options, (request) =>
  program(request, runnerOn(request.backend)).pipe(
    Effect.tapErrorCause((cause) => Console.error(Failure.describe(cause, request)))
  )).pipe(Command.withDescription("Decodes text with a byte-level Qwen3 model, with and without a retained buffer."))

// A reader that has seen enough, such as `head`, closes the pipe. The rest goes nowhere.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") {
      throw error
    }
  })
}

Command.run(command, { name: "qwen3-decode", version: "0.1.0" })(process.argv).pipe(
  Effect.provide([NodeContext.layer, LoggerLive]),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
