/** Bad callables and kernels. */
import { assert, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { Arg, Callable, type Errors, HostApi, Simulator } from "leasehold"
import { chmodSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"
import { onEveryForm } from "../utils/forms.ts"
import { addSignature, kernel, native } from "../utils/kernels.ts"
import { spoiled, temporaryFolder } from "../utils/libraries.ts"
import { failsWith, vectors } from "../utils/programs.ts"
import { badSignatures } from "./signatureCases.ts"
import { type Attempt, onOneRunner, onRunner, refusedWith } from "./world.ts"

onEveryForm("bad callables", (form) => {
  onOneRunner(form, "one by one", (check) => {
    for (const [, what, make] of badSignatures.filter(([rows]) => rows === "")) {
      check(`${what} is refused as Signature`, (world) =>
        Effect.gen(function*() {
          const { untyped } = world
          for (const execution of ["inline", "awaited"] as const) {
            const callable = { ...native("test_nothing", {}, { execution }), signature: make() }
            const attempts = [
              untyped.load(callable),
              untyped.run(callable, {}),
              untyped.bind(callable, {}),
              untyped.plan(callable, {})
            ]
            for (const attempt of attempts) {
              yield* refusedWith(world, ["InvalidArgument", "Signature"], attempt, what)
            }
          }
        }))
    }
  })

  onRunner(
    form,
    "whatever is no callable is refused, and so are arguments in its place",
    (world) =>
      Effect.gen(function*() {
        const { untyped } = world
        for (const callable of [null, undefined, 7, "test_add", {}, [], () => undefined, vectors(4)]) {
          const attempts = [
            untyped.load(callable),
            untyped.run(callable, vectors(4)),
            untyped.bind(callable, vectors(4)),
            untyped.plan(callable, vectors(4))
          ]
          for (const attempt of attempts) {
            yield* refusedWith(world, ["InvalidArgument", "Signature"], attempt, inspect(callable))
          }
        }
      })
  )

  onRunner(form, "a callable without a kernel for the backend is refused by name", (world) =>
    Effect.gen(function*() {
      const { runner } = world
      const elsewhere = { backend: "cuda", symbol: "add" }
      for (const kernels of [[], [elsewhere], [elsewhere, { backend: "Simulator", symbol: "test_add" }]]) {
        const callable = Callable.native({ signature: addSignature, kernels, name: "nowhere" })
        for (
          const attempt of [runner.load(callable), runner.run(callable, vectors(4)), runner.bind(callable, vectors(4))]
        ) {
          const error = yield* refusedWith(world, ["InvalidArgument", "Backend"], attempt)
          assert.include(error.message, "nowhere")
          assert.include(error.message, "simulator")
        }
      }
    }))

  onRunner(form, "row 43: four thousand tensors are fine", (world) =>
    Effect.gen(function*() {
      const shape = Object.fromEntries(
        Array.from({ length: 4096 }, (_, index) => [`t${index}`, Arg.input("uint8", [1])] as const)
      )
      const args = Object.fromEntries(
        Array.from({ length: 4096 }, (_, index) => [`t${index}`, Uint8Array.of(1)] as const)
      )
      yield* world.runner.run(native("test_nothing", shape), args)
      assert.strictEqual((yield* world.runner.stats).runs.ended, 1)
    }), { temporaryBuffer: { maxBytes: "2 MiB", alignmentBytes: 64 } })
})

const testKernels = kernel("test_add").library

const launchFailure = (attempt: Attempt): Effect.Effect<Errors.LaunchFailed, never, Scope.Scope> =>
  failsWith("LaunchFailed", attempt as Effect.Effect<unknown, Errors.LaunchFailed, Scope.Scope>)

// A kernel is looked for by the backend, so its library and symbol are the one input that a call carries there.
onEveryForm("bad kernels", (form) => {
  onRunner(
    form,
    "rows 50 and 51: a library that cannot be loaded is named as LibraryNotLoaded, and may be mended",
    (world) =>
      Effect.gen(function*() {
        const { runner, untyped } = world
        const folder = yield* temporaryFolder
        const text = join(folder, "text.so")
        writeFileSync(text, "this is no library\n")
        const libraries: ReadonlyArray<unknown> = [
          "",
          "kernels.so",
          "./kernels.so",
          "../kernels.so",
          "~/kernels.so",
          "file:///kernels.so",
          `${testKernels}\0.evil`,
          `/${"x".repeat(4096)}`,
          `/${"x".repeat(300)}`,
          "/no/such/library.so",
          join(testKernels, "kernels.so"),
          join(folder, "missing.so"),
          folder,
          text,
          spoiled(testKernels, join(folder, "empty.so"), { byteCount: 0 }),
          spoiled(testKernels, join(folder, "short.so"), { byteCount: 100 }),
          spoiled(testKernels, join(folder, "foreign.so"), { machine: true }),
          null,
          undefined,
          7,
          {}
        ]
        for (const library of libraries) {
          for (const execution of ["inline", "awaited"] as const) {
            const broken = { backend: "simulator", symbol: "test_add", library }
            const callable = Callable.native({ signature: addSignature, kernels: [broken], execution })
            const args = vectors(4)
            for (const attempt of [untyped.load(callable), untyped.run(callable, args), untyped.bind(callable, args)]) {
              const { reason, sticky } = yield* launchFailure(attempt)
              assert.deepStrictEqual([reason, sticky], ["LibraryNotLoaded", false], inspect(library))
            }
          }
        }
        assert.isEmpty(world.probe.calls.filter((call) => call.operation === "launch" || call.purpose === "stage"))
        // The same path works once there is a library.
        const library = spoiled(testKernels, join(folder, "missing.so"), {})
        const kernels = [Simulator.kernel({ library, symbol: "test_add" })]
        yield* runner.run(Callable.native({ signature: addSignature, kernels }), vectors(4))
      })
  )

  onRunner(
    form,
    "row 52: a library that everybody may write is refused, behind a link too, and taken once they may not",
    (world) =>
      Effect.gen(function*() {
        const { untyped } = world
        const folder = yield* temporaryFolder
        const writable = spoiled(testKernels, join(folder, "writable.so"), {})
        const link = join(folder, "link.so")
        symlinkSync(writable, link)
        for (const library of [writable, link]) {
          const kernels = [Simulator.kernel({ library, symbol: "test_add" })]
          for (const mode of [0o666, 0o777, 0o602]) {
            chmodSync(writable, mode)
            for (const execution of ["inline", "awaited"] as const) {
              const callable = Callable.native({ signature: addSignature, kernels, execution })
              const args = vectors(4)
              for (
                const attempt of [untyped.load(callable), untyped.run(callable, args), untyped.bind(callable, args)]
              ) {
                const error = yield* launchFailure(attempt)
                assert.deepStrictEqual([error.reason, error.sticky], ["LibraryNotLoaded", false])
                assert.include(error.message, "chmod o-w")
                assert.notInclude(error.message, folder)
              }
            }
          }
          // The group may write it: that is how some machines make every file.
          chmodSync(writable, 0o664)
          yield* world.runner.run(Callable.native({ signature: addSignature, kernels }), vectors(4))
        }
      })
  )

  onRunner(
    form,
    "row 53: a symbol that the library does not have is named as SymbolNotFound",
    (world) =>
      Effect.gen(function*() {
        const { untyped } = world
        for (
          const symbol of [
            "no_such_kernel",
            "malloc",
            "strlen",
            "test_add\0",
            "test_add\0x",
            " test_add",
            "x".repeat(5000)
          ]
        ) {
          const { reason } = yield* launchFailure(untyped.run(native(symbol, addSignature), vectors(4)))
          assert.strictEqual(reason, "SymbolNotFound", inspect(symbol.slice(0, 40)))
        }
      })
  )

  onRunner(
    form,
    "row 53: a symbol that is no text fails to load, a number that is an address of text included",
    (world) =>
      Effect.gen(function*() {
        const text = Buffer.from("test_add\0")
        const address = (yield* HostApi.HostApi).hostAddress(text)
        for (const symbol of ["", null, undefined, {}, text, address, BigInt(address)]) {
          const kernels = [{ ...kernel("test_add"), symbol: symbol as string }]
          const callable = Callable.native({ signature: addSignature, kernels, name: "broken" })
          const error = yield* failsWith("LaunchFailed", world.runner.run(callable, vectors(4)))
          assert.include(["SymbolNotFound", "Argument"], error.reason)
        }
        assert.strictEqual(text.toString(), "test_add\0")
      })
  )

  onRunner(
    form,
    "row 49: arguments that are not the kernel's are reported with the kernel's code",
    (world) =>
      Effect.gen(function*() {
        for (const execution of ["inline", "awaited"] as const) {
          const callable = native("test_add", { a: Arg.input("float32", ["n"]) }, { execution })
          const error = yield* failsWith("LaunchFailed", world.runner.run(callable, { a: new Float32Array(4) }))
          assert.deepStrictEqual([error.reason, error.deviceCode, error.sticky], ["Kernel", 1000, false])
        }
      })
  )

  it("row 50: a library can be named by a file URL, and by no other", () => {
    const url = new URL("../native/build/libleasehold_test_kernels.so", import.meta.url)
    assert.strictEqual(Simulator.kernel({ library: url, symbol: "test_add" }).library, fileURLToPath(url))
    assert.throws(() => Simulator.kernel({ library: new URL("http://example.com/x.so"), symbol: "x" }))
  })
})
