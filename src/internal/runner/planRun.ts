/**
 * Answering what a run would need, without touching the device or any run.
 */
import * as Effect from "effect/Effect"
import type { Any as AnyCallable } from "../../Callable.ts"
import type { PlanError } from "../../Run.ts"
import type { RunPlan } from "../../RunPlan.ts"
import { layOut, readOnly } from "./beginRun.ts"
import { checkViewAliases } from "./checkArguments.ts"
import { alone, describeRun } from "./describeRun.ts"
import type { GivenDims } from "./dimensions.ts"
import { Frame } from "./frame.ts"
import { prepare } from "./loading.ts"
import { PreparedCallable } from "./preparedCallable.ts"
import { RunLayout } from "./runLayout.ts"
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
      // A frame of its own: nothing is remembered of arguments that no run takes.
      const frame = new Frame(prepared)
      const layout = readOnly(state, frame, args, given) ?? layOut(state, frame)
      if (!(layout instanceof RunLayout)) {
        return Effect.fail(layout)
      }
      if (layout.deviceTable?.thrown !== undefined) {
        return Effect.die(layout.deviceTable.thrown.cause)
      }
      const alias = checkViewAliases(frame.bindings)
      return alias === undefined ? Effect.succeed(describeRun(layout, alone(layout))) : Effect.fail(alias)
    })
  )
