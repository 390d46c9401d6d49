/** What costs are compared with: the smallest pieces of Effect and of koffi, measured in the same run. */
import * as Effect from "effect/Effect"
import { loop } from "./loop.ts"
import type { Batch } from "./measure.ts"
import { emptyKernel } from "./native.ts"
import type { UnitName } from "./report.ts"

const nothing = (): Effect.Effect<void> => Effect.void
const bracket = Effect.acquireUseRelease(Effect.void, nothing, nothing)
const scope = Effect.scoped(Effect.acquireRelease(Effect.void, nothing))

/** The empty kernel on a worker thread, as an Effect user awaits it. */
const asyncCall = Effect.async<void>((resume) => {
  emptyKernel.async(null, 0, () => resume(Effect.void))
})

/** The same by callbacks alone, each call begun by the end of the one before. */
const callInTurn = (runs: number): Promise<void> =>
  new Promise((resolve) => {
    let left = runs
    const next = (): void => {
      if (left-- > 0) {
        emptyKernel.async(null, 0, next)
      } else {
        resolve()
      }
    }
    next()
  })

/** The batches of all units. */
export const unitBatches: Readonly<Record<UnitName, Batch>> = {
  effect_step: (runs) => Effect.runSync(loop(() => Effect.void, runs)),
  acquire_use_release: (runs) => Effect.runSync(loop(() => bracket, runs)),
  scoped_acquire_release: (runs) => Effect.runSync(loop(() => scope, runs)),
  koffi_call: (runs) => {
    for (let run = 0; run < runs; run++) {
      emptyKernel(null, 0)
    }
  },
  koffi_call_async: callInTurn,
  koffi_call_async_effect: (runs) => Effect.runPromise(loop(() => asyncCall, runs))
}
