/**
 * A decorator over `HostApi` for tests: it records every call of both forms, keeps its own account of what is allocated,
 * and fails the calls that a test names.
 */
import { Context, Effect, Layer } from "effect"
import { HostApi } from "leasehold"

export interface Call {
  readonly operation: "malloc" | "free" | "hostMalloc" | "hostFree" | "submit" | "collect" | "loadKernel" | "launch"
  readonly purpose: HostApi.Purpose
  readonly runId: number
  readonly names: ReadonlyArray<string>
  readonly form: "immediate" | "effect"
  /** The cells of the call's table as they were, for submit, collect and launch. */
  readonly cells: Float64Array
  /** Bytes asked for, for malloc. */
  readonly byteCount: number
  readonly address: number
}

/** Which calls fail, and how. */
export interface Rule {
  readonly operation: Call["operation"]
  readonly purpose?: HostApi.Purpose
  /** How many matching calls pass first. Defaults to 0. */
  readonly skip?: number
  /** How many fail then. Defaults to 1. */
  readonly times?: number
  readonly status: number
  /** Whether the call takes effect before it is said to have failed. Defaults to false. */
  readonly after?: boolean
  /** Throws instead of answering a status. */
  readonly defect?: boolean
}

interface ArmedRule {
  readonly rule: Rule
  skip: number
  times: number
  fired: number
}

export interface ProbeService {
  readonly calls: Array<Call>
  /** Live device allocations, by address. */
  readonly live: Map<number, number>
  /** The most bytes that were live at once. */
  readonly peakBytes: () => number
  /** Starts the account of the peak again from what is live. */
  readonly resetPeak: () => void
  readonly fail: (rule: Rule) => void
  /** The calls made while an effect runs. */
  readonly during: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<ReadonlyArray<Call>, E, R>
  /** How many injected failures have happened. */
  readonly fired: () => number
}

export class Probe extends Context.Tag("test/Probe")<Probe, ProbeService>() {}

export const layer: Layer.Layer<Probe | HostApi.HostApi, never, HostApi.HostApi> = Layer.effectContext(
  Effect.map(HostApi.HostApi, (hostApi) => {
    const probe = new Recorder()
    return Context.make(Probe, probe.service).pipe(Context.add(HostApi.HostApi, probe.wrap(hostApi)))
  })
)

type CallFacts = Pick<Call, "operation" | "form"> & Partial<Pick<Call, "cells" | "byteCount" | "address">>

const none = new Float64Array(0)

const injected = (operation: string, status: number): HostApi.HostApiError =>
  new HostApi.HostApiError({
    operation,
    status,
    statusName: HostApi.statusName(status),
    deviceCode: 4242,
    deviceName: "INJECTED",
    detail: "injected by a test",
    entryIndex: -1
  })

class Recorder {
  readonly calls: Array<Call> = []
  readonly live = new Map<number, number>()
  readonly rules: Array<ArmedRule> = []
  #peak = 0
  #lastStatus = 0
  #lastWasInjected = false

  readonly service: ProbeService = {
    calls: this.calls,
    live: this.live,
    peakBytes: () => this.#peak,
    resetPeak: () => {
      this.#peak = this.#liveBytes()
    },
    fail: (rule) => {
      this.rules.push({ rule, skip: rule.skip ?? 0, times: rule.times ?? 1, fired: 0 })
    },
    during: (effect) =>
      Effect.suspend(() => {
        const start = this.calls.length
        return Effect.map(effect, () => this.calls.slice(start))
      }),
    fired: () => this.rules.reduce((sum, armed) => sum + armed.fired, 0)
  }

  #liveBytes(): number {
    return [...this.live.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  #record(facts: CallFacts, origin: HostApi.Origin): ArmedRule | undefined {
    this.calls.push({
      cells: none,
      byteCount: 0,
      address: 0,
      ...facts,
      purpose: origin.purpose,
      runId: origin.runId,
      names: [...origin.names]
    })
    const armed = this.rules.find(({ rule, times }) =>
      times > 0 && rule.operation === facts.operation &&
      (rule.purpose === undefined || rule.purpose === origin.purpose)
    )
    if (armed === undefined) {
      return undefined
    }
    if (armed.skip > 0) {
      armed.skip -= 1
      return undefined
    }
    armed.times -= 1
    armed.fired += 1
    return armed
  }

  #allocated(address: number, byteCount: number): void {
    this.live.set(address, byteCount)
    this.#peak = Math.max(this.#peak, this.#liveBytes())
  }

  #effect<A>(
    facts: CallFacts,
    origin: HostApi.Origin,
    call: Effect.Effect<A, HostApi.HostApiError>
  ): Effect.Effect<A, HostApi.HostApiError> {
    return Effect.suspend(() => {
      const armed = this.#record(facts, origin)
      if (armed === undefined) {
        return call
      }
      const failure = armed.rule.defect === true
        ? Effect.die(new Error("injected defect"))
        : Effect.fail(injected(facts.operation, armed.rule.status))
      return armed.rule.after === true ? Effect.zipRight(call, failure) : failure
    })
  }

  #plain(facts: CallFacts, origin: HostApi.Origin, call: () => number): number {
    const armed = this.#record(facts, origin)
    this.#lastWasInjected = armed !== undefined
    if (armed === undefined) {
      this.#lastStatus = call()
      return this.#lastStatus
    }
    if (armed.rule.after === true) {
      call()
    }
    if (armed.rule.defect === true) {
      throw new Error("injected defect")
    }
    return armed.rule.status
  }

  wrap(api: HostApi.Service): HostApi.Service {
    const form = "effect"
    return {
      ...api,
      malloc: (byteCount, alignmentBytes, origin) =>
        this.#effect(
          { operation: "malloc", form, byteCount },
          origin,
          Effect.tap(
            api.malloc(byteCount, alignmentBytes, origin),
            (address) => Effect.sync(() => this.#allocated(address, byteCount))
          )
        ),
      free: (address, origin) =>
        this.#effect(
          { operation: "free", form, address },
          origin,
          Effect.tap(api.free(address, origin), () => Effect.sync(() => void this.live.delete(address)))
        ),
      hostMalloc: (byteCount, origin) =>
        this.#effect({ operation: "hostMalloc", form, byteCount }, origin, api.hostMalloc(byteCount, origin)),
      hostFree: (address, origin) =>
        this.#effect({ operation: "hostFree", form, address }, origin, api.hostFree(address, origin)),
      submit: (lane, transfers, origin) =>
        this.#effect(
          { operation: "submit", form, cells: copy(transfers, 4) },
          origin,
          api.submit(lane, transfers, origin)
        ),
      collect: (transfers, origin) =>
        this.#effect({ operation: "collect", form, cells: copy(transfers, 4) }, origin, api.collect(transfers, origin)),
      loadKernel: (kernel, origin) =>
        this.#effect({ operation: "loadKernel", form }, origin, api.loadKernel(kernel, origin)),
      launch: (kernel, args, origin) =>
        this.#effect({ operation: "launch", form, cells: copy(args, 16) }, origin, api.launch(kernel, args, origin)),
      immediate: api.immediate === undefined ? undefined : this.#wrapImmediate(api.immediate)
    }
  }

  #wrapImmediate(api: HostApi.Immediate): HostApi.Immediate {
    const form = "immediate"
    return {
      malloc: (byteCount, alignmentBytes, origin) =>
        this.#plain({ operation: "malloc", form, byteCount }, origin, () => {
          const status = api.malloc(byteCount, alignmentBytes, origin)
          if (status === HostApi.Status.Ok) {
            this.#allocated(api.mallocResult(), byteCount)
          }
          return status
        }),
      mallocResult: api.mallocResult,
      free: (address, origin) =>
        this.#plain({ operation: "free", form, address }, origin, () => {
          const status = api.free(address, origin)
          if (status === HostApi.Status.Ok) {
            this.live.delete(address)
          }
          return status
        }),
      submit: (lane, transfers, origin) =>
        this.#plain(
          { operation: "submit", form, cells: copy(transfers, 4) },
          origin,
          () => api.submit(lane, transfers, origin)
        ),
      launch: (kernel, args, origin) =>
        this.#plain(
          { operation: "launch", form, cells: copy(args, 16) },
          origin,
          () => api.launch(kernel, args, origin)
        ),
      lastFailure: (operation, status) =>
        this.#lastWasInjected ? injected(operation, status) : api.lastFailure(operation, status)
    }
  }
}

const copy = (table: { readonly cells: Float64Array; readonly count: number }, cells: number): Float64Array =>
  table.cells.slice(0, table.count * cells)

/** What a launch handed to a kernel: for each argument its address and bytes. */
export const launchedArguments = (
  call: Call
): ReadonlyArray<{ readonly name: string; readonly address: number; readonly byteCount: number }> =>
  call.names.map((name, index) => ({
    name,
    byteCount: call.cells[index * 16 + 2]!,
    address: call.cells[index * 16 + 4]!
  }))
