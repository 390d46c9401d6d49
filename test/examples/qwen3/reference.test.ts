import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { largest, largestDifference, ReferenceDecoder } from "../../../examples/qwen3-decode/reference.ts"
import { cases, loadReference } from "./golden.ts"

describe("the float64 reference", () => {
  it.effect("computes the golden logits, margins and greedy tokens of every prompt", () =>
    Effect.gen(function*() {
      const model = yield* loadReference
      assert.strictEqual(cases.length, 7)
      for (const { greedy_margins, greedy_tokens, logits, prompt, tokens } of cases) {
        const decoder = new ReferenceDecoder(model)
        let scores: Float64Array = new Float64Array()
        for (const token of tokens) {
          scores = decoder.next(token)
        }
        assert.isAtMost(largestDifference(scores, logits), 1e-9, prompt)
        greedy_tokens.forEach((expected, index) => {
          const { index: token, margin } = largest(scores)
          assert.strictEqual(token, expected, `${prompt}, token ${index}`)
          assert.approximately(margin, greedy_margins[index]!, 1e-9)
          scores = decoder.next(token)
        })
      }
    }))
})
