/**
 * Host tensors: shared memory that the runner owns and registers with the device.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { DType } from "../../DType.ts"
import {
  type DeviceFailed,
  DeviceOutOfMemory,
  InvalidArgument,
  type RunnerClosed,
  type RunnerPoisoned
} from "../../Errors.ts"
import { type Origin, Status } from "../../HostApi.ts"
import type { HostTensor } from "../../HostTensor.ts"
import { call, release } from "./calls.ts"
import { deviceFailure } from "./failures.ts"
import { type HostRecord, makeHost } from "./handles.ts"
import { releaseFailed } from "./leases.ts"
import { checkShape, describeTensor } from "./residents.ts"
import type { RunnerState } from "./state.ts"
import { makeView } from "./views.ts"

/** Why a host tensor cannot be had. */
export type AllocateHostError = InvalidArgument | DeviceOutOfMemory | DeviceFailed | RunnerClosed | RunnerPoisoned

const originOf = (tensor: Pick<HostRecord, "dtype" | "shape">): Origin => ({
  purpose: "hostTensor",
  runId: 0,
  names: [describeTensor(tensor)]
})

export const allocateHostTensor = <D extends DType>(
  state: RunnerState,
  dtype: D,
  shape: ReadonlyArray<number>
): Effect.Effect<HostTensor<D>, AllocateHostError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(acquire(state, dtype, shape), (record) => releaseHostTensor(state, record)),
    (record) => makeHost(record, dtype, makeView(dtype, record.buffer))
  )

const acquire = (
  state: RunnerState,
  dtype: DType,
  requestedShape: ReadonlyArray<number>
): Effect.Effect<HostRecord, AllocateHostError> =>
  Effect.suspend((): Effect.Effect<HostRecord, AllocateHostError> => {
    // Reading the shape may run code of the user's, so it is read before the runner is asked.
    const checked = checkShape(dtype, requestedShape)
    const refusal = state.refusal("allocateHost")
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    if (checked instanceof InvalidArgument) {
      return Effect.fail(checked)
    }
    const { byteCount, shape } = checked
    return Effect.flatMap(makeBuffer(byteCount), (buffer) => {
      const made = (): HostRecord => {
        const record = {
          owner: state,
          dtype,
          shape,
          byteCount,
          buffer,
          view: makeView(dtype, buffer),
          closed: false
        }
        state.hostTensors.add(record)
        state.counters.hostTensorBytes += byteCount
        return record
      }
      return byteCount === 0
        ? Effect.sync(made)
        : state.operation(Effect.map(call(state, state.hostApi.hostRegister(buffer, originOf({ dtype, shape }))), made))
          .pipe(
            Effect.mapError((error) => deviceFailure(state, error)),
            // The runner may have been closed meanwhile, and may have released what it found.
            Effect.tap((record) => {
              const changed = state.refusal("allocateHost")
              return changed === undefined
                ? Effect.void
                : Effect.zipRight(releaseHostTensor(state, record), Effect.fail(changed))
            })
          )
    })
  })

/** Shared memory can be neither detached nor resized under the device. It comes zeroed. */
const makeBuffer = (byteCount: number): Effect.Effect<SharedArrayBuffer, DeviceOutOfMemory> =>
  Effect.try({
    try: () => new SharedArrayBuffer(byteCount),
    catch: () =>
      new DeviceOutOfMemory({
        operation: "allocateHost",
        status: Status.HostOutOfMemory,
        statusName: "HostOutOfMemory",
        deviceCode: 0,
        deviceName: "",
        detail: "the host has no room for it",
        purpose: "a host tensor",
        requestedBytes: byteCount,
        runner: "ready"
      })
  })

/** Unregisters a host tensor once no run uses it any more. The second time does nothing. */
export const releaseHostTensor = (state: RunnerState, record: HostRecord): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (record.closed) {
      return Effect.void
    }
    record.closed = true
    return state.until(() => !state.isInUse(record)).pipe(
      Effect.zipRight(state.lanes.exclusively(unregister(state, record))),
      Effect.zipRight(Effect.sync(() => {
        state.hostTensors.delete(record)
        state.counters.hostTensorBytes -= record.byteCount
        // The gate has told who waits already, but this tensor was still there then.
        state.notify()
      })),
      Effect.zipRight(state.logWarnings)
    )
  }).pipe(Effect.uninterruptible)

const unregister = (state: RunnerState, record: HostRecord): Effect.Effect<void> =>
  Effect.suspend(() =>
    record.byteCount === 0 || state.isPoisoned
      ? Effect.void
      : Effect.map(
        release(state, "hostUnregister", state.hostApi.hostUnregister(record.buffer, originOf(record))),
        (status) => {
          if (status !== Status.Ok) {
            state.quarantine(record.byteCount, "host")
            releaseFailed(state, "a host tensor", record.byteCount, status)
          }
        }
      )
  )
