import { Context, Data, Effect, Layer, type Scope } from "effect"
import { DeviceRunner, type Errors, type HostApi, Simulator } from "leasehold"
import { FaultInjection, FaultSweep, Ledger } from "leasehold/testing"
import { describe, expectTypeOf, it } from "vitest"

class Tokenizer extends Context.Tag("test/Tokenizer")<Tokenizer, { readonly vocabulary: number }>() {}
class Overflow extends Data.TaggedError("Overflow")<{ readonly at: number }> {}

type BackendError = Errors.BackendUnavailable | Errors.InvalidConfiguration

declare const operations: Effect.Effect<void, HostApi.HostApiError, HostApi.HostApi>
declare const runs: Effect.Effect<number, Overflow, DeviceRunner.DeviceRunner | Scope.Scope>
declare const tokenizes: Effect.Effect<void, never, DeviceRunner.DeviceRunner | Tokenizer>

const backend = Simulator.layer()
const options = { backend, layer: DeviceRunner.layer() }

describe("the decorators", () => {
  it("need a host API, provide one beside their own service, and cannot fail", () => {
    expectTypeOf(FaultInjection.layer()).toEqualTypeOf<
      Layer.Layer<FaultInjection.FaultInjection | HostApi.HostApi, never, HostApi.HostApi>
    >()
    expectTypeOf(Ledger.layer).toEqualTypeOf<Layer.Layer<Ledger.Ledger | HostApi.HostApi, never, HostApi.HostApi>>()
    expectTypeOf(Ledger.layerChecked).toEqualTypeOf(Ledger.layer)
    expectTypeOf(Ledger.layerCallSites).toEqualTypeOf<
      Layer.Layer<DeviceRunner.DeviceRunner, never, DeviceRunner.DeviceRunner>
    >()
    expectTypeOf(FaultInjection.make()).toEqualTypeOf<
      Effect.Effect<
        Context.Context<FaultInjection.FaultInjection | HostApi.HostApi>,
        never,
        HostApi.HostApi | Scope.Scope
      >
    >()
    expectTypeOf(Ledger.make).toEqualTypeOf<
      Effect.Effect<Context.Context<Ledger.Ledger | HostApi.HostApi>, never, HostApi.HostApi>
    >()
  })

  it("stack in either order, down to a backend", () => {
    const ledgerAbove = Ledger.layer.pipe(Layer.provide(FaultInjection.layer()), Layer.provide(backend))
    const ledgerBelow = FaultInjection.layer().pipe(Layer.provide(Ledger.layer), Layer.provide(backend))
    expectTypeOf(ledgerAbove).toEqualTypeOf<Layer.Layer<Ledger.Ledger | HostApi.HostApi, BackendError>>()
    expectTypeOf(ledgerBelow).toEqualTypeOf<
      Layer.Layer<FaultInjection.FaultInjection | HostApi.HostApi, BackendError>
    >()
  })
})

describe("rules", () => {
  it("name operations, purposes and faults that exist", () => {
    FaultInjection.layer([{ where: { operation: ["malloc", "submit"], purpose: "stage" }, fault: FaultInjection.hang }])
    // @ts-expect-error: there is no such operation
    FaultInjection.layer([{ where: { operation: "mallocate" }, fault: FaultInjection.hang }])
    // @ts-expect-error: there is no such purpose
    FaultInjection.layer([{ where: { purpose: "tensors" }, fault: FaultInjection.hang }])
    // @ts-expect-error: a rule has a fault
    FaultInjection.layer([{ where: { operation: "malloc" } }])
    // @ts-expect-error: a probability has a seed
    FaultInjection.layer([{ fault: FaultInjection.hang, often: { probability: 0.5 } }])
    // @ts-expect-error: nothing happens during an effect
    FaultInjection.layer([{ fault: FaultInjection.hang, when: "during" }])
    // @ts-expect-error: half or nothing
    FaultInjection.lie("most")
  })
})

describe("the services", () => {
  it("leave the channels of what runs without faults as they are", () => {
    const check = ({ withoutFaults }: FaultInjection.Service) => withoutFaults(runs)
    expectTypeOf<ReturnType<typeof check>>().toEqualTypeOf<typeof runs>()
  })

  it("fail with what they find, and with nothing else", () => {
    expectTypeOf<FaultInjection.Service["assertAllFired"]>().toEqualTypeOf<
      Effect.Effect<void, FaultInjection.NeverFired>
    >()
    expectTypeOf<Ledger.Service["assertEmpty"]>().toEqualTypeOf<Effect.Effect<void, Ledger.NotEmpty>>()
    expectTypeOf<Ledger.Service["snapshot"]>().toEqualTypeOf<Effect.Effect<Ledger.Snapshot>>()
    expectTypeOf(Ledger.difference).returns.toEqualTypeOf<Ledger.Difference>()
  })
})

describe("a sweep", () => {
  it("needs nothing, and fails as its backend does", () => {
    expectTypeOf(FaultSweep.run(runs, options)).toEqualTypeOf<Effect.Effect<FaultSweep.Report, BackendError>>()
    expectTypeOf(FaultSweep.assertClean(runs, options)).toEqualTypeOf<
      Effect.Effect<FaultSweep.Report, FaultSweep.SweepFailed | BackendError>
    >()
  })

  it("takes programs that need a scope, a host API, or what the layer gives", () => {
    FaultSweep.run(operations, options)
    FaultSweep.run(operations, { backend, layer: Layer.empty })
    FaultSweep.run(Effect.zipRight(operations, runs), options)
    FaultSweep.run(tokenizes, {
      backend,
      layer: Layer.merge(DeviceRunner.layer(), Layer.succeed(Tokenizer, { vocabulary: 256 }))
    })
  })

  it("takes no program that needs what the layer does not give", () => {
    // @ts-expect-error: nothing gives a tokenizer
    FaultSweep.run(tokenizes, options)
    // @ts-expect-error: nothing gives a runner
    FaultSweep.run(runs, { backend, layer: Layer.empty })
    // @ts-expect-error: an invariant has only what the layer gives
    FaultSweep.run(runs, { ...options, invariant: Effect.asVoid(Tokenizer) })
    // @ts-expect-error: smaller programs have only what the layer gives
    FaultSweep.run(runs, { ...options, smaller: [tokenizes] })
  })

  it("takes no layer that needs more than a host API, and no backend that is none", () => {
    const needy = Layer.scoped(DeviceRunner.DeviceRunner, Effect.zipRight(Tokenizer, runner))
    // @ts-expect-error: a layer that needs a tokenizer
    FaultSweep.run(runs, { backend, layer: needy })
    // @ts-expect-error: a tokenizer is no backend
    FaultSweep.run(runs, { ...options, backend: Layer.succeed(Tokenizer, { vocabulary: 256 }) })
  })

  it("takes no forms, faults or interruptions that there are not", () => {
    // @ts-expect-error: no form
    FaultSweep.run(runs, { ...options, forms: ["late"] })
    // @ts-expect-error: no kind of fault
    FaultSweep.run(runs, { ...options, faults: ["timeout"] })
    // @ts-expect-error: no places
    FaultSweep.run(runs, { ...options, interruptions: ["some"] })
    // @ts-expect-error: no persistence
    FaultSweep.run(runs, { ...options, persistences: ["twice"] })
  })

  it("reports verdicts by their names", () => {
    expectTypeOf<FaultSweep.Failure["verdict"]>().toEqualTypeOf<FaultSweep.Verdict>()
    expectTypeOf<"Leaked">().toExtend<FaultSweep.Verdict>()
    expectTypeOf<"Lost">().not.toExtend<FaultSweep.Verdict>()
    expectTypeOf(FaultSweep.summary).toEqualTypeOf<(report: FaultSweep.Report) => string>()
  })
})

declare const runner: Effect.Effect<DeviceRunner.Service, never, HostApi.HostApi>
