/** A runner that lets runs wait closes under every schedule, also when a run has its slot already and has not begun. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { Interleavings } from "leasehold/testing"
import { add } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"

const gone: ReadonlySet<string> = new Set(["RunnerClosed", "StaleRun", "AdmissionRefused"])

const program = Effect.gen(function*() {
  const scope = yield* Scope.make()
  const runner = yield* Scope.extend(
    DeviceRunner.make({ temporaryBuffer: { maxBytes: "4 KiB" }, admission: { wait: { maxQueueCount: 4 } } }),
    scope
  )
  yield* runner.load(add)
  const runs = (seed: number) =>
    Effect.catchIf(runner.run(add, vectors(8, seed)), ({ _tag }) => gone.has(_tag), () => Effect.void)
  yield* Interleavings.together({ first: runs(1), second: runs(2), closes: Scope.close(scope, Exit.void) })
  const { runs: { active, begun, ended } } = yield* runner.stats
  assert.deepStrictEqual([active, begun], [0, ended])
})

it.effect(
  "a runner closes although a run gives back a slot that it was given and never used",
  () =>
    Effect.gen(function*() {
      const report = yield* Interleavings.assertClean(program, {
        backend: Simulator.layer({ totalBytes: "1 MiB", longCalls: "inline" }),
        layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: "4 KiB" } }),
        strategies: ["exhaustive"],
        forms: ["effects"],
        preemptions: 1
      })
      assert.isTrue(report.isExhausted)
      assert.isAbove(report.scheduleCount, 500)
    }),
  60_000
)
