/** One run each: what it is given, and how its tensors are held. */
import { Effect } from "effect"
import { Arg, Callable, DeviceRunner } from "leasehold"
import { add, addInline, native } from "../../utils/kernels.ts"
import { scenario } from "../scenario.ts"

const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

const runnerOf = DeviceRunner.DeviceRunner

/** Of the budget, one run of `add` takes exactly this: three tensors of one alignment each. */
const addBytes = 3 * 64

const nothing = native("test_nothing", { count: Arg.scalar("int32") })

const eight = Object.fromEntries(
  Array.from({ length: 8 }, (_, index): [string, Arg.Arg] => [`input${index}`, Arg.input("int32", [2])])
)

const accumulate = native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite" }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
})

const sumInTypeScript = Callable.make({
  signature: {
    x: Arg.input("float32", ["n"]),
    workspace: Arg.scratch("float32", ["n"]),
    y: Arg.output("float32", ["n"])
  },
  launch: (context) =>
    Effect.gen(function*() {
      const x = yield* context.read("x")
      yield* context.write("workspace", x)
      yield* context.write("y", (yield* context.read("workspace")).map((value) => value + 1))
    })
})

export const runScenarios = [
  scenario({
    name: "empty run",
    program: Effect.flatMap(runnerOf, (runner) => runner.run(nothing, { count: 3 }))
  }),
  scenario({
    name: "one input",
    program: Effect.flatMap(
      runnerOf,
      (runner) => runner.run(native("test_nothing", { x: Arg.input("int8", ["n"]) }), { x: Int8Array.of(1, 2, 3) })
    )
  }),
  scenario({
    name: "eight inputs",
    program: Effect.flatMap(runnerOf, (runner) =>
      runner.run(
        native("test_nothing", eight, { execution: "inline" }),
        Object.fromEntries(Object.keys(eight).map((name, index) => [name, Int32Array.of(index, index)]))
      ))
  }),
  scenario({
    name: "in-place output",
    program: Effect.flatMap(runnerOf, (runner) =>
      runner.run(
        native("test_scale", { x: Arg.inout("float32", ["n"]), factor: Arg.scalar("float32") }, {
          execution: "inline"
        }),
        { x: Float32Array.of(1, 2, 3), factor: 2 }
      ))
  }),
  scenario({
    name: "zero-byte tensor",
    program: Effect.flatMap(
      runnerOf,
      (runner) => runner.run(addInline, { a: new Float32Array(0), b: new Float32Array(0), c: new Float32Array(0) })
    )
  }),
  scenario({
    name: "external buffer",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      const sum = yield* runner.allocate("float32", [2])
      yield* runner.run(accumulate, { sum, x: Float32Array.of(1, 2), y: new Float32Array(2) })
    })
  }),
  scenario({
    name: "buffer no-op leases, inline",
    program: Effect.flatMap(runnerOf, (runner) => runner.run(addInline, pairOf()))
  }),
  scenario({
    name: "buffer no-op leases, awaited",
    delayed: true,
    program: Effect.flatMap(runnerOf, (runner) => runner.run(add, pairOf()))
  }),
  scenario({
    name: "free leases",
    delayed: true,
    runner: { temporaryBuffer: { maxBytes: 0 } },
    program: Effect.flatMap(runnerOf, (runner) => runner.run(addInline, pairOf()))
  }),
  scenario({
    name: "second run reuses",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.run(addInline, pairOf())
      yield* runner.run(addInline, { ...pairOf(), a: Float32Array.of(5, 6) })
    })
  }),
  scenario({
    name: "exact-budget fit",
    runner: { temporaryBuffer: { maxBytes: addBytes } },
    program: Effect.flatMap(runnerOf, (runner) => runner.run(addInline, pairOf()))
  }),
  scenario({
    name: "one byte over",
    runner: { temporaryBuffer: { maxBytes: addBytes - 1 } },
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.run(addInline, pairOf()).pipe(
        Effect.catchTag(
          "BudgetExhausted",
          ({ suggestedMaxBytes }) => runner.configure({ maxBytes: suggestedMaxBytes ?? 0 })
        )
      )
      yield* runner.run(addInline, pairOf())
    })
  }),
  scenario({
    name: "a launch in TypeScript",
    program: Effect.flatMap(
      runnerOf,
      (runner) => runner.run(sumInTypeScript, { x: Float32Array.of(1, 2), y: new Float32Array(2) })
    )
  }),
  scenario({
    name: "coalesced transfers",
    simulator: { coalesceMaxBytes: "1 KiB" },
    program: Effect.flatMap(runnerOf, (runner) => runner.run(addInline, pairOf()))
  })
]
