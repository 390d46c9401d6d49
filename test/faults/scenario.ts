/** What a scenario of the campaign is: a small program, the runner and the device that it has, and how it is swept. */
import { Context, type Duration, Effect, Exit, Layer, type Scope } from "effect"
import * as Scopes from "effect/Scope"
import { DeviceRunner, type Errors, HostApi, type RunnerOptions, Simulator } from "leasehold"
import { FaultSweep } from "leasehold/testing"

type BackendError = Errors.BackendUnavailable | Errors.InvalidConfiguration

/** How a sweep of a scenario may differ from one campaign to the next. */
export interface Sweeping {
  /** The device instead of a plain simulator, such as a sanitized one. It is given the scenario's own options. */
  readonly backend?: ((options: Simulator.Options) => Layer.Layer<HostApi.HostApi, BackendError>) | undefined
  /** The runner's budget instead of the scenario's own: `0` turns pooling off. */
  readonly maxBytes?: number | undefined
  readonly persistences?: ReadonlyArray<FaultSweep.Persistence> | undefined
  readonly interruptedFaults?: number | undefined
  readonly faultPairs?: number | undefined
  readonly seed?: number | undefined
  readonly maxCaseCount?: number | undefined
  /** The faults instead of all. */
  readonly faults?: ReadonlyArray<FaultSweep.FaultKind> | undefined
  /** Where it is interrupted instead of the scenario's own places. */
  readonly interruptions?: ReadonlyArray<FaultSweep.Interruptions> | undefined
  /** The forms instead of the scenario's own. */
  readonly forms?: ReadonlyArray<FaultSweep.Form> | undefined
  /** How long a program that waits for nothing known may wait. */
  readonly patience?: Duration.DurationInput | undefined
  /** One case only. */
  readonly only?: string | undefined
}

export interface Scenario {
  readonly name: string
  /** Whether it is not interrupted at every step, because parts of it do not stand that. */
  readonly isPartlyInterrupted: boolean
  readonly sweep: (sweeping: Sweeping) => Effect.Effect<FaultSweep.Report, BackendError>
}

export interface Description<R> {
  readonly name: string
  readonly program: Effect.Effect<unknown, unknown, R | HostApi.HostApi | Scope.Scope>
  readonly runner?: RunnerOptions.RunnerOptions | undefined
  readonly simulator?: Simulator.Options | undefined
  /** Whether it is swept with calls that take their time as well. */
  readonly delayed?: boolean | undefined
  /** The forms that mean something to it, where those are not all. */
  readonly forms?: ReadonlyArray<FaultSweep.Form> | undefined
  /** Where it is interrupted. Defaults to every step. */
  readonly interruptions?: ReadonlyArray<FaultSweep.Interruptions> | undefined
  /** Whether the program fails, whatever is done to it. */
  readonly mayFail?: boolean | undefined
  /** Whether the program goes on after an error of the runner that it has caught. */
  readonly mayRecover?: boolean | undefined
  /** The faults that mean something to it. Defaults to all. */
  readonly faults?: ReadonlyArray<FaultSweep.FaultKind> | undefined
  /** What has to hold after each case, while the runner still stands. */
  readonly invariant?: Effect.Effect<void, unknown, R | HostApi.HostApi> | undefined
}

/** Small, so that sweeps are fast and budgets are easy to fill. */
const runnerOptions = ({ runner }: Description<never>, { maxBytes }: Sweeping): RunnerOptions.RunnerOptions => ({
  residentMaxBytes: "4 KiB",
  stagingMaxBytes: "4 KiB",
  ...runner,
  temporaryBuffer: {
    alignmentBytes: 64,
    ...runner?.temporaryBuffer,
    maxBytes: maxBytes ?? runner?.temporaryBuffer?.maxBytes ?? "4 KiB",
    ...(maxBytes === 0 ? { chunks: "single" as const } : {})
  }
})

/** Every call on the event loop's thread, so that a program takes the same steps each time. */
export const simulator = (options: Simulator.Options): Layer.Layer<HostApi.HostApi, BackendError> =>
  Simulator.layer({ totalBytes: "1 MiB", longCalls: "inline", ...options })

/** A scenario on whatever its layer makes. */
export const scenarioWith = <R, LE>(
  description: Description<R>,
  layer: (options: RunnerOptions.RunnerOptions) => Layer.Layer<R, LE, HostApi.HostApi>
): Scenario => ({
  name: description.name,
  isPartlyInterrupted: description.interruptions !== undefined,
  sweep: ({ backend = simulator, faults, forms, interruptions, maxBytes, ...options }) =>
    FaultSweep.run(description.program, {
      name: description.name,
      backend: backend(description.simulator ?? {}),
      layer: layer(runnerOptions(description as Description<never>, { maxBytes })),
      mayRecover: description.mayRecover,
      mayFail: description.mayFail,
      interruptions: interruptions ?? description.interruptions,
      invariant: description.invariant,
      faults: faults ?? description.faults,
      forms: forms ?? description.forms ??
        (description.delayed === true ? ["immediate", "effects", "delayed"] : ["immediate", "effects"]),
      ...options
    })
})

/** A scenario on a runner of its own. */
export const scenario = (description: Description<DeviceRunner.DeviceRunner>): Scenario =>
  scenarioWith(description, DeviceRunner.layer)

/**
 * Says that calls outlast themselves and that lanes overlap, so that views go through staging, without the real time that
 * would take: how long a device takes in that is never the same twice, and a sweep counts steps.
 */
const withStaging = Layer.effect(
  HostApi.HostApi,
  Effect.map(HostApi.HostApi, (api): HostApi.Service => ({
    ...api,
    immediate: undefined,
    traits: { ...api.traits, answersAtOnce: false, overlapsCopies: true }
  }))
)

/** A runner that stages what it copies, and with more than one slot stages one run while another executes. */
export const stagingRunner = (
  options: RunnerOptions.RunnerOptions
): Layer.Layer<DeviceRunner.DeviceRunner, Errors.InvalidConfiguration | DeviceRunner.ChunkError, HostApi.HostApi> =>
  Layer.provide(DeviceRunner.layer(options), withStaging)

/** A scenario on a runner that stages what it copies. */
export const stagedScenario = (description: Description<DeviceRunner.DeviceRunner>): Scenario =>
  scenarioWith(description, stagingRunner)

/** Closes the runner of a scenario before its layer does. */
export class Closing extends Context.Tag("test/faults/Closing")<Closing, Effect.Effect<void>>() {}

/** A scenario on a runner that the program itself may close. */
export const closingScenario = (description: Description<DeviceRunner.DeviceRunner | Closing>): Scenario =>
  scenarioWith(description, (options) =>
    Layer.scopedContext(Effect.gen(function*() {
      const scope = yield* Effect.acquireRelease(Scopes.make(), (opened, exit) => Scopes.close(opened, exit))
      const runner = yield* Scopes.extend(DeviceRunner.make(options), scope)
      return Context.make(DeviceRunner.DeviceRunner, runner).pipe(
        // A scope whose closing is interrupted half way leaves the rest of its finalizers undone, for good.
        Context.add(Closing, Effect.uninterruptible(Scopes.close(scope, Exit.void)))
      )
    })))

/** A scenario that makes its own runners, or has none. */
export const bareScenario = (description: Description<never>): Scenario => scenarioWith(description, () => Layer.empty)
