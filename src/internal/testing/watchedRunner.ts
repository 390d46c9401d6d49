/**
 * A runner under observation: each run's host outputs are looked at before and after it, and every error that the runner
 * answers is taken down.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import type { Runs, Service } from "../../DeviceRunner.ts"
import { withCallSites } from "./runnerCalls.ts"

interface Watched {
  readonly name: string
  readonly view: Uint8Array
  readonly before: Uint8Array
}

/** How a run has ended, for its outputs. */
export interface WatchedRun {
  readonly outcome: "succeeded" | "failed" | "interrupted"
  /** What the outputs held in the end, by name. */
  readonly outputs: ReadonlyMap<string, Uint8Array>
  /** The outputs that changed although the run had failed and did not say that they may have. */
  readonly touched: ReadonlyArray<string>
}

export interface Observations {
  readonly runs: ReadonlyArray<WatchedRun>
  /** The tags of all errors that the runner's methods failed with. */
  readonly errorTags: ReadonlySet<string>
}

const bytesOf = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength)

const isSame = (left: Uint8Array, right: Uint8Array): boolean =>
  left.byteLength === right.byteLength && left.every((byte, index) => byte === right[index])

/** The plain host views that a run may write. */
const outputsOf = (
  callable: { readonly signature: Readonly<Record<string, { readonly _tag: string }>> },
  args: unknown
): ReadonlyArray<Watched> =>
  Object.entries(callable.signature).flatMap(([name, arg]) => {
    if (arg._tag !== "Output" && arg._tag !== "Inout") {
      return []
    }
    const value: unknown = typeof args === "object" && args !== null ? Reflect.get(args, name) : undefined
    if (!ArrayBuffer.isView(value)) {
      return []
    }
    const view = bytesOf(value)
    return [{ name, view, before: view.slice() }]
  })

/** Whether a failed run says that its outputs may have changed. A run that died says nothing at all. */
const mayHaveChanged = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) &&
  (Cause.isDie(exit.cause) || [...Cause.failures(exit.cause)].some((error) =>
    typeof error === "object" && error !== null && "hostOutputs" in error && error.hostOutputs === "indeterminate"
  ))

export class Watch {
  readonly #runs: Array<WatchedRun> = []
  readonly #errorTags = new Set<string>()

  get observations(): Observations {
    return { runs: this.#runs, errorTags: this.#errorTags }
  }

  /** Takes down the errors of an exit. */
  readonly note = (exit: Exit.Exit<unknown, unknown>): void => {
    if (Exit.isFailure(exit)) {
      for (const error of Cause.failures(exit.cause)) {
        if (typeof error === "object" && error !== null && "_tag" in error) {
          this.#errorTags.add(String(error._tag))
        }
      }
    }
  }

  #end(watched: ReadonlyArray<Watched>, exit: Exit.Exit<unknown, unknown>): void {
    const outcome = Exit.isSuccess(exit) ? "succeeded" : Cause.isInterrupted(exit.cause) ? "interrupted" : "failed"
    this.#runs.push({
      outcome,
      outputs: new Map(watched.map(({ name, view }) => [name, view.slice()])),
      touched: outcome === "succeeded" || mayHaveChanged(exit)
        ? []
        : watched.filter(({ before, view }) => !isSame(before, view)).map(({ name }) => name)
    })
  }

  /** The same runner, watched, with its child budgets. `place` answers the line that calls, where that is wanted. */
  readonly wrap = (inner: Service, place: () => string | undefined): Service => {
    const runner = withCallSites(inner, place)
    return {
      ...runner,
      ...this.#wrapRuns(runner),
      plan: (callable, args, options) => this.#noted(runner.plan(callable, args, options)),
      load: (callable) => this.#noted(runner.load(callable)),
      allocate: (dtype, shape) => this.#noted(runner.allocate(dtype, shape)),
      allocateHost: (dtype, shape) => this.#noted(runner.allocateHost(dtype, shape)),
      configure: (options) => this.#noted(runner.configure(options)),
      budget: (name, options) =>
        Effect.map(this.#noted(runner.budget(name, options)), (budget) => ({
          ...budget,
          ...this.#wrapRuns(budget),
          close: this.#noted(budget.close)
        })),
      trim: (keepBytes) => this.#noted(runner.trim(keepBytes))
    }
  }

  #noted<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.onExit(effect, (exit) => Effect.sync(() => this.note(exit)))
  }

  #wrapRuns(runs: Runs): Runs {
    return {
      run: (callable, args, options) => {
        const running = this.#noted(runs.run(callable, args, options))
        return Effect.suspend(() => {
          const watched = outputsOf(callable, args)
          return Effect.onExit(running, (exit) => Effect.sync(() => this.#end(watched, exit)))
        })
      },
      bind: (callable, args, options) => {
        const binding = this.#noted(runs.bind(callable, args, options))
        return Effect.uninterruptibleMask((restore) =>
          Effect.gen(this, function*() {
            const watched = outputsOf(callable, args)
            let isPending = true
            const end = (exit: Exit.Exit<unknown, unknown>) =>
              Effect.sync(() => {
                if (isPending) {
                  isPending = false
                  this.#end(watched, exit)
                }
              })
            const handle = yield* restore(binding)
            // A run that is not validated leaves its outputs alone.
            yield* Effect.addFinalizer(() => end(Exit.interrupt(FiberId.none)))
            return {
              ...handle,
              launch: this.#noted(handle.launch),
              validate: Effect.onExit(this.#noted(handle.validate), end)
            }
          })
        )
      }
    }
  }
}
