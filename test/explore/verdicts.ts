/** Verdicts on how fibers ended, and whether that is right. */
import { Cause, Exit } from "effect"
import type { Defect, Exits } from "./program.ts"

/** How a fiber may end other than well. */
export interface Leave {
  readonly mayBeInterrupted?: boolean
  /** With any error: its work fails. */
  readonly mayFail?: boolean
  /** With these errors: it is refused, or its runner goes away. `AdmissionRefused` stands with its reason, after a colon. */
  readonly refusals?: ReadonlyArray<string>
}

const nameOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null || !("_tag" in error)) {
    return String(error)
  }
  return "reason" in error ? `${String(error._tag)}: ${String(error.reason)}` : String(error._tag)
}

const isCovered = (name: string, refusals: ReadonlyArray<string>): boolean =>
  refusals.some((refusal) => name === refusal || name.startsWith(`${refusal}: `))

/** What is wrong with how fibers ended. Those that did not end are judged elsewhere. */
export const endings = (exits: Exits, leaveOf: (name: string) => Leave): ReadonlyArray<Defect> =>
  Object.entries(exits).flatMap(([name, exit]): ReadonlyArray<Defect> => {
    if (exit === undefined || Exit.isSuccess(exit)) {
      return []
    }
    const { mayBeInterrupted = false, mayFail = false, refusals = [] } = leaveOf(name)
    const { cause } = exit
    if (Cause.isDie(cause)) {
      return [{ kind: "unexpected", detail: `${name} died: ${Cause.pretty(cause).split("\n")[0]!}` }]
    }
    const errors = [...Cause.failures(cause)].map(nameOf)
    const wrong = mayFail ? undefined : errors.find((error) => !isCovered(error, refusals))
    if (wrong !== undefined) {
      return [{ kind: "starved", detail: `${name} was refused, though it had to run: ${wrong}` }]
    }
    return Cause.isInterrupted(cause) && !mayBeInterrupted
      ? [{ kind: "unexpected", detail: `${name} was interrupted, and nobody interrupts it` }]
      : []
  })
