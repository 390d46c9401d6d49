/** Leasehold itself: the core, whole runs in their forms, and without a budget. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Callable, DeviceRunner, HostApi } from "leasehold"
import type { Contender, Counts } from "../contender.ts"
import { loop } from "../loop.ts"
import type { ContenderName } from "../report.ts"
import { callableOf, sliceBytes, spoilOutputs, type Workload } from "../workload.ts"
import { coreRuns, openCore, runWithLaunch } from "./core.ts"
import { countedHostApi } from "./countedHostApi.ts"

type Native = ReturnType<typeof callableOf>

/** How a contender runs a callable on a runner. */
type Way = (runner: DeviceRunner.Service, callable: Native, args: Workload["args"]) => Effect.Effect<void, unknown>

interface Form {
  readonly name: ContenderName
  readonly execution: Callable.Execution
  readonly clear: Callable.Clear
  readonly hasBudget: boolean
  readonly way: Way
}

const runOnce: Way = (runner, callable, args) => runner.run(callable, args)

const bindOnce: Way = (runner, callable, args) =>
  Effect.scoped(Effect.flatMap(
    runner.bind(callable, args),
    (run) => Effect.zipRight(run.launch, run.validate)
  ))

const forms: ReadonlyArray<Form> = [
  { name: "run", execution: "inline", clear: "none", hasBudget: true, way: runOnce },
  { name: "run_clear_all", execution: "inline", clear: "all", hasBudget: true, way: runOnce },
  { name: "run_awaited", execution: "awaited", clear: "none", hasBudget: true, way: runOnce },
  { name: "bind", execution: "inline", clear: "none", hasBudget: true, way: bindOnce },
  { name: "zero_budget", execution: "inline", clear: "none", hasBudget: false, way: runOnce }
]

export const leasehold = (
  work: Workload
): Effect.Effect<ReadonlyArray<Contender>, unknown, HostApi.HostApi | Scope.Scope> =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.make(optionsOf(work, { hasBudget: true }))
    const withoutBudget = yield* DeviceRunner.make(optionsOf(work, { hasBudget: false }))
    return [
      yield* coreContender("core", "none", work),
      yield* coreContender("core_clear_all", "all", work),
      ...(yield* Effect.forEach(forms, (form) => contender(form.hasBudget ? runner : withoutBudget, form, work)))
    ]
  })

const optionsOf = (work: Workload, { hasBudget }: { readonly hasBudget: boolean }) => ({
  temporaryBuffer: { maxBytes: hasBudget ? work.count * sliceBytes(work.byteCount) : 0 },
  // A limit for the sake of the event loop, which the benchmark blocks anyhow.
  maxInlineCopyBytes: Math.max(work.count * work.byteCount, 1)
})

const contender = (
  runner: DeviceRunner.Service,
  { clear, execution, hasBudget, name, way }: Form,
  work: Workload
): Effect.Effect<Contender, unknown, HostApi.HostApi> =>
  Effect.gen(function*() {
    const hostApi = yield* HostApi.HostApi
    const { args } = work
    const callable = callableOf(work, { symbol: "bench_empty", execution, clear })
    const echo = callableOf(work, { symbol: "bench_echo", execution, clear })
    // The first run of a callable loads its kernel, which is awaited.
    yield* runner.load(callable)
    const body = (): Effect.Effect<void, unknown> => way(runner, callable, args)
    return {
      name,
      batch: execution === "inline"
        ? (runs) => Effect.runSync(loop(body, runs))
        : (runs) => Effect.runPromise(loop(body, runs)),
      echo: () => Effect.runPromise(way(runner, echo, args)),
      count: () =>
        Effect.runPromise(countOn(hostApi, (watched) =>
          Effect.map(
            DeviceRunner.make(optionsOf(work, { hasBudget })).pipe(Effect.provideService(HostApi.HostApi, watched)),
            (watchedRunner) => way(watchedRunner, callable, args)
          )))
    }
  })

const coreContender = (
  name: ContenderName,
  clear: "all" | "none",
  work: Workload
): Effect.Effect<Contender, unknown, HostApi.HostApi | Scope.Scope> =>
  Effect.gen(function*() {
    const hostApi = yield* HostApi.HostApi
    const options = optionsOf(work, { hasBudget: true })
    const callable = callableOf(work, { symbol: "bench_empty", execution: "inline", clear })
    const echo = callableOf(work, { symbol: "bench_echo", execution: "inline", clear })
    const state = yield* openCore(hostApi, options)
    const runs = yield* coreRuns(state, callable, work.args)
    return {
      name,
      batch: runs,
      echo: () => {
        const whole = runWithLaunch(state, echo, work.args)
        if (clear === "all") {
          runs(1)
          if (!work.outputs.every(isZero)) {
            throw new Error(`${name} does not clear`)
          }
          return Effect.runPromise(whole)
        }
        // The core launches nothing, so what it copies back is what the run before it left on the device.
        return Effect.runPromise(Effect.map(whole, () => {
          spoilOutputs(work)
          runs(1)
        }))
      },
      count: () =>
        Effect.runPromise(countOn(hostApi, (watched) =>
          Effect.gen(function*() {
            const watchedRuns = yield* coreRuns(yield* openCore(watched, options), callable, work.args)
            return Effect.sync(() => watchedRuns(1))
          })))
    }
  })

const isZero = (view: Uint8Array): boolean => Buffer.from(view.buffer).equals(Buffer.alloc(view.byteLength))

/** Counts the calls that a warm run makes through a host API of its own. */
const countOn = (
  hostApi: HostApi.Service,
  prepare: (watched: HostApi.Service) => Effect.Effect<Effect.Effect<void, unknown>, unknown, Scope.Scope>
): Effect.Effect<Counts, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const count = { calls: 0, mallocs: 0 }
    const run = yield* prepare(countedHostApi(hostApi, count))
    yield* run
    const before = { ...count }
    yield* run
    return { nativeCalls: count.calls - before.calls, deviceMallocs: count.mallocs - before.mallocs }
  }))
