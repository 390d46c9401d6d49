/**
 * Host memory that a runner owns, pinned where the device has that, which may be copied off the event loop's thread.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import type { DType, View } from "./DType.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("leasehold/HostTensor")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * A host tensor, valid as an input, inout or output of any size. Made by `runner.allocateHost`, which zeroes it.
 *
 * Its memory is shared memory, so it can be neither detached nor resized while the device reads or writes it. While a run
 * that uses it is bound, reading or writing `view` races with the device.
 *
 * @since 0.1.0
 * @category models
 */
export interface HostTensor<out D extends DType = DType> {
  readonly [TypeId]: TypeId
  readonly dtype: D
  /** Element counts, outermost first. */
  readonly shape: ReadonlyArray<number>
  readonly byteLength: number
  /** The elements. It outlives the tensor as plain memory. */
  readonly view: View<D>
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isHostTensor = (u: unknown): u is HostTensor => hasProperty(u, TypeId)
