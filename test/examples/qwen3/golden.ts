/** The trained model of the example, and what it is expected to compute. */
import { NodeContext } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import * as FileSystem from "node:fs"
import { fileURLToPath } from "node:url"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import type { HuggingFaceConfig, ReferenceModel } from "../../../examples/qwen3-decode/reference.ts"
import type { LoadedWeight } from "./kernelHarness.ts"
import { toFloat64 } from "./makeModel.ts"

/** The folder of the trained model. */
export const folder: string = fileURLToPath(new URL("../../../examples/qwen3-decode/model", import.meta.url))

/** One prompt of `golden.json`. */
export interface GoldenCase {
  readonly prompt: string
  readonly tokens: ReadonlyArray<number>
  readonly logits: ReadonlyArray<number>
  readonly greedy_tokens: ReadonlyArray<number>
  readonly greedy_margins: ReadonlyArray<number>
  readonly greedy_text: string
}

const readJson = (file: string) => JSON.parse(FileSystem.readFileSync(`${folder}/${file}`, "utf8"))

export const cases: ReadonlyArray<GoldenCase> = readJson("golden.json").cases

/** Reads all weights of a model folder, each in one piece. */
export const loadWeights = (path: string) =>
  Effect.gen(function*() {
    const model = yield* Model.open(path)
    const weights: Array<LoadedWeight> = []
    for (const weight of model.weights) {
      yield* model.forEachPiece(weight, { maxBytes: Number.MAX_SAFE_INTEGER }, ({ elements }) =>
        Effect.sync(() =>
          weights.push({ ...weight, view: elements })
        ))
    }
    return { config: model.config, weights }
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

/** The trained model for the reference. */
export const loadReference: Effect.Effect<ReferenceModel> = Effect.map(loadWeights(folder), ({ weights }) => {
  const config: HuggingFaceConfig = readJson("config.json")
  const float64 = weights.map(({ name, view }) => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    return [name, toFloat64("BF16", bytes)] as const
  })
  return { config, weights: new Map(float64) }
}).pipe(Effect.orDie)
