/**
 * Element types, and the typed array that holds each on the host.
 *
 * @since 0.1.0
 */
import { dtypes } from "./internal/core/dtypes.ts"

/**
 * The typed array of each element type. `float16` and `bfloat16` travel as their bits and are never converted in silence.
 *
 * @since 0.1.0
 * @category models
 */
export interface ViewOf {
  readonly float16: Uint16Array
  readonly bfloat16: Uint16Array
  readonly float32: Float32Array
  readonly float64: Float64Array
  readonly int8: Int8Array
  readonly int16: Int16Array
  readonly int32: Int32Array
  readonly int64: BigInt64Array
  readonly uint8: Uint8Array
  readonly uint16: Uint16Array
  readonly uint32: Uint32Array
  readonly uint64: BigUint64Array
}

/**
 * The name of an element type.
 *
 * @since 0.1.0
 * @category models
 */
export type DType = keyof ViewOf

/**
 * The typed array that holds elements of type `D`.
 *
 * @since 0.1.0
 * @category models
 */
export type View<D extends DType> = ViewOf[D]

/**
 * Element types that a scalar may have. The 16-bit floats have no value in JavaScript, so they are not among them.
 *
 * @since 0.1.0
 * @category models
 */
export type ScalarDType = Exclude<DType, "float16" | "bfloat16">

/**
 * The value of a scalar: `bigint` for 64-bit integers, `number` for the rest.
 *
 * @since 0.1.0
 * @category models
 */
export type ScalarValue<D extends ScalarDType> = D extends "int64" | "uint64" ? bigint : number

/**
 * Bytes of one element.
 *
 * @example
 * import { strictEqual } from "node:assert"
 * import * as DType from "leasehold/DType"
 *
 * strictEqual(DType.elementBytes("bfloat16"), 2)
 *
 * @since 0.1.0
 * @category models
 */
export const elementBytes = (dtype: DType): number => dtypes[dtype].elementBytes
