/** Sweeps: what they try, what they count, what they say, and what each option changes. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Console, Effect, Exit, Layer } from "effect"
import { DeviceRunner, Errors, HostApi, Simulator } from "leasehold"
import { FaultSweep } from "leasehold/testing"
import { originOf, simulator } from "./programs/seam.ts"
import { addition, memory, verdictsOf, withRunner } from "./programs/sweeps.ts"
import * as Wrong from "./programs/wrong.ts"

const allForms = ["immediate", "effects", "delayed"] as const

/** Options for programs that use nothing but a `HostApi`. */
const bare = { backend: simulator, layer: Layer.empty, patience: "20 millis" } as const

/** One form, no interruptions, each fault once: few cases. */
const few = { forms: ["effects"], persistences: ["once"], interruptions: [] } as const

/** Memory that is held by a scope of the program. */
const borrowed = Effect.scoped(Effect.asVoid(memory))

/** What an effect writes to the standard error stream. */
const complained = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<readonly [A, ReadonlyArray<string>], E, R> =>
  Effect.suspend(() => {
    const messages: Array<string> = []
    const error = (...words: ReadonlyArray<unknown>) => Effect.sync(() => void messages.push(words.join(" ")))
    return Console.consoleWith((console) =>
      Effect.map(Effect.withConsole(effect, { ...console, error }), (value) => [value, messages] as const)
    )
  })

/** A sample of the cases of a program. */
const limited = (seed: number, maxCaseCount: number) =>
  FaultSweep.run(borrowed, { ...bare, forms: ["effects"], seed, maxCaseCount })

/** The first case of a sample in which a program is found to leak. */
const firstFound = (seed: number) =>
  Effect.map(
    FaultSweep.run(Wrong.freesUnlessInterrupted, {
      ...bare,
      forms: ["effects"],
      faults: [],
      maxCaseCount: 60,
      seed
    }),
    ({ failures }) => failures[0]?.case
  )

/** The same again and again. */
const repeated = (count: number) => Effect.repeatN(Effect.scoped(Wrong.freesUnlessInterrupted), count - 1)

/** The step at which the first failure of a report is interrupted. */
const step = ({ failures }: FaultSweep.Report): number => Number(/step=(\d+)/.exec(failures[0]!.case)?.[1])

/** How many cases of each sort are tried in a replay. */
const replayed = (only: string) =>
  Effect.map(
    FaultSweep.run(borrowed, { ...bare, only }),
    ({ faultCases, interruptCases, pairCases }) => [faultCases, interruptCases, pairCases]
  )

type Changes = Partial<FaultSweep.Options<never, never, never>>

/** How many operations are counted over all forms. */
const operations = (options: Changes, backend = simulator) =>
  Effect.map(
    FaultSweep.run(borrowed, { ...bare, ...few, forms: undefined, ...options, backend }),
    (report) => report.operations
  )

/** How many faults, interruptions and pairs are tried. */
const counts = (options: Changes) =>
  Effect.map(
    FaultSweep.run(borrowed, { ...bare, ...few, ...options }),
    ({ faultCases, interruptCases, pairCases }) => [faultCases, interruptCases, pairCases] as const
  )

/** What is found out about a program that leaks between two steps. */
const sweepLeak = (mode: "every" | "reachable") =>
  Effect.map(
    FaultSweep.run(Wrong.freesUnlessInterrupted, { ...bare, ...few, faults: [], interruptions: [mode] }),
    verdictsOf
  )

describe("a program that is right", () => {
  it.effect("is clean in all forms, whatever fails, once, always or every other time", () =>
    Effect.gen(function*() {
      const report = yield* FaultSweep.assertClean(addition, {
        ...withRunner,
        name: "addition",
        forms: allForms,
        persistences: ["once", "always", "everyOther"],
        interruptions: ["reachable"]
      })
      assert.strictEqual(report.coveredCount, report.pointCount, "whatever was armed has fired")
      assert.strictEqual(report.pointCount, report.faultCases + report.interruptCases)
      assert.strictEqual(report.operations, 3 * 7)
      assert.deepStrictEqual([...report.operationKinds], ["free", "launch", "loadKernel", "malloc", "submit"])
      assert.includeMembers([...report.errorTags], ["DeviceOutOfMemory", "LaunchFailed", "TransferFailed"])
      assert.strictEqual(
        FaultSweep.render(report),
        `addition: 21 operations, ${report.faultCases} faults, ${report.interruptCases} interruptions: clean`
      )
    }))

  it.effect("may need nothing but a host API, and is interrupted at every step", () =>
    Effect.gen(function*() {
      const report = yield* FaultSweep.assertClean(borrowed, { ...bare, forms: allForms })
      assert.strictEqual(report.coveredCount, report.pointCount)
      assert.isAbove(report.interruptCases, 1000)
      assert.isAtLeast(report.interruptCases, report.steps)
      assert.match(
        FaultSweep.summary(report),
        /^6 operations, 1\d\d faults, 1,\d\d\d interruptions: clean$/
      )
    }))

  it.effect("may do nothing at all", () =>
    Effect.gen(function*() {
      const report = yield* FaultSweep.assertClean(Effect.void, bare)
      assert.strictEqual(report.operations, 0)
      assert.strictEqual(report.faultCases, 0)
      assert.isAbove(report.interruptCases, 0)
      assert.match(FaultSweep.summary(report), /^0 operations, 0 faults, \d+ interruptions: clean$/)
    }))

  it.effect("is swept in the forms that its backend has, or that are asked for", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* operations({}), 2 * 2)
      assert.strictEqual(yield* operations({ forms: ["delayed"] }), 2)
      assert.strictEqual(yield* operations({ forms: allForms }), 3 * 2)
      assert.strictEqual(yield* operations({}, Simulator.layer({ completion: "late" })), 2)
    }))
})

describe("what is tried", () => {
  it.effect("is each kind of fault at each operation, before and after it, once and always", () =>
    Effect.gen(function*() {
      const faultsOf = (faults: ReadonlyArray<FaultSweep.FaultKind>) =>
        Effect.map(counts({ faults }), ([count]) => count)
      // One malloc and one free, before and after.
      assert.strictEqual(yield* faultsOf(["error"]), 4)
      assert.strictEqual(yield* faultsOf(["error", "deviceLost", "defect", "outOfMemory", "hang"]), 5 * 4)
      // An allocation can be half done and a release be left out.
      assert.strictEqual(yield* faultsOf(["lie"]), 2)
      assert.strictEqual((yield* counts({ persistences: ["once", "always"] }))[0], 2 * 22)
      // A plain function cannot hang.
      assert.strictEqual((yield* counts({ forms: ["immediate"], faults: ["hang"] }))[0], 0)
    }))

  it.effect("is every step, or only those at which a fiber waits or yields anyway", () =>
    Effect.gen(function*() {
      const [, every] = yield* counts({ interruptions: ["every"], faults: [] })
      const [, reachable] = yield* counts({ interruptions: ["reachable"], faults: [] })
      const [, both] = yield* counts({ interruptions: ["every", "reachable"], faults: [] })
      assert.isAbove(every, 100)
      assert.isTrue(reachable > 0 && reachable < every / 10, `${reachable} of ${every}`)
      assert.strictEqual(both, every + reachable)
    }))

  it.effect("finds in the steps what it does not find in the places where fibers wait", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* sweepLeak("every"), ["Leaked"])
      assert.deepStrictEqual(yield* sweepLeak("reachable"), [])
    }))

  it.effect("is pairs of faults, or of a fault and an interruption, where a share of them is asked for", () =>
    Effect.gen(function*() {
      const twice = Effect.zipRight(memory, Effect.asVoid(memory))
      const pairs = (options: Changes) =>
        Effect.map(FaultSweep.run(Effect.scoped(twice), { ...bare, ...few, ...options }), (report) => {
          assert.deepStrictEqual(verdictsOf(report), [])
          return report.pairCases
        })
      assert.strictEqual(yield* pairs({}), 0)
      // Two allocations and two releases, each failing in three ways before and after its effect. After a second allocation
      // that fails there is one release to fail, and after the first of two releases another.
      assert.strictEqual(yield* pairs({ faultPairs: 1 }), 2 * 6 * 6)
      const half = yield* pairs({ faultPairs: 0.5 })
      assert.isTrue(half > 18 && half < 54, `${half} of 72`)
      assert.strictEqual(yield* pairs({ faultPairs: 0.5 }), half, "the same seed draws the same share")
      const interrupting = { interruptedFaults: 0.05, faults: ["error"], interruptions: ["every"] } as const
      const interrupted = yield* pairs(interrupting)
      assert.isTrue(interrupted > 20 && interrupted < 1000, `${interrupted}`)
      assert.strictEqual(yield* pairs(interrupting), interrupted)
      assert.strictEqual(yield* pairs({ ...interrupting, interruptions: [] }), 0)
    }))

  it.effect("is told with the pairs, where there are any", () =>
    Effect.gen(function*() {
      const report = yield* FaultSweep.run(borrowed, {
        ...bare,
        ...few,
        faults: ["error"],
        interruptions: ["reachable"],
        interruptedFaults: 1
      })
      assert.include(FaultSweep.summary(report), ` pair${report.pairCases === 1 ? "" : "s"}: clean`)
    }))
})

describe("what proves nothing", () => {
  it.effect("is refused: no forms, no cases, no faults and no interruptions, shares that are none", () =>
    Effect.gen(function*() {
      const nothing: ReadonlyArray<Changes> = [
        { forms: [] },
        { maxCaseCount: 0 },
        { maxCaseCount: Number.NaN },
        { faults: [], interruptions: [] },
        { persistences: [], interruptions: [] },
        { interruptedFaults: Number.NaN },
        { faultPairs: 2 }
      ]
      for (const options of nothing) {
        const exit = yield* Effect.exit(FaultSweep.assertClean(borrowed, { ...bare, ...few, ...options }))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause), JSON.stringify(options))
      }
    }))

  it.effect("is a replay whose step or operation does not come any more", () =>
    Effect.gen(function*() {
      for (
        const only of [
          "effects step=5000,root,every",
          "effects step=600,root,reachable",
          "effects operation=0,malloc,error,before,once step=5000,root,every",
          "effects operation=0,submit,error,before,once"
        ]
      ) {
        assert.deepStrictEqual(
          verdictsOf(yield* FaultSweep.run(borrowed, { ...bare, only })),
          ["Nondeterministic"],
          only
        )
      }
    }))
})

describe("above a limit", () => {
  it.effect("a sample is tried, the same one for the same seed, of faults and of interruptions", () =>
    Effect.gen(function*() {
      const first = yield* limited(3, 60)
      const again = yield* limited(3, 60)
      assert.deepStrictEqual(again, first)
      assert.isAbove(first.faultCases, 0)
      assert.isAbove(first.interruptCases, 0)
      assert.strictEqual(first.coveredCount, first.faultCases + first.interruptCases)
      assert.isAbove(first.pointCount, 400)
      assert.isAtMost(first.coveredCount, 60)
      assert.isAtLeast(first.coveredCount, 58)
      const others = yield* Effect.forEach([4, 5, 6], (seed) => limited(seed, 60))
      for (const other of others) {
        assert.isAtMost(other.coveredCount, 60)
      }
      const found = yield* Effect.forEach([3, 3, 4, 5, 6], firstFound)
      assert.strictEqual(found[0], found[1])
      assert.isAbove(new Set(found).size, 1, "another seed, another sample")
    }))

  it.effect("it is said before how many of how many are tried, and about how long it takes", () =>
    Effect.gen(function*() {
      const [report, messages] = yield* complained(limited(3, 60))
      assert.lengthOf(messages, 1)
      assert.match(messages[0]!, new RegExp(`^sweeping 60 cases, a sample of ${report.pointCount}, about \\d+ s$`))
      // What is short and whole says nothing.
      assert.deepStrictEqual((yield* complained(FaultSweep.run(borrowed, { ...bare, ...few })))[1], [])
    }))
})

describe("options", () => {
  it.effect("an invariant is asked after each case, while the layer still stands", () =>
    Effect.gen(function*() {
      let count = 0
      const invariant = Effect.flatMap(DeviceRunner.DeviceRunner, ({ stats }) =>
        Effect.map(stats, ({ state }) => {
          count += 1
          assert.notStrictEqual(state, "closed")
        }))
      const report = yield* FaultSweep.assertClean(addition, {
        ...withRunner,
        ...few,
        faults: ["error", "deviceLost"],
        invariant
      })
      // A few cases end before there is a runner.
      assert.isAbove(count, report.faultCases / 2)
    }))

  it.effect("an invariant that breaks under a fault names the case", () =>
    Effect.gen(function*() {
      const invariant = Effect.flatMap(DeviceRunner.DeviceRunner, ({ stats }) =>
        Effect.flatMap(stats, ({ runs }) =>
          runs.failed === 0 ? Effect.void : Effect.fail(new Error("a run has failed"))))
      const { failures } = yield* FaultSweep.run(addition, { ...withRunner, ...few, faults: ["error"], invariant })
      assert.deepStrictEqual(failures.map(({ detail, verdict }) => [verdict, detail]), [
        ["InvariantBroken", "Error: a run has failed"]
      ])
      assert.match(failures[0]!.case, /^effects operation=\d+,\w+,error,before,once$/)
    }))

  it.effect("a program that may recover swallows nothing", () =>
    Effect.gen(function*() {
      const twice = Effect.retry(addition, { times: 1 })
      const sweep = (mayRecover: boolean) =>
        Effect.map(FaultSweep.run(twice, { ...withRunner, ...few, faults: ["error"], mayRecover }), verdictsOf)
      assert.deepStrictEqual(yield* sweep(false), ["Swallowed"])
      assert.deepStrictEqual(yield* sweep(true), [])
    }))

  it.effect("a device is opened once for all cases, and each finds it empty", () =>
    Effect.gen(function*() {
      let openCount = 0
      const counted = Layer.tap(simulator, () => Effect.sync(() => (openCount += 1)))
      const empty = Effect.flatMap(HostApi.HostApi, (api) =>
        Effect.flatMap(api.memoryInfo, ({ freeBytes, totalBytes }) =>
          freeBytes === totalBytes ? Effect.void : Effect.dieMessage(`${totalBytes - freeBytes} B are held`)))
      const program = Effect.zipRight(Effect.zipRight(empty, Wrong.neverFrees), Effect.fail("over"))
      const report = yield* FaultSweep.run(program, { ...bare, ...few, backend: counted, mayFail: true })
      assert.strictEqual(openCount, 1)
      assert.deepStrictEqual(verdictsOf(report), ["Leaked"])
      assert.include(report.failures[0]!.page, "ended:      it failed: Error: over")
    }))

  it.effect("a failure is looked for again in smaller programs, and shown in the first that has it", () =>
    Effect.gen(function*() {
      const options = { ...bare, ...few, faults: [], interruptions: ["every"] } as const
      const large = yield* FaultSweep.run(repeated(3), options)
      const shrunk = yield* FaultSweep.run(repeated(3), { ...options, smaller: [borrowed, repeated(1), repeated(2)] })
      assert.strictEqual(shrunk.failures[0]!.count, large.failures[0]!.count)
      assert.isBelow(step(shrunk), step(large) + 1)
      assert.include(large.failures[0]!.page, "assertClean(program, {")
      assert.include(shrunk.failures[0]!.page, "assertClean(smaller[1], {")
      const replayed = yield* FaultSweep.run(repeated(1), { ...options, only: shrunk.failures[0]!.case })
      assert.deepStrictEqual(verdictsOf(replayed), ["Leaked"])
    }))
})

describe("what fails before it is a sweep", () => {
  it.effect("a backend that cannot be opened fails as it does", () =>
    Effect.gen(function*() {
      const backend = Simulator.layer({ libraryPath: "/nowhere/lib.so" })
      const error = yield* Effect.flip(FaultSweep.run(borrowed, { ...bare, backend }))
      assert.instanceOf(error, Errors.BackendUnavailable)
    }))

  it.effect("a case that is none is refused by its text", () =>
    Effect.gen(function*() {
      for (const only of ["", "sideways", "effects operation=1", "effects step=-1,root,every", "effects step=1,root"]) {
        const exit = yield* Effect.exit(FaultSweep.run(borrowed, { ...bare, only }))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        assert.include(String(exit), `\\"${only}\\" is not a case as a report names it`)
      }
    }))
})

describe("a replay", () => {
  it.effect("tries the one case that is named, and nothing else", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* replayed("effects operation=0,malloc,error,before,once"), [1, 0, 0])
      assert.deepStrictEqual(yield* replayed("immediate step=100,root,every"), [0, 1, 0])
      assert.deepStrictEqual(yield* replayed("effects operation=0,malloc,error,before,once step=100,root,every"), [
        0,
        0,
        1
      ])
    }))

  it.effect("gives the same page as the sweep that named it", () =>
    Effect.gen(function*() {
      const options = { ...bare, forms: ["effects"] } as const
      const swept = yield* FaultSweep.run(Wrong.freesUnlessInterrupted, { ...options, name: "a program", seed: 5 })
      const [failure] = swept.failures
      const again = yield* FaultSweep.run(Wrong.freesUnlessInterrupted, {
        ...options,
        name: "a program",
        seed: 5,
        only: failure!.case
      })
      assert.strictEqual(again.failures[0]!.page, failure!.page.replace(/ \(and \d+ other cases? alike\)/, ""))
    }))
})

describe("a page", () => {
  it.effect("says verdict, program, seed, case, ending, account, and the line that replays it", () =>
    Effect.gen(function*() {
      const leaksAfterAFault = Effect.gen(function*() {
        const api = yield* HostApi.HostApi
        yield* api.malloc(64, 64, originOf({ purpose: "resident", names: ["weights"] }))
        const second = yield* api.malloc(32, 64, originOf({ names: ["cache"] }))
        yield* api.free(second, originOf({ names: ["cache"] }))
      }).pipe(Effect.ignore)
      const error = yield* Effect.flip(FaultSweep.assertClean(leaksAfterAFault, {
        ...bare,
        ...few,
        name: "two tensors",
        seed: 9
      })).pipe(Effect.orDieWith(() => new Error("it was clean")))
      assert.instanceOf(error, FaultSweep.SweepFailed)
      assert.deepStrictEqual([...error.verdicts], ["Leaked"])
      assert.strictEqual(error.message, error.report)
      assert.deepStrictEqual(error.report.split("\n"), [
        "two tensors: 3 operations, 0 faults, 0 interruptions: Leaked 1 time",
        "",
        `Leaked: still held when the program had ended: 64 B of device memory for resident "weights"`,
        "  program:    two tensors, seed 9",
        `  case:       undisturbed, in the form "effects"`,
        "  ended:      it succeeded",
        "  in the end: 64 B of device memory and 0 B of host memory are held",
        `                64 B of device memory for resident "weights"`,
        `  replay:     FaultSweep.assertClean(program, { ...options, only: "effects" })`
      ])
    }))

  it.effect("says which operation fails how, and at which step an interruption strikes, after which operation", () =>
    Effect.gen(function*() {
      const leaksWhereItFails = Effect.gen(function*() {
        const api = yield* HostApi.HostApi
        yield* api.memoryInfo
        const address = yield* api.malloc(64, 64, originOf({ names: ["weights"] }))
        yield* api.memoryInfo
        yield* api.free(address, originOf({ names: ["weights"] }))
      })
      const failed = yield* FaultSweep.run(leaksWhereItFails, { ...bare, ...few, faults: ["error"] })
      assert.deepStrictEqual(failed.failures.map(({ case: name }) => name), [
        "effects operation=2,memoryInfo,error,before,once"
      ])
      const [failure] = failed.failures
      assert.strictEqual(failure!.count, 2)
      assert.include(failure!.page, "(and 1 other case alike)\n")
      assert.match(
        failure!.page,
        /\n  case: {7}operation 2 at step \d+ of \d+, memoryInfo for load, fails before it had any effect, once\n/
      )
      assert.include(
        failure!.page,
        "  ended:      it failed: HostApiError: memoryInfo answered InvalidArgument: injected\n"
      )
      const interrupted = yield* FaultSweep.run(leaksWhereItFails, {
        ...bare,
        ...few,
        faults: [],
        interruptions: ["every"]
      })
      const { page } = interrupted.failures[0]!
      assert.match(page, /\n  case: {7}the program is interrupted at step \d+ of \d+, after memoryInfo for load\n/)
      assert.include(page, "\n  ended:      it was interrupted\n")
    }))
})
