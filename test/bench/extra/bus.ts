/**
 * What one transfer for many small tensors saves on a device at the end of a bus, counted on the device's virtual clock: 20
 * inputs, a fixed price for each transfer, and no price for bytes.
 */
import * as Effect from "effect/Effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { library } from "../native.ts"
import type { BusReport } from "../report.ts"

const tensors = 20
const byteCount = 4096
const microsPerTransfer = 5
const runs = 100

export const measureBus: Effect.Effect<BusReport, unknown> = Effect.gen(function*() {
  const apart = yield* measure(0)
  const coalesced = yield* measure(tensors * byteCount)
  return {
    tensors,
    byteCount,
    nanosPerTransfer: microsPerTransfer * 1000,
    apart,
    coalesced,
    timesFaster: apart.virtualNanosPerRun / coalesced.virtualNanosPerRun
  }
})

const names = Array.from({ length: tensors }, (_, index) => `tensor${index}`)

const measure = (coalesceMaxBytes: number) =>
  Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: "1 MiB" }, clear: "none" })
    const device = yield* Simulator.Simulator
    const callable = Callable.native({
      signature: Object.fromEntries(names.map((name) => [name, Arg.input("uint8", [byteCount])])),
      kernels: [Simulator.kernel({ library, symbol: "bench_empty" })],
      execution: "inline"
    })
    const args = Object.fromEntries(names.map((name) => [name, new Uint8Array(byteCount)]))
    yield* runner.run(callable, args)
    const before = yield* device.statistics
    for (let run = 0; run < runs; run++) {
      yield* runner.run(callable, args)
    }
    const after = yield* device.statistics
    const transfers = after.copyInCount + after.copyOutCount - before.copyInCount - before.copyOutCount
    return {
      transfersPerRun: transfers / runs,
      virtualNanosPerRun: (after.clockNanos - before.clockNanos) / runs
    }
  })).pipe(
    Effect.provide(Simulator.layer({
      totalBytes: "8 MiB",
      coalesceMaxBytes,
      cost: { clock: "virtual", transfer: `${microsPerTransfer} micros` }
    }))
  )
