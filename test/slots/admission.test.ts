/** Admission: who waits comes to its turn, in order, or is told why not. */
import { assert, it } from "@effect/vitest"
import { Context, type Duration, Effect, Either, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import { Arg, Callable, DeviceRunner } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { settle } from "../utils/gated.ts"
import { assertNothingHeld, assertUsable, failsWith } from "../utils/programs.ts"
import { bytes, copy, hold, isCopied, queue, rangeOf, refused, wait } from "./holding.ts"

onEveryForm("admission", (form) => {
  it.scoped("runs that wait are admitted in the order in which they came", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const first = yield* hold(512)
      const ended: Array<string> = []
      const fibers = yield* Effect.forEach(["a", "b", "c"], (name) => queue(name, 512, ended))
      const { runs } = yield* runner.stats
      assert.deepInclude(runs, { active: 1, waiting: 3, waitingBytes: 1536, waitingHighWater: 3, waited: 3 })
      assert.deepStrictEqual(ended, [])
      yield* first.end
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(ended, ["a", "b", "c"])
      assert.deepInclude((yield* runner.stats).runs, { active: 0, waiting: 0, waitingBytes: 0, refused: 0 })
      yield* assertNothingHeld
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { admission: wait }))))

  it.scoped("a large run starts when those have ended that were there before it, however many small ones come", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const before = yield* Effect.forEach([1, 2, 3], () => hold(1024))
      const ended: Array<string> = []
      const large = yield* queue("large", 65_536, ended)
      const small = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (index) => queue(`small ${index}`, 512, ended))
      for (const { end } of before) {
        // Each of the small ones would fit, and none passes.
        assert.deepStrictEqual(ended, [])
        yield* end
        yield* settle
      }
      yield* Fiber.join(large)
      yield* Fiber.joinAll(small)
      assert.strictEqual(ended[0], "large")
      assert.strictEqual((yield* runner.stats).runs.waited, 7)
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, { slots: 4, admission: wait }))))

  it.scoped("a run that could never fit fails at once, whatever the policy", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* hold(512)
      assert.deepInclude(yield* failsWith("BudgetExhausted", runner.run(copy, bytes(262_144))), { reason: "NeverFits" })
      assert.strictEqual((yield* runner.stats).runs.waiting, 0)
    }).pipe(Effect.provide(runnerOf(form, { admission: wait }))))

  it.scoped("a run beyond the queue is refused with the figures of those before it", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const first = yield* hold(16_384)
      const ended: Array<string> = []
      const fiber = yield* queue("a", 65_536, ended)
      const error = yield* Fiber.join(yield* Effect.fork(refused(runner.run(copy, bytes(512)))))
      assert.deepInclude(error, {
        reason: "QueueFull",
        callable: "test_copy",
        budget: "",
        requestedBytes: 512,
        queueCount: 1,
        waitingBytes: 65_536,
        freeBytes: 49_152,
        largestFreeBytes: 49_152,
        retryAfterMillis: 0
      })
      assert.include(
        error.message,
        "found its queue full: 1 run waits before it, for 65536 B in all, and 49152 B are free"
      )
      assert.strictEqual((yield* runner.stats).runs.refused, 1)
      yield* first.end
      yield* Fiber.join(fiber)
    }).pipe(Effect.provide(runnerOf(form, { slots: 2, admission: { wait: { maxQueueCount: 1 } } }))))

  it.scoped("a run whose turn does not come in time is refused, and those behind it move up", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const first = yield* hold(512)
      const ended: Array<string> = []
      const late = yield* Effect.fork(refused(runner.run(copy, bytes(512))))
      yield* settle
      yield* TestClock.adjust("3 seconds")
      const next = yield* queue("next", 512, ended)
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(late)
      assert.deepInclude(error, { reason: "Deadline", queueCount: 1 })
      yield* first.end
      yield* Fiber.join(next)
      assert.deepStrictEqual(ended, ["next"])
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { admission: { wait: { maxQueueCount: 4, deadline: "5 seconds" } } }))))

  it.scoped("the deadline of a run holds also where it cannot be interrupted, and an interruption does not end its wait", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const first = yield* hold(512)
      const late = yield* Effect.fork(Effect.uninterruptible(refused(runner.run(copy, bytes(512)))))
      yield* settle
      const interrupted = yield* Effect.fork(Effect.uninterruptible(runner.run(copy, bytes(512))))
      yield* settle
      yield* TestClock.adjust("4 seconds")
      yield* Fiber.interruptFork(interrupted)
      yield* settle
      assert.deepInclude((yield* runner.stats).runs, { waiting: 2 })
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* Fiber.join(late)).reason, "Deadline")
      yield* Fiber.await(interrupted)
      yield* first.end
      assert.deepInclude((yield* runner.stats).runs, { active: 0, waiting: 0, refused: 2 })
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { admission: { wait: { maxQueueCount: 4, deadline: "5 seconds" } } }))))

  it.scoped("a run that would wait for too long is shed, by what was seen of late", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const ended: Array<string> = []
      // Nothing was seen yet, so the first ones wait. Each run then takes two seconds.
      let { end } = yield* hold(512)
      for (const name of ["a", "b", "c"]) {
        const scope = yield* Scope.make()
        const next = yield* Effect.fork(Scope.extend(runner.bind(copy, bytes(512)), scope))
        yield* settle
        yield* TestClock.adjust("2 seconds")
        yield* end
        yield* Fiber.join(next)
        end = Scope.close(scope, Exit.void)
        ended.push(name)
      }
      const waiting = yield* queue("d", 512, ended)
      const error = yield* refused(runner.run(copy, bytes(512)))
      assert.deepInclude(error, { reason: "Shed", queueCount: 1, retryAfterMillis: 4000 })
      assert.include(error.message, "retry after about 4000 ms")
      yield* end
      yield* Fiber.join(waiting)
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { admission: { shed: { maxQueueCount: 8, maxWait: "3 seconds" } } }))))

  it.scoped("runs wait again once others end sooner than an estimate says by which everybody is shed", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      /** Whether a run comes to its turn that begins to wait so long before another ends. */
      const waitsFor = (duration: Duration.DurationInput) =>
        Effect.gen(function*() {
          const first = yield* hold(512)
          const next = yield* Effect.fork(Effect.either(runner.run(copy, bytes(512))))
          yield* settle
          yield* TestClock.adjust(duration)
          yield* first.end
          return Either.isRight(yield* Fiber.join(next))
        })
      assert.isTrue(yield* waitsFor("10 seconds"))
      const outcomes = yield* Effect.replicateEffect(waitsFor("10 millis"), 20)
      assert.isFalse(outcomes[0])
      assert.isTrue(outcomes.at(-1))
      assert.isFalse((yield* Effect.replicateEffect(waitsFor("10 seconds"), 3)).at(-1))
    }).pipe(Effect.provide(runnerOf(form, { admission: { shed: { maxQueueCount: 4, maxWait: "1 seconds" } } }))))

  it.scoped("a run that is interrupted while it waits leaves its place, and takes nothing along", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const first = yield* hold(512)
      const ended: Array<string> = []
      const large = yield* queue("large", 65_536, ended)
      const small = yield* queue("small", 512, ended)
      yield* Fiber.interrupt(large)
      yield* Fiber.join(small)
      assert.deepStrictEqual(ended, ["small"])
      yield* first.end
      assert.deepInclude((yield* runner.stats).runs, { active: 0, waiting: 0, waitingBytes: 0 })
      yield* assertNothingHeld
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { slots: 2, admission: wait }))))

  it.effect("runs that wait are refused when the runner closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(runnerOf(form, { admission: wait }), scope)
      const runner = Context.get(context, DeviceRunner.DeviceRunner)
      yield* Scope.extend(runner.bind(copy, bytes(512)), scope)
      const waiting = yield* Effect.fork(refused(runner.run(copy, bytes(512))))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* Fiber.join(waiting), { reason: "Draining", budget: "" })
      yield* failsWith("RunnerClosed", runner.run(copy, bytes(512)))
    }))

  it.scoped("a run is refused that would wait for one which its own fiber holds", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* hold(512)
      const error = yield* refused(runner.run(copy, bytes(512)))
      assert.strictEqual(error.reason, "WaitsForItself")
      assert.include(error.message, "would wait for a run that its own fiber holds")
      const outer = Callable.make({
        signature: { x: Arg.inout("float32", ["n"]) },
        launch: () => Effect.asVoid(refused(runner.run(copy, bytes(512))))
      })
      // The slot is held by this fiber itself, so this one is refused as well.
      assert.strictEqual((yield* refused(runner.run(outer, { x: new Float32Array(4) }))).reason, "WaitsForItself")
    }).pipe(Effect.provide(runnerOf(form, { admission: wait }))))

  it.scoped("a run inside a run waits for others, and only for others", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const other = yield* Effect.forkDaemon(Effect.scoped(Effect.zipRight(hold(512), Effect.never)))
      yield* settle
      yield* hold(512)
      const inner = yield* Effect.fork(Effect.void)
      yield* Fiber.join(inner)
      // Both slots are taken; the other fiber's run will end, so this one may wait for it.
      const later = yield* Effect.fork(Effect.zipRight(settle, Fiber.interrupt(other)))
      yield* runner.run(copy, bytes(512))
      yield* Fiber.join(later)
      assert.strictEqual((yield* runner.stats).runs.waited, 1)
    }).pipe(Effect.provide(runnerOf(form, { slots: 2, admission: wait }))))

  it.scoped("what a run waits with is looked at again when its turn has come", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const first = yield* hold(512)
      const args = bytes(512)
      const gone = yield* Effect.fork(failsWith("InvalidArgument", runner.run(copy, args)))
      yield* settle
      structuredClone(args.to, { transfer: [args.to.buffer] })
      yield* first.end
      assert.deepInclude(yield* Fiber.join(gone), { reason: "Detached", argument: "to" })
      yield* assertNothingHeld
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { admission: wait }))))

  it.scoped("a run that comes between the old and the new chunks waits for them, or is told that it will never fit", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      // Old and new do not fit together, so for a moment there are none.
      const configured = yield* Effect.fork(runner.configure({ maxBytes: "48 KiB", alignmentBytes: 256 }))
      const args = bytes(512)
      const runs = yield* Effect.fork(runner.run(copy, args))
      const never = yield* Effect.fork(Effect.exit(runner.run(copy, bytes(65_536))))
      yield* Fiber.join(configured)
      yield* Fiber.join(runs)
      assert.isTrue(isCopied(args))
      const exit = yield* Fiber.join(never)
      assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error._tag === "BudgetExhausted")
      assert.deepInclude((yield* runner.stats).runs, { active: 0, waiting: 0, waitingBytes: 0 })
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, { slots: 2, admission: wait }))))

  it.scoped("runs wait while the buffer is configured, and are laid out anew", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.load(copy)
      const configured = yield* Effect.fork(runner.configure({ maxBytes: "32 KiB", alignmentBytes: 1024 }))
      yield* Effect.yieldNow()
      assert.strictEqual((yield* runner.stats).state, "configuring")
      const args = bytes(1024)
      yield* runner.run(copy, args)
      assert.isTrue(isCopied(args))
      assert.strictEqual((yield* runner.stats).runs.waited, 1)
      yield* Fiber.join(configured)
      const held = yield* hold(1024)
      assert.deepStrictEqual(rangeOf(held.run), [0, 0, 1536])
    }).pipe(Effect.provide(runnerOf(form, { admission: wait }))))
})
