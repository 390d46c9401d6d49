/** Sweeping in several processes: each asks for the next scenario when it has done one. */
import { Console, Effect } from "effect"
import type { FaultSweep } from "leasehold/testing"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Sweeping } from "./scenario.ts"
import { allScenarios } from "./scenarios/index.ts"

/** How a campaign sweeps every scenario. Pairs are sampled: all of them would take hours. */
const short: Sweeping = { interruptedFaults: 0.001, faultPairs: 0.03 }
const long: Sweeping = { interruptedFaults: 0.02, faultPairs: 0.5, persistences: ["once", "always", "everyOther"] }

export interface Settings extends Pick<Sweeping, "seed" | "only"> {
  readonly isLong: boolean
}

interface Question {
  readonly name: string
  readonly settings: Settings
}

const workerCount = 2

/** What each form will cost is of interest to who waits for it alone. */
const quietly = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Console.consoleWith((console) => Effect.withConsole(effect, { ...console, error: () => Effect.void }))

const sweep = ({ name, settings: { isLong, ...settings } }: Question): Promise<FaultSweep.Report> =>
  Effect.runPromise(
    allScenarios.find((scenario) => scenario.name === name)!.sweep({ ...(isLong ? long : short), ...settings }).pipe(
      quietly
    )
  )

/** A worker: answers each question until the parent disconnects. */
export const serve = (): void => {
  process.on("message", (question: Question) => {
    sweep(question).then((report) => process.send!(report), (error: unknown) => {
      process.stderr.write(`${question.name}: ${String(error)}\n`)
      process.exitCode = 1
      process.disconnect()
    })
  })
}

/** Sweeps scenarios by name, several at once. `tell` hears of each report as it comes. */
export const sweepApart = async (
  names: ReadonlyArray<string>,
  settings: Settings,
  tell: (report: FaultSweep.Report) => void
): Promise<ReadonlyArray<FaultSweep.Report>> => {
  const waiting = [...names]
  const reports: Array<FaultSweep.Report> = []
  const work = (worker: ChildProcess): Promise<void> =>
    new Promise((resolve, reject) => {
      const askNext = (): void => {
        const name = waiting.shift()
        if (name === undefined) {
          worker.disconnect()
        } else {
          worker.send({ name, settings } satisfies Question)
        }
      }
      worker.on("message", (report: FaultSweep.Report) => {
        reports.push(report)
        tell(report)
        askNext()
      })
      worker.on("exit", (code) => code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`)))
      askNext()
    })
  const workers = Array.from(
    { length: Math.min(workerCount, names.length) },
    () => fork(fileURLToPath(new URL("main.ts", import.meta.url)), ["--worker"])
  )
  await Promise.all(workers.map(work))
  return reports
}
