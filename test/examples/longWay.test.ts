import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { run } from "./child.ts"

describe("the long way", () => {
  it.effect("shows how a run holds its tensors, and that one which is not validated changes nothing", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* run("long-way.ts")
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(stdout.trimEnd().split("\n"), [
        "run 1 holds \"left\": ExternalNoop",
        "run 1 holds \"right\": BufferNoop",
        "run 1 holds \"sum\": BufferNoop",
        "launched:  the device is done, the host has 0 0 0 0",
        "validated: the host has 15 26 37 48",
        "not validated: the host still has 15 26 37 48",
        "2 runs begun, 2 ended, 0 B in use",
        "2 device mallocs: the chunk and the resident tensor; the runs made none"
      ])
    }))
})
