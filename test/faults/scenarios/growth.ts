/** A temporary buffer that grows: with room for old and new, without, on a device that refuses, and trimmed. */
import { Effect, Layer } from "effect"
import * as Scopes from "effect/Scope"
import { Arg, DeviceRunner, HostApi, type RunnerOptions } from "leasehold"
import { addInline, native } from "../../utils/kernels.ts"
import { beside, joined, untilWaiting } from "../beside.ts"
import type { Scenario } from "../scenario.ts"
import { Complaints, expect, witnessed } from "../witness.ts"

const runnerOf = DeviceRunner.DeviceRunner
const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

/** Takes as many bytes as it is told. */
const taking = native("test_nothing", { bytes: Arg.scratch("uint8", ["n"]) }, { execution: "inline" })

const take = (runner: DeviceRunner.Service, byteCount: number) => runner.run(taking, {}, { dims: { n: byteCount } })

const growing = (
  maxBytes: RunnerOptions.RunnerOptions["temporaryBuffer"] & object,
  slots = 1
): RunnerOptions.RunnerOptions => ({
  slots,
  temporaryBuffer: { growth: "highWater", ...maxBytes },
  admission: { wait: { maxQueueCount: 2 } }
})

/** Counts the bytes of all chunks as the device sees them, and complains where they are more than the budget. */
const watchingChunks = (
  options: RunnerOptions.RunnerOptions
): Layer.Layer<DeviceRunner.DeviceRunner, unknown, HostApi.HostApi | Complaints> =>
  Layer.provide(
    DeviceRunner.layer(options),
    Layer.effect(
      HostApi.HostApi,
      Effect.gen(function*() {
        const api = yield* HostApi.HostApi
        const complaints = yield* Complaints
        const maxBytes = sizeOf(options.temporaryBuffer?.maxBytes)
        const held = new Map<number, number>()
        return HostApi.HostApi.of({
          ...api,
          malloc: (byteCount, alignmentBytes, origin) =>
            Effect.map(api.malloc(byteCount, alignmentBytes, origin), (address) => {
              if (origin.purpose === "chunk") {
                held.set(address, byteCount)
                const sum = [...held.values()].reduce((total, bytes) => total + bytes, 0)
                if (sum > maxBytes) {
                  complaints.push(`chunks of ${sum} B are held within a budget of ${maxBytes} B`)
                }
              }
              return address
            }),
          // What the device does not take back is held no more: it counts against the budget as quarantine.
          free: (address, origin) => Effect.ensuring(api.free(address, origin), Effect.sync(() => held.delete(address)))
        })
      })
    )
  )

const sizeOf = (input: unknown): number => {
  const [, count = "", unit = ""] = /^(\d+)(?: (KiB))?$/.exec(String(input)) ?? []
  return Number(count) * (unit === "KiB" ? 1024 : 1)
}

/** Says how large the buffer has to be. */
const retains = (runner: DeviceRunner.Service, byteCount: number) =>
  Effect.flatMap(
    runner.stats,
    ({ temporaryBuffer: { retainedBytes } }) =>
      expect(retainedBytes === byteCount, `the buffer holds ${retainedBytes} B where runs needed ${byteCount} B`)
  )

/** First with the old chunk beside the new one, then after it, because both do not fit into the budget. */
const growsTwice = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.run(addInline, pairOf())
  yield* take(runner, 1024)
  yield* retains(runner, 1024)
  yield* take(runner, 3584)
  yield* retains(runner, 3584)
  yield* runner.run(addInline, pairOf())
})

/** A second run waits for a slot, so that both would have fitted beside each other in a larger buffer. */
const wishesForMore = (byteCount: number) =>
  Effect.gen(function*() {
    const runner = yield* runnerOf
    yield* runner.load(taking)
    const outer = yield* Effect.scope
    const behind = yield* Effect.scoped(Effect.gen(function*() {
      yield* runner.bind(taking, {}, { dims: { n: byteCount } })
      const waiting = yield* Scopes.extend(beside(take(runner, byteCount)), outer)
      yield* untilWaiting(runner, 1)
      return waiting
    }))
    yield* joined(behind)
    return runner
  })

/** What the device has not, nobody gets; what it has is there afterwards. */
const refusedByDevice = (byteCounts: readonly [number, number]) =>
  Effect.gen(function*() {
    const runner = yield* runnerOf
    const [first, second] = byteCounts
    yield* take(runner, first)
    const failure = yield* Effect.flip(take(runner, second))
    yield* failure._tag === "DeviceOutOfMemory" && failure.detail !== "injected" ? Effect.void : failure
    yield* take(runner, first)
    yield* retains(runner, first)
  })

/** While a run waits nothing is trimmed; afterwards all but a little is, the buffer grows again, and everything is. */
const trimmedWhileWaiting = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.load(addInline)
  const outer = yield* Effect.scope
  const behind = yield* Effect.scoped(Effect.gen(function*() {
    yield* runner.bind(addInline, pairOf())
    const waiting = yield* Scopes.extend(beside(runner.run(addInline, pairOf())), outer)
    yield* untilWaiting(runner, 1)
    const failure = yield* Effect.flip(runner.trim(0))
    yield* failure._tag === "ConfigureWhileActive" ? Effect.void : failure
    return waiting
  }))
  yield* joined(behind)
  const { retainedBytes } = (yield* runner.stats).temporaryBuffer
  const keptBytes = 64
  const trimmedBytes = yield* runner.trim(keptBytes)
  yield* expect(trimmedBytes === retainedBytes - keptBytes, `${trimmedBytes} B of ${retainedBytes} B were trimmed`)
  yield* retains(runner, keptBytes)
  yield* runner.run(addInline, pairOf())
  yield* runner.trim(0)
  yield* retains(runner, 0)
})

export const growthScenarios: ReadonlyArray<Scenario> = [
  witnessed({
    name: "growth past one chunk",
    forms: ["immediate", "delayed"],
    runner: growing({ maxBytes: "4 KiB", alignmentBytes: 64 }),
    program: growsTwice
  }, watchingChunks),
  witnessed({
    name: "growth fails, and what there is will do",
    forms: ["effects"],
    // The device refuses the larger buffer, and a fault may do the same. One that lies gives it.
    mayRecover: true,
    faults: ["error", "outOfMemory", "deviceLost", "defect", "hang"],
    simulator: { totalBytes: "64 KiB" },
    runner: growing({ maxBytes: "128 KiB", alignmentBytes: 64 }),
    program: Effect.flatMap(wishesForMore(40 * 1024), (runner) => retains(runner, 40 * 1024))
  }, watchingChunks),
  witnessed({
    name: "growth fails, and the run with it",
    forms: ["effects"],
    simulator: { totalBytes: "64 KiB" },
    runner: growing({ maxBytes: "128 KiB", alignmentBytes: 64 }),
    program: refusedByDevice([16 * 1024, 80 * 1024])
  }, watchingChunks),
  witnessed({
    name: "growth fails, and the old chunk is made again",
    forms: ["effects"],
    simulator: { totalBytes: "48 KiB" },
    runner: growing({ maxBytes: "64 KiB", alignmentBytes: 64 }),
    program: refusedByDevice([40 * 1024, 60 * 1024])
  }, watchingChunks),
  witnessed({
    name: "trimmed while another waits",
    // Where the buffer does not grow to what both would have needed, what there is will do.
    mayRecover: true,
    runner: growing({ maxBytes: "4 KiB", alignmentBytes: 64 }),
    program: trimmedWhileWaiting
  }, watchingChunks)
]
