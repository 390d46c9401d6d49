/** What a crowd works on, drawn from a seed: the device, the runner, its child budgets, and what goes wrong. Plain data. */
import { HostApi, type RunnerOptions } from "leasehold"
import { FaultInjection } from "leasehold/testing"
import { Random } from "../model/random.ts"
import { type Form, forms } from "../utils/forms.ts"

/** Devices that a crowd is tried on: every form of the seam, and one that is late on three lanes at once. */
export interface Device {
  readonly name: string
  readonly form: Form
  /** Whether the lanes work beside each other; drawn where it is undefined. */
  readonly lanes: "overlap" | undefined
}

export const devices: ReadonlyArray<Device> = [
  ...forms.map((form) => ({ name: form.name, form, lanes: undefined })),
  { name: "late, overlapping", form: forms.find(({ late }) => late)!, lanes: "overlap" }
]

/** How the temporary buffer is configured. */
export interface BufferSetup {
  readonly maxBytes: number
  readonly alignmentBytes: number
  readonly chunks: "single" | { readonly count: number }
  readonly growth: "fixed" | "highWater"
}

export interface BudgetSetup {
  readonly maxBytes: number | undefined
  readonly reserveBytes: number
}

export interface Setup {
  readonly seed: number
  readonly fiberCount: number
  readonly runsPerFiber: number
  readonly slots: number
  readonly admission: RunnerOptions.Admission
  readonly buffer: BufferSetup
  readonly budgets: ReadonlyArray<BudgetSetup>
  readonly lanes: "serial" | "overlap"
  /** Whether the plain functions of the seam are left, where there are any. */
  readonly isImmediate: boolean
  readonly stepsPerPreemption: number
  /** Whether runs look behind their slices; then all configurations have one chunk. */
  readonly looksAtPadding: boolean
  readonly rules: ReadonlyArray<FaultInjection.Rule>
}

/** Runs of one crowd, about. */
const runsPerCrowd = 160

export const setupOf = (device: Device, seed: number): Setup => {
  const random = new Random(seed)
  const fiberCount = 2 + random.below(23)
  const looksAtPadding = random.once(3)
  const buffer = bufferOf(random, { alignmentBytes: random.pick([64, 256, 1024]), looksAtPadding })
  // Drawn for every device, so that the rest is the same on all.
  const lanes = random.pick(["serial", "overlap"] as const)
  return {
    seed,
    fiberCount,
    runsPerFiber: Math.ceil(runsPerCrowd / fiberCount),
    slots: 1 + random.below(8),
    admission: admissionOf(random),
    buffer,
    budgets: Array.from({ length: random.below(4) }, () => budgetOf(random, buffer)),
    lanes: device.lanes ?? lanes,
    isImmediate: random.once(2),
    stepsPerPreemption: random.pick([8, 40, 400]),
    looksAtPadding,
    rules: random.once(2) ? rulesOf(random) : []
  }
}

const admissionOf = (random: Random): RunnerOptions.Admission => {
  const maxQueueCount = random.pick([0, 2, 8, 64, 64])
  switch (random.below(4)) {
    case 0:
      return "fail"
    case 1:
      return { shed: { maxQueueCount, maxWait: random.pick(["2 millis", "20 millis"]) } }
    case 2:
      return { wait: { maxQueueCount, deadline: random.pick(["3 millis", "30 millis"]) } }
    default:
      return { wait: { maxQueueCount } }
  }
}

/** A buffer of another size, cut in another way. */
export const bufferOf = (
  random: Random,
  { alignmentBytes, looksAtPadding }: { readonly alignmentBytes: number; readonly looksAtPadding: boolean }
): BufferSetup => {
  const grows = random.once(3)
  return {
    maxBytes: !looksAtPadding && random.once(10) ? 0 : random.pick([4096, 8192, 8192, 16_384, 32_768]),
    alignmentBytes,
    chunks: grows || looksAtPadding || random.once(2) ? "single" : { count: random.pick([2, 3]) },
    growth: grows ? "highWater" : "fixed"
  }
}

export const budgetOf = (random: Random, { maxBytes }: Pick<BufferSetup, "maxBytes">): BudgetSetup => ({
  maxBytes: random.once(2) ? Math.floor(maxBytes / random.pick([1, 2, 4])) : undefined,
  reserveBytes: random.once(2) ? Math.floor(maxBytes / random.pick([4, 8, 16])) : 0
})

const { Status } = HostApi
const { defect, deviceLost, fail, outOfMemory } = FaultInjection

/** A crowd may end before it fires. */
const optional = (rule: FaultInjection.Rule): FaultInjection.Rule => ({ ...rule, isOptional: true })

/** What goes wrong in a crowd. None is a lie: all is as the runner is told. */
const rulesOf = (random: Random): ReadonlyArray<FaultInjection.Rule> => {
  const often = (probability: number) => ({ probability, seed: random.below(2 ** 31) })
  const rules: ReadonlyArray<FaultInjection.Rule> = [
    { where: { operation: ["submit", "collect"] }, fault: fail(Status.TransferFailed), often: often(0.02) },
    {
      where: { operation: ["submit", "collect"] },
      fault: fail(Status.TransferFailed),
      when: "after",
      often: often(0.02)
    },
    { where: { operation: "launch" }, fault: fail(Status.LaunchFailed), when: "after", often: often(0.05) },
    { where: { operation: "malloc" }, fault: outOfMemory, often: often(0.1) },
    { where: { operation: "free" }, fault: fail(Status.InvalidArgument), often: often(0.02) },
    { where: { operation: ["submit", "launch"] }, fault: defect("a planted defect"), often: often(0.01) },
    { where: { operation: "submit" }, fault: defect("a planted defect"), when: "after", often: often(0.01) },
    { where: { operation: ["submit", "launch"], index: random.below(200) }, fault: deviceLost }
  ]
  // Few crowds lose the device, because it is their end.
  const last = random.once(5) ? rules.length : rules.length - 1
  return rules.slice(0, last).filter(() => random.once(2)).map(optional)
}
