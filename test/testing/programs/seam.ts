/** The seam by hand: the operations of a `HostApi` in either form, with an origin that a test chooses. */
import { Context, Effect, Layer } from "effect"
import { type DevicePtr, HostApi, Simulator } from "leasehold"
import { FaultInjection } from "leasehold/testing"

export type SeamForm = "effects" | "immediate"
export const seamForms: ReadonlyArray<SeamForm> = ["effects", "immediate"]

export const originOf = (origin: Partial<HostApi.Origin> = {}): HostApi.Origin => ({
  purpose: "tensor",
  runId: 0,
  names: [],
  ...origin
})

type Outcome<A> = Effect.Effect<A, HostApi.HostApiError>

/** What both forms have. */
export interface Seam {
  readonly malloc: (byteCount: number, origin?: Partial<HostApi.Origin>) => Outcome<DevicePtr.DevicePtr>
  readonly free: (address: DevicePtr.DevicePtr, origin?: Partial<HostApi.Origin>) => Outcome<void>
  readonly submit: (lane: HostApi.Lane, table: HostApi.Transfers, origin?: Partial<HostApi.Origin>) => Outcome<void>
  readonly launch: (
    kernel: HostApi.KernelHandle,
    args: HostApi.Arguments,
    origin?: Partial<HostApi.Origin>
  ) => Outcome<void>
}

const byEffects = (api: HostApi.Service): Seam => ({
  malloc: (byteCount, origin) => api.malloc(byteCount, 64, originOf(origin)),
  free: (address, origin) => api.free(address, originOf(origin)),
  submit: (lane, table, origin) => api.submit(lane, table, originOf({ purpose: "stage", ...origin })),
  launch: (kernel, args, origin) => api.launch(kernel, args, originOf({ purpose: "launch", ...origin }))
})

const nothing = (): void => undefined

const atOnce = (now: HostApi.Immediate): Seam => {
  const answer = <A>(operation: string, call: () => number, result: () => A): Outcome<A> =>
    Effect.suspend(() => {
      const status = call()
      return status === HostApi.Status.Ok ? Effect.succeed(result()) : Effect.fail(now.lastFailure(operation, status))
    })
  return {
    malloc: (byteCount, origin) =>
      answer("malloc", () => now.malloc(byteCount, 64, originOf(origin)), now.mallocResult),
    free: (address, origin) => answer("free", () => now.free(address, originOf(origin)), nothing),
    submit: (lane, table, origin) =>
      answer("submit", () => {
        table.refresh()
        return now.submit(lane, table, originOf({ purpose: "stage", ...origin }))
      }, nothing),
    launch: (kernel, args, origin) =>
      answer("launch", () => now.launch(kernel, args, originOf({ purpose: "launch", ...origin })), nothing)
  }
}

/** One form of a host API. */
export const seamOf = (api: HostApi.Service, form: SeamForm): Seam => {
  if (form === "effects") {
    return byEffects(api)
  }
  if (api.immediate === undefined) {
    throw new Error("the host API offers no plain functions")
  }
  return atOnce(api.immediate)
}

/** A device under fault injection, and the truth about it. */
export interface Injected {
  readonly api: HostApi.Service
  readonly seam: Seam
  readonly injection: FaultInjection.Service
  /** The host API below the injection. */
  readonly below: HostApi.Service
  /** What the device itself has counted. */
  readonly statistics: Effect.Effect<Simulator.Statistics>
}

/** A small device that answers at once and always takes the same steps. */
export const simulator = Simulator.layer({ totalBytes: "1 MiB", longCalls: "inline" })

/** Puts a device under rules until the scope closes: one of its own, or the one that is given. */
export const inject = (
  rules: ReadonlyArray<FaultInjection.Rule>,
  form: SeamForm = "effects",
  given?: Context.Context<HostApi.HostApi | Simulator.Simulator>
) =>
  Effect.gen(function*() {
    const device = given ?? (yield* Layer.build(Layer.fresh(simulator)))
    const injected = yield* Effect.provide(FaultInjection.make(rules), device)
    const api = Context.get(injected, HostApi.HostApi)
    const { statistics } = Context.get(device, Simulator.Simulator)
    const opened: Injected = {
      api,
      seam: seamOf(api, form),
      injection: Context.get(injected, FaultInjection.FaultInjection),
      below: Context.get(device, HostApi.HostApi),
      statistics
    }
    return opened
  })
