/**
 * A small program that uses everything a runner has, step by step: what sticky faults and hangs are tried on. Every step
 * is a call of its own, so that a test sees which of them met the fault.
 */
import { Effect, Exit, Layer, Scope } from "effect"
import {
  Arg,
  Callable,
  DeviceRunner,
  type Errors,
  type HostApi,
  type Run,
  type RunnerOptions,
  type Simulator
} from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import { type Form, forms } from "../utils/forms.ts"
import { add, addInline, native } from "../utils/kernels.ts"
import { vectors } from "../utils/programs.ts"

const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) })

const accumulate = native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite", dims: ["n"] }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
})

/** Reads and writes, and leaves the work to the host. */
export const scale = Callable.make({
  name: "scale",
  signature: { x: Arg.inout("float32", ["n"]), work: Arg.scratch("float32", ["n"]) },
  launch: (context) =>
    Effect.gen(function*() {
      const x = yield* context.read("x")
      yield* context.write("work", x)
      yield* context.write("x", x.map((value) => value * 2))
    })
})

export type StepError =
  | Run.RunError
  | DeviceRunner.ConfigureError
  | DeviceRunner.AllocateError
  | DeviceRunner.AllocateHostError

export interface Step {
  readonly name: string
  /** What of the user's is still to be released when it has ended belongs to this scope. */
  readonly effect: Effect.Effect<unknown, StepError, Scope.Scope>
}

/** The steps after the runner was made. Each can be executed by itself. */
export const stepsOf = (runner: DeviceRunner.Service): ReadonlyArray<Step> => [
  { name: "configure", effect: runner.configure({ maxBytes: 8192, chunks: { count: 2 } }) },
  { name: "run inline", effect: runner.run(addInline, vectors(4)) },
  { name: "run awaited", effect: runner.run(add, vectors(4)) },
  { name: "run TypeScript", effect: runner.run(scale, { x: Float32Array.of(1, 2) }) },
  {
    name: "resident tensor",
    effect: Effect.scoped(Effect.gen(function*() {
      const sum = yield* runner.allocate("float32", [4])
      yield* sum.upload(Float32Array.of(1, 2, 3, 4))
      yield* runner.run(accumulate, { sum, x: new Float32Array(4), y: new Float32Array(4) })
      yield* sum.download(new Float32Array(4))
    }))
  },
  {
    name: "host tensors",
    effect: Effect.scoped(Effect.gen(function*() {
      const x = yield* runner.allocateHost("uint8", [5])
      const y = yield* runner.allocateHost("uint8", [5])
      yield* runner.run(copy, { x, y })
    }))
  },
  { name: "configure away", effect: runner.configure({ maxBytes: 0 }) },
  { name: "run inline without a budget", effect: runner.run(addInline, vectors(4)) },
  { name: "run awaited without a budget", effect: runner.run(add, vectors(4)) },
  { name: "run TypeScript without a budget", effect: runner.run(scale, { x: Float32Array.of(1, 2) }) },
  { name: "configure back", effect: runner.configure({ maxBytes: 4096 }) },
  // They are still there when the runner closes.
  { name: "resident tensor that stays", effect: runner.allocate("float32", [4]) },
  { name: "host tensor that stays", effect: runner.allocateHost("uint8", [5]) }
]

export const runnerOptions: RunnerOptions.RunnerOptions = {
  temporaryBuffer: { maxBytes: 4096, alignmentBytes: 64 },
  residentMaxBytes: "4 KiB",
  stagingMaxBytes: "4 KiB",
  maxInlineCopyBytes: "4 KiB"
}

/** A device of a form, with calls on the event loop's thread so that the same operations come each time; rules below a ledger. */
export const deviceOf = (
  form: Form,
  rules: ReadonlyArray<FaultInjection.Rule>
): Layer.Layer<
  HostApi.HostApi | FaultInjection.FaultInjection | Ledger.Ledger | Simulator.Simulator,
  Errors.BackendUnavailable | Errors.InvalidConfiguration
> =>
  Ledger.layer.pipe(
    Layer.provideMerge(FaultInjection.layer(rules)),
    Layer.provideMerge(form.layer({ totalBytes: "1 MiB", longCalls: "inline" }))
  )

/** How many operations the program makes on a form, from the making of the runner to its closing. */
export const operationCountOf = (form: Form, rules: ReadonlyArray<FaultInjection.Rule> = []) =>
  Effect.scoped(
    Effect.gen(function*() {
      const ledger = yield* Ledger.Ledger
      yield* Effect.scoped(Effect.gen(function*() {
        const runner = yield* DeviceRunner.make(runnerOptions)
        yield* Effect.forEach(stepsOf(runner), (step) => step.effect, { discard: true })
      }))
      yield* ledger.assertEmpty
      return (yield* ledger.snapshot).operationCount
    }).pipe(Effect.provide(deviceOf(form, rules)))
  )

/** A runner in a scope of its own, and how its making ended. */
export const makeRunner = Effect.gen(function*() {
  const scope = yield* Scope.make()
  const made = yield* Effect.exit(Scope.extend(DeviceRunner.make(runnerOptions), scope))
  return { scope, made, close: Scope.close(scope, Exit.void) }
})

export const formNamed = (name: string): Form => forms.find((form) => form.name === name)!
