/**
 * Operations that hang: each operation of a program in turn, before and after its effect, with an interrupt deadline and
 * without. With a deadline every run ends in time and its memory is left alone; without one, and where the deadline does
 * not reach, the interruption waits until the operation ends, and nothing is left over. Time is the tests' own.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope, TestClock, TestContext } from "effect"
import { DeviceRunner } from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import type { Form } from "../utils/forms.ts"
import { settle } from "../utils/gated.ts"
import { add, addInline } from "../utils/kernels.ts"
import { assertUsable, failsWith, vectors } from "../utils/programs.ts"
import { deviceOf, formNamed, operationCountOf, runnerOptions, scale, stepsOf } from "./steps.ts"

const deadlineMillis = 5000

/** Forms in which an operation can hang: plain functions cannot. Late, views go through staging and are collected. */
const hangingForms = [formNamed("effects"), formNamed("late")]

interface Case {
  readonly index: number
  readonly when: "before" | "after"
  readonly hasDeadline: boolean
}

/** Whether the interrupt deadline bounds the wait for an operation: a release, or a call of a run that has begun. */
const isBounded = ({ operation, purpose }: Ledger.InFlight): boolean =>
  ["free", "hostFree", "hostUnregister"].includes(operation) ||
  ["tensor", "stage", "launch", "copyBack", "read", "write"].includes(purpose)

const isDone = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean => fiber.unsafePoll() !== null

const operationCount = Effect.map(
  Effect.flatMap(Ledger.Ledger, (ledger) => ledger.snapshot),
  (snapshot) => snapshot.operationCount
)

/** Yields until an operation hangs, or the fiber has ended. Answers the operation that hangs. */
const hangOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
  Effect.gen(function*() {
    const injection = yield* FaultInjection.FaultInjection
    const ledger = yield* Ledger.Ledger
    yield* Effect.repeat(Effect.yieldNow(), {
      until: () => Effect.map(injection.hangingCount, (count) => count === 1 || isDone(fiber))
    })
    const { inFlight } = yield* ledger.snapshot
    assert.strictEqual(inFlight.length, yield* injection.hangingCount)
    return inFlight[0]
  })

/** Device memory that the ledger knows of, quarantined or not. */
const deviceBytesHeld = Effect.map(
  Effect.flatMap(Ledger.Ledger, (ledger) => ledger.snapshot),
  ({ allocations }) =>
    allocations.reduce((sum, { byteCount, memory }) => memory === "device" ? sum + byteCount : sum, 0)
)

/** The fiber does not end before the deadline, and ends with it. */
const assertEndsAtDeadline = (fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
  Effect.gen(function*() {
    yield* settle
    yield* TestClock.adjust(deadlineMillis - 1)
    yield* settle
    assert.isFalse(isDone(fiber), "it did not wait for the deadline")
    yield* TestClock.adjust(1)
    yield* settle
    assert.isTrue(isDone(fiber), "it has not ended by the deadline")
  })

/** The fiber does not end however late it is, and ends when the operation is let go. */
const assertEndsWithTheHang = (fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
  Effect.gen(function*() {
    const injection = yield* FaultInjection.FaultInjection
    yield* settle
    yield* TestClock.adjust("1 hour")
    yield* settle
    assert.isFalse(isDone(fiber), "it did not wait for the operation")
    yield* injection.releaseHangs
    yield* Fiber.await(fiber)
  })

/** A runner that gave an operation up says so, and refuses without asking the device. */
const assertGivenUp = (runner: DeviceRunner.Service) =>
  Effect.gen(function*() {
    const before = yield* operationCount
    const stats = yield* runner.stats
    assert.deepStrictEqual([stats.state, stats.runs.active, stats.runs.begun], ["poisoned", 0, stats.runs.ended])
    const args = vectors(4)
    for (
      const run of [runner.run(addInline, args), runner.run(add, args), runner.run(scale, { x: new Float32Array(1) })]
    ) {
      const error = yield* failsWith("RunnerPoisoned", run)
      assert.deepStrictEqual([error.reason, error.statusName], ["InterruptDeadline", "Timeout"])
    }
    assert.strictEqual(yield* operationCount, before)
  })

/** What a run without a budget holds is in quarantine as soon as it was given up. */
const assertQuarantined = (runner: DeviceRunner.Service) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger.Ledger
    const tensors = (yield* ledger.snapshot).allocations.filter(({ purpose }) => purpose === "tensor")
    const { quarantine } = yield* runner.stats
    assert.isAtLeast(quarantine.count, tensors.length)
    return tensors.length
  })

/** Everything is closed and nothing hangs any more: no call came after the one that hung, and no account is open. */
const assertLeftAlone = (runner: DeviceRunner.Service, hung: Ledger.InFlight, index: number) =>
  Effect.gen(function*() {
    const injection = yield* FaultInjection.FaultInjection
    const ledger = yield* Ledger.Ledger
    const before = yield* runner.stats
    assert.strictEqual(before.state, "closed")
    // Host memory whose release hung is in quarantine beside the device memory.
    const hostBytes = hung.operation === "hostFree" || hung.operation === "hostUnregister" ? before.quarantine.bytes : 0
    assert.isAtLeast(before.quarantine.bytes, yield* deviceBytesHeld)
    assert.isAtMost(before.quarantine.bytes, (yield* deviceBytesHeld) + hostBytes)
    yield* injection.releaseHangs
    yield* settle
    const { breaches, inFlight, operationCount } = yield* ledger.snapshot
    assert.deepStrictEqual([operationCount, inFlight, breaches], [index + 1, [], []])
    if (hung.operation === "malloc") {
      // The address came when nobody waited for it any more.
      const { quarantine } = yield* runner.stats
      assert.isAbove(quarantine.bytes, before.quarantine.bytes)
      assert.strictEqual(quarantine.bytes, yield* deviceBytesHeld)
    }
  })

/** The program with one operation that hangs. Answers what became of it. */
const hang = (form: Form, { hasDeadline, index, when }: Case) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger.Ledger
    const scope = yield* Scope.make()
    const interruptDeadline = hasDeadline ? deadlineMillis : undefined
    let runner: DeviceRunner.Service | undefined
    const working = yield* Effect.fork(Effect.gen(function*() {
      runner = yield* Scope.extend(DeviceRunner.make({ ...runnerOptions, interruptDeadline }), scope)
      yield* Effect.forEach(stepsOf(runner), (step) => Scope.extend(step.effect, scope), { discard: true })
    }))
    const close = Effect.fork(Scope.close(scope, Exit.void))
    const hungWorking = yield* hangOf(working)
    const closing = hungWorking === undefined ? yield* close : undefined
    const hung = hungWorking ?? (yield* hangOf(closing!))!
    if (closing === undefined) {
      yield* Fiber.interruptFork(working)
    }
    const stateBefore = runner === undefined ? undefined : (yield* runner.stats).state
    if (hasDeadline && isBounded(hung)) {
      assert.isDefined(runner)
      yield* assertEndsAtDeadline(closing ?? working)
      let quarantinedTensors = 0
      if (closing === undefined) {
        assert.isTrue(Exit.isInterrupted(yield* Fiber.await(working)))
        yield* assertGivenUp(runner)
        quarantinedTensors = yield* assertQuarantined(runner)
        const closingPoisoned = yield* close
        yield* settle
        assert.isTrue(isDone(closingPoisoned), "a poisoned runner closes at once")
      }
      yield* assertLeftAlone(runner, hung, index)
      return { met: "expired" as const, closing: closing !== undefined, quarantinedTensors }
    }
    yield* assertEndsWithTheHang(closing ?? working)
    if (closing === undefined) {
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(working)))
      if (runner !== undefined) {
        assert.strictEqual((yield* runner.stats).state, "ready", `it was ${stateBefore}`)
        yield* Effect.provideService(assertUsable, DeviceRunner.DeviceRunner, runner)
      }
      yield* Fiber.await(yield* close)
    }
    yield* ledger.assertEmpty
    const met = hasDeadline ? "unbounded" as const : "waited" as const
    return { met, closing: closing !== undefined, quarantinedTensors: 0 }
  }).pipe(Effect.provide(deviceOf(form, [{ where: { index }, fault: FaultInjection.hang, when }])))

describe("operations that hang", () => {
  const totals = { cases: 0, expired: 0, unbounded: 0, waited: 0, closing: 0, quarantinedTensors: 0 }

  for (const form of hangingForms) {
    for (const hasDeadline of [true, false]) {
      const name = hasDeadline
        ? "a run ends with its deadline, and what the deadline does not bound waits"
        : "without a deadline an interruption waits, and nothing is left over"
      it.effect(`${name} [${form.name}]`, () =>
        Effect.gen(function*() {
          const count = yield* operationCountOf(form)
          const met = { expired: 0, unbounded: 0, waited: 0 }
          const cases = (["before", "after"] as const).flatMap((when) =>
            Array.from({ length: count }, (_, index): Case => ({ index, when, hasDeadline }))
          )
          // Each has a device and a clock of its own, so that their waits for the clock overlap.
          yield* Effect.forEach(cases, (one) =>
            hang(form, one).pipe(
              Effect.provide(TestContext.TestContext),
              Effect.catchAllDefect((defect) =>
                Effect.die(new Error(`hang ${one.when} operation ${one.index}: ${String(defect)}`, { cause: defect }))
              ),
              Effect.map((outcome) => {
                met[outcome.met] += 1
                totals[outcome.met] += 1
                totals.cases += 1
                totals.closing += outcome.closing ? 1 : 0
                totals.quarantinedTensors += outcome.quarantinedTensors
              })
            ), { concurrency: 16, discard: true })
          assert.isAbove(count, 40)
          assert.deepStrictEqual(
            [met.expired > 0, met.unbounded > 0, met.waited],
            hasDeadline ? [true, true, 0] : [false, false, 2 * count]
          )
        }), 120_000)
    }
  }

  it("has quarantined the memory of runs that were given up", () => {
    assert.isAbove(totals.quarantinedTensors, 0)
    assert.isAbove(totals.closing, 0)
    console.log(
      `T17: ${totals.cases} operations that hung (${totals.closing} while the runner closed): ${totals.expired} were ` +
        `given up at the deadline, ${totals.unbounded} are not bounded by it, ${totals.waited} without one; ` +
        `${totals.quarantinedTensors} tensors in quarantine`
    )
  })
})
