/**
 * What a fault made a program lose sight of: memory that was allocated although the allocation failed, and memory that was
 * not released although the program did what it could. It is released behind the program's back.
 */
import * as Effect from "effect/Effect"
import type { DevicePtr } from "../../DevicePtr.ts"
import type { HostApiError, Origin, Service } from "../../HostApi.ts"
import { isRelease, type Operation } from "./operations.ts"

const origin = (operation: Operation): Origin => ({
  purpose: operation.purpose,
  runId: operation.runId,
  names: operation.names
})

/** A device may use the same addresses as the host. */
const keyOf = ({ address, buffer, kind }: Operation): string | SharedArrayBuffer =>
  buffer ?? `${kind === "malloc" || kind === "free" ? "device" : "host"} ${address}`

const allocates = (kind: Operation["kind"]): boolean =>
  kind === "malloc" || kind === "hostMalloc" || kind === "hostRegister"

export class Orphans {
  readonly #api: Service
  /** What the program has, by the operation that allocated it. */
  readonly #live = new Map<string | SharedArrayBuffer, Operation>()
  readonly #held = new Map<string | SharedArrayBuffer, Effect.Effect<void, HostApiError>>()

  constructor(api: Service) {
    this.#api = api
  }

  /** Takes in what an operation allocated and kept from the program, or did not release. */
  add(operation: Operation): void {
    switch (operation.kind) {
      case "malloc":
      case "free":
        this.#held.set(keyOf(operation), this.#api.free(operation.address as DevicePtr, origin(operation)))
        break
      case "hostMalloc":
      case "hostFree":
        this.#held.set(keyOf(operation), this.#api.hostFree(operation.address, origin(operation)))
        break
      case "hostRegister":
      case "hostUnregister":
        this.#held.set(keyOf(operation), this.#api.hostUnregister(operation.buffer!, origin(operation)))
        break
      default:
        break
    }
  }

  /** Takes in all that the program has. */
  addAll(): void {
    for (const operation of this.#live.values()) {
      this.add(operation)
    }
    this.#live.clear()
  }

  /** An operation has allocated something, or released it after all. */
  note(operation: Operation): void {
    if (isRelease(operation.kind)) {
      this.#held.delete(keyOf(operation))
      this.#live.delete(keyOf(operation))
    } else if (allocates(operation.kind)) {
      this.#live.set(keyOf(operation), operation)
    }
  }

  /** Releases all that is held. */
  readonly free: Effect.Effect<void> = Effect.suspend(() => {
    const held = [...this.#held.values()]
    this.#held.clear()
    return Effect.forEach(held, Effect.exit, { discard: true })
  })
}
