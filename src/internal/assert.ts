/**
 * Assertions about our own code. Input from users is never asserted: it is validated and refused with a typed error.
 */

/** Fails with a defect when our own code broke one of its invariants. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) {
    throw new Error(`leasehold: broken invariant: ${message}`)
  }
}
