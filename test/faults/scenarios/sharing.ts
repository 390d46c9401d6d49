/** Programs with more runs than slots, tenants that share a runner, and buffers that grow and are trimmed. */
import { Effect, Fiber } from "effect"
import { Arg, DeviceRunner, type Run } from "leasehold"
import { add, addInline, native } from "../../utils/kernels.ts"
import { Closing, closingScenario, scenario } from "../scenario.ts"

const runnerOf = DeviceRunner.DeviceRunner
const pairOf = (length = 2) => ({
  a: new Float32Array(length).fill(1),
  b: new Float32Array(length).fill(2),
  c: new Float32Array(length)
})

const wait = { wait: { maxQueueCount: 8 } }

const failing = native("test_fail", {})

/** Effect's own operators over fibers do not stand an interruption at each of their steps. */
const severalFibers = ["runner", "reachable"] as const

/** Starts a fiber that ends with the program, whatever scope it is started in. */
const inProgram = <A, E, R>(
  work: (
    fork: <B, F, S>(effect: Effect.Effect<B, F, S>) => Effect.Effect<Fiber.RuntimeFiber<B, F>, never, S>
  ) => Effect.Effect<A, E, R>
) => Effect.flatMap(Effect.scope, (scope) => work((effect) => Effect.forkIn(effect, scope)))

/** Lets every fiber that can go on do so. */
const settle = Effect.repeatN(Effect.yieldNow(), 20)

/** Binds a run, does something while it is bound, and ends it. */
const whileBound = <A, E, R>(during: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.flatMap(runnerOf, (runner) => Effect.zipRight(runner.bind(addInline, pairOf()), during)))

const slicesOf = ({ leases }: Run.Run<unknown>) => leases.filter((lease) => lease._tag === "BufferNoop")

/** Whether no slice of one run overlaps a slice of another. */
const areApart = (one: Run.Run<unknown>, other: Run.Run<unknown>): boolean =>
  slicesOf(one).every((left) =>
    slicesOf(other).every((right) =>
      left.chunkIndex !== right.chunkIndex || left.offsetBytes + left.byteCount <= right.offsetBytes ||
      right.offsetBytes + right.byteCount <= left.offsetBytes
    )
  )

const growing = {
  temporaryBuffer: { growth: "highWater" }
} as const

const sum = native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite" }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
}, { execution: "inline" })

export const queueScenarios = [
  scenario({
    name: "two runs queued",
    delayed: true,
    interruptions: severalFibers,
    mayRecover: true,
    runner: { admission: wait },
    program: inProgram((fork) =>
      Effect.gen(function*() {
        const runner = yield* runnerOf
        yield* Effect.all([runner.load(addInline), runner.load(failing)])
        const args = pairOf()
        const [first, second] = yield* whileBound(Effect.gen(function*() {
          const fails = yield* fork(Effect.flip(runner.run(failing, {})))
          const runs = yield* fork(runner.run(addInline, args))
          yield* settle
          return [fails, runs] as const
        }))
        yield* Fiber.join(first)
        yield* Fiber.join(second)
      })
    )
  }),
  scenario({
    name: "raced and lost in the queue",
    interruptions: severalFibers,
    mayRecover: true,
    runner: { admission: wait },
    program: inProgram((fork) =>
      Effect.gen(function*() {
        const runner = yield* runnerOf
        yield* runner.load(addInline)
        yield* whileBound(Effect.gen(function*() {
          const behind = yield* fork(Effect.raceFirst(settle, runner.run(addInline, pairOf())))
          yield* Fiber.join(behind)
        }))
        yield* runner.run(addInline, pairOf())
      })
    )
  }),
  scenario({
    name: "a turn that does not come in time",
    interruptions: severalFibers,
    mayRecover: true,
    runner: { admission: { wait: { maxQueueCount: 8, deadline: "2 seconds" } } },
    program: inProgram((fork) =>
      Effect.gen(function*() {
        const runner = yield* runnerOf
        yield* runner.load(addInline)
        yield* whileBound(Effect.gen(function*() {
          const late = yield* fork(Effect.flip(runner.run(addInline, pairOf())))
          yield* Fiber.join(late)
        }))
      })
    )
  }),
  closingScenario({
    name: "runner closed while queued",
    delayed: true,
    interruptions: severalFibers,
    mayRecover: true,
    runner: { admission: wait },
    program: inProgram((fork) =>
      Effect.gen(function*() {
        const runner = yield* runnerOf
        yield* runner.load(addInline)
        const waiting = yield* whileBound(Effect.gen(function*() {
          const fibers = yield* Effect.forEach(
            [1, 2],
            () => fork(Effect.flip(runner.run(addInline, pairOf())))
          )
          yield* settle
          yield* yield* Closing
          return fibers
        }))
        yield* Effect.forEach(waiting, Fiber.join)
      })
    )
  }),
  scenario({
    name: "a resident closed under a run that waits",
    interruptions: severalFibers,
    mayRecover: true,
    runner: { admission: wait },
    program: inProgram((fork) =>
      Effect.gen(function*() {
        const runner = yield* runnerOf
        yield* Effect.all([runner.load(addInline), runner.load(sum)])
        const waiting = yield* whileBound(Effect.scoped(Effect.gen(function*() {
          const resident = yield* runner.allocate("float32", [2])
          const fiber = yield* fork(
            Effect.flip(runner.run(sum, { sum: resident, x: Float32Array.of(1, 2), y: new Float32Array(2) }))
          )
          yield* settle
          return fiber
        })))
        yield* Fiber.join(waiting)
      })
    )
  }),
  scenario({
    name: "a run that would wait for itself",
    mayRecover: true,
    runner: { admission: wait },
    program: Effect.flatMap(runnerOf, (runner) => whileBound(Effect.flip(runner.run(addInline, pairOf()))))
  }),
  scenario({
    name: "two slots at once",
    delayed: true,
    simulator: { lanes: "overlap" },
    runner: { slots: 2, admission: wait },
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* Effect.scoped(Effect.gen(function*() {
        const first = yield* runner.bind(add, pairOf())
        const second = yield* runner.bind(add, pairOf(4))
        yield* areApart(first, second) ? Effect.void : Effect.dieMessage("two runs lie in the same place")
        yield* first.launch
        yield* second.launch
        yield* first.validate
        yield* second.validate
      }))
      yield* runner.run(add, pairOf(256))
    })
  }),
  scenario({
    name: "growth past one chunk",
    delayed: true,
    runner: growing,
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.run(addInline, pairOf())
      // Old and new fit together, and then no more.
      yield* runner.run(addInline, pairOf(200))
      yield* runner.run(addInline, pairOf(320))
      yield* runner.run(addInline, pairOf())
    })
  }),
  scenario({
    name: "trimmed while another waits",
    // A device that gives less memory than it says is met again by the check afterwards, for which the buffer grows.
    faults: ["error", "outOfMemory", "deviceLost", "defect", "hang"],
    interruptions: severalFibers,
    mayRecover: true,
    runner: { ...growing, admission: wait },
    program: inProgram((fork) =>
      Effect.gen(function*() {
        const runner = yield* runnerOf
        yield* runner.load(addInline)
        const waiting = yield* whileBound(Effect.gen(function*() {
          const fiber = yield* fork(runner.run(addInline, pairOf(64)))
          yield* settle
          yield* Effect.flip(runner.trim(0))
          return fiber
        }))
        yield* Fiber.join(waiting)
        yield* runner.trim(64)
        yield* runner.run(addInline, pairOf())
        yield* runner.trim(0)
      })
    )
  }),
  scenario({
    name: "two tenants",
    mayRecover: true,
    runner: { slots: 2 },
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* Effect.scoped(Effect.gen(function*() {
        const reserved = yield* runner.budget("reserved", { reserveBytes: 1024 })
        const bounded = yield* runner.budget("bounded", { maxBytes: 512 })
        yield* Effect.flip(bounded.run(addInline, pairOf(256)))
        yield* bounded.run(addInline, pairOf())
        yield* Effect.scoped(Effect.zipRight(reserved.bind(addInline, pairOf()), Effect.flip(reserved.close)))
        yield* bounded.run(addInline, pairOf(32))
        yield* reserved.close
      }))
      // The whole buffer is there again.
      yield* runner.run(addInline, pairOf(320))
    })
  })
]
