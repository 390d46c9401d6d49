/** Random commands for the core: how they are made, and how they read in the report of a failure. */
import type { RoleName, Tensor } from "./coreModel.ts"
import type { Random } from "./random.ts"

export type Layout = "single" | { readonly count: number } | { readonly sizes: ReadonlyArray<number> }

export type Command =
  /** Exchanges the chunks: a larger budget, a smaller one, or none. */
  | {
    readonly _tag: "configure"
    readonly maxBytes: number
    readonly alignmentBytes: number
    readonly granularityBytes: number
    readonly tailBytes: number
    readonly chunks: Layout
    /** Where the device puts the first chunk, and how far behind one chunk the next one lies. */
    readonly firstAddress: number
    readonly gapBytes: number
  }
  /** To close ends the active run and gives the chunks back. */
  | { readonly _tag: "close" | "begin" | "end" | "endTwice" | "takeTwice" | "settleTwice" }
  | { readonly _tag: "take"; readonly byteCount: number }
  /** Plans tensors, and takes the ranges of the plan for the active run where it has taken nothing yet. */
  | { readonly _tag: "bind"; readonly tensors: ReadonlyArray<Tensor> }
  /** Mallocs tensors for the active run, of which the one at `failingIndex` cannot be had. */
  | { readonly _tag: "malloc"; readonly tensors: ReadonlyArray<Tensor>; readonly failingIndex: number }
  /** Settles the newest malloc of the run. */
  | { readonly _tag: "settle"; readonly released: boolean }

const roles: ReadonlyArray<RoleName> = ["input", "input", "inout", "output", "output", "scratch", "none"]

export const tensors = (random: Random, most: number): ReadonlyArray<Tensor> =>
  random.list(most, () => ({ role: random.pick(roles), byteCount: random.once(9) ? 0 : random.size() }))

/** So that no address is beyond 2^53: no device has such addresses, and the ABI refuses them. */
const largestBudget = 2 ** 51

const chunksOf = (random: Random, maxBytes: number): Layout => {
  switch (random.below(3)) {
    case 0:
      return "single"
    case 1:
      return { count: 1 + random.below(4) }
    default:
      // Mostly within the budget, at times above it.
      return { sizes: Array.from({ length: 1 + random.below(4) }, () => Math.floor(maxBytes * random.next() * 0.45)) }
  }
}

const configure = (random: Random): Command => {
  const maxBytes = random.once(6)
    ? 0
    : Math.min(random.once(3) ? random.size() : 200 + random.below(9000), largestBudget)
  return {
    _tag: "configure",
    maxBytes,
    alignmentBytes: 2 ** random.below(random.once(4) ? 20 : 9),
    granularityBytes: random.pick([1, 1, 4, 32, 48, 512]),
    tailBytes: random.pick([0, 0, 0, 1, 32, 100]),
    chunks: chunksOf(random, maxBytes),
    firstAddress: Math.min(1 + random.size(), 2 ** 52),
    gapBytes: random.below(300)
  }
}

export const command = (random: Random): Command => {
  const draw = random.below(200)
  if (draw < 8) {
    return configure(random)
  }
  if (draw < 9) {
    return { _tag: "close" }
  }
  if (draw < 49) {
    return { _tag: "begin" }
  }
  if (draw < 119) {
    return { _tag: "take", byteCount: random.size() }
  }
  if (draw < 137) {
    return { _tag: "bind", tensors: tensors(random, 6) }
  }
  if (draw < 147) {
    return { _tag: "malloc", tensors: tensors(random, 5), failingIndex: random.below(9) }
  }
  if (draw < 165) {
    return { _tag: "settle", released: !random.once(3) }
  }
  return { _tag: draw < 191 ? "end" : draw < 194 ? "endTwice" : draw < 197 ? "takeTwice" : "settleTwice" }
}

export const program = (random: Random, length: number): ReadonlyArray<Command> => [
  configure(random),
  ...Array.from({ length: length - 1 }, () => command(random))
]

const changed = <C extends Command>(command: C, change: Partial<C>): C => ({ ...command, ...change })

/** Commands that are like this one, but plainer: smaller numbers, fewer tensors. */
export const plainer = (command: Command): ReadonlyArray<Command> => {
  switch (command._tag) {
    case "take":
      return numbers(command.byteCount).map((byteCount) => changed(command, { byteCount }))
    case "bind":
    case "malloc":
      return [
        ...command.tensors.map((_, index) => ({ ...command, tensors: command.tensors.toSpliced(index, 1) })),
        ...command.tensors.flatMap((tensor, index) =>
          numbers(tensor.byteCount).map((byteCount) =>
            changed(command, { tensors: command.tensors.with(index, { ...tensor, byteCount }) })
          )
        )
      ]
    case "configure":
      return [
        ...(command.chunks === "single" ? [] : [{ ...command, chunks: "single" as const }]),
        ...(["maxBytes", "alignmentBytes", "granularityBytes", "tailBytes", "firstAddress", "gapBytes"] as const)
          .flatMap(
            (field) =>
              numbers(command[field])
                .filter((value) => value >= (plainest[field] ?? 0))
                .filter((value) => field !== "alignmentBytes" || Number.isInteger(Math.log2(value)))
                .map((value) => changed(command, { [field]: value }))
          )
      ]
    default:
      return []
  }
}

const plainest: Readonly<Record<string, number>> = { alignmentBytes: 1, granularityBytes: 1, firstAddress: 1 }

const numbers = (value: number): ReadonlyArray<number> =>
  [...new Set([0, 1, 8, 64, 1024, Math.floor(value / 2), value - 1])].filter((smaller) =>
    smaller >= 0 && smaller < value
  )
