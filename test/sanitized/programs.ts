/**
 * The scenarios of the fault campaign that are swept while a sanitizer watches. Few at each change, because processes under the
 * sanitizer are slow; in the long tests all of them, and without pooling those that do not care what their budget is.
 */
import type { Scenario } from "../faults/scenario.ts"
import { scenarios } from "../faults/scenarios/index.ts"
import { runScenarios } from "../faults/scenarios/runs.ts"

const few: ReadonlySet<string> = new Set(["in-place output", "external buffer", "second run reuses"])

const chosen = (long: ReadonlyArray<Scenario>): ReadonlyArray<Scenario> =>
  process.env["LEASEHOLD_LONG"] === "1" ? long : scenarios.filter(({ name }) => few.has(name))

/** Swept with the budget that each has. */
export const pooledScenarios: ReadonlyArray<Scenario> = chosen(scenarios)

/** Swept with a budget of zero: each tensor an allocation of its own. */
export const unpooledScenarios: ReadonlyArray<Scenario> = chosen(runScenarios)
