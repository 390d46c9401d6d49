/** Runs beside each other: in fibers that the program's scope ends and waits for, so that none outlives a case. */
import { Effect, Fiber, type Scope } from "effect"
import type { DeviceRunner } from "leasehold"

/** Starts an effect in a fiber of its own. */
export const beside = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R | Scope.Scope> => Effect.forkScoped(effect)

/** A program that has no load under way waits after so many turns of the others, or never. */
const maxTurnCount = 4

/** Gives way until so many runs wait for their turn. */
export const untilWaiting = (
  runner: DeviceRunner.Service,
  count: number,
  turnCount = 0
): Effect.Effect<void> =>
  Effect.flatMap(runner.stats, ({ runs }) =>
    runs.waiting >= count
      ? Effect.void
      : turnCount === maxTurnCount
      ? Effect.dieMessage(`${runs.waiting} runs wait, and not ${count}`)
      : Effect.zipRight(Effect.yieldNow(), untilWaiting(runner, count, turnCount + 1)))

/** Waits for fibers, and fails as the first of them that has failed. */
export const joined = <A, E>(...fibers: ReadonlyArray<Fiber.Fiber<A, E>>): Effect.Effect<void, E> =>
  Effect.forEach(fibers, (fiber) => Fiber.join(fiber), { discard: true })
