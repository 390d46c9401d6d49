/** Runs that are held bound until they are let go, so that tests say who is active when. */
import { assert } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { Arg, DeviceRunner, type Errors } from "leasehold"
import { settle } from "../utils/gated.ts"
import { native } from "../utils/kernels.ts"
import { failsWith } from "../utils/programs.ts"

/** out = in, of as many bytes as the test asks for. */
export const copy = native("test_copy", { from: Arg.input("uint8", ["n"]), to: Arg.output("uint8", ["n"]) }, {
  execution: "inline"
})

/** Arguments of a run that takes `byteCount` bytes of the buffer, where slices are aligned to 256 bytes. */
export const bytes = (byteCount: number, seed = 1) => ({
  from: Uint8Array.from({ length: byteCount / 2 }, (_, index) => index * seed + seed),
  to: new Uint8Array(byteCount / 2)
})

export const isCopied = ({ from, to }: ReturnType<typeof bytes>): boolean =>
  from.every((value, index) => to[index] === value)

/** Binds a run of so many bytes, on the runner or on a child budget, and keeps it until `end`. */
export const hold = (byteCount: number, on?: DeviceRunner.Runs) =>
  Effect.gen(function*() {
    const runner = on ?? (yield* DeviceRunner.DeviceRunner)
    const scope = yield* Effect.acquireRelease(Scope.make(), (made) => Scope.close(made, Exit.void))
    const args = bytes(byteCount)
    const run = yield* Scope.extend(runner.bind(copy, args), scope)
    return { run, args, end: Scope.close(scope, Exit.void) }
  })

/** Where the slices of a run lie: chunk, first byte, and the byte after the last. */
export const rangeOf = (run: { readonly leases: ReadonlyArray<unknown> }): readonly [number, number, number] => {
  const slices = run.leases as ReadonlyArray<
    { readonly chunkIndex: number; readonly offsetBytes: number; readonly byteCount: number }
  >
  return [
    slices[0]!.chunkIndex,
    Math.min(...slices.map(({ offsetBytes }) => offsetBytes)),
    Math.max(...slices.map(({ byteCount, offsetBytes }) => offsetBytes + byteCount))
  ]
}

/** Lets runs wait. */
export const wait = { wait: { maxQueueCount: 16 } }

/** Starts a run in a fiber of its own, and notes its name when it has ended. */
export const queue = (name: string, byteCount: number, ended: Array<string>, on?: DeviceRunner.Runs) =>
  Effect.gen(function*() {
    const runner = on ?? (yield* DeviceRunner.DeviceRunner)
    const args = bytes(byteCount)
    const fiber = yield* Effect.fork(Effect.map(runner.run(copy, args), () => {
      assert.isTrue(isCopied(args))
      ended.push(name)
    }))
    yield* settle
    return fiber
  })

/** Fails to be admitted, and answers the error. */
export const refused = <A, R>(
  effect: Effect.Effect<A, Errors.RunnerError, R>
): Effect.Effect<Errors.AdmissionRefused, never, R> => failsWith("AdmissionRefused", effect)
