/**
 * Making typed arrays by the name of their element type.
 */
import type { DType, View } from "../../DType.ts"

const constructors: { readonly [D in DType]: new(buffer: ArrayBufferLike) => View<D> } = {
  float16: Uint16Array,
  bfloat16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array
}

/** A view of a whole buffer. */
export const makeView = <D extends DType>(dtype: D, buffer: ArrayBufferLike): View<D> => new constructors[dtype](buffer)
