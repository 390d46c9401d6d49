/** Memory that outlives runs: residents, host tensors, and the temporary buffer itself. */
import { Effect } from "effect"
import { Arg, DeviceRunner, HostApi } from "leasehold"
import { addInline, native } from "../../utils/kernels.ts"
import { bareScenario, scenario } from "../scenario.ts"

const runnerOf = DeviceRunner.DeviceRunner
const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })

/** What no runner does: ask the device itself. */
const hostApiAlone = Effect.gen(function*() {
  const api = yield* HostApi.HostApi
  const origin: HostApi.Origin = { purpose: "tensor", runId: 0, names: ["alone"] }
  yield* api.memoryInfo
  yield* Effect.acquireUseRelease(
    api.malloc(64, 64, origin),
    () => Effect.void,
    (address) => Effect.ignore(api.free(address, origin))
  )
})

export const memoryScenarios = [
  scenario({
    name: "resident upload and download",
    delayed: true,
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      const resident = yield* runner.allocate("int16", [4])
      yield* resident.upload(Int16Array.of(1, 2, 3, 4))
      yield* resident.download(new Int16Array(2), { offsetElements: 1 })
    })
  }),
  scenario({
    name: "host tensors",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      const x = yield* runner.allocateHost("uint8", [5])
      const y = yield* runner.allocateHost("uint8", [5])
      yield* runner.run(copy, { x, y })
    })
  }),
  scenario({
    name: "shrink and grow",
    delayed: true,
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.configure({ maxBytes: "1 KiB", alignmentBytes: 64 })
      yield* runner.run(addInline, pairOf())
      yield* runner.configure({ maxBytes: "2 KiB", alignmentBytes: 64, chunks: { count: 2 } })
    })
  }),
  scenario({
    name: "old and new chunks do not fit together",
    simulator: { totalBytes: "64 KiB" },
    runner: { temporaryBuffer: { maxBytes: "32 KiB" } },
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.configure({ maxBytes: "48 KiB", alignmentBytes: 64 })
      yield* runner.run(addInline, pairOf())
    })
  }),
  scenario({
    name: "a device that is full",
    mayRecover: true,
    simulator: { totalBytes: "64 KiB" },
    runner: { temporaryBuffer: { maxBytes: "32 KiB" } },
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* Effect.flip(runner.configure({ maxBytes: "128 KiB" }))
      yield* runner.run(addInline, pairOf())
    })
  }),
  bareScenario({ name: "the host API alone", program: hostApiAlone })
]
