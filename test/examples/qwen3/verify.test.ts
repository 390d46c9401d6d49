import { NodeContext } from "@effect/platform-node"
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { RunnerStats } from "leasehold"
import type { Decoded } from "../../../examples/qwen3-decode/decode.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import { ReferenceDecoder } from "../../../examples/qwen3-decode/reference.ts"
import * as Report from "../../../examples/qwen3-decode/report.ts"
import { verify } from "../../../examples/qwen3-decode/verify.ts"
import { cases, folder, loadReference } from "./golden.ts"

const { greedy_tokens, prompt, tokens: promptTokens } = cases[1]!
const tokens = greedy_tokens.slice(0, 4)

/** What a perfect device would have decoded, as float32. */
const perfect = Effect.map(loadReference, (model): Decoded => {
  const reference = new ReferenceDecoder(model)
  const prefill = promptTokens.map((token) => reference.next(token)).at(-1)!
  const logits = [prefill, ...tokens.slice(0, -1).map((token) => reference.next(token))]
  return {
    tokens,
    logits: logits.map((values) => Float32Array.from(values)),
    runNanos: [],
    settled: undefined,
    stats: { temporaryBuffer: {} } as RunnerStats.RunnerStats
  }
})

/** Compares with the reference after `change` had its way with the logits of a step. */
const compare = (change: (logits: Float32Array) => void = () => undefined) =>
  Effect.gen(function*() {
    const decoded = yield* perfect
    change(decoded.logits[2]!)
    const model = yield* Model.open(folder)
    const comparison = yield* verify(model, { prompt: Int32Array.from(promptTokens), decoded, onToken: Effect.void })
    const report = { backend: "none", budgetBytes: 1, text: prompt, budget: decoded, zero: decoded, comparison }
    return { comparison, report, verdict: Report.verdict(report) }
  })

describe("the comparison with the reference", () => {
  layer(NodeContext.layer)((it) => {
    it.scoped("accepts what rounding changes", () =>
      Effect.gen(function*() {
        const { comparison, verdict } = yield* compare()
        assert.isTrue(comparison.matches)
        assert.isBelow(comparison.maxAbsLogitError, 1e-5)
        assert.isTrue(Either.isRight(verdict))
      }))

    it.scoped("refuses one logit that is off, at any step", () =>
      Effect.gen(function*() {
        const { comparison, report, verdict } = yield* compare((logits) => {
          logits[200]! += 0.002
        })
        assert.isFalse(comparison.matches)
        assert.approximately(comparison.maxAbsLogitError, 0.002, 1e-5)
        assert.strictEqual(Either.getOrThrow(Either.flip(verdict)).reason, "Reference")
        assert.deepInclude(JSON.parse(Report.json(report)), { matchesReference: false, sameTokensInBothModes: true })
      }))

    it.scoped("refuses logits that are not numbers", () =>
      Effect.gen(function*() {
        const { comparison } = yield* compare((logits) => {
          logits[3] = NaN
        })
        assert.isFalse(comparison.matches)
        assert.isNaN(comparison.maxAbsLogitError)
      }))

    it.scoped("counts another choice where the reference's is clear", () =>
      Effect.gen(function*() {
        const { comparison } = yield* compare((logits) => {
          logits[7] = 1000
        })
        assert.strictEqual(comparison.differentChoices, 1)
      }))

    it.scoped("refuses two modes that chose different tokens", () =>
      Effect.gen(function*() {
        const { report } = yield* compare()
        for (const other of [[...tokens.slice(0, -1), 0], tokens.slice(0, -1), [...tokens, 0]]) {
          const verdict = Report.verdict({ ...report, zero: { ...report.zero, tokens: other } })
          assert.strictEqual(Either.getOrThrow(Either.flip(verdict)).reason, "Modes")
        }
      }))
  })
})
