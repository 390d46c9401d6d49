/** What can be wrong with an option of a runner, and the rows of the table that it belongs to. */

const badSizes: ReadonlyArray<readonly [rows: string, value: unknown]> = [
  ["1", -1],
  ["3", 1.5],
  ["4", Number.NaN],
  ["5", Number.POSITIVE_INFINITY],
  ["5", Number.NEGATIVE_INFINITY],
  ["6", 2 ** 53],
  ["14", 2 ** 60],
  ["7", true],
  ["8", 2n ** 64n],
  ["9", 64n],
  ["7", {}],
  ["7", [64]],
  ["", ""],
  ["", " "],
  ["", "64MB "],
  ["", " 64MB"],
  ["", "64  MB"],
  ["", "64 MIB"],
  ["", "64 mb"],
  ["", "64 KiBi"],
  ["", "64 bytes"],
  ["", "-1 B"],
  ["", "1.5 B"],
  ["", "1e6"],
  ["", "0x10"],
  ["", "64,5 MiB"],
  ["", "٦٤ MiB"],
  ["", "64 MiB\n"],
  ["", "9000000000 TiB"],
  ["", "Infinity"]
]

export type OptionCase = readonly [
  rows: string,
  path: ReadonlyArray<string>,
  value: unknown,
  reason: string,
  option: string
]

const chunkSizesThatOverflow = { sizes: ["9007199254740991 B", "9007199254740991 B"] }

export const optionCases: ReadonlyArray<OptionCase> = [
  ...badSizes.flatMap(([rows, value]): ReadonlyArray<OptionCase> => [
    [rows, ["temporaryBuffer", "maxBytes"], value, "Size", "temporaryBuffer.maxBytes"],
    [
      rows === "" ? "" : "13",
      ["temporaryBuffer", "alignmentBytes"],
      value,
      "Alignment",
      "temporaryBuffer.alignmentBytes"
    ],
    [
      rows === "" ? "" : "15",
      ["temporaryBuffer", "chunks"],
      { sizes: [value] },
      "Chunks",
      "temporaryBuffer.chunks.sizes"
    ],
    [rows, ["residentMaxBytes"], value, "Size", "residentMaxBytes"],
    [rows, ["stagingMaxBytes"], value, "Size", "stagingMaxBytes"],
    [rows, ["maxInlineCopyBytes"], value, "Size", "maxInlineCopyBytes"]
  ]),
  ...[0, 3, -8, 2 ** 31, 48, "1000 B", "1 kB"].map((value): OptionCase => [
    "13",
    ["temporaryBuffer", "alignmentBytes"],
    value,
    "Alignment",
    "temporaryBuffer.alignmentBytes"
  ]),
  ...([
    [{ sizes: ["65 MiB"] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: ["63 MiB", "2 MiB"] }, "temporaryBuffer.chunks.sizes"],
    [chunkSizesThatOverflow, "temporaryBuffer.chunks.sizes"],
    [{ sizes: [] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: [0] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: Array.from({ length: 65 }, () => 64) }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: "64 MiB" }, "temporaryBuffer.chunks.sizes"],
    [{}, "temporaryBuffer.chunks.sizes"],
    [[64], "temporaryBuffer.chunks.sizes"],
    [{ count: 0 }, "temporaryBuffer.chunks.count"],
    [{ count: -1 }, "temporaryBuffer.chunks.count"],
    [{ count: 1.5 }, "temporaryBuffer.chunks.count"],
    [{ count: 65 }, "temporaryBuffer.chunks.count"],
    [{ count: Number.NaN }, "temporaryBuffer.chunks.count"],
    [{ count: "2" }, "temporaryBuffer.chunks.count"],
    ["double", "temporaryBuffer.chunks"],
    [2, "temporaryBuffer.chunks"],
    [true, "temporaryBuffer.chunks"]
  ] as const).map(([value, option]): OptionCase => ["15", ["temporaryBuffer", "chunks"], value, "Chunks", option]),
  ...[0, 65, 1.5, "1", true].map((value): OptionCase => ["", ["slots"], value, "Count", "slots"]),
  ...["wait", "queue", true, 0].map((value): OptionCase => ["", ["admission"], value, "Choice", "admission"]),
  ...["some", "ALL", true, 0].map((value): OptionCase => ["", ["clear"], value, "Choice", "clear"]),
  ...[0, -1, Number.NaN, Number.NEGATIVE_INFINITY, "soon", "0 seconds", "5 parsecs", {}, true].map((
    value
  ): OptionCase => ["68", ["interruptDeadline"], value, "Duration", "interruptDeadline"])
]

export const atPath = (path: ReadonlyArray<string>, value: unknown): Record<string, unknown> => {
  const [first, ...rest] = path
  return { [first!]: rest.length === 0 ? value : atPath(rest, value) }
}
