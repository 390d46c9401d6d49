/**
 * Closing a runner while a tensor of it is being released. All schedules with one preemption found that the runner could
 * wait for ever: it was woken when the device had freed the tensor, and not again when the tensor was forgotten.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { Interleavings } from "leasehold/testing"

const racesWithClosing = (use: (runner: DeviceRunner.Service) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const runner = yield* Scope.extend(
      DeviceRunner.make({ temporaryBuffer: { maxBytes: "4 KiB" }, residentMaxBytes: "4 KiB" }),
      scope
    )
    yield* Interleavings.together({
      closes: Scope.close(scope, Exit.void),
      uses: Effect.catchIf(
        Effect.scoped(use(runner)),
        (error) => typeof error === "object" && error !== null && "_tag" in error && error._tag === "RunnerClosed",
        () => Effect.void
      )
    })
  })

for (
  const [name, use] of [
    ["resident tensor", (runner: DeviceRunner.Service) => runner.allocate("float32", [8])],
    ["host tensor", (runner: DeviceRunner.Service) => runner.allocateHost("float32", [8])]
  ] as const
) {
  it.effect(`a runner that closed while a ${name} was released waited for ever`, () =>
    Effect.gen(function*() {
      const report = yield* Interleavings.assertClean(racesWithClosing(use), {
        name: `closing and a ${name}`,
        backend: Simulator.layer({ totalBytes: "4 MiB", longCalls: "inline" }),
        layer: Layer.empty,
        strategies: ["exhaustive"],
        preemptions: 1
      })
      assert.isTrue(report.isExhausted)
      console.log(`closing and a ${name}: ${Interleavings.summary(report)}`)
    }))
}
