/** Promise 8: results are the same as with malloc and free per tensor, byte for byte where bytes are defined. */
import { assert, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { Arg, DeviceRunner, type TemporaryBuffer } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { addByTable, addSignature, native } from "../utils/kernels.ts"

const buffers: ReadonlyArray<TemporaryBuffer.Options> = [
  { maxBytes: 0 },
  { maxBytes: "64 KiB" },
  { maxBytes: "64 KiB", alignmentBytes: 1, chunks: { count: 5 } },
  { maxBytes: "64 KiB", alignmentBytes: 4096, chunks: { sizes: ["48 KiB", 9001] } }
]

interface Step {
  readonly values: ReadonlyArray<number>
  readonly factor: number
  readonly execution: "inline" | "awaited"
}

const steps: fc.Arbitrary<ReadonlyArray<Step>> = fc.array(
  fc.record({
    values: fc.array(fc.float({ noNaN: true }), { maxLength: 300 }),
    factor: fc.float({ noNaN: true }),
    execution: fc.constantFrom("inline" as const, "awaited" as const)
  }),
  { minLength: 1, maxLength: 5 }
)

const scale = (execution: "inline" | "awaited") =>
  native("test_scale", { x: Arg.inout("float32", ["n"]), factor: Arg.scalar("float32") }, { execution })
const copy = (execution: "inline" | "awaited") =>
  native("test_copy", { x: Arg.input("float32", ["n"]), y: Arg.output("float32", ["n"]) }, { execution })
const add = (execution: "inline" | "awaited") => native("test_add", addSignature, { execution })
const accumulate = (execution: "inline" | "awaited") =>
  native("test_accumulate", {
    acc: Arg.resident("float32", { access: "readWrite" }),
    x: Arg.input("float32", [4]),
    y: Arg.output("float32", [4])
  }, { execution })
const writeFirst = (execution: "inline" | "awaited") =>
  native("test_write_first", {
    y: Arg.output("uint8", ["n"]),
    count: Arg.scalar("int32"),
    value: Arg.scalar("int32")
  }, { execution })

/** Everything that a program of steps lets a user see. */
const observe = (program: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const acc = yield* runner.allocate("float32", [4])
    const seen: Array<ReadonlyArray<number>> = []
    for (const { execution, factor, values } of program) {
      const x = Float32Array.from(values)
      yield* runner.run(scale(execution), { x, factor })
      const y = new Float32Array(values.length)
      yield* runner.run(copy(execution), { x, y })
      const total = new Float32Array(values.length)
      yield* runner.run(add(execution), { a: x, b: Float32Array.from(values, (_, index) => index), c: total })
      const totalByTable = new Float32Array(values.length)
      yield* runner.run(addByTable(execution), { a: x, b: y, c: totalByTable })
      const sums = new Float32Array(4)
      yield* runner.run(accumulate(execution), { acc, x: Float32Array.of(factor, 1, 2, 3), y: sums })
      const bytes = new Uint8Array(values.length + 3).fill(9)
      yield* runner.run(writeFirst(execution), { y: bytes, count: 2, value: values.length % 256 })
      seen.push([...bits(x)], [...bits(y)], [...bits(total)], [...bits(sums)], [...bytes], [...bits(totalByTable)])
    }
    return seen
  })

const bits = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length)

onEveryDevice("promise 8: results are those of malloc and free per tensor", (form) => {
  it.effect.prop(
    "for any program, in every configuration",
    [steps],
    ([program]) =>
      Effect.gen(function*() {
        const results = yield* Effect.forEach(buffers, (temporaryBuffer) =>
          Effect.scoped(observe(program)).pipe(Effect.provide(runnerOf(form, { temporaryBuffer }))))
        for (const result of results) {
          assert.deepStrictEqual(result, results[0])
        }
      }),
    { fastCheck: { numRuns: 15 } }
  )

  it.scoped("a result is what the kernel computed, not what it should have been", () =>
    Effect.gen(function*() {
      const seen = yield* observe([{ values: [1.5, -2], factor: 2, execution: "inline" }])
      assert.deepStrictEqual(seen[0], [...bits(Float32Array.of(3, -4))])
      assert.deepStrictEqual(seen[1], seen[0])
      assert.deepStrictEqual(seen[2], [...bits(Float32Array.of(3, -3))])
      assert.deepStrictEqual(seen[3], [...bits(Float32Array.of(2, 1, 2, 3))])
      assert.deepStrictEqual(seen[4], [2, 2, 0, 0, 0])
      assert.deepStrictEqual(seen[5], [...bits(Float32Array.of(6, -8))])
    }).pipe(Effect.provide(runnerOf(form))))
})
