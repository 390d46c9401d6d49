/** Rules: which operations they find, when and how often they fire, and what is reported of them. Both forms of the seam. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, type Scope } from "effect"
import { HostApi } from "leasehold"
import { FaultInjection } from "leasehold/testing"
import { copyIn, table } from "../contract/tables.ts"
import { kernel } from "../utils/kernels.ts"
import { inject, type Injected, originOf, seamForms, simulator } from "./programs/seam.ts"

const { Status } = HostApi
const { fail } = FaultInjection

/** How a call ended, in a word. */
const ended = <A>(call: Effect.Effect<A, HostApi.HostApiError>): Effect.Effect<string> =>
  Effect.match(call, { onSuccess: () => "ok", onFailure: ({ statusName }) => statusName })

const mallocs = ({ seam }: Injected, sizes: ReadonlyArray<number>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.forEach(sizes, (byteCount) => ended(seam.malloc(byteCount)))

const onBothForms = (
  title: string,
  rules: ReadonlyArray<FaultInjection.Rule>,
  test: (injected: Injected) => Effect.Effect<void, HostApi.HostApiError, Scope.Scope>
): void => {
  for (const form of seamForms) {
    it.scoped(`${title} (${form})`, () =>
      Effect.flatMap(inject(rules, form), (injected) => {
        assert.isDefined(injected.api.immediate)
        return test(injected)
      }))
  }
}

const bad = "InvalidArgument"

describe("a rule finds operations", () => {
  onBothForms(
    "of one kind",
    [{ where: { operation: "malloc" }, fault: fail(), often: "always" }],
    ({ seam, injection }) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* ended(seam.malloc(64)), bad)
        const address = yield* injection.withoutFaults(seam.malloc(64))
        assert.strictEqual(yield* ended(seam.free(address)), "ok")
      })
  )

  onBothForms(
    "of several kinds",
    [{ where: { operation: ["free", "submit"] }, fault: fail(), often: "always" }],
    ({ api, seam }) =>
      Effect.gen(function*() {
        const address = yield* seam.malloc(64)
        assert.strictEqual(yield* ended(seam.free(address)), bad)
        assert.strictEqual(
          yield* ended(seam.submit("in", table(api, [copyIn(address, new Uint8Array(8))]))),
          bad
        )
      })
  )

  onBothForms(
    "of every kind where none is named",
    [{ fault: fail(), often: "always" }],
    ({ api, seam }) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(
          yield* Effect.all([
            ended(seam.malloc(64)),
            ended(seam.submit("in", table(api, []))),
            ended(api.memoryInfo),
            ended(api.hostMalloc(64, originOf())),
            ended(api.hostRegister(new SharedArrayBuffer(64), originOf())),
            ended(api.collect(table(api, []), originOf())),
            ended(api.loadKernel(kernel("test_nothing"), originOf()))
          ]),
          Array.from({ length: 7 }, () => bad)
        )
      })
  )

  onBothForms(
    "by their index among those that fit",
    [{ where: { operation: "malloc", index: 2 }, fault: fail() }],
    (injected) =>
      Effect.gen(function*() {
        yield* injected.api.memoryInfo
        assert.deepStrictEqual(yield* mallocs(injected, [8, 8, 8, 8]), ["ok", "ok", bad, "ok"])
      })
  )

  onBothForms(
    "by the name of a tensor, among others",
    [{ where: { tensor: "logits" }, fault: fail(), often: "always" }],
    ({ seam }) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* ended(seam.malloc(8, { names: ["tokens"] })), "ok")
        assert.strictEqual(yield* ended(seam.malloc(8, { names: ["tokens", "logits"] })), bad)
        assert.strictEqual(yield* ended(seam.malloc(8)), "ok")
      })
  )

  onBothForms(
    "by the run",
    [{ where: { run: 7 }, fault: fail(), often: "always" }],
    ({ seam }) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(
          yield* Effect.forEach([6, 7, 0, 7], (runId) => ended(seam.malloc(8, { runId }))),
          ["ok", bad, "ok", bad]
        )
      })
  )

  onBothForms(
    "by their purpose",
    [{ where: { purpose: "chunk" }, fault: fail(), often: "always" }],
    ({ seam }) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* ended(seam.malloc(8, { purpose: "resident" })), "ok")
        assert.strictEqual(yield* ended(seam.malloc(8, { purpose: "chunk" })), bad)
      })
  )

  onBothForms(
    "once more bytes than it allows have been asked for in all",
    [{ where: { operation: "malloc", afterBytes: 250 }, fault: FaultInjection.outOfMemory, often: "always" }],
    (injected) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(
          yield* mallocs(injected, [100, 100, 50, 1, 1]),
          ["ok", "ok", "ok", "OutOfMemory", "OutOfMemory"]
        )
      })
  )

  onBothForms(
    "that fit in every respect, and in no respect alone",
    [{ where: { operation: "malloc", purpose: "tensor", tensor: "a", run: 3 }, fault: fail(), often: "always" }],
    ({ seam }) =>
      Effect.gen(function*() {
        const fitting = { purpose: "tensor", runId: 3, names: ["a"] } as const
        assert.strictEqual(yield* ended(seam.malloc(8, fitting)), bad)
        assert.strictEqual(yield* ended(seam.malloc(8, { ...fitting, purpose: "chunk" })), "ok")
        assert.strictEqual(yield* ended(seam.malloc(8, { ...fitting, runId: 4 })), "ok")
        assert.strictEqual(yield* ended(seam.malloc(8, { ...fitting, names: ["b"] })), "ok")
      })
  )
})

describe("a rule fires", () => {
  onBothForms(
    "once, if nothing else is said",
    [{ where: { operation: "malloc" }, fault: fail() }],
    (injected) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* mallocs(injected, [8, 8, 8]), [bad, "ok", "ok"])
      })
  )

  onBothForms(
    "every other time, counted from its index",
    [{ where: { operation: "malloc", index: 1 }, fault: fail(), often: "everyOther" }],
    (injected) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* mallocs(injected, [8, 8, 8, 8, 8]), ["ok", bad, "ok", bad, "ok"])
      })
  )

  for (const form of seamForms) {
    it.scoped(`with a probability, the same each time for a seed (${form})`, () =>
      Effect.gen(function*() {
        const sizes = Array.from({ length: 200 }, () => 8)
        const drawn = (seed: number, probability: number) =>
          Effect.flatMap(
            inject([{ where: { operation: "malloc" }, fault: fail(), often: { probability, seed } }], form),
            (injected) => mallocs(injected, sizes)
          )
        const first = yield* drawn(11, 0.25)
        assert.deepStrictEqual(yield* drawn(11, 0.25), first)
        assert.notDeepEqual(yield* drawn(12, 0.25), first)
        assert.isTrue((yield* drawn(11, 0)).every((word) => word === "ok"))
        assert.isTrue((yield* drawn(11, 1)).every((word) => word === bad))
        const count = first.filter((word) => word === bad).length
        assert.isTrue(count > 25 && count < 75, `${count} of 200 at a quarter`)
      }))
  }

  onBothForms(
    "apart for each rule: the first whose turn it is hits, and the others count on",
    [
      { name: "first", where: { operation: "malloc" }, fault: fail(Status.Busy) },
      { name: "second", where: { operation: "malloc", index: 1 }, fault: fail(Status.Timeout) },
      { name: "third", where: { operation: "malloc" }, fault: fail(Status.Unsupported) }
    ],
    (injected) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* mallocs(injected, [8, 8, 8, 8]), ["Busy", "Timeout", "Unsupported", "ok"])
        assert.deepStrictEqual(
          (yield* injected.injection.fired).map((
            { firedCount, matchedCount, name }
          ) => [name, firedCount, matchedCount]),
          [["first", 1, 4], ["second", 1, 3], ["third", 1, 4]]
        )
      })
  )
})

describe("a report of the rules", () => {
  onBothForms(
    "says what each has done, and calls those that have no name by what they do",
    [
      { where: { operation: ["malloc", "free"], purpose: "chunk", index: 2 }, fault: FaultInjection.outOfMemory },
      { where: { tensor: "logits", run: 4 }, when: "after", fault: FaultInjection.lie("half"), often: "always" },
      { fault: FaultInjection.defect(), often: { probability: 0, seed: 1 }, isOptional: true }
    ],
    ({ injection, seam }) =>
      Effect.gen(function*() {
        yield* ended(seam.malloc(8))
        assert.deepStrictEqual(yield* injection.fired, [
          {
            name: "OutOfMemory before malloc or free for chunk number 2, once",
            isOptional: false,
            matchedCount: 0,
            firedCount: 0
          },
          {
            name: `Lie after any operation of "logits" in run 4, always`,
            isOptional: false,
            matchedCount: 0,
            firedCount: 0
          },
          {
            name: "Defect before any operation, probability 0",
            isOptional: true,
            matchedCount: 1,
            firedCount: 0
          }
        ])
      })
  )

  onBothForms(
    "fails with the names of those that never fired, unless they may",
    [
      { name: "fires", where: { operation: "malloc" }, fault: fail() },
      { name: "never fires", where: { operation: "launch" }, fault: fail() },
      { name: "may fire", where: { operation: "launch" }, fault: fail(), isOptional: true },
      { name: "fires too late", where: { operation: "malloc", index: 5 }, fault: fail() }
    ],
    ({ injection, seam }) =>
      Effect.gen(function*() {
        yield* ended(seam.malloc(8))
        const error = yield* Effect.flip(injection.assertAllFired).pipe(Effect.orDie)
        assert.deepStrictEqual(error.rules, ["never fires", "fires too late"])
        assert.strictEqual(error.message, "these rules were armed and never fired: never fires; fires too late")
        assert.strictEqual(error._tag, "NeverFired")
        yield* Effect.forEach([1, 2, 3, 4, 5], () => ended(seam.malloc(8)))
        const left = yield* Effect.flip(injection.assertAllFired).pipe(Effect.orDie)
        assert.deepStrictEqual(left.rules, ["never fires"])
      })
  )

  onBothForms("is content where all have fired", [{ fault: fail() }], ({ injection, seam }) =>
    Effect.gen(function*() {
      yield* ended(seam.malloc(8))
      yield* Effect.orDie(injection.assertAllFired)
    }))
})

describe("a rule that is armed later", () => {
  onBothForms("counts from then on", [], (injected) =>
    Effect.gen(function*() {
      const { injection } = injected
      assert.deepStrictEqual(yield* mallocs(injected, [8, 8]), ["ok", "ok"])
      yield* injection.arm({ name: "late", where: { operation: "malloc", index: 1 }, fault: fail() })
      assert.deepStrictEqual((yield* Effect.flip(injection.assertAllFired).pipe(Effect.orDie)).rules, ["late"])
      assert.deepStrictEqual(yield* mallocs(injected, [8, 8, 8]), ["ok", bad, "ok"])
      yield* Effect.orDie(injection.assertAllFired)
    }))
})

describe("without faults", () => {
  onBothForms(
    "no rule fires or counts, however the effect ends, and however deep it is nested",
    [{ where: { operation: "malloc", index: 1 }, fault: fail() }],
    (injected) =>
      Effect.gen(function*() {
        const { injection } = injected
        yield* injection.withoutFaults(Effect.zipRight(
          injection.withoutFaults(mallocs(injected, [8, 8, 8])),
          mallocs(injected, [8, 8, 8])
        ))
        yield* Effect.exit(injection.withoutFaults(Effect.fail("over")))
        yield* Effect.exit(injection.withoutFaults(Effect.interrupt))
        assert.strictEqual((yield* injection.fired)[0]!.matchedCount, 0)
        assert.deepStrictEqual(yield* mallocs(injected, [8, 8, 8]), ["ok", bad, "ok"])
      })
  )
})

describe("a fault is told", () => {
  for (
    const [name, fault, statusName] of [
      ["a typed error", fail(Status.TransferFailed), "TransferFailed"],
      ["no memory", FaultInjection.outOfMemory, "OutOfMemory"],
      ["a lost device", FaultInjection.deviceLost, "DeviceLost"],
      ["a status that nobody knows", fail(4711), "Unknown"]
    ] as const
  ) {
    onBothForms(
      `as ${name}, marked as injected`,
      [{ where: { operation: "malloc" }, fault }],
      ({ seam }) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(seam.malloc(8)).pipe(Effect.orDieWith(() => new Error("it succeeded")))
          assert.strictEqual(error.statusName, statusName)
          assert.strictEqual(error.message, `malloc answered ${statusName}: injected`)
          assert.strictEqual(error.entryIndex, -1)
        })
    )
  }

  onBothForms(
    "by the next real failure no more",
    [{ where: { operation: "malloc" }, fault: fail(Status.Busy) }],
    ({ seam }) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* ended(seam.malloc(8)), "Busy")
        const error = yield* Effect.flip(seam.malloc(2 ** 40)).pipe(Effect.orDieWith(() => new Error("it succeeded")))
        assert.strictEqual(error.statusName, "OutOfMemory")
        assert.notInclude(error.message, "injected")
      })
  )

  const thrown = new Error("the driver threw")
  onBothForms(
    "as a defect, which is the one that was given",
    [{ where: { operation: "malloc" }, fault: FaultInjection.defect(thrown) }],
    ({ seam }) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(seam.malloc(8))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        assert.strictEqual(Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined, thrown)
      })
  )
})

describe("as a layer", () => {
  it.effect("it needs a host API and provides one, beside its own service", () =>
    Effect.gen(function*() {
      const api = yield* HostApi.HostApi
      const injection = yield* FaultInjection.FaultInjection
      assert.strictEqual(yield* ended(api.malloc(8, 8, originOf())), "OutOfMemory")
      yield* injection.assertAllFired
    }).pipe(
      Effect.provide(
        FaultInjection.layer([{ fault: FaultInjection.outOfMemory }]).pipe(Layer.provide(simulator))
      )
    ))

  it.scoped("it stacks on itself: the upper one fires first", () =>
    Effect.gen(function*() {
      const { api: below, injection: lower } = yield* inject([{ name: "lower", fault: fail(Status.Busy) }])
      const upper = yield* FaultInjection.make([{ name: "upper", fault: fail(Status.Timeout) }]).pipe(
        Effect.provideService(HostApi.HostApi, below)
      )
      const api = Context.get(upper, HostApi.HostApi)
      assert.strictEqual(yield* ended(api.malloc(8, 8, originOf())), "Timeout")
      assert.strictEqual((yield* lower.fired)[0]!.matchedCount, 0)
      assert.strictEqual(yield* ended(api.malloc(8, 8, originOf())), "Busy")
      assert.strictEqual(yield* ended(api.malloc(8, 8, originOf())), "ok")
    }))
})

describe("a rule for the time of one effect", () => {
  onBothForms("strikes within it, not after it, and is told of", [], ({ injection, seam }) =>
    Effect.gen(function*() {
      const rule = { fault: fail(), often: "always" } as const
      assert.strictEqual(yield* injection.withRule(rule, ended(seam.malloc(64))), bad)
      const address = yield* seam.malloc(64)
      assert.strictEqual(yield* ended(seam.free(address)), "ok")
      assert.deepStrictEqual((yield* injection.fired).map(({ firedCount }) => firedCount), [1])
    }))
})
