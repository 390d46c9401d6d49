/** Where the reference model of admission puts things: pieces of chunks, tried one place after the other. */

export interface Piece {
  readonly chunk: number
  readonly start: number
  readonly byteCount: number
}

export interface ModelSpace {
  readonly chunks: ReadonlyArray<{ readonly base: number; readonly capacity: number }>
  readonly alignment: number
}

export const up = (value: number, step: number): number => Math.ceil(value / step) * step
const down = (value: number, step: number): number => Math.floor(value / step) * step
export const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)

/** Whether a piece lies in its chunk, aligned, and apart from all that is taken. */
const lies = ({ alignment, chunks }: ModelSpace, taken: ReadonlyArray<Piece>, piece: Piece): boolean => {
  const { base, capacity } = chunks[piece.chunk]!
  return piece.start >= 0 && piece.start + piece.byteCount <= capacity && (base + piece.start) % alignment === 0 &&
    taken.every((other) =>
      other.chunk !== piece.chunk || other.start + other.byteCount <= piece.start ||
      piece.start + piece.byteCount <= other.start
    )
}

/** All places where a piece could lie against something: behind the start or another piece, or before the end or one. */
const places = (space: ModelSpace, taken: ReadonlyArray<Piece>, chunk: number, byteCount: number): Array<Piece> => {
  const { base, capacity } = space.chunks[chunk]!
  const others = taken.filter((other) => other.chunk === chunk)
  return [
    ...[0, ...others.map((other) => other.start + other.byteCount)].map((start) =>
      up(base + start, space.alignment) - base
    ),
    ...[capacity, ...others.map((other) => other.start)].map((end) =>
      down(base + end - byteCount, space.alignment) - base
    )
  ]
    .map((start) => ({ chunk, start, byteCount }))
    .filter((piece) => lies(space, taken, piece))
    .toSorted((left, right) => left.start - right.start)
}

/** A piece for each part, each in the first chunk with room from its own on, as low as it goes. */
export const placeParts = (
  space: ModelSpace,
  taken: ReadonlyArray<Piece>,
  parts: ReadonlyArray<number>
): ReadonlyArray<Piece | undefined> | undefined => {
  const all = [...taken]
  const pieces: Array<Piece | undefined> = []
  for (const [index, byteCount] of parts.entries()) {
    if (byteCount === 0) {
      pieces.push(undefined)
      continue
    }
    const order = space.chunks.map((_, step) => (index + step) % space.chunks.length)
    const piece = order.map((chunk) => places(space, all, chunk, byteCount)[0]).find((found) => found !== undefined)
    if (piece === undefined) {
      return undefined
    }
    pieces.push(piece)
    all.push(piece)
  }
  return pieces
}

export const placeHighest = (space: ModelSpace, taken: ReadonlyArray<Piece>, byteCount: number): Piece | undefined =>
  space.chunks.map((_, chunk) => places(space, taken, chunk, byteCount).at(-1)).findLast((piece) => piece !== undefined)

/** What is free in each gap, from its first aligned address on. */
export const gaps = ({ alignment, chunks }: ModelSpace, taken: ReadonlyArray<Piece>): ReadonlyArray<number> =>
  chunks.flatMap(({ base, capacity }, chunk) => {
    const others = taken.filter((other) => other.chunk === chunk).toSorted((left, right) => left.start - right.start)
    const ends = [...others.map(({ start }) => start), capacity]
    return [0, ...others.map(({ byteCount, start }) => start + byteCount)].map((start, index) =>
      Math.max(0, ends[index]! - (up(base + start, alignment) - base))
    )
  })

/** Reservations in the order of their accounts, each as high as it goes. `undefined` where one does not fit. */
export const carve = (space: ModelSpace, byteCounts: ReadonlyArray<number>): ReadonlyArray<Piece> | undefined => {
  const pieces: Array<Piece> = []
  for (const byteCount of byteCounts) {
    const piece = placeHighest(space, pieces, byteCount)
    if (piece === undefined) {
      return undefined
    }
    pieces.push(piece)
  }
  return pieces
}
