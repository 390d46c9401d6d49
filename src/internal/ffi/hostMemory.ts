/**
 * Host addresses of typed arrays.
 */
import koffi from "koffi"
import { viewBuffer, viewByteOffset } from "../hostViews.ts"

/**
 * Where each buffer's first byte lies. A buffer keeps its place as long as it is neither detached nor resized; callers
 * check both before they use an address.
 */
const baseAddresses = new WeakMap<ArrayBufferLike, number>()

/** The address of a view's first byte. Reading `buffer` moves a small array off V8's heap first, where it stays put. */
export const hostAddress = (view: ArrayBufferView): number => {
  const buffer = viewBuffer(view)
  const known = baseAddresses.get(buffer)
  if (known !== undefined) {
    return known + viewByteOffset(view)
  }
  // koffi takes typed arrays over shared memory, but not a bare SharedArrayBuffer.
  const base = Number(koffi.address(new Uint8Array(buffer)))
  baseAddresses.set(buffer, base)
  return base + viewByteOffset(view)
}
