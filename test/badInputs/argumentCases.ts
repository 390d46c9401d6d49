/** What can be wrong with an argument: used for the arguments of runs, and for what is uploaded. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { runInNewContext } from "node:vm"
import {
  detached,
  Growable,
  inClosedScope,
  type Make,
  Memory,
  plain,
  resizable,
  shrunk,
  stranger,
  without
} from "./world.ts"

export type ArgumentCase = readonly [rows: string, what: string, argument: string, reason: string, make: Make]

export const notATensor: ReadonlyArray<readonly [rows: string, what: string, make: () => unknown]> = [
  ["32", "null", () => null],
  ["37", "a number", () => 4096],
  ["37", "a bigint", () => 4096n],
  ["32", "text", () => "1,2,3"],
  ["32", "true", () => true],
  ["32", "an array", () => [1, 2, 3]],
  ["32", "a function", () => () => new Float32Array(29)],
  ["32", "an effect", () => Effect.succeed(new Float32Array(29))],
  ["32", "an object that looks like a view", () => ({ buffer: new ArrayBuffer(116), byteLength: 116, length: 29 })],
  ["32", "an object with the prototype of a view", () => Object.create(Float32Array.prototype)],
  ["32", "a proxy of a view", () => new Proxy(new Float32Array(29), {})],
  ["32", "a DataView", () => new DataView(new ArrayBuffer(116))],
  ["32", "a bare ArrayBuffer", () => new ArrayBuffer(116)],
  ["32", "a bare SharedArrayBuffer", () => new SharedArrayBuffer(116)]
]

export const argumentCases: ReadonlyArray<ArgumentCase> = [
  ...notATensor.flatMap(([rows, what, make]): ReadonlyArray<ArgumentCase> => [
    [rows, `${what} as an input`, "x", "NotATensor", plain(make)],
    [rows, `${what} as an output`, "y", "NotATensor", plain(make)],
    [rows, `${what} as a resident`, "kept", "NotATensor", plain(make)]
  ]),
  // Element types
  ["24", "a Float64Array for float32", "x", "DType", plain(() => new Float64Array(29))],
  ["24", "an Int32Array for float32", "y", "DType", plain(() => new Int32Array(29))],
  ["24", "bytes for float32", "x", "DType", plain(() => new Uint8Array(116))],
  ["24", "a Uint32Array for int32", "z", "DType", plain(() => new Uint32Array(5))],
  ["24", "a Uint8ClampedArray for uint8", "raw", "DType", plain(() => new Uint8ClampedArray(3))],
  ["24", "an Int8Array for uint8", "raw", "DType", plain(() => new Int8Array(3))],
  ["24", "a resident of int32", "kept", "DType", ({ runner }) => runner.allocate("int32", [4])],
  ["24", "a host tensor of float64", "x", "DType", ({ runner }) => runner.allocateHost("float64", [29])],
  // Buffers that are not there, or may move
  ["27", "a detached view", "x", "Detached", plain(() => detached(new Float32Array(29)))],
  ["27", "a detached output", "y", "Detached", plain(() => detached(new Float32Array(29)))],
  ["27", "a detached view that was empty before", "raw", "Detached", plain(() => detached(new Uint8Array(0)))],
  ["28", "a view of a resizable buffer", "x", "Resizable", plain(() => new Float32Array(resizable(116)))],
  [
    "28",
    "a view of a growable shared buffer",
    "x",
    "Resizable",
    plain(() => new Float32Array(new Growable(116, { maxByteLength: 256 })))
  ],
  ["29", "a view that is out of bounds since a shrink", "x", "Resizable", plain(shrunk)],
  [
    "28",
    "a resizable buffer that says it is none",
    "x",
    "Resizable",
    plain(() => new Float32Array(Object.defineProperty(resizable(116), "resizable", { value: false })))
  ],
  [
    "28",
    "a resizable buffer without a prototype",
    "x",
    "Resizable",
    plain(() => {
      const view = new Float32Array(resizable(116))
      without(view.buffer, null)
      return view
    })
  ],
  ["31", "a view of shared memory", "x", "Shared", plain(() => new Float32Array(new SharedArrayBuffer(116)))],
  ["31", "an output in shared memory", "y", "Shared", plain(() => new Float32Array(new SharedArrayBuffer(116)))],
  [
    "31",
    "the view of a host tensor",
    "x",
    "Shared",
    ({ runner }) => Effect.map(runner.allocateHost("float32", [29]), ({ view }) => view)
  ],
  [
    "31",
    "a view of shared WebAssembly memory",
    "raw",
    "Shared",
    plain(() => new Uint8Array(new Memory({ initial: 1, maximum: 1, shared: true }).buffer, 0, 3))
  ],
  [
    "31",
    "shared memory that says it is none",
    "x",
    "Shared",
    plain(() => {
      const view = new Float32Array(new SharedArrayBuffer(116))
      without(view.buffer, ArrayBuffer.prototype)
      return view
    })
  ],
  [
    "31",
    "shared memory of another realm",
    "x",
    "Shared",
    plain(() => runInNewContext("new Float32Array(new SharedArrayBuffer(116))"))
  ],
  // Handles
  [
    "33",
    "a host tensor of another runner",
    "x",
    "ForeignHandle",
    () => Effect.flatMap(stranger, (other) => other.allocateHost("float32", [29]))
  ],
  [
    "33",
    "a resident of another runner",
    "kept",
    "ForeignHandle",
    () => Effect.flatMap(stranger, (other) => other.allocate("float32", [4]))
  ],
  [
    "35",
    "a host tensor whose scope has ended",
    "x",
    "HandleClosed",
    ({ runner }) => inClosedScope(runner.allocateHost("float32", [29]))
  ],
  [
    "35",
    "a resident whose scope has ended",
    "kept",
    "HandleClosed",
    ({ runner }) => inClosedScope(runner.allocate("float32", [4]))
  ],
  [
    "35",
    "a resident whose scope has ended and whose memory is another's",
    "kept",
    "HandleClosed",
    ({ probe, runner }) =>
      Effect.gen(function*() {
        const addresses = new Set(probe.live.keys())
        const before = yield* inClosedScope(Effect.map(runner.allocate("float32", [4]), (closed) => ({
          closed,
          address: [...probe.live.keys()].find((address) => !addresses.has(address))
        })))
        yield* runner.allocate("float32", [4])
        assert.isTrue(probe.live.has(before.address!), "the memory is taken again")
        return before.closed
      })
  ],
  ["38", "a resident for a host view", "x", "NotATensor", ({ runner }) => runner.allocate("float32", [29])],
  ["38", "a host tensor for a resident", "kept", "NotATensor", ({ runner }) => runner.allocateHost("float32", [4])],
  ...(["spread", "JSON", "an heir", "a proxy"] as const).flatMap((copy): ReadonlyArray<ArgumentCase> => {
    const copied = (handle: object): unknown =>
      copy === "spread"
        ? { ...handle }
        : copy === "JSON"
        ? JSON.parse(JSON.stringify(handle))
        : copy === "an heir"
        ? Object.create(handle)
        : new Proxy(handle, {})
    return [
      [
        "38",
        `a copy of a resident (${copy})`,
        "kept",
        "NotATensor",
        ({ runner }) => Effect.map(runner.allocate("float32", [4]), copied)
      ],
      [
        "38",
        `a copy of a host tensor (${copy})`,
        "x",
        "NotATensor",
        ({ runner }) => Effect.map(runner.allocateHost("float32", [29]), copied)
      ]
    ]
  }),
  [
    "38",
    "a structured clone of a host tensor",
    "x",
    "NotATensor",
    ({ runner }) =>
      Effect.map(
        runner.allocateHost("float32", [29]),
        ({ byteLength, dtype, shape, view }) => structuredClone({ byteLength, dtype, shape, view })
      )
  ],
  // Scalars
  ...([
    ["1.5", 1.5],
    ["no number", Number.NaN],
    ["endless", Number.POSITIVE_INFINITY],
    ["2^31", 2 ** 31],
    ["-2^31 - 1", -(2 ** 31) - 1],
    ["2^53", 2 ** 53],
    ["text", "7"],
    ["a bigint", 7n],
    ["true", true],
    ["null", null],
    ["an array", [7]],
    ["an object that stands for a number", { valueOf: () => 7 }]
  ] as const).map((
    [what, value]
  ): ArgumentCase => ["", `${what} for int32`, "count", "Scalar", plain(() => value)]),
  ...([
    ["a number", 7],
    ["2^63", 2n ** 63n],
    ["-2^63 - 1", -(2n ** 63n) - 1n],
    ["text", "7"],
    ["null", null]
  ] as const).map(([what, value]): ArgumentCase => ["", `${what} for int64`, "long", "Scalar", plain(() => value)]),
  ...([
    ["a number", 7],
    ["-1", -1n],
    ["2^64", 2n ** 64n]
  ] as const).map(([what, value]): ArgumentCase => ["", `${what} for uint64`, "natural", "Scalar", plain(() => value)])
]
