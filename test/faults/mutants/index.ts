/**
 * The self-test of the oracle: every mistake that is planted in the sources has to be found by the sweeps, and what they
 * find has to be gone without it.
 */
import { Data, Effect } from "effect"
import { type Mutant, mutants } from "./mutants.ts"
import { type Answer, type DoesNotApply, type PlannedSweep, plant, sweepApart } from "./plant.ts"

export { askedFor, missingMutants, mutants } from "./mutants.ts"

/** What the sweeps made of one mutant. */
export type MutantOutcome = Answer

/** A small sample kills most mutants, and every case the few that are wrong at one or two steps. */
const maxCaseCounts: ReadonlyArray<number> = [60, 600, 50_000]

const seed = 1

/** The sources as they are did not come out clean, so that what kills mutants says nothing. */
export class ControlNotClean extends Data.TaggedError("ControlNotClean")<{ readonly outcome: MutantOutcome }> {
  override get message(): string {
    const { case: found, detail, scenario, verdict } = this.outcome
    return `the sources without any mutant were found wrong in "${scenario}": ${verdict}: ${detail} (${found})`
  }
}

const sweepPlanted = (mutant: Mutant | undefined, sweeps: ReadonlyArray<PlannedSweep>) =>
  Effect.scoped(
    Effect.flatMap(plant(mutant), (program) => sweepApart(program, { mutant: mutant?.name ?? "control", sweeps, seed }))
  )

const tryMutant = (mutant: Mutant) =>
  sweepPlanted(
    mutant,
    maxCaseCounts.flatMap((maxCaseCount) =>
      mutant.scenarios.map((scenario): PlannedSweep => ({
        scenario,
        forms: mutant.forms,
        only: mutant.only,
        maxCaseCount
      }))
    )
  )

/** The sweeps that have killed mutants, each once. Of what killed none, the smallest sample. */
const controlSweeps = (tried: ReadonlyArray<Mutant>, outcomes: ReadonlyArray<MutantOutcome>) => {
  const found = outcomes.flatMap((outcome) => outcome.found === undefined ? [] : [outcome.found])
  const others = tried
    .flatMap(({ scenarios }) => scenarios)
    .filter((name) => found.every(({ scenario }) => scenario !== name))
    .map((scenario): PlannedSweep => ({ scenario, maxCaseCount: maxCaseCounts[0]! }))
  return [...new Map([...found, ...others].map((sweep) => [JSON.stringify(sweep), sweep])).values()]
}

/** Sweeps the sources as they are in the same way, shared out among as many processes. */
const tryControl = (sweeps: ReadonlyArray<PlannedSweep>, concurrency: number) =>
  Effect.forEach(
    Array.from({ length: concurrency }, (_, part) => sweeps.filter((_, index) => index % concurrency === part)),
    (part) => sweepPlanted(undefined, part),
    { concurrency }
  )

/** Plants some mutants, one after the other, and fails where the sources without any mutant are not clean. */
export const tryMutants = (
  tried: ReadonlyArray<Mutant>,
  options: { readonly concurrency: number }
): Effect.Effect<ReadonlyArray<MutantOutcome>, ControlNotClean | DoesNotApply> =>
  Effect.gen(function*() {
    const { concurrency } = options
    const outcomes = yield* Effect.forEach(tried, tryMutant, { concurrency })
    for (const outcome of yield* tryControl(controlSweeps(tried, outcomes), concurrency)) {
      if (outcome.verdict !== "") {
        return yield* new ControlNotClean({ outcome })
      }
    }
    return outcomes
  })

/** Plants every mutant. */
export const runMutants = (options: { readonly concurrency: number }): Promise<ReadonlyArray<MutantOutcome>> =>
  Effect.runPromise(tryMutants(mutants, options))
