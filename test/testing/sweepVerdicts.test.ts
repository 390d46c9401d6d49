/** The oracle of the sweeps on trial: whatever is wrong is found, and called by its name; what is right is clean. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import { DeviceRunner, type HostApi } from "leasehold"
import { FaultSweep } from "leasehold/testing"
import { verdicts } from "../../src/internal/testing/verdicts.ts"
import { simulator } from "./programs/seam.ts"
import { addition, memory, withRunner } from "./programs/sweeps.ts"
import * as Wrong from "./programs/wrong.ts"

/** Options for programs without a runner, and for those with one: each as few cases as show what is wrong. */
const bare = {
  backend: simulator,
  layer: Layer.empty,
  patience: "20 millis",
  persistences: ["once"],
  interruptions: []
} as const
const small = { ...withRunner, persistences: ["once"], faults: ["error"], interruptions: [] } as const

interface Expected {
  readonly title: string
  readonly verdict: FaultSweep.Verdict
  readonly detail: RegExp
  readonly sweep: (only?: string) => Effect.Effect<FaultSweep.Report, unknown>
  /** The verdicts that come with it. */
  readonly others?: ReadonlyArray<FaultSweep.Verdict>
}

/** Sweeps a program, or replays one case of it. */
const sweepOf = <A, E, R, LE, BE>(
  program: Effect.Effect<A, E, R | HostApi.HostApi | Scope.Scope>,
  options: FaultSweep.Options<R, LE, BE>
) =>
(only?: string): Effect.Effect<FaultSweep.Report, unknown> => FaultSweep.run(program, { ...options, only })

const expectations: ReadonlyArray<Expected> = [
  {
    title: "a program that succeeds whatever happens",
    verdict: "Swallowed",
    detail: /^loadKernel failed with error, and the program succeeded$/,
    sweep: sweepOf(Wrong.swallowsFailures, small)
  },
  {
    title: "a runner that does not count a release that failed",
    verdict: "Swallowed",
    detail: /^free failed with error, and the runner did not count it$/,
    sweep: sweepOf(addition, { ...small, layer: Wrong.runnerThatCountsNoFailures })
  },
  {
    title: "a program that frees nothing",
    verdict: "Leaked",
    detail: /^still held when the program had ended: 64 B of device memory for tensor "weights" of run 0$/,
    sweep: sweepOf(Wrong.neverFrees, bare)
  },
  {
    title: "a program that leaks where it is interrupted, and nowhere else",
    verdict: "Leaked",
    detail: /^still held when the program had ended: 64 B of device memory for tensor "weights" of run 0$/,
    sweep: sweepOf(Wrong.freesUnlessInterrupted, { ...bare, forms: ["effects"], interruptions: ["every"] })
  },
  {
    title: "a program that forgets a scope, whose memory only the runner's end frees",
    verdict: "Leaked",
    detail: /^still held when the program had ended: 64 B of device memory for resident "uint8 \[64\]"/,
    sweep: sweepOf(Wrong.forgetsAResident, small)
  },
  {
    title: "a layer that frees nothing, under a program that does",
    verdict: "Leaked",
    detail: /^still held after everything has closed: 64 B of device memory for tensor "weights" of run 0$/,
    sweep: sweepOf(Effect.scoped(memory), { ...bare, layer: Layer.effectDiscard(Wrong.neverFrees) })
  },
  {
    title: "a program that frees twice",
    verdict: "DoubleReleased",
    detail: /^free for tensor \(weights\) releases what is not held any more$/,
    sweep: sweepOf(Wrong.freesTwice, bare)
  },
  {
    title: "a runner that ends a run twice",
    verdict: "EndedTwice",
    detail: /^3 runs have begun and 4 ended$/,
    sweep: sweepOf(addition, { ...small, layer: Wrong.runnerThatEndsTwice })
  },
  {
    title: "a runner that forgets to end a run",
    verdict: "NeverEnded",
    detail: /^3 runs have begun and 2 ended; 0 are active$/,
    sweep: sweepOf(addition, { ...small, layer: Wrong.runnerThatForgetsAnEnd })
  },
  {
    title: "a program that leaves a run open",
    verdict: "NeverEnded",
    detail: /^a run was active when the program had ended; its last operation was submit for stage \(a, b, .*of run 1$/,
    sweep: sweepOf(Wrong.neverEndsARun, small)
  },
  {
    title: "a program that copies into freed memory",
    verdict: "UsedAfterRelease",
    detail: /^submit for tensor \(weights\) names "weights", of which the device memory is not held$/,
    sweep: sweepOf(Wrong.usesAfterFree, bare)
  },
  {
    title: "a program that frees memory under a copy",
    verdict: "UsedAfterRelease",
    detail: /^free for tensor \(weights\) began while submit for tensor \(weights\) was in flight, which uses it$/,
    sweep: sweepOf(Wrong.freesUnderACopy, { ...bare, forms: ["delayed"] })
  },
  {
    title: "a program that fails although nothing is done to it",
    verdict: "FailsUndisturbed",
    detail: /^the undisturbed program failed: Error: a typing error$/,
    sweep: sweepOf(Effect.fail("a typing error"), bare)
  },
  {
    title: "a layer that cannot be built",
    verdict: "FailsUndisturbed",
    detail: /^the undisturbed program failed: InvalidConfiguration: /,
    sweep: sweepOf(addition, { ...small, layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: -1 } }) })
  },
  {
    title: "a program that asks a device that it has lost",
    verdict: "CalledAfterLoss",
    detail: /^memoryInfo for load was called on a device that is lost$/,
    sweep: sweepOf(Wrong.goesOnAfterALoss, { ...small, faults: ["deviceLost"], mayRecover: true })
  },
  {
    title: "a runner that calls itself poisoned and asks the device all the same",
    verdict: "CalledAfterLoss",
    detail: /^the runner refused a run with RunnerPoisoned, but called the device once for it$/,
    sweep: sweepOf(addition, { ...small, faults: ["hang"], layer: Wrong.runnerThatAsksTheDead })
  },
  {
    title: "a runner that is of no use after a failure, and has no reason",
    verdict: "NotReusable",
    detail: /^a run after the program was refused: WornOut: it is worn out$/,
    sweep: sweepOf(addition, { ...small, layer: Wrong.runnerThatWearsOut })
  },
  {
    title: "a runner that changes the outputs of runs that fail",
    verdict: "OutputsTouched",
    detail: /^run 0 has failed, and changed "c"$/,
    sweep: sweepOf(addition, { ...small, layer: Wrong.runnerThatTouchesOutputs })
  },
  {
    title: "a runner that makes up outputs",
    verdict: "ForeignBytes",
    detail: /^run 0 gave bytes that no undisturbed run gives$/,
    sweep: sweepOf(addition, { ...small, layer: Wrong.runnerThatMakesUpOutputs }),
    others: ["Swallowed"]
  },
  {
    title: "an invariant that does not hold",
    verdict: "InvariantBroken",
    detail: /^Error: the answer is not 42$/,
    sweep: sweepOf(addition, { ...small, invariant: Effect.fail(new Error("the answer is not 42")) })
  },
  {
    title: "a program that goes another way each time",
    verdict: "Nondeterministic",
    detail: /^the undisturbed program took another way each of 10 times$/,
    sweep: (only) => FaultSweep.run(Wrong.makeNondeterministic(), { ...bare, only })
  },
  {
    title: "a program that does not end",
    verdict: "Stuck",
    detail: /^the program did not end, and nothing was left to do$/,
    sweep: sweepOf(Wrong.waitsForEver, bare)
  },
  {
    title: "a program that goes on for ever",
    verdict: "Stuck",
    detail: /^the program did not end within 100000\d steps$/,
    sweep: sweepOf(Wrong.runsForEver, { ...bare, forms: ["effects"] })
  }
]

describe("a sweep finds", () => {
  for (const { detail, others = [], sweep, title, verdict } of expectations) {
    it.effect(`${title}: ${verdict}; and finds it again in the case that it names`, () =>
      Effect.gen(function*() {
        const { failures } = yield* sweep()
        assert.deepStrictEqual(failures.map(({ verdict }) => verdict).toSorted(), [verdict, ...others].toSorted())
        const failure = failures.find((failure) => failure.verdict === verdict)!
        assert.match(failure.detail, detail)
        assert.isAbove(failure.count, 0)
        assert.notMatch(failure.page, /0x[0-9a-f]{6,}/)
        assert.isTrue(failure.page.startsWith(`${verdict}: ${failure.detail}`), failure.page)
        assert.include(failure.page, `only: "${failure.case}"`)

        const replayed = yield* sweep(failure.case)
        const again = replayed.failures.find((failure) => failure.verdict === verdict)!
        assert.deepStrictEqual([again.verdict, again.detail], [failure.verdict, failure.detail])
        assert.deepStrictEqual([again.count, again.case], [1, failure.case])
        assert.isAtMost(replayed.faultCases + replayed.interruptCases + replayed.pairCases, 1)
      }))
  }

  it("every verdict that there is", () => {
    assert.deepStrictEqual(
      [...new Set(expectations.map(({ verdict }) => verdict))].toSorted(),
      [...verdicts].toSorted()
    )
  })
})

describe("a count", () => {
  it.effect("is of cases, however often one case goes wrong in the same way", () =>
    Effect.gen(function*() {
      // It is held when the program has ended, and when all has closed, in each of two forms.
      const report = yield* FaultSweep.run(Wrong.neverFrees, bare)
      assert.strictEqual(report.failures[0]!.count, 2)
      assert.include(FaultSweep.summary(report), ": Leaked 2 times")
      const once = yield* FaultSweep.run(Wrong.neverFrees, { ...bare, forms: ["effects"] })
      assert.include(FaultSweep.summary(once), ": Leaked 1 time")
      assert.notInclude(FaultSweep.summary(once), "1 times")
    }))
})
