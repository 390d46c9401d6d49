/** The ledger: what is held, by whom, since where; what is in flight; what must not happen; and the check after each test. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Option, Scope } from "effect"
import { DevicePtr, DeviceRunner, HostApi } from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import { copyIn, copyOut, launchTable, table } from "../contract/tables.ts"
import { settle } from "../utils/gated.ts"
import { addInline, kernel } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"
import { originOf, type Seam, type SeamForm, seamForms, seamOf, simulator } from "./programs/seam.ts"
import { addition, runnerLayer } from "./programs/sweeps.ts"

interface Booked {
  readonly api: HostApi.Service
  readonly seam: Seam
  readonly ledger: Ledger.Service
  readonly injection: FaultInjection.Service
}

/** A device with a ledger above faults. */
const book = (form: SeamForm, rules: ReadonlyArray<FaultInjection.Rule> = []) =>
  Effect.map(
    Layer.build(Layer.fresh(
      Ledger.layer.pipe(Layer.provideMerge(FaultInjection.layer(rules)), Layer.provide(simulator))
    )),
    (context): Booked => {
      const api = Context.get(context, HostApi.HostApi)
      return {
        api,
        seam: seamOf(api, form),
        ledger: Context.get(context, Ledger.Ledger),
        injection: Context.get(context, FaultInjection.FaultInjection)
      }
    }
  )

const onBothForms = (
  title: string,
  test: (booked: Booked) => Effect.Effect<void, HostApi.HostApiError, Scope.Scope>,
  rules: ReadonlyArray<FaultInjection.Rule> = []
): void => {
  for (const form of seamForms) {
    it.scoped(`${title} (${form})`, () => Effect.flatMap(book(form, rules), test))
  }
}

/** Why an account is not empty. */
const notEmpty = ({ ledger }: Booked): Effect.Effect<Ledger.NotEmpty> =>
  Effect.flip(ledger.assertEmpty).pipe(Effect.orDieWith(() => new Error("it is empty")))

const isEmpty = ({ ledger }: Booked): Effect.Effect<boolean> => Effect.isSuccess(ledger.assertEmpty)

/** What an account has against a program. */
const breachesOf = ({ ledger }: Booked) =>
  Effect.map(ledger.snapshot, ({ breaches }) => breaches.map(({ detail, verdict }) => [verdict, detail]))

/** What a program died of. */
const defectOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined

describe("an allocation", () => {
  onBothForms("is held until it is freed, with its size, owner and number", (booked) =>
    Effect.gen(function*() {
      const { ledger, seam } = booked
      assert.isTrue(yield* isEmpty(booked))
      const first = yield* seam.malloc(64, { runId: 3, names: ["tokens"] })
      const second = yield* seam.malloc(100, { purpose: "resident", names: ["weights"] })
      const snapshot = yield* ledger.snapshot
      assert.deepStrictEqual(snapshot.allocations, [
        {
          number: 1,
          memory: "device",
          purpose: "tensor",
          runId: 3,
          name: "tokens",
          byteCount: 64,
          place: undefined,
          state: "held"
        },
        {
          number: 2,
          memory: "device",
          purpose: "resident",
          runId: 0,
          name: "weights",
          byteCount: 100,
          place: undefined,
          state: "held"
        }
      ])
      assert.deepStrictEqual(
        [snapshot.deviceBytes, snapshot.hostBytes, snapshot.quarantinedBytes, snapshot.operationCount],
        [164, 0, 0, 2]
      )
      yield* seam.free(first)
      assert.deepStrictEqual((yield* ledger.snapshot).allocations.map(({ number }) => number), [2])
      yield* seam.free(second)
      yield* Effect.orDie(ledger.assertEmpty)
    }))

  it.scoped("of host memory, or pinned, counts apart", () =>
    Effect.gen(function*() {
      const { api, ledger } = yield* book("effects")
      const address = yield* api.hostMalloc(128, originOf({ purpose: "staging" }))
      const buffer = new SharedArrayBuffer(32)
      yield* api.hostRegister(buffer, originOf({ purpose: "hostTensor", names: ["cache"] }))
      const { allocations, deviceBytes, hostBytes } = yield* ledger.snapshot
      assert.deepStrictEqual(allocations.map(({ byteCount, memory }) => [memory, byteCount]), [
        ["host", 128],
        ["registered", 32]
      ])
      assert.deepStrictEqual([deviceBytes, hostBytes], [0, 160])
      yield* api.hostFree(address, originOf())
      yield* api.hostUnregister(buffer, originOf())
      yield* ledger.assertEmpty
    }))

  it.scoped("of host memory is another than one of device memory at the same address", () =>
    Effect.gen(function*() {
      const { api: real } = yield* book("effects")
      const address = DevicePtr.fromNumber(4096)!
      // A device with addresses of its own, which begin where those of the host do.
      const apart: HostApi.Service = {
        ...real,
        hostMalloc: () => Effect.succeed(4096),
        hostFree: () => Effect.void,
        malloc: () => Effect.succeed(address),
        free: () => Effect.void,
        immediate: undefined
      }
      const context = yield* Effect.provideService(Ledger.make, HostApi.HostApi, apart)
      const api = Context.get(context, HostApi.HostApi)
      const ledger = Context.get(context, Ledger.Ledger)
      yield* api.hostMalloc(10, originOf())
      yield* api.malloc(20, 1, originOf())
      const { deviceBytes, hostBytes } = yield* ledger.snapshot
      assert.deepStrictEqual([deviceBytes, hostBytes], [20, 10])
      yield* api.free(address, originOf())
      yield* api.hostFree(4096, originOf())
      yield* ledger.assertEmpty
    }))

  onBothForms(
    "that fails is not held, whether or not it took effect",
    (booked) =>
      Effect.gen(function*() {
        const { ledger, seam } = booked
        yield* Effect.exit(seam.malloc(64))
        yield* Effect.exit(seam.malloc(64))
        yield* Effect.exit(seam.malloc(64))
        assert.strictEqual((yield* ledger.snapshot).operationCount, 3)
        assert.isTrue(yield* isEmpty(booked))
      }),
    [
      { where: { operation: "malloc" }, fault: FaultInjection.outOfMemory },
      { where: { operation: "malloc", index: 1 }, fault: FaultInjection.outOfMemory, when: "after" },
      { where: { operation: "malloc", index: 2 }, fault: FaultInjection.defect() }
    ]
  )

  onBothForms(
    "whose release fails is in quarantine, which is not a leak",
    (booked) =>
      Effect.gen(function*() {
        const { ledger, seam } = booked
        const address = yield* seam.malloc(64, { names: ["tokens"], runId: 2 })
        yield* Effect.exit(seam.free(address))
        const { allocations, deviceBytes, quarantinedBytes } = yield* ledger.snapshot
        assert.deepStrictEqual(allocations.map(({ state }) => state), ["quarantined"])
        assert.deepStrictEqual([deviceBytes, quarantinedBytes], [0, 64])
        assert.include(yield* ledger.report, `64 B of device memory for tensor "tokens" of run 2, quarantined`)
        assert.isTrue(yield* isEmpty(booked))
      }),
    [{ where: { operation: "free" }, fault: FaultInjection.fail() }]
  )

  onBothForms("at an address that was used before is another one", ({ ledger, seam }) =>
    Effect.gen(function*() {
      const first = yield* seam.malloc(64)
      yield* seam.free(first)
      const second = yield* seam.malloc(64)
      assert.deepStrictEqual((yield* ledger.snapshot).allocations.map(({ number }) => number), [2])
      yield* seam.free(second)
      assert.deepStrictEqual((yield* ledger.snapshot).breaches, [])
    }))
})

describe("a breach", () => {
  onBothForms("is to release twice, or what was never allocated", (booked) =>
    Effect.gen(function*() {
      const { seam } = booked
      const address = yield* seam.malloc(64, { names: ["tokens"] })
      yield* seam.free(address, { names: ["tokens"] })
      yield* Effect.exit(seam.free(address, { names: ["tokens"], runId: 5 }))
      assert.deepStrictEqual(yield* breachesOf(booked), [
        ["DoubleReleased", "free for tensor (tokens) of run 5 releases what is not held any more"]
      ])
      const error = yield* notEmpty(booked)
      assert.strictEqual(error.heldCount, 0)
      assert.include(error.message, "DoubleReleased: free for tensor (tokens) of run 5")
    }))

  onBothForms(
    "is to try a release again that has failed",
    (booked) =>
      Effect.gen(function*() {
        const { seam } = booked
        const address = yield* seam.malloc(64)
        yield* Effect.exit(seam.free(address))
        yield* Effect.exit(seam.free(address))
        assert.deepStrictEqual((yield* breachesOf(booked)).map(([verdict]) => verdict), ["DoubleReleased"])
      }),
    [{ where: { operation: "free" }, fault: FaultInjection.fail() }]
  )

  onBothForms(
    "is to name memory that is not held, in a copy or in a launch, or more of it than there is",
    (booked) =>
      Effect.gen(function*() {
        const { api, ledger, seam } = booked
        const held = yield* seam.malloc(64)
        const freed = yield* seam.malloc(64)
        yield* seam.free(freed)
        const loaded = yield* api.loadKernel(kernel("test_nothing"), originOf())
        const bytes = new Uint8Array(64)
        yield* seam.submit("in", table(api, [copyIn(held, bytes)]))
        yield* seam.launch(loaded, launchTable([{ byteCount: 64, address: held }]))
        assert.deepStrictEqual((yield* ledger.snapshot).breaches, [])
        yield* Effect.exit(seam.submit("in", table(api, [copyIn(held, bytes), copyIn(freed, bytes)]), {
          names: ["good", "bad"]
        }))
        yield* Effect.exit(seam.submit("out", table(api, [copyOut(new Uint8Array(65), held)]), { names: ["long"] }))
        yield* Effect.exit(
          seam.launch(loaded, launchTable([{ byteCount: 64, address: freed }]), { names: ["argument"] })
        )
        assert.deepStrictEqual(yield* breachesOf(booked), [
          ["UsedAfterRelease", `submit for stage (good, bad) names "bad", of which the device memory is not held`],
          ["UsedAfterRelease", `submit for stage (long) names "long", of which the device memory is not held`],
          ["UsedAfterRelease", `launch for launch (argument) names "argument", of which the device memory is not held`]
        ])
      })
  )

  it.scoped("is to release memory while a call that uses it is in flight", () =>
    Effect.gen(function*() {
      const booked = yield* book("effects", [{ where: { operation: "submit" }, fault: FaultInjection.hang }])
      const { api, injection, ledger } = booked
      const address = yield* api.malloc(64, 64, originOf())
      const other = yield* api.malloc(64, 64, originOf())
      const copying = yield* Effect.fork(
        api.submit("in", table(api, [copyIn(address, new Uint8Array(8))]), originOf({ names: ["tokens"] }))
      )
      yield* settle
      assert.deepStrictEqual((yield* ledger.snapshot).inFlight, [
        { operation: "submit", purpose: "tensor", runId: 0, names: ["tokens"] }
      ])
      yield* api.free(other, originOf())
      assert.deepStrictEqual(yield* breachesOf(booked), [])
      const error = yield* notEmpty(booked)
      assert.include(error.report, "in flight: submit for tensor (tokens)")
      yield* api.free(address, originOf())
      assert.deepStrictEqual(yield* breachesOf(booked), [
        [
          "UsedAfterRelease",
          "free for tensor began while submit for tensor (tokens) was in flight, which uses it"
        ]
      ])
      yield* injection.releaseHangs
      yield* Fiber.await(copying)
      assert.deepStrictEqual((yield* ledger.snapshot).inFlight, [])
    }))

  onBothForms(
    "is to call a device that is lost; what is held on it then may be forgotten",
    (booked) =>
      Effect.gen(function*() {
        const { ledger, seam } = booked
        const address = yield* seam.malloc(64)
        assert.isFalse(yield* isEmpty(booked))
        yield* Effect.exit(seam.malloc(32))
        assert.isTrue((yield* ledger.snapshot).isLost)
        assert.isTrue(yield* isEmpty(booked))
        yield* Effect.exit(seam.free(address))
        assert.deepStrictEqual(yield* breachesOf(booked), [
          ["CalledAfterLoss", "free for tensor was called on a device that is lost"]
        ])
      }),
    [{ where: { operation: "malloc", index: 1 }, fault: FaultInjection.deviceLost }]
  )
})

describe("an account", () => {
  it.scoped("is not empty while a call is in flight, though nothing is held", () =>
    Effect.gen(function*() {
      const booked = yield* book("effects", [{ fault: FaultInjection.hang }])
      const asking = yield* Effect.fork(booked.api.memoryInfo)
      yield* settle
      const error = yield* notEmpty(booked)
      assert.strictEqual(error.heldCount, 0)
      assert.include(error.message, "in flight: memoryInfo for load")
      yield* booked.injection.releaseHangs
      yield* Fiber.join(asking)
      yield* booked.ledger.assertEmpty
    }))

  onBothForms("can be compared with an earlier one", ({ ledger, seam }) =>
    Effect.gen(function*() {
      const kept = yield* seam.malloc(64)
      const given = yield* seam.malloc(10, { names: ["given"] })
      const before = yield* ledger.snapshot
      yield* seam.free(given)
      const taken = yield* seam.malloc(100, { names: ["taken"] })
      const { added, deviceBytes, gone, hostBytes } = Ledger.difference(before, yield* ledger.snapshot)
      assert.deepStrictEqual(added.map(({ name }) => name), ["taken"])
      assert.deepStrictEqual(gone.map(({ name }) => name), ["given"])
      assert.deepStrictEqual([deviceBytes, hostBytes], [90, 0])
      assert.lengthOf(before.allocations, 2, "a snapshot stays as it was")
      yield* Effect.forEach([kept, taken], (address) => seam.free(address))
    }))

  onBothForms("reads as lines, without addresses", ({ ledger, seam }) =>
    Effect.gen(function*() {
      yield* seam.malloc(64, { names: ["tokens"], runId: 4 })
      yield* seam.malloc(32, { purpose: "chunk" })
      const report = yield* ledger.report
      assert.deepStrictEqual(report.split("\n"), [
        "96 B of device memory and 0 B of host memory are held",
        `  64 B of device memory for tensor "tokens" of run 4`,
        "  32 B of device memory for chunk"
      ])
      assert.notMatch(report, /0x[0-9a-f]{6,}/)
    }))

  it.scoped("of a runner is empty once it has closed, and tells its chunk and its residents before", () =>
    Effect.gen(function*() {
      const { api, ledger } = yield* book("immediate")
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(runnerLayer, scope).pipe(Effect.provideService(HostApi.HostApi, api))
      const runner = Context.get(context, DeviceRunner.DeviceRunner)
      yield* Scope.extend(runner.allocate("float32", [4]), scope)
      yield* runner.run(addInline, vectors(4))
      assert.deepStrictEqual(
        (yield* ledger.snapshot).allocations.map(({ byteCount, purpose }) => [purpose, byteCount]),
        [["chunk", 4096], ["resident", 16]]
      )
      yield* Scope.close(scope, Exit.void)
      yield* ledger.assertEmpty
    }))
})

describe("the place of an allocation", () => {
  const layer = Ledger.layerCallSites.pipe(
    Layer.provide(runnerLayer),
    Layer.provideMerge(Ledger.layer),
    Layer.provide(simulator)
  )

  it.effect("is the line that called the runner, in the report too", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const ledger = yield* Ledger.Ledger
      yield* Effect.scoped(Effect.gen(function*() {
        yield* runner.allocate("uint8", [64])
        yield* runner.allocate("uint8", [32])
        const places = (yield* ledger.snapshot).allocations
          .filter(({ purpose }) => purpose === "resident")
          .map(({ place }) => place ?? "")
        assert.lengthOf(places, 2)
        const lines = places.map((place) => Number(/ledger\.test\.ts:(\d+):\d+$/.exec(place)?.[1]))
        assert.strictEqual(lines[1], lines[0]! + 1, places.join(" "))
        assert.include(yield* ledger.report, `resident "uint8 [64]", from ${places[0]!}`)
      }))
      // The runner works as ever.
      yield* addition
    }).pipe(Effect.provide(layer)))
})

describe("the check after a test", () => {
  const checked = Ledger.layerChecked.pipe(Layer.provide(simulator))

  /** Runs a test body on a ledger that is checked at its end. */
  const under = <A, E>(body: Effect.Effect<A, E, HostApi.HostApi | Ledger.Ledger>) =>
    Effect.exit(Effect.provide(body, Layer.fresh(checked)))

  const malloc = Effect.flatMap(HostApi.HostApi, (api) => api.malloc(64, 64, originOf({ names: ["tokens"] })))

  it.effect("passes where everything was given back", () =>
    Effect.gen(function*() {
      const exit = yield* under(
        Effect.flatMap(malloc, (address) => Effect.flatMap(HostApi.HostApi, (api) => api.free(address, originOf())))
      )
      assert.isTrue(Exit.isSuccess(exit))
    }))

  it.effect("fails where something is held, and says what", () =>
    Effect.gen(function*() {
      const defect = defectOf(yield* under(malloc))
      assert.instanceOf(defect, Ledger.NotEmpty)
      assert.strictEqual(
        defect.message,
        `64 B of device memory and 0 B of host memory are held\n  64 B of device memory for tensor "tokens" of run 0`
      )
      assert.deepStrictEqual(
        [defect.heldCount, defect.deviceBytes],
        [1, 64]
      )
    }))

  it.effect("keeps the failure of the test itself beside its own", () =>
    Effect.gen(function*() {
      const exit = yield* under(Effect.zipRight(malloc, Effect.fail("the test failed")))
      assert.instanceOf(defectOf(exit), Ledger.NotEmpty)
      assert.deepStrictEqual(Exit.isFailure(exit) ? [...Cause.failures(exit.cause)] : [], ["the test failed"])
    }))

  it.effect("comes after what stands on it has closed", () =>
    Effect.gen(function*() {
      const stack = runnerLayer.pipe(Layer.provideMerge(Ledger.layerChecked), Layer.provide(simulator))
      yield* Effect.gen(function*() {
        yield* addition
        assert.strictEqual((yield* Effect.flatMap(Ledger.Ledger, ({ snapshot }) => snapshot)).deviceBytes, 4096)
      }).pipe(Effect.provide(stack))
    }))
})
