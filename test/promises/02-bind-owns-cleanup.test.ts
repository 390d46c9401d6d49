/** Promise 2: bind owns cleanup until it succeeds; from then on the run does, through its scope. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { DeviceRunner, HostApi } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { add } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertNothingHeld, assertUsable, failsWith, vectors } from "../utils/programs.ts"

const { Status } = HostApi
const zeroBudget = { temporaryBuffer: { maxBytes: 0 } }

const frees = (calls: ReadonlyArray<Probe.Call>): ReadonlyArray<string> =>
  calls.filter((call) => call.operation === "free").map((call) => call.names.join())

onEveryDevice("promise 2: bind owns cleanup until it succeeds", (form) => {
  it.scoped("a malloc that fails gives back the ones before it, newest first, before bind answers", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "malloc", purpose: "tensor", skip: 2, status: Status.OutOfMemory })
      const calls = yield* probe.during(
        Effect.scoped(Effect.gen(function*() {
          const error = yield* failsWith("DeviceOutOfMemory", runner.bind(add, vectors(8)))
          assert.strictEqual(error.purpose, "\"c\"")
          // The scope is still open, and nothing is left for it to do.
          assert.strictEqual(probe.live.size, 0)
          yield* assertNothingHeld
        }))
      )
      assert.deepStrictEqual(frees(calls), ["b", "a"])
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form, zeroBudget))))

  it.scoped("staging that fails gives back everything before bind answers", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "submit", purpose: "stage", status: Status.TransferFailed })
      const calls = yield* probe.during(
        Effect.scoped(Effect.gen(function*() {
          const error = yield* failsWith("TransferFailed", runner.bind(add, vectors(8)))
          assert.strictEqual(error.step, "stage")
          assert.strictEqual(error.deviceName, "INJECTED")
          yield* assertNothingHeld
        }))
      )
      assert.deepStrictEqual(frees(calls), ["c", "b", "a"])
    }).pipe(Effect.provide(runnerOf(form, zeroBudget))))

  it.scoped("a bound run gives back when its scope closes, and not before", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const calls = yield* probe.during(
        Effect.scoped(Effect.gen(function*() {
          yield* runner.bind(add, vectors(8))
          assert.strictEqual(probe.live.size, 3)
          assert.strictEqual((yield* runner.stats).runs.active, 1)
        }))
      )
      assert.deepStrictEqual(frees(calls), ["c", "b", "a"])
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, zeroBudget))))

  it.scoped("a launch that fails leaves the release to the scope, which does it once", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "launch", status: Status.LaunchFailed })
      const calls = yield* probe.during(
        Effect.scoped(Effect.gen(function*() {
          const run = yield* runner.bind(add, vectors(8))
          yield* failsWith("LaunchFailed", run.launch)
          assert.strictEqual(probe.live.size, 3)
        }))
      )
      assert.deepStrictEqual(frees(calls), ["c", "b", "a"])
    }).pipe(Effect.provide(runnerOf(form, zeroBudget))))

  it.scoped("a release that fails is quarantined, does not stop the others, and does not hide the first error", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      probe.fail({ operation: "launch", status: Status.LaunchFailed })
      probe.fail({ operation: "free", skip: 1, status: Status.Busy })
      const calls = yield* probe.during(failsWith("LaunchFailed", runner.run(add, vectors(8))))
      assert.deepStrictEqual(frees(calls), ["c", "b", "a"])
      const stats = yield* runner.stats
      assert.deepStrictEqual(stats.quarantine, { bytes: 32, count: 1 })
      assert.strictEqual(stats.releaseFailures, 1)
      yield* assertNothingHeld
    }).pipe(Effect.provide(runnerOf(form, zeroBudget))))
})
