/**
 * Opening and closing a runner.
 */
import * as Effect from "effect/Effect"
import type { DeviceFailed, DeviceOutOfMemory } from "../../Errors.ts"
import { type Origin, type Service as HostApiService, Status } from "../../HostApi.ts"
import type { Settings } from "../../RunnerOptions.ts"
import { alignDown } from "../core/sizes.ts"
import { awaitIdle, call, release } from "./calls.ts"
import { type ChunkError, freeChunks, makeChunks } from "./configure.ts"
import { allocationFailure } from "./failures.ts"
import { releaseHostTensor } from "./hostTensors.ts"
import { releaseFailed } from "./leases.ts"
import { stagingAlignmentBytes } from "./moves.ts"
import { releaseResident } from "./residents.ts"
import { endRun } from "./runAwaited.ts"
import { closed, closing, noStaging, ready, RunnerState, type Staging } from "./state.ts"

const stagingOrigin: Origin = { purpose: "staging", runId: 0, names: ["staging"] }

/** Makes a runner's chunks and staging areas. Whatever fails, nothing is held afterwards. */
export const open = (
  hostApi: HostApiService,
  settings: Settings
): Effect.Effect<RunnerState, ChunkError> =>
  Effect.flatMap(Effect.clock, (clock) => {
    const state = new RunnerState(hostApi, settings, clock)
    return Effect.gen(function*() {
      const { answersAtOnce, coalesceMaxBytes } = hostApi.traits
      if (!answersAtOnce || coalesceMaxBytes > 0) {
        yield* makeStagings(state)
      }
      if (!answersAtOnce) {
        state.moveStaging = yield* makeStaging(state, settings.maxInlineCopyBytes)
      }
      const chunks = yield* makeChunks(state, settings.temporaryBuffer)
      state.install(settings.temporaryBuffer, chunks)
      state.lifecycle = ready
      return state
    }).pipe(Effect.onError(() => tearDown(state)))
  }).pipe(Effect.uninterruptible)

/** Each slot has a share of the same size, so that any run can use any slot. */
const makeStagings = (state: RunnerState): Effect.Effect<void, DeviceOutOfMemory | DeviceFailed> => {
  const { slots, stagingMaxBytes } = state.settings
  const byteCount = alignDown(Math.floor(stagingMaxBytes / slots), stagingAlignmentBytes)
  return Effect.forEach(
    state.runs,
    () =>
      Effect.map(makeStaging(state, slots === 1 ? stagingMaxBytes : byteCount), (staging) => {
        state.stagings = [...state.stagings, staging]
      }),
    { discard: true }
  )
}

const makeStaging = (
  state: RunnerState,
  byteCount: number
): Effect.Effect<Staging, DeviceOutOfMemory | DeviceFailed> =>
  byteCount === 0
    ? Effect.succeed(noStaging)
    : call(state, state.hostApi.hostMalloc(byteCount, stagingOrigin)).pipe(
      Effect.map((address) => ({ address, byteCount })),
      Effect.mapError((error) =>
        allocationFailure(state, error, { purpose: "the staging area", requestedBytes: byteCount })
      )
    )

/**
 * Closes a runner: active runs end first, those that wait are refused, then everything that outlives runs is released. From
 * the first moment on every handle answers `RunnerClosed`. The memory of a poisoned runner is forgotten, not freed. The
 * second time does nothing.
 */
export const close = (state: RunnerState): Effect.Effect<void> =>
  Effect.suspend(() =>
    state.lifecycle._tag === "Closed" || state.lifecycle._tag === "Closing" ? Effect.void : tearDown(state)
  ).pipe(Effect.uninterruptible)

const tearDown = (state: RunnerState): Effect.Effect<void> =>
  Effect.gen(function*() {
    if (!state.isPoisoned) {
      state.lifecycle = closing
      state.admission.stop()
      state.notify()
    }
    const runs = state.activeRuns
    for (const run of runs) {
      state.warnings.push(`the runner is closed while a run of ${run.name} is active; the run is ended first`)
    }
    // An allocation or a configuration under way may hold memory that the runner does not know of yet.
    yield* awaitIdle(state, "close", () => !state.lanes.busy && state.operationCount === 0)
    yield* Effect.forEach(runs, (run) => endRun(state, run), { discard: true })
    // Some were admitted and have not begun: they give their slots back when they see that the runner is closed.
    yield* state.until(() => state.activeCount === 0)
    yield* Effect.forEach([...state.residents].toReversed(), (record) => releaseResident(state, record))
    yield* Effect.forEach([...state.hostTensors].toReversed(), (record) => releaseHostTensor(state, record))
    // Some were being released already, by scopes of their own.
    const isReleased = (): boolean => state.residents.size === 0 && state.hostTensors.size === 0
    yield* awaitIdle(state, "close", () => !state.lanes.busy && isReleased())
    const chunks = state.chunks
    state.install({ ...state.configuration, chunkBytes: [] }, [])
    yield* freeChunks(state, chunks)
    yield* freeStaging(state)
    state.prepared = new WeakMap()
    state.lifecycle = closed
    state.notify()
    yield* state.logWarnings
  })

const freeStaging = (state: RunnerState): Effect.Effect<void> =>
  Effect.forEach([state.moveStaging, ...state.stagings], (staging) =>
    state.lanes.exclusively(
      Effect.suspend(() => {
        if (staging.byteCount === 0 || state.isPoisoned) {
          return Effect.void
        }
        return Effect.map(
          release(state, "hostFree", state.hostApi.hostFree(staging.address, stagingOrigin)),
          (status) => {
            if (status !== Status.Ok) {
              state.quarantine(staging.byteCount, "host")
              releaseFailed(state, "the staging area", staging.byteCount, status)
            }
          }
        )
      })
    ), { discard: true }).pipe(
      Effect.zipRight(Effect.sync(() => {
        state.moveStaging = noStaging
        state.stagings = []
      }))
    )
