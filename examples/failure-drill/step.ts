/**
 * The decode step of the drill. The cache stays on the device from step to step; a token goes in and logits come out.
 */
import { Effect } from "effect"
import { Arg, Callable } from "leasehold"

export const letters = " abcdefghijklmnopqrstuvwxyz"

export const step = Callable.make({
  name: "decode step",
  signature: {
    token: Arg.input("int32", [1]),
    cache: Arg.resident("float32", { dims: ["letters"], access: "readWrite" }),
    logits: Arg.output("float32", ["letters"])
  },
  launch: ({ read, write }) =>
    Effect.gen(function*() {
      const [token] = yield* read("token")
      const cache = yield* read("cache")
      cache[token!]! += 1
      yield* write("cache", cache)
      yield* write("logits", cache.map((times, letter) => (letter * 7 + token! * 5) % letters.length - 9 * times))
    })
})

/** The likeliest next token: the place of the largest logit, the first of equals. */
export const choose = (logits: Float32Array): number => logits.indexOf(Math.max(...logits))
