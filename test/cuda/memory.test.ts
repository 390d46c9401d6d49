/** What the driver has free: the same before and after a runner's whole life, however often. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { DeviceRunner } from "leasehold"
import * as CudaDevice from "../utils/cudaDevice.ts"
import * as Gpu from "../utils/gpu.ts"
import { add, addInline } from "../utils/kernels.ts"
import * as Loopback from "../utils/loopback.ts"
import { vectors } from "../utils/programs.ts"

/** Of the loopback driver one that no other test uses in between. */
const device = CudaDevice.isLoopback ? 7 : Gpu.deviceIndex

const hold = (): Gpu.HeldContext =>
  CudaDevice.isLoopback ? new Gpu.HeldContext(Loopback.driverPath, device) : Gpu.holdContext()

/** Enough on a GPU to see what one cycle loses; the loopback driver counts every byte. */
const cycleCount = CudaDevice.mode === "loopback" ? 200 : 1000

/** A device is opened and a runner configured, it runs, and all of it is closed. */
const cycle = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  yield* runner.allocate("float32", [256])
  for (const callable of [add, addInline]) {
    const args = vectors(256, 3)
    yield* runner.run(callable, args)
    assert.deepStrictEqual(args.c, args.a.map((value, index) => value + args.b[index]!))
  }
}).pipe(
  Effect.scoped,
  Effect.provide(Layer.fresh(
    DeviceRunner.layer({
      temporaryBuffer: { maxBytes: "4 MiB" },
      residentMaxBytes: "1 MiB",
      stagingMaxBytes: "4 MiB",
      maxInlineCopyBytes: "1 MiB"
    }).pipe(Layer.provide(CudaDevice.layer({ device })))
  ))
)

/** Three samples, as somebody else may ask for memory in between. */
const sample = (held: Gpu.HeldContext): ReadonlyArray<number> => [1, 2, 3].map(() => held.freeBytes())

/** As {@link sample}, under a context that is held for this only. */
const sampleAlone = Effect.sync(() => {
  const held = hold()
  const samples = sample(held)
  held.release()
  return samples
})

describe("the driver has as much memory free", () => {
  it.live(
    `after ${cycleCount} configurations, runs and closings under one context as before`,
    () =>
      Effect.gen(function*() {
        const held = hold()
        // What the driver keeps from then on, it takes in the first one: its heap for kernels, and what compiles them.
        yield* cycle
        const before = sample(held)
        yield* Effect.repeatN(cycle, cycleCount - 1)
        assert.deepStrictEqual(sample(held), before)
        held.release()
      }),
    600_000
  )

  it.live("after 10 that let go of the context as well", () =>
    Effect.gen(function*() {
      yield* cycle
      const before = yield* sampleAlone
      yield* Effect.repeatN(cycle, 9)
      assert.deepStrictEqual(yield* sampleAlone, before)
    }), 600_000)

  it.runIf(CudaDevice.isLoopback)("and the driver was not misused", () => {
    assert.strictEqual(Loopback.violations(), "")
    assert.isAtLeast(Loopback.calls("cuMemAlloc_v2"), 2 * cycleCount)
  })
})
