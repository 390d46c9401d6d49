/** Work: tables of transfers, launches, and waiting for the tickets that they hand out. */
import * as Effect from "effect/Effect"
import * as DevicePtr from "../../DevicePtr.ts"
import * as HostApi from "../../HostApi.ts"
import { callNow, type Calls, noEntry } from "./calls.ts"
import type { Launches } from "./launches.ts"

/** Added to the lane of a launch that is deferred. Source: `LH_LANE_DEFERRED`. */
const deferredLane = 0x8000_0000

/** Source: `LH_LANE_*`. */
const lanes: Readonly<Record<HostApi.Lane, number>> = { in: 0, compute: 1, out: 2 }

/** The longest native wait. Source: `lh_wait` never waits longer than 100 ms a call. */
const waitNanos = 100_000_000

/**
 * How long a wait stays on the event loop's thread before it leaves it: leaving it and coming back takes about as long. A
 * loop that is held up for so long is none that anybody notices.
 */
const briefWaitNanos = 50_000

/** The operations as Effects. */
export const workOperations = (
  calls: Calls,
  launches: Launches,
  { answersAtOnce, defersLaunches }: { readonly answersAtOnce: boolean; readonly defersLaunches: boolean }
): Pick<HostApi.Service, "submit" | "collect" | "loadKernel" | "launch"> => {
  const { prepare } = launches
  const deferred = launchDeferred(calls)
  return {
    submit: (lane, transfers) =>
      Effect.suspend(() => {
        const gone = transfers.refresh()
        if (gone >= 0) {
          return Effect.fail(viewGone("submit", gone))
        }
        const ticketOut = new Float64Array(1)
        const failedOut = new Uint32Array(1).fill(noEntry)
        const args = [lanes[lane], transfers.cells, transfers.count, ticketOut, failedOut]
        const finish = (status: number): Effect.Effect<void, HostApi.HostApiError> =>
          status === HostApi.Status.Ok
            ? waitFor(calls, "submit", ticketOut[0]!)
            : Effect.fail(calls.failure("submit", status, failedOut[0]))
        return answersAtOnce && transfers.offThread
          ? calls.offThread("lh_submit", args, [transfers], finish)
          : finish(callNow(calls, "lh_submit", args))
      }).pipe(Effect.uninterruptible),
    collect: (transfers) =>
      Effect.suspend(() => {
        const gone = transfers.refresh()
        if (gone >= 0) {
          return Effect.fail(viewGone("collect", gone))
        }
        const failedOut = new Uint32Array(1).fill(noEntry)
        const status = callNow(calls, "lh_collect", [transfers.cells, transfers.count, failedOut])
        return status === HostApi.Status.Ok ? Effect.void : Effect.fail(calls.failure("collect", status, failedOut[0]))
      }),
    loadKernel: launches.load,
    launch: (kernel, table, origin) =>
      Effect.suspend(() => {
        if (defersLaunches && table.offThread) {
          return deferred(kernel, table)
        }
        const geometry = prepare === undefined ? null : prepare(kernel, table, origin)
        if (geometry instanceof HostApi.HostApiError) {
          return Effect.fail(geometry)
        }
        const ticketOut = new Float64Array(1)
        const failedOut = new Uint32Array(1).fill(noEntry)
        const args = [lanes.compute, kernel, geometry, table.cells, table.count, 0, ticketOut, failedOut]
        const finish = (status: number): Effect.Effect<void, HostApi.HostApiError> =>
          status === HostApi.Status.Ok
            ? waitFor(calls, "launch", ticketOut[0]!)
            : Effect.fail(calls.failure("launch", status, failedOut[0]))
        return answersAtOnce && table.offThread
          ? calls.offThread("lh_launch", args, [table], finish)
          : finish(callNow(calls, "lh_launch", args))
      }).pipe(Effect.uninterruptible)
  }
}

/**
 * Launches on a thread of the backend, and waits. The call copies the table, so nothing has to be held until the kernel has
 * ended; its out-parameters are made once, because it and the brief wait end before the next call begins.
 */
const launchDeferred = (
  calls: Calls
): (kernel: HostApi.KernelHandle, table: HostApi.Arguments) => Effect.Effect<void, HostApi.HostApiError> => {
  const { context, functions } = calls
  const ticketOut = new Float64Array(1)
  const failedOut = new Uint32Array(1)
  const lane = lanes.compute + deferredLane
  const { lh_launch: launch } = functions
  return (kernel, table) => {
    failedOut[0] = noEntry
    const status = calls.ended
      ? HostApi.Status.DeviceLost
      : calls.observe(
        Number(launch(context, lane, kernel, null, table.cells, table.count, 0, ticketOut, failedOut))
      )
    return status === HostApi.Status.Ok
      ? waitFor(calls, "launch", ticketOut[0]!)
      : Effect.fail(calls.failure("launch", status, failedOut[0]))
  }
}

const viewGone = (operation: string, entryIndex: number): HostApi.HostApiError =>
  new HostApi.HostApiError({
    operation,
    status: HostApi.Status.InvalidArgument,
    statusName: "InvalidArgument",
    deviceCode: 0,
    deviceName: "",
    detail: "a host view was detached or resized",
    entryIndex
  })

/** Waits until a ticket ends: briefly where it is, then in waits of bounded length on a worker thread. */
const waitFor = (calls: Calls, operation: string, ticket: number): Effect.Effect<void, HostApi.HostApiError> => {
  if (ticket === 0) {
    return Effect.void
  }
  const { briefFailedOut, context, functions } = calls
  briefFailedOut[0] = noEntry
  const status = calls.ended
    ? HostApi.Status.DeviceLost
    : calls.observe(
      Number(functions.lh_wait(context, ticket, calls.leavesThread ? briefWaitNanos : waitNanos, briefFailedOut))
    )
  return isUnderWay(status)
    ? waitOffThread(calls, operation, ticket)
    : status === HostApi.Status.Ok
    ? Effect.void
    : Effect.fail(calls.failure(operation, status, briefFailedOut[0]))
}

const isUnderWay = (status: number): boolean => status === HostApi.Status.NotReady || status === HostApi.Status.Timeout

const waitOffThread = (calls: Calls, operation: string, ticket: number): Effect.Effect<void, HostApi.HostApiError> => {
  const failedOut = new Uint32Array(1).fill(noEntry)
  const finish = (status: number): Effect.Effect<void, HostApi.HostApiError> =>
    isUnderWay(status)
      ? calls.offThread("lh_wait", [ticket, waitNanos, failedOut], [], finish)
      : status === HostApi.Status.Ok
      ? Effect.void
      : Effect.fail(calls.failure(operation, status, failedOut[0]))
  return finish(HostApi.Status.NotReady)
}

/** The plain functions. Their out-parameters are made once: these calls end before the next begins. */
export const immediate = (calls: Calls): HostApi.Immediate => {
  const { context, functions } = calls
  const addressOut = new Float64Array(1)
  const ticketOut = new Float64Array(1)
  const failedOut = new Uint32Array(1)
  const { lh_free: free, lh_launch: launch, lh_malloc: malloc, lh_submit: submit } = functions
  return {
    malloc: (byteCount, alignmentBytes) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      const status = calls.observe(Number(malloc(context, byteCount, alignmentBytes, addressOut)))
      return status === HostApi.Status.Ok && DevicePtr.fromNumber(addressOut[0]!) === undefined
        ? HostApi.Status.AddressTooLarge
        : status
    },
    mallocResult: () => addressOut[0] as DevicePtr.DevicePtr,
    free: (address) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      return calls.observe(Number(free(context, address)))
    },
    submit: (lane, transfers) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      return calls.observe(Number(submit(context, lanes[lane], transfers.cells, transfers.count, ticketOut, failedOut)))
    },
    launch: (kernel, args) => {
      failedOut[0] = noEntry
      if (calls.ended) {
        return HostApi.Status.DeviceLost
      }
      return calls.observe(
        Number(launch(context, lanes.compute, kernel, null, args.cells, args.count, 0, ticketOut, failedOut))
      )
    },
    lastFailure: (operation, status) => calls.failure(operation, status, failedOut[0])
  }
}
