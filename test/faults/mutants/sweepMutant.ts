/** The program that sweeps one mutant, bundled with the mutated sources: it prints one line of JSON. */
import { Effect, Logger, LogLevel } from "effect"
import { allScenarios } from "../scenarios/index.ts"
import type { Answer, Task } from "./plant.ts"

/** Nothing outside of these programs ever wakes them, so that nobody has to wait for it. */
const patience = "20 millis"

const task = JSON.parse(process.argv[2] ?? "{}") as Task

/** Carries the sweeps out until one is not clean. */
const sweeps = Effect.gen(function*() {
  let cases = 0
  for (const found of task.sweeps) {
    const { forms, maxCaseCount, only, scenario: name } = found
    const scenario = allScenarios.find((candidate) => candidate.name === name)
    if (scenario === undefined) {
      return yield* Effect.dieMessage(`there is no scenario "${name}"`)
    }
    const report = yield* scenario.sweep({
      seed: task.seed,
      maxCaseCount,
      forms,
      faults: only === "interruptions" ? [] : undefined,
      interruptions: only === "faults" ? [] : undefined,
      patience
    })
    cases += report.faultCases + report.interruptCases
    const [failure] = report.failures
    if (failure !== undefined) {
      const { case: smallest, detail, verdict } = failure
      return { killed: true, found, scenario: name, verdict, case: smallest, detail, cases }
    }
  }
  return { killed: false, scenario: "", verdict: "", case: "", detail: "", cases }
}).pipe(Logger.withMinimumLogLevel(LogLevel.None))

const answer: Answer = { mutant: task.mutant, seconds: 0, ...await Effect.runPromise(sweeps) }
process.stdout.write(`${JSON.stringify(answer)}\n`)
