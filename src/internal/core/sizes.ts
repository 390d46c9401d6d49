/**
 * Checked arithmetic on sizes. A size is a safe integer of bytes or elements, never negative; whatever cannot be one is
 * `invalidSize`, and every operation hands `invalidSize` on, so that a chain of them needs one check at its end.
 *
 * There are no bit operators here: they cut a number to 32 bits.
 */

/** What an operation answers when its result is not a size. */
export const invalidSize = -1

/** The largest rank of a tensor. Source: `LH_ARGUMENT_MAX_RANK` of the native ABI. */
export const maxRank = 8

export const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

export const isPowerOfTwo = (value: number): boolean => {
  if (!isSize(value) || value === 0) {
    return false
  }
  let power = 1
  while (power < value) {
    power *= 2
  }
  return power === value
}

export const add = (left: number, right: number): number => {
  if (left < 0 || right < 0) {
    return invalidSize
  }
  const sum = left + right
  return sum <= Number.MAX_SAFE_INTEGER ? sum : invalidSize
}

export const multiply = (left: number, right: number): number => {
  if (left < 0 || right < 0) {
    return invalidSize
  }
  const product = left * right
  return product <= Number.MAX_SAFE_INTEGER ? product : invalidSize
}

/** Rounds up to a multiple of `alignment`, which is at least 1. */
export const alignUp = (value: number, alignment: number): number => {
  if (value < 0) {
    return invalidSize
  }
  const remainder = value % alignment
  return remainder === 0 ? value : add(value, alignment - remainder)
}

/** Rounds down to a multiple of `alignment`, which is at least 1. */
export const alignDown = (value: number, alignment: number): number =>
  value < 0 ? invalidSize : value - (value % alignment)

/** The number of elements of a shape. Every dimension must be a size, even where another one is zero. */
export const elementCount = (shape: ReadonlyArray<number>): number => {
  let count = 1
  let empty = false
  for (let index = 0; index < shape.length; index++) {
    const dimension = shape[index]
    if (!isSize(dimension)) {
      return invalidSize
    }
    if (dimension === 0) {
      empty = true
    } else if (count !== invalidSize) {
      count = multiply(count, dimension)
    }
  }
  return empty ? 0 : count
}
