/** The loop that drives an Effect: as little as there can be around it. Its own cost is the unit `effect_step`. */
import * as Effect from "effect/Effect"

/** `body` answers the Effect of one run, as the body of a user's loop does. */
export const loop = <E>(body: () => Effect.Effect<unknown, E>, runs: number): Effect.Effect<void, E> => {
  let left = runs
  return Effect.whileLoop({
    while: () => left-- > 0,
    body,
    step: () => {}
  })
}
