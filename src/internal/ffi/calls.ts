/**
 * Native calls on worker threads.
 *
 * koffi keeps the callback of an asynchronous call alive, but not the typed arrays among its arguments, so whatever a call
 * touches is rooted here until it has ended. A native call cannot be cancelled: the Effect waits for it, whoever interrupts.
 */
import * as Effect from "effect/Effect"
import type { NativeFunction } from "./declarations.ts"

/** What the calls in flight touch. */
const roots = new Set<ReadonlyArray<unknown>>()

/** koffi refuses more than 256 calls at once in a process; the rest wait here, first come, first served. */
const maxInFlightCount = 128
const waiting: Array<() => void> = []
let inFlightCount = 0

const started = (): void => {
  inFlightCount += 1
}

const ended = (): void => {
  inFlightCount -= 1
  const next = waiting.shift()
  if (next !== undefined) {
    next()
  }
}

/**
 * Calls a native function on a worker thread, waits, and goes on with what `finish` makes of the status it returns. `touched`
 * is what the call reads or writes beside its arguments. A call that koffi refuses is a mistake of ours, hence a defect.
 */
export const callOffThread = <A, E>(
  native: NativeFunction,
  args: ReadonlyArray<unknown>,
  touched: ReadonlyArray<unknown>,
  finish: (status: number) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.uninterruptible(Effect.async<A, E>((resume) => {
    const root = [args, touched]
    const settle = (outcome: Effect.Effect<A, E>): void => {
      roots.delete(root)
      ended()
      resume(outcome)
    }
    const start = (): void => {
      started()
      roots.add(root)
      try {
        native.async(...args, (error: unknown, status: number) => {
          settle(
            error === null || error === undefined
              ? Effect.suspend(() => finish(status))
              : Effect.die(error)
          )
        })
      } catch (error) {
        settle(Effect.die(error))
      }
    }
    if (inFlightCount < maxInFlightCount) {
      start()
    } else {
      waiting.push(start)
    }
  }))
