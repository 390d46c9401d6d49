/** What the sweeps have found in Leasehold itself, each with a sweep that failed before it was mended. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { FaultInjection, FaultSweep } from "leasehold/testing"
import { addInline } from "../utils/kernels.ts"
import { simulator } from "./scenario.ts"

const missing = Callable.native({
  signature: { x: Arg.input("int8", ["n"]) },
  kernels: [Simulator.kernel({ library: "/nowhere/libnothing.so", symbol: "nothing" })]
})

it.effect("an interrupted load kept the runner from ever closing", () =>
  Effect.gen(function*() {
    const report = yield* FaultSweep.assertClean(
      Effect.flatMap(DeviceRunner.DeviceRunner, (runner) => Effect.flip(runner.load(missing))),
      {
        backend: simulator({}),
        layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: 1024 } }),
        faults: []
      }
    )
    assert.isAbove(report.interruptCases, 500)
  }))

for (const form of ["immediate", "effects"] as const) {
  it.scoped(`a lease whose free lost the device was not counted as a failed release [${form}]`, () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(addInline, { a: Float32Array.of(1), b: Float32Array.of(2), c: new Float32Array(1) })
      const { quarantine, releaseFailures, state } = yield* runner.stats
      assert.deepStrictEqual({ quarantine, releaseFailures, state }, {
        quarantine: { bytes: 12, count: 3 },
        // The device was asked for the first of the three only.
        releaseFailures: 1,
        state: "poisoned"
      })
    }).pipe(Effect.provide(
      DeviceRunner.layer({ temporaryBuffer: { maxBytes: 0 } }).pipe(
        Layer.provide(
          FaultInjection.layer([
            { where: { operation: "free" }, fault: FaultInjection.deviceLost },
            // A rule that waits takes the plain functions away.
            ...(form === "immediate" ? [] : [{ ...FaultInjection.delayed(0), isOptional: true }])
          ])
        ),
        Layer.provide(simulator({}))
      )
    )))
}
