/**
 * Copying arrays that users hand in: by index and once, because an array may have an iterator of its own, getters, or a
 * length that is different the next time.
 */

/** The first `maxCount` elements of an array, and one more where it has more. */
export const boundedCopy = (values: ReadonlyArray<unknown>, maxCount: number): ReadonlyArray<unknown> => {
  const count = Math.min(values.length, maxCount + 1)
  const copy: Array<unknown> = []
  for (let index = 0; index < count; index++) {
    copy.push(values[index])
  }
  return copy
}
