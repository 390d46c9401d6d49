/** Callables that compute in TypeScript: what a launch sees, what it may touch, and what becomes of its failures. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { Arg, Callable, DeviceRunner, HostApi } from "leasehold"
import { onEveryForm, runnerOf } from "./utils/forms.ts"
import { add, addSignature } from "./utils/kernels.ts"
import * as Probe from "./utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "./utils/programs.ts"

const { Status } = HostApi

/** A tensor of every kind, and two scalars. */
const everything = {
  input: Arg.input("int32", ["n"]),
  output: Arg.output("int32", ["n"]),
  inout: Arg.inout("int32", ["n", 2]),
  weights: Arg.resident("int32"),
  cache: Arg.resident("int32", { access: "readWrite", dims: ["n"] }),
  scratch: Arg.scratch("int32", ["n", "m"]),
  step: Arg.scalar("int32"),
  seed: Arg.scalar("uint64")
}

const tensors = ["input", "output", "inout", "weights", "cache", "scratch"] as const

const argumentsOf = (runner: DeviceRunner.Service) =>
  Effect.gen(function*() {
    const weights = yield* runner.allocate("int32", [2, 2])
    yield* weights.upload(Int32Array.of(1, 2, 3, 4))
    const cache = yield* runner.allocate("int32", [3])
    yield* cache.upload(Int32Array.of(7, 8, 9))
    return {
      input: Int32Array.of(10, 20, 30),
      output: Int32Array.of(-1, -1, -1),
      inout: Int32Array.of(1, 2, 3, 4, 5, 6),
      weights,
      cache,
      step: 5,
      seed: 2n ** 64n - 1n
    }
  })

const dims = { dims: { m: 4 } }

/** Runs a launch on arguments of every kind. */
const launching = <E>(
  launch: (context: Callable.Context<typeof everything>) => Effect.Effect<void, E>
) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const args = yield* argumentsOf(runner)
    yield* runner.run(Callable.make({ signature: everything, launch }), args, dims)
    return args
  })

/** Hands a context over as a program without types would use it. */
interface Untyped {
  readonly read: (name: unknown) => Effect.Effect<unknown, { readonly _tag: string }>
  readonly write: (name: unknown, elements: unknown) => Effect.Effect<void, { readonly _tag: string }>
}

const untyped = (context: object): Untyped => context as Untyped

const reasonOf = (effect: Effect.Effect<unknown, { readonly _tag: string }>): Effect.Effect<string> =>
  Effect.match(effect, {
    onSuccess: () => "succeeded",
    onFailure: (error) => "reason" in error ? `${error._tag} ${String(error.reason)}` : error._tag
  })

const lost = (): Int32Array => {
  const view = new Int32Array(3)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}
const Resizable = ArrayBuffer as object as new(
  byteLength: number,
  options: { readonly maxByteLength: number }
) => ArrayBuffer

onEveryForm("callables in TypeScript", (form) => {
  describe("a launch", () => {
    it.scoped("sees resolved dimensions, scalars and shapes", () =>
      Effect.gen(function*() {
        let seen: unknown
        yield* launching(({ dims, scalars, shapes }) =>
          Effect.sync(() => {
            seen = { dims, scalars, shapes }
          })
        )
        assert.deepStrictEqual(seen, {
          dims: { n: 3, m: 4 },
          scalars: { step: 5, seed: 2n ** 64n - 1n },
          shapes: { input: [3], output: [3], inout: [3, 2], weights: [2, 2], cache: [3], scratch: [3, 4] }
        })
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("reads every kind of tensor; what nobody wrote is zero", () =>
      Effect.gen(function*() {
        const read: Record<string, ReadonlyArray<number>> = {}
        yield* launching((context) =>
          Effect.forEach(
            tensors,
            (name) => Effect.map(context.read(name), (elements) => void (read[name] = Array.from(elements)))
          )
        )
        assert.deepStrictEqual(read, {
          input: [10, 20, 30],
          output: [0, 0, 0],
          inout: [1, 2, 3, 4, 5, 6],
          weights: [1, 2, 3, 4],
          cache: [7, 8, 9],
          scratch: Array<number>(12).fill(0)
        })
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("writes outputs, inouts, scratch and residents that it may write, and reads what it wrote", () =>
      Effect.gen(function*() {
        const args = yield* launching((context) =>
          Effect.gen(function*() {
            const written = {
              output: Int32Array.of(1, 2, 3),
              inout: Int32Array.of(6, 5, 4, 3, 2, 1),
              scratch: Int32Array.from({ length: 12 }, (_, index) => index),
              cache: Int32Array.of(70, 80, 90)
            }
            for (const name of ["output", "inout", "scratch", "cache"] as const) {
              yield* context.write(name, written[name])
              assert.deepStrictEqual(yield* context.read(name), written[name])
            }
            assert.deepStrictEqual(yield* context.read("input"), Int32Array.of(10, 20, 30))
          })
        )
        assert.deepStrictEqual([...args.output, ...args.inout], [1, 2, 3, 6, 5, 4, 3, 2, 1])
        const cache = new Int32Array(3)
        yield* args.cache.download(cache)
        assert.deepStrictEqual([...cache], [70, 80, 90])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("computes with a zero budget, with host tensors and with every clear too", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* runner.configure({ maxBytes: 0 })
        for (const clear of ["all", "outputs", "none", undefined] as const) {
          const sum = Callable.make({
            signature: addSignature,
            clear,
            name: "sum",
            launch: ({ read, write }) =>
              Effect.gen(function*() {
                const [a, b] = yield* Effect.all([read("a"), read("b")])
                yield* write("c", a.map((value, index) => value + b[index]!))
              })
          })
          assert.deepStrictEqual([sum.name, sum.clear, sum.execution], ["sum", clear, "awaited"])
          const c = yield* runner.allocateHost("float32", [4])
          yield* runner.run(sum, { ...vectors(4, 2), c })
          assert.deepStrictEqual([...c.view], [2, 5, 8, 11])
        }
        yield* assertNothingHeld
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("reads copies: changing one changes nothing on the device, and each read is another", () =>
      Effect.gen(function*() {
        const args = yield* launching((context) =>
          Effect.gen(function*() {
            const elements = Int32Array.of(1, 2, 3)
            yield* context.write("output", elements)
            elements.fill(-5)
            const first = yield* context.read("output")
            first.fill(99)
            const second = yield* context.read("output")
            assert.notStrictEqual(first, second)
            assert.deepStrictEqual([...second], [1, 2, 3])
          })
        )
        assert.deepStrictEqual([...args.output], [1, 2, 3])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("moves in the order in which it starts the moves, however many at once", () =>
      Effect.gen(function*() {
        const args = yield* launching((context) =>
          Effect.gen(function*() {
            const moves = Array.from({ length: 30 }, (_, index) => [
              Effect.as(context.write("output", new Int32Array(3).fill(index)), -1),
              Effect.map(context.read("output"), (elements) => elements[1]!)
            ]).flat()
            const outcomes = yield* Effect.all(moves, { concurrency: "unbounded" })
            assert.deepStrictEqual(
              outcomes.filter((value) => value >= 0),
              Array.from({ length: 30 }, (_, index) => index)
            )
          })
        )
        assert.deepStrictEqual([...args.output], [29, 29, 29])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("of tensors without elements moves nothing", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const callable = Callable.make({
          signature: { x: Arg.input("float64", ["n"]), y: Arg.output("float64", ["n"]) },
          launch: ({ read, write }) =>
            Effect.gen(function*() {
              const x = yield* read("x")
              assert.deepStrictEqual([x.length, x instanceof Float64Array], [0, true])
              yield* write("y", x)
            })
        })
        const calls = yield* probe.during(runner.run(callable, { x: new Float64Array(0), y: new Float64Array(0) }))
        assert.deepStrictEqual(calls, [])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("is made for each run, bound or not, and counted when it succeeds", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        let launches = 0
        const callable = Callable.make({
          signature: addSignature,
          launch: ({ write }) => Effect.suspend(() => write("c", new Float32Array(4).fill(++launches)))
        })
        assert.strictEqual(callable.name, "callable")
        const args = vectors(4)
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(callable, args)
          assert.strictEqual(launches, 0)
          yield* run.launch
          assert.deepStrictEqual([...args.c], [-7, -7, -7, -7])
          yield* run.validate
        }))
        assert.deepStrictEqual([...args.c], [1, 1, 1, 1])
        yield* runner.run(callable, args)
        assert.deepStrictEqual([...args.c, launches], [2, 2, 2, 2, 2])
        assert.strictEqual((yield* runner.stats).device.launches, 2)
      }).pipe(Effect.provide(runnerOf(form))))
  })

  describe("refuses", () => {
    const refusals: ReadonlyArray<
      readonly [
        what: string,
        expected: string,
        use: (context: Untyped) => Effect.Effect<unknown, { readonly _tag: string }>
      ]
    > = [
      ["to read a name that is not there", "InvalidArgument Unknown", ({ read }) => read("nope")],
      ["to read a name of the prototype", "InvalidArgument Unknown", ({ read }) => read("toString")],
      ["to read a scalar", "InvalidArgument Unknown", ({ read }) => read("step")],
      ["to read without a name", "InvalidArgument Unknown", ({ read }) => read("")],
      ["to write a name that is not there", "InvalidArgument Unknown", ({ write }) => write("nope", new Int32Array(3))],
      ["to write a scalar", "InvalidArgument Unknown", ({ write }) => write("step", new Int32Array(1))],
      ["to write an input", "InvalidArgument NotATensor", ({ write }) => write("input", new Int32Array(3))],
      [
        "to write a resident that is read only",
        "InvalidArgument NotATensor",
        ({ write }) => write("weights", new Int32Array(4))
      ],
      ["elements of another type", "InvalidArgument DType", ({ write }) => write("output", new Uint32Array(3))],
      ["floats for integers", "InvalidArgument DType", ({ write }) => write("output", new Float32Array(3))],
      ["an array", "InvalidArgument DType", ({ write }) => write("output", [1, 2, 3])],
      ["nothing", "InvalidArgument DType", ({ write }) => write("output", undefined)],
      ["null", "InvalidArgument DType", ({ write }) => write("output", null)],
      ["too few elements", "ShapeMismatch", ({ write }) => write("output", new Int32Array(2))],
      ["too many elements", "ShapeMismatch", ({ write }) => write("output", new Int32Array(4))],
      ["no elements", "ShapeMismatch", ({ write }) => write("output", new Int32Array(0))]
    ]
    for (const [what, expected, use] of refusals) {
      it.scoped(`${what}, and the launch may go on`, () =>
        Effect.gen(function*() {
          const probe = yield* Probe.Probe
          let reason = ""
          let calls: ReadonlyArray<Probe.Call> = []
          const args = yield* launching((context) =>
            Effect.gen(function*() {
              const start = probe.calls.length
              reason = yield* reasonOf(use(untyped(context)))
              calls = probe.calls.slice(start)
              yield* context.write("output", Int32Array.of(4, 5, 6))
            })
          )
          assert.deepStrictEqual([reason, calls.length, ...args.output], [expected, 0, 4, 5, 6])
        }).pipe(Effect.provide(runnerOf(form))))
    }

    const sources: ReadonlyArray<readonly [what: string, expected: string, make: () => Int32Array]> = [
      ["a detached view", "InvalidArgument Detached", lost],
      [
        "a view of a resizable buffer",
        "InvalidArgument Resizable",
        () => new Int32Array(new Resizable(12, { maxByteLength: 64 }))
      ],
      ["a view of shared memory", "InvalidArgument Shared", () => new Int32Array(new SharedArrayBuffer(12))]
    ]
    for (const [what, expected, make] of sources) {
      it.scoped(`to write from ${what}, as a run refuses it for an input`, () =>
        Effect.gen(function*() {
          const probe = yield* Probe.Probe
          let reason = ""
          let calls: ReadonlyArray<Probe.Call> = []
          yield* launching((context) =>
            Effect.gen(function*() {
              const start = probe.calls.length
              reason = yield* reasonOf(context.write("output", make()))
              calls = probe.calls.slice(start)
            })
          )
          assert.deepStrictEqual([reason, calls.length], [expected, 0])
          yield* assertUsable
        }).pipe(Effect.provide(runnerOf(form))))
    }

    it.scoped("to move more at once than the event loop may stand still for", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const reasons: Array<string> = []
        const big = Callable.make({
          signature: { work: Arg.scratch("uint8", [1001]), fits: Arg.scratch("uint8", [1000]) },
          launch: ({ read, write }) =>
            Effect.gen(function*() {
              reasons.push(yield* reasonOf(read("work")))
              reasons.push(yield* reasonOf(write("work", new Uint8Array(1001))))
              reasons.push(yield* reasonOf(write("fits", new Uint8Array(1000))))
              reasons.push(yield* reasonOf(read("fits")))
            })
        })
        yield* runner.run(big, {})
        const tooLarge = "InvalidArgument InlineCopyTooLarge"
        assert.deepStrictEqual(reasons, [tooLarge, tooLarge, "succeeded", "succeeded"])
      }).pipe(Effect.provide(runnerOf(form, { maxInlineCopyBytes: 1000 }))))

    it.scoped("to be used after the launch, whatever has happened to the run since", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        let kept: Callable.Context<typeof addSignature> | undefined
        const callable = Callable.make({
          signature: addSignature,
          launch: (context) =>
            Effect.sync(() => {
              kept = context
            })
        })
        const refused = Effect.gen(function*() {
          const calls = yield* probe.during(Effect.gen(function*() {
            for (const use of [kept!.read("a"), kept!.write("c", new Float32Array(4))]) {
              const error = yield* failsWith("StaleRun", use)
              assert.include(["read", "write"], error.operation)
              assert.strictEqual(error.callable, "callable")
            }
          }))
          assert.deepStrictEqual(calls, [])
        })
        const scope = yield* Scope.make()
        const args = vectors(4)
        const run = yield* Scope.extend(runner.bind(callable, args), scope)
        yield* run.launch
        yield* refused
        yield* run.validate
        yield* refused
        yield* Scope.close(scope, Exit.void)
        yield* refused
        // Also while another run lies at the same addresses.
        yield* Effect.scoped(Effect.zipRight(runner.bind(add, vectors(4)), refused))
        assert.deepStrictEqual([...args.c], [0, 0, 0, 0])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("moves that a launch left behind when it ended", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const release = yield* Deferred.make<void>()
        const left: Array<Fiber.Fiber<unknown, Callable.ContextError>> = []
        const callable = Callable.make({
          signature: addSignature,
          launch: ({ read, write }) =>
            Effect.gen(function*() {
              for (const use of [read("a"), write("c", new Float32Array(4).fill(9))]) {
                left.push(yield* Effect.forkDaemon(Effect.zipRight(Deferred.await(release), use)))
              }
            })
        })
        const args = vectors(4)
        yield* runner.run(callable, args)
        yield* Deferred.succeed(release, undefined)
        for (const fiber of left) {
          yield* failsWith("StaleRun", Fiber.join(fiber))
        }
        assert.deepStrictEqual([...args.c], [0, 0, 0, 0])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("to work on a runner that was closed meanwhile", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } }), scope)
        const started = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        let reason = ""
        const callable = Callable.make({
          signature: addSignature,
          launch: ({ read }) =>
            Effect.gen(function*() {
              yield* Deferred.succeed(started, undefined)
              yield* Deferred.await(release)
              reason = yield* reasonOf(read("a"))
            })
        })
        const running = yield* Effect.fork(runner.run(callable, vectors(4)))
        yield* Deferred.await(started)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.await(closing)
        yield* failsWith("RunnerClosed", Effect.flatten(Fiber.await(running)))
        assert.strictEqual(reason, "RunnerClosed")
      }).pipe(Effect.provide(runnerOf(form))))
  })

  describe("failures", () => {
    it.scoped("of the user's own flow into the run, and no output is written", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const failing = Callable.make({
          signature: addSignature,
          launch: ({ write }) =>
            Effect.zipRight(
              Effect.orDie(write("c", new Float32Array(4).fill(1))),
              Effect.fail({ _tag: "OutOfTokens", left: 3 } as const)
            )
        })
        const args = vectors(4)
        const error = yield* failsWith("OutOfTokens", runner.run(failing, args))
        assert.strictEqual(error.left, 3)
        assert.deepStrictEqual([...args.c], [-7, -7, -7, -7])
        yield* Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(failing, args)
          yield* failsWith("OutOfTokens", run.launch)
          assert.strictEqual((yield* failsWith("InvalidArgument", run.validate)).reason, "RunOutOfOrder")
        }))
        const { device, runs } = yield* runner.stats
        assert.deepStrictEqual([runs.begun, runs.ended, runs.failed, device.launches], [2, 2, 2, 0])
        yield* assertUsable
        yield* assertNothingHeld
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("that are defects or interruptions stay what they are, and the run ends", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const broken = new Error("broken")
        for (
          const launch of [
            () => Effect.die(broken),
            () => {
              throw broken
            }
          ]
        ) {
          const exit = yield* Effect.exit(runner.run(Callable.make({ signature: addSignature, launch }), vectors(4)))
          assert.deepStrictEqual(exit, Exit.die(broken))
        }
        const interrupting = Callable.make({ signature: addSignature, launch: () => Effect.interrupt })
        const exit = yield* Effect.exit(runner.run(interrupting, vectors(4)))
        assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
        const { runs } = yield* runner.stats
        assert.deepStrictEqual([runs.begun, runs.ended, runs.active], [3, 3, 0])
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("of a launch that is interrupted while it waits: its finalizers run before the run ends", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const started = yield* Deferred.make<void>()
        const events: Array<string> = []
        const callable = Callable.make({
          signature: addSignature,
          launch: ({ read }) =>
            Effect.gen(function*() {
              yield* Deferred.succeed(started, undefined)
              return yield* Effect.never
            }).pipe(Effect.ensuring(
              Effect.gen(function*() {
                events.push(`cleaning up, reading ${yield* reasonOf(read("a"))}`)
                events.push(`active runs ${(yield* runner.stats).runs.active}`)
              })
            ))
        })
        const fiber = yield* Effect.fork(runner.run(callable, vectors(4)))
        yield* Deferred.await(started)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(events, ["cleaning up, reading succeeded", "active runs 1"])
        assert.strictEqual((yield* runner.stats).runs.active, 0)
        yield* assertNothingHeld
        yield* assertUsable
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("of the device reach the launch, which may handle them", () =>
      Effect.gen(function*() {
        const probe = yield* Probe.Probe
        const reasons: Array<unknown> = []
        const args = yield* launching((context) =>
          Effect.gen(function*() {
            probe.fail({ operation: "submit", purpose: "read", status: Status.TransferFailed })
            const read = yield* failsWith("TransferFailed", context.read("input"))
            probe.fail({ operation: "submit", purpose: "write", status: Status.TransferFailed })
            const write = yield* failsWith("TransferFailed", context.write("output", new Int32Array(3)))
            reasons.push(...[read, write].map(({ step, sticky, tensor }) => [step, tensor, sticky]))
            yield* context.write("output", Int32Array.of(1, 2, 3))
          })
        )
        assert.deepStrictEqual(reasons, [["read", "input", false], ["write", "output", false]])
        assert.deepStrictEqual([...args.output], [1, 2, 3])
      }).pipe(Effect.provide(runnerOf(form))))

    it.scoped("of the device that are sticky poison the runner, and the launch sees that too", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const reasons: Array<string> = []
        const callable = Callable.make({
          signature: addSignature,
          launch: ({ read }) =>
            Effect.gen(function*() {
              probe.fail({ operation: "submit", purpose: "read", status: Status.DeviceLost })
              reasons.push(yield* reasonOf(read("a")))
              reasons.push(yield* reasonOf(read("b")))
            })
        })
        yield* failsWith("RunnerPoisoned", runner.run(callable, vectors(4)))
        assert.deepStrictEqual(reasons, ["TransferFailed", "RunnerPoisoned StickyFault"])
        const { runs, state } = yield* runner.stats
        assert.deepStrictEqual([state, runs.begun, runs.ended], ["poisoned", 1, 1])
      }).pipe(Effect.provide(runnerOf(form))))
  })
})
