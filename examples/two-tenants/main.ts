/**
 * Two tenants on one runner: many fibers of each, which wait their turn for device memory.
 *
 *     npx tsx examples/two-tenants/main.ts                         a table of what ran, waited and was refused
 *     npx tsx examples/two-tenants/main.ts --clients 64 --slots 2
 *     npx tsx examples/two-tenants/main.ts --json                  ends with one line of JSON
 *     npx tsx examples/two-tenants/main.ts --help
 *
 * Tenant a has a quarter of the budget reserved, so whatever b does, a run of a comes to its turn soon. Tenant b has four
 * times as many fibers and may hold half of the budget. Each tenant waits in a queue of its own, in which 8 runs have room; the
 * next is refused, and its fiber goes on a little later with its next request. It ends when each fiber has made its requests.
 * Whatever goes wrong ends with a sentence and a non-zero exit code.
 */
import * as Command from "@effect/cli/Command"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { DeviceRunner, type Errors, Simulator } from "leasehold"
import { options, type Request } from "./options.ts"
import * as Report from "./report.ts"
import { program, type WrongResult } from "./tenants.ts"

/** A device whose copies run beside its kernels, so that one run is staged while another executes. */
const RunnerLive = ({ budgetBytes, slots }: Request) =>
  DeviceRunner.layer({
    temporaryBuffer: { maxBytes: budgetBytes },
    slots,
    admission: { wait: { maxQueueCount: 8, deadline: "10 seconds" } }
  }).pipe(Layer.provide(Simulator.layer({ completion: "late", lanes: "overlap" })))

/** Standard output is for the report. */
const LoggerLive = Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true }))

/** The sentence of a failure; for a defect, which is a bug, all that is known. */
const describe = (cause: Cause.Cause<Errors.RunnerError | WrongResult>): string =>
  Either.match(Cause.failureOrCause(cause), {
    onLeft: ({ message }) => `${message.charAt(0).toUpperCase()}${message.slice(1)}.`,
    onRight: (defect) => Cause.isInterruptedOnly(defect) ? "Interrupted." : Cause.pretty(defect)
  })

const command = Command.make(
  "two-tenants",
  options,
  (request) =>
    Effect.provide(program(request), RunnerLive(request)).pipe(
      Effect.flatMap((served) =>
        request.json
          ? Effect.zipRight(Console.error(Report.table(served)), Console.log(Report.json(served)))
          : Console.log(Report.table(served))
      ),
      Effect.tapErrorCause((cause) => Console.error(describe(cause)))
    )
).pipe(Command.withDescription("Serves two tenants with one runner, and shows who ran, waited and was refused."))

Command.run(command, { name: "two-tenants", version: "0.1.0" })(process.argv).pipe(
  Effect.provide([NodeContext.layer, LoggerLive]),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
