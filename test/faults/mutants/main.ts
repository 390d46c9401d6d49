/**
 * Plants mutants and prints what became of each:
 *
 *     npx tsx test/faults/mutants/main.ts [--mutant NAME]
 */
import { Cause, Effect, Exit } from "effect"
import { parseArgs } from "node:util"
import { type MutantOutcome, mutants, tryMutants } from "./index.ts"

const row = ({ case: found, cases, detail, killed, mutant, scenario, seconds, verdict }: MutantOutcome): string =>
  [
    `${killed ? "killed  " : "SURVIVED"} ${verdict.padEnd(16)} ${mutant}  (${seconds} s, ${cases} cases)`,
    ...(verdict === "" ? [] : [`         ${scenario}: ${found}`, `         ${detail}`])
  ].join("\n")

const { values } = parseArgs({ options: { mutant: { type: "string" } } })
const chosen = mutants.filter(({ name }) => values.mutant === undefined || name === values.mutant)
const exit = await Effect.runPromiseExit(tryMutants(chosen, { concurrency: 2 }))
if (Exit.isSuccess(exit)) {
  const killedCount = exit.value.filter(({ killed }) => killed).length
  console.log([...exit.value.map(row), `${killedCount} of ${chosen.length} killed; clean without them`].join("\n"))
  process.exitCode = chosen.length > 0 && killedCount === chosen.length ? 0 : 1
} else {
  console.error(Cause.pretty(exit.cause))
  process.exitCode = 1
}
