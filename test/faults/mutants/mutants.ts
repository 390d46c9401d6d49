/** All mutants. */
import { addedMutants } from "./added.ts"
import { askedForMutants } from "./askedFor.ts"
import type { Mutant } from "./mutant.ts"

export { askedFor, missingMutants } from "./askedFor.ts"
export type { Mutant } from "./mutant.ts"

export const mutants: ReadonlyArray<Mutant> = [...askedForMutants, ...addedMutants]
