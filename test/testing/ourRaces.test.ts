/**
 * Our own races: fibers contend for one runner, its slot, its buffer, its residents and its end, under many schedules. Set
 * `LEASEHOLD_LONG=1` for ten times as many.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { Arg, DeviceRunner, type HostApi, type RunnerOptions, Simulator } from "leasehold"
import { Interleavings } from "leasehold/testing"
import { Gate } from "../../src/internal/runner/gate.ts"
import { add, addInline, addSignature, native } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"

const isLong = process.env.LEASEHOLD_LONG === "1"
const timeoutMillis = isLong ? 1_800_000 : 240_000

/** Schedules over all scenarios, numbers of fibers, and forms. A core tries some 500 a second. */
const drawnCount = isLong ? 120_000 : 4000

const backend = Simulator.layer({ totalBytes: "4 MiB", longCalls: "inline" })

const runnerOptions: RunnerOptions.RunnerOptions = {
  temporaryBuffer: { maxBytes: "4 KiB" },
  residentMaxBytes: "4 KiB"
}

type Needs = DeviceRunner.DeviceRunner | HostApi.HostApi | Scope.Scope

/** What one fiber does. It answers whether it got what it wanted, or was refused in a way that the race allows. */
type Move = Effect.Effect<"done" | "refused", unknown, Needs>

const unlessRefused = <E extends { readonly _tag: string }, R>(
  effect: Effect.Effect<unknown, E, R>,
  refusals: ReadonlyArray<E["_tag"]>
): Effect.Effect<"done" | "refused", E, R> =>
  Effect.catchIf(
    Effect.as(effect, "done" as const),
    (error) => refusals.includes(error._tag),
    () => Effect.succeed("refused" as const)
  )

/** A run whose result is looked at. */
const runOn = (runner: DeviceRunner.Service, callable: typeof add, seed: number) =>
  Effect.suspend(() => {
    const args = vectors(8, seed)
    return Effect.zipRight(
      runner.run(callable, args),
      Effect.sync(() => {
        assert.deepStrictEqual(args.c, args.a.map((value, index) => value + args.b[index]!))
      })
    )
  })

const runs = (index: number, refusals: ReadonlyArray<"RunAlreadyActive" | "RunnerClosed">): Move =>
  Effect.flatMap(
    DeviceRunner.DeviceRunner,
    (runner) => unlessRefused(runOn(runner, index % 2 === 0 ? addInline : add, index + 1), refusals)
  )

/** c = a + b, with a on the device already. */
const addWeights = native("test_add", { ...addSignature, a: Arg.resident("float32", { dims: ["n"] }) }, {
  execution: "inline"
})

/** A runner that knows the kernels, so that inline runs are one synchronous stretch where the backend lets them. */
const loaded = (runner: DeviceRunner.Service) =>
  Effect.as(Effect.all([runner.load(add), runner.load(addInline), runner.load(addWeights)]), runner)

const loadedRunner = Effect.flatMap(DeviceRunner.DeviceRunner, loaded)

/** The long way, so that the slot is held over many steps of the program's own. */
const bindsOn = (runner: DeviceRunner.Service, seed: number) =>
  Effect.scoped(Effect.gen(function*() {
    const args = vectors(8, seed)
    const run = yield* runner.bind(add, args)
    yield* run.launch
    yield* run.validate
    assert.deepStrictEqual(args.c, args.a.map((value, index) => value + args.b[index]!))
  }))

const together = (moves: ReadonlyArray<Move>) =>
  Interleavings.together(Object.fromEntries(moves.map((move, index) => [`fiber ${index + 1}`, move])))

const scenarios: Readonly<Record<string, (fiberCount: number) => Effect.Effect<unknown, unknown, Needs>>> = {
  "runs on one slot": (fiberCount) =>
    Effect.gen(function*() {
      const runner = yield* loadedRunner
      const outcomes = yield* together(
        Array.from({ length: fiberCount }, (_, index) => runs(index, ["RunAlreadyActive"]))
      )
      const doneCount = Object.values(outcomes).filter((outcome) => outcome === "done").length
      const stats = yield* runner.stats
      assert.isAtLeast(doneCount, 1, "who comes first is not refused")
      assert.deepStrictEqual(
        [stats.runs.begun, stats.runs.ended, stats.runs.refused, stats.runs.failed],
        [doneCount, doneCount, fiberCount - doneCount, 0]
      )
    }),

  "runs and a configuration": (fiberCount) =>
    Effect.gen(function*() {
      const runner = yield* loadedRunner
      const configures = unlessRefused(runner.configure({ maxBytes: "6 KiB" }), ["ConfigureWhileActive"])
      const outcomes = yield* together([
        configures,
        ...Array.from({ length: fiberCount - 1 }, (_, index) => runs(index, ["RunAlreadyActive"]))
      ])
      const { temporaryBuffer } = yield* runner.stats
      const maxBytes = outcomes["fiber 1"] === "done" ? 6144 : 4096
      assert.deepStrictEqual([temporaryBuffer.maxBytes, temporaryBuffer.retainedBytes], [maxBytes, maxBytes])
    }),

  "configurations": (fiberCount) =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const outcomes = yield* together(
        Array.from({ length: fiberCount }, (_, index) =>
          unlessRefused(runner.configure({ maxBytes: 1024 * (index + 1) }), ["ConfigureWhileActive"]))
      )
      const { temporaryBuffer } = yield* runner.stats
      const index = temporaryBuffer.maxBytes / 1024
      assert.strictEqual(outcomes[`fiber ${index}`], "done")
      assert.strictEqual(temporaryBuffer.retainedBytes, temporaryBuffer.maxBytes)
    }),

  "runs and the closing of their resident": (fiberCount) =>
    Effect.gen(function*() {
      const runner = yield* loadedRunner
      const scope = yield* Scope.make()
      const weights = yield* Scope.extend(runner.allocate("float32", [8]), scope)
      yield* weights.upload(new Float32Array(8).fill(3))
      const uses = Effect.suspend(() => {
        const c = new Float32Array(8)
        return unlessRefused(
          Effect.zipRight(
            runner.run(addWeights, { a: weights, b: new Float32Array(8).fill(4), c }),
            Effect.sync(() => assert.deepStrictEqual(c, new Float32Array(8).fill(7)))
          ),
          ["RunAlreadyActive"]
        ).pipe(Effect.catchIf(
          (error) => error._tag === "InvalidArgument" && error.reason === "HandleClosed",
          () => Effect.succeed("refused" as const)
        ))
      })
      const closes: Move = Effect.as(Scope.close(scope, Exit.void), "done")
      yield* together([closes, ...Array.from({ length: fiberCount - 1 }, () => uses)])
      assert.strictEqual((yield* runner.stats).residents.count, 0)
    }),

  "uploads and runs": (fiberCount) =>
    Effect.gen(function*() {
      const runner = yield* loadedRunner
      const weights = yield* runner.allocate("float32", [8])
      const uploads: Move = Effect.as(weights.upload(new Float32Array(8).fill(100)), "done")
      const uses = Effect.suspend(() => {
        const c = new Float32Array(8)
        return unlessRefused(
          Effect.zipRight(
            runner.run(addWeights, { a: weights, b: new Float32Array(8).fill(1), c }),
            // All of it from before, or all of it from after.
            Effect.sync(() => assert.include(["1,1,1,1,1,1,1,1", "101,101,101,101,101,101,101,101"], c.join(",")))
          ),
          ["RunAlreadyActive"]
        )
      })
      yield* together([uploads, ...Array.from({ length: fiberCount - 1 }, () => uses)])
    }),

  "runs and the closing of their runner": (fiberCount) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const runner = yield* loaded(yield* Scope.extend(DeviceRunner.make(runnerOptions), scope))
      const closes: Move = Effect.as(Scope.close(scope, Exit.void), "done")
      const uses = Array.from({ length: fiberCount - 1 }, (_, index) =>
        unlessRefused(
          Effect.zipRight(runOn(runner, addInline, index), bindsOn(runner, index)),
          ["RunAlreadyActive", "RunnerClosed", "StaleRun"]
        ))
      yield* together([closes, ...uses])
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.runs.active, stats.runs.begun - stats.runs.ended], [0, 0])
      assert.strictEqual(stats.temporaryBuffer.retainedBytes, 0)
    }),

  "allocations and the closing of their runner": (fiberCount) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const runner = yield* Scope.extend(DeviceRunner.make(runnerOptions), scope)
      const closes: Move = Effect.as(Scope.close(scope, Exit.void), "done")
      const allocates = Effect.scoped(Effect.gen(function*() {
        const weights = yield* runner.allocate("float32", [8])
        const found = new Float32Array(8)
        yield* weights.upload(new Float32Array(8).fill(5))
        yield* weights.download(found)
        assert.deepStrictEqual(found, new Float32Array(8).fill(5))
      }))
      yield* together([
        closes,
        ...Array.from({ length: fiberCount - 1 }, () => unlessRefused(allocates, ["RunnerClosed"]))
      ])
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.residents.count, stats.residents.inUseBytes], [0, 0])
    }),

  "runners on one backend": (fiberCount) =>
    together(
      Array.from({ length: fiberCount }, (_, index): Move =>
        Effect.scoped(Effect.gen(function*() {
          const runner = yield* loaded(yield* DeviceRunner.make(runnerOptions))
          yield* runOn(runner, index % 2 === 0 ? add : addInline, index)
          return "done" as const
        })))
    ),

  "runs, one of which is interrupted": (fiberCount) =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const begun = yield* Deferred.make<Fiber.RuntimeFiber<unknown, unknown>>()
      const victim: Move = Effect.gen(function*() {
        const fiber = yield* Effect.fork(bindsOn(runner, 1))
        yield* Deferred.succeed(begun, fiber)
        const exit = yield* Fiber.await(fiber)
        return Exit.isSuccess(exit) ? "done" as const : "refused" as const
      })
      const interrupts: Move = Effect.as(Effect.flatMap(Deferred.await(begun), Fiber.interrupt), "done")
      yield* together([
        victim,
        interrupts,
        ...Array.from({ length: fiberCount - 2 }, (_, index) => runs(index, ["RunAlreadyActive"]))
      ])
      const stats = yield* runner.stats
      assert.deepStrictEqual([stats.runs.active, stats.runs.begun - stats.runs.ended], [0, 0])
    })
}

/** Where no run is inline the two forms of the seam take the same steps. */
const inEffects: ReadonlySet<string> = new Set([
  "configurations",
  "allocations and the closing of their runner",
  "runs, one of which is interrupted"
])

const fiberCounts = [2, 3, 4]
const perScenario = Math.ceil(drawnCount / (Object.keys(scenarios).length * fiberCounts.length))

describe("drawn schedules", () => {
  for (const [name, program] of Object.entries(scenarios)) {
    it.effect(`${name} stay clean`, () =>
      Effect.gen(function*() {
        for (const fiberCount of fiberCounts) {
          const start = performance.now()
          const forms = inEffects.has(name) ? ["effects"] as const : ["immediate", "effects"] as const
          const report = yield* Interleavings.assertClean(program(fiberCount), {
            name,
            backend,
            layer: DeviceRunner.layer(runnerOptions),
            forms,
            scheduleCount: Math.ceil(perScenario / forms.length)
          })
          const rate = report.scheduleCount / (performance.now() - start) * 1000
          console.log(
            `${name}: ${Interleavings.summary(report)}, ${report.distinctCount} distinct, ${rate.toFixed(0)} a second`
          )
          assert.isAtLeast(report.scheduleCount, perScenario)
          assert.isAbove(report.distinctCount, perScenario / 2, "the schedules are not the same ones again and again")
        }
      }), timeoutMillis)
  }
})

/** Those that start fibers of their own have ten times as many schedules. */
const hasMoreFibers: ReadonlySet<string> = new Set(["runs, one of which is interrupted"])

/** Two fibers go through the runner's gate. Answers the most that were inside at once. */
const throughGate = Effect.suspend(() => {
  const inside = { now: 0, most: 0 }
  let idleCount = 0
  const gate = new Gate(() => void (idleCount += 1))
  const work = Effect.zipRight(
    Effect.sync(() => {
      inside.now += 1
      inside.most = Math.max(inside.most, inside.now)
    }),
    Effect.sync(() => {
      inside.now -= 1
    })
  )
  return Effect.map(
    Interleavings.together({ left: gate.through(work), right: gate.through(work) }),
    () => ({ mostInside: inside.most, isFree: !gate.busy && idleCount > 0 })
  )
})

const assertAll = <A, E>(
  name: string,
  program: Effect.Effect<A, E, Needs>,
  options: {
    readonly preemptions: number
    readonly form: "immediate" | "effects"
    readonly accepts?: (exit: Exit.Exit<A, unknown>) => boolean
  }
) =>
  Effect.gen(function*() {
    const start = performance.now()
    const report = yield* Interleavings.assertClean(program, {
      name,
      backend,
      layer: DeviceRunner.layer(runnerOptions),
      strategies: ["exhaustive"],
      forms: [options.form],
      preemptions: options.preemptions,
      maxScheduleCount: 1_000_000,
      accepts: options.accepts
    })
    const seconds = (performance.now() - start) / 1000
    console.log(`${name} (${options.form}): ${Interleavings.summary(report)}, ${seconds.toFixed(1)} s`)
    assert.isTrue(report.isExhausted)
    assert.isAbove(
      report.distinctCount,
      report.scheduleCount / 2,
      "the schedules are not the same ones again and again"
    )
    return report
  })

describe("all schedules of two fibers", () => {
  it.effect(
    `that go through the gate, with at most ${isLong ? "three" : "two"} preemptions`,
    () =>
      assertAll("the gate", throughGate, {
        preemptions: isLong ? 3 : 2,
        form: "effects",
        accepts: (exit) => Exit.isSuccess(exit) && exit.value.mostInside === 1 && exit.value.isFree
      }),
    timeoutMillis
  )

  it.effect(`that run inline, with at most ${isLong ? "three" : "two"} preemptions`, () =>
    assertAll(
      "two inline runs",
      Effect.flatMap(loadedRunner, (runner) =>
        Interleavings.together({ left: runOn(runner, addInline, 1), right: runOn(runner, addInline, 2) })),
      { preemptions: isLong ? 3 : 2, form: "immediate" }
    ), timeoutMillis)

  for (const [name, program] of Object.entries(scenarios).filter(([name]) => isLong || !hasMoreFibers.has(name))) {
    it.effect(
      `${name}, with at most ${isLong ? "two preemptions" : "one preemption"}`,
      () => assertAll(name, program(2), { preemptions: isLong ? 2 : 1, form: "effects" }),
      timeoutMillis
    )
  }
})
