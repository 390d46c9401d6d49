/** Rows 62 to 67: what the user's own code does, releases that fail, and what a queue or a tenant would be refused. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Fiber, TestClock } from "effect"
import { Callable, type DeviceRunner, HostApi } from "leasehold"
import { nextTurn } from "../utils/garbage.ts"
import { gate, kernelRuns, settle, withGate } from "../utils/gated.ts"
import { add, addSignature, openGate } from "../utils/kernels.ts"
import { failsWith, vectors } from "../utils/programs.ts"
import { answered, type Bench, failsAs, type Needs, refused, type Row } from "./row.ts"

/** Tries something while another fiber holds the one slot, and looks that it reaches no device. */
const whileHeld = (
  { ledger, runner }: Bench,
  attempts: (runner: DeviceRunner.Service) => ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }, Needs>>
): Effect.Effect<void, { readonly _tag: string }, Needs> =>
  Effect.gen(function*() {
    const holder = yield* Effect.forkDaemon(Effect.scoped(Effect.zipRight(runner.bind(add, vectors(4)), Effect.never)))
    yield* Effect.repeat(Effect.zipRight(Effect.yieldNow(), runner.stats), { until: ({ runs }) => runs.active === 1 })
    yield* settle
    const before = yield* ledger.snapshot
    for (const attempt of attempts(runner)) {
      yield* attempt
    }
    assert.deepStrictEqual(yield* ledger.snapshot, before)
    yield* Fiber.interrupt(holder)
  })

export const rowsOfPrograms: ReadonlyArray<Row> = [
  {
    number: 62,
    input: "an output that is NaN where it should be finite, or of the wrong length",
    doesNotApply: "contents are not judged, and lengths are checked before the run",
    entries: []
  },
  {
    number: 63,
    input: "a validator of contents that throws, answers no boolean, or never ends",
    doesNotApply: "there are no validators of contents",
    entries: []
  },
  {
    number: 64,
    input: "a launch of the user's that throws an error, or anything else",
    entries: [
      answered("Callable.make", "kept as a defect", ({ ledger, runner }) =>
        Effect.gen(function*() {
          const before = (yield* ledger.snapshot).allocations
          for (const thrown of [new Error("broken"), "text", undefined, null, 0]) {
            for (
              const launch of [
                (): Effect.Effect<void> => {
                  // oxlint-disable-next-line no-throw-literal -- whatever a user may throw
                  throw thrown
                },
                (): Effect.Effect<void> => Effect.die(thrown)
              ]
            ) {
              const exit = yield* Effect.exit(
                runner.run(Callable.make({ signature: addSignature, launch }), vectors(4))
              )
              assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die" && exit.cause.defect === thrown)
            }
          }
          const { runs } = yield* runner.stats
          assert.deepStrictEqual([runs.begun, runs.ended, runs.failed], [10, 10, 10])
          assert.deepStrictEqual((yield* ledger.snapshot).allocations, before)
        }))
    ]
  },
  {
    number: 65,
    input: "a release that fails, or cannot be waited for",
    options: { temporaryBuffer: { maxBytes: 0 }, interruptDeadline: "5 seconds" },
    entries: [
      answered(
        "an interrupted run whose kernel never ends, so that nothing can be released",
        "RunnerPoisoned: InterruptDeadline",
        ({ ledger, probe, runner }) =>
          withGate(Effect.gen(function*() {
            yield* runner.load(gate)
            const running = yield* Effect.fork(runner.run(gate, vectors(4)))
            yield* kernelRuns
            const interruption = yield* Effect.fork(Fiber.interrupt(running))
            yield* settle
            yield* TestClock.adjust("5 seconds")
            yield* Fiber.await(interruption)
            yield* failsAs("RunnerPoisoned: InterruptDeadline", runner.run(add, vectors(4)))
            assert.strictEqual((yield* runner.stats).quarantine.count, 3)
            assert.isEmpty(probe.calls.filter(({ operation }) => operation === "free"))
            openGate()
            yield* Effect.repeat(Effect.zipRight(nextTurn, ledger.snapshot), {
              until: ({ inFlight }) => inFlight.length === 0
            })
          })),
        true
      ),
      answered(
        "the end of a run",
        "no error: the outcome stays, and the bytes are in quarantine",
        ({ ledger, probe, runner }) =>
          Effect.gen(function*() {
            const args = vectors(4)
            probe.fail({ operation: "free", status: HostApi.Status.InvalidArgument })
            yield* runner.run(add, args)
            assert.deepStrictEqual([...args.c], [1, 3, 5, 7])
            const { quarantine } = yield* runner.stats
            assert.deepStrictEqual([quarantine.bytes, (yield* ledger.snapshot).quarantinedBytes], [16, 16])
          })
      ),
      answered(
        "the end of a run that failed",
        "no error of its own: the first one stays",
        ({ probe, runner }) =>
          Effect.gen(function*() {
            yield* runner.load(add)
            probe.fail({ operation: "launch", status: HostApi.Status.LaunchFailed })
            probe.fail({ operation: "free", status: HostApi.Status.InvalidArgument, times: 3 })
            const error = yield* failsWith("LaunchFailed", runner.run(add, vectors(4)))
            assert.strictEqual(error.reason, "Kernel")
            assert.strictEqual((yield* runner.stats).quarantine.bytes, 48)
          })
      )
    ]
  },
  {
    number: 66,
    input: "a run for which the queue has no room",
    options: { admission: { wait: { maxQueueCount: 0 } } },
    entries: [
      answered("run, bind", "AdmissionRefused: QueueFull", (bench) =>
        whileHeld(bench, (runner) => [
          failsAs("AdmissionRefused: QueueFull", runner.run(add, vectors(4))),
          failsAs("AdmissionRefused: QueueFull", runner.bind(add, vectors(4)))
        ]))
    ]
  },
  {
    number: 67,
    input: "a tenant above its quota",
    entries: [
      refused(
        "run, bind of a child budget",
        "AdmissionRefused: Quota",
        ({ runner }) =>
          Effect.gen(function*() {
            const tenant = yield* runner.budget("tenant", { maxBytes: 256 })
            yield* runner.load(add)
            return [tenant.run(add, vectors(256)), tenant.bind(add, vectors(256))]
          })
      )
    ]
  }
]
