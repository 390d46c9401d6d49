import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Screen from "../../../examples/qwen3-decode/screen.ts"

const output = (isTTY: boolean): Screen.Output & { written: string } => ({
  isTTY,
  columns: 40,
  written: "",
  write(text: string | Uint8Array) {
    this.written += String(text)
    return true
  }
})

describe("a screen", () => {
  it.effect("shows text as it is, but nothing that a terminal would obey", () =>
    Effect.gen(function*() {
      const text = output(false)
      yield* Screen.make({ text, bars: output(false) }).text("né\tü\n\u{1F600}\u001B[2J\r\u0000\u009B")
      assert.strictEqual(text.written, "né\tü\n\u{1F600}\uFFFD[2J\uFFFD\uFFFD\uFFFD")
    }))

  it.effect("shows a bar once, at its end, where there is no terminal", () =>
    Effect.gen(function*() {
      const bars = output(false)
      const bar = Screen.make({ text: output(false), bars }).bar("tokens", 3)
      yield* bar.advance
      yield* bar.remove
      assert.strictEqual(bars.written, "")
      yield* bar.advance
      yield* bar.end
      assert.strictEqual(bars.written, "[################--------] 2/3 tokens\n")
    }))

  it.effect("moves a bar under the text of a terminal, no wider than it is", () =>
    Effect.gen(function*() {
      const bars = output(true)
      const bar = Screen.make({ text: bars, bars }).bar("tokens of a long name", 2)
      yield* bar.advance
      assert.strictEqual(
        bars.written,
        "\u001B[J\u001BD\u001B[A\u001B7\r\n[############------------] 1/2 tokens o\u001B8"
      )
      bars.written = ""
      yield* bar.remove
      assert.strictEqual(bars.written, "\u001B[J")
    }))
})
