/**
 * The decode step of the tutorial. Its weights and its memory of what came before stay on the device; a token goes in and
 * logits come out.
 */
import { Effect } from "effect"
import { Arg, Callable, DeviceRunner } from "leasehold"
import { vocabulary, weights } from "./model.ts"

// #region callable
export const signature = {
  token: Arg.input("int32", [1]),
  weights: Arg.resident("float32", { dims: ["vocabulary", "vocabulary"] }),
  seen: Arg.resident("float32", { dims: ["vocabulary"], access: "readWrite" }),
  logits: Arg.output("float32", ["vocabulary"])
} as const

export const step = Callable.make({
  name: "decode step",
  signature,
  launch: ({ dims, read, write }) =>
    Effect.gen(function*() {
      const [token] = yield* read("token")
      const matrix = yield* read("weights")
      const seen = yield* read("seen")
      seen[token!]! += 1
      yield* write("seen", seen)
      yield* write("logits", seen.map((times, next) => matrix[token! * dims.vocabulary + next]! - times / 2))
    })
})
// #endregion

// #region residents
/** What stays on the device for as long as the scope is open. */
export const allocateState = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const size = vocabulary.length
  const state = {
    weights: yield* runner.allocate("float32", [size, size]),
    seen: yield* runner.allocate("float32", [size])
  }
  yield* state.weights.upload(weights())
  return state
})
// #endregion
