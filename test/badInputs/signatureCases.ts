/** What can be wrong with a signature, and the rows of the table that it belongs to. All of it is refused as `Signature`. */
import { Arg } from "leasehold"

const scratch = Arg.scratch("float32", [4])

export const badSignatures: ReadonlyArray<readonly [rows: string, what: string, signature: () => unknown]> = [
  ["42", "an empty name", () => ({ "": scratch })],
  ["42", "a name of 257 characters", () => ({ ["n".repeat(257)]: scratch })],
  ["42", "a name of ten million characters", () => ({ ["n".repeat(10_000_000)]: scratch })],
  ["23", "an element type that nobody knows", () => ({ x: { ...scratch, dtype: "float33" } })],
  ["23", "an element type off the prototype", () => ({ x: { ...scratch, dtype: "toString" } })],
  ["23", "no element type", () => ({ x: { ...scratch, dtype: undefined } })],
  ["23", "a scalar of float16, which has no value in JavaScript", () => ({ x: { _tag: "Scalar", dtype: "float16" } })],
  ["1", "a dimension of -1", () => ({ x: { ...scratch, dims: [-1] } })],
  ["3", "a dimension of 1.5", () => ({ x: { ...scratch, dims: [1.5] } })],
  ["4", "a dimension of NaN", () => ({ x: { ...scratch, dims: [Number.NaN] } })],
  ["5", "a dimension without end", () => ({ x: { ...scratch, dims: [Number.POSITIVE_INFINITY] } })],
  ["6", "a dimension of 2^53", () => ({ x: { ...scratch, dims: [2 ** 53] } })],
  ["7", "null for a dimension", () => ({ x: { ...scratch, dims: [null] } })],
  ["7", "true for a dimension", () => ({ x: { ...scratch, dims: [true] } })],
  ["17", "a negative dimension", () => ({ x: { ...scratch, dims: [-1, 4] } })],
  ["18", "a dimension that is no whole number", () => ({ x: { ...scratch, dims: [3.5, 2] } })],
  ["19", "a dimension that is no number", () => ({ x: { ...scratch, dims: [Number.NaN] } })],
  ["19", "null for a dimension", () => ({ x: { ...scratch, dims: [null] } })],
  // oxlint-disable-next-line no-sparse-arrays -- a hole is what is tested
  ["19", "a hole for a dimension", () => ({ x: { ...scratch, dims: [4, , 4] } })],
  ["20", "a dimension of 2^53 beside a zero", () => ({ x: { ...scratch, dims: [2 ** 53, 0] } })],
  ["", "a bigint for a dimension", () => ({ x: { ...scratch, dims: [4n] } })],
  ["42", "an empty dimension name", () => ({ x: { ...scratch, dims: [""] } })],
  ["21", "rank 9", () => ({ x: { ...scratch, dims: [1, 1, 1, 1, 1, 1, 1, 1, 1] } })],
  ["21", "rank 65", () => ({ x: { ...scratch, dims: Array.from({ length: 65 }, () => 1) } })],
  ["19", "a number for dimensions", () => ({ x: { ...scratch, dims: 4 } })],
  ["19", "text for dimensions", () => ({ x: { ...scratch, dims: "batch" } })],
  ["19", "scratch without dimensions", () => ({ x: { ...scratch, dims: undefined } })],
  ["", "a direction that nobody knows", () => ({ x: { ...scratch, _tag: "Outside" } })],
  ["", "no direction", () => ({ x: { dtype: "float32", dims: [4] } })],
  ["", "null for an argument", () => ({ x: null })],
  ["", "undefined for an argument", () => ({ x: undefined })],
  ["", "text for an argument", () => ({ x: "float32" })],
  ["", "null for a signature", () => null],
  ["", "undefined for a signature", () => undefined]
]
