/**
 * The core alone: arguments read and checked, plan found, staged, copied back and ended, without Effect and without a
 * launch. The one file of the benchmark that looks inside the package.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Callable, HostApi, RunnerOptions } from "leasehold"
import { assert } from "../../../src/internal/assert.ts"
import { ActiveRun } from "../../../src/internal/runner/activeRun.ts"
import { beginNow, readRun } from "../../../src/internal/runner/beginRun.ts"
import { close, open } from "../../../src/internal/runner/close.ts"
import { Frame } from "../../../src/internal/runner/frame.ts"
import { loadCallable } from "../../../src/internal/runner/loading.ts"
import type { PreparedCallable } from "../../../src/internal/runner/preparedCallable.ts"
import { bindNow, copyBackNow, endNow, runNow } from "../../../src/internal/runner/runNow.ts"
import type { RunnerState } from "../../../src/internal/runner/state.ts"
import { settings } from "../../../src/RunnerOptions.ts"

/** A runner's inside. */
export const openCore = (
  hostApi: HostApi.Service,
  options: RunnerOptions.RunnerOptions
): Effect.Effect<RunnerState, unknown, Scope.Scope> =>
  Effect.flatMap(settings(options, hostApi.traits), (checked) => Effect.acquireRelease(open(hostApi, checked), close))

type Args = Readonly<Record<string, Uint8Array>>

const begin = (state: RunnerState, prepared: PreparedCallable, args: Args): ActiveRun | undefined => {
  const frame = readRun(state, prepared, args, undefined)
  assert(frame instanceof Frame, "a run of the core is not refused")
  return beginNow(state, state.admission.root, frame)
}

/** One run of the core over and over. */
export const coreRuns = (
  state: RunnerState,
  callable: Callable.Any,
  args: Args
): Effect.Effect<(runs: number) => void, unknown> =>
  Effect.map(loadCallable(state, callable), (prepared) => {
    const { immediate } = state.hostApi
    assert(immediate !== undefined, "the simulator answers at once")
    return (runs) => {
      for (let count = 0; count < runs; count++) {
        const run = begin(state, prepared, args)
        assert(run instanceof ActiveRun, "a run begins on a free slot")
        const failure = bindNow(state, immediate, run) ?? copyBackNow(state, immediate, run)
        endNow(state, immediate, run)
        assert(failure === undefined, "a run of the core does not fail")
      }
    }
  })

/** A single run with its launch, which the core leaves out: the kernel's results are in the core's memory afterwards. */
export const runWithLaunch = (
  state: RunnerState,
  callable: Callable.Any,
  args: Args
): Effect.Effect<void, unknown> =>
  Effect.map(loadCallable(state, callable), (prepared) => {
    const { immediate } = state.hostApi
    assert(immediate !== undefined, "the simulator answers at once")
    const run = begin(state, prepared, args)
    assert(run instanceof ActiveRun, "a run begins on a free slot")
    assert(runNow(state, immediate, run) === undefined, "a run of the core does not fail")
  })
