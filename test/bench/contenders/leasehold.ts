/** Leasehold itself: the core, whole runs in their forms, and without a budget. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { DeviceRunner, HostApi } from "leasehold"
import type { Contender, Counts } from "../contender.ts"
import { loop } from "../loop.ts"
import { callableOf, sliceBytes, type Workload } from "../workload.ts"
import { coreRuns, openCore } from "./core.ts"

type Callable = ReturnType<typeof callableOf>

export const leasehold = (
  work: Workload
): Effect.Effect<ReadonlyArray<Contender>, unknown, HostApi.HostApi | Scope.Scope> =>
  Effect.gen(function*() {
    const hostApi = yield* HostApi.HostApi
    const empty = { symbol: "bench_empty", execution: "inline", clear: "none" } as const
    const inline = callableOf(work, empty)
    const inlineCleared = callableOf(work, { ...empty, clear: "all" })
    const awaited = callableOf(work, { ...empty, execution: "awaited" })
    const state = yield* openCore(hostApi, optionsOf(work))
    const core = yield* coreRuns(state, inline, work.args)
    const coreCleared = yield* coreRuns(state, inlineCleared, work.args)
    const runner = yield* DeviceRunner.make(optionsOf(work))
    const withoutBudget = yield* DeviceRunner.make({ ...optionsOf(work), temporaryBuffer: { maxBytes: 0 } })
    // The first run of a callable loads its kernel, which is awaited.
    yield* Effect.all([inline, inlineCleared, awaited].map((callable) => runner.load(callable)))
    yield* withoutBudget.load(inline)
    yield* checkResults(runner, work)
    const effect = (
      name: Contender["name"],
      run: (on: DeviceRunner.Service) => Effect.Effect<unknown, unknown>,
      on: DeviceRunner.Service = runner
    ): Contender => ({
      name,
      batch: (runs) => Effect.runSync(loop(run(on), runs)),
      count: () => Effect.runPromise(countRun(hostApi, work, on === withoutBudget, run))
    })
    const runOf = (callable: Callable) => (on: DeviceRunner.Service) => on.run(callable, work.args)
    return [
      { name: "core", batch: core, count: () => countCore(state, core) },
      { name: "core_clear_all", batch: coreCleared, count: () => countCore(state, coreCleared) },
      effect("run", runOf(inline)),
      effect("run_clear_all", runOf(inlineCleared)),
      {
        ...effect("run_awaited", runOf(awaited)),
        batch: (runs) => Effect.runPromise(loop(runner.run(awaited, work.args), runs))
      },
      effect("bind", (on) => bindRun(on, inline, work)),
      effect("zero_budget", runOf(inline), withoutBudget)
    ]
  })

const bindRun = (runner: DeviceRunner.Service, callable: Callable, work: Workload): Effect.Effect<void, unknown> =>
  Effect.scoped(Effect.flatMap(
    runner.bind(callable, work.args),
    (run) => Effect.zipRight(run.launch, run.validate)
  ))

const optionsOf = (work: Workload) => ({
  temporaryBuffer: { maxBytes: work.count * sliceBytes(work.byteCount) },
  // A limit for the sake of the event loop, which the benchmark blocks anyhow.
  maxInlineCopyBytes: Math.max(work.count * work.byteCount, 1)
})

/** What every timed run relies on: the outputs are what the kernel wrote. */
const checkResults = (runner: DeviceRunner.Service, work: Workload): Effect.Effect<void, unknown> =>
  Effect.map(
    runner.run(callableOf(work, { symbol: "bench_mark", execution: "inline", clear: "none" }), work.args),
    () => {
      work.outputs.forEach((view, index) => {
        const mark = 1 + (work.inputs.length + index) % 255
        if (view.some((byte) => byte !== mark)) {
          throw new Error(`the output ${index} is not what the kernel wrote`)
        }
      })
    }
  )

/** The core's calls by its own counters; `countRun` counts the same calls from outside. */
const countCore = (state: Effect.Effect.Success<ReturnType<typeof openCore>>, core: (runs: number) => void): Counts => {
  const { counters } = state
  const calls = () => counters.stageCalls + counters.copyBackCalls + counters.mallocs + counters.frees
  const before = { calls: calls(), mallocs: counters.mallocs }
  core(1)
  return { nativeCalls: calls() - before.calls, deviceMallocs: counters.mallocs - before.mallocs }
}

/** Counts the calls that a warm run makes through the host API, on a runner of its own. */
const countRun = (
  hostApi: HostApi.Service,
  work: Workload,
  isWithoutBudget: boolean,
  run: (on: DeviceRunner.Service) => Effect.Effect<unknown, unknown>
): Effect.Effect<Counts, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const count = { calls: 0, mallocs: 0 }
    const options = isWithoutBudget ? { ...optionsOf(work), temporaryBuffer: { maxBytes: 0 } } : optionsOf(work)
    const runner = yield* DeviceRunner.make(options).pipe(
      Effect.provideService(HostApi.HostApi, counted(hostApi, count))
    )
    yield* run(runner)
    const before = { ...count }
    yield* run(runner)
    return { nativeCalls: count.calls - before.calls, deviceMallocs: count.mallocs - before.mallocs }
  }))

/** The host API, each call of which adds one to a counter, in both forms. */
const counted = (hostApi: HostApi.Service, count: { calls: number; mallocs: number }): HostApi.Service => {
  const call =
    <Args extends ReadonlyArray<unknown>, A>(operation: (...args: Args) => A, mallocs = 0) => (...args: Args): A => {
      count.calls += 1
      count.mallocs += mallocs
      return operation(...args)
    }
  const { immediate } = hostApi
  return {
    ...hostApi,
    malloc: call(hostApi.malloc, 1),
    free: call(hostApi.free),
    submit: call(hostApi.submit),
    collect: call(hostApi.collect),
    launch: call(hostApi.launch),
    immediate: immediate && {
      ...immediate,
      malloc: call(immediate.malloc, 1),
      free: call(immediate.free),
      submit: call(immediate.submit),
      launch: call(immediate.launch)
    }
  }
}
