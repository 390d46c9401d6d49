/** Exploring in several processes: each asks for the next program when it has done one. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { exploreProgram } from "./campaign.ts"
import type { Explored } from "./tree.ts"

const workerCount = 2

/** Schedules leave much behind that is dead at once: with room for it, collecting it takes half the time. */
const execArgv = [...process.execArgv, "--max-semi-space-size=128"]

interface Question {
  readonly name: string
  readonly isLong: boolean
}

/** A worker: answers each question until the parent disconnects. */
export const serve = (): void => {
  process.on("message", ({ isLong, name }: Question) => {
    try {
      process.send!(exploreProgram(name, isLong))
    } catch (error) {
      process.stderr.write(`${name}: ${String(error)}\n`)
      process.exitCode = 1
      process.disconnect()
    }
  })
}

/** Explores programs by name, several at once. `tell` hears of each report as it comes. */
export const exploreApart = async (
  names: ReadonlyArray<string>,
  isLong: boolean,
  tell: (report: Explored) => void
): Promise<ReadonlyArray<Explored>> => {
  const waiting = [...names]
  const reports: Array<Explored> = []
  const work = (worker: ChildProcess): Promise<void> =>
    new Promise((resolve, reject) => {
      const askNext = (): void => {
        const name = waiting.shift()
        if (name === undefined) {
          worker.disconnect()
        } else {
          worker.send({ name, isLong } satisfies Question)
        }
      }
      worker.on("message", (report: Explored) => {
        reports.push(report)
        tell(report)
        askNext()
      })
      worker.on("exit", (code) => code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`)))
      askNext()
    })
  const workers = Array.from(
    { length: Math.min(workerCount, names.length) },
    () => fork(fileURLToPath(new URL("main.ts", import.meta.url)), ["--worker"], { execArgv })
  )
  await Promise.all(workers.map(work))
  return reports
}
