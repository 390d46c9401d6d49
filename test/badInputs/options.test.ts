/** Bad options of runners. */
import { assert } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { DeviceRunner, type Errors } from "leasehold"
import { onEveryForm } from "../utils/forms.ts"
import { add } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"
import { atPath, type OptionCase, optionCases } from "./optionCases.ts"
import { onRunner, refusedWith, runFork } from "./world.ts"

onEveryForm("bad options", (form) => {
  const byOption = new Map<string, Array<OptionCase>>()
  for (const optionCase of optionCases.filter(([row]) => row === "")) {
    const key = optionCase[1].join(".")
    byOption.set(key, [...byOption.get(key) ?? [], optionCase])
  }
  for (const [option, cases] of byOption) {
    onRunner(
      form,
      `${option} is refused by name, whatever is wrong with it`,
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
