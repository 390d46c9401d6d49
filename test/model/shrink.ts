/** Shrinking: a failing sequence of commands is made shorter and plainer, as long as it still fails. */

/** So many sequences are tried, so that shrinking ends. */
const maxTryCount = 20_000

export interface Shrunk<C> {
  readonly commands: ReadonlyArray<C>
  readonly error: Error
}

/**
 * The smallest failing sequence that is found. `attempt` answers what a sequence fails with; `plainer` answers commands
 * that may stand for one.
 */
export const shrink = <C>(
  failing: ReadonlyArray<C>,
  attempt: (commands: ReadonlyArray<C>) => Error | undefined,
  plainer: (command: C) => ReadonlyArray<C>
): Shrunk<C> => {
  const first = attempt(failing)
  if (first === undefined) {
    throw new Error("a sequence that does not fail cannot be shrunk")
  }
  let best: Shrunk<C> = { commands: failing, error: first }
  let tryCount = 0
  const isBetter = (commands: ReadonlyArray<C>): boolean => {
    tryCount += 1
    const error = tryCount > maxTryCount ? undefined : attempt(commands)
    if (error !== undefined) {
      best = { commands, error }
    }
    return error !== undefined
  }
  let isShrinking = true
  while (isShrinking) {
    const before = best.commands
    for (let size = Math.ceil(best.commands.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      // From the back, so that an index stays right when what lies behind it goes.
      for (let start = best.commands.length - size; start > -size; start -= size) {
        isBetter(best.commands.toSpliced(Math.max(0, start), Math.min(size, size + start)))
      }
    }
    for (let index = 0; index < best.commands.length; index++) {
      while (plainer(best.commands[index]!).some((command) => isBetter(best.commands.with(index, command)))) {
        // Once more: what became plainer may become plainer still.
      }
    }
    isShrinking = best.commands !== before && tryCount <= maxTryCount
  }
  return best
}
