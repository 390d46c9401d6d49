/** Random commands to a runner, each with what is done to it while it runs. They are plain data, so they can be replayed. */
import { HostApi } from "leasehold"
import type { FaultInjection } from "leasehold/testing"
import { FaultInjection as Faults } from "leasehold/testing"
import type { Random } from "../model/random.ts"

/** What goes wrong in a command: a fault at one of its operations, an interruption at one of its steps, both, or nothing. */
export interface Disturbance {
  /** Makes the command's values differ from those of others. */
  readonly number: number
  readonly rule: FaultInjection.Rule | undefined
  readonly interruptStep: number | undefined
}

export type Command =
  & Disturbance
  & (
    | { readonly kind: "add" | "scale"; readonly length: number; readonly isInline: boolean }
    | { readonly kind: "typescript"; readonly length: number }
    | { readonly kind: "copyHost"; readonly isInline: boolean }
    | { readonly kind: "accumulate"; readonly resident: number; readonly isInline: boolean }
    | { readonly kind: "failIf"; readonly shall: boolean }
    | { readonly kind: "bound"; readonly length: number; readonly until: "bind" | "launch" | "validate" }
    | { readonly kind: "allocate"; readonly length: number }
    | { readonly kind: "close"; readonly resident: number }
    | { readonly kind: "upload" | "download"; readonly resident: number }
    | { readonly kind: "configure"; readonly maxBytes: number; readonly chunkCount: number }
  )

const { Status } = HostApi

const faults: ReadonlyArray<FaultInjection.Fault> = [
  Faults.fail(Status.TransferFailed),
  Faults.fail(Status.LaunchFailed),
  Faults.fail(Status.InvalidArgument),
  Faults.outOfMemory,
  Faults.outOfMemory,
  Faults.defect("a planted defect")
]

/** With any other status a table has been refused before a byte moved. */
const faultsAfter: ReadonlyArray<FaultInjection.Fault> = [
  Faults.fail(Status.TransferFailed),
  Faults.fail(Status.TransferFailed),
  Faults.defect("a planted defect")
]

const ruleOf = (random: Random): FaultInjection.Rule => {
  const when = random.once(2) ? "before" : "after"
  return {
    // Few runs lose the device, because each costs a runner.
    fault: random.once(20) ? Faults.deviceLost : random.pick(when === "before" ? faults : faultsAfter),
    where: { index: random.below(6) },
    when,
    often: random.pick(["once", "once", "always", "everyOther"]),
    isOptional: true
  }
}

/** Longer than most commands, so that some interruptions come too late. */
const maxInterruptStep = 260

const disturbanceOf = (random: Random, number: number): Disturbance => ({
  number,
  rule: random.once(4) ? ruleOf(random) : undefined,
  interruptStep: random.once(4) ? random.below(maxInterruptStep) : undefined
})

/** So many residents are there at most. */
export const residentCount = 3

const lengths = [0, 1, 2, 3, 15, 16, 17, 40, 100, 200]
const budgets = [0, 256, 1024, 1024, 4096]

export const commandOf = (random: Random, number: number): Command => {
  const disturbance = disturbanceOf(random, number)
  const isInline = random.once(2)
  switch (random.below(24)) {
    case 0:
    case 1:
      return { ...disturbance, kind: "allocate", length: random.pick([0, 1, 16, 100]) }
    case 2:
      return { ...disturbance, kind: "close", resident: random.below(residentCount) }
    case 3:
      return { ...disturbance, kind: random.once(2) ? "upload" : "download", resident: random.below(residentCount) }
    case 4:
      return {
        ...disturbance,
        kind: "configure",
        maxBytes: random.pick(budgets),
        chunkCount: random.pick([1, 1, 2])
      }
    case 5:
    case 6:
      return { ...disturbance, kind: "bound", length: random.pick(lengths), until: random.pick(boundUntil) }
    case 7:
    case 8:
    case 9:
      return { ...disturbance, kind: "accumulate", resident: random.below(residentCount), isInline }
    case 10:
      return { ...disturbance, kind: "copyHost", isInline }
    case 11:
      return { ...disturbance, kind: "failIf", shall: random.once(2) }
    case 12:
    case 13:
      return { ...disturbance, kind: "typescript", length: random.pick(lengths) }
    case 14:
    case 15:
    case 16:
    case 17:
      return { ...disturbance, kind: "scale", length: random.pick(lengths), isInline }
    default:
      return { ...disturbance, kind: "add", length: random.pick(lengths), isInline }
  }
}

const boundUntil = ["bind", "launch", "validate"] as const
