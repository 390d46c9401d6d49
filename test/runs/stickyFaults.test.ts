/**
 * Sticky faults: every status that says that the device is lost, at every operation of a program, before and after the
 * operation has its effect. Whoever meets it learns of it; after it, nothing reaches the device.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Metric, Scope } from "effect"
import { type DeviceRunner, HostApi, RunnerMetrics } from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import { type Form, forms } from "../utils/forms.ts"
import { add, addInline, native } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"
import { deviceOf, makeRunner, operationCountOf, scale, type StepError, stepsOf } from "./steps.ts"

/** The one that has a name, and one that nobody knows. */
const stickyStatuses = [HostApi.Status.DeviceLost, 9999]

/** A thousand in the long tests. The first refusal is as good as the last; many show that nothing wears out. */
const furtherRunCount = process.env["LEASEHOLD_LONG"] === "1" ? 1000 : 200

interface Case {
  readonly index: number
  readonly status: number
  readonly when: "before" | "after"
}

/** How a case went: where the fault was met, and by whom it was seen. */
interface Outcome {
  readonly met: "making" | "step" | "release" | "closing"
  readonly furtherRuns: number
}

/** Whether an error says that the runner is poisoned now. */
const saysSticky = (error: StepError): boolean =>
  error._tag === "TransferFailed" || error._tag === "LaunchFailed"
    ? error.sticky
    : error._tag === "DeviceFailed" && error.runner === "poisoned"

/** What the metric of the runner's health shows when its statistics are published now. */
const publishedHealth = (runner: DeviceRunner.Service) =>
  Effect.gen(function*() {
    const stats = yield* runner.stats
    yield* RunnerMetrics.publish({ stats, previous: undefined, device: runner.device })
    const gauge = Metric.tagged(RunnerMetrics.gauges.leasehold_poisoned, "device", runner.device.name)
    return (yield* Metric.value(gauge)).value
  })

/** Runs of several callables, one after the other. Answers how many were refused because the runner is poisoned. */
const runFurther = (runner: DeviceRunner.Service) =>
  Effect.gen(function*() {
    const unloaded = native("test_nothing", {})
    const args = vectors(4)
    const x = Float32Array.of(1, 2)
    const programs: ReadonlyArray<Effect.Effect<void, StepError>> = [
      runner.run(addInline, args),
      runner.run(add, args),
      runner.run(scale, { x }),
      runner.run(unloaded, {})
    ]
    let refusedCount = 0
    for (let run = 0; run < furtherRunCount; run++) {
      const error = yield* Effect.flip(programs[run % programs.length]!)
      if (error._tag === "RunnerPoisoned" && error.reason === "StickyFault") {
        refusedCount += 1
      }
    }
    return refusedCount
  })

/** The program with one fault. Every assertion of a case is here. */
const meet = (form: Form, { index, status, when }: Case) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger.Ledger
    const operationCount = Effect.map(ledger.snapshot, (snapshot) => snapshot.operationCount)
    const { close, made, scope } = yield* makeRunner
    if (Exit.isFailure(made)) {
      assert.strictEqual(made.cause._tag, "Fail")
      assert.isTrue(made.cause._tag === "Fail" && saysSticky(made.cause.error))
      yield* close
      return { met: "making", furtherRuns: 0 } satisfies Outcome
    }
    const runner = made.value
    assert.strictEqual(yield* publishedHealth(runner), 0)
    let met: "step" | "release" | undefined
    for (const step of stepsOf(runner)) {
      const exit = yield* Effect.exit(Scope.extend(step.effect, scope))
      const isPoisoned = (yield* runner.stats).state === "poisoned"
      if (met !== undefined) {
        assert.isTrue(
          Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error._tag === "RunnerPoisoned",
          `${step.name} after the fault: ${exit.toString()}`
        )
      } else if (Exit.isFailure(exit)) {
        assert.isTrue(exit.cause._tag === "Fail" && saysSticky(exit.cause.error), `${step.name}: ${exit.toString()}`)
        met = "step"
      } else if (isPoisoned) {
        // Releases fail nobody: what the program asked for was done before.
        met = "release"
      }
      assert.strictEqual(isPoisoned, met !== undefined, step.name)
    }
    if (met === undefined) {
      yield* close
      assert.strictEqual((yield* runner.stats).state, "closed")
      return { met: "closing", furtherRuns: 0 } satisfies Outcome
    }
    assert.strictEqual((yield* runner.stats).state, "poisoned")
    assert.strictEqual(yield* publishedHealth(runner), 1)
    const operationsBefore = yield* operationCount
    const furtherRuns = yield* runFurther(runner)
    assert.strictEqual(furtherRuns, furtherRunCount)
    assert.strictEqual(yield* operationCount, operationsBefore)
    const held = (yield* ledger.snapshot).allocations.length
    yield* close
    assert.strictEqual((yield* runner.stats).state, "closed")
    assert.strictEqual((yield* ledger.snapshot).allocations.length, held)
    return { met, furtherRuns } satisfies Outcome
  }).pipe(
    Effect.tap(() =>
      Effect.gen(function*() {
        const ledger = yield* Ledger.Ledger
        const { breaches, isLost, operationCount } = yield* ledger.snapshot
        // The operation that met the fault was the last one, the closing of the runner included.
        assert.deepStrictEqual([operationCount, isLost, breaches], [index + 1, true, []])
        yield* ledger.assertEmpty
      })
    ),
    Effect.provide(deviceOf(form, [{ where: { index }, fault: FaultInjection.fail(status), when }]))
  )

describe("sticky faults", () => {
  const totals = { cases: 0, operations: 0, making: 0, step: 0, release: 0, closing: 0, furtherRuns: 0 }

  for (const form of forms) {
    it.effect(
      `after a sticky fault at any operation nothing reaches the device [${form.name}]`,
      () =>
        Effect.gen(function*() {
          const operationCount = yield* operationCountOf(form)
          const met = { making: 0, step: 0, release: 0, closing: 0 }
          totals.operations += operationCount
          for (const status of stickyStatuses) {
            for (const when of ["before", "after"] as const) {
              for (let index = 0; index < operationCount; index++) {
                const outcome = yield* meet(form, { index, status, when }).pipe(
                  Effect.catchAllDefect((defect) =>
                    Effect.die(
                      new Error(`status ${status} ${when} operation ${index}: ${String(defect)}`, {
                        cause: defect
                      })
                    )
                  )
                )
                met[outcome.met] += 1
                totals[outcome.met] += 1
                totals.cases += 1
                totals.furtherRuns += outcome.furtherRuns
              }
            }
          }
          // Each of the four places was tried.
          for (const [place, count] of Object.entries(met)) {
            assert.isAbove(count, 0, place)
          }
          assert.isAbove(operationCount, 40)
        }),
      120_000
    )
  }

  it("has tried every operation", () => {
    assert.strictEqual(totals.cases, totals.operations * stickyStatuses.length * 2)
    assert.strictEqual(totals.furtherRuns, (totals.step + totals.release) * furtherRunCount)
    console.log(
      `T18: ${totals.cases} cases over ${totals.operations} operations (${totals.making} while the runner was made, ` +
        `${totals.step} that failed a step, ${totals.release} at a release, ${totals.closing} while it closed), ` +
        `${totals.furtherRuns} further runs, 0 device calls`
    )
  })
})
