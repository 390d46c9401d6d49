/**
 * What to raise the budget to: errors about what finds no room beside others say with which budget it does.
 */
import { alignUp } from "../core/sizes.ts"
import type { RunnerState } from "./state.ts"

/**
 * A budget in which ranges have room beside all that is taken now. With one chunk they lie behind what there is; what lies in
 * several is only sure to have room with them in one.
 */
export const suggestRoom = (
  state: Pick<RunnerState, "configuration" | "counters" | "hostApi" | "rules">,
  rangeBytes: Iterable<number>
): { readonly suggestedMaxBytes: number; readonly suggestedChunks: "same" | "single" } => {
  const { configuration, counters, hostApi, rules } = state
  const isSingle = configuration.policy === "single"
  const pieces = isSingle ? [configuration.maxBytes] : [...configuration.chunkBytes, counters.quarantinedBufferBytes]
  const byteCount = [...pieces, ...rangeBytes].reduce((sum, bytes) => sum + alignUp(bytes, rules.alignmentBytes), 0)
  return {
    suggestedMaxBytes: alignUp(byteCount, hostApi.traits.granularityBytes),
    suggestedChunks: isSingle ? "same" : "single"
  }
}
