/** The same seed gives the same steps of the same fibers and the same operations, whatever ran before. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { DeviceRunner, HostApi, Simulator } from "leasehold"
import { FaultSweep, Interleavings } from "leasehold/testing"
import { type Case, format } from "../../src/internal/testing/cases.ts"
import { observe } from "../../src/internal/testing/interleave.ts"
import { type Schedule, strategyOf } from "../../src/internal/testing/schedules.ts"
import { baseline, faultPoints, interruptPoints } from "../../src/internal/testing/sweep.ts"
import { run, type Trial } from "../../src/internal/testing/trial.ts"
import { add, addInline } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"

const backend = Simulator.layer({ totalBytes: "4 MiB", longCalls: "inline" })
const layer = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "4 KiB" }, residentMaxBytes: "4 KiB" })

const race = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  yield* runner.load(add)
  yield* runner.load(addInline)
  yield* Interleavings.together({
    runs: Effect.exit(runner.run(add, vectors(8))),
    runsInline: Effect.exit(runner.run(addInline, vectors(8))),
    configures: Effect.exit(runner.configure({ maxBytes: "6 KiB" }))
  })
})

const serial = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  yield* Effect.scoped(Effect.zipRight(runner.allocate("float32", [8]), runner.run(add, vectors(8))))
})

const subjectOf = (program: Effect.Effect<void, unknown, DeviceRunner.DeviceRunner>) => ({
  program,
  layer,
  invariant: undefined,
  patience: "1 second" as const,
  logs: false,
  notesPlaces: false
})

/** What can be told of a trial without its objects. */
const traceOf = ({ exit, operations, steps, taskCount }: Trial): string =>
  JSON.stringify([
    exit?._tag,
    steps,
    taskCount,
    operations.map(({ byteCount, form, kind, names, purpose, runId }) => [kind, form, purpose, runId, names, byteCount])
  ])

const explored = (seed: number) =>
  Interleavings.assertClean(race, {
    backend,
    layer,
    seed,
    scheduleCount: 40,
    strategies: ["random", "pct", "exhaustive"],
    preemptions: 1,
    maxScheduleCount: 50
  })

describe("the same seed", () => {
  it.effect("gives the same trace for each of 1,000 schedules", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = Context.get(yield* Layer.build(backend), HostApi.HostApi)
      const schedules = Array.from({ length: 1000 }, (_, number): Schedule => ({
        form: number % 4 < 2 ? "effects" : "immediate",
        turns: number % 2 === 0
          ? { _tag: "Random", seed: 7, index: number, yieldProbability: 0.05 }
          : { _tag: "Pct", seed: 7, index: number, depth: 3, contendedCount: 300 }
      }))
      const traces = (order: ReadonlyArray<Schedule>) =>
        Effect.map(
          Effect.forEach(
            order,
            (schedule) => observe(api, subjectOf(race), schedule.form, { turns: strategyOf(schedule.turns) })
          ),
          (all) => all.map(({ recorder }) => recorder.traceHash)
        )
      // Kernels are loaded once, whoever needs them first.
      yield* traces(schedules.slice(0, 4))
      const first = yield* traces(schedules)
      // What went before has no part in it.
      const second = (yield* traces(schedules.toReversed())).toReversed()
      assert.deepStrictEqual(second, first)
      const distinctCount = new Set(first).size
      assert.isAbove(distinctCount, 800, "a hash that is always the same would say nothing")
      console.log(`1000 schedules twice: the same traces, ${distinctCount} distinct`)
    })), 120_000)

  it.effect("gives the same report of an exploration, and another seed another", () =>
    Effect.gen(function*() {
      const first = yield* explored(1)
      assert.deepStrictEqual(yield* explored(1), first)
      assert.notStrictEqual((yield* explored(2)).traceHash, first.traceHash)
    }), 60_000)

  it.effect("gives the same trace for each of 1,000 cases of a sweep", () =>
    Effect.scoped(Effect.gen(function*() {
      const api = Context.get(yield* Layer.build(backend), HostApi.HostApi)
      const subject = subjectOf(serial)
      const cases: Array<{ readonly tried: Case; readonly clean: Trial }> = []
      for (const form of ["immediate", "effects"] as const) {
        const { trial: clean } = yield* baseline(api, subject, form, { mayFail: false, mayRecover: false })
        const faults = faultPoints(clean.operations, form, {
          faults: ["error", "outOfMemory", "deviceLost", "defect", "hang", "lie"],
          persistences: ["once", "always"]
        }).map((fault) => ({ form, faults: [fault], interrupt: undefined }))
        const interruptions = interruptPoints(clean, { interruptions: ["every"] })
          .map((interrupt) => ({ form, faults: [], interrupt }))
        cases.push(...[...faults, ...interruptions].map((tried) => ({ tried, clean })))
      }
      assert.isAtLeast(cases.length, 1000)
      const traces = (order: typeof cases) =>
        Effect.forEach(order, ({ clean, tried }) =>
          Effect.map(run(api, subject, { case: tried, clean }), (trial) =>
            `${format(tried)}: ${traceOf(trial)}`))
      const chosen = cases.filter((_, index) =>
        index % Math.floor(cases.length / 1000) === 0
      ).slice(0, 1000)
      assert.deepStrictEqual((yield* traces(chosen.toReversed())).toReversed(), yield* traces(chosen))
      console.log(`${chosen.length} cases twice: the same traces`)
    })), 120_000)

  it.effect("gives the same report of a sweep", () =>
    Effect.gen(function*() {
      const swept = FaultSweep.run(serial, { backend, layer, seed: 3, maxCaseCount: 100, interruptedFaults: 0.01 })
      const first = yield* swept
      assert.deepStrictEqual(yield* swept, first)
      assert.isAbove(first.faultCases + first.interruptCases, 100)
    }), 60_000)
})
