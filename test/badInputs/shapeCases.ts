/** What can be wrong with the shape of `allocate` and `allocateHost`, and the rows of the table that it belongs to. */

export const badShapes: ReadonlyArray<readonly [rows: string, what: string, shape: unknown, reason: string]> = [
  ["1", "minus one", [-1], "Shape"],
  ["17", "a negative dimension", [-1, 4], "Shape"],
  ["3", "one and a half", [1.5], "Shape"],
  ["18", "a dimension that is no whole number", [3.5, 2], "Shape"],
  ["4", "no number", [Number.NaN], "Shape"],
  ["5", "an endless dimension", [Number.POSITIVE_INFINITY], "Shape"],
  ["6", "2^53", [2 ** 53], "SizeOverflow"],
  ["20", "2^53 beside a zero", [2 ** 53, 0], "SizeOverflow"],
  ["7", "text", ["4"], "Shape"],
  ["7", "null", [null], "Shape"],
  ["7", "true", [true], "Shape"],
  ["8", "2n ** 64n", [2n ** 64n], "Shape"],
  ["9", "a bigint", [64n], "Shape"],
  // oxlint-disable-next-line no-sparse-arrays -- a hole is what is tested
  ["19", "a hole", [4, , 4], "Shape"],
  ["19", "an array in an array", [[4]], "Shape"],
  ["16", "[2^27, 2^27] of float32", [2 ** 27, 2 ** 27], "SizeOverflow"],
  ["16", "a product above the safe integers", [2 ** 50, 2 ** 50], "SizeOverflow"],
  ["21", "rank 9", [1, 1, 1, 1, 1, 1, 1, 1, 1], "Shape"],
  ["21", "rank 65", Array.from({ length: 65 }, () => 1), "Shape"],
  ["19", "no array but a number", 4, "Shape"],
  ["19", "no array but text", "4", "Shape"],
  ["19", "nothing", undefined, "Shape"],
  ["19", "null for a shape", null, "Shape"],
  ["19", "an object like an array", { 0: 4, length: 1 }, "Shape"],
  ["19", "a typed array", Int32Array.of(4), "Shape"]
]
