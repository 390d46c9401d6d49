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
import type { Args, Callable, Exact } from "./Callable.ts"
import type { DType } from "./DType.ts"
import type { InvalidConfiguration } from "./Errors.ts"
import { type DeviceInfo, HostApi } from "./HostApi.ts"
import type { HostTensor } from "./HostTensor.ts"
import { close, open } from "./internal/runner/close.ts"
import { type ChunkError, configure, type ConfigureError } from "./internal/runner/configure.ts"
import { type AllocateHostError, allocateHostTensor } from "./internal/runner/hostTensors.ts"
import { loadCallable } from "./internal/runner/loading.ts"
import { planRun } from "./internal/runner/planRun.ts"
import { type AllocateError, allocateResident } from "./internal/runner/residents.ts"
import { bindRun, run } from "./internal/runner/run.ts"
import { readStats, type RunnerState } from "./internal/runner/state.ts"
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
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The name of the backend, in lower case. */
  readonly backend: string
  /** The device behind the runner. */
  readonly device: DeviceInfo
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
  /** The counters as they are now. */
  readonly stats: Effect.Effect<RunnerStats>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class DeviceRunner extends Context.Tag("leasehold/DeviceRunner")<DeviceRunner, Service>() {}

/**
 * Makes a runner on the `HostApi` of the context. It closes with its scope: an active run ends first, then everything that
 * is retained is released.
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

const service = (state: RunnerState): Service =>
  DeviceRunner.of({
    backend: state.hostApi.backend,
    device: state.hostApi.device,
    run: (callable, args, options) => run(state, callable, args, options?.dims) as Effect.Effect<void>,
    bind: (callable, args, options) =>
      bindRun(state, callable, args, options?.dims) as Effect.Effect<Run, BindError, Scope.Scope>,
    plan: (callable, args, options) => planRun(state, callable, args, options?.dims),
    load: (callable) => Effect.asVoid(loadCallable(state, callable)),
    allocate: (dtype, shape) => allocateResident(state, dtype, shape),
    allocateHost: (dtype, shape) => allocateHostTensor(state, dtype, shape),
    configure: (options) => configure(state, options),
    stats: Effect.sync(() => readStats(state))
  })
