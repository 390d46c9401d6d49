/** Bytes of a recognizable pattern, and comparing them fast: chai compares typed arrays element by element. */
import { assert } from "@effect/vitest"

export const pattern = (byteCount: number, seed = 0): Uint8Array =>
  Uint8Array.from({ length: byteCount }, (_, index) => (index * 7 + seed * 31 + 1) % 251)

const bytesOf = (view: ArrayBufferView): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength)

export const assertSameBytes = (actual: ArrayBufferView, expected: ArrayBufferView, message?: string): void => {
  if (!bytesOf(actual).equals(bytesOf(expected))) {
    assert.deepStrictEqual([...bytesOf(actual)], [...bytesOf(expected)], message)
    assert.fail("unreachable: the bytes differ")
  }
}
