import { assert, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Exit, Layer, Logger, Scope, type Tracer } from "effect"
import { Arg, DeviceRunner, Errors, type RunnerOptions, Simulator } from "leasehold"
import { deviceOf, forms, onEveryForm, runnerOf } from "./utils/forms.ts"
import { add, addInline, native } from "./utils/kernels.ts"
import * as Probe from "./utils/probe.ts"
import { assertUsable, failsWith, vectors } from "./utils/programs.ts"

const device = Simulator.layer({ totalBytes: "64 MiB" })

/** Everything that is logged while an effect runs. */
const logsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const messages: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      messages.push(`${logLevel.label} ${String(message)}`)
    })
    yield* Effect.provide(effect, Logger.replace(Logger.defaultLogger, logger))
    return messages
  })

onEveryForm("a runner", (form) => {
  it.scoped("closed with a run still active ends it first, and logs a warning", () =>
    Effect.gen(function*() {
      const messages = yield* logsOf(Effect.gen(function*() {
        const scope = yield* Scope.make()
        const runner = yield* Scope.extend(DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } }), scope)
        yield* runner.bind(add, vectors(8))
        yield* Scope.close(scope, Exit.void)
        yield* Scope.close(scope, Exit.void)
      }))
      assert.deepStrictEqual(messages, [
        "WARN the runner is closed while a run of test_add is active; the run is ended first"
      ])
    }).pipe(Effect.provide(deviceOf(form))))

  it.scoped("logs one warning for each release that the device refuses", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "free", purpose: "tensor", times: 1, status: 14 })
      const messages = yield* logsOf(runner.run(addInline, vectors(8)))
      assert.deepStrictEqual(messages, [
        "WARN the device did not take back 32 B of \"c\" (Busy); they are in quarantine"
      ])
      assert.strictEqual((yield* runner.stats).releaseFailures, 1)
    }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: 0 } }))))

  it.scoped("plans what a run would need, without touching the device", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const callable = native("test_nothing", {
        x: Arg.input("float32", ["n"]),
        state: Arg.inout("uint8", [300]),
        work: Arg.scratch("float32", ["n", 4]),
        y: Arg.output("float64", ["n"])
      })
      const args = { x: new Float32Array(10), state: new Uint8Array(300), y: new Float64Array(10) }
      const calls = yield* probe.during(Effect.gen(function*() {
        const plan = yield* runner.plan(callable, args)
        assert.deepStrictEqual(plan.dims, { n: 10 })
        assert.deepStrictEqual(
          plan.leases.map((lease) => [lease._tag, lease.tensor, lease.byteCount]),
          [["BufferNoop", "x", 40], ["BufferNoop", "state", 300], ["BufferNoop", "work", 160], ["BufferNoop", "y", 80]]
        )
        assert.strictEqual(plan.bufferBytes, 5 * 256)
        assert.strictEqual(plan.paddingBytes, 5 * 256 - 580)
        assert.strictEqual(plan.deviceMallocs, 0)
        assert.deepStrictEqual([plan.stageCalls, plan.copyBackCalls], [1, 1])
        assert.strictEqual((yield* runner.stats).runs.begun, 0)
      }))
      assert.deepStrictEqual(calls, [])
      yield* runner.run(callable, args)
      const { device: counters, temporaryBuffer } = yield* runner.stats
      assert.strictEqual(temporaryBuffer.highWaterBytes, 5 * 256)
      assert.strictEqual(counters.stageCalls, 1)
      assert.strictEqual(counters.copyBackCalls, 1)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("plans beside a bound run of the same callable, and does not disturb it", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const args = vectors(8)
      const run = yield* runner.bind(add, args)
      yield* runner.plan(add, vectors(100))
      yield* run.launch
      yield* run.validate
      assert.strictEqual(args.c[7], 7 + 8)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("refuses a zero budget nothing, and a device without room by name", () =>
    Effect.gen(function*() {
      const error = yield* failsWith(
        "DeviceOutOfMemory",
        Effect.scoped(DeviceRunner.make({ temporaryBuffer: { maxBytes: "65 MiB" } }))
      )
      assert.strictEqual(error.requestedBytes, 65 * 2 ** 20)
      assert.strictEqual(error.statusName, "OutOfMemory")
      yield* Effect.provide(assertUsable, DeviceRunner.layer({ temporaryBuffer: { maxBytes: 0 } }))
    }).pipe(Effect.provide(deviceOf(form))))
})

it.scoped("two runners live on one device, each with its own budget and its own handles", () =>
  Effect.gen(function*() {
    const first = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } })
    const second = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: 8192 } })
    const resident = yield* first.allocate("float32", [4])
    const callable = native("test_nothing", { kept: Arg.resident("float32") })
    yield* first.run(callable, { kept: resident })
    const error = yield* failsWith("InvalidArgument", second.run(callable, { kept: resident }))
    assert.strictEqual(error.reason, "ForeignHandle")
    assert.strictEqual((yield* second.stats).temporaryBuffer.retainedBytes, 8192)
  }).pipe(Effect.provide(device)))

class Other extends Context.Tag("test/Other")<Other, DeviceRunner.Service>() {}

it.scoped("two devices live in one program, under tags of one's own", () =>
  Effect.gen(function*() {
    const one = yield* DeviceRunner.DeviceRunner
    const other = yield* Other
    yield* one.run(add, vectors(4))
    assert.deepStrictEqual([(yield* one.stats).runs.begun, (yield* other.stats).runs.begun], [1, 0])
  }).pipe(
    Effect.provide([
      DeviceRunner.layer().pipe(Layer.provide(Layer.fresh(device))),
      Layer.scoped(Other, DeviceRunner.make()).pipe(Layer.provide(Layer.fresh(device)))
    ])
  ))

it.effect("reads its options from the environment", () =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const { residents, temporaryBuffer } = yield* runner.stats
    assert.deepStrictEqual(
      [temporaryBuffer.maxBytes, temporaryBuffer.chunkCount, residents.maxBytes],
      [3 * 2 ** 20, 3, 4096]
    )
  }).pipe(
    Effect.provide(DeviceRunner.layerConfig().pipe(Layer.provide(device))),
    Effect.withConfigProvider(ConfigProvider.fromMap(
      new Map([
        ["LEASEHOLD_MAX_BYTES", "3 MiB"],
        ["LEASEHOLD_CHUNK_COUNT", "3"],
        ["LEASEHOLD_RESIDENT_MAX_BYTES", "4 KiB"]
      ])
    ))
  ))

it.effect("is as by default in an empty environment", () =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    assert.strictEqual((yield* runner.stats).temporaryBuffer.maxBytes, 64 * 2 ** 20)
  }).pipe(
    Effect.provide(DeviceRunner.layerConfig().pipe(Layer.provide(Simulator.layer()))),
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map()))
  ))

/** The names of the spans that a program opens. */
const spansOf = (options: RunnerOptions.RunnerOptions) =>
  Effect.gen(function*() {
    const names: Array<string> = []
    const program = Effect.scoped(Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(addInline, vectors(4))
      const run = yield* runner.bind(add, vectors(4))
      yield* run.launch
      yield* run.validate
    })).pipe(Effect.provide(runnerOf(forms[0]!, options)))
    const current = yield* Effect.tracer
    const tracer: Tracer.Tracer = {
      ...current,
      span: (name, ...rest) => {
        names.push(name)
        return current.span(name, ...rest)
      },
      context: (execute, fiber) => current.context(execute, fiber)
    }
    yield* Effect.withTracer(program, tracer)
    return names
  })

it.effect("opens spans only where tracing is asked for", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* spansOf({}), [])
    assert.deepStrictEqual(yield* spansOf({ tracing: true }), [
      "DeviceRunner.run",
      "DeviceRunner.bind",
      "DeviceRunner.launch",
      "DeviceRunner.validate"
    ])
  }))

it.effect("its errors are told from others by one guard", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(
      Effect.scoped(Effect.provide(DeviceRunner.make({ temporaryBuffer: { maxBytes: -1 } }), device))
    )
    assert.isTrue(Errors.isRunnerError(error))
    assert.isFalse(Errors.isRunnerError(new Error("no")))
    assert.strictEqual(error._tag, "InvalidConfiguration")
  }))
