/**
 * The model of the tutorial: for each letter, how often each letter follows it in one line of text. A token is a
 * letter's place in the vocabulary.
 */
export const vocabulary = " abcdefghijklmnopqrstuvwxyz"

const text = "what the scope lends the scope ends and what it ends it lends again"

/** A matrix with a row for each letter: entry [a, b] says how often b follows a. */
export const weights = (): Float32Array => {
  const counts = new Float32Array(vocabulary.length ** 2)
  for (let at = 1; at < text.length; at++) {
    counts[vocabulary.indexOf(text[at - 1]!) * vocabulary.length + vocabulary.indexOf(text[at]!)]! += 1
  }
  return counts
}

export const tokenOf = (letter: string): number => vocabulary.indexOf(letter)

/** The most likely next token: the place of the largest logit, the first of equals. */
export const choose = (logits: Float32Array): number => logits.indexOf(Math.max(...logits))
