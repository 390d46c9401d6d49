/** Small programs that several promise tests share. */
import { assert } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { Arg, type Callable, DeviceRunner, Simulator } from "leasehold"
import { add, addInline, native } from "./kernels.ts"

export const vectors = (length: number, seed = 1) => ({
  a: Float32Array.from({ length }, (_, index) => index * seed),
  b: Float32Array.from({ length }, (_, index) => index + seed),
  c: new Float32Array(length).fill(-7)
})

/** Runs an addition and checks its result: the runner works. */
export const assertUsable = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  for (const callable of [add, addInline]) {
    const args = vectors(16, 3)
    yield* runner.run(callable, args)
    assert.deepStrictEqual(args.c, args.a.map((value, index) => value + args.b[index]!))
  }
})

/** Every run has ended, and the device holds only what the runner retains. */
export const assertNothingHeld = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const { statistics } = yield* Simulator.Simulator
  const stats = yield* runner.stats
  assert.strictEqual(stats.runs.active, 0)
  assert.strictEqual(stats.runs.begun, stats.runs.ended)
  assert.strictEqual(
    (yield* statistics).liveBytes,
    stats.temporaryBuffer.retainedBytes + stats.residents.inUseBytes + stats.quarantine.bytes
  )
})

/** Fails with the tag that is expected, and answers the error. */
export const failsWith = <A, E extends { readonly _tag: string }, R, const T extends E["_tag"]>(
  tag: T,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Extract<E, { readonly _tag: T }>, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) {
      throw new Error(`expected ${tag}, but it succeeded`)
    }
    if (exit.cause._tag !== "Fail" || exit.cause.error._tag !== tag) {
      throw new Error(`expected ${tag}, got ${exit.cause.toString()}`)
    }
    return exit.cause.error as Extract<E, { readonly _tag: T }>
  })

/** A signature with so many inputs and outputs. */
export const manyTensors = (count: number): Arg.Signature =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index): [string, Arg.Arg] => [
      `t${index}`,
      index % 2 === 0 ? Arg.input("float32", [16]) : Arg.output("float32", [16])
    ])
  )

export const manyArguments = (count: number): Record<string, Float32Array> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`t${index}`, new Float32Array(16).fill(index)]))

export const nothing = (count: number, execution: Callable.Execution = "inline") =>
  native("test_nothing", manyTensors(count), { execution })
