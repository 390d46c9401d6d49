/** Rows 16 to 32: shapes, element types, and host arrays that cannot be taken as they are. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Arg } from "leasehold"
import { add, native } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"
import { answered, failsAs, refused, type Row } from "./row.ts"
import { argumentsOf, everyCallable, everyRun, movesOf, shapes, signatures } from "./ways.ts"
import { detached, goodArguments } from "./world.ts"

/** A value for an argument, refused by runs and by moves alike. */
const forRunsAndMoves = (number: number, input: string, reason: string): Row => ({
  number,
  input,
  entries: [argumentsOf(number, `InvalidArgument: ${reason}`), movesOf(number, `InvalidArgument: ${reason}`)]
})

/** A shape that is none. */
const noShape = (number: number, input: string, reason = "Shape"): Row => ({
  number,
  input,
  entries: [shapes(number, `InvalidArgument: ${reason}`), signatures(number)]
})

const wrongLength = (number: number, byteCount: number): Row => ({
  number,
  input: `${byteCount} bytes for a tensor of 116 bytes`,
  entries: [
    refused("run, bind and plan", "ShapeMismatch", (bench) =>
      Effect.gen(function*() {
        const good = yield* goodArguments(bench.runner)
        const wrong = new Float32Array(byteCount / 4)
        return [...yield* everyRun(bench, { ...good, x: wrong }), ...yield* everyRun(bench, { ...good, y: wrong })]
      })),
    refused(
      "upload and download",
      "ShapeMismatch",
      ({ runner }) =>
        Effect.map(runner.allocate("float32", [29]), (resident) => [
          resident.upload(new Float32Array(byteCount / 4)),
          resident.download(new Float32Array(byteCount / 4))
        ])
    )
  ]
})

export const rowsOfTensors: ReadonlyArray<Row> = [
  {
    number: 16,
    input: "a shape of [2^27, 2^27] of float32, whose bytes no number can count",
    entries: [
      shapes(16, "InvalidArgument: SizeOverflow"),
      refused("scratch of run, bind and plan", "InvalidArgument: SizeOverflow", (bench) =>
        everyCallable(
          bench,
          (execution) => native("test_nothing", { work: Arg.scratch("float32", [2 ** 27, 2 ** 27]) }, { execution }),
          {}
        )),
      refused("a view for run, bind and plan", "ShapeMismatch", (bench) =>
        everyCallable(
          bench,
          (execution) => native("test_nothing", { x: Arg.input("float32", [2 ** 27, 2 ** 27]) }, { execution }),
          { x: new Float32Array(4) }
        ))
    ]
  },
  noShape(17, "a shape of [-1, 4]"),
  noShape(18, "a shape of [3.5, 2]"),
  noShape(19, "a shape of [NaN], [\"4\"] or [null], a sparse one, or no array at all"),
  noShape(20, "a shape of [2^53, 0]: a dimension beyond the cap, though the product is zero", "SizeOverflow"),
  noShape(21, "a shape of rank 65; the limit is 8"),
  {
    number: 22,
    input: "a shape that changes after the call, or while it is read",
    entries: [
      answered("allocate", "copied once", ({ runner }) =>
        Effect.gen(function*() {
          let reads = 0
          const shape = new Proxy([4, 4], {
            get: (target, key, receiver) => {
              reads += key === "0" ? 1 : 0
              return key === "0" && reads > 1 ? 1e9 : Reflect.get(target, key, receiver) as unknown
            }
          })
          const once = yield* runner.allocate("float32", shape)
          assert.deepStrictEqual([reads, once.byteLength, [...once.shape]], [1, 64, [4, 4]])
          const mutable = [4]
          const resident = yield* runner.allocate("float32", mutable)
          mutable[0] = 1e9
          assert.deepStrictEqual([resident.shape[0], resident.byteLength], [4, 16])
        })),
      answered("a signature", "copied at its first use", ({ runner }) =>
        Effect.gen(function*() {
          const mutable = [8]
          const callable = native("test_nothing", { work: Arg.scratch("float32", mutable) })
          yield* runner.run(callable, {})
          mutable[0] = 1e9
          assert.strictEqual((yield* runner.plan(callable, {})).leases[0]!.byteCount, 32)
        }))
    ]
  },
  {
    number: 23,
    input: "an element type that nobody knows",
    entries: [
      refused(
        "allocate, allocateHost",
        "InvalidArgument: DType",
        ({ untyped }) =>
          ["float33", "Float32", "", "toString", "__proto__", undefined, null, 3, {}, ["float32"]].flatMap((dtype) => [
            untyped.allocate(dtype, [4]),
            untyped.allocateHost(dtype, [4])
          ])
      ),
      signatures(23)
    ]
  },
  forRunsAndMoves(24, "a Float64Array for float32, or another array of the wrong type", "DType"),
  wrongLength(25, 100),
  wrongLength(26, 120),
  forRunsAndMoves(27, "an array whose buffer is detached", "Detached"),
  forRunsAndMoves(28, "an array over a resizable buffer", "Resizable"),
  forRunsAndMoves(29, "an array that is out of bounds since its buffer shrank", "Resizable"),
  {
    number: 30,
    input: "an array that is detached between bind and the copy",
    entries: [
      answered("validate", "InvalidArgument: Detached", ({ runner }) =>
        Effect.gen(function*() {
          const args = vectors(8)
          yield* Effect.scoped(Effect.gen(function*() {
            const run = yield* runner.bind(add, args)
            yield* run.launch
            const moved = structuredClone(args.c.buffer, { transfer: [args.c.buffer] })
            yield* failsAs("InvalidArgument: Detached", run.validate)
            assert.deepStrictEqual(new Float32Array(moved), new Float32Array(8).fill(-7), "nothing is written")
          }))
        })),
      refused(
        "a view that goes while the arguments are read",
        "InvalidArgument: Detached",
        (bench) =>
          Effect.map(bench.runner.load(add), () => {
            const args = vectors(8)
            return [bench.untyped.run(add, {
              a: args.a,
              c: args.c,
              get b() {
                detached(args.a)
                return args.b
              }
            })]
          })
      )
    ]
  },
  forRunsAndMoves(31, "an array over shared memory, without opting in", "Shared"),
  forRunsAndMoves(32, "an object that looks like an array, or whatever else is none", "NotATensor")
]
