/**
 * Loses a CUDA device, with two runners on it, and tells what became of them. Started by `loss.test.ts` with the way in which it
 * is lost; it ends by itself, as soon as both are closed.
 */
import { Context, Effect, Layer, Logger, LogLevel, Schema } from "effect"
import { DeviceRunner, type Errors } from "leasehold"
import * as CudaDevice from "../utils/cudaDevice.ts"
import * as Gpu from "../utils/gpu.ts"
import { add, addSignature, native } from "../utils/kernels.ts"
import * as Loopback from "../utils/loopback.ts"
import { vectors } from "../utils/programs.ts"
import { Report, type Way } from "./lossWays.ts"

const way = process.argv[2] as Way

/** Of the loopback driver one of several. */
const device = CudaDevice.isLoopback ? 3 : Gpu.deviceIndex

/** Source: CUDA_ERROR_ILLEGAL_ADDRESS of the driver's API reference. */
const illegalAddress = 700

/** A runner that shares nothing with another one but the device. */
const open = Effect.map(
  Layer.build(Layer.fresh(
    DeviceRunner.layer({ temporaryBuffer: { maxBytes: "1 MiB" }, residentMaxBytes: "1 MiB" }).pipe(
      Layer.provide(CudaDevice.layer({ device }))
    )
  )),
  (context) => Context.get(context, DeviceRunner.DeviceRunner)
)

const lose = (runner: DeviceRunner.Service) => {
  if (way === "trap") {
    return runner.run(native("test_lose_device", addSignature), vectors(4))
  }
  if (!CudaDevice.isLoopback) {
    return runner.run(native("test_write_null", addSignature), vectors(4))
  }
  // No kernel of the loopback driver writes where nobody may: it would be the process that is lost.
  Loopback.failCall("cuLaunchKernel", 1, illegalAddress, { later: true })
  return runner.run(add, vectors(4))
}

const failureOf = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<E> =>
  Effect.flip(effect).pipe(Effect.orDieWith(() => new Error("it has succeeded")))

const program = Effect.gen(function*() {
  const [one, other] = yield* Effect.all([open, open])
  const resident = yield* other.allocate("float32", [4])
  for (const runner of [one, other]) {
    yield* runner.run(add, vectors(4))
  }
  const loss = yield* failureOf(lose(one))
  if (loss._tag !== "LaunchFailed") {
    return yield* Effect.dieMessage(`the device was not lost, but ${loss.message}`)
  }
  // Whatever it is, this is the first that the other runner hears of it.
  const otherFailure = yield* failureOf(other.run(add, vectors(4)))
  const later: ReadonlyArray<Effect.Effect<unknown, Errors.RunnerError>> = [
    ...[one, other].flatMap((runner) => [
      runner.run(add, vectors(4)),
      runner.configure({ maxBytes: "2 MiB" }),
      Effect.scoped(runner.allocate("float32", [4]))
    ]),
    resident.upload(new Float32Array(4))
  ]
  const failures = yield* Effect.forEach(later, failureOf)
  const states = yield* Effect.forEach([one, other], (runner) => Effect.map(runner.stats, ({ state }) => state))
  return {
    reason: loss.reason,
    sticky: loss.sticky,
    deviceCode: loss.deviceCode,
    attribution: loss.attribution,
    states,
    otherTag: otherFailure._tag,
    laterTags: [...new Set(failures.map(({ _tag }) => _tag))],
    recoveries: [...new Set(failures.flatMap((error) => error._tag === "RunnerPoisoned" ? [error.recovery] : []))]
  }
}).pipe(Effect.scoped)

const told = Effect.gen(function*() {
  const report = yield* program
  // Both are closed now. Building anew does not help: that is what a new process is for.
  const rebuilt = yield* failureOf(Effect.scoped(open))
  const [callsAfterLoss, violations] = CudaDevice.isLoopback
    ? [Loopback.callsAfterLoss(), Loopback.violations()]
    : [0, ""]
  console.log(yield* Schema.encode(Report)({ ...report, rebuilt: rebuilt._tag, callsAfterLoss, violations }))
})

// Standard output is for the report; that bytes of a lost device are in quarantine is what this is about.
await Effect.runPromise(Effect.provide(told, Logger.minimumLogLevel(LogLevel.Error)))
