/** What the planted mutants have shown that sweeps overlooked, and what sweeps have found that was nothing. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Scope } from "effect"
import { DeviceRunner, Errors } from "leasehold"
import { FaultSweep } from "leasehold/testing"
import { addInline } from "../../utils/kernels.ts"
import { simulator } from "../scenario.ts"

/** Looks at an undisturbed program on a runner that is wrong in some way, and answers what is found. */
const findings = (
  program: Effect.Effect<unknown, unknown, DeviceRunner.DeviceRunner>,
  wrong: (runner: DeviceRunner.Service) => DeviceRunner.Service
) =>
  FaultSweep.run(program, {
    backend: simulator({}),
    layer: Layer.effect(DeviceRunner.DeviceRunner, Effect.map(DeviceRunner.DeviceRunner, wrong)).pipe(
      Layer.provide(DeviceRunner.layer({ temporaryBuffer: { maxBytes: 1024, alignmentBytes: 64 } }))
    ),
    forms: ["immediate"],
    faults: [],
    interruptions: ["reachable"]
  }).pipe(Effect.map(({ failures }) => failures.map(({ detail, verdict }) => `${verdict}: ${detail}`)))

/** A runner whose runs all fail. */
const refusing = (error: Errors.RunAlreadyActive | Errors.RunnerClosed) => (runner: DeviceRunner.Service) => ({
  ...runner,
  run: () => Effect.fail(error)
})

it.effect("a runner that closes and still counts memory as in use has leaked it", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* findings(Effect.void, (runner) => runner), [])
    const found = yield* findings(Effect.void, (runner) => ({
      ...runner,
      stats: Effect.map(runner.stats, (stats) => ({
        ...stats,
        residents: { ...stats.residents, inUseBytes: stats.residents.inUseBytes + 8 },
        temporaryBuffer: { ...stats.temporaryBuffer, retainedBytes: stats.temporaryBuffer.retainedBytes + 64 }
      }))
    }))
    assert.deepStrictEqual(found, [
      "Leaked: the runner has closed, and still counts 64 B retained, 8 B in use by residents"
    ])
  }))

it.effect("an undisturbed program that leaves a runner that does not work is found out", () =>
  Effect.gen(function*() {
    const active = new Errors.RunAlreadyActive({ callable: "probe", holder: "run", activeCallable: "gone", slots: 1 })
    assert.deepStrictEqual(yield* findings(Effect.void, refusing(active)), [
      `NotReusable: a run after the program was refused: RunAlreadyActive: ${active.message}`
    ])
    // A runner that is closed says so, and the program may have wanted that.
    assert.deepStrictEqual(
      yield* findings(Effect.void, refusing(new Errors.RunnerClosed({ operation: "a run of probe" }))),
      []
    )
  }))

it.effect("runs that wait when the program has ended, and reservations that it leaves, are found out", () =>
  Effect.gen(function*() {
    const waiting = yield* findings(Effect.void, (runner) => ({
      ...runner,
      stats: Effect.map(runner.stats, (stats) => ({ ...stats, runs: { ...stats.runs, waiting: 2 } }))
    }))
    assert.deepStrictEqual(waiting, ["NeverEnded: 2 runs still waited for their turn when the program had ended"])
    const reserving = Effect.flatMap(
      DeviceRunner.DeviceRunner,
      (runner) => runner.budget("left", { reserveBytes: 128 })
    )
    assert.deepStrictEqual(yield* findings(Effect.scoped(reserving), (runner) => runner), [])
    const left = Effect.flatMap(Scope.make(), (scope) => Scope.extend(reserving, scope))
    assert.deepStrictEqual(yield* findings(left, (runner) => runner), [
      "Leaked: 128 B were still reserved by child budgets when the program had ended"
    ])
  }))

it.effect("a slot or memory that no run holds, and that cannot be had, is found out", () =>
  Effect.gen(function*() {
    const active = new Errors.RunAlreadyActive({ callable: "probe", holder: "run", activeCallable: "gone", slots: 2 })
    const expected = [`NotReusable: a run after the program was refused: RunAlreadyActive: ${active.message}`]
    // The run that is as large as the buffer is the one that says how large.
    const withoutRoom = yield* findings(Effect.void, (runner): DeviceRunner.Service => ({
      ...runner,
      run: (callable, args, options) =>
        options?.dims === undefined ? runner.run(callable, args, options) : Effect.fail(active)
    }))
    assert.deepStrictEqual(withoutRoom, expected)
    const withoutSlots = yield* findings(Effect.void, (runner): DeviceRunner.Service => {
      let boundCount = 0
      return {
        ...runner,
        bind: (callable, args, options) =>
          Effect.suspend(() => boundCount++ === 0 ? runner.bind(callable, args, options) : Effect.fail(active)),
        stats: Effect.map(runner.stats, (stats) => ({ ...stats, slots: { ...stats.slots, count: 2 } }))
      }
    })
    assert.deepStrictEqual(withoutSlots, expected)
  }))

const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

it.effect("a fault that an interruption moves to a call that never fails like this is not held against a run's outputs", () =>
  Effect.gen(function*() {
    const program = Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(addInline)
      yield* Effect.ensuring(runner.run(addInline, pairOf()), Effect.ignore(runner.run(addInline, pairOf())))
    })
    const { failures, pairCases } = yield* FaultSweep.run(program, {
      backend: simulator({}),
      layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: 1024, alignmentBytes: 64 } }),
      forms: ["effects"],
      faults: ["error"],
      mayRecover: true,
      interruptions: ["runner"],
      interruptedFaults: 0.05,
      faultPairs: 0
    })
    assert.isAbove(pairCases, 100)
    assert.deepStrictEqual(failures, [])
  }))

it.effect("a runner whose device lies about memory later on need not be usable", () =>
  Effect.gen(function*() {
    const program = Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(addInline, pairOf())
      yield* runner.trim(0)
      yield* Effect.ignore(runner.run(addInline, pairOf()))
    })
    const { failures, faultCases } = yield* FaultSweep.run(program, {
      backend: simulator({}),
      layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: 1024, alignmentBytes: 64, growth: "highWater" } }),
      forms: ["effects"],
      faults: ["lie"],
      mayRecover: true,
      interruptions: ["runner"],
      interruptedFaults: 0,
      faultPairs: 0
    })
    assert.isAbove(faultCases, 10)
    assert.deepStrictEqual(failures, [])
  }))
