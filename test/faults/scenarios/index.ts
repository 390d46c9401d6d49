/** All scenarios of the campaign, and those of the programme that ask for what does not exist yet. */
import type { Scenario } from "../scenario.ts"
import { memoryScenarios } from "./memory.ts"
import { oracleScenarios } from "./oracles.ts"
import { programScenarios } from "./programs.ts"
import { refusalScenarios } from "./refusals.ts"
import { runScenarios } from "./runs.ts"

export const scenarios: ReadonlyArray<Scenario> = [
  ...runScenarios,
  ...memoryScenarios,
  ...programScenarios,
  ...refusalScenarios,
  ...oracleScenarios
]

/** Not there, because the framework has no growth by itself and no queue of runs. */
export const missingScenarios: ReadonlyArray<string> = [
  "growth past one chunk",
  "two runs queued",
  "runner closed while queued"
]
