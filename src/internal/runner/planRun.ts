/**
 * Answering what a run would need, without touching the device or the active run.
 */
import * as Effect from "effect/Effect"
import type { Any as AnyCallable } from "../../Callable.ts"
import type { PlanError } from "../../Run.ts"
import type { RunPlan } from "../../RunPlan.ts"
import { Bindings } from "./bindings.ts"
import type { GivenDims } from "./dimensions.ts"
import { prepare } from "./loading.ts"
import { PreparedCallable } from "./preparedCallable.ts"
import { RunTables } from "./runTables.ts"
import { findTables } from "./slot.ts"
import type { RunnerState } from "./state.ts"

export const planRun = (
  state: RunnerState,
  callable: AnyCallable,
  args: unknown,
  given: GivenDims | undefined
): Effect.Effect<RunPlan, PlanError> =>
  // Between the old and the new chunks there is nothing to plan with.
  Effect.zipRight(
    state.until(() => state.lifecycle._tag !== "Configuring"),
    Effect.suspend((): Effect.Effect<RunPlan, PlanError> => {
      const refusal = state.planRefusal("plan")
      if (refusal !== undefined) {
        return Effect.fail(refusal)
      }
      const prepared = prepare(state, callable)
      if (!(prepared instanceof PreparedCallable)) {
        return Effect.fail(prepared)
      }
      // Bindings of its own: those of the callable may belong to an active run.
      const tables = findTables(state, prepared, new Bindings(prepared.parameters), args, given)
      return tables instanceof RunTables ? Effect.succeed(tables.describe()) : Effect.fail(tables)
    })
  )
