/**
 * Device memory that outlives runs: weights, a KV cache.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type { DType, View } from "./DType.ts"
import type {
  DeviceFailed,
  InvalidArgument,
  RunnerClosed,
  RunnerPoisoned,
  ShapeMismatch,
  TransferFailed
} from "./Errors.ts"
import type { HostTensor } from "./HostTensor.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("leasehold/ResidentTensor")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * Why a transfer between a resident tensor and the host fails.
 *
 * @since 0.1.0
 * @category errors
 */
export type MoveError =
  | InvalidArgument
  | ShapeMismatch
  | TransferFailed
  | DeviceFailed
  | RunnerClosed
  | RunnerPoisoned

/**
 * A resident tensor. Made by `runner.allocate`, zeroed, and freed when its scope closes; closing it waits for a run that
 * uses it. A run never moves, copies or clears it.
 *
 * `upload` and `download` take effect in the order in which they are called, between the native calls of a bound run:
 * before or after its staging, its kernel and its copy back, never during one. A launch in TypeScript makes a call for each
 * `read` and `write`, so they may come between those.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResidentTensor<out D extends DType = DType> {
  readonly [TypeId]: TypeId
  readonly dtype: D
  /** Element counts, outermost first. */
  readonly shape: ReadonlyArray<number>
  readonly byteLength: number
  /**
   * Copies host elements to the device: the whole tensor, or as many elements as the source has from `offsetElements` on.
   * A plain view has at most `maxInlineCopyBytes`; a host tensor may have any size.
   */
  upload(
    source: View<D> | HostTensor<D>,
    options?: { readonly offsetElements?: number | undefined }
  ): Effect.Effect<void, MoveError>
  /** Copies device elements to the host, under the rules of `upload`. */
  download(
    target: View<D> | HostTensor<D>,
    options?: { readonly offsetElements?: number | undefined }
  ): Effect.Effect<void, MoveError>
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isResidentTensor = (u: unknown): u is ResidentTensor => hasProperty(u, TypeId)
