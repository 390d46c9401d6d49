/** Bad shapes and element types, and budgets that do not suffice. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Arg, type Errors } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"
import { assertUsable } from "../utils/programs.ts"
import { type Attempt, onOneRunner, onRunner, refusedWith, world } from "./world.ts"

const badShapes: ReadonlyArray<readonly [rows: string, what: string, shape: unknown, reason: string]> = [
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

onEveryForm("bad shapes and element types", (form) => {
  onOneRunner(form, "one by one", (check) => {
    for (const [rows, what, shape, reason] of badShapes) {
      check(`row ${rows}: ${what} is refused as ${reason}`, (world) =>
        Effect.gen(function*() {
          for (const allocate of [world.untyped.allocate, world.untyped.allocateHost]) {
            const error = yield* refusedWith(world, ["InvalidArgument", reason], allocate("float32", shape))
            assert.strictEqual(error.argument, "shape")
          }
        }))
    }
  })

  onRunner(form, "row 23: an element type that nobody knows is refused", (world) =>
    Effect.gen(function*() {
      for (const dtype of ["float33", "Float32", "", "toString", "__proto__", undefined, null, 3, {}, ["float32"]]) {
        for (const allocate of [world.untyped.allocate, world.untyped.allocateHost]) {
          const error = yield* refusedWith(world, ["InvalidArgument", "DType"], allocate(dtype, [4]))
          assert.strictEqual(error.argument, "dtype")
        }
      }
    }))

  onRunner(form, "row 10: sizes that wrap with what lies before them are refused", (world) =>
    Effect.gen(function*() {
      const { runner } = world
      const most = Arg.scratch("uint8", [2 ** 53 - 1])
      const alone = native("test_nothing", { most })
      const second = native("test_nothing", { first: Arg.scratch("uint8", [1]), most })
      yield* Effect.all([runner.load(alone), runner.load(second)])
      yield* refusedWith(world, ["BudgetExhausted", "NeverFits"], runner.run(alone, {}))
      yield* refusedWith(world, ["InvalidArgument", "SizeOverflow"], runner.run(second, {}))
      yield* refusedWith(world, ["BudgetExhausted", "Residents"], runner.allocate("uint8", [2 ** 53 - 1]))
    }))
})

onEveryForm("bad sizes on a device with tails", (form) => {
  it.scoped("row 10: scratch and residents that wrap with their tail are refused", () =>
    Effect.gen(function*() {
      const made = yield* world
      const scratch = native("test_nothing", { work: Arg.scratch("uint8", [2 ** 53 - 1]) })
      yield* made.runner.load(scratch)
      yield* refusedWith(made, ["InvalidArgument", "SizeOverflow"], made.runner.run(scratch, {}))
      yield* refusedWith(made, ["InvalidArgument", "SizeOverflow"], made.runner.allocate("uint8", [2 ** 53 - 1]))
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, {}, { tailBytes: 32 }))))
})

/** A callable whose scratch has these sizes. */
const work = (...sizes: ReadonlyArray<number>) =>
  native(
    "test_nothing",
    Object.fromEntries(sizes.map((bytes, index) => [`t${index}`, Arg.scratch("uint8", [bytes])]))
  )

const figures = (error: unknown) => {
  const { inUseBytes, maxBytes, requestedBytes, suggestedMaxBytes, tensor } = error as Errors.BudgetExhausted
  return { tensor, requestedBytes, inUseBytes, maxBytes, suggestedMaxBytes }
}

onEveryForm("bad budgets", (form) => {
  onRunner(
    form,
    "rows 11 and 12: what is above the budget is refused with the figures, alone or together",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const never = work(65_537)
        const together = work(40_000, 30_000)
        yield* Effect.all([runner.load(never), runner.load(together)])
        for (const attempt of [runner.run(never, {}), runner.plan(never, {})] as ReadonlyArray<Attempt>) {
          const error = yield* refusedWith(world, ["BudgetExhausted", "NeverFits"], attempt)
          assert.deepStrictEqual(figures(error), {
            tensor: "t0",
            requestedBytes: 65_537,
            inUseBytes: 0,
            maxBytes: 65_536,
            suggestedMaxBytes: 65_537
          })
        }
        const error = yield* refusedWith(world, ["BudgetExhausted", "Exhausted"], runner.run(together, {}))
        assert.deepStrictEqual(figures(error), {
          tensor: "t1",
          requestedBytes: 30_000,
          inUseBytes: 40_000,
          maxBytes: 65_536,
          suggestedMaxBytes: 40_192 + 30_000
        })
        yield* refusedWith(world, ["BudgetExhausted", "Residents"], runner.allocate("uint8", [2 ** 20 + 1]))
      })
  )

  onRunner(
    form,
    "more bytes in plain views than the event loop may stand still for are refused",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
        yield* runner.load(copy)
        const args = { x: new Uint8Array(2000), y: new Uint8Array(2000) }
        yield* refusedWith(world, ["InvalidArgument", "InlineCopyTooLarge"], runner.run(copy, args))
        const resident = yield* runner.allocate("uint8", [2000])
        yield* refusedWith(world, ["InvalidArgument", "InlineCopyTooLarge"], resident.upload(args.x))
        yield* refusedWith(world, ["InvalidArgument", "InlineCopyTooLarge"], resident.download(args.x))
      }),
    { maxInlineCopyBytes: 1999 }
  )

  onRunner(
    form,
    "more bytes than the staging area has are refused where they have to go through it",
    (world) =>
      Effect.gen(function*() {
        const { runner } = world
        const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
        yield* runner.load(copy)
        const attempt = runner.run(copy, { x: new Uint8Array(2000), y: new Uint8Array(2000) })
        if (form.late) {
          yield* refusedWith(world, ["StagingExhausted"], attempt)
        } else {
          yield* attempt
        }
      }),
    { stagingMaxBytes: 1999 }
  )
})
