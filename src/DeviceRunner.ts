/**
 * The device runner: it owns all device memory that is retained across runs, and every run goes through it.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Arg from "./Arg.ts"
import type * as Bytes from "./Bytes.ts"
import type { Args, Callable, Exact } from "./Callable.ts"
import type { DType } from "./DType.ts"
import type { BudgetInUse, InvalidConfiguration } from "./Errors.ts"
import { type DeviceInfo, HostApi } from "./HostApi.ts"
import type { HostTensor } from "./HostTensor.ts"
import type { Account } from "./internal/core/account.ts"
import { type BudgetError, closeBudget, openBudget, quotaBytes } from "./internal/runner/budgets.ts"
import { close, open } from "./internal/runner/close.ts"
import { type ChunkError, configure, type ConfigureError } from "./internal/runner/configure.ts"
import { trim } from "./internal/runner/growth.ts"
import { type AllocateHostError, allocateHostTensor } from "./internal/runner/hostTensors.ts"
import { loadCallable } from "./internal/runner/loading.ts"
import { planRun } from "./internal/runner/planRun.ts"
import { type AllocateError, allocateResident } from "./internal/runner/residents.ts"
import { bindRun, run } from "./internal/runner/run.ts"
import type { RunnerState } from "./internal/runner/state.ts"
import { readStats } from "./internal/runner/stats.ts"
import type { ResidentTensor } from "./ResidentTensor.ts"
import type { BindError, LoadError, PlanError, Run, RunError } from "./Run.ts"
import { publish } from "./RunnerMetrics.ts"
import * as RunnerOptions from "./RunnerOptions.ts"
import type { RunnerStats } from "./RunnerStats.ts"
import type { RunPlan } from "./RunPlan.ts"
import type * as TemporaryBuffer from "./TemporaryBuffer.ts"

export type {
  /**
   * Why a resident tensor cannot be had.
   *
   * @since 0.1.0
   * @category errors
   */
  AllocateError,
  /**
   * Why a host tensor cannot be had.
   *
   * @since 0.1.0
   * @category errors
   */
  AllocateHostError,
  /**
   * Why a child budget cannot be had.
   *
   * @since 0.1.0
   * @category errors
   */
  BudgetError,
  /**
   * Why chunks cannot be had.
   *
   * @since 0.1.0
   * @category errors
   */
  ChunkError,
  /**
   * Why the temporary buffer cannot be configured.
   *
   * @since 0.1.0
   * @category errors
   */
  ConfigureError
}

/**
 * What a single run may be told beside its arguments.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions<in out S extends Arg.Signature> {
  /** Dimension names that no argument tells, such as those of scratch alone. */
  readonly dims?:
    | ([Arg.DimNames<S>] extends [never] ? Readonly<Record<string, never>>
      : { readonly [K in Arg.DimNames<S>]?: number })
    | undefined
}

/**
 * What runs on a runner go through: the runner itself, or a child budget of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Runs {
  /**
   * Binds, launches and validates in one bracket. The outputs are in the host views when it succeeds; when it fails no
   * plain host view has changed.
   */
  readonly run: <const S extends Arg.Signature, E, const A extends Args<S>>(
    callable: Callable<S, E>,
    args: Exact<S, A>,
    options?: RunOptions<S>
  ) => Effect.Effect<void, RunError | E>
  /** Begins a run in the scope: the inputs are on the device. The run ends when it is validated or the scope closes. */
  readonly bind: <const S extends Arg.Signature, E, const A extends Args<S>>(
    callable: Callable<S, E>,
    args: Exact<S, A>,
    options?: RunOptions<S>
  ) => Effect.Effect<Run<E>, BindError, Scope.Scope>
}

/**
 * What a child budget may hold.
 *
 * @since 0.1.0
 * @category models
 */
export interface BudgetOptions {
  /** The most bytes of the temporary buffer that its runs hold at once. Defaults to the runner's `maxBytes`. */
  readonly maxBytes?: Bytes.Input | undefined
  /**
   * Bytes that are set apart for it, in one piece: its runs use them first, and nobody else does. With `growth: "highWater"`
   * room is kept for them, and they are made when the buffer first grows. Defaults to `0`.
   */
  readonly reserveBytes?: Bytes.Input | undefined
}

/**
 * What a child budget holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface BudgetStats {
  readonly maxBytes: number
  readonly reservedBytes: number
  readonly inUseBytes: number
  readonly highWaterBytes: number
  /** Runs of it that are bound, and that wait. */
  readonly active: number
  readonly waiting: number
}

/**
 * A part of a runner's temporary buffer for some of its runs: a tenant, a model, a kind of request. Its runs count against it
 * and against the runner, and wait in a queue of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChildBudget extends Runs {
  readonly name: string
  readonly stats: Effect.Effect<BudgetStats>
  /**
   * Closes it before its scope does: what waits is refused, and what was reserved is shared again. While runs of it are active
   * it fails with their list, and nothing happens.
   */
  readonly close: Effect.Effect<void, BudgetInUse>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service extends Runs {
  /** The name of the backend, in lower case. */
  readonly backend: string
  /** The device behind the runner. */
  readonly device: DeviceInfo
  /** What a run would need, without touching the device. */
  readonly plan: <const S extends Arg.Signature, E, const A extends Args<S>>(
    callable: Callable<S, E>,
    args: Exact<S, A>,
    options?: RunOptions<S>
  ) => Effect.Effect<RunPlan, PlanError>
  /** Loads a callable's kernel, which its first run would do otherwise. */
  readonly load: <S extends Arg.Signature, E>(callable: Callable<S, E>) => Effect.Effect<void, LoadError>
  /** Allocates device memory that outlives runs, zeroed. It is freed when the scope closes, or the runner. */
  readonly allocate: <D extends DType>(
    dtype: D,
    shape: ReadonlyArray<number>
  ) => Effect.Effect<ResidentTensor<D>, AllocateError, Scope.Scope>
  /** Allocates host memory that may be copied off the event loop's thread, zeroed. */
  readonly allocateHost: <D extends DType>(
    dtype: D,
    shape: ReadonlyArray<number>
  ) => Effect.Effect<HostTensor<D>, AllocateHostError, Scope.Scope>
  /** Exchanges the temporary buffer for another. The same configuration again does nothing at all. */
  readonly configure: (options: TemporaryBuffer.Options) => Effect.Effect<void, ConfigureError>
  /**
   * Opens a child budget, which closes with the scope. A name stands for one child budget at a time.
   */
  readonly budget: (name: string, options?: BudgetOptions) => Effect.Effect<ChildBudget, BudgetError, Scope.Scope>
  /**
   * Gives memory of a buffer with `growth: "highWater"` back, down to `keepBytes`, and answers how many bytes. Refused with
   * `ConfigureWhileActive` while runs are active or waiting.
   */
  readonly trim: (keepBytes: Bytes.Input) => Effect.Effect<number, ConfigureError>
  /** The counters as they are now. */
  readonly stats: Effect.Effect<RunnerStats>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class DeviceRunner extends Context.Tag("leasehold/DeviceRunner")<DeviceRunner, Service>() {}

/**
 * Makes a runner on the `HostApi` of the context. It closes with its scope: active runs end first, those that wait are refused,
 * then everything that is retained is released.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: RunnerOptions.RunnerOptions = {}
): Effect.Effect<Service, InvalidConfiguration | ChunkError, HostApi | Scope.Scope> =>
  Effect.gen(function*() {
    const hostApi = yield* HostApi
    const settings = yield* RunnerOptions.settings(options, hostApi.traits)
    const state = yield* Effect.acquireRelease(open(hostApi, settings), close)
    return service(state)
  })

/**
 * A runner as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: RunnerOptions.RunnerOptions = {}
): Layer.Layer<DeviceRunner, InvalidConfiguration | ChunkError, HostApi> => Layer.scoped(DeviceRunner, make(options))

/**
 * A runner whose options are configuration values, such as `RunnerOptions.environment`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<RunnerOptions.RunnerOptions> = RunnerOptions.environment
): Layer.Layer<DeviceRunner, InvalidConfiguration | ChunkError | ConfigError.ConfigError, HostApi> =>
  Layer.scoped(DeviceRunner, Effect.flatMap(Config.unwrap(options), make))

/**
 * Publishes the runner's counters as metrics, at once, every `interval`, and a last time when the layer closes.
 *
 * @since 0.1.0
 * @category metrics
 */
export const layerMetrics = (interval: Duration.DurationInput): Layer.Layer<never, never, DeviceRunner> =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const runner = yield* DeviceRunner
    let previous: RunnerStats | undefined
    const publishNow = Effect.flatMap(runner.stats, (stats) =>
      Effect.zipRight(
        publish({ stats, previous, device: runner.device }),
        Effect.sync(() => {
          previous = stats
        })
      )).pipe(Effect.uninterruptible)
    yield* Effect.addFinalizer(() => publishNow)
    yield* Effect.forkScoped(Effect.repeat(publishNow, Schedule.spaced(interval)))
  }))

/**
 * Gives memory of a buffer with `growth: "highWater"` back when it was not used for a while: at each tick of the schedule, if
 * no run has begun since the tick before, and none is active or waiting, down to `keepBytes`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTrim = (options: {
  readonly schedule: Schedule.Schedule<unknown>
  readonly keepBytes: Bytes.Input
}): Layer.Layer<never, never, DeviceRunner> =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const runner = yield* DeviceRunner
    let begunBefore = -1
    const trimIfQuiet = Effect.gen(function*() {
      const { runs } = yield* runner.stats
      const isQuiet = runs.begun === begunBefore && runs.active === 0 && runs.waiting === 0
      begunBefore = runs.begun
      if (isQuiet) {
        yield* Effect.catchAll(runner.trim(options.keepBytes), whileUnused)
      }
    })
    yield* Effect.forkScoped(Effect.schedule(trimIfQuiet, options.schedule))
  }))

/** What it is no failure to meet: a run that came between, and a runner that has gone, which it has said itself. */
const expected: ReadonlySet<ConfigureError["_tag"]> = new Set([
  "ConfigureWhileActive",
  "RunnerClosed",
  "RunnerPoisoned"
])

/** Whatever else is wrong is said, and tried again. */
const whileUnused = (error: ConfigureError): Effect.Effect<void> =>
  expected.has(error._tag)
    ? Effect.void
    : Effect.logWarning(`the temporary buffer could not be trimmed: ${error.message}`)

const runs = (state: RunnerState, account: Account): Runs => ({
  run: (callable, args, options) => run(state, account, callable, args, options?.dims) as Effect.Effect<void>,
  bind: (callable, args, options) =>
    bindRun(state, { account, callable, args, dims: options?.dims }) as Effect.Effect<Run, BindError, Scope.Scope>
})

const childBudget = (state: RunnerState, account: Account): ChildBudget => ({
  ...runs(state, account),
  name: account.name,
  stats: Effect.sync(() => ({
    maxBytes: quotaBytes(state, account),
    reservedBytes: account.reservation?.byteCount ?? 0,
    inUseBytes: account.inUseBytes,
    highWaterBytes: account.highWaterBytes,
    active: account.activeCount,
    waiting: account.queue.length
  })),
  close: closeBudget(state, account)
})

const service = (state: RunnerState): Service =>
  DeviceRunner.of({
    ...runs(state, state.admission.root),
    backend: state.hostApi.backend,
    device: state.hostApi.device,
    plan: (callable, args, options) => planRun(state, callable, args, options?.dims),
    load: (callable) => Effect.asVoid(loadCallable(state, callable)),
    allocate: (dtype, shape) => allocateResident(state, dtype, shape),
    allocateHost: (dtype, shape) => allocateHostTensor(state, dtype, shape),
    configure: (options) => configure(state, options),
    budget: (name, options) =>
      Effect.map(openBudget(state, name, options ?? {}), (account) => childBudget(state, account)),
    trim: (keepBytes) => trim(state, keepBytes),
    stats: Effect.sync(() => readStats(state))
  })
