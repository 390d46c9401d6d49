/** Text as tokens for models whose vocabulary is the 256 byte values. Other vocabularies need tokens from elsewhere. */
import * as Either from "effect/Either"
import { DecodeRequestInvalid } from "./errors.ts"

/** Turns text into tokens and back, as UTF-8. */
export interface ByteTokenizer {
  readonly encode: (text: string) => Int32Array<ArrayBuffer>
  /** Bytes that are not UTF-8 become U+FFFD. */
  readonly decode: (tokens: Iterable<number>) => string
  /** A decoder for tokens that come one by one: it holds back the bytes of a character until the last one is there. */
  readonly decoder: () => StreamDecoder
}

/** Decodes one text, token by token. */
export interface StreamDecoder {
  /** The text that this token completes; often empty, or one character. */
  readonly push: (token: number) => string
  /** What is left at the end: U+FFFD for a character that was never completed. */
  readonly end: () => string
}

const byteVocab = 256

/** A byte order mark is text like any other. */
const keepMark = { ignoreBOM: true }

/** The tokenizer of a vocabulary of 256. Fails with `TextUnsupported` for any other one. */
export const make = (vocab: number): Either.Either<ByteTokenizer, DecodeRequestInvalid> =>
  vocab === byteVocab ? Either.right(byteTokenizer) : Either.left(
    new DecodeRequestInvalid({
      reason: "TextUnsupported",
      detail:
        `The model has a vocabulary of ${vocab} tokens; text can be given and shown only for one of ${byteVocab} ` +
        `bytes. Give token ids instead.`
    })
  )

const byteTokenizer: ByteTokenizer = {
  encode: (text) => Int32Array.from(new TextEncoder().encode(text)),
  decode: (tokens) => new TextDecoder("utf-8", keepMark).decode(Uint8Array.from(tokens)),
  decoder: () => {
    const decoder = new TextDecoder("utf-8", keepMark)
    return {
      push: (token) => decoder.decode(Uint8Array.of(token), { stream: true }),
      end: () => decoder.decode()
    }
  }
}
