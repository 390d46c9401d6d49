/**
 * What a run moves and clears, laid out as tables of transfers for the backend at hand.
 *
 * Three ways lead from a host view to the device and back:
 *
 * - direct: the backend answers at once and copies between view and slice within the call;
 * - staged: copies outlast the call, so views are copied to staging first, and each tensor travels from there;
 * - coalesced: small tensors are gathered in staging as they lie in their chunk, and travel as one.
 */
import type { Clear } from "../../Callable.ts"
import type { Traits } from "../../HostApi.ts"
import { sliceBytes, type SliceRules } from "../core/bumpAllocator.ts"
import { type Extents, type Plan, Role } from "../core/plan.ts"
import { alignUp } from "../core/sizes.ts"
import { TransferKind } from "../core/transferTable.ts"
import { type Bindings, Form } from "./bindings.ts"
import type { Parameter } from "./parameter.ts"
import type { Entry, Place, TableLayout } from "./viewTable.ts"

/** The tables of one direction. Parts that are not needed are `undefined`. */
export interface Moves<Table> {
  /** What touches plain views, and all else that is small: one native call on the loop's thread. */
  readonly inline: Table | undefined
  /** Host tensors and fills that are large: one native call off the loop's thread. */
  readonly apart: Table | undefined
  /** Staged bytes that move on to plain views once the device's part is done. */
  readonly collect: Table | undefined
}

export interface Layout {
  readonly parameters: ReadonlyArray<Parameter>
  readonly bindings: Bindings
  readonly byteCounts: Float64Array
  /** `undefined` with a zero budget. */
  readonly plan: Plan | undefined
  readonly traits: Traits
  readonly rules: SliceRules
  readonly clear: Clear
  /** The bytes of a slot's staging area. */
  readonly stagingMaxBytes: number
  readonly maxInlineCopyBytes: number
  /** Whether everything stays on the event loop's thread, however large. */
  readonly staysOnThread: boolean
}

export interface LaidOut {
  readonly moves: Moves<TableLayout>
  readonly stagingBytes: number
}

/** Tensors start at multiples of this in staging. */
export const stagingAlignmentBytes = 64

export const layOutStage = (layout: Layout): LaidOut => {
  const tensors = moving(layout, Role.input)
  const coalesced = shouldCoalesce(layout, layout.plan?.copyIn, tensors)
  const staged = coalesced ? gather(layout, tensors) : copyIn(layout, tensors)
  const fills = layout.plan === undefined
    ? clearAllocations(layout)
    : clearRanges(layout, layout.plan, tensors, coalesced)
  const { apart, inline } = split(layout, [...staged.device, ...fills])
  return {
    moves: {
      inline: table([...staged.host, ...inline], false),
      apart: table(apart, true),
      collect: undefined
    },
    stagingBytes: staged.stagingBytes
  }
}

export const layOutCopyBack = (layout: Layout): LaidOut => {
  const tensors = moving(layout, Role.output)
  const coalesced = shouldCoalesce(layout, layout.plan?.copyOut, tensors)
  const staged = coalesced ? scatter(layout, tensors) : copyOut(layout, tensors)
  const { apart, inline } = split(layout, staged.device)
  const { answersAtOnce } = layout.traits
  return {
    moves: {
      // A backend that answers at once does both parts in one call.
      inline: table(answersAtOnce ? [...inline, ...staged.host] : inline, false),
      apart: table(apart, true),
      collect: answersAtOnce ? undefined : table(staged.host, false)
    },
    stagingBytes: staged.stagingBytes
  }
}

interface Staged {
  /** Copies and fills within the host. */
  readonly host: ReadonlyArray<Entry>
  readonly device: ReadonlyArray<Entry>
  readonly stagingBytes: number
}

/** The tensors that move in the direction of `role`, as they lie: inputs and inouts, or inouts and outputs. */
const moving = (layout: Layout, role: typeof Role.input | typeof Role.output): ReadonlyArray<Parameter> => {
  const order = role === Role.input ? [Role.input, Role.inout] : [Role.inout, Role.output]
  return order.flatMap((wanted) =>
    layout.parameters.filter((parameter) => parameter.role === wanted && layout.byteCounts[parameter.index]! > 0)
  )
}

const extentBytes = (extents: Extents): number =>
  extents.endBytes.reduce(
    (sum, end, chunk) => sum + alignUp(end - extents.startBytes[chunk]!, stagingAlignmentBytes),
    0
  )

const shouldCoalesce = (
  layout: Layout,
  extents: Extents | undefined,
  tensors: ReadonlyArray<Parameter>
): boolean => {
  if (extents === undefined || tensors.length < 2) {
    return false
  }
  const bytes = extentBytes(extents)
  return bytes <= layout.traits.coalesceMaxBytes && bytes <= layout.stagingMaxBytes
}

const isHostTensor = (layout: Layout, tensor: Parameter): boolean =>
  layout.bindings.forms[tensor.index] === Form.hostTensor

/** Where a tensor lies on the device: in a range with a plan, else where it was malloc'd. */
const onDevice = ({ plan }: Layout, tensor: Parameter, offsetBytes = 0): Place =>
  plan === undefined
    ? { of: "lease", tensor: tensor.index, offsetBytes }
    : {
      of: "range",
      range: plan.rangeIndex[tensor.index]!,
      offsetBytes: plan.offsetBytes[tensor.index]! + offsetBytes
    }

const inView = (tensor: Parameter): Place => ({ of: "view", tensor: tensor.index })

const inStaging = (offsetBytes: number): Place => ({ of: "staging", offsetBytes })

/** Every tensor on its own: directly, or through staging where copies outlast the call. */
const copyIn = (layout: Layout, tensors: ReadonlyArray<Parameter>): Staged => {
  const host: Array<Entry> = []
  const device: Array<Entry> = []
  let stagingBytes = 0
  for (const tensor of tensors) {
    const byteCount = layout.byteCounts[tensor.index]!
    const { name } = tensor
    const entry = { name, kind: TransferKind.copyIn, destination: onDevice(layout, tensor), byteCount }
    const view = inView(tensor)
    if (layout.traits.answersAtOnce || isHostTensor(layout, tensor)) {
      device.push({ ...entry, source: view })
    } else {
      const staging = inStaging(stagingBytes)
      host.push({ name, kind: TransferKind.hostCopy, destination: staging, source: view, byteCount })
      device.push({ ...entry, source: staging })
      stagingBytes = alignUp(stagingBytes + byteCount, stagingAlignmentBytes)
    }
  }
  return { host, device, stagingBytes }
}

const copyOut = (layout: Layout, tensors: ReadonlyArray<Parameter>): Staged => {
  const host: Array<Entry> = []
  const device: Array<Entry> = []
  let stagingBytes = 0
  for (const tensor of tensors) {
    const byteCount = layout.byteCounts[tensor.index]!
    const { name } = tensor
    const entry = { name, kind: TransferKind.copyOut, source: onDevice(layout, tensor), byteCount }
    const view = inView(tensor)
    if (layout.traits.answersAtOnce || isHostTensor(layout, tensor)) {
      device.push({ ...entry, destination: view })
    } else {
      const staging = inStaging(stagingBytes)
      device.push({ ...entry, destination: staging })
      host.push({ name, kind: TransferKind.hostCopy, destination: view, source: staging, byteCount })
      stagingBytes = alignUp(stagingBytes + byteCount, stagingAlignmentBytes)
    }
  }
  return { host, device, stagingBytes }
}

/** Where the extent of each range starts in staging. */
const stagingStarts = (extents: Extents): ReadonlyArray<number> => {
  let next = 0
  return Array.from(extents.endBytes, (end, range) => {
    const start = next
    next += alignUp(end - extents.startBytes[range]!, stagingAlignmentBytes)
    return start
  })
}

/** Gathers tensors in staging as they lie in their ranges, gaps zeroed, and copies each range's extent at once. */
const gather = (layout: Layout, tensors: ReadonlyArray<Parameter>): Staged => {
  const plan = layout.plan!
  const starts = stagingStarts(plan.copyIn)
  const host: Array<Entry> = []
  const copies: Array<Entry> = []
  const cursors = plan.copyIn.startBytes.slice()
  for (const tensor of tensors) {
    const range = plan.rangeIndex[tensor.index]!
    const offset = plan.offsetBytes[tensor.index]!
    const byteCount = layout.byteCounts[tensor.index]!
    const gathered = (offsetBytes: number): Place =>
      inStaging(starts[range]! + offsetBytes - plan.copyIn.startBytes[range]!)
    const gapBytes = offset - cursors[range]!
    if (gapBytes > 0 && layout.clear === "all") {
      host.push({
        name: "padding",
        kind: TransferKind.hostFill,
        destination: gathered(cursors[range]!),
        source: undefined,
        byteCount: gapBytes
      })
    }
    copies.push({
      name: tensor.name,
      kind: TransferKind.hostCopy,
      destination: gathered(offset),
      source: inView(tensor),
      byteCount
    })
    cursors[range] = offset + byteCount
  }
  const device = extentEntries(plan.copyIn, (range, offsetBytes, byteCount) => ({
    name: "inputs",
    kind: TransferKind.copyIn,
    destination: { of: "range", range, offsetBytes },
    source: inStaging(starts[range]!),
    byteCount
  }))
  return { host: [...host, ...copies], device, stagingBytes: extentBytes(plan.copyIn) }
}

/** The way back of `gather`. */
const scatter = (layout: Layout, tensors: ReadonlyArray<Parameter>): Staged => {
  const plan = layout.plan!
  const starts = stagingStarts(plan.copyOut)
  const host = tensors.map((tensor): Entry => {
    const range = plan.rangeIndex[tensor.index]!
    const offset = plan.offsetBytes[tensor.index]! - plan.copyOut.startBytes[range]!
    return {
      name: tensor.name,
      kind: TransferKind.hostCopy,
      destination: inView(tensor),
      source: inStaging(starts[range]! + offset),
      byteCount: layout.byteCounts[tensor.index]!
    }
  })
  const device = extentEntries(plan.copyOut, (range, offsetBytes, byteCount) => ({
    name: "outputs",
    kind: TransferKind.copyOut,
    destination: inStaging(starts[range]!),
    source: { of: "range", range, offsetBytes },
    byteCount
  }))
  return { host, device, stagingBytes: extentBytes(plan.copyOut) }
}

const extentEntries = (
  extents: Extents,
  entry: (range: number, startBytes: number, byteCount: number) => Entry
): ReadonlyArray<Entry> =>
  Array.from(extents.endBytes).flatMap((end, range) => {
    const start = extents.startBytes[range]!
    return end > start ? [entry(range, start, end - start)] : []
  })

const fill = (name: string) => (range: number, offsetBytes: number, byteCount: number): Entry => ({
  name,
  kind: TransferKind.fill,
  destination: { of: "range", range, offsetBytes },
  source: undefined,
  byteCount
})

/** What of the ranges is to be zeroed: with `"all"` every byte that the run takes and no copy writes. */
const clearRanges = (
  layout: Layout,
  plan: Plan,
  tensors: ReadonlyArray<Parameter>,
  coalesced: boolean
): ReadonlyArray<Entry> => {
  if (layout.clear === "none") {
    return []
  }
  if (layout.clear === "outputs") {
    return extentEntries(plan.outputs, fill("outputs"))
  }
  const entries: Array<Entry> = []
  const cursors = new Float64Array(plan.rangeBytes.length)
  if (coalesced) {
    cursors.set(plan.copyIn.endBytes)
  } else {
    for (const tensor of tensors) {
      const range = plan.rangeIndex[tensor.index]!
      const offset = plan.offsetBytes[tensor.index]!
      if (offset > cursors[range]!) {
        entries.push(fill("padding")(range, cursors[range]!, offset - cursors[range]!))
      }
      cursors[range] = offset + layout.byteCounts[tensor.index]!
    }
  }
  const rest = extentEntries({ startBytes: cursors, endBytes: plan.rangeBytes }, fill("outputs and scratch"))
  return [...entries, ...rest]
}

/** What of each malloc'd tensor is to be zeroed. */
const clearAllocations = (layout: Layout): ReadonlyArray<Entry> => {
  if (layout.clear === "none") {
    return []
  }
  return layout.parameters.flatMap((tensor): ReadonlyArray<Entry> => {
    const byteCount = layout.byteCounts[tensor.index]!
    if (tensor.role === Role.none || byteCount === 0) {
      return []
    }
    const isCopiedIn = tensor.role === Role.input || tensor.role === Role.inout
    const start = isCopiedIn ? byteCount : 0
    const end = layout.clear === "all"
      ? sliceBytes(byteCount, layout.rules)
      : tensor.role === Role.output
      ? byteCount
      : start
    if (end <= start) {
      return []
    }
    return [{
      name: tensor.name,
      kind: TransferKind.fill,
      destination: onDevice(layout, tensor, start),
      source: undefined,
      byteCount: end - start
    }]
  })
}

/**
 * Parts what may leave the event loop's thread from what may not. It leaves when it would block the loop for longer than
 * the copies of plain views may; on a backend whose calls return before the work is done it never has to.
 */
const split = (
  layout: Layout,
  entries: ReadonlyArray<Entry>
): { readonly inline: ReadonlyArray<Entry>; readonly apart: ReadonlyArray<Entry> } => {
  const isFree = (entry: Entry): boolean =>
    entry.kind === TransferKind.fill || isOfHostTensor(entry.source) || isOfHostTensor(entry.destination)
  const isOfHostTensor = (place: Place | undefined): boolean =>
    place?.of === "view" && layout.bindings.forms[place.tensor] === Form.hostTensor
  const bytes = entries.reduce((sum, entry) => sum + entry.byteCount, 0)
  if (!layout.traits.answersAtOnce || layout.staysOnThread || bytes <= layout.maxInlineCopyBytes) {
    return { inline: entries, apart: [] }
  }
  return { inline: entries.filter((entry) => !isFree(entry)), apart: entries.filter(isFree) }
}

const table = (entries: ReadonlyArray<Entry>, offThread: boolean): TableLayout | undefined =>
  entries.length === 0 ? undefined : { entries, offThread }
