/** Random commands for admission: how they are made, and how they read in the report of a failure. */
import type { Random } from "./random.ts"

/** Positions are taken modulo what there is, so that a command means something wherever shrinking leaves it. */
export type AdmissionCommand =
  /** Begins anew with so many slots. */
  | { readonly _tag: "restart"; readonly slotCount: number }
  /** Ends all runs and exchanges the chunks. Without chunks and growth everything is malloc'd. */
  | {
    readonly _tag: "configure"
    readonly capacities: ReadonlyArray<number>
    readonly firstAddress: number
    readonly alignment: number
    readonly growthMaxBytes: number
  }
  | { readonly _tag: "open"; readonly maxBytes: number; readonly reservedBytes: number }
  /** Ends the runs of an account, sends away who waits, and closes it. */
  | { readonly _tag: "close"; readonly account: number }
  | {
    readonly _tag: "arrive"
    readonly account: number
    readonly parts: ReadonlyArray<number>
    /** 0 for nobody. */
    readonly holder: number
  }
  | { readonly _tag: "withdraw" | "withdrawWaiting" | "release"; readonly position: number }
  /** Ends a growth; one that failed has lost the chunk as well, or not. */
  | { readonly _tag: "endGrowth"; readonly hasGrown: boolean; readonly keepsChunk: boolean }
  | { readonly _tag: "refuse"; readonly account: number }
  | { readonly _tag: "refuseAll" | "pause" | "resume" | "measureAgain" | "ask" | "drain" }

/** Sizes in the scale of a chunk: odd and even, up to whole chunks. */
const size = (random: Random): number => {
  switch (random.below(8)) {
    case 0:
      return 0
    case 1:
      return 1 + random.below(1200)
    case 2:
    case 3:
      return 100 * (1 + random.below(6))
    default:
      return 1 + random.below(250)
  }
}

const configure = (random: Random): AdmissionCommand => {
  const growthMaxBytes = random.once(3) ? 400 + random.below(1600) : 0
  const capacity = (): number => 100 + random.below(random.once(2) ? 300 : 1400)
  const isLarge = random.once(20)
  const alignment = 2 ** random.below(8)
  return {
    _tag: "configure",
    capacities: growthMaxBytes > 0
      ? random.once(3) ? [] : [1 + random.below(growthMaxBytes)]
      : random.once(12)
      ? []
      : Array.from({ length: random.pick([1, 1, 2, 3]) }, () => isLarge ? 2 ** 40 + random.below(1000) : capacity()),
    // What grows is malloc'd by the runner, at a boundary. Anywhere else shows that absolute addresses count.
    firstAddress: growthMaxBytes > 0
      ? alignment * (1 + random.below(1000))
      : random.pick([1 + random.below(5000), 2 ** 32 + random.below(5000), 2 ** 52 + random.below(5000)]),
    alignment,
    growthMaxBytes
  }
}

const arrive = (random: Random): AdmissionCommand => ({
  _tag: "arrive",
  account: random.below(5),
  parts: Array.from({ length: random.pick([1, 1, 1, 2, 3]) }, () => size(random)),
  holder: random.below(6)
})

const command = (random: Random): AdmissionCommand => {
  const draw = random.below(300)
  if (draw < 120) {
    return arrive(random)
  }
  if (draw < 200) {
    return { _tag: "release", position: random.below(12) }
  }
  if (draw < 216) {
    return { _tag: "withdrawWaiting", position: random.below(12) }
  }
  if (draw < 224) {
    return { _tag: "withdraw", position: random.below(12) }
  }
  if (draw < 242) {
    return { _tag: "endGrowth", hasGrown: !random.once(3), keepsChunk: !random.once(3) }
  }
  if (draw < 256) {
    return {
      _tag: "open",
      maxBytes: 50 + random.below(1500),
      reservedBytes: random.once(2) ? 0 : 1 + random.below(500)
    }
  }
  if (draw < 262) {
    return { _tag: "close", account: random.below(5) }
  }
  if (draw < 268) {
    return configure(random)
  }
  if (draw < 270) {
    return { _tag: "refuse", account: random.below(5) }
  }
  if (draw < 272) {
    return { _tag: "pause" }
  }
  if (draw < 282) {
    return { _tag: "ask" }
  }
  if (draw < 284) {
    return { _tag: "drain" }
  }
  return { _tag: draw < 294 ? "resume" : draw < 298 ? "measureAgain" : draw < 299 ? "refuseAll" : "drain" }
}

export const admissionProgram = (random: Random, length: number): ReadonlyArray<AdmissionCommand> => [
  { _tag: "restart", slotCount: random.pick([1, 2, 2, 3, 4, 8]) },
  configure(random),
  ...Array.from({ length: length - 2 }, () => command(random))
]

const changed = <C extends AdmissionCommand>(command: C, change: Partial<C>): C => ({ ...command, ...change })

/** Commands that are like this one, but plainer: smaller numbers, fewer parts. */
export const plainerAdmission = (command: AdmissionCommand): ReadonlyArray<AdmissionCommand> => {
  switch (command._tag) {
    case "restart":
      return numbers(command.slotCount, 1).map((slotCount) => changed(command, { slotCount }))
    case "configure":
      return [
        ...command.capacities.map((_, index) =>
          changed(command, { capacities: command.capacities.toSpliced(index, 1) })
        ),
        ...command.capacities.flatMap((capacity, index) =>
          numbers(capacity, 1).map((smaller) =>
            changed(command, { capacities: command.capacities.with(index, smaller) })
          )
        ),
        ...(command.alignment > 1 ? [changed(command, { alignment: command.alignment / 2 })] : []),
        ...numbers(command.firstAddress, 1).map((firstAddress) => changed(command, { firstAddress })),
        ...numbers(command.growthMaxBytes, 0).map((growthMaxBytes) => changed(command, { growthMaxBytes }))
      ]
    case "open":
      return [
        ...numbers(command.maxBytes, 1).map((maxBytes) => changed(command, { maxBytes })),
        ...numbers(command.reservedBytes, 0).map((reservedBytes) => changed(command, { reservedBytes }))
      ]
    case "arrive":
      return [
        ...(command.parts.length > 1
          ? command.parts.map((_, index) => changed(command, { parts: command.parts.toSpliced(index, 1) }))
          : []),
        ...command.parts.flatMap((part, index) =>
          numbers(part, 0).map((smaller) => changed(command, { parts: command.parts.with(index, smaller) }))
        ),
        ...numbers(command.account, 0).map((account) => changed(command, { account })),
        ...numbers(command.holder, 0).map((holder) => changed(command, { holder }))
      ]
    case "close":
    case "refuse":
      return numbers(command.account, 0).map((account) => changed(command, { account }))
    case "withdraw":
    case "withdrawWaiting":
    case "release":
      return numbers(command.position, 0).map((position) => changed(command, { position }))
    default:
      return []
  }
}

const numbers = (value: number, least: number): ReadonlyArray<number> =>
  [...new Set([0, 1, 10, 100, Math.floor(value / 2), value - 1])].filter((smaller) =>
    smaller >= least && smaller < value
  )
