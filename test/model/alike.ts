/** What a campaign finds differences with. It needs no test runner, so that a campaign can be run by any program. */

export const alike = <A>(actual: A, expected: A, what: string): void => {
  if (!Object.is(actual, expected)) {
    throw new Error(`${what}: expected ${String(actual)} to be ${String(expected)}`)
  }
}

export const holds = (condition: boolean, what: string): void => {
  if (!condition) {
    throw new Error(what)
  }
}
