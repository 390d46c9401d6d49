/** What an Effect user writes today: a scope, and a malloc in it for each tensor. */
import * as Effect from "effect/Effect"
import type { TensorCalls } from "../native.ts"
import { alignmentBytes, type Workload } from "../workload.ts"

export const effectPerTensor = (calls: TensorCalls, { byteCount, inputs, outputs }: Workload): Effect.Effect<void> => {
  const acquire = Effect.acquireRelease(
    Effect.sync(() => calls.malloc(alignmentBytes, byteCount)),
    (address) => Effect.sync(() => calls.free(address))
  )
  return Effect.scoped(Effect.gen(function*() {
    for (const view of inputs) {
      calls.copyIn(yield* acquire, view, byteCount)
    }
    const results: Array<unknown> = []
    for (let index = 0; index < outputs.length; index++) {
      results.push(yield* acquire)
    }
    outputs.forEach((view, index) => calls.copyOut(view, results[index], byteCount))
  }))
}
