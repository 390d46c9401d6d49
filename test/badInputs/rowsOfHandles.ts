/** Rows 33 to 48: handles, names, arguments that share memory, and calls at the wrong time. */
import { assert } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Arg, DeviceRunner, Simulator } from "leasehold"
import { settle } from "../utils/gated.ts"
import { add, addInline, native } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"
import { answered, failsAs, refused, type Row, type Try } from "./row.ts"
import { argumentsOf, everyRun, movesOf, signatures } from "./ways.ts"
import { goodArguments, type Untyped, untyped } from "./world.ts"

/** Everything that a runner can be asked for. */
const everything = (runner: DeviceRunner.Service): ReadonlyArray<Try> => {
  const { allocate, allocateHost, bind, budget, configure, load, plan, run, trim }: Untyped = untyped(runner)
  return [
    run(addInline, vectors(4)),
    run(add, vectors(4)),
    bind(add, vectors(4)),
    plan(add, vectors(4)),
    load(add),
    allocate("float32", [4]),
    allocateHost("float32", [4]),
    configure({ maxBytes: 4096 }),
    budget("tenant", { maxBytes: 1024 }),
    trim(0),
    run(null, null)
  ]
}

/** A runner with one slot that lets two runs wait for it. */
const waitingRunner = Effect.orDie(DeviceRunner.make({
  temporaryBuffer: { maxBytes: "4 KiB" },
  stagingMaxBytes: "64 KiB",
  maxInlineCopyBytes: "64 KiB",
  admission: { wait: { maxQueueCount: 2 } }
}))

/** A runner whose scope has ended. */
const closed: Effect.Effect<DeviceRunner.Service> = Effect.scoped(Effect.map(
  Layer.build(
    DeviceRunner.layer({ temporaryBuffer: { maxBytes: 4096 } }).pipe(
      Layer.provide(Layer.fresh(Simulator.layer({ totalBytes: "1 MiB" })))
    )
  ),
  (context) => Context.get(context, DeviceRunner.DeviceRunner)
)).pipe(Effect.orDie)

/** A signature of so many arguments. */
const scratches = (count: number): Arg.Signature => {
  const one = Arg.scratch("float32", [4])
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`t${index}`, one]))
}

export const rowsOfHandles: ReadonlyArray<Row> = [
  {
    number: 33,
    input: "a handle of another runner",
    entries: [argumentsOf(33, "InvalidArgument: ForeignHandle"), movesOf(33, "InvalidArgument: ForeignHandle")]
  },
  {
    number: 34,
    input: "the handle of a run that has ended",
    entries: [
      refused(
        "launch, validate",
        "StaleRun",
        ({ runner }) =>
          Effect.map(
            Effect.scoped(runner.bind(add, vectors(4))),
            (run) => [run.launch, run.validate, { ...run }.launch]
          )
      )
    ]
  },
  {
    number: 35,
    input: "a handle that is kept while its memory is another's",
    entries: [
      answered("launch, validate", "StaleRun", ({ runner }) =>
        Effect.gen(function*() {
          const stale = yield* Effect.scoped(runner.bind(add, vectors(4)))
          const args = vectors(4)
          const run = yield* runner.bind(add, args)
          // The run of now has the slot, and lies where the other has lain.
          yield* failsAs("StaleRun", stale.launch)
          yield* failsAs("StaleRun", stale.validate)
          yield* run.launch
          yield* run.validate
          assert.deepStrictEqual([...args.c], [1, 3, 5, 7])
        })),
      argumentsOf(35, "InvalidArgument: HandleClosed"),
      movesOf(35, "InvalidArgument: HandleClosed")
    ]
  },
  {
    number: 36,
    input: "releasing twice",
    doesNotApply: "users release nothing by hand; a scope that is closed twice releases once",
    entries: [
      answered("closing a scope", "released once", ({ probe, runner }) =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          yield* Scope.extend(runner.allocate("float32", [4]), scope)
          yield* Scope.extend(runner.bind(add, vectors(4)), scope)
          const calls = yield* probe.during(Scope.close(scope, Exit.void))
          assert.strictEqual(calls.filter(({ operation }) => operation === "free").length, 1)
          assert.deepStrictEqual(yield* probe.during(Scope.close(scope, Exit.void)), [])
        }))
    ]
  },
  { number: 37, input: "a number or a bigint as a handle", entries: [argumentsOf(37, "InvalidArgument: NotATensor")] },
  {
    number: 38,
    input: "a handle that was cloned, spread, inherited, or went through JSON",
    entries: [argumentsOf(38, "InvalidArgument: NotATensor"), movesOf(38, "InvalidArgument: NotATensor")]
  },
  {
    number: 39,
    input: "the same array as an input and as an output",
    entries: [
      refused("run, bind and plan", "InvalidArgument: Aliased", (bench) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(bench.runner)
          const host = yield* bench.runner.allocateHost("float32", [29])
          const same = new Float32Array(29)
          return [
            ...yield* everyRun(bench, { ...good, x: same, y: same }),
            ...yield* everyRun(bench, { ...good, x: host, y: host })
          ]
        })),
      refused(
        "a resident that the kernel may write",
        "InvalidArgument: Aliased",
        ({ runner }) =>
          Effect.gen(function*() {
            const one = yield* runner.allocate("float32", [4])
            const written = native("test_nothing", {
              one: Arg.resident("float32"),
              two: Arg.resident("float32", { access: "readWrite" })
            })
            yield* runner.load(written)
            return [runner.run(written, { one, two: one }), runner.bind(written, { one, two: one })]
          })
      )
    ]
  },
  {
    number: 40,
    input: "arrays that overlap, of which one is written; inputs may",
    entries: [
      refused("run, bind and plan", "InvalidArgument: Aliased", (bench) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(bench.runner)
          const buffer = new ArrayBuffer(400)
          const at = (offset: number) => new Float32Array(buffer, offset, 29)
          const tries = yield* Effect.forEach([
            { x: at(0), y: at(112) },
            { x: at(112), y: at(0) },
            { y: at(0), raw: new Uint8Array(buffer, 115, 3) },
            { y: at(0), z: new Int32Array(buffer, 100, 5) },
            { x: at(0), z: new Int32Array(buffer, 0, 5) }
          ], (shared) => everyRun(bench, { ...good, ...shared }))
          return tries.flat()
        })),
      answered("run", "taken where only inputs overlap, or none by a byte", (bench) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(bench.runner)
          const buffer = new ArrayBuffer(400)
          const x = new Float32Array(buffer, 0, 29)
          const y = new Float32Array(buffer, 116, 29)
          yield* Effect.all(
            yield* everyRun(bench, { ...good, x, y, raw: new Uint8Array(buffer, 10, 3) }).pipe(
              Effect.map((tries) => tries.slice(0, 2))
            )
          )
        }))
    ]
  },
  {
    number: 41,
    input: "a name that is missing, or in no signature",
    entries: [
      refused("run, bind and plan", "InvalidArgument: Missing", (bench) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(bench.runner)
          const withoutOne = Object.keys(good).map((name) => Object.assign({}, good, { [name]: undefined }))
          const noArguments = [null, undefined, 0, "x", true, () => good, [], new Map(Object.entries(good))]
          return (yield* Effect.forEach([...withoutOne, ...noArguments], (args) => everyRun(bench, args))).flat()
        })),
      refused("run, bind and plan", "InvalidArgument: Unknown", (bench) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(bench.runner)
          const names = ["extra", "X", "work", "constructor", "0"]
          const tries = yield* Effect.forEach(
            names,
            (name) => everyRun(bench, { ...good, [name]: new Float32Array(29) })
          )
          return tries.flat()
        }))
    ]
  },
  {
    number: 42,
    input: "a name that is empty, `__proto__`, or ten million characters long",
    entries: [
      signatures(42),
      refused("run, bind and plan", "InvalidArgument: Unknown", (bench) =>
        Effect.gen(function*() {
          const good = yield* goodArguments(bench.runner)
          const tries = yield* Effect.forEach(["", "__proto__", "n".repeat(10_000_000)], (name) =>
            everyRun(bench, Object.defineProperty({ ...good }, name, { value: 1, enumerable: true })))
          return tries.flat()
        }))
    ]
  },
  {
    number: 43,
    input: "a million tensors; the limit is 65,536 arguments",
    entries: [
      refused("load, run, bind and plan", "InvalidArgument: Signature", ({ untyped }) => {
        const many = native("test_nothing", scratches(65_537))
        return [
          untyped.load(many),
          untyped.run(many, {}),
          untyped.bind(many, {}),
          untyped.plan(many, {}),
          untyped.load(native("test_nothing", scratches(1_000_000)))
        ]
      })
    ],
    isOutsideRunners: true
  },
  {
    number: 44,
    input: "an external pointer that is null or misaligned",
    doesNotApply: "external memory is resident tensors only, which the runner allocates, aligned",
    entries: []
  },
  {
    number: 45,
    input: "anything asked of a closed runner",
    entries: [refused("every operation", "RunnerClosed", () => Effect.map(closed, everything))]
  },
  {
    number: 46,
    input: "a run inside a run of the same runner, which would wait for itself",
    entries: [
      answered("run, bind", "RunAlreadyActive", (bench) =>
        Effect.scoped(Effect.gen(function*() {
          const { runner } = bench
          yield* Effect.all([runner.load(add), runner.load(addInline)])
          yield* runner.bind(add, vectors(4))
          const before = yield* bench.ledger.snapshot
          for (
            const attempt of [
              runner.run(add, vectors(4)),
              runner.run(addInline, vectors(4)),
              runner.bind(add, vectors(4))
            ]
          ) {
            yield* failsAs("RunAlreadyActive", attempt)
          }
          assert.deepStrictEqual(yield* bench.ledger.snapshot, before)
        }))),
      answered(
        "run, bind where runs wait",
        "AdmissionRefused: WaitsForItself",
        () =>
          Effect.scoped(Effect.gen(function*() {
            const runner = yield* waitingRunner
            yield* runner.load(addInline)
            yield* runner.bind(add, vectors(4))
            for (const attempt of [runner.run(addInline, vectors(4)), runner.bind(add, vectors(4))]) {
              yield* failsAs("AdmissionRefused: WaitsForItself", attempt)
            }
          }))
      )
    ]
  },
  {
    number: 47,
    input: "anything asked of a runner whose device is lost",
    entries: [
      answered("every operation", "RunnerPoisoned: StickyFault", (bench) =>
        Effect.gen(function*() {
          const { ledger, probe, runner } = bench
          yield* failsAs("LaunchFailed: DeviceLost", runner.run(native("test_lose_device", {}), {}))
          const { operationCount } = yield* ledger.snapshot
          const callCount = probe.calls.length
          for (const attempt of everything(runner)) {
            const { message } = yield* failsAs("RunnerPoisoned: StickyFault", attempt)
            assert.include(message, "DeviceLost", "the cause is kept")
          }
          assert.deepStrictEqual([probe.calls.length, (yield* ledger.snapshot).operationCount], [
            callCount,
            operationCount
          ])
        }), true)
    ]
  },
  {
    number: 48,
    input: "closing a runner while runs are queued",
    entries: [
      answered("run, bind", "AdmissionRefused: Draining", () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const runner = yield* Scope.extend(waitingRunner, scope)
          const held = yield* Scope.make()
          yield* Scope.extend(runner.bind(add, vectors(4)), held)
          const waiting = yield* Effect.forEach([
            runner.run(add, vectors(4)),
            Effect.scoped(runner.bind(add, vectors(4)))
          ], (attempt) => Effect.fork(failsAs("AdmissionRefused: Draining", attempt)))
          yield* settle
          yield* Scope.close(scope, Exit.void)
          yield* Fiber.joinAll(waiting)
          yield* Scope.close(held, Exit.void)
        }))
    ]
  }
]
