/** Promise 7: ExternalNoop memory is never freed, copied over or zeroed by a run; empty tensors cost nothing. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Arg, DeviceRunner, HostApi } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { failsWith } from "../utils/programs.ts"

const signature = {
  kept: Arg.resident("float32"),
  x: Arg.input("float32", ["n"]),
  work: Arg.scratch("float32", ["n"]),
  y: Arg.output("float32", ["n"])
}

const touches = (call: Probe.Call, address: number, byteCount: number): boolean => {
  for (let cell = 0; cell + 3 < call.cells.length; cell += 4) {
    const end = call.cells[cell + 1]! + call.cells[cell + 3]!
    if (call.cells[cell + 1]! < address + byteCount && address < end) {
      return true
    }
  }
  return false
}

onEveryDevice("promise 7: external memory is never touched", (form) => {
  for (const maxBytes of [0, 65_536]) {
    it.scoped(`runs read it and leave it as it is (budget ${maxBytes})`, () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const probe = yield* Probe.Probe
        const before = new Set(probe.live.keys())
        const kept = yield* runner.allocate("float32", [64])
        const address = [...probe.live.keys()].find((candidate) => !before.has(candidate))!
        const written = Float32Array.from({ length: 64 }, (_, index) => index + 1)
        yield* kept.upload(written)
        const calls = yield* probe.during(Effect.gen(function*() {
          for (const execution of ["inline", "awaited"] as const) {
            for (const symbol of form.canFail === false ? ["test_nothing"] : ["test_nothing", "test_fail"]) {
              const callable = native(symbol, signature, { execution })
              const args = { kept, x: new Float32Array(8), y: new Float32Array(8) }
              yield* Effect.exit(runner.run(callable, args))
              probe.fail({ operation: "submit", purpose: "copyBack", status: HostApi.Status.TransferFailed })
              yield* Effect.exit(runner.run(native("test_nothing", signature, { execution }), args))
            }
          }
        }))
        assert.isEmpty(calls.filter((call) => call.operation === "free" && call.address === address))
        assert.isEmpty(calls.filter((call) => call.operation === "submit" && touches(call, address, 256)))
        const launch = calls.find((call) => call.operation === "launch")!
        assert.strictEqual(Probe.launchedArguments(launch)[0]!.address, address)
        const read = new Float32Array(64)
        yield* kept.download(read)
        assert.deepStrictEqual(read, written)
      }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes, alignmentBytes: 64 } }))))
  }

  it.scoped("a resident is cleared when it is allocated, and kept from run to run", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const accumulate = native("test_accumulate", {
        acc: Arg.resident("float32", { access: "readWrite" }),
        x: Arg.input("float32", ["n"]),
        y: Arg.output("float32", ["n"])
      })
      const acc = yield* runner.allocate("float32", [4])
      const y = new Float32Array(4)
      yield* runner.run(accumulate, { acc, x: Float32Array.of(1, 2, 3, 4), y })
      assert.deepStrictEqual(y, Float32Array.of(1, 2, 3, 4))
      yield* runner.run(accumulate, { acc, x: Float32Array.of(10, 10, 10, 10), y })
      assert.deepStrictEqual(y, Float32Array.of(11, 12, 13, 14))
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("closing a resident waits for the run that uses it", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const residentScope = yield* Scope.make()
      const runScope = yield* Scope.make()
      const kept = yield* Scope.extend(runner.allocate("float32", [8]), residentScope)
      yield* Scope.extend(
        runner.bind(native("test_nothing", signature), { kept, x: new Float32Array(1), y: new Float32Array(1) }),
        runScope
      )
      const live = probe.live.size
      const closing = yield* Effect.fork(Scope.close(residentScope, Exit.void))
      yield* Effect.repeatN(Effect.yieldNow(), 20)
      // Asking for the free would be too early already, whenever it ends.
      assert.isEmpty(probe.calls.filter((call) => call.operation === "free"))
      yield* Scope.close(runScope, Exit.void)
      yield* closing.await
      assert.strictEqual(probe.live.size, live - 1)
      const error = yield* failsWith("InvalidArgument", kept.download(new Float32Array(8)))
      assert.strictEqual(error.reason, "HandleClosed")
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("empty tensors take nothing, move nothing and carry a null pointer", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const empty = yield* runner.allocate("float32", [0, 4])
      for (const execution of ["inline", "awaited"] as const) {
        const callable = native("test_nothing", signature, { execution })
        yield* runner.load(callable)
        const calls = yield* probe.during(
          runner.run(callable, { kept: empty, x: new Float32Array(0), y: new Float32Array(0) })
        )
        assert.deepStrictEqual(calls.map((call) => call.operation), ["launch"])
        assert.deepStrictEqual(
          Probe.launchedArguments(calls[0]!).map(({ address, byteCount }) => [address, byteCount]),
          [[0, 0], [0, 0], [0, 0], [0, 0]]
        )
      }
      assert.strictEqual((yield* runner.stats).temporaryBuffer.highWaterBytes, 0)
    }).pipe(Effect.provide(runnerOf(form))))
})
