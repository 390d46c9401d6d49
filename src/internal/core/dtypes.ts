/**
 * Element types: their codes in the native ABI, their sizes, and the typed array that holds them on the host.
 * Source: `LH_DTYPE_*` of the native ABI.
 */

export interface DTypeInfo {
  readonly code: number
  readonly elementBytes: number
  /** The brand that `%TypedArray%.prototype[Symbol.toStringTag]` answers; it cannot be forged. */
  readonly viewTag: string
}

export const dtypes = {
  float16: { code: 1, elementBytes: 2, viewTag: "Uint16Array" },
  bfloat16: { code: 2, elementBytes: 2, viewTag: "Uint16Array" },
  float32: { code: 3, elementBytes: 4, viewTag: "Float32Array" },
  float64: { code: 4, elementBytes: 8, viewTag: "Float64Array" },
  int8: { code: 5, elementBytes: 1, viewTag: "Int8Array" },
  int16: { code: 6, elementBytes: 2, viewTag: "Int16Array" },
  int32: { code: 7, elementBytes: 4, viewTag: "Int32Array" },
  int64: { code: 8, elementBytes: 8, viewTag: "BigInt64Array" },
  uint8: { code: 9, elementBytes: 1, viewTag: "Uint8Array" },
  uint16: { code: 10, elementBytes: 2, viewTag: "Uint16Array" },
  uint32: { code: 11, elementBytes: 4, viewTag: "Uint32Array" },
  uint64: { code: 12, elementBytes: 8, viewTag: "BigUint64Array" }
} as const satisfies Record<string, DTypeInfo>

export type DTypeName = keyof typeof dtypes

export const isDTypeName = (value: unknown): value is DTypeName =>
  typeof value === "string" && Object.hasOwn(dtypes, value)
