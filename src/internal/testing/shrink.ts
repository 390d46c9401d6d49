/**
 * Shrinking: a failure of a large program is looked for again in smaller ones, where it is easier to understand.
 */
import * as Effect from "effect/Effect"
import type { Service as HostApiService } from "../../HostApi.ts"
import type { Case } from "./cases.ts"
import { baseline, type Failure, faultPoints, interruptPoints, type Permits, type Plan } from "./sweep.ts"
import { run, type Subject, type Trial } from "./trial.ts"
import { judge } from "./verdicts.ts"

/** So many cases of a smaller program are tried. */
const maxTryCount = 5000

/** Cases of a program that are like one of another: the same faults at like operations, the same way to interrupt. */
const like = (
  failing: Case,
  operations: Parameters<typeof faultPoints>[0],
  steps: Trial["steps"],
  taskCount: number,
  plan: Plan
): Array<Case> => {
  const [fault] = failing.faults
  const { form, interrupt } = failing
  const faults = fault === undefined ? [[]] : faultPoints(operations, form, plan)
    .filter(({ kind, persistence, target, timing }) =>
      kind === fault.kind && persistence === fault.persistence && target === fault.target && timing === fault.timing
    )
    .map((point) => [point])
  const interrupts = interrupt === undefined
    ? [undefined]
    : interruptPoints({ steps, taskCount }, { interruptions: [interrupt.mode] })
      .filter(({ target }) => target === interrupt.target)
  return faults.flatMap((points) => interrupts.map((point) => ({ form, faults: points, interrupt: point })))
}

/** The same verdict in the first of the smaller programs that has it, or `undefined`. */
export const shrink = <A, E, R, LE>(
  api: HostApiService,
  subject: Subject<A, E, R, LE>,
  failing: Failure,
  plan: Plan,
  permits: Permits
): Effect.Effect<Failure | undefined> =>
  Effect.gen(function*() {
    const { judging, trial: clean } = yield* baseline(api, subject, failing.case.form, permits)
    const candidates = like(failing.case, clean.operations, clean.steps, clean.taskCount, plan)
    for (const tried of candidates.slice(0, maxTryCount)) {
      const trial = yield* run(api, subject, { case: tried, clean })
      const finding = judge(trial, clean, tried, judging).find(({ verdict }) => verdict === failing.finding.verdict)
      if (finding !== undefined) {
        return { case: tried, finding, trial, clean, judging, count: failing.count }
      }
    }
    return undefined
  })
