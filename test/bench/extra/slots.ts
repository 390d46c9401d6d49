/**
 * What a second slot brings on a device at the end of a bus whose kernels take as long as their copies: two fibers that run
 * step after step, on a runner with one slot and on one with two.
 *
 * Twice: on a virtual clock, which stands still while there is something to do, so that the figure is one of the schedule
 * alone; and on the simulator's own lanes in real time, where its threads sleep for what things cost.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Arg, Callable, DeviceRunner, HostApi, Simulator } from "leasehold"
import { VirtualClock } from "../../../src/internal/testing/virtualClock.ts"
import { library } from "../native.ts"
import type { SlotsReport } from "../report.ts"

const tensors = 20
const byteCount = 4096
const fibers = 2

/** What the virtual device costs. Its kernel takes as long as the copies of a run in both directions. */
const microsPerTransfer = 5
const bytesPerMicro = 1000
const copyMicros = microsPerTransfer + tensors / 2 * byteCount / bytesPerMicro

/** What the simulator costs in real time. */
const realTransferMillis = 2

export const measureSlots = (steps: { readonly virtual: number; readonly real: number }) =>
  Effect.gen(function*() {
    const virtual = {
      oneSlot: yield* virtualStepsPerSecond(1, steps.virtual),
      twoSlots: yield* virtualStepsPerSecond(2, steps.virtual)
    }
    const real = {
      oneSlot: yield* realStepsPerSecond(1, steps.real),
      twoSlots: yield* realStepsPerSecond(2, steps.real)
    }
    return {
      tensors,
      byteCount,
      copyMicros,
      kernelMicros: 2 * copyMicros,
      virtual: { ...virtual, timesFaster: virtual.twoSlots / virtual.oneSlot },
      real: { ...real, timesFaster: real.twoSlots / real.oneSlot }
    } satisfies SlotsReport
  })

const names = Array.from({ length: tensors }, (_, index) => `tensor${index}`)

const step = Callable.native({
  signature: Object.fromEntries(names.map((name, index): [string, Arg.Arg] => [
    name,
    index % 2 === 0 ? Arg.input("uint8", [byteCount]) : Arg.output("uint8", [byteCount])
  ])),
  kernels: [Simulator.kernel({ library, symbol: "bench_empty" })]
})

const args = (): Record<string, Uint8Array> =>
  Object.fromEntries(names.map((name) => [name, new Uint8Array(byteCount)]))

/** Every fiber makes its steps one after the other. */
const makeSteps = (count: number) =>
  Effect.flatMap(DeviceRunner.DeviceRunner, (runner) => {
    const fiber = Effect.suspend(() => Effect.repeatN(runner.run(step, args()), count / fibers - 1))
    return Effect.all(Array.from({ length: fibers }, () => fiber), { concurrency: "unbounded", discard: true })
  })

const runner = (slots: number) =>
  DeviceRunner.layer({
    temporaryBuffer: { maxBytes: "1 MiB" },
    clear: "none",
    slots,
    admission: { wait: { maxQueueCount: fibers } }
  })

const nanosPerSecond = 1e9

const stepsPerSecond = (count: number, work: Effect.Effect<unknown, unknown>): Effect.Effect<number, unknown> =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeNanos
    yield* work
    return count / (Number((yield* Clock.currentTimeNanos) - start) / nanosPerSecond)
  })

const measured = (count: number) =>
  Effect.flatMap(Effect.context<DeviceRunner.DeviceRunner>(), (context) => {
    const steps = (of: number) => Effect.provide(makeSteps(of), context)
    return Effect.zipRight(steps(fibers), stepsPerSecond(count, steps(count)))
  })

/** Every call costs its time on the clock of the fiber that makes it, and lanes go on beside each other. */
const withCosts = Layer.effect(
  HostApi.HostApi,
  Effect.map(HostApi.HostApi, (api): HostApi.Service => ({
    ...api,
    traits: { ...api.traits, overlapsCopies: true, answersAtOnce: false },
    immediate: undefined,
    submit: (lane, transfers, origin) =>
      Effect.zipLeft(
        api.submit(lane, transfers, origin),
        Effect.sleep(`${lane === "compute" ? 0 : copyMicros} micros`)
      ),
    launch: (kernel, args, origin) =>
      Effect.zipLeft(api.launch(kernel, args, origin), Effect.sleep(`${2 * copyMicros} micros`))
  }))
)

const virtualStepsPerSecond = (slots: number, count: number): Effect.Effect<number, unknown> =>
  Effect.gen(function*() {
    const time = new VirtualClock()
    const fiber = yield* Effect.fork(
      measured(count).pipe(
        Effect.provide(
          runner(slots).pipe(
            Layer.provide(withCosts),
            Layer.provide(Simulator.layer({
              totalBytes: "8 MiB",
              coalesceMaxBytes: tensors * byteCount,
              longCalls: "inline"
            }))
          )
        ),
        Effect.withClock(time.clock)
      )
    )
    // When the event loop has nothing else to do, everybody sleeps.
    yield* Effect.repeat(
      Effect.zipRight(idle, Effect.sync(() => time.advance())),
      { until: () => fiber.unsafePoll() !== null }
    )
    return yield* Fiber.join(fiber)
  })

const idle = Effect.async<void>((resume) => {
  setImmediate(() => setImmediate(() => resume(Effect.void)))
})

const realStepsPerSecond = (slots: number, count: number): Effect.Effect<number, unknown> =>
  measured(count).pipe(
    Effect.provide(
      runner(slots).pipe(
        Layer.provide(Simulator.layer({
          totalBytes: "8 MiB",
          coalesceMaxBytes: tensors * byteCount,
          completion: "late",
          lanes: "overlap",
          cost: { transfer: `${realTransferMillis} millis`, launch: `${2 * realTransferMillis} millis` }
        }))
      )
    )
  )
