import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as ByteTokenizer from "../../../examples/qwen3-decode/byteTokenizer.ts"
import { cases } from "./golden.ts"

const tokenizer = Either.getOrThrow(ByteTokenizer.make(256))

describe("the byte tokenizer", () => {
  it("turns the golden texts into their tokens and back", () => {
    for (const { greedy_text, greedy_tokens, prompt, tokens } of cases) {
      assert.deepStrictEqual([...tokenizer.encode(prompt)], [...tokens])
      assert.strictEqual(tokenizer.decode(greedy_tokens), greedy_text)
    }
  })

  it("keeps every character, in one go and token by token", () => {
    const text = "\uFEFFNaïve café\u0000 \u{1F600}\n"
    const tokens = tokenizer.encode(text)
    assert.strictEqual(tokenizer.decode(tokens), text)
    const decoder = tokenizer.decoder()
    const pieces = [...tokens].map((token) => decoder.push(token))
    assert.strictEqual(pieces.join("") + decoder.end(), text)
    assert.isTrue(pieces.every((piece) => !piece.includes("\uFFFD")))
  })

  it("marks bytes that are no text", () => {
    assert.strictEqual(tokenizer.decode([0x41, 0xff]), "A\uFFFD")
    const decoder = tokenizer.decoder()
    assert.strictEqual(decoder.push(0xc3), "")
    assert.strictEqual(decoder.end(), "\uFFFD")
  })

  it("refuses a vocabulary that is not made of bytes", () => {
    const error = Either.getOrThrow(Either.flip(ByteTokenizer.make(151_936)))
    assert.strictEqual(error.reason, "TextUnsupported")
    assert.match(error.message, /151936 tokens/)
  })
})
