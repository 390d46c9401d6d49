import { type Config, type ConfigError, Context, Data, Duration, Effect, type Layer, type Scope } from "effect"
import {
  Arg,
  Callable,
  DeviceRunner,
  type Errors,
  type HostApi,
  type HostTensor,
  type ResidentTensor,
  type Run,
  RunnerOptions,
  type RunnerStats,
  type RunPlan,
  Simulator,
  type TemporaryBuffer,
  type TensorLease
} from "leasehold"
import { describe, expectTypeOf, it } from "vitest"

declare const runner: DeviceRunner.Service
declare const run: Run.Run
declare const failingRun: Run.Run<Overflow>

class Overflow extends Data.TaggedError("Overflow")<{ readonly at: number }> {}

class Tokenizer extends Context.Tag("test/Tokenizer")<Tokenizer, { readonly vocabulary: number }>() {}

const signature = {
  tokens: Arg.input("int32", ["batch"]),
  logits: Arg.output("float32", ["batch", 256])
}

const args = { tokens: new Int32Array(4), logits: new Float32Array(4 * 256) }

const native = Callable.native({ signature, kernels: [] })
const inTypeScript = Callable.make({ signature, launch: () => Effect.void })
const failing = Callable.make({ signature, launch: () => new Overflow({ at: 3 }) })
const failingTwice = Callable.make({
  signature,
  launch: () => Effect.zipRight(new Overflow({ at: 3 }), Effect.fail("no" as const))
})

/** A launch that needs something from the context. */
const needy = () => Effect.asVoid(Tokenizer)

type Tag<E> = E extends { readonly _tag: infer T } ? T : never

describe("run", () => {
  it("fails with what a run can fail with, and needs nothing", () => {
    expectTypeOf(runner.run(native, args)).toEqualTypeOf<Effect.Effect<void, Run.RunError>>()
    expectTypeOf(runner.run(inTypeScript, args)).toEqualTypeOf<Effect.Effect<void, Run.RunError>>()
    expectTypeOf(runner.run(native, args, { dims: { batch: 4 } })).toEqualTypeOf<Effect.Effect<void, Run.RunError>>()
  })

  it("fails with whatever the launch fails with too", () => {
    expectTypeOf(runner.run(failing, args)).toEqualTypeOf<Effect.Effect<void, Run.RunError | Overflow>>()
    expectTypeOf(runner.run(failingTwice, args)).toEqualTypeOf<Effect.Effect<void, Run.RunError | Overflow | "no">>()
  })

  it("has nothing left to fail with once all of it is caught", () => {
    const caught = runner.run(failing, args).pipe(
      Effect.catchTag("Overflow", (error) => {
        expectTypeOf(error).toEqualTypeOf<Overflow>()
        return Effect.void
      })
    )
    expectTypeOf(caught).toEqualTypeOf<Effect.Effect<void, Run.RunError>>()
    // @ts-expect-error no run fails with this
    void runner.run(native, args).pipe(Effect.catchTag("Overflow", () => Effect.void))
    // @ts-expect-error a run does not configure
    void runner.run(native, args).pipe(Effect.catchTag("ConfigureWhileActive", () => Effect.void))
  })

  it("fails with exactly these", () => {
    expectTypeOf<Tag<Run.RunError>>().toEqualTypeOf<
      | "BudgetExhausted"
      | "TensorExceedsChunk"
      | "StagingExhausted"
      | "InvalidArgument"
      | "ShapeMismatch"
      | "RunnerClosed"
      | "RunnerPoisoned"
      | "RunnerUnconfigured"
      | "LaunchFailed"
      | "RunAlreadyActive"
      | "AdmissionRefused"
      | "DeviceOutOfMemory"
      | "DeviceFailed"
      | "TransferFailed"
      | "StaleRun"
    >()
    expectTypeOf<Run.RunError>().toEqualTypeOf<Run.BindError | Run.LaunchError | Run.ValidateError>()
    expectTypeOf<Run.RunError>().toExtend<Errors.RunnerError>()
  })
})

describe("bind", () => {
  it("needs a scope, and fails with what binding can fail with", () => {
    expectTypeOf(runner.bind(native, args)).toEqualTypeOf<Effect.Effect<Run.Run, Run.BindError, Scope.Scope>>()
  })

  it("hands what the launch fails with to the run, and does not fail with it", () => {
    expectTypeOf(runner.bind(failing, args)).toEqualTypeOf<
      Effect.Effect<Run.Run<Overflow>, Run.BindError, Scope.Scope>
    >()
  })

  it("fails with exactly these", () => {
    expectTypeOf<Tag<Run.BindError>>().toEqualTypeOf<
      | "BudgetExhausted"
      | "TensorExceedsChunk"
      | "StagingExhausted"
      | "InvalidArgument"
      | "ShapeMismatch"
      | "RunnerClosed"
      | "RunnerPoisoned"
      | "RunnerUnconfigured"
      | "LaunchFailed"
      | "RunAlreadyActive"
      | "AdmissionRefused"
      | "DeviceOutOfMemory"
      | "DeviceFailed"
      | "TransferFailed"
    >()
    expectTypeOf<Run.BindError>().toEqualTypeOf<
      | Run.PlanError
      | Run.LoadError
      | Errors.RunAlreadyActive
      | Errors.AdmissionRefused
      | Errors.DeviceOutOfMemory
      | Errors.DeviceFailed
      | Errors.TransferFailed
    >()
  })
})

describe("a bound run", () => {
  it("launches with its own failure and the callable's", () => {
    expectTypeOf(run.launch).toEqualTypeOf<Effect.Effect<void, Run.LaunchError>>()
    expectTypeOf(failingRun.launch).toEqualTypeOf<Effect.Effect<void, Run.LaunchError | Overflow>>()
    expectTypeOf<Run.LaunchError>().toEqualTypeOf<
      | Errors.LaunchFailed
      | Errors.InvalidArgument
      | Errors.StaleRun
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
  })

  it("validates with failures of its own, never the callable's", () => {
    expectTypeOf(run.validate).toEqualTypeOf<Effect.Effect<void, Run.ValidateError>>()
    expectTypeOf(failingRun.validate).toEqualTypeOf<Effect.Effect<void, Run.ValidateError>>()
    expectTypeOf<Run.ValidateError>().toEqualTypeOf<
      | Errors.TransferFailed
      | Errors.InvalidArgument
      | Errors.StaleRun
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
  })

  it("shows its leases and its plan, which cannot be written", () => {
    expectTypeOf(run.leases).toEqualTypeOf<ReadonlyArray<TensorLease.TensorLease>>()
    expectTypeOf(run.plan).toEqualTypeOf<RunPlan.RunPlan>()
    expectTypeOf(run.generation).toEqualTypeOf<number>()
    // @ts-expect-error a run is read only
    run.generation = 4
    // @ts-expect-error leases are read only
    run.leases.pop()
  })

  it("cannot be invented", () => {
    // @ts-expect-error a run has a type id
    const forged: Run.Run = { generation: 1, leases: [], plan: run.plan, launch: run.launch, validate: run.validate }
    return forged
  })

  it("that may fail is not one that may not", () => {
    expectTypeOf<Run.Run<Overflow>>().not.toExtend<Run.Run>()
    expectTypeOf<Run.Run>().toExtend<Run.Run<Overflow>>()
  })
})

describe("plan and load", () => {
  it("need nothing, and fail with what planning and loading can fail with", () => {
    expectTypeOf(runner.plan(native, args)).toEqualTypeOf<Effect.Effect<RunPlan.RunPlan, Run.PlanError>>()
    expectTypeOf(runner.plan(failing, args)).toEqualTypeOf<Effect.Effect<RunPlan.RunPlan, Run.PlanError>>()
    expectTypeOf(runner.load(native)).toEqualTypeOf<Effect.Effect<void, Run.LoadError>>()
    expectTypeOf(runner.load(failing)).toEqualTypeOf<Effect.Effect<void, Run.LoadError>>()
  })

  it("fail with exactly these", () => {
    expectTypeOf<Run.PlanError>().toEqualTypeOf<
      | Errors.BudgetExhausted
      | Errors.TensorExceedsChunk
      | Errors.StagingExhausted
      | Errors.InvalidArgument
      | Errors.ShapeMismatch
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
      | Errors.RunnerUnconfigured
    >()
    expectTypeOf<Run.LoadError>().toEqualTypeOf<
      | Errors.InvalidArgument
      | Errors.LaunchFailed
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
  })
})

describe("allocate and allocateHost", () => {
  it("need a scope, and give tensors of the element type asked for", () => {
    expectTypeOf(runner.allocate("float32", [4])).toEqualTypeOf<
      Effect.Effect<ResidentTensor.ResidentTensor<"float32">, DeviceRunner.AllocateError, Scope.Scope>
    >()
    expectTypeOf(runner.allocateHost("uint64", [4])).toEqualTypeOf<
      Effect.Effect<HostTensor.HostTensor<"uint64">, DeviceRunner.AllocateHostError, Scope.Scope>
    >()
  })

  it("fail with exactly these", () => {
    expectTypeOf<DeviceRunner.AllocateError>().toEqualTypeOf<
      | Errors.BudgetExhausted
      | Errors.InvalidArgument
      | Errors.DeviceOutOfMemory
      | Errors.DeviceFailed
      | Errors.TransferFailed
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
    expectTypeOf<DeviceRunner.AllocateHostError>().toEqualTypeOf<
      | Errors.InvalidArgument
      | Errors.DeviceOutOfMemory
      | Errors.DeviceFailed
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
  })

  it("take element types that exist, and shapes of numbers", () => {
    // @ts-expect-error an unknown element type
    void runner.allocate("float33", [4])
    // @ts-expect-error a shape is a list
    void runner.allocate("float32", 4)
    // @ts-expect-error names are for signatures
    void runner.allocate("float32", ["batch"])
    // @ts-expect-error an unknown element type
    void runner.allocateHost("float33", [4])
  })
})

describe("configure and stats", () => {
  it("say what they can fail with", () => {
    expectTypeOf(runner.configure({ maxBytes: "1 MiB" })).toEqualTypeOf<
      Effect.Effect<void, DeviceRunner.ConfigureError>
    >()
    expectTypeOf(runner.stats).toEqualTypeOf<Effect.Effect<RunnerStats.RunnerStats>>()
    expectTypeOf(runner.device).toEqualTypeOf<HostApi.DeviceInfo>()
  })

  it("fail with exactly these", () => {
    expectTypeOf<DeviceRunner.ChunkError>().toEqualTypeOf<
      Errors.DeviceOutOfMemory | Errors.DeviceFailed | Errors.TransferFailed | Errors.BudgetExhausted
    >()
    expectTypeOf<DeviceRunner.ConfigureError>().toEqualTypeOf<
      | DeviceRunner.ChunkError
      | Errors.ConfigureWhileActive
      | Errors.InvalidConfiguration
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
  })

  it("take options that exist", () => {
    // @ts-expect-error an unknown option
    void runner.configure({ maxByte: "1 MiB" })
    // @ts-expect-error no size
    void runner.configure({ maxBytes: "lots" })
    // @ts-expect-error an unknown unit
    void runner.configure({ maxBytes: "1 mib" })
    // @ts-expect-error an unknown policy
    void runner.configure({ chunks: "double" })
    // @ts-expect-error a count is a number
    void runner.configure({ chunks: { count: "2" } })
    // @ts-expect-error no size among the sizes
    void runner.configure({ chunks: { sizes: ["lots"] } })
    expectTypeOf<"64 MiB" | "64MiB" | "1.5 GB" | 4096>().toExtend<NonNullable<TemporaryBuffer.Options["maxBytes"]>>()
  })
})

describe("layers", () => {
  type LayerError = Errors.InvalidConfiguration | DeviceRunner.ChunkError

  it("provide a runner on a HostApi", () => {
    expectTypeOf(DeviceRunner.layer()).toEqualTypeOf<
      Layer.Layer<DeviceRunner.DeviceRunner, LayerError, HostApi.HostApi>
    >()
    expectTypeOf(DeviceRunner.layer({ temporaryBuffer: { maxBytes: 0 } })).toEqualTypeOf<
      Layer.Layer<DeviceRunner.DeviceRunner, LayerError, HostApi.HostApi>
    >()
    expectTypeOf(DeviceRunner.make()).toEqualTypeOf<
      Effect.Effect<DeviceRunner.Service, LayerError, HostApi.HostApi | Scope.Scope>
    >()
    expectTypeOf<Context.Tag.Service<typeof DeviceRunner.DeviceRunner>>().toEqualTypeOf<DeviceRunner.Service>()
  })

  it("fail with a configuration that cannot be read, where it is read", () => {
    expectTypeOf(DeviceRunner.layerConfig()).toEqualTypeOf<
      Layer.Layer<DeviceRunner.DeviceRunner, LayerError | ConfigError.ConfigError, HostApi.HostApi>
    >()
    expectTypeOf(RunnerOptions.environment).toEqualTypeOf<Config.Config<RunnerOptions.RunnerOptions>>()
  })

  it("publish metrics of a runner, and cannot fail at it", () => {
    expectTypeOf(DeviceRunner.layerMetrics("1 second")).toEqualTypeOf<
      Layer.Layer<never, never, DeviceRunner.DeviceRunner>
    >()
    // @ts-expect-error an interval is a duration
    DeviceRunner.layerMetrics("often")
  })

  it("provide a simulated device", () => {
    expectTypeOf(Simulator.layer()).toEqualTypeOf<
      Layer.Layer<HostApi.HostApi | Simulator.Simulator, Errors.BackendUnavailable | Errors.InvalidConfiguration>
    >()
    expectTypeOf<Context.Tag.Service<typeof Simulator.Simulator>>().toEqualTypeOf<
      { readonly statistics: Effect.Effect<Simulator.Statistics> }
    >()
    // @ts-expect-error an unknown completion
    Simulator.layer({ completion: "soon" })
    // @ts-expect-error no size
    Simulator.layer({ totalBytes: "lots" })
  })

  it("take options that exist", () => {
    DeviceRunner.layer({
      temporaryBuffer: { maxBytes: "64 MiB", alignmentBytes: 1024, chunks: { sizes: ["1 MiB", 4096] } },
      slots: 1,
      admission: "fail",
      clear: "outputs",
      residentMaxBytes: "1GiB",
      stagingMaxBytes: 0,
      maxInlineCopyBytes: 1024,
      interruptDeadline: Duration.seconds(1),
      allowSharedViews: true,
      tracing: true
    })
    DeviceRunner.layer(RunnerOptions.defaults)
    DeviceRunner.layer({ slots: 2, admission: { wait: { maxQueueCount: 8, deadline: "1 second" } } })
    DeviceRunner.layer({ admission: { shed: { maxQueueCount: 8, maxWait: "20 millis" } } })
    // @ts-expect-error how many may wait is said
    DeviceRunner.layer({ admission: { wait: {} } })
    // @ts-expect-error for how long is said
    DeviceRunner.layer({ admission: { shed: { maxQueueCount: 8 } } })
    // @ts-expect-error an unknown clear
    DeviceRunner.layer({ clear: "some" })
    // @ts-expect-error no size
    DeviceRunner.layer({ residentMaxBytes: "lots" })
    // @ts-expect-error no duration
    DeviceRunner.layer({ interruptDeadline: "soon" })
    // @ts-expect-error text is no choice of two
    DeviceRunner.layer({ tracing: "yes" })
    // @ts-expect-error an unknown option
    DeviceRunner.layer({ maxBytes: "64 MiB" })
  })
})

describe("a launch in TypeScript", () => {
  it("needs nothing from the context", () => {
    // @ts-expect-error the launch needs a Tokenizer
    // @effect-diagnostics-next-line missingEffectContext:off
    Callable.make({ signature, launch: needy })
    // @ts-expect-error the launch needs a scope
    // @effect-diagnostics-next-line missingEffectContext:off
    Callable.make({ signature, launch: () => Effect.addFinalizer(() => Effect.void) })
    const provided = () => needy().pipe(Effect.provideService(Tokenizer, { vocabulary: 256 }))
    Callable.make({ signature, launch: provided })
  })
})
