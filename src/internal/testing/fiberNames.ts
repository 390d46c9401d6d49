/** Names of fibers, for reports. They cost the fiber one step, and change nothing else. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"

const names = new WeakMap<object, string>()

/** Names the fiber that runs an effect. */
export const named = (name: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    Option.map(Fiber.getCurrentFiber(), (fiber) => names.set(fiber, name))
    return effect
  })

/** The name that a fiber was given. */
export const nameOf = (fiber: object): string | undefined => names.get(fiber)
