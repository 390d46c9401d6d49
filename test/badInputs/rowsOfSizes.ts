/** Rows 1 to 15 and 68: sizes, budgets, alignments, chunks and durations. */
import { assert } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Arg, DeviceRunner, Simulator } from "leasehold"
import { add, native } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"
import { atPath, optionCases } from "./optionCases.ts"
import { answered, type Entry, refused, type Row, type Try } from "./row.ts"
import { dims, option, shapes, signatures, work } from "./ways.ts"

/** Options whose row this is, through everything that takes options. */
const options = (number: number, reason: string): Entry =>
  refused(
    "DeviceRunner.make, DeviceRunner.layer, configure",
    `InvalidConfiguration: ${reason}`,
    ({ untyped }) =>
      optionCases.filter(([row, , , answer]) => row === `${number}` && answer === reason).flatMap(([, path, value]) => {
        const given = atPath(path, value)
        const attempts = [DeviceRunner.make(given), Layer.build(DeviceRunner.layer(given))] as Array<Try>
        if (path[0] === "temporaryBuffer") {
          attempts.push(untyped.configure(given["temporaryBuffer"]))
        }
        return attempts
      })
  )

/** A size that is none, wherever a size can be given. */
const noSize = (number: number, input: string, value: unknown, shapeReason = "Shape"): Row => ({
  number,
  input,
  entries: [
    options(number, "Size"),
    shapes(number, `InvalidArgument: ${shapeReason}`),
    signatures(number),
    dims("InvalidArgument: Dimension", [value])
  ]
})

export const rowsOfSizes: ReadonlyArray<Row> = [
  noSize(1, "a size of -1", -1),
  {
    number: 2,
    input: "a size of -0",
    entries: [
      answered("configure, allocate, allocateHost", "taken as 0", ({ runner, untyped }) =>
        Effect.gen(function*() {
          yield* untyped.configure({ maxBytes: -0 })
          assert.isTrue(Object.is((yield* runner.stats).temporaryBuffer.maxBytes, 0))
          yield* runner.configure({ maxBytes: 65_536 })
          for (const allocate of [runner.allocate, runner.allocateHost]) {
            const empty = yield* allocate("float32", [-0, 4])
            assert.isTrue(empty.byteLength === 0 && Object.is(empty.shape[0], 0))
          }
        }))
    ]
  },
  noSize(3, "a size of 1.5", 1.5),
  noSize(4, "a size of NaN", Number.NaN),
  noSize(5, "a size without end", Number.POSITIVE_INFINITY),
  noSize(6, "a size of 2^53, the first that a number cannot tell from its neighbour", 2 ** 53, "SizeOverflow"),
  {
    number: 7,
    input: "text, null or true for a size; text with a unit is one where an option takes it",
    entries: [
      options(7, "Size"),
      shapes(7, "InvalidArgument: Shape"),
      signatures(7),
      answered("configure", "taken as 64 bytes", ({ runner, untyped }) =>
        Effect.gen(function*() {
          yield* untyped.configure({ maxBytes: "64", alignmentBytes: 1 })
          assert.strictEqual((yield* runner.stats).temporaryBuffer.maxBytes, 64)
          yield* runner.configure({ maxBytes: 65_536 })
        }))
    ]
  },
  { number: 8, input: "a size of 2n ** 64n", entries: [options(8, "Size"), shapes(8, "InvalidArgument: Shape")] },
  {
    number: 9,
    input: "a bigint where a number is expected",
    entries: [options(9, "Size"), shapes(9, "InvalidArgument: Shape")]
  },
  {
    number: 10,
    input: "sizes that overflow with what lies before them",
    entries: [
      work("InvalidArgument: SizeOverflow", 1, 2 ** 53 - 1),
      work("BudgetExhausted: NeverFits", 2 ** 53 - 1)
    ]
  },
  {
    number: 11,
    input: "more than is free beside the rest",
    entries: [
      work("BudgetExhausted: Exhausted", 40_000, 30_000),
      refused(
        "run, bind, plan, of chunks that are too small for a sum that fits",
        "BudgetExhausted: Fragmented",
        (bench) =>
          Effect.gen(function*() {
            yield* bench.runner.configure({ maxBytes: 65_536, alignmentBytes: 256, chunks: { count: 2 } })
            const three = native("test_nothing", {
              a: Arg.scratch("uint8", [20_000]),
              b: Arg.scratch("uint8", [20_000]),
              c: Arg.scratch("uint8", [20_000])
            })
            yield* bench.runner.load(three)
            const { runner } = bench
            return [runner.run(three, {}), runner.bind(three, {}), runner.plan(three, {})]
          })
      ),
      refused("allocate", "BudgetExhausted: Residents", ({ runner }) => [
        runner.allocate("uint8", [2 ** 20 + 1]),
        runner.allocate("float64", [2 ** 40])
      ])
    ]
  },
  {
    number: 12,
    input: "more than would be free if all were empty",
    entries: [
      work("BudgetExhausted: NeverFits", 65_537),
      refused(
        "run, bind, plan, within the budget but above every chunk",
        "TensorExceedsChunk",
        ({ runner }) =>
          Effect.gen(function*() {
            yield* runner.configure({ maxBytes: 65_536, alignmentBytes: 256, chunks: { count: 2 } })
            const large = native("test_nothing", { work: Arg.scratch("uint8", [40_000]) })
            yield* runner.load(large)
            return [runner.run(large, {}), runner.bind(large, {}), runner.plan(large, {})]
          })
      )
    ]
  },
  {
    number: 13,
    input: "an alignment of 0, 3, -8, 2^31, or whatever else is no power of two up to 2^30",
    entries: [options(13, "Alignment")]
  },
  {
    number: 14,
    input: "a budget that is negative, NaN or 2^60; 0 is a mode",
    entries: [
      options(14, "Size"),
      refused("DeviceRunner.make", "InvalidConfiguration: Size", () =>
        [-1, Number.NaN, 2 ** 60].flatMap((maxBytes) => [
          DeviceRunner.make({ temporaryBuffer: { maxBytes } }),
          DeviceRunner.make({ residentMaxBytes: maxBytes })
        ])),
      answered("configure", "a budget of 0 mallocs", ({ runner }) =>
        Effect.gen(function*() {
          yield* runner.configure({ maxBytes: 0 })
          yield* runner.run(add, vectors(4))
          assert.strictEqual((yield* runner.stats).temporaryBuffer.retainedBytes, 0)
          yield* runner.configure({ maxBytes: 65_536 })
        }))
    ]
  },
  { number: 15, input: "chunks that are larger than the budget, too many, or none", entries: [options(15, "Chunks")] },
  {
    number: 68,
    input: "a deadline of 0, less than 0, or NaN",
    entries: [
      options(68, "Duration"),
      refused(
        "the Simulator's cost model",
        "InvalidConfiguration: Duration",
        () =>
          [Number.POSITIVE_INFINITY, "infinity"].map((malloc) =>
            option(() => Simulator.layer({ cost: { malloc: malloc as number } }))
          )
      )
    ]
  }
]
