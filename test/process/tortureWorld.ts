/**
 * A device for the garbage torture: a kernel that stands at a gate blocks it, so whatever is called meanwhile is in flight
 * until the gate opens.
 */
import { Effect, type Fiber, Layer, type Scope } from "effect"
import { DeviceRunner, HostApi, type RunnerOptions, Simulator } from "leasehold"
import { nextTurn } from "../utils/garbage.ts"
import { gate } from "../utils/gated.ts"

export interface World {
  readonly name: string
  readonly api: HostApi.Service
  /** Makes a runner of its own on the device. */
  readonly runner: Effect.Effect<DeviceRunner.Service, never, Scope.Scope>
  /** Launches a kernel that waits at the gate. */
  readonly block: Effect.Effect<Fiber.Fiber<void, unknown>>
  /** Calls that cannot end before the gate opens: launches, and on a device with one lane submits too. */
  readonly heldCount: () => number
}

/** What the calls are: made on worker threads, or worked off by the device's own threads, on one lane or on three. */
export const devices: ReadonlyArray<readonly [name: string, options: Simulator.Options]> = [
  ["on worker threads", {}],
  ["late", { completion: "late" }],
  ["late with lanes that overlap", { completion: "late", lanes: "overlap" }]
]

const runnerOptions: RunnerOptions.RunnerOptions = {
  temporaryBuffer: { maxBytes: "256 KiB" },
  stagingMaxBytes: "256 KiB",
  maxInlineCopyBytes: "256 KiB"
}

/** On which devices a submit waits for the kernels before it. */
const holdsSubmits = (options: Simulator.Options): boolean =>
  options.completion === "late" && options.lanes !== "overlap"

export const makeWorld = (
  [name, options]: (typeof devices)[number]
): Effect.Effect<World, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Layer.build(Simulator.layer({ totalBytes: "16 MiB", ...options }))
    const api = yield* Effect.provide(HostApi.HostApi, context)
    let heldCount = 0
    const counted = <A, E>(call: () => Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        heldCount += 1
        return Effect.ensuring(
          call(),
          Effect.sync(() => {
            heldCount -= 1
          })
        )
      })
    const counting: HostApi.Service = {
      ...api,
      submit: (lane, transfers, origin) => {
        const submit = () => api.submit(lane, transfers, origin)
        return holdsSubmits(options) ? counted(submit) : submit()
      },
      launch: (kernel, args, origin) => counted(() => api.launch(kernel, args, origin))
    }
    const runner = DeviceRunner.make(runnerOptions).pipe(Effect.provideService(HostApi.HostApi, counting), Effect.orDie)
    const blocker = yield* runner
    return {
      name,
      api: counting,
      runner,
      block: Effect.fork(
        blocker.run(gate, { a: new Float32Array(1), b: new Float32Array(1), c: new Float32Array(1) })
      ),
      heldCount: () => heldCount
    }
  }).pipe(Effect.orDie)

/** What is waited for comes within a few thousand turns of the event loop, also on a busy machine. */
const maxTurnCount = 1_000_000

/** Lets the event loop turn until something is so, and dies where that does not come to pass. */
export const until = (condition: () => boolean, what: string): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let turn = 0; !condition(); turn++) {
      if (turn === maxTurnCount) {
        throw new Error(`in vain the torture waited until ${what}`)
      }
      yield* nextTurn
    }
  })
