/** Sizes that wrap with a tail, and budgets that do not suffice, with their figures. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Arg, type Errors } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"
import { assertUsable } from "../utils/programs.ts"
import { type Attempt, onRunner, refusedWith, world } from "./world.ts"

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
