/** What a careful Effect user writes: one bracket around all mallocs, copies and frees. */
import * as Effect from "effect/Effect"
import type { TensorCalls } from "../native.ts"
import { alignmentBytes, type Workload } from "../workload.ts"

export const effectBracket = (
  calls: TensorCalls,
  { byteCount, count, inputs, outputs }: Workload
): Effect.Effect<void> =>
  Effect.acquireUseRelease(
    Effect.sync(() => Array.from({ length: count }, () => calls.malloc(alignmentBytes, byteCount))),
    (addresses) =>
      Effect.sync(() => {
        inputs.forEach((view, index) => calls.copyIn(addresses[index], view, byteCount))
        outputs.forEach((view, index) => calls.copyOut(view, addresses[inputs.length + index], byteCount))
      }),
    (addresses) => Effect.sync(() => addresses.forEach((address) => calls.free(address)))
  )
