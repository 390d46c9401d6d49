import { NodeContext } from "@effect/platform-node"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Kernel from "../../../examples/qwen3-decode/kernel.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import { folder } from "./golden.ts"
import { encodeConfig, encodeSafetensors, makeModel, type RawTensor, writeModel } from "./makeModel.ts"

const { config } = makeModel({ seed: 1 })

const parse = (changes: Readonly<Record<string, unknown>>) =>
  Model.parseConfig(encodeConfig(config, changes), "config.json")

const invalid: ReadonlyArray<readonly [string, Readonly<Record<string, unknown>>, RegExp]> = [
  ["a size of zero", { hidden_size: 0 }, /hidden_size/],
  ["a fractional size", { intermediate_size: 1.5 }, /intermediate_size/],
  ["a size that is text", { vocab_size: "256" }, /vocab_size/],
  ["a size beyond int32", { vocab_size: 2 ** 31 }, /vocab_size/],
  ["a missing size", { head_dim: undefined }, /head_dim/],
  ["too many layers", { num_hidden_layers: Model.layersMax + 1 }, /num_hidden_layers/],
  ["a rotary base of zero", { rope_theta: 0 }, /rope_theta/],
  ["a missing rotary base", { rope_theta: undefined }, /rope_theta/],
  ["a negative epsilon", { rms_norm_eps: -1 }, /rms_norm_eps/],
  ["heads that cannot share", { num_attention_heads: 4, num_key_value_heads: 3 }, /4 attention heads, which 3 key/],
  ["more key heads than heads", { num_attention_heads: 2, num_key_value_heads: 4 }, /2 attention heads/],
  ["an odd head", { head_dim: 7 }, /"head_dim" of 7/],
  ["no architecture", { architectures: undefined }, /architectures/],
  ["sizes whose product overflows", { vocab_size: 2 ** 31 - 1, hidden_size: 2 ** 31 - 1 }, /2\^53/]
]

const unsupported: ReadonlyArray<readonly [string, Readonly<Record<string, unknown>>, RegExp]> = [
  ["another architecture", { architectures: ["LlamaForCausalLM"], head_dim: undefined }, /"LlamaForCausalLM"/],
  ["another activation", { hidden_act: "gelu" }, /"hidden_act" "gelu"/],
  ["biases", { attention_bias: true }, /"attention_bias"/],
  ["a sliding window", { use_sliding_window: true, sliding_window: 128 }, /sliding window/],
  ["layers with a sliding window", { layer_types: ["full_attention", "sliding_attention"] }, /sliding window/],
  ["scaled rotary angles", { rope_scaling: { type: "yarn", factor: 4 } }, /"rope_scaling"/],
  ["scaled rotary angles in the newer way", { rope_parameters: { rope_type: "yarn" } }, /"rope_scaling"/],
  ["quantised weights", { quantization_config: { bits: 4 } }, /"quantization_config"/]
]

describe("a configuration", () => {
  it("gives the model's sizes", () => {
    assert.deepStrictEqual(
      parse({}),
      Either.right({
        layers: 2,
        hidden: 24,
        heads: 4,
        kvHeads: 2,
        headDim: 8,
        intermediate: 40,
        vocab: 61,
        maxPositions: 32,
        ropeTheta: 10_000,
        rmsEpsilon: 1e-6,
        tied: true
      })
    )
  })

  it("may leave out what is off by default, and keep the rotary base in either place", () => {
    const parsed = parse({
      attention_bias: undefined,
      hidden_act: undefined,
      use_sliding_window: undefined,
      rope_scaling: undefined,
      tie_word_embeddings: undefined,
      sliding_window: 4096,
      layer_types: ["full_attention", "full_attention"],
      rope_theta: undefined,
      rope_parameters: { rope_type: "default", rope_theta: 5_000_000 }
    })
    assert.deepInclude(Either.getOrThrow(parsed), { ropeTheta: 5_000_000, tied: false })
  })

  for (const [name, changes, message] of invalid) {
    it(`is invalid with ${name}`, () => {
      const error = Either.getOrThrow(Either.flip(parse(changes)))
      assert.strictEqual(error.reason, "ConfigInvalid")
      assert.match(error.message, message)
    })
  }

  for (const [name, changes, message] of unsupported) {
    it(`is not supported with ${name}`, () => {
      const error = Either.getOrThrow(Either.flip(parse(changes)))
      assert.strictEqual(error.reason, "ConfigUnsupported")
      assert.match(error.message, message)
    })
  }

  it("is invalid where it is not a JSON object", () => {
    for (const text of ["", "{", "null", "[]", "7"]) {
      const error = Either.getOrThrow(Either.flip(Model.parseConfig(text, "config.json")))
      assert.strictEqual(error.reason, "ConfigInvalid")
    }
  })

  it("takes a shorter context, but no longer one than the model was made for", () => {
    const parsed = Either.getOrThrow(parse({}))
    assert.strictEqual(Either.getOrThrow(Model.withMaxPositions(parsed, 7)).maxPositions, 7)
    for (const positions of [0, -1, 33, 1.5, NaN]) {
      const error = Either.getOrThrow(Either.flip(Model.withMaxPositions(parsed, positions)))
      assert.strictEqual(error.reason, "ContextInvalid")
    }
  })

  it("says how large cache and workspace are", () => {
    const parsed = Either.getOrThrow(parse({}))
    assert.deepStrictEqual(Model.kvCacheShape(parsed), [2, 32, 16])
    assert.strictEqual(Kernel.workspaceElements(parsed, 1), 2 * 24 + 2 * 32 + 2 * 40 + 8 + 32)
    for (const tokenCount of [1, 2, 32]) {
      const enough = tokenCount * Kernel.workspaceElementsPerToken(parsed)
      assert.isAtLeast(enough, Kernel.workspaceElements(parsed, tokenCount))
    }
  })
})

const base = makeModel({ seed: 2, tied: false })

/** A model folder that holds these tensors. */
const folderWith = (tensors: ReadonlyArray<RawTensor>) =>
  Effect.gen(function*() {
    const { folder } = yield* writeModel({ seed: 2, tied: false })
    yield* (yield* FileSystem.FileSystem).writeFile(`${folder}/model.safetensors`, encodeSafetensors(tensors))
    return folder
  })

const replaced = (name: string, change: (tensor: RawTensor) => RawTensor): ReadonlyArray<RawTensor> =>
  base.tensors.map((tensor) => tensor.name === name ? change(tensor) : tensor)

describe("a model folder", () => {
  layer(NodeContext.layer)((it) => {
    it.scoped("gives the weights that the kernel takes, piece by piece", () =>
      Effect.gen(function*() {
        const written = yield* writeModel({ seed: 3, tied: false, dtype: "mixed" })
        const model = yield* Model.open(written.folder)
        assert.strictEqual(model.weights.length, 3 + 2 * 11)
        for (const weight of model.weights) {
          const expected = written.model.weights.get(weight.name)!
          const actual = new Float64Array(weight.elementCount)
          let nextElement = 0
          yield* model.forEachPiece(weight, { maxBytes: 30 }, (piece) =>
            Effect.sync(() => {
              assert.strictEqual(piece.offsetElements, nextElement)
              assert.isAtMost(piece.elements.byteLength, 30)
              nextElement += piece.elements.length
              const bits = piece.elements instanceof Uint16Array
                ? new Float32Array(Uint32Array.from(piece.elements, (half) => half * 0x1_0000).buffer)
                : piece.elements
              actual.set(bits, piece.offsetElements)
            }))
          assert.deepStrictEqual(actual, expected)
        }
      }))

    it.scoped("may hold tensors that the model does not need", () =>
      Effect.gen(function*() {
        const extra = { name: "extra", dtype: "I8", shape: [3], bytes: new Uint8Array(3) }
        const model = yield* Model.open(yield* folderWith([...base.tensors, extra]))
        assert.isFalse(model.weights.some(({ name }) => name === "extra"))
      }))

    it.scoped("is refused by the name of a missing tensor", () =>
      Effect.gen(function*() {
        for (const { name } of base.tensors) {
          const folder = yield* folderWith(base.tensors.filter((tensor) => tensor.name !== name))
          const error = yield* Effect.flip(Model.open(folder))
          assert.strictEqual(error.reason, "TensorMissing")
          assert.strictEqual(error.message, `model.safetensors has no tensor "${name}", which the model needs`)
        }
      }))

    it.scoped("is refused for a tensor of another shape", () =>
      Effect.gen(function*() {
        const tensors = replaced("model.layers.1.mlp.up_proj.weight", (tensor) => ({ ...tensor, shape: [24, 40] }))
        const error = yield* Effect.flip(Model.open(yield* folderWith(tensors)))
        assert.strictEqual(error.reason, "TensorMismatch")
        assert.match(error.message, /up_proj.weight" in the shape \[24, 40\], but .* \[40, 24\]/)
      }))

    it.scoped("is refused for a tensor of an element type that the kernel does not take", () =>
      Effect.gen(function*() {
        const tensors = replaced("model.norm.weight", (tensor) => ({ ...tensor, dtype: "F16" }))
        const error = yield* Effect.flip(Model.open(yield* folderWith(tensors)))
        assert.strictEqual(error.reason, "TensorMismatch")
        assert.match(error.message, /"model.norm.weight" in F16/)
      }))

    it.scoped("is refused where a file is missing, or the configuration is not small", () =>
      Effect.gen(function*() {
        const fileSystem = yield* FileSystem.FileSystem
        const { folder } = yield* writeModel({ seed: 4 })
        yield* fileSystem.remove(`${folder}/model.safetensors`)
        assert.strictEqual((yield* Effect.flip(Model.open(folder))).file, "model.safetensors")
        yield* fileSystem.writeFileString(`${folder}/config.json`, " ".repeat(2 ** 20 + 1))
        assert.match((yield* Effect.flip(Model.open(folder))).message, /^config.json has 1048577 B/)
        yield* fileSystem.remove(`${folder}/config.json`)
        assert.strictEqual((yield* Effect.flip(Model.open(folder))).message, "config.json cannot be read (NotFound)")
      }))

    it.scoped("comes with the example", () =>
      Effect.gen(function*() {
        const { config, weights } = yield* Model.open(folder)
        assert.deepInclude(config, { layers: 4, hidden: 128, vocab: 256, tied: true, ropeTheta: 1_000_000 })
        assert.strictEqual(weights.length, 46)
        assert.strictEqual(weights.reduce((sum, { elementCount }) => sum + elementCount, 0), 820_608)
      }))
  })
})
