/**
 * Cases: one way in which a program is disturbed, and the line of text that names it, by which it can be replayed.
 */
import { Status } from "../../HostApi.ts"
import type { Fault, Rule } from "../../testing/FaultInjection.ts"
import { isRelease, type OperationKind, operationKinds } from "./operations.ts"

/** How the seam is offered to the program. */
export const forms = ["immediate", "effects", "delayed"] as const
export type Form = (typeof forms)[number]

export const faultKinds = ["error", "outOfMemory", "deviceLost", "defect", "hang", "lie"] as const
export type FaultKind = (typeof faultKinds)[number]

export const timings = ["before", "after"] as const
export type Timing = (typeof timings)[number]

export const persistences = ["once", "always", "everyOther"] as const
export type Persistence = (typeof persistences)[number]

/** One fault at one operation. */
export interface FaultPoint {
  /** Which operation of the program, from 0. */
  readonly operation: number
  /** What that operation is. */
  readonly target: OperationKind
  readonly kind: FaultKind
  readonly timing: Timing
  readonly persistence: Persistence
}

/** One interruption at one step. */
export interface InterruptPoint {
  readonly step: number
  /** Which fiber: the program's own, or the one that takes the step. */
  readonly target: "root" | "current"
  /** Whether steps are counted, or only tasks: the places where a fiber waits or yields anyway. */
  readonly mode: "every" | "reachable"
}

export interface Case {
  readonly form: Form
  readonly faults: ReadonlyArray<FaultPoint>
  readonly interrupt: InterruptPoint | undefined
}

export const clean = (form: Form): Case => ({ form, faults: [], interrupt: undefined })

/** A case as text, such as `effects operation=3,submit,outOfMemory,before,once step=12,root,every`. */
export const format = ({ faults, form, interrupt }: Case): string =>
  [
    form,
    ...faults.map(({ kind, operation, persistence, target, timing }) =>
      `operation=${operation},${target},${kind},${timing},${persistence}`
    ),
    ...(interrupt === undefined ? [] : [`step=${interrupt.step},${interrupt.target},${interrupt.mode}`])
  ].join(" ")

const isOneOf = <A extends string>(values: ReadonlyArray<A>, value: string | undefined): value is A =>
  values.some((known) => known === value)

/** Reads a case; `undefined` where the text is not one. */
export const parse = (text: string): Case | undefined => {
  const [form, ...points] = text.trim().split(/\s+/)
  if (!isOneOf(forms, form)) {
    return undefined
  }
  const faults: Array<FaultPoint> = []
  let interrupt: InterruptPoint | undefined
  for (const point of points) {
    const [name, values = ""] = point.split("=")
    const [first, second, third, fourth, fifth] = values.split(",")
    const index = Number(first)
    if (!Number.isSafeInteger(index) || index < 0 || first === "") {
      return undefined
    }
    if (
      name === "operation" && isOneOf(operationKinds, second) && isOneOf(faultKinds, third) &&
      isOneOf(timings, fourth) && isOneOf(persistences, fifth)
    ) {
      faults.push({ operation: index, target: second, kind: third, timing: fourth, persistence: fifth })
    } else if (name === "step" && isOneOf(["root", "current"], second) && isOneOf(["every", "reachable"], third)) {
      interrupt = { step: index, target: second, mode: third }
    } else {
      return undefined
    }
  }
  return { form, faults, interrupt }
}

/** The status with which a backend refuses an operation for reasons of its own. */
const refusals: Partial<Record<OperationKind, number>> = {
  submit: Status.TransferFailed,
  collect: Status.TransferFailed,
  launch: Status.LaunchFailed,
  loadKernel: Status.LibraryNotLoaded
}

const faultOf = (point: FaultPoint): Fault => {
  switch (point.kind) {
    case "error":
      return { _tag: "Fail", status: refusals[point.target] ?? Status.InvalidArgument }
    case "outOfMemory":
      return { _tag: "Fail", status: Status.OutOfMemory }
    case "deviceLost":
      return { _tag: "Fail", status: Status.DeviceLost }
    case "defect":
      return { _tag: "Defect", defect: new Error("injected defect") }
    case "hang":
      return { _tag: "Hang" }
    default:
      return { _tag: "Lie", done: point.timing === "before" ? "nothing" : "half" }
  }
}

export const ruleOf = (point: FaultPoint): Rule => ({
  where: { index: point.operation },
  fault: faultOf(point),
  when: point.timing,
  often: point.persistence,
  isOptional: true
})

/** What can be done by halves, and what can be left out altogether. */
const canBeHalf: ReadonlySet<OperationKind> = new Set(["malloc", "submit", "collect"])
const canBeNothing: ReadonlySet<OperationKind> = new Set([
  "free",
  "hostFree",
  "hostRegister",
  "hostUnregister",
  "submit",
  "collect",
  "launch"
])

const isTable = (operation: OperationKind): boolean => operation === "submit" || operation === "collect"

/**
 * Whether a fault means something for an operation in a form. A plain function cannot hang; not all operations can lie; and
 * a table that is refused for want of memory is refused before anything moves.
 */
export const applies = (operation: OperationKind, form: Form, kind: FaultKind, timing: Timing): boolean => {
  switch (kind) {
    case "hang":
      return form !== "immediate"
    case "lie":
      return (timing === "before" ? canBeNothing : canBeHalf).has(operation)
    case "outOfMemory":
      return timing === "before" || !isTable(operation)
    default:
      return true
  }
}

/** Whether a program has to hear of a fault. A failing release is counted instead, and a lie cannot be heard. */
export const mustBeReported = ({ kind, target }: FaultPoint): boolean =>
  !isRelease(target) && kind !== "lie" && kind !== "hang"
