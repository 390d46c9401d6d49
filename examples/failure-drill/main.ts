/**
 * A failure drill: a decode loop with a mistake in its cleanup, the sweep that finds it, and the loop mended.
 *
 *     npx tsx examples/failure-drill/main.ts            the broken loop, then the mended one
 *     npx tsx examples/failure-drill/main.ts --broken   only that one; the exit code is 1, because the sweep finds something
 *     npx tsx examples/failure-drill/main.ts --mended   only that one
 *
 * It prints what was tried and the page of what was found: which tensor leaked, the line that allocated it, the operation
 * that had failed, and the line that replays the case. Then it prints what was tried on the mended loop, which is clean.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Logger } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { FaultSweep } from "leasehold/testing"
import * as Broken from "./broken.ts"
import * as Mended from "./mended.ts"

// #region options
const options = {
  backend: Simulator.layer({ longCalls: "inline" }),
  layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } }),
  // One form of the backend is enough for a drill. Left out, every form is swept.
  forms: ["immediate"]
} as const
// #endregion

/** Two steps: what goes wrong in a thousand goes wrong in two. */
const programs = {
  "broken.ts": Broken.decode("a", 2),
  "mended.ts": Mended.decode("a", 2)
}

/** Sweeps a program, prints the report, and answers whether it is clean. */
const sweep = (name: keyof typeof programs) =>
  Effect.gen(function*() {
    const report = yield* FaultSweep.run(programs[name], { ...options, name })
    yield* Console.log(FaultSweep.render(report))
    return report.failures.length === 0
  })

/** Answers whether everything came out as it should. */
const drill = (flag: string | undefined) => {
  switch (flag) {
    case undefined:
      return Effect.gen(function*() {
        const brokenIsClean = yield* sweep("broken.ts")
        yield* Console.log("")
        return (yield* sweep("mended.ts")) && !brokenIsClean
      })
    case "--broken":
      return sweep("broken.ts")
    case "--mended":
      return sweep("mended.ts")
    default:
      return Effect.as(Console.error(`"${flag}" is not known: there are --broken and --mended`), false)
  }
}

/** Standard output is for the reports. A sweep that takes long says so in the log. */
const LoggerLive = Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true }))

drill(process.argv[2]).pipe(
  Effect.catchAll((error) => Effect.as(Console.error(error.message), false)),
  Effect.tap((isWell) => Effect.sync(() => process.exitCode = isWell ? 0 : 1)),
  Effect.provide(LoggerLive),
  NodeRuntime.runMain({ disablePrettyLogger: true })
)
