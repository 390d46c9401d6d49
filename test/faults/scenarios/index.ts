/** All scenarios of the campaign. */
import type { Scenario } from "../scenario.ts"
import { growthScenarios } from "./growth.ts"
import { memoryScenarios } from "./memory.ts"
import { oracleScenarios } from "./oracles.ts"
import { programScenarios } from "./programs.ts"
import { refusalScenarios } from "./refusals.ts"
import { runScenarios } from "./runs.ts"
import { sharingScenarios } from "./sharing.ts"
import { waitingScenarios } from "./waiting.ts"

/** Those of the programme, and what else users do. Every point of them is tried at each change. */
export const scenarios: ReadonlyArray<Scenario> = [
  ...runScenarios,
  ...memoryScenarios,
  ...programScenarios,
  ...waitingScenarios,
  ...sharingScenarios,
  ...growthScenarios,
  ...refusalScenarios
]

/** These too, in the long campaign, and as far as they kill mutants at each change. */
export const allScenarios: ReadonlyArray<Scenario> = [...scenarios, ...oracleScenarios]
