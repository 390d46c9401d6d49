/**
 * Resolving the dimensions of a signature: numbers are checked, names are unified over all tensors.
 *
 * A plain host view knows only how many elements it has, so one name of its shape may follow from the others. Resolution
 * goes on as long as a pass learns something; what is unknown then is refused.
 */
import type { Dim } from "../../Arg.ts"
import { InvalidArgument, ShapeMismatch } from "../../Errors.ts"
import { elementCount, invalidSize, isSize } from "../core/sizes.ts"

/** Dimensions that a user gives beside the arguments. */
export type GivenDims = Readonly<Record<string, number | undefined>>

/** What is known of one tensor. */
export interface TensorFacts {
  readonly name: string
  /** The dimensions asked for; `undefined` where any shape will do. */
  readonly dims: ReadonlyArray<Dim> | undefined
  /** The tensor's own shape; `undefined` for a plain view and for scratch. */
  readonly shape: ReadonlyArray<number> | undefined
  /** The number of elements; -1 for scratch, which has as many as its dimensions say. */
  readonly elementCount: number
}

export interface Resolution {
  readonly dims: Readonly<Record<string, number>>
  /** The shape of every tensor, in the order of the facts. */
  readonly shapes: ReadonlyArray<ReadonlyArray<number>>
}

export const resolveDimensions = (
  facts: ReadonlyArray<TensorFacts>,
  given: GivenDims
): Resolution | ShapeMismatch | InvalidArgument => {
  const known = new Map<string, number>()
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) {
      continue
    }
    if (!isSize(value)) {
      return new InvalidArgument({
        reason: "Dimension",
        argument: "",
        detail: `the dimension "${name}" should be a whole number of at least 0`
      })
    }
    known.set(name, value)
  }
  let learned = true
  while (learned) {
    learned = false
    for (const tensor of facts) {
      const outcome = learn(tensor, known)
      if (outcome === "mismatch") {
        return mismatch(tensor, known)
      }
      learned ||= outcome === "learned"
    }
  }
  return finish(facts, known)
}

/** Takes from one tensor what it tells about names that are not known yet. */
const learn = (tensor: TensorFacts, known: Map<string, number>): "learned" | "nothing" | "mismatch" => {
  const { dims, shape } = tensor
  if (dims === undefined || tensor.elementCount === -1) {
    return "nothing"
  }
  return shape === undefined ? learnFromCount(dims, tensor.elementCount, known) : learnFromShape(dims, shape, known)
}

const learnFromShape = (
  dims: ReadonlyArray<Dim>,
  shape: ReadonlyArray<number>,
  known: Map<string, number>
): "learned" | "nothing" | "mismatch" => {
  if (shape.length !== dims.length) {
    return "mismatch"
  }
  let outcome: "learned" | "nothing" = "nothing"
  for (let index = 0; index < dims.length; index++) {
    const dim = dims[index]!
    const expected = typeof dim === "number" ? dim : known.get(dim)
    if (expected === undefined) {
      known.set(dim as string, shape[index]!)
      outcome = "learned"
    } else if (expected !== shape[index]) {
      return "mismatch"
    }
  }
  return outcome
}

const learnFromCount = (
  dims: ReadonlyArray<Dim>,
  count: number,
  known: Map<string, number>
): "learned" | "nothing" | "mismatch" => {
  let product = 1
  let unknown: string | undefined
  let times = 0
  for (const dim of dims) {
    const value = typeof dim === "number" ? dim : known.get(dim)
    if (value !== undefined) {
      product *= value
    } else if (unknown === undefined || unknown === dim) {
      unknown = dim as string
      times += 1
    } else {
      // Two names are open: another tensor may tell one of them.
      return "nothing"
    }
  }
  if (unknown === undefined) {
    return product === count ? "nothing" : "mismatch"
  }
  if (product === 0) {
    // Nothing follows from an empty tensor, unless it is not empty after all.
    return count === 0 ? "nothing" : "mismatch"
  }
  const value = Math.round((count / product) ** (1 / times))
  if (product * value ** times !== count) {
    return "mismatch"
  }
  known.set(unknown, value)
  return "learned"
}

const finish = (
  facts: ReadonlyArray<TensorFacts>,
  known: Map<string, number>
): Resolution | ShapeMismatch | InvalidArgument => {
  const shapes: Array<ReadonlyArray<number>> = []
  for (const tensor of facts) {
    if (tensor.dims === undefined) {
      shapes.push(tensor.shape ?? [tensor.elementCount])
      continue
    }
    const shape: Array<number> = []
    for (const dim of tensor.dims) {
      const value = typeof dim === "number" ? dim : known.get(dim)
      if (value === undefined) {
        return new InvalidArgument({
          reason: "Dimension",
          argument: tensor.name,
          detail: `has the dimension "${dim}", which no argument tells; give it in the option dims`
        })
      }
      shape.push(value)
    }
    const count = elementCount(shape)
    if (count === invalidSize) {
      return new InvalidArgument({
        reason: "SizeOverflow",
        argument: tensor.name,
        detail: `of shape [${shape.join(", ")}] has more elements than can be counted`
      })
    }
    if (tensor.elementCount !== -1 && count !== tensor.elementCount) {
      return mismatch(tensor, known)
    }
    shapes.push(shape)
  }
  return { dims: Object.fromEntries(known), shapes }
}

const mismatch = (tensor: TensorFacts, known: ReadonlyMap<string, number>): ShapeMismatch => {
  const expected = (tensor.dims ?? []).map((dim) =>
    typeof dim === "number" ? `${dim}` : known.has(dim) ? `${dim} = ${known.get(dim)}` : dim
  )
  return new ShapeMismatch({
    tensor: tensor.name,
    expected: `[${expected.join(", ")}]`,
    actual: tensor.shape === undefined ? `${tensor.elementCount} elements` : `[${tensor.shape.join(", ")}]`
  })
}
