/**
 * A decode loop with a mistake in its cleanup. A session is to outlive the function that opens it, so its cache is
 * allocated in a scope made by hand, and the decode loop closes that scope when it is done. A step that fails, or a client
 * that goes away, leaves the loop before.
 */
import { Effect, Exit, Scope } from "effect"
import { DeviceRunner } from "leasehold"
import { choose, letters, step } from "./step.ts"

// #region broken
const openSession = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const scope = yield* Scope.make()
  const cache = yield* Scope.extend(runner.allocate("float32", [letters.length]), scope)
  return { cache, close: Scope.close(scope, Exit.void) }
})

export const decode = (prompt: string, length: number) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const session = yield* openSession
    const token = new Int32Array(1)
    const logits = new Float32Array(letters.length)
    let text = ""
    for (let position = 0; position < length; position++) {
      token[0] = position < prompt.length ? letters.indexOf(prompt[position]!) : choose(logits)
      text += letters[token[0]]
      yield* runner.run(step, { token, cache: session.cache, logits })
    }
    yield* session.close
    return text
  })
// #endregion
