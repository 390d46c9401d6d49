/**
 * What is wrong, each in one way: programs, runners and backends. They are the test of the oracle: a sweep has to find each
 * of them out and call it by its name.
 */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { DeviceRunner, HostApi, type RunnerStats } from "leasehold"
import { copyIn, table } from "../../contract/tables.ts"
import { addInline } from "../../utils/kernels.ts"
import { vectors } from "../../utils/programs.ts"
import { originOf } from "./seam.ts"
import { addition, runnerLayer } from "./sweeps.ts"

/** Memory, used by hand. */
const malloc = Effect.flatMap(HostApi.HostApi, (api) => api.malloc(64, 64, originOf({ names: ["weights"] })))
const free = (address: Effect.Effect.Success<typeof malloc>) =>
  Effect.flatMap(HostApi.HostApi, (api) => api.free(address, originOf({ names: ["weights"] })))

export const swallowsFailures = Effect.ignore(Effect.scoped(addition))

export const neverFrees = Effect.asVoid(malloc)

/** What is done between an acquisition and its finalizer. */
export const freesUnlessInterrupted = Effect.flatMap(
  malloc,
  (address) => Effect.addFinalizer(() => Effect.ignore(free(address)))
)

export const freesTwice = Effect.flatMap(
  malloc,
  (address) => Effect.zipRight(free(address), Effect.ignore(free(address)))
)

export const usesAfterFree = Effect.gen(function*() {
  const api = yield* HostApi.HostApi
  const address = yield* malloc
  yield* free(address)
  yield* Effect.ignore(
    api.submit("in", table(api, [copyIn(address, new Uint8Array(8))]), originOf({ names: ["weights"] }))
  )
})

/** Frees memory while a copy into it is in flight, which takes a form that waits. */
export const freesUnderACopy = Effect.gen(function*() {
  const api = yield* HostApi.HostApi
  const address = yield* malloc
  const copy = api.submit("in", table(api, [copyIn(address, new Uint8Array(8))]), originOf({ names: ["weights"] }))
  yield* Effect.all([Effect.ignore(copy), free(address)], { concurrency: 2, discard: true })
})

/** A scope that nobody closes. */
const forgotten = Effect.flatMap(
  DeviceRunner.DeviceRunner,
  (runner) => Effect.flatMap(Scope.make(), (scope) => Scope.extend(runner.allocate("uint8", [64]), scope))
)
export const forgetsAResident = Effect.asVoid(forgotten)

export const neverEndsARun = Effect.flatMap(
  DeviceRunner.DeviceRunner,
  (runner) =>
    Effect.flatMap(Scope.make(), (scope) => Effect.asVoid(Scope.extend(runner.bind(addInline, vectors(4)), scope)))
)

/** Asks a device that may have said that it is lost. */
export const goesOnAfterALoss = Effect.flatMap(
  HostApi.HostApi,
  (api) => Effect.zipRight(Effect.ignore(api.memoryInfo), Effect.ignore(api.memoryInfo))
)

export const waitsForEver = Effect.never
export const runsForEver = Effect.forever(Effect.void)

/** Takes one way more each time. */
export const makeNondeterministic = () => {
  let count = 0
  return Effect.suspend(() => {
    count += 1
    return Effect.asVoid(Effect.forEach(Array.from({ length: count }), () => Effect.yieldNow()))
  })
}

/** The runner with some of its methods replaced. */
const runnerWith = (replace: (runner: DeviceRunner.Service) => Partial<DeviceRunner.Service>) =>
  Layer.map(runnerLayer, (context) => {
    const runner = Context.get(context, DeviceRunner.DeviceRunner)
    return Context.make(DeviceRunner.DeviceRunner, { ...runner, ...replace(runner) })
  })

const withStats = (change: (stats: RunnerStats.RunnerStats) => Partial<RunnerStats.RunnerStats>) =>
  runnerWith(({ stats }) => ({ stats: Effect.map(stats, (stats) => ({ ...stats, ...change(stats) })) }))

export const runnerThatEndsTwice = withStats(({ runs }) => ({ runs: { ...runs, ended: runs.ended + 1 } }))
export const runnerThatForgetsAnEnd = withStats(({ runs }) => ({ runs: { ...runs, ended: runs.ended - 1 } }))
export const runnerThatCountsNoFailures = withStats(() => ({ releaseFailures: 0 }))

type Method = (callable: never, args: never, options?: never) => Effect.Effect<void, Error>

/** Replaces `run` by what a test makes of it. The types of a signature are of no use here. */
const runnerWithRun = (
  run: (
    inner: Effect.Effect<void, Error>,
    args: Readonly<Record<string, Float32Array>>
  ) => Effect.Effect<void, Error>
) =>
  runnerWith((runner) => ({
    run: ((callable: never, args: never, options?: never) =>
      run((runner.run as unknown as Method)(callable, args, options), args)) as unknown as typeof runner.run
  }))

const spoil = (args: Readonly<Record<string, Float32Array>>): Effect.Effect<void> =>
  Effect.sync(() => void args["c"]?.fill(99))

/** Writes outputs of runs that fail. */
export const runnerThatTouchesOutputs = runnerWithRun((run, args) => Effect.tapError(run, () => spoil(args)))

/** Answers a failed run with outputs of its own making. */
export const runnerThatMakesUpOutputs = runnerWithRun((run, args) => Effect.catchAll(run, () => spoil(args)))

/** Has had enough after the first run that did not succeed, for no reason that it could name. */
export const runnerThatWearsOut = Layer.suspend(() => {
  let isWorn = false
  return runnerWithRun((run) =>
    isWorn
      ? Effect.fail(Object.assign(new Error("it is worn out"), { _tag: "WornOut" }))
      : Effect.onExit(run, (exit) =>
        Effect.sync(() => {
          isWorn = isWorn || Exit.isFailure(exit)
        }))
  )
})

/** Says that it is poisoned after the first run that did not succeed, and asks the device all the same. */
export const runnerThatAsksTheDead = Layer.unwrapEffect(Effect.map(HostApi.HostApi, (api) => {
  let isPoisoned = false
  return runnerWithRun((run) =>
    isPoisoned
      ? Effect.zipRight(
        Effect.ignore(api.memoryInfo),
        Effect.fail(Object.assign(new Error("the device is gone"), { _tag: "RunnerPoisoned" }))
      )
      : Effect.onExit(run, (exit) =>
        Effect.sync(() => {
          isPoisoned = Exit.isFailure(exit)
        }))
  )
}))
