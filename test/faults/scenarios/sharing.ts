/** Runs that share a runner: in slots of their own, on behalf of child budgets with a quota or a reservation. */
import { Effect, Fiber } from "effect"
import { DeviceRunner, type Run } from "leasehold"
import { add, addInline } from "../../utils/kernels.ts"
import { beside, joined } from "../beside.ts"
import { failIf, refusedByKernel } from "../failIf.ts"
import { type Scenario, stagingRunner } from "../scenario.ts"
import { expect, expectRefused, witnessed } from "../witness.ts"

const runnerOf = DeviceRunner.DeviceRunner
const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })
const pairOfLength = (length: number) => ({
  a: new Float32Array(length).fill(1),
  b: new Float32Array(length).fill(2),
  c: new Float32Array(length)
})

/** Of the budget, one run of `add` takes exactly this: three tensors of one alignment each. */
const addBytes = 3 * 64

const slicesOf = ({ leases }: Run.Run<unknown>) => leases.filter((lease) => lease._tag === "BufferNoop")

/** Whether no slice of one run overlaps a slice of another. */
const areApart = (one: Run.Run<unknown>, other: Run.Run<unknown>): boolean =>
  slicesOf(one).every((left) =>
    slicesOf(other).every((right) =>
      left.chunkIndex !== right.chunkIndex || left.offsetBytes + left.byteCount <= right.offsetBytes ||
      right.offsetBytes + right.byteCount <= left.offsetBytes
    )
  )

/** Two runs of different sizes are bound at once, and take turns. */
const twoAtOnce = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* Effect.scoped(Effect.gen(function*() {
    const first = yield* runner.bind(add, pairOf())
    const second = yield* runner.bind(add, pairOfLength(4))
    yield* expect(areApart(first, second), "two runs lie in the same place")
    yield* first.launch
    yield* second.launch
    yield* first.validate
    yield* second.validate
  }))
})

/** Two pairs of arguments whose sums differ. */
const differentPairs = () =>
  [pairOf(), { a: Float32Array.of(10, 20), b: Float32Array.of(30, 40), c: new Float32Array(2) }] as const

/** Each run has given its own sums. */
const haveTheirOwn = ([left, right]: ReturnType<typeof differentPairs>) =>
  expect(
    left.c[0] === 4 && left.c[1] === 6 && right.c[0] === 40 && right.c[1] === 60,
    "runs that shared a runner gave each other's bytes"
  )

/** Three runs are bound at once. The launch of one fails, and the others go on. */
const boundAtOnce = Effect.gen(function*() {
  const runner = yield* runnerOf
  const pairs = differentPairs()
  yield* Effect.scoped(Effect.gen(function*() {
    const first = yield* runner.bind(add, pairs[0])
    const second = yield* runner.bind(add, pairs[1])
    const failing = yield* runner.bind(failIf, { shall: 1, y: new Int32Array(2) })
    yield* expect(first.slot !== second.slot && second.slot !== failing.slot, "two runs have the same slot")
    yield* second.launch
    yield* refusedByKernel(failing.launch)
    yield* first.launch
    yield* first.validate
    yield* second.validate
  }))
  yield* haveTheirOwn(pairs)
})

/** Three runs go on beside each other, each call in a lane of its own; the launch of one fails. */
const besideEachOther = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.load(add)
  yield* runner.load(failIf)
  const pairs = differentPairs()
  const left = yield* beside(runner.run(add, pairs[0]))
  const failing = yield* beside(runner.run(failIf, { shall: 1, y: new Int32Array(2) }))
  const right = yield* beside(runner.run(add, pairs[1]))
  yield* refusedByKernel(Fiber.join(failing))
  yield* joined(left, right)
  yield* haveTheirOwn(pairs)
})

/** A child budget with a reservation is closed under a live run, which it refuses, and then for good. */
const closedUnderARun = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* Effect.scoped(Effect.gen(function*() {
    const budget = yield* runner.budget("tenant", { maxBytes: 512, reserveBytes: 512 })
    yield* Effect.scoped(Effect.gen(function*() {
      const run = yield* budget.bind(addInline, pairOf())
      const failure = yield* Effect.flip(budget.close)
      yield* expect(
        failure.inUseBytes === addBytes && failure.runs.length === 1,
        `${failure.inUseBytes} B of ${failure.runs.length} runs keep a child budget from closing`
      )
      // What is reserved is not to be had by others.
      yield* Effect.scoped(runner.budget("other", { reserveBytes: 512 })).pipe(
        Effect.matchEffect({
          onFailure: (error) => error._tag === "BudgetExhausted" ? Effect.void : Effect.fail(error),
          onSuccess: () => expect(false, "what was reserved was reserved again")
        })
      )
      yield* run.launch
      yield* run.validate
    }))
    yield* budget.run(addInline, pairOf())
    yield* budget.close
    const { reservedBytes } = (yield* runner.stats).temporaryBuffer
    yield* expect(reservedBytes === 0, `${reservedBytes} B are reserved for a child budget that has closed`)
  }))
  yield* Effect.scoped(Effect.flatMap(
    runner.budget("tenant", { reserveBytes: 512 }),
    (budget) => budget.run(addInline, pairOf())
  ))
})

/** A child budget has room for one small run at a time, however much the runner has. */
const quotaRefused = Effect.gen(function*() {
  const runner = yield* runnerOf
  const budget = yield* runner.budget("tenant", { maxBytes: addBytes })
  yield* expectRefused(budget.run(addInline, pairOfLength(256)), "Quota")
  yield* Effect.scoped(Effect.gen(function*() {
    yield* budget.bind(addInline, pairOf())
    yield* expectRefused(budget.run(addInline, pairOf()), "Quota")
    yield* runner.run(addInline, pairOf())
  }))
  yield* budget.run(addInline, pairOf())
  const { highWaterBytes, inUseBytes } = yield* budget.stats
  yield* expect(
    inUseBytes === 0 && highWaterBytes === addBytes,
    `a child budget counts ${inUseBytes} B in use, and at most ${highWaterBytes} B`
  )
})

export const sharingScenarios: ReadonlyArray<Scenario> = [
  witnessed({
    name: "two slots at once",
    forms: ["immediate", "delayed"],
    simulator: { lanes: "overlap" },
    runner: { slots: 2 },
    program: twoAtOnce
  }),
  witnessed({
    name: "bound at once, and one fails",
    runner: { slots: 3 },
    forms: ["effects"],
    // A device that lies gives bytes of nobody.
    faults: ["error", "outOfMemory", "deviceLost", "defect", "hang"],
    program: boundAtOnce
  }, stagingRunner),
  witnessed({
    name: "staged beside each other, and one fails",
    runner: { slots: 3 },
    // Where calls take their time those of all runs are under way at once.
    forms: ["delayed"],
    faults: ["error", "outOfMemory", "deviceLost", "defect", "hang"],
    program: besideEachOther
  }, stagingRunner),
  witnessed({
    name: "child budget closed under a run",
    runner: { slots: 2, temporaryBuffer: { maxBytes: 768 } },
    forms: ["immediate"],
    program: closedUnderARun
  }),
  witnessed({ name: "quota refused", runner: { slots: 2 }, forms: ["effects"], program: quotaRefused })
]
