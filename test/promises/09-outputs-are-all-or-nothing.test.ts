/** Promise 9: host outputs are all or nothing; host tensors are the named exception. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer } from "effect"
import { Arg, DeviceRunner, HostApi } from "leasehold"
import { FaultInjection } from "leasehold/testing"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { assertUsable, failsWith } from "../utils/programs.ts"

const { Status } = HostApi

const two = {
  x: Arg.inout("float32", ["n"]),
  factor: Arg.scalar("float32"),
  y: Arg.output("float32", ["n"])
}

const fresh = () => ({ x: Float32Array.of(1, 2, 3), factor: 2, y: Float32Array.of(-1, -1, -1) })
const untouched = fresh()

onEveryDevice("promise 9: host outputs are all or nothing", (form) => {
  for (const maxBytes of [0, 65_536]) {
    for (const execution of ["inline", "awaited"] as const) {
      it.scoped(`a run that fails at any step has changed no view (budget ${maxBytes}, ${execution})`, () =>
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const probe = yield* Probe.Probe
          const callable = native("test_scale", two, { execution })
          yield* runner.load(callable)
          const rules: ReadonlyArray<Probe.Rule> = [
            { operation: "submit", purpose: "stage", status: Status.TransferFailed },
            { operation: "launch", status: Status.LaunchFailed },
            { operation: "launch", status: Status.LaunchFailed, after: true },
            { operation: "submit", purpose: "copyBack", status: Status.TransferFailed }
          ]
          for (const rule of rules) {
            probe.fail(rule)
            const args = fresh()
            const exit = yield* Effect.exit(runner.run(callable, args))
            assert.isTrue(Exit.isFailure(exit))
            assert.deepStrictEqual(args, untouched)
          }
          assert.strictEqual(probe.fired(), rules.length)
          const args = fresh()
          yield* runner.run(callable, args)
          assert.deepStrictEqual(args.x, Float32Array.of(2, 4, 6))
        }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes } }))))
    }
  }

  it.scoped("an output that is gone when it is copied back leaves the others as they were", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = native("test_scale", two)
      const args = fresh()
      yield* Effect.scoped(Effect.gen(function*() {
        const run = yield* runner.bind(callable, args)
        yield* run.launch
        structuredClone(args.y.buffer, { transfer: [args.y.buffer] })
        const error = yield* failsWith("InvalidArgument", run.validate)
        assert.deepStrictEqual([error.reason, error.argument], ["Detached", "y"])
        assert.deepStrictEqual(args.x, untouched.x)
        assert.strictEqual((yield* runner.stats).runs.ended, 1)
      }))
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("an input that is gone before it is staged fails the bind, and nothing else", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const callable = native("test_scale", two)
      yield* runner.load(callable)
      const args = fresh()
      structuredClone(args.x.buffer, { transfer: [args.x.buffer] })
      const error = yield* failsWith("InvalidArgument", runner.run(callable, args))
      assert.deepStrictEqual([error.reason, error.argument], ["Detached", "x"])
      assert.deepStrictEqual(args.y, untouched.y)
      yield* assertUsable
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("a copy back that fails after it has written a view says that outputs are indeterminate", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const injection = yield* FaultInjection.FaultInjection
      const callable = native("test_scale", two)
      yield* runner.load(callable)
      const operation = form.late ? "collect" : "submit"
      yield* injection.arm({
        where: { operation, purpose: "copyBack" },
        fault: FaultInjection.fail(Status.TransferFailed),
        when: "after"
      })
      const written = fresh()
      const failed = yield* failsWith("TransferFailed", runner.run(callable, written))
      assert.strictEqual(failed.hostOutputs, "indeterminate")
      assert.notDeepEqual(written.y, untouched.y)
      // A table that is refused before a byte moves is another matter.
      yield* injection.arm({
        where: { operation, purpose: "copyBack" },
        fault: FaultInjection.fail(Status.InvalidArgument)
      })
      const refused = fresh()
      const unchanged = yield* failsWith("TransferFailed", runner.run(callable, refused))
      assert.strictEqual(unchanged.hostOutputs, "unchanged")
      assert.deepStrictEqual(refused.y, untouched.y)
    }).pipe(Effect.provide(
      DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } }).pipe(
        Layer.provideMerge(FaultInjection.layer().pipe(Layer.provide(form.layer())))
      )
    )))

  it.scoped("a failed run says what is indeterminate: outputs, and residents that it may write", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const acc = yield* runner.allocate("float32", [2])
      const host = yield* runner.allocateHost("float32", [2])
      const callable = native("test_accumulate", {
        acc: Arg.resident("float32", { access: "readWrite" }),
        x: Arg.input("float32", ["n"]),
        y: Arg.output("float32", ["n"])
      })
      const x = Float32Array.of(1, 2)
      const steps = [["launch", "unchanged"], ["copyBack", form.late ? "unchanged" : "indeterminate"]] as const
      for (const [step, hostOutputs] of steps) {
        probe.fail(
          step === "launch"
            ? { operation: "launch", status: Status.LaunchFailed }
            : { operation: "submit", purpose: "copyBack", status: Status.TransferFailed }
        )
        const exit = yield* Effect.flip(runner.run(callable, { acc, x, y: new Float32Array(2) }))
        assert.isTrue(exit._tag === "LaunchFailed" || exit._tag === "TransferFailed")
        if (exit._tag === "LaunchFailed" || exit._tag === "TransferFailed") {
          assert.deepStrictEqual(exit.indeterminateResidents, ["acc"])
          assert.strictEqual(exit.hostOutputs, hostOutputs)
        }
      }
      probe.fail({ operation: "submit", purpose: "copyBack", status: Status.TransferFailed })
      const error = yield* failsWith("TransferFailed", runner.run(callable, { acc, x, y: host }))
      assert.strictEqual(error.hostOutputs, "indeterminate")
      probe.fail({ operation: "submit", purpose: "stage", status: Status.TransferFailed })
      const staging = yield* failsWith("TransferFailed", runner.run(callable, { acc, x, y: host }))
      assert.deepStrictEqual([staging.hostOutputs, staging.indeterminateResidents], ["unchanged", []])
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("host tensors too large for the loop's thread travel apart, and arrive", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const length = 100_000
      const x = yield* runner.allocateHost("float32", [length])
      const y = yield* runner.allocateHost("float32", [length])
      x.view.forEach((_, index) => {
        x.view[index] = index
      })
      const callable = native("test_copy", { x: Arg.input("float32", ["n"]), y: Arg.output("float32", ["n"]) })
      yield* runner.configure({ maxBytes: "1 MiB" })
      const calls = yield* probe.during(runner.run(callable, { x, y }))
      assert.deepStrictEqual(y.view, x.view)
      assert.isAtMost(calls.filter((call) => call.operation === "submit").length, 4)
      const stats = yield* runner.stats
      assert.strictEqual(stats.host.hostTensorBytes, 800_000)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("plain views above maxInlineCopyBytes are refused by name", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const callable = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
      yield* runner.configure({ maxBytes: "1 MiB" })
      yield* runner.load(callable)
      const calls = yield* probe.during(Effect.gen(function*() {
        const args = { x: new Uint8Array(262_145), y: new Uint8Array(262_145) }
        const error = yield* failsWith("InvalidArgument", runner.run(callable, args))
        assert.deepStrictEqual([error.reason, error.argument], ["InlineCopyTooLarge", "x"])
      }))
      assert.deepStrictEqual(calls, [])
    }).pipe(Effect.provide(runnerOf(form))))

  if (form.late) {
    it.scoped("a run whose views do not fit into staging fails to bind", () =>
      Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        const callable = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
        yield* runner.load(callable)
        const run = (length: number) => runner.run(callable, { x: new Uint8Array(length), y: new Uint8Array(length) })
        const error = yield* failsWith("StagingExhausted", run(4097))
        assert.strictEqual(error.maxBytes, 4096)
        assert.isAtLeast(error.suggestedMaxBytes, 4097)
        yield* run(4096)
      }).pipe(Effect.provide(runnerOf(form, { stagingMaxBytes: 4096 }))))
  }
})
