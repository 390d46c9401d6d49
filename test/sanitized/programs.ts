/**
 * The scenarios of the fault campaign that are swept while a sanitizer watches, each with its own budget and with none. Few,
 * because processes under the sanitizer are slow; whatever is added here is swept.
 */
import type { Scenario } from "../faults/scenario.ts"
import { scenarios } from "../faults/scenarios/index.ts"

export const sweptNames: ReadonlyArray<string> = [
  "in-place output",
  "external buffer",
  "second run reuses"
]

export const sweptScenarios: ReadonlyArray<Scenario> = scenarios.filter(({ name }) => sweptNames.includes(name))
