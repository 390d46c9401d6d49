/**
 * The campaign: Leasehold's own scenarios under its testing kit.
 *
 *     npm run faults                                  the scenarios of each change and every mutant, with a line for each
 *     npm run faults -- --json                        the same, and one line of JSON at the end
 *     npm run faults -- --long                        all scenarios, faults that strike every other time, ten times the pairs
 *     npm run faults -- --scenario "free leases"      one scenario
 *     npm run faults -- --scenario "free leases" --case "immediate operation=3,launch,error,after,once"
 *
 * Exits with 1 where anything was found.
 */
import { FaultSweep } from "leasehold/testing"
import { parseArgs } from "node:util"
import { complaints, summarize } from "./campaign.ts"
import { type MutantOutcome, runMutants } from "./mutants/index.ts"
import { allScenarios, scenarios } from "./scenarios/index.ts"
import { serve, sweepApart } from "./workers.ts"

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    long: { type: "boolean", default: false },
    scenario: { type: "string" },
    case: { type: "string" },
    seed: { type: "string", default: "1" },
    worker: { type: "boolean", default: false }
  }
})
const seed = Number(values.seed)

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

const campaign = async (): Promise<number> => {
  const known = (values.long || values.scenario !== undefined ? allScenarios : scenarios).map(({ name }) => name)
  const names = values.scenario === undefined ? known : known.filter((name) => name === values.scenario)
  if (names.length === 0) {
    say(`there is no scenario "${values.scenario}"; there are: ${known.join(", ")}`)
    return 1
  }
  const reports = await sweepApart(names, { seed, only: values.case, isLong: values.long }, (report) => {
    say(FaultSweep.render(report))
  })
  if (values.scenario !== undefined) {
    return reports.every(({ failures }) => failures.length === 0) ? 0 : 1
  }
  // A mutant that crashes the process was not found by the kit.
  const mutants = (await runMutants({ concurrency: 2 })).map((outcome): MutantOutcome =>
    Object.assign(outcome, { killed: outcome.killed && outcome.verdict !== "Crashed" })
  )
  for (const { killed, mutant, scenario, verdict } of mutants) {
    say(`mutant "${mutant}": ${killed ? `killed in "${scenario}" by ${verdict}` : "LIVES"}`)
  }
  const summary = summarize(reports, mutants, seed)
  const found = complaints(summary, reports, mutants)
  for (const complaint of found) {
    say(complaint)
  }
  say(values.json ? JSON.stringify(summary) : found.length === 0 ? "clean" : "not clean")
  return found.length === 0 ? 0 : 1
}

if (values.worker) {
  serve()
} else {
  process.exitCode = await campaign()
}
