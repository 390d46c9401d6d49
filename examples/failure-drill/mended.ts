/**
 * The same decode loop, mended: the cache belongs to the scope of the loop, which closes however the loop ends.
 */
import { Effect } from "effect"
import { DeviceRunner } from "leasehold"
import { choose, letters, step } from "./step.ts"

// #region mended
export const decode = (prompt: string, length: number) =>
  Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const cache = yield* runner.allocate("float32", [letters.length])
    const token = new Int32Array(1)
    const logits = new Float32Array(letters.length)
    let text = ""
    for (let position = 0; position < length; position++) {
      token[0] = position < prompt.length ? letters.indexOf(prompt[position]!) : choose(logits)
      text += letters[token[0]]
      yield* runner.run(step, { token, cache, logits })
    }
    return text
  }))
// #endregion
