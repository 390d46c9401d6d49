/** Promise 12: a run cannot read what another left behind, unless the user chose speed by name. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Arg, type Callable, DeviceRunner } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"

const secret = 0x5a

const clears = ["all", "outputs", "none"] as const

/** Fills the whole temporary buffer with a secret: as input, as output, and as scratch's neighbour. */
const plant = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const x = new Uint8Array(8192).fill(secret)
  yield* runner.run(native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) }), {
    x,
    y: new Uint8Array(8192)
  })
})

const scratchIn = (clear: Callable.Clear | undefined, execution: Callable.Execution) =>
  native(
    "test_reveal",
    { work: Arg.scratch("uint8", ["n"]), y: Arg.output("uint8", ["n"]) },
    { execution, ...(clear === undefined ? {} : { clear }) }
  )

const outputIn = (clear: Callable.Clear | undefined, execution: Callable.Execution) =>
  native(
    "test_write_first",
    { y: Arg.output("uint8", ["n"]), count: Arg.scalar("int32"), value: Arg.scalar("int32") },
    { execution, ...(clear === undefined ? {} : { clear }) }
  )

const paddingIn = (clear: Callable.Clear | undefined, execution: Callable.Execution) =>
  native(
    "test_reveal_around",
    {
      x: Arg.inout("uint8", [300]),
      before: Arg.scalar("int32"),
      after: Arg.scalar("int32"),
      y: Arg.output("uint8", ["m"]),
      // The kernel does not look at it. It lies before x, because inputs lie before inouts.
      first: Arg.input("uint8", [1])
    },
    { execution, ...(clear === undefined ? {} : { clear }) }
  )

/** What scratch, an unwritten output and the padding around an input hold. */
const reveal = (clear: Callable.Clear | undefined, execution: Callable.Execution) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const seen: Record<"scratch" | "output", Uint8Array> = {
      scratch: new Uint8Array(4000),
      output: new Uint8Array(4000)
    }
    yield* plant
    yield* runner.run(scratchIn(clear, execution), { y: seen.scratch })
    yield* plant
    yield* runner.run(outputIn(clear, execution), { y: seen.output, count: 10, value: 1 })
    return seen
  })

onEveryDevice("promise 12: runs cannot read each other", (form) => {
  for (const execution of ["inline", "awaited"] as const) {
    for (const maxBytes of [0, 16_384]) {
      it.scoped(`outputs that no kernel wrote and scratch are zero (budget ${maxBytes}, ${execution})`, () =>
        Effect.gen(function*() {
          const seen = yield* reveal(undefined, execution)
          assert.isTrue(seen.scratch.every((byte) => byte === 0))
          assert.isTrue(seen.output.every((byte, index) => byte === (index < 10 ? 1 : 0)))
        }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes } }))))
    }

    it.scoped(`the padding before and behind an input is zero (${execution})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* plant
        const args = {
          first: Uint8Array.of(7),
          x: new Uint8Array(300).fill(8),
          before: 255,
          after: 724,
          y: new Uint8Array(255 + 724)
        }
        const plan = yield* runner.plan(paddingIn(undefined, execution), args)
        assert.isAbove(plan.paddingBytes, 0)
        yield* runner.run(paddingIn(undefined, execution), args)
        assert.deepStrictEqual(args.y, new Uint8Array(255 + 724))
        // The secret was there: with nothing cleared it shows.
        yield* plant
        yield* runner.run(paddingIn("none", execution), args)
        assert.isTrue(args.y.includes(secret))
      }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 16_384, alignmentBytes: 1024 } }))))

    it.scoped(`the user may choose speed by name (${execution})`, () =>
      Effect.gen(function*() {
        const shown = yield* Effect.forEach(clears, (clear) =>
          Effect.map(reveal(clear, execution), (seen) => ({
            clear,
            scratch: seen.scratch.includes(secret),
            output: seen.output.includes(secret)
          })))
        assert.deepStrictEqual(shown, [
          { clear: "all", scratch: false, output: false },
          { clear: "outputs", scratch: true, output: false },
          { clear: "none", scratch: true, output: true }
        ])
      }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 16_384 } }))))

    for (const clear of clears) {
      it.scoped(`the runner's own choice holds where a callable makes none (${clear}, ${execution})`, () =>
        Effect.gen(function*() {
          const seen = yield* reveal(undefined, execution)
          assert.strictEqual(seen.scratch.includes(secret), clear !== "all")
          assert.strictEqual(seen.output.includes(secret), clear === "none")
        }).pipe(Effect.provide(runnerOf(form, { clear, temporaryBuffer: { maxBytes: 16_384 } }))))
    }
  }

  it.scoped("chunks are cleared when they are made, and so are residents", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const bytes = new Uint8Array(4000)
      const look = runner.run(scratchIn("none", "inline"), { y: bytes })
      yield* look
      assert.isTrue(bytes.every((byte) => byte === 0))
      yield* plant
      yield* runner.configure({ maxBytes: 12_000 })
      yield* look
      assert.isTrue(bytes.every((byte) => byte === 0))
      yield* Effect.scoped(Effect.gen(function*() {
        const resident = yield* runner.allocate("uint8", [5000])
        yield* resident.upload(new Uint8Array(5000).fill(secret))
      }))
      const resident = yield* runner.allocate("uint8", [5000])
      const read = new Uint8Array(5000).fill(1)
      yield* resident.download(read)
      assert.isTrue(read.every((byte) => byte === 0))
    }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 16_384 } }))))

  it.scoped("shapes that take turns do not show each other through staging", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = paddingIn(undefined, "inline")
      for (const before of [255, 100]) {
        yield* plant
        yield* runner.run(native("test_nothing", { a: Arg.input("uint8", ["n"]), b: Arg.input("uint8", ["n"]) }), {
          a: new Uint8Array(5000).fill(secret),
          b: new Uint8Array(5000).fill(secret)
        })
        const y = new Uint8Array(before + 200)
        yield* runner.run(callable, {
          first: Uint8Array.of(7),
          x: new Uint8Array(300).fill(8),
          before,
          after: 200,
          y
        })
        assert.isTrue(y.every((byte) => byte === 0))
      }
    }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 16_384, alignmentBytes: 1024 } }))))
})
