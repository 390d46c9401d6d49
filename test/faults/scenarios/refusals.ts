/** Everything that a runner refuses: programs that ask for what they cannot have, and go on. */
import { Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { addInline } from "../../utils/kernels.ts"
import { bareScenario, Closing, closingScenario, stagedScenario } from "../scenario.ts"

const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

const missing = Callable.native({
  signature: { x: Arg.input("int8", ["n"]) },
  kernels: [Simulator.kernel({ library: "/nowhere/libnothing.so", symbol: "nothing" })]
})

export const refusalScenarios = [
  closingScenario({
    name: "refused by the runner",
    mayRecover: true,
    runner: { temporaryBuffer: { maxBytes: 1024, chunks: { count: 2 } } },
    program: Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const large = { a: new Float32Array(100), b: new Float32Array(100), c: new Float32Array(100) }
      const tooLarge = { a: new Float32Array(200), b: new Float32Array(200), c: new Float32Array(200) }
      yield* Effect.flip(runner.run(addInline, large))
      yield* Effect.flip(runner.run(addInline, tooLarge))
      yield* Effect.flip(runner.run(addInline, { ...pairOf(), c: new Float32Array(3) }))
      yield* Effect.flip(runner.allocate("float32", [-1]))
      yield* Effect.flip(runner.configure({ maxBytes: -1 }))
      yield* Effect.flip(runner.load(missing))
      const ended = yield* Effect.scoped(Effect.gen(function*() {
        const run = yield* runner.bind(addInline, pairOf())
        yield* Effect.flip(runner.run(addInline, pairOf()))
        yield* Effect.flip(runner.configure({ maxBytes: 2048 }))
        return run
      }))
      yield* Effect.flip(ended.launch)
      yield* yield* Closing
      yield* Effect.flip(runner.run(addInline, pairOf()))
    })
  }),
  stagedScenario({
    name: "refused for want of staging",
    mayRecover: true,
    runner: { stagingMaxBytes: 128 },
    program: Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      yield* Effect.flip(
        runner.run(addInline, {
          ...pairOf(),
          a: new Float32Array(64),
          b: new Float32Array(64),
          c: new Float32Array(64)
        })
      )
      yield* runner.run(addInline, { a: Float32Array.of(1), b: Float32Array.of(2), c: new Float32Array(1) })
    })
  }),
  bareScenario({
    name: "a backend that is not there",
    mayFail: true,
    program: Layer.build(Simulator.layer({ libraryPath: "/nowhere/libleasehold_simulator.so" }))
  })
]
