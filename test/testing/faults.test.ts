/** What faults do to the device: before and after the effect, lies with nothing or half of it, hangs and delays. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import { type DevicePtr, type HostApi, Simulator } from "leasehold"
import { FaultInjection } from "leasehold/testing"
import { copyIn, copyOut, fill, hostCopy, launchTable, table } from "../contract/tables.ts"
import { assertSameBytes, pattern } from "../utils/bytes.ts"
import { settle } from "../utils/gated.ts"
import { kernel } from "../utils/kernels.ts"
import { inject, type Injected, originOf, seamForms, simulator } from "./programs/seam.ts"

const { fail, lie } = FaultInjection

/** The bytes at an address, past the faults. */
const read = (
  { below }: Injected,
  address: number,
  byteCount: number
): Effect.Effect<Uint8Array, HostApi.HostApiError> =>
  Effect.suspend(() => {
    const bytes = new Uint8Array(byteCount)
    return Effect.as(below.submit("out", table(below, [copyOut(bytes, address)]), originOf()), bytes)
  })

/** Device memory that holds a pattern, past the faults. */
const filled = ({ below, injection, seam }: Injected, byteCount: number, seed: number) =>
  injection.withoutFaults(
    Effect.tap(
      seam.malloc(byteCount),
      (address) => below.submit("in", table(below, [copyIn(address, pattern(byteCount, seed))]), originOf())
    )
  )

type Test = (injected: Injected) => Effect.Effect<void, HostApi.HostApiError, Scope.Scope>

const onBothForms = (title: string, rules: ReadonlyArray<FaultInjection.Rule>, test: Test): void => {
  for (const form of seamForms) {
    it.scoped(`${title} (${form})`, () => Effect.flatMap(inject(rules, form), test))
  }
}

const isFailure = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<boolean> =>
  Effect.map(Effect.exit(call), Exit.isFailure)

/** What the device holds after a device of its own has been used under rules, and the faults have been closed. */
const heldAfterwards = (
  rules: ReadonlyArray<FaultInjection.Rule>,
  form: "effects" | "immediate",
  test: Test
): Effect.Effect<readonly [during: Simulator.Statistics, after: Simulator.Statistics], HostApi.HostApiError> =>
  Effect.scoped(Effect.gen(function*() {
    const device = yield* Layer.build(Layer.fresh(simulator)).pipe(Effect.orDie)
    const { statistics } = Context.get(device, Simulator.Simulator)
    const scope = yield* Scope.make()
    const injected = yield* inject(rules, form, device).pipe(Scope.extend(scope), Effect.orDie)
    yield* Effect.scoped(test(injected))
    const during = yield* statistics
    yield* Scope.close(scope, Exit.void)
    return [during, yield* statistics] as const
  }))

describe("before its effect", () => {
  for (const fault of [fail(), FaultInjection.defect()]) {
    onBothForms(
      `a failing operation has none: ${fault._tag}`,
      [
        { where: { operation: "malloc" }, fault },
        { where: { operation: "submit" }, fault },
        { where: { operation: "launch" }, fault }
      ],
      (injected) =>
        Effect.gen(function*() {
          const { api, below, injection, seam, statistics } = injected
          assert.isTrue(yield* isFailure(seam.malloc(64)))
          assert.strictEqual((yield* statistics).mallocCount, 0)
          const address = yield* filled(injected, 64, 1)
          assert.isTrue(
            yield* isFailure(seam.submit("in", table(api, [copyIn(address, pattern(64, 2))])))
          )
          assertSameBytes(yield* read(injected, address, 64), pattern(64, 1))
          const loaded = yield* below.loadKernel(kernel("test_nothing"), originOf())
          assert.isTrue(yield* isFailure(seam.launch(loaded, launchTable([]))))
          assert.strictEqual((yield* statistics).launchCount, 0)
          yield* Effect.orDie(injection.assertAllFired)
        })
    )
  }

  for (const form of seamForms) {
    it.effect(`a release that fails leaves its memory, which is freed when the faults are closed (${form})`, () =>
      Effect.gen(function*() {
        const [during, after] = yield* heldAfterwards(
          [{ where: { operation: "free" }, fault: fail(), often: "always" }],
          form,
          ({ seam }) =>
            Effect.flatMap(seam.malloc(64), (address) => Effect.flip(seam.free(address))).pipe(Effect.ignore)
        )
        assert.strictEqual(during.liveBytes, 64)
        assert.strictEqual(after.liveBytes, 0)
      }))

    it.effect(`a release that is tried again and succeeds is not made once more (${form})`, () =>
      Effect.gen(function*() {
        const [during, after] = yield* heldAfterwards(
          [{ where: { operation: "free" }, fault: fail() }],
          form,
          ({ seam }) =>
            Effect.gen(function*() {
              const address = yield* seam.malloc(64)
              assert.isTrue(yield* isFailure(seam.free(address)))
              yield* seam.free(address)
              // Most likely it lies where the first one lay.
              yield* seam.malloc(64)
            })
        )
        assert.strictEqual(during.liveBytes, 64)
        assert.strictEqual(after.liveBytes, 64)
      }))
  }
})

describe("after its effect", () => {
  for (const fault of [fail(), FaultInjection.defect()]) {
    onBothForms(
      `a failing operation has it all the same: ${fault._tag}`,
      [
        { where: { operation: "malloc" }, when: "after", fault },
        { where: { operation: "free" }, when: "after", fault },
        { where: { operation: "submit" }, when: "after", fault },
        { where: { operation: "launch" }, when: "after", fault }
      ],
      (injected) =>
        Effect.gen(function*() {
          const { api, below, injection, seam, statistics } = injected
          assert.isTrue(yield* isFailure(seam.malloc(64)))
          assert.strictEqual((yield* statistics).liveBytes, 64)
          const address = yield* filled(injected, 64, 1)
          assert.isTrue(yield* isFailure(seam.submit("in", table(api, [copyIn(address, pattern(64, 2))]))))
          assertSameBytes(yield* read(injected, address, 64), pattern(64, 2))
          const loaded = yield* below.loadKernel(kernel("test_nothing"), originOf())
          assert.isTrue(yield* isFailure(seam.launch(loaded, launchTable([]))))
          assert.strictEqual((yield* statistics).launchCount, 1)
          assert.isTrue(yield* isFailure(seam.free(address)))
          assert.strictEqual((yield* statistics).liveBytes, 64)
          yield* Effect.orDie(injection.assertAllFired)
        })
    )
  }

  for (const form of seamForms) {
    it.effect(`memory that an allocation hid is freed when the faults are closed (${form})`, () =>
      Effect.gen(function*() {
        const always = { when: "after", fault: fail(), often: "always" } as const
        const [during, after] = yield* heldAfterwards(
          [{ ...always, where: { operation: ["malloc", "hostMalloc", "hostRegister"] } }],
          form,
          ({ api, seam }) =>
            Effect.gen(function*() {
              assert.isTrue(yield* isFailure(seam.malloc(64)))
              assert.isTrue(yield* isFailure(seam.malloc(100)))
              assert.isTrue(yield* isFailure(api.hostMalloc(128, originOf())))
              assert.isTrue(yield* isFailure(api.hostRegister(new SharedArrayBuffer(64), originOf())))
            })
        )
        assert.deepStrictEqual([during.liveCount, during.hostLiveCount], [2, 1])
        assert.deepStrictEqual([after.liveCount, after.hostLiveCount], [0, 0])
      }))

    it.effect(`a release that failed once it was made is not made again when the faults are closed (${form})`, () =>
      Effect.gen(function*() {
        const [, after] = yield* heldAfterwards(
          [
            { where: { operation: "free" }, when: "before", fault: fail() },
            { where: { operation: "free", index: 1 }, when: "after", fault: fail() }
          ],
          form,
          ({ seam }) =>
            Effect.gen(function*() {
              const address = yield* seam.malloc(64)
              assert.isTrue(yield* isFailure(seam.free(address)))
              assert.isTrue(yield* isFailure(seam.free(address)))
              // The simulator hands out an address again, so that a release too many would hit somebody else.
              yield* seam.malloc(64)
            })
        )
        assert.strictEqual(after.liveBytes, 64)
      }))
  }

  it.scoped("the fault is what is seen, where the real call has failed already, and nothing is left to free", () =>
    Effect.gen(function*() {
      for (const form of seamForms) {
        const { seam } = yield* inject([{ when: "after", fault: FaultInjection.deviceLost }], form)
        const error = yield* Effect.flip(seam.malloc(2 ** 40)).pipe(Effect.orDieWith(() => new Error("it succeeded")))
        assert.strictEqual(error.statusName, "DeviceLost")
      }
    }))
})

describe("a lie", () => {
  onBothForms(
    "that does nothing moves no bytes",
    [{ where: { operation: "submit" }, fault: lie() }],
    (injected) =>
      Effect.gen(function*() {
        const { api, seam } = injected
        const address = yield* filled(injected, 64, 1)
        yield* seam.submit("in", table(api, [copyIn(address, pattern(64, 2))]))
        assertSameBytes(yield* read(injected, address, 64), pattern(64, 1))
      })
  )

  onBothForms(
    "that does half moves the first half of each entry, rounded down",
    [{ where: { operation: "submit" }, fault: lie("half") }],
    (injected) =>
      Effect.gen(function*() {
        const { api, seam } = injected
        const [even, odd, one, cleared] = yield* Effect.all([
          filled(injected, 64, 1),
          filled(injected, 7, 1),
          filled(injected, 1, 1),
          filled(injected, 64, 1)
        ])
        yield* seam.submit(
          "in",
          table(api, [
            copyIn(even, pattern(64, 2)),
            copyIn(odd, pattern(7, 2)),
            copyIn(one, pattern(1, 2)),
            fill(cleared, 0xee, 64)
          ])
        )
        for (const [address, byteCount, half] of [[even, 64, 32], [odd, 7, 3], [one, 1, 0]] as const) {
          assertSameBytes(
            yield* read(injected, address, byteCount),
            Uint8Array.of(...pattern(byteCount, 2).subarray(0, half), ...pattern(byteCount, 1).subarray(half))
          )
        }
        assertSameBytes(
          yield* read(injected, cleared, 64),
          Uint8Array.of(...new Uint8Array(32).fill(0xee), ...pattern(64, 1).subarray(32))
        )
      })
  )

  onBothForms(
    "that does half copies half of an output back",
    [{ where: { operation: "submit" }, fault: lie("half") }],
    (injected) =>
      Effect.gen(function*() {
        const { api, seam } = injected
        const address = yield* filled(injected, 10, 3)
        const view = new Uint8Array(10).fill(0xaa)
        yield* seam.submit("out", table(api, [copyOut(view, address)]))
        assertSameBytes(view, Uint8Array.of(...pattern(10, 3).subarray(0, 5), ...new Uint8Array(5).fill(0xaa)))
      })
  )

  onBothForms(
    "about a table of single bytes moves none of them, and asks nothing of the device",
    [{ where: { operation: "submit" }, fault: lie("half") }],
    (injected) =>
      Effect.gen(function*() {
        const { api, seam, statistics } = injected
        const address = yield* filled(injected, 1, 1)
        const before = (yield* statistics).copyInCount
        yield* seam.submit("in", table(api, [copyIn(address, Uint8Array.of(0xff))]))
        assert.strictEqual((yield* statistics).copyInCount, before)
        assertSameBytes(yield* read(injected, address, 1), pattern(1, 1))
      })
  )

  for (const [done, byteCount] of [["nothing", 0], ["half", 5]] as const) {
    it.scoped(`that collects ${done} leaves the rest of the host view alone`, () =>
      Effect.gen(function*() {
        const { api } = yield* inject([{ where: { operation: "collect" }, fault: lie(done) }])
        const view = new Uint8Array(10).fill(0xaa)
        yield* api.collect(table(api, [hostCopy(view, pattern(10, 4), 10)]), originOf())
        assertSameBytes(
          view,
          Uint8Array.of(...pattern(10, 4).subarray(0, byteCount), ...new Uint8Array(10 - byteCount).fill(0xaa))
        )
      }))
  }

  onBothForms(
    "about a launch launches nothing",
    [{ where: { operation: "launch" }, fault: lie() }],
    (injected) =>
      Effect.gen(function*() {
        const { below, seam, statistics } = injected
        const loaded = yield* below.loadKernel(kernel("test_nothing"), originOf())
        yield* seam.launch(loaded, launchTable([]))
        assert.strictEqual((yield* statistics).launchCount, 0)
        yield* seam.launch(loaded, launchTable([]))
        assert.strictEqual((yield* statistics).launchCount, 1)
      })
  )

  for (const done of ["nothing", "half"] as const) {
    onBothForms(
      `about an allocation hands out half of it, as ${done} is no address`,
      [{ where: { operation: "malloc" }, fault: lie(done) }],
      (injected) =>
        Effect.gen(function*() {
          const { api, seam, statistics } = injected
          const address = yield* seam.malloc(128)
          assert.strictEqual((yield* statistics).liveBytes, 64)
          yield* seam.submit("in", table(api, [copyIn(address, pattern(64))]))
          const beyond = yield* Effect.flip(seam.submit("in", table(api, [copyIn(address, pattern(65))])))
            .pipe(Effect.orDieWith(() => new Error("it succeeded")))
          assert.strictEqual(beyond.statusName, "OutOfRange")
          yield* seam.free(address)
          assert.strictEqual((yield* statistics).liveBytes, 0)
        })
    )

    it.scoped(`about what has to be answered answers it: ${done}`, () =>
      Effect.gen(function*() {
        const { api, below } = yield* inject([{ fault: lie(done), often: "always" }])
        assert.deepStrictEqual(yield* api.memoryInfo, yield* below.memoryInfo)
        assert.isAbove(yield* api.hostMalloc(64, originOf()), 0)
        assert.isNumber(yield* api.loadKernel(kernel("test_nothing"), originOf()))
      }))
  }

  for (const form of seamForms) {
    it.effect(`about a release keeps the memory, until the faults are closed (${form})`, () =>
      Effect.gen(function*() {
        const [during, after] = yield* heldAfterwards(
          [{ where: { operation: ["free", "hostFree"] }, fault: lie(), often: "always" }],
          form,
          ({ api, seam }) =>
            Effect.gen(function*() {
              yield* seam.free(yield* seam.malloc(64))
              yield* api.hostFree(yield* api.hostMalloc(64, originOf()), originOf())
            })
        )
        assert.deepStrictEqual([during.liveCount, during.hostLiveCount], [1, 1])
        assert.deepStrictEqual([after.liveCount, after.hostLiveCount], [0, 0])
      }))
  }

  it.scoped("about a registration registers nothing, so that undoing it is refused", () =>
    Effect.gen(function*() {
      const { api } = yield* inject([{ where: { operation: "hostRegister" }, fault: lie() }])
      const buffer = new SharedArrayBuffer(64)
      yield* api.hostRegister(buffer, originOf())
      assert.isTrue(yield* isFailure(api.hostUnregister(buffer, originOf())))
      yield* api.hostRegister(buffer, originOf())
      yield* api.hostUnregister(buffer, originOf())
    }))
})

const offersPlainFunctions = (rules: ReadonlyArray<FaultInjection.Rule>) =>
  Effect.map(inject(rules), ({ api }) => api.immediate !== undefined)

describe("a rule that waits", () => {
  const hangs: FaultInjection.Rule = { where: { operation: "malloc" }, fault: FaultInjection.hang }
  const slow = FaultInjection.delayed("3 seconds", { operation: "malloc" })

  it.scoped("takes the plain functions away, which no other rule does", () =>
    Effect.gen(function*() {
      const others = [fail(), FaultInjection.defect(), lie(), lie("half"), FaultInjection.deviceLost]
      assert.isTrue(yield* offersPlainFunctions([]))
      assert.isTrue(yield* offersPlainFunctions(others.map((fault) => ({ fault, when: "after", often: "always" }))))
      assert.isFalse(yield* offersPlainFunctions([{ fault: fail() }, hangs]))
      assert.isFalse(yield* offersPlainFunctions([{ fault: fail() }, slow]))
      assert.isFalse(yield* offersPlainFunctions([{ fault: fail(), delay: "1 millis" }]))
    }))

  for (const when of ["before", "after"] as const) {
    it.scoped(`hangs ${when} the effect until it is released, and then ends well`, () =>
      Effect.gen(function*() {
        const { api, injection, statistics } = yield* inject([{ ...hangs, when }])
        const call = yield* Effect.fork(api.malloc(64, 64, originOf()))
        yield* settle
        assert.strictEqual((yield* Fiber.poll(call))._tag, "None")
        assert.strictEqual(yield* injection.hangingCount, 1)
        assert.strictEqual((yield* statistics).mallocCount, when === "before" ? 0 : 1)
        yield* injection.releaseHangs
        const address: DevicePtr.DevicePtr = yield* Fiber.join(call)
        assert.strictEqual(yield* injection.hangingCount, 0)
        assert.strictEqual((yield* statistics).liveBytes, 64)
        yield* api.free(address, originOf())
        assert.strictEqual((yield* statistics).liveBytes, 0)
        yield* injection.assertAllFired
      }))
  }

  it.scoped("never fires at a plain function when it is armed too late to take those away, and is reported so", () =>
    Effect.gen(function*() {
      const { api, injection, seam } = yield* inject([], "immediate")
      yield* injection.arm({ ...hangs, name: "hangs" })
      yield* injection.arm({ ...slow, name: "is slow" })
      yield* seam.malloc(64)
      assert.deepStrictEqual((yield* Effect.flip(injection.assertAllFired)).rules, ["hangs", "is slow"])
      const call = yield* Effect.fork(api.malloc(64, 64, originOf()))
      yield* settle
      assert.strictEqual(yield* injection.hangingCount, 1)
      yield* injection.releaseHangs
      yield* Fiber.join(call)
    }))

  it.scoped("hangs uninterruptibly: who interrupts waits for the release", () =>
    Effect.gen(function*() {
      const { api, injection } = yield* inject([hangs])
      const call = yield* Effect.fork(api.malloc(64, 64, originOf()))
      yield* settle
      const interrupting = yield* Effect.fork(Fiber.interrupt(call))
      yield* settle
      assert.strictEqual((yield* Fiber.poll(interrupting))._tag, "None")
      yield* injection.releaseHangs
      yield* Fiber.join(interrupting)
    }))

  it.scoped("hangs no longer than its layer, and releases everybody at once", () =>
    Effect.gen(function*() {
      const device = yield* Layer.build(Layer.fresh(simulator))
      const scope = yield* Scope.make()
      const { api, injection } = yield* Scope.extend(inject([{ ...hangs, often: "always" }], "effects", device), scope)
      const calls = yield* Effect.forEach([1, 2, 3], () => Effect.fork(api.malloc(64, 64, originOf())))
      yield* settle
      assert.strictEqual(yield* injection.hangingCount, 3)
      yield* Scope.close(scope, Exit.void)
      assert.lengthOf(yield* Fiber.joinAll(calls), 3)
    }))

  it.scoped("delays on the clock of the program, each time anew", () =>
    Effect.gen(function*() {
      const { api, injection, statistics } = yield* inject([slow])
      for (const count of [1, 2]) {
        const call = yield* Effect.fork(api.malloc(64, 64, originOf()))
        yield* settle
        yield* TestClock.adjust("2999 millis")
        yield* settle
        assert.strictEqual((yield* Fiber.poll(call))._tag, "None")
        assert.strictEqual((yield* statistics).mallocCount, count - 1)
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(call)
        assert.strictEqual((yield* statistics).mallocCount, count)
      }
      assert.strictEqual((yield* injection.fired)[0]!.firedCount, 2)
      // What the rule is not about does not wait.
      yield* api.memoryInfo
    }))

  it.scoped("delays a failure too", () =>
    Effect.gen(function*() {
      const { api } = yield* inject([{ fault: FaultInjection.outOfMemory, delay: "1 second" }])
      const call = yield* Effect.fork(Effect.flip(api.malloc(64, 64, originOf())))
      yield* TestClock.adjust("999 millis")
      assert.strictEqual((yield* Fiber.poll(call))._tag, "None")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(call)).statusName, "OutOfMemory")
    }))
})
