/** The snippets of docs/how-to/test-your-cleanup.md, on the programs of the failure drill. */
// #region imports
import { assert, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { FaultInjection, FaultSweep, Interleavings, Ledger } from "leasehold/testing"
// #endregion
import * as Broken from "../../examples/failure-drill/broken.ts"
import { decode } from "../../examples/failure-drill/mended.ts"

// #region sweep
const options = {
  backend: Simulator.layer({ longCalls: "inline" }),
  layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } })
}

it.effect(
  "decode gives everything back, whatever fails and whenever it is interrupted",
  () => FaultSweep.assertClean(decode("a", 2), options),
  60_000
)
// #endregion

// #region replay
it.effect("decode gives everything back when the first step cannot be staged", () =>
  FaultSweep.assertClean(decode("a", 2), { ...options, only: "immediate operation=4,submit,error,before,once" }))
// #endregion

it.effect("the broken decode leaks in the same case", () =>
  Effect.gen(function*() {
    const only = "immediate operation=4,submit,error,before,once"
    const found = yield* Effect.flip(FaultSweep.assertClean(Broken.decode("a", 2), { ...options, only }))
    assert.instanceOf(found, FaultSweep.SweepFailed)
    assert.deepStrictEqual(found instanceof FaultSweep.SweepFailed && found.verdicts, ["Leaked"])
  }))

// #region sample
it.effect(
  "decode gives everything back in a sample of what can happen to a longer text",
  () => FaultSweep.assertClean(decode("a", 20), { ...options, maxCaseCount: 100, seed: 7 }),
  60_000
)
// #endregion

// #region faults
const SecondStepFails = FaultInjection.layer([{
  name: "the second step cannot be staged",
  where: { operation: "submit", purpose: "stage", index: 1 },
  fault: FaultInjection.fail()
}])

it.effect("decode says so when its second step cannot be staged", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(decode("a", 2))
    assert.strictEqual(error._tag, "TransferFailed")
  }).pipe(Effect.provide(options.layer.pipe(Layer.provide(SecondStepFails), Layer.provide(options.backend)))))
// #endregion

// #region ledger
/** Fails where a program leaves more behind than it found. */
const leavesNothing = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger.Ledger
    const before = yield* ledger.snapshot
    yield* Effect.exit(program)
    const { added } = Ledger.difference(before, yield* ledger.snapshot)
    assert.isEmpty(added, added.map(Ledger.describe).join("; "))
  })

const Accounted = Ledger.layerCallSites.pipe(
  Layer.provideMerge(options.layer),
  Layer.provideMerge(Ledger.layerChecked)
)

it.effect("decode leaves nothing behind", () =>
  leavesNothing(decode("a", 2)).pipe(Effect.provide(Layer.provide(Accounted, options.backend))))
// #endregion

it.effect("where a step of the broken decode fails, the ledger names the tensor and the line", () =>
  Effect.gen(function*() {
    const accounted = Accounted.pipe(Layer.provide(SecondStepFails), Layer.provide(options.backend))
    const leak = yield* Effect.provide(leavesNothing(Broken.decode("a", 2)), accounted).pipe(
      Effect.sandbox,
      Effect.flip
    )
    assert.match(
      Cause.pretty(leak),
      /108 B of device memory for resident "float32 \[27\]", from examples\/failure-drill\/broken\.ts:/
    )
  }))

// #region race
/** A client of a server that has one runner and no queue. */
const client = (prompt: string) =>
  decode(prompt, 2).pipe(Effect.catchTag("RunAlreadyActive", () => Effect.succeed("busy")))

const clients = Interleavings.together({ first: client("a"), second: client("b") })

it.effect(
  "of two clients at once one is served, whoever comes first",
  () =>
    Interleavings.assertClean(clients, {
      ...options,
      accepts: (exit) => Exit.isSuccess(exit) && Object.values(exit.value).some((text) => text !== "busy"),
      scheduleCount: 100
    }),
  60_000
)
// #endregion

// #region race-replay
it.effect("two clients give everything back in the schedule that found the leak", () =>
  Interleavings.assertClean(clients, { ...options, only: "immediate random=1,0,0.05" }))
// #endregion

const brokenClient = (prompt: string) =>
  Broken.decode(prompt, 2).pipe(Effect.catchTag("RunAlreadyActive", () => Effect.succeed("busy")))

it.effect(
  "the broken decode leaks in the same schedule, where one of two clients is refused",
  () =>
    Effect.gen(function*() {
      const race = Interleavings.together({ first: brokenClient("a"), second: brokenClient("b") })
      const { failures } = yield* Interleavings.run(race, { ...options, only: "immediate random=1,0,0.05" })
      assert.deepStrictEqual(failures.map(({ verdict }) => verdict), ["Leaked"])
      assert.match(failures[0]!.detail, /resident "float32 \[27\]", from examples\/failure-drill\/broken\.ts:/)
      // With fewer choices than were drawn, and by that name again.
      const { schedule } = failures[0]!
      assert.match(schedule, /^immediate (?:step|task)=/)
      const again = yield* Interleavings.run(race, { ...options, only: schedule })
      assert.deepStrictEqual(again.failures.map(({ verdict }) => verdict), ["Leaked"])
    }),
  60_000
)
