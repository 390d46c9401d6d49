import { NodeContext } from "@effect/platform-node"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { ModelFileInvalid } from "../../../examples/qwen3-decode/errors.ts"
import * as Safetensors from "../../../examples/qwen3-decode/safetensors.ts"
import { encodeSafetensors, type RawTensor } from "./makeModel.ts"

const tensors: ReadonlyArray<RawTensor> = [
  { name: "a", dtype: "F32", shape: [2, 3], bytes: Uint8Array.from({ length: 24 }, (_, index) => index) },
  { name: "empty", dtype: "BF16", shape: [0, 9], bytes: new Uint8Array() },
  { name: "scalar", dtype: "I64", shape: [], bytes: new Uint8Array(8).fill(9) },
  { name: "b", dtype: "BF16", shape: [5], bytes: Uint8Array.from({ length: 10 }, (_, index) => 100 + index) }
]

const whole = encodeSafetensors(tensors)

/** A file whose header is `header` and whose tensors have `dataBytes` bytes. */
const withHeader = (header: unknown, dataBytes = 0): Uint8Array<ArrayBuffer> =>
  encodeSafetensors(
    [{ name: "", dtype: "U8", shape: [dataBytes], bytes: new Uint8Array(dataBytes) }],
    typeof header === "string" ? header : JSON.stringify(header)
  )

const withLength = (length: bigint, byteCount: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(byteCount)
  new DataView(bytes.buffer).setBigUint64(0, length, true)
  return bytes
}

/** Writes a file into a folder of its own. */
const write = (bytes: Uint8Array) =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const path = (yield* Path.Path).join(yield* fileSystem.makeTempDirectoryScoped(), "model.safetensors")
    yield* fileSystem.writeFile(path, bytes)
    return path
  })

const openBytes = (bytes: Uint8Array) => Effect.flatMap(Effect.orDie(write(bytes)), Safetensors.open)

const entry = (dtype: string, shape: ReadonlyArray<number>, ...offsets: ReadonlyArray<number>) => ({
  dtype,
  shape,
  data_offsets: offsets
})

const refusals: ReadonlyArray<readonly [string, ModelFileInvalid["reason"], Uint8Array, RegExp]> = [
  ["an empty file", "Truncated", new Uint8Array(), /has 0 B/],
  ["a file shorter than the header's length", "Truncated", new Uint8Array(7), /has 7 B/],
  ["a file that ends in the header", "Truncated", whole.subarray(0, 40), /only 32 B follow/],
  ["a file that ends in a tensor", "Truncated", whole.subarray(0, -1), /its header describes/],
  ["a byte too many", "Oversized", Uint8Array.of(...whole, 0), /its header describes/],
  ["a header beyond the limit", "HeaderTooLong", withLength(2n ** 24n + 1n, 64), /a header of 16777217 B/],
  ["a header length of 64 set bits", "HeaderTooLong", withLength(2n ** 64n - 1n, 64), /18446744073709551615/],
  ["a header that is not JSON", "HeaderInvalid", withHeader("{\"a\":"), /not JSON/],
  ["an empty header", "HeaderInvalid", withLength(0n, 8), /not JSON/],
  ["a header that is no UTF-8", "HeaderInvalid", Uint8Array.of(...withLength(2n, 8), 0xff, 0xfe), /not JSON/],
  ["a header that is a list", "HeaderInvalid", withHeader([1]), /no JSON object/],
  [
    "a tensor without a shape",
    "HeaderInvalid",
    withHeader({ a: { dtype: "F32", data_offsets: [0, 0] } }),
    /"a".*shape/
  ],
  ["a tensor that is null", "HeaderInvalid", withHeader({ a: null }), /"a"/],
  ["a fractional dimension", "HeaderInvalid", withHeader({ a: entry("U8", [1.5], 0, 1) }, 1), /shape\.0/],
  ["a negative dimension", "HeaderInvalid", withHeader({ a: entry("U8", [-1, -1], 0, 1) }, 1), /shape\.0/],
  ["a dimension beyond 2^53", "HeaderInvalid", withHeader({ a: entry("U8", [2 ** 60], 0, 1) }, 1), /shape\.0/],
  ["three offsets", "HeaderInvalid", withHeader({ a: entry("U8", [1], 0, 1, 2) }, 1), /data_offsets/],
  ["a negative offset", "HeaderInvalid", withHeader({ a: entry("U8", [1], -1, 0) }, 1), /data_offsets/],
  ["an unknown element type", "DtypeUnknown", withHeader({ a: entry("F31", [1], 0, 4) }, 4), /"F31"/],
  ["an element type named like a method", "DtypeUnknown", withHeader({ a: entry("toString", [1], 0, 4) }, 4), /"a"/],
  ["more bytes than the shape has", "TensorSizeInvalid", withHeader({ a: entry("F32", [1], 0, 8) }, 8), /has 4 B/],
  ["fewer bytes than the shape has", "TensorSizeInvalid", withHeader({ a: entry("F32", [3], 0, 8) }, 8), /has 12 B/],
  ["an end before the beginning", "TensorSizeInvalid", withHeader({ a: entry("U8", [4], 4, 0) }, 4), /from 4 to 0/],
  [
    "a shape whose product overflows",
    "TensorSizeInvalid",
    withHeader({ a: entry("F32", [2 ** 32, 2 ** 32, 2 ** 32], 0, 4) }, 4),
    /2\^53/
  ],
  [
    "tensors that overlap",
    "LayoutInvalid",
    withHeader({ a: entry("U8", [4], 0, 4), b: entry("U8", [4], 2, 6) }, 6),
    /"b" overlap another one by 2 B/
  ],
  [
    "one range for two tensors",
    "LayoutInvalid",
    withHeader({ a: entry("U8", [4], 0, 4), b: entry("U8", [4], 0, 4) }, 4),
    /overlap another one by 4 B/
  ],
  [
    "a gap between tensors",
    "LayoutInvalid",
    withHeader({ a: entry("U8", [4], 0, 4), b: entry("U8", [4], 5, 9) }, 9),
    /gap of 1 B before the tensor "b"/
  ],
  [
    "a name that is given twice",
    "LayoutInvalid",
    withHeader(
      `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`,
      2
    ),
    /gap of 1 B/
  ],
  [
    "a tensor beyond the file",
    "Truncated",
    withHeader({ a: entry("U8", [2 ** 40], 0, 2 ** 40) }, 4),
    /its header describes/
  ]
]

describe("a safetensors file", () => {
  layer(NodeContext.layer)((it) => {
    it.scoped("names its tensors, and metadata is none", () =>
      Effect.gen(function*() {
        const header = JSON.stringify({ __metadata__: { format: "pt" }, a: entry("F16", [2], 0, 4) })
        const file = yield* openBytes(withHeader(`${header}    `, 4))
        assert.deepStrictEqual([...file.tensors.keys()], ["a"])
        assert.deepInclude(file.tensors.get("a"), { dtype: "F16", shape: [2], byteCount: 4 })
        assert.strictEqual(file.file, "model.safetensors")
      }))

    it.scoped("gives back the bytes of a tensor, whole and in pieces, at once too", () =>
      Effect.gen(function*() {
        const file = yield* openBytes(whole)
        for (const { bytes, name } of tensors) {
          assert.deepStrictEqual(yield* file.read(name, { offsetBytes: 0, byteCount: bytes.byteLength }), bytes)
        }
        const pieces = yield* Effect.forEach(
          Array.from({ length: 10 }, (_, index) => index),
          (offsetBytes) => file.read("b", { offsetBytes, byteCount: 1 }),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(pieces.map((piece) => piece[0]), [...tensors[3]!.bytes])
      }))

    it.scoped("keeps a tensor whose name means something to JavaScript", () =>
      Effect.gen(function*() {
        const file = yield* openBytes(withHeader(`{"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2))
        assert.strictEqual((yield* file.read("__proto__", { offsetBytes: 0, byteCount: 2 })).byteLength, 2)
      }))

    it.scoped("refuses a tensor that it does not have, and pieces outside of one", () =>
      Effect.gen(function*() {
        const file = yield* openBytes(whole)
        const missing = yield* Effect.flip(file.read("c", { offsetBytes: 0, byteCount: 1 }))
        assert.strictEqual(missing.reason, "TensorMissing")
        for (const [offsetBytes, byteCount] of [[0, 11], [10, 1], [-1, 1], [0, -1], [0.5, 1], [0, NaN]] as const) {
          assert.strictEqual((yield* Effect.flip(file.read("b", { offsetBytes, byteCount }))).reason, "OutOfRange")
        }
      }))

    it.scoped("that became shorter after it was opened is truncated, not misread", () =>
      Effect.gen(function*() {
        const path = yield* write(whole)
        const file = yield* Safetensors.open(path)
        yield* (yield* FileSystem.FileSystem).truncate(path, whole.byteLength - 4)
        const error = yield* Effect.flip(file.read("b", { offsetBytes: 0, byteCount: 10 }))
        assert.strictEqual(error.reason, "Truncated")
      }))

    it.scoped("is no folder, and is there", () =>
      Effect.gen(function*() {
        const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped()
        const folderError = yield* Effect.flip(Safetensors.open(folder))
        assert.strictEqual(folderError.reason, "Unreadable")
        assert.match(folderError.message, /is not a regular file$/)
        const missingError = yield* Effect.flip(Safetensors.open((yield* Path.Path).join(folder, "model.safetensors")))
        assert.strictEqual(missingError.message, "model.safetensors cannot be read (NotFound)")
      }))

    for (const [name, reason, bytes, message] of refusals) {
      it.scoped(`is refused for ${name}`, () =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(openBytes(bytes))
          assert.strictEqual(error.reason, reason)
          assert.match(error.message, message)
        }))
    }

    it.scoped("cannot make an error long", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(
          openBytes(withHeader({ ["\n".repeat(100_000)]: { dtype: "x".repeat(100_000) } }))
        )
        assert.isBelow(error.message.length, 1000)
      }))
  })
})
