/** Bad handles: uploads and downloads, and calls at the wrong time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Arg, Callable, DeviceRunner, type Errors, HostApi, Simulator } from "leasehold"
import { inspect } from "node:util"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { nextTurn } from "../utils/garbage.ts"
import { add, addSignature, closeGate, gateWaiting, native, openGate } from "../utils/kernels.ts"
import { failsWith, vectors } from "../utils/programs.ts"
import { type Attempt, onRunner, refusedWith, stranger, untyped, world } from "./world.ts"

onEveryForm("bad uploads and downloads", (form) => {
  onRunner(
    form,
    "offsets that are no sizes, and ranges beyond the end, are refused",
    (world) =>
      Effect.gen(function*() {
        const resident = yield* world.runner.allocate("float32", [4, 4])
        yield* resident.upload(Float32Array.from({ length: 16 }, (_, index) => index))
        const view = new Float32Array(4)
        for (const offset of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "1", 1n, null, {}]) {
          const options = { offsetElements: offset as number }
          yield* refusedWith(world, ["InvalidArgument", "Shape"], resident.upload(view, options), inspect(offset))
          yield* refusedWith(world, ["InvalidArgument", "Shape"], resident.download(view, options), inspect(offset))
        }
        for (const offsetElements of [13, 16, 17, 2 ** 32, 2 ** 52, Number.MAX_SAFE_INTEGER]) {
          yield* refusedWith(world, ["ShapeMismatch"], resident.upload(view, { offsetElements }))
          yield* refusedWith(world, ["ShapeMismatch"], resident.download(view, { offsetElements }))
        }
        for (const length of [0, 15, 17]) {
          yield* refusedWith(world, ["ShapeMismatch"], resident.upload(new Float32Array(length)))
          yield* refusedWith(world, ["ShapeMismatch"], resident.download(new Float32Array(length)))
        }
        const all = new Float32Array(16)
        yield* resident.download(all)
        assert.deepStrictEqual([...all], Array.from({ length: 16 }, (_, index) => index))
      })
  )
})

onEveryForm("calls at the wrong time", (form) => {
  onRunner(form, "row 34: the handle of an ended run is refused", (world) =>
    Effect.gen(function*() {
      const run = yield* Effect.scoped(world.runner.bind(add, vectors(4)))
      yield* refusedWith(world, ["StaleRun"], run.launch)
      yield* refusedWith(world, ["StaleRun"], run.validate)
      const copied = { ...run }
      yield* refusedWith(world, ["StaleRun"], copied.launch)
    }))

  onRunner(form, "row 36: releasing twice frees once", (world) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.extend(world.runner.allocate("float32", [4]), scope)
      yield* Scope.extend(world.runner.bind(add, vectors(4)), scope)
      const calls = yield* world.probe.during(
        Effect.all([Scope.close(scope, Exit.void), Scope.close(scope, Exit.void)], { concurrency: 2 })
      )
      assert.strictEqual(calls.filter((call) => call.operation === "free").length, 1)
      assert.deepStrictEqual(yield* world.probe.during(Scope.close(scope, Exit.void)), [])
    }))

  onRunner(form, "row 45: a closed runner refuses, and its neighbour goes on", (world) =>
    Effect.gen(function*() {
      const closed = yield* Effect.scoped(stranger)
      yield* refusedWith(world, ["RunnerClosed"], closed.run(add, vectors(4)))
      yield* refusedWith(world, ["RunnerClosed"], closed.allocate("float32", [4]))
      yield* refusedWith(world, ["RunnerClosed"], untyped(closed).run(null, null))
    }))

  onRunner(
    form,
    "row 48: what waits behind a kernel when the runner closes is refused",
    (world) =>
      Effect.gen(function*() {
        closeGate()
        const scope = yield* Scope.make()
        const runner = yield* Scope.extend(
          DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 }, residentMaxBytes: 4096, stagingMaxBytes: 4096 }),
          scope
        )
        const resident = yield* runner.allocate("float32", [4])
        const running = yield* Effect.fork(runner.run(native("test_gate", {}), {}))
        yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
        const waiting = yield* Effect.fork(resident.upload(new Float32Array(4)))
        yield* nextTurn
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* nextTurn
        openGate()
        yield* failsWith("RunnerClosed", Effect.flatten(Fiber.await(waiting)))
        yield* Fiber.await(running)
        yield* Fiber.await(closing)
        assert.isEmpty(world.probe.calls.filter((call) => call.purpose === "upload"))
      }).pipe(Effect.ensuring(Effect.sync(openGate)))
  )

  it.scoped("rows 47 and 59: after a fatal fault every call is refused, with the fault in the error", () =>
    Effect.gen(function*() {
      const made = yield* world
      const { probe, runner } = made
      const resident = yield* runner.allocate("float32", [4])
      yield* runner.load(add)
      const lost = yield* failsWith("LaunchFailed", runner.run(native("test_lose_device", {}), {}))
      assert.deepStrictEqual([lost.reason, lost.sticky], ["DeviceLost", true])
      const start = probe.calls.length
      const attempts: ReadonlyArray<Attempt> = [
        runner.run(add, vectors(4)),
        runner.bind(add, vectors(4)),
        runner.allocate("float32", [4]),
        runner.allocateHost("float32", [4]),
        runner.configure({ maxBytes: 1 }),
        resident.upload(new Float32Array(4)),
        made.untyped.run(null, null)
      ]
      for (const attempt of attempts) {
        const error = yield* failsWith("RunnerPoisoned", attempt) as Effect.Effect<unknown, never, Scope.Scope>
        assert.strictEqual((error as Errors.RunnerPoisoned).statusName, "DeviceLost")
      }
      assert.strictEqual(probe.calls.length, start)
    }).pipe(Effect.provide(runnerOf(form))))

  onRunner(
    form,
    "row 58: a device without room is reported, and the runner stays ready",
    (world) =>
      Effect.gen(function*() {
        const { probe, runner } = world
        probe.fail({ operation: "malloc", purpose: "resident", status: HostApi.Status.OutOfMemory })
        const error = yield* failsWith("DeviceOutOfMemory", runner.allocate("float32", [4]))
        assert.deepStrictEqual([error.requestedBytes, error.runner], [16, "ready"])
        assert.strictEqual((yield* runner.stats).residents.inUseBytes, 0)
      })
  )

  it.scoped("row 60: a status that nobody knows is kept, and poisons the runner", () =>
    Effect.gen(function*() {
      const { probe, runner } = yield* world
      yield* runner.load(add)
      probe.fail({ operation: "launch", status: 9999 })
      const error = yield* failsWith("LaunchFailed", runner.run(add, vectors(4)))
      assert.deepStrictEqual([error.status, error.statusName, error.sticky], [9999, "Unknown", true])
      yield* failsWith("RunnerPoisoned", runner.run(add, vectors(4)))
    }).pipe(Effect.provide(runnerOf(form))))

  onRunner(
    form,
    "row 64: whatever a launch of the user's throws is kept as a defect, and the run ends",
    (world) =>
      Effect.gen(function*() {
        for (const thrown of [new Error("broken"), "text", undefined, null, 0]) {
          for (const late of [false, true]) {
            const launch = (): Effect.Effect<void> => {
              if (!late) {
                // oxlint-disable-next-line no-throw-literal -- whatever a user may throw
                throw thrown
              }
              return Effect.sync(() => {
                // oxlint-disable-next-line no-throw-literal -- whatever a user may throw
                throw thrown
              })
            }
            const exit = yield* Effect.exit(
              world.runner.run(Callable.make({ signature: addSignature, launch }), vectors(4))
            )
            assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die" && exit.cause.defect === thrown)
          }
        }
        const { runs } = yield* world.runner.stats
        assert.deepStrictEqual([runs.begun, runs.ended, runs.failed], [10, 10, 10])
      })
  )
})

describe("handles", () => {
  it.scoped("row 38: a resident cannot be cloned at all", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const resident = yield* runner.allocate("float32", [4])
      assert.throws(() => structuredClone(resident))
      const host = yield* runner.allocateHost("float32", [4])
      const copy = Callable.make({
        signature: { x: Arg.input("float32", [4]) },
        launch: () => Effect.void
      })
      const cloned = structuredClone(host)
      const exit = yield* Effect.exit(untyped(runner).run(copy, { x: cloned }))
      const error = Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined
      assert.deepStrictEqual(
        [error?._tag, (error as Errors.InvalidArgument | undefined)?.reason],
        ["InvalidArgument", "NotATensor"]
      )
    }).pipe(Effect.provide(
      DeviceRunner.layer({ temporaryBuffer: { maxBytes: 4096 } }).pipe(
        Layer.provide(Simulator.layer({ totalBytes: "1 MiB" }))
      )
    )))
})
