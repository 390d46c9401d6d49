/** Runs that wait for their turn: behind others that fail, until they are not wanted any more, or until the runner closes. */
import { Effect, Fiber } from "effect"
import * as Scopes from "effect/Scope"
import { Arg, DeviceRunner, type RunnerOptions } from "leasehold"
import { addInline, native } from "../../utils/kernels.ts"
import { beside, joined, untilWaiting } from "../beside.ts"
import { failIfInline, refusedByKernel } from "../failIf.ts"
import { Closing, closingScenario, type Scenario } from "../scenario.ts"
import { expect, expectRefused, witnessed } from "../witness.ts"

const runnerOf = DeviceRunner.DeviceRunner
const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

const accumulate = native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite" }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
}, { execution: "inline" })

const waits: RunnerOptions.RunnerOptions = { admission: { wait: { maxQueueCount: 2 } } }

/** Two runs wait behind one whose launch fails, and come to their turn in the order in which they arrived. The first fails too. */
const twoQueued = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.load(failIfInline)
  yield* runner.load(addInline)
  const generations: Array<number> = []
  const fails = Effect.scoped(Effect.gen(function*() {
    const run = yield* runner.bind(failIfInline, { shall: 1, y: new Int32Array(2) })
    generations[0] = run.generation
    yield* refusedByKernel(run.launch)
  }))
  const succeeds = Effect.scoped(Effect.gen(function*() {
    const run = yield* runner.bind(addInline, pairOf())
    generations[1] = run.generation
    yield* run.launch
    yield* run.validate
  }))
  const outer = yield* Effect.scope
  const fibers = yield* Effect.scoped(Effect.gen(function*() {
    const run = yield* runner.bind(failIfInline, { shall: 1, y: new Int32Array(2) })
    const waiting = [yield* Scopes.extend(beside(fails), outer), yield* Scopes.extend(beside(succeeds), outer)]
    yield* untilWaiting(runner, 2)
    yield* refusedByKernel(run.launch)
    return waiting
  }))
  yield* joined(...fibers)
  yield* expect(generations[0]! < generations[1]!, "a later run has passed an earlier one")
})

/** A run that waits loses a race; the one behind it comes to its turn all the same. */
const racedAndLost = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.load(addInline)
  const outer = yield* Effect.scope
  const behind = yield* Effect.scoped(Effect.gen(function*() {
    yield* runner.bind(addInline, pairOf())
    const lost = yield* beside(Effect.raceFirst(runner.run(addInline, pairOf()), Effect.repeatN(Effect.yieldNow(), 3)))
    yield* untilWaiting(runner, 1)
    const next = yield* Scopes.extend(beside(runner.run(addInline, pairOf())), outer)
    yield* untilWaiting(runner, 2)
    yield* Fiber.join(lost)
    const { waiting } = (yield* runner.stats).runs
    yield* expect(waiting <= 1, "a run that lost its race waits for its turn")
    return next
  }))
  yield* Fiber.join(behind)
})

/** Those that wait are sent away when the runner closes. */
const closedWhileQueued = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.load(addInline)
  yield* runner.bind(addInline, pairOf())
  const fibers = [
    yield* beside(runner.run(addInline, pairOf())),
    yield* beside(runner.run(addInline, pairOf()))
  ]
  yield* untilWaiting(runner, 2)
  yield* yield* Closing
  for (const fiber of fibers) {
    const refusal = yield* Effect.flip(Fiber.join(fiber))
    yield* refusal._tag === "AdmissionRefused" && refusal.reason === "Draining" ? Effect.void : refusal
  }
})

/** The queue is full, and nobody gives the slot back before the deadline, which passes in virtual time. */
const deadlinePassed = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.load(addInline)
  yield* Effect.scoped(Effect.gen(function*() {
    yield* runner.bind(addInline, pairOf())
    const late = yield* beside(runner.run(addInline, pairOf()))
    yield* untilWaiting(runner, 1)
    yield* expectRefused(Fiber.join(yield* beside(runner.run(addInline, pairOf()))), "QueueFull")
    yield* expectRefused(Fiber.join(late), "Deadline")
  }))
  yield* runner.run(addInline, pairOf())
})

/** A fiber that holds the slot asks for another one, which it could only give to itself. */
const waitingForItself = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* Effect.scoped(Effect.gen(function*() {
    yield* runner.bind(addInline, pairOf())
    yield* expectRefused(runner.run(addInline, pairOf()), "WaitsForItself")
  }))
  yield* runner.run(addInline, pairOf())
})

/** While runs wait, the views of one are detached and the resident of another is closed. They are looked at again. */
const goneMeanwhile = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.load(accumulate)
  yield* runner.load(addInline)
  const scope = yield* Effect.acquireRelease(Scopes.make(), (opened, exit) => Scopes.close(opened, exit))
  const sum = yield* Scopes.extend(runner.allocate("float32", [2]), scope)
  const outer = yield* Effect.scope
  const detached = pairOf()
  const fibers = yield* Effect.scoped(Effect.gen(function*() {
    yield* runner.bind(addInline, pairOf())
    const waiting = [
      yield* Scopes.extend(beside(runner.run(addInline, detached)), outer),
      yield* Scopes.extend(
        beside(runner.run(accumulate, { sum, x: Float32Array.of(1, 2), y: new Float32Array(2) })),
        outer
      )
    ]
    yield* untilWaiting(runner, 2)
    structuredClone(detached.a, { transfer: [detached.a.buffer] })
    yield* Effect.uninterruptible(Scopes.close(scope, yield* Effect.exit(Effect.void)))
    return waiting
  }))
  for (const fiber of fibers) {
    const failure = yield* Effect.flip(Fiber.join(fiber))
    yield* failure._tag === "InvalidArgument" ? Effect.void : failure
  }
  yield* runner.run(addInline, pairOf())
})

/** Effect's own operators over several fibers do not end where they are interrupted at some of their own steps. */
const severalFibers = ["runner", "reachable"] as const

export const waitingScenarios: ReadonlyArray<Scenario> = [
  witnessed({ name: "two runs queued", forms: ["immediate", "delayed"], runner: waits, program: twoQueued }),
  witnessed({
    name: "raced and lost in the queue",
    runner: waits,
    interruptions: severalFibers,
    // Who loses a race fails unheard.
    mayRecover: true,
    program: racedAndLost
  }),
  closingScenario({
    name: "runner closed while queued",
    forms: ["immediate", "delayed"],
    runner: waits,
    program: closedWhileQueued
  }),
  witnessed({
    name: "a deadline passes in the queue",
    runner: { admission: { wait: { maxQueueCount: 1, deadline: "1 second" } } },
    forms: ["effects"],
    program: deadlinePassed
  }),
  witnessed({
    name: "a run that would wait for itself",
    runner: waits,
    forms: ["immediate"],
    program: waitingForItself
  }),
  witnessed({ name: "gone while it waited", runner: waits, forms: ["effects"], program: goneMeanwhile })
]
