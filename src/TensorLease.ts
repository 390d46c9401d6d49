/**
 * What one tensor of a run holds on the device, and how it is released when the run ends.
 *
 * - `Free`: device memory that was malloc'd for this run. It is freed.
 * - `BufferNoop`: a slice of the temporary buffer. Ending the run is all it takes.
 * - `ExternalNoop`: somebody else's memory, such as a resident tensor. It is never touched.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("leasehold/TensorLease")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * The lease of one tensor. It is a description: a lease is released by its run, never by hand.
 *
 * @since 0.1.0
 * @category models
 */
export type TensorLease = Free | BufferNoop | ExternalNoop

/**
 * @since 0.1.0
 * @category models
 */
export interface Free extends TensorLease.Proto {
  readonly _tag: "Free"
}

/**
 * @since 0.1.0
 * @category models
 */
export interface BufferNoop extends TensorLease.Proto {
  readonly _tag: "BufferNoop"
  /** The chunk that the slice was cut from, counted from 0. */
  readonly chunkIndex: number
  /** Where the slice starts in its chunk. A multiple of the alignment, as chunks are aligned themselves. */
  readonly offsetBytes: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ExternalNoop extends TensorLease.Proto {
  readonly _tag: "ExternalNoop"
}

/**
 * @since 0.1.0
 */
export declare namespace TensorLease {
  /**
   * @since 0.1.0
   * @category models
   */
  export interface Proto {
    readonly [TypeId]: TypeId
    /** The argument's name in the signature. */
    readonly tensor: string
    /** The tensor's own bytes, padding not counted. */
    readonly byteCount: number
  }
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isTensorLease = (u: unknown): u is TensorLease => hasProperty(u, TypeId)

/**
 * @since 0.1.0
 * @category constructors
 */
export const free = (options: { readonly tensor: string; readonly byteCount: number }): Free => ({
  [TypeId]: TypeId,
  _tag: "Free",
  ...options
})

/**
 * @since 0.1.0
 * @category constructors
 */
export const bufferNoop = (options: {
  readonly tensor: string
  readonly byteCount: number
  readonly chunkIndex: number
  readonly offsetBytes: number
}): BufferNoop => ({ [TypeId]: TypeId, _tag: "BufferNoop", ...options })

/**
 * @since 0.1.0
 * @category constructors
 */
export const externalNoop = (options: { readonly tensor: string; readonly byteCount: number }): ExternalNoop => ({
  [TypeId]: TypeId,
  _tag: "ExternalNoop",
  ...options
})
