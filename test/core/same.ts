/** Assertions for inner loops of property tests: they cost nothing while they hold, and fail as `assert` does. */
import { assert } from "@effect/vitest"

export const same = <A>(actual: A, expected: A, message?: string): void => {
  if (!Object.is(actual, expected)) {
    assert.strictEqual(actual, expected, message)
  }
}

export const holds = (condition: boolean, message: string): void => {
  if (!condition) {
    assert.fail(message)
  }
}
