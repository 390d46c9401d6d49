/** Collecting garbage on demand, to find memory that nobody holds while a native call uses it. */
import { Effect } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

const collect: () => void = globalThis.gc === undefined
  ? (setFlagsFromString("--expose-gc"), runInNewContext("gc") as () => void)
  : () => globalThis.gc?.()

/** A turn of the event loop: what was dereferenced in this one may be collected in the next. */
export const nextTurn: Effect.Effect<void> = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** Collects what nobody holds, and writes other bytes where it was. */
export const churn: Effect.Effect<void> = Effect.gen(function*() {
  yield* nextTurn
  collect()
  const noise = Array.from({ length: 200 }, (_, index) => new Uint8Array(64 << (index % 10)).fill(0xee))
  if (noise.length !== 200) {
    throw new Error("the noise was optimized away")
  }
  yield* nextTurn
  collect()
})
