/** Programs around the kernel `test_gate`, which blocks on its thread until the gate is opened. */
import { Effect } from "effect"
import { addSignature, closeGate, gateWaiting, native, openGate } from "./kernels.ts"

export const gate = native("test_gate", addSignature)

/** Yields until the gate's kernel blocks on its thread. */
export const kernelRuns = Effect.repeat(Effect.yieldNow(), { until: () => gateWaiting() === 1 })

/** Lets every fiber that can go on do so. */
export const settle = Effect.repeatN(Effect.yieldNow(), 50)

/** Runs a program with the gate closed, and opens it however the program ends. */
export const withGate = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.zipRight(Effect.sync(closeGate), effect).pipe(Effect.ensuring(Effect.sync(openGate)))
