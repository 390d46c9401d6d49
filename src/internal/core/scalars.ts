/**
 * Scalars as a kernel takes them: in their own type, in the host's byte order.
 */
import type { DTypeName } from "./dtypes.ts"

/** The host's byte order, for structs and scalars that cross as bytes. */
export const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

/** Writes a value at an offset. It was checked against the type before; 16-bit floats are given as their bits. */
export const writeScalar = (bytes: DataView, offset: number, dtype: DTypeName, value: number | bigint): void => {
  switch (dtype) {
    case "float32":
      return bytes.setFloat32(offset, Number(value), littleEndian)
    case "float64":
      return bytes.setFloat64(offset, Number(value), littleEndian)
    case "int8":
      return bytes.setInt8(offset, Number(value))
    case "int16":
      return bytes.setInt16(offset, Number(value), littleEndian)
    case "int32":
      return bytes.setInt32(offset, Number(value), littleEndian)
    case "int64":
      return bytes.setBigInt64(offset, BigInt(value), littleEndian)
    case "uint8":
      return bytes.setUint8(offset, Number(value))
    case "uint16":
    case "float16":
    case "bfloat16":
      return bytes.setUint16(offset, Number(value), littleEndian)
    case "uint32":
      return bytes.setUint32(offset, Number(value), littleEndian)
    case "uint64":
      return bytes.setBigUint64(offset, BigInt(value), littleEndian)
  }
}
