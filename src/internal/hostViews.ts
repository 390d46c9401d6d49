/**
 * What can be wrong with a host view, found without trusting the view: its own properties may lie, its brand and the
 * getters of `%TypedArray%` do not.
 */

type Getter = (this: unknown) => unknown

const getter = (prototype: object, name: string | symbol): Getter => {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name)
  if (descriptor?.get === undefined) {
    throw new Error(`leasehold: this platform has no ${String(name)} of typed arrays and their buffers`)
  }
  // oxlint-disable-next-line typescript/unbound-method -- it is called on one view after another, on purpose
  return descriptor.get
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object

const readTag = getter(typedArray, Symbol.toStringTag)
const readByteLength = getter(typedArray, "byteLength")
const readByteOffset = getter(typedArray, "byteOffset")
const readBuffer = getter(typedArray, "buffer")
const readBufferByteLength = getter(ArrayBuffer.prototype, "byteLength")
const readResizable = getter(ArrayBuffer.prototype, "resizable")
const readGrowable = getter(SharedArrayBuffer.prototype, "growable")

/** The name of a typed array's type, or `undefined` for whatever is not a typed array. */
export const viewTag = (value: unknown): string | undefined => readTag.call(value) as string | undefined

/** The bytes of a view as they are now: 0 when its buffer was detached. */
export const viewByteLength = (view: ArrayBufferView): number => readByteLength.call(view) as number

export const viewByteOffset = (view: ArrayBufferView): number => readByteOffset.call(view) as number

export const viewBuffer = (view: ArrayBufferView): ArrayBufferLike => readBuffer.call(view) as ArrayBufferLike

/** Whether a buffer is shared memory, of whichever realm: the getter of the other kind refuses it. */
export const isShared = (buffer: ArrayBufferLike): boolean => {
  try {
    readBufferByteLength.call(buffer)
    return false
  } catch {
    return true
  }
}

/** Whether a buffer can change its size: `ArrayBuffer` with `maxByteLength`, or a growable `SharedArrayBuffer`. */
export const isResizable = (buffer: ArrayBufferLike): boolean =>
  (isShared(buffer) ? readGrowable.call(buffer) : readResizable.call(buffer)) === true

/** Whether a buffer was detached. For error messages: it makes a view, which is slow. */
export const isDetached = (buffer: ArrayBufferLike): boolean => {
  if (isShared(buffer) || readBufferByteLength.call(buffer) !== 0) {
    return false
  }
  try {
    return new Uint8Array(buffer).byteLength > 0
  } catch {
    return true
  }
}
