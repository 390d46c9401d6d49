/** Runs inside programs: scopes, races, timeouts, failures of the user's own, and runners that close early. */
import { Data, Effect } from "effect"
import { Arg, Callable, DeviceRunner } from "leasehold"
import { add, addInline } from "../../utils/kernels.ts"
import { failIfInline, refusedByKernel } from "../failIf.ts"
import { Closing, closingScenario, scenario } from "../scenario.ts"

const runnerOf = DeviceRunner.DeviceRunner
const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

class OutputRejected extends Data.TaggedError("OutputRejected")<{ readonly value: number }> {}

const throwing = Callable.make({
  signature: { y: Arg.output("int32", [2]) },
  launch: () =>
    Effect.sync(() => {
      throw new Error("a mistake in a launch")
    })
})

/** Effect's own operators over several fibers do not end where they are interrupted at some of their own steps. */
const severalFibers = ["runner", "reachable"] as const

export const programScenarios = [
  scenario({
    name: "first run fails, second does not",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* refusedByKernel(runner.run(failIfInline, { shall: 1, y: new Int32Array(2) }))
      yield* runner.run(failIfInline, { shall: 0, y: new Int32Array(2) })
    })
  }),
  scenario({
    name: "nested scopes",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* Effect.scoped(Effect.gen(function*() {
        const resident = yield* runner.allocate("float32", [2])
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(addInline, pairOf())
          yield* run.launch
          yield* run.validate
        }))
        yield* resident.upload(Float32Array.of(1, 2))
      }))
    })
  }),
  scenario({
    name: "bound and left",
    delayed: true,
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* Effect.scoped(runner.bind(add, pairOf()))
      yield* Effect.scoped(Effect.flatMap(runner.bind(addInline, pairOf()), (run) => run.launch))
    })
  }),
  scenario({
    name: "runs inside Effect.all",
    program: Effect.flatMap(
      runnerOf,
      (runner) => Effect.all([runner.run(addInline, pairOf()), runner.run(add, pairOf())], { concurrency: 1 })
    )
  }),
  scenario({
    name: "run and resident side by side",
    delayed: true,
    interruptions: severalFibers,
    program: Effect.flatMap(
      runnerOf,
      (runner) => Effect.all([runner.run(add, pairOf()), runner.allocate("uint8", [8])], { concurrency: "unbounded" })
    )
  }),
  scenario({
    name: "raced and lost",
    interruptions: severalFibers,
    // Who loses a race fails unheard. Nor does a race that is interrupted wait for its fibers: with calls that take their
    // time the run would still be active when the program has ended, and the sweep would say so.
    mayRecover: true,
    program: Effect.flatMap(runnerOf, (runner) => Effect.raceFirst(Effect.yieldNow(), runner.run(add, pairOf())))
  }),
  scenario({
    name: "run with a timeout",
    delayed: true,
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* Effect.timeout(runner.run(add, pairOf()), "5 seconds")
    })
  }),
  scenario({
    name: "validator rejects the output",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      const args = pairOf()
      const checked = Effect.scoped(Effect.gen(function*() {
        const run = yield* runner.bind(addInline, args)
        yield* run.launch
        yield* run.validate
        return yield* new OutputRejected({ value: args.c[0]! })
      }))
      yield* Effect.catchTag(checked, "OutputRejected", () => Effect.void)
    })
  }),
  scenario({
    name: "user code throws in a callback",
    mayFail: true,
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.run(throwing, { y: new Int32Array(2) })
    })
  }),
  closingScenario({
    name: "runner closed while running",
    delayed: true,
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      const run = yield* runner.bind(addInline, pairOf())
      yield* yield* Closing
      yield* Effect.flip(run.launch)
    })
  }),
  closingScenario({
    name: "close twice",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      const close = yield* Closing
      yield* runner.run(addInline, pairOf())
      yield* close
      yield* close
    })
  })
]
