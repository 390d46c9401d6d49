/** A decode through the runner and the CUDA backend, over the loopback driver, which launches the kernels on the host. */
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Callable, Cuda, DeviceRunner } from "leasehold"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import * as Callables from "../../../examples/qwen3-decode/callables.ts"
import * as CudaLaunches from "../../../examples/qwen3-decode/cudaLaunches.ts"
import * as Kernel from "../../../examples/qwen3-decode/kernel.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import { largest, largestDifference } from "../../../examples/qwen3-decode/reference.ts"
import { layer, reset, violations } from "../../utils/loopback.ts"
import { library, violation } from "./cudaHarness.ts"
import { cases, folder } from "./golden.ts"

const tolerance = 1e-2

const scratch = mkdtempSync(join(tmpdir(), "leasehold-qwen3-"))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** The kernels on the host as a module of the loopback driver. */
const module = join(scratch, "qwen3.loopback")
writeFileSync(module, `leasehold loopback module\nlibrary=${library}\n`)

const stepCount = 6

describe("a decode on the CUDA backend", { timeout: 120_000 }, () => {
  it.effect("gives the golden tokens over the loopback driver", () =>
    Effect.gen(function*() {
      reset()
      const model = yield* Model.open(folder)
      const { greedy_margins, greedy_tokens, logits, tokens } = cases.find(({ prompt }) => prompt === "And God")!
      const config = yield* Model.withMaxPositions(model.config, tokens.length + stepCount)
      const { step } = Callables.make({ config, weights: model.weights, stepExecution: "inline" })
      const decode = Callable.native({
        name: "decode",
        signature: step.signature,
        kernels: [Cuda.kernels({ module, launches: CudaLaunches.make({ config, weights: model.weights }) })]
      })
      const runner = yield* DeviceRunner.DeviceRunner
      const weights: Callables.Weights = Object.fromEntries(
        yield* Effect.forEach(model.weights, (weight) =>
          Effect.gen(function*() {
            const resident = yield* runner.allocate(weight.dtype, weight.shape)
            yield* model.forEachPiece(weight, { maxBytes: 2 ** 20 }, ({ elements }) => resident.upload(elements))
            return [weight.name, resident] as const
          }))
      )
      const fixed = {
        logits: new Float32Array(config.vocab),
        keyCache: yield* runner.allocate("float32", Model.kvCacheShape(config)),
        valueCache: yield* runner.allocate("float32", Model.kvCacheShape(config)),
        ...Kernel.scalars(config),
        ...weights
      }
      const next = (position: number, piece: ReadonlyArray<number>) =>
        runner.run(decode, {
          tokens: Int32Array.from(piece),
          positions: Int32Array.from(piece, (_, index) => position + index),
          ...fixed
        })
      yield* next(0, tokens)
      assert.isAtMost(largestDifference(fixed.logits, logits), tolerance)
      for (const [index, token] of greedy_tokens.slice(0, stepCount).entries()) {
        assert.isTrue(greedy_margins[index]! <= 2 * tolerance || largest(fixed.logits).index === token)
        yield* next(tokens.length + index, [token])
      }
      assert.strictEqual(violation(), "")
      assert.strictEqual(violations(), "")
    }).pipe(
      Effect.scoped,
      Effect.provide(
        DeviceRunner.layer({ temporaryBuffer: { maxBytes: "4 MiB" }, residentMaxBytes: "32 MiB" }).pipe(
          Layer.provide(layer())
        )
      ),
      Effect.provide(NodeContext.layer)
    ))
})
