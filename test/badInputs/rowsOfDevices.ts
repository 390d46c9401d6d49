/** Rows 49 to 61: kernels, libraries, and what a device answers. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { Arg, Callable, DeviceRunner, HostApi, Simulator } from "leasehold"
import { chmodSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { add, addSignature, kernel, native } from "../utils/kernels.ts"
import { abiSource, compile, spoiled, temporaryFolder } from "../utils/libraries.ts"
import { vectors } from "../utils/programs.ts"
import { answered, type Entry, failsAs, refused, type Row } from "./row.ts"
import { everyRun, option } from "./ways.ts"
import { workerExit } from "./worker.ts"
import { goodArguments } from "./world.ts"

const built = fileURLToPath(new URL("../../native/build/libleasehold_simulator.so", import.meta.url))
const kernels = kernel("test_add").library

/** Paths that are no paths of libraries, whatever lies there. */
const badPaths: ReadonlyArray<unknown> = [
  "",
  "x.so",
  "./x.so",
  "~/x.so",
  `${built}\0.evil`,
  `/${"x".repeat(4096)}`,
  null,
  7
]

/** Libraries of a backend that are refused. No runner is involved: the one at hand notices nothing. */
const backend = (reason: string, paths: (folder: string) => ReadonlyArray<unknown>): Entry =>
  answered("the Simulator's libraryPath", `BackendUnavailable: ${reason}`, ({ probe }) =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      for (const libraryPath of paths(folder)) {
        const attempt = option(() => Simulator.layer({ libraryPath: libraryPath as string }))
        const calls = yield* probe.during(failsAs(`BackendUnavailable: ${reason}`, attempt, String(libraryPath)))
        assert.deepStrictEqual(calls, [])
      }
    }))

/** Kernels whose library or symbol is refused. The backend looks for them, and nothing but that reaches it. */
const kernelOf = (
  reason: string,
  options: (folder: string) => ReadonlyArray<{ readonly library?: unknown; readonly symbol?: unknown }>
): Entry =>
  answered("load, run and bind", `LaunchFailed: ${reason}`, ({ ledger, probe, untyped }) =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const before = (yield* ledger.snapshot).allocations
      const start = probe.calls.length
      for (const given of options(folder)) {
        for (const execution of ["inline", "awaited"] as const) {
          const broken = { ...kernel("test_add"), ...given } as HostApi.Kernel
          const callable = Callable.native({ signature: addSignature, kernels: [broken], execution })
          const attempts = [
            untyped.load(callable),
            untyped.run(callable, vectors(4)),
            untyped.bind(callable, vectors(4))
          ]
          for (const attempt of attempts) {
            const { message } = yield* failsAs(`LaunchFailed: ${reason}`, attempt)
            assert.notInclude(message, folder, "messages show no path")
          }
        }
      }
      assert.deepStrictEqual((yield* ledger.snapshot).allocations, before)
      assert.isTrue(probe.calls.slice(start).every(({ operation }) => operation === "loadKernel"))
    }))

/** A library that everybody may write, and a link to it. */
const writable = (library: string) => (folder: string): ReadonlyArray<string> => {
  const path = spoiled(library, join(folder, "writable.so"), {})
  chmodSync(path, 0o666)
  const link = join(folder, "link.so")
  symlinkSync(path, link)
  return [path, link]
}

/** Files that are no libraries for this machine. */
const noLibraries = (library: string) => (folder: string): ReadonlyArray<string> => {
  const text = join(folder, "text.so")
  writeFileSync(text, "this is no library\n")
  return [
    text,
    spoiled(library, join(folder, "empty.so"), { byteCount: 0 }),
    spoiled(library, join(folder, "foreign.so"), { machine: true })
  ]
}

/** What a fault that loses the device gives, wherever it strikes, and what everything gives after it. */
const lost = (status: number): ReadonlyArray<Entry> => [
  answered("a run's launch", "LaunchFailed: DeviceLost", ({ probe, runner }) =>
    Effect.gen(function*() {
      yield* runner.load(add)
      probe.fail({ operation: "launch", status })
      yield* failsAs("LaunchFailed: DeviceLost", runner.run(add, vectors(4)))
    }), true),
  answered("a run's copies; an upload", "TransferFailed", ({ probe, runner }) =>
    Effect.gen(function*() {
      const resident = yield* runner.allocate("float32", [4])
      probe.fail({ operation: "submit", status })
      yield* failsAs("TransferFailed", resident.upload(new Float32Array(4)))
    }), true),
  answered("allocate", "DeviceFailed", ({ probe, runner }) =>
    Effect.gen(function*() {
      probe.fail({ operation: "malloc", status })
      yield* failsAs("DeviceFailed", runner.allocate("float32", [4]))
    }), true),
  answered("a run after it", "RunnerPoisoned: StickyFault", ({ ledger, probe, runner }) =>
    Effect.gen(function*() {
      yield* runner.load(add)
      probe.fail({ operation: "launch", status })
      yield* failsAs("LaunchFailed: DeviceLost", runner.run(add, vectors(4)))
      const { operationCount } = yield* ledger.snapshot
      for (let count = 0; count < 100; count++) {
        yield* failsAs("RunnerPoisoned: StickyFault", runner.run(add, vectors(4)))
      }
      assert.strictEqual((yield* ledger.snapshot).operationCount, operationCount, "the lost device is left alone")
    }), true)
]

const outOfMemory = (
  through: string,
  fail: (runner: DeviceRunner.Service) => Effect.Effect<unknown, { readonly _tag: string }, HostApi.HostApi>,
  prepare: (runner: DeviceRunner.Service) => Effect.Effect<unknown, { readonly _tag: string }> = () => Effect.void
): Entry =>
  answered(through, "DeviceOutOfMemory", ({ ledger, probe, runner }) =>
    Effect.gen(function*() {
      yield* prepare(runner)
      const before = (yield* ledger.snapshot).deviceBytes
      probe.fail({ operation: "malloc", status: HostApi.Status.OutOfMemory })
      yield* failsAs("DeviceOutOfMemory", fail(runner))
      assert.strictEqual((yield* ledger.snapshot).deviceBytes, before)
      yield* fail(runner)
      yield* runner.configure({ maxBytes: 65_536, alignmentBytes: 256 })
    }))

export const rowsOfDevices: ReadonlyArray<Row> = [
  {
    number: 49,
    input: "an unknown kernel, or arguments that are not the kernel's; grids there are none",
    entries: [
      kernelOf("SymbolNotFound", () => [{ symbol: "no_such_kernel" }, { symbol: "malloc" }]),
      answered("run", "LaunchFailed: Kernel", ({ runner }) =>
        Effect.gen(function*() {
          for (const execution of ["inline", "awaited"] as const) {
            const callable = native("test_add", { a: Arg.input("float32", ["n"]) }, { execution })
            yield* failsAs("LaunchFailed: Kernel", runner.run(callable, { a: new Float32Array(4) }))
          }
        })),
      ...([["Missing", { x: undefined }], ["Unknown", { more: 1 }], ["DType", { x: new Int32Array(29) }]] as const).map(
        (
          [reason, change]
        ) =>
          refused(
            "run, bind and plan",
            `InvalidArgument: ${reason}`,
            (bench) => Effect.flatMap(goodArguments(bench.runner), (good) => everyRun(bench, { ...good, ...change }))
          )
      )
    ]
  },
  {
    number: 50,
    input: "a library path that is relative, empty, null, with a NUL, or too long",
    entries: [
      backend("LibraryRejected", () => badPaths.filter((path) => path !== null)),
      kernelOf("LibraryNotLoaded", () => badPaths.map((library) => ({ library })))
    ]
  },
  {
    number: 51,
    input: "a library that is missing, a folder, no library, or one for another machine",
    entries: [
      backend("LibraryNotFound", (folder) => [join(folder, "missing.so"), "/no/such/folder/x.so"]),
      backend("LibraryRejected", (folder) => [folder]),
      backend("LibraryNotLoaded", noLibraries(built)),
      kernelOf(
        "LibraryNotLoaded",
        (folder) =>
          [join(folder, "missing.so"), folder, ...noLibraries(kernels)(folder)].map((library) => ({ library }))
      )
    ]
  },
  {
    number: 52,
    input:
      "a library that everybody may write, behind a link too; links lead anywhere, as there is no folder of libraries",
    entries: [
      backend("LibraryRejected", writable(built)),
      kernelOf("LibraryNotLoaded", (folder) => writable(kernels)(folder).map((library) => ({ library })))
    ]
  },
  {
    number: 53,
    input: "a library that lacks a symbol",
    entries: [
      backend("SymbolMissing", (folder) => [compile(folder, "without", abiSource({ without: "lh_collect" }))]),
      kernelOf(
        "SymbolNotFound",
        () => [{ symbol: "no_such_kernel" }, { symbol: "test_add\0x" }, { symbol: "x".repeat(5000) }]
      )
    ]
  },
  {
    number: 54,
    input: "a library of an older or a newer version of the ABI",
    entries: [
      backend(
        "AbiMismatch",
        (folder) => [0, 2].map((version) => compile(folder, `v${version}`, abiSource({ version })))
      )
    ],
    isOutsideRunners: true
  },
  {
    number: 55,
    input: "a library whose hash differs",
    doesNotApply: "libraries are built where they are used, so there is no hash to compare with",
    entries: []
  },
  {
    number: 56,
    input: "a device index of -1, 99 or 1.5",
    doesNotApply: "the simulator has one device, and no option for an index",
    entries: []
  },
  {
    number: 57,
    input: "use from a worker thread",
    entries: [
      answered(
        "the Simulator's layer",
        "BackendUnavailable: UnsupportedThread",
        () =>
          Effect.map(workerExit, (error) => {
            assert.deepStrictEqual([error._tag, error.reason], ["BackendUnavailable", "UnsupportedThread"])
          })
      )
    ],
    isOutsideRunners: true
  },
  {
    number: 58,
    input: "a device that is out of memory; the same call may succeed later",
    entries: [
      outOfMemory("DeviceRunner.make", () => Effect.scoped(DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } }))),
      outOfMemory("configure", (runner) => runner.configure({ maxBytes: 8192 })),
      outOfMemory("allocate", (runner) => Effect.scoped(runner.allocate("float32", [4]))),
      outOfMemory(
        "run without a budget",
        (runner) => runner.run(add, vectors(4)),
        (runner) => runner.configure({ maxBytes: 0 })
      )
    ]
  },
  {
    number: 59,
    input: "a fault that loses the device, such as an illegal address",
    entries: lost(HostApi.Status.DeviceLost)
  },
  { number: 60, input: "a status that nobody knows", entries: lost(9999) },
  {
    number: 61,
    input: "a copy that brings fewer bytes than it should",
    doesNotApply: "the ABI has no partial transfers: one succeeds as a whole, or fails",
    entries: []
  }
]
