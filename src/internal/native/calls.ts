/**
 * The native calls of one context: made at once or on worker threads, counted while they are under way, and explained when
 * they fail.
 */
import * as Effect from "effect/Effect"
import * as HostApi from "../../HostApi.ts"
import { callOffThread } from "../ffi/calls.ts"
import type { FunctionName, Functions, NativeFunction } from "../ffi/declarations.ts"

/** Source: size asserted in `leasehold_host_api.h`. */
const errorStructBytes = 256

/** A failed index of `UINT32_MAX` means that no entry failed. */
export const noEntry = 0xffff_ffff

interface LastError {
  readonly struct_bytes: number
  readonly status: number
  readonly device_code: number | bigint
  readonly device_name: string
  readonly detail: string
}

export const emptyError = (): LastError => ({
  struct_bytes: errorStructBytes,
  status: 0,
  device_code: 0,
  device_name: "",
  detail: ""
})

/**
 * The calls of one context: which of them are in flight, and whether the device is lost. Once the context has ended its
 * handle is dead, and whoever still holds the host API, or waits in it, gets `DeviceLost` without a native call.
 */
export class Calls {
  readonly functions: Functions
  readonly context: unknown
  readonly leavesThread: boolean
  /** Where a wait that ends before the next call begins tells which entry failed. */
  readonly briefFailedOut = new Uint32Array(1)
  inFlightCount = 0
  lost = false
  ended = false
  #abandonWhenIdle = false

  constructor(functions: Functions, context: unknown, leavesThread: boolean) {
    this.functions = functions
    this.context = context
    this.leavesThread = leavesThread
  }

  /** Makes a native call, off the event loop's thread where that is the way of the device. */
  make<A, E>(
    native: NativeFunction,
    args: ReadonlyArray<unknown>,
    touched: ReadonlyArray<unknown>,
    finish: (status: number) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> {
    return this.leavesThread
      ? callOffThread(native, args, touched, finish)
      : Effect.suspend(() => finish(Number(native(...args))))
  }

  /** Looks at a status that a call returned, and hands it on. */
  observe(status: number): number {
    if (status !== HostApi.Status.Ok && HostApi.isSticky(status)) {
      this.lost = true
    }
    return status
  }

  /** Makes a call that may take long, and goes on with what `finish` makes of its status. Called within a step. */
  offThread<A, E>(
    name: FunctionName,
    args: ReadonlyArray<unknown>,
    touched: ReadonlyArray<unknown>,
    finish: (status: number) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> {
    if (this.ended) {
      return finish(HostApi.Status.DeviceLost)
    }
    this.inFlightCount += 1
    const native: NativeFunction = this.functions[name]
    return this.make(native, [this.context, ...args], touched, (status) => {
      this.inFlightCount -= 1
      this.#abandonIfIdle()
      return finish(this.observe(status))
    })
  }

  /**
   * Ends the context without touching the device, once no call is on its way to it: a call that waits for a thread would
   * find a dead handle. Where a call never ends, the context is left alone for ever.
   */
  abandon(): void {
    this.#abandonWhenIdle = true
    this.#abandonIfIdle()
  }

  #abandonIfIdle(): void {
    if (this.#abandonWhenIdle && this.inFlightCount === 0) {
      this.#abandonWhenIdle = false
      this.functions.lh_context_abandon(this.context)
    }
  }

  failure(operation: string, status: number, entry = noEntry): HostApi.HostApiError {
    const error = emptyError()
    if (!this.ended) {
      this.functions.lh_last_error(this.context, error)
    }
    const known = !this.ended && error.status === status
    return new HostApi.HostApiError({
      operation,
      status,
      statusName: HostApi.statusName(status),
      deviceCode: known ? Number(error.device_code) : 0,
      deviceName: known ? error.device_name : "",
      detail: known ? error.detail : "",
      entryIndex: entry === noEntry ? -1 : entry
    })
  }
}

/** Makes a call on the event loop's thread. */
export const callNow = (calls: Calls, name: FunctionName, args: ReadonlyArray<unknown>): number =>
  calls.ended ? HostApi.Status.DeviceLost : calls.observe(Number(calls.functions[name](calls.context, ...args)))

/** Makes a call that answers nothing but its status. */
export const offThread = (
  calls: Calls,
  operation: string,
  name: FunctionName,
  args: ReadonlyArray<unknown>,
  touched: ReadonlyArray<unknown>
): Effect.Effect<void, HostApi.HostApiError> =>
  Effect.uninterruptible(Effect.suspend(() =>
    calls.offThread(
      name,
      args,
      touched,
      (status) => status === HostApi.Status.Ok ? Effect.void : Effect.fail(calls.failure(operation, status))
    )
  ))
