/** Bad options of runners. */
import { assert } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { DeviceRunner, type Errors } from "leasehold"
import { onEveryForm } from "../utils/forms.ts"
import { add } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"
import { onRunner, refusedWith, runFork } from "./world.ts"

const badSizes: ReadonlyArray<readonly [rows: string, value: unknown]> = [
  ["1", -1],
  ["3", 1.5],
  ["4", Number.NaN],
  ["5", Number.POSITIVE_INFINITY],
  ["5", Number.NEGATIVE_INFINITY],
  ["6", 2 ** 53],
  ["14", 2 ** 60],
  ["7", true],
  ["8", 2n ** 64n],
  ["9", 64n],
  ["7", {}],
  ["7", [64]],
  ["", ""],
  ["", " "],
  ["", "64MB "],
  ["", " 64MB"],
  ["", "64  MB"],
  ["", "64 MIB"],
  ["", "64 mb"],
  ["", "64 KiBi"],
  ["", "64 bytes"],
  ["", "-1 B"],
  ["", "1.5 B"],
  ["", "1e6"],
  ["", "0x10"],
  ["", "64,5 MiB"],
  ["", "٦٤ MiB"],
  ["", "64 MiB\n"],
  ["", "9000000000 TiB"],
  ["", "Infinity"]
]

type OptionCase = readonly [rows: string, path: ReadonlyArray<string>, value: unknown, reason: string, option: string]

const chunkSizesThatOverflow = { sizes: ["9007199254740991 B", "9007199254740991 B"] }

const optionCases: ReadonlyArray<OptionCase> = [
  ...badSizes.flatMap(([rows, value]): ReadonlyArray<OptionCase> => [
    [rows, ["temporaryBuffer", "maxBytes"], value, "Size", "temporaryBuffer.maxBytes"],
    [rows, ["temporaryBuffer", "alignmentBytes"], value, "Alignment", "temporaryBuffer.alignmentBytes"],
    [rows, ["temporaryBuffer", "chunks"], { sizes: [value] }, "Chunks", "temporaryBuffer.chunks.sizes"],
    [rows, ["residentMaxBytes"], value, "Size", "residentMaxBytes"],
    [rows, ["stagingMaxBytes"], value, "Size", "stagingMaxBytes"],
    [rows, ["maxInlineCopyBytes"], value, "Size", "maxInlineCopyBytes"]
  ]),
  ...[0, 3, -8, 2 ** 31, 48, "1000 B", "1 kB"].map((value): OptionCase => [
    "13",
    ["temporaryBuffer", "alignmentBytes"],
    value,
    "Alignment",
    "temporaryBuffer.alignmentBytes"
  ]),
  ...([
    [{ sizes: ["65 MiB"] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: ["63 MiB", "2 MiB"] }, "temporaryBuffer.chunks.sizes"],
    [chunkSizesThatOverflow, "temporaryBuffer.chunks.sizes"],
    [{ sizes: [] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: [0] }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: Array.from({ length: 65 }, () => 64) }, "temporaryBuffer.chunks.sizes"],
    [{ sizes: "64 MiB" }, "temporaryBuffer.chunks.sizes"],
    [{}, "temporaryBuffer.chunks.sizes"],
    [[64], "temporaryBuffer.chunks.sizes"],
    [{ count: 0 }, "temporaryBuffer.chunks.count"],
    [{ count: -1 }, "temporaryBuffer.chunks.count"],
    [{ count: 1.5 }, "temporaryBuffer.chunks.count"],
    [{ count: 65 }, "temporaryBuffer.chunks.count"],
    [{ count: Number.NaN }, "temporaryBuffer.chunks.count"],
    [{ count: "2" }, "temporaryBuffer.chunks.count"],
    ["double", "temporaryBuffer.chunks"],
    [2, "temporaryBuffer.chunks"],
    [true, "temporaryBuffer.chunks"]
  ] as const).map(([value, option]): OptionCase => ["15", ["temporaryBuffer", "chunks"], value, "Chunks", option]),
  ...[0, 2, 1.5, "1", true].map((value): OptionCase => ["", ["slots"], value, "Choice", "slots"]),
  ...["wait", "queue", true, 0].map((value): OptionCase => ["", ["admission"], value, "Choice", "admission"]),
  ...["some", "ALL", true, 0].map((value): OptionCase => ["", ["clear"], value, "Choice", "clear"]),
  ...[0, -1, Number.NaN, Number.NEGATIVE_INFINITY, "soon", "0 seconds", "5 parsecs", {}, true].map((
    value
  ): OptionCase => ["68", ["interruptDeadline"], value, "Duration", "interruptDeadline"])
]

const atPath = (path: ReadonlyArray<string>, value: unknown): Record<string, unknown> => {
  const [first, ...rest] = path
  return { [first!]: rest.length === 0 ? value : atPath(rest, value) }
}

onEveryForm("bad options", (form) => {
  const byOption = new Map<string, Array<OptionCase>>()
  for (const optionCase of optionCases) {
    const key = optionCase[1].join(".")
    byOption.set(key, [...byOption.get(key) ?? [], optionCase])
  }
  for (const [option, cases] of byOption) {
    const rows = [...new Set(cases.map(([row]) => row).filter((row) => row !== ""))].join(", ")
    onRunner(
      form,
      `${rows === "" ? "" : `rows ${rows}: `}${option} is refused by name, whatever is wrong with it`,
      (world) =>
        Effect.gen(function*() {
          for (const [, path, value, reason, named] of cases) {
            const options = atPath(path, value)
            const make = DeviceRunner.make(options)
            const configure = world.untyped.configure(options["temporaryBuffer"])
            for (const attempt of path[0] === "temporaryBuffer" ? [make, configure] : [make]) {
              const error = yield* refusedWith(
                world,
                ["InvalidConfiguration", reason],
                attempt,
                `${option} ${String(value)}`
              )
              assert.strictEqual((error as Errors.InvalidConfiguration).option, named)
            }
          }
        })
    )
  }

  onRunner(form, "row 14: a budget of zero is a mode, not an error", (world) =>
    Effect.gen(function*() {
      for (const maxBytes of [0, "0", "0 B", "0 MiB"] as const) {
        yield* world.untyped.configure({ maxBytes })
        assert.strictEqual((yield* world.runner.stats).temporaryBuffer.retainedBytes, 0)
        yield* world.runner.run(add, vectors(4))
      }
    }))

  onRunner(form, "an environment with a size that is none is refused, and named", (world) =>
    Effect.gen(function*() {
      const start = world.probe.calls.length
      for (const [name, value] of [["LEASEHOLD_MAX_BYTES", "64 MIB"], ["LEASEHOLD_CLEAR", "some"]] as const) {
        const provider = Layer.setConfigProvider(ConfigProvider.fromMap(new Map([[name, value]])))
        const exit = yield* Effect.exit(Layer.build(Layer.provide(DeviceRunner.layerConfig(), provider)))
        assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Fail")
        assert.include(String(Exit.isFailure(exit) ? exit.cause : ""), name)
      }
      assert.strictEqual(world.probe.calls.length, start)
    }))

  onRunner(
    form,
    "options whose getter begins a run are refused while that run is active",
    (world) =>
      Effect.gen(function*() {
        const { runner, untyped } = world
        yield* runner.load(add)
        const scope = yield* Scope.make()
        const bound: Array<Fiber.Fiber<unknown, unknown>> = []
        const options = {
          get maxBytes() {
            bound.push(runFork(Scope.extend(runner.bind(add, vectors(4)), scope)))
            return 4096
          }
        }
        const exit = yield* Effect.exit(untyped.configure(options))
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(bound[0]!)), "the run was there first")
        assert.isTrue(
          Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error._tag === "ConfigureWhileActive",
          String(exit)
        )
        yield* Scope.close(scope, Exit.void)
        yield* runner.configure({ maxBytes: 65_536 })
        assert.strictEqual((yield* runner.stats).runs.active, 0)
      })
  )
})
