/** Promise 6: in the steady state there are no mallocs and frees, and a constant number of native calls. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Arg, DeviceRunner } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { manyArguments, manyTensors, nothing } from "../utils/programs.ts"

const operations = (calls: ReadonlyArray<Probe.Call>): ReadonlyArray<string> =>
  calls.map((call) => `${call.operation} ${call.purpose}`)

onEveryDevice("promise 6: the steady state", (form) => {
  const expected = form.late
    ? ["submit stage", "launch launch", "submit copyBack", "collect copyBack"]
    : ["submit stage", "launch launch", "submit copyBack"]

  for (const execution of ["inline", "awaited"] as const) {
    for (const count of [2, 8, 200]) {
      it.scoped(`a run of ${count} tensors makes ${expected.length} calls, clearing included (${execution})`, () =>
        Effect.gen(function*() {
          const runner = yield* DeviceRunner.DeviceRunner
          const probe = yield* Probe.Probe
          const callable = nothing(count, execution)
          yield* runner.run(callable, manyArguments(count))
          for (let round = 0; round < 3; round++) {
            assert.deepStrictEqual(
              operations(yield* probe.during(runner.run(callable, manyArguments(count)))),
              expected
            )
          }
          const { plans } = yield* runner.stats
          assert.deepStrictEqual(plans, { hits: 3, misses: 1 })
        }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: "256 KiB" } }))))
    }
  }

  const mostTensors = form.mostArguments ?? 4096

  it.scoped(`${mostTensors} tensors are one run`, () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const callable = native("test_checksum", {
        ...manyTensors(mostTensors - 1),
        sum: Arg.output("float64", [1])
      }, { execution: "inline" })
      const args = { ...manyArguments(mostTensors - 1), sum: new Float64Array(1) }
      yield* runner.run(callable, args)
      assert.isAbove(args.sum[0]!, 0)
      const again = { ...manyArguments(mostTensors - 1), sum: new Float64Array(1) }
      const calls = yield* probe.during(runner.run(callable, again))
      assert.deepStrictEqual(operations(calls), expected)
      assert.deepStrictEqual(again.sum, args.sum)
    }).pipe(Effect.provide(runnerOf(form, { temporaryBuffer: { maxBytes: "2 MiB", alignmentBytes: 64 } }))))

  it.scoped("shapes that take turns keep their plans", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const callable = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })
      const runOf = (length: number) => runner.run(callable, { x: new Uint8Array(length), y: new Uint8Array(length) })
      yield* Effect.forEach([1, 2, 3], runOf)
      const calls = yield* probe.during(Effect.forEach([3, 1, 2, 2, 1, 3], runOf))
      assert.deepStrictEqual(calls.filter((call) => call.operation === "malloc" || call.operation === "free"), [])
      assert.deepStrictEqual((yield* runner.stats).plans, { hits: 6, misses: 3 })
    }).pipe(Effect.provide(runnerOf(form))))
})
