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
import type { Moves } from "./runTables.ts"
import { ViewTable } from "./viewTable.ts"

export interface Layout {
  readonly parameters: ReadonlyArray<Parameter>
  readonly bindings: Bindings
  readonly byteCounts: Float64Array
  /** `undefined` with a zero budget. */
  readonly plan: Plan | undefined
  readonly traits: Traits
  readonly rules: SliceRules
  readonly baseAddresses: ReadonlyArray<number>
  readonly clear: Clear
  readonly staging: { readonly address: number; readonly byteCount: number }
  readonly maxInlineCopyBytes: number
  /** Whether everything stays on the event loop's thread, however large. */
  readonly staysOnThread: boolean
}

export interface LaidOut {
  readonly moves: Moves
  readonly stagingBytes: number
}

type Entry = Parameters<ViewTable["push"]>[0]

/** Tensors start at multiples of this in staging. */
const stagingAlignmentBytes = 64

export const layOutStage = (layout: Layout): LaidOut => {
  const tensors = moving(layout, Role.input)
  const coalesced = shouldCoalesce(layout, layout.plan?.copyIn, tensors)
  const staged = coalesced ? gather(layout, tensors) : copyIn(layout, tensors)
  const fills = layout.plan === undefined
    ? clearAllocations(layout)
    : clearChunks(layout, layout.plan, tensors, coalesced)
  const { apart, inline } = split(layout, [...staged.device, ...fills])
  return {
    moves: {
      inline: makeTable(layout, [...staged.host, ...inline], false),
      apart: makeTable(layout, apart, true),
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
      inline: makeTable(layout, answersAtOnce ? [...inline, ...staged.host] : inline, false),
      apart: makeTable(layout, apart, true),
      collect: answersAtOnce ? undefined : makeTable(layout, staged.host, false)
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
  return bytes <= layout.traits.coalesceMaxBytes && bytes <= layout.staging.byteCount
}

const isHostTensor = (layout: Layout, tensor: Parameter): boolean =>
  layout.bindings.forms[tensor.index] === Form.hostTensor

/** Where a tensor lies on the device: known with a plan, else known when it was malloc'd. */
const deviceSide = (
  layout: Layout,
  tensor: Parameter,
  side: "source" | "destination",
  offsetBytes = 0
): { readonly address: number; readonly lease: Entry["lease"] } => {
  const { plan } = layout
  return plan === undefined
    ? { address: 0, lease: { tensor: tensor.index, side, offsetBytes } }
    : {
      address: layout.baseAddresses[plan.chunkIndex[tensor.index]!]! + plan.offsetBytes[tensor.index]! + offsetBytes,
      lease: undefined
    }
}

/** Every tensor on its own: directly, or through staging where copies outlast the call. */
const copyIn = (layout: Layout, tensors: ReadonlyArray<Parameter>): Staged => {
  const host: Array<Entry> = []
  const device: Array<Entry> = []
  let stagingBytes = 0
  for (const tensor of tensors) {
    const byteCount = layout.byteCounts[tensor.index]!
    const target = deviceSide(layout, tensor, "destination")
    const entry = { name: tensor.name, kind: TransferKind.copyIn, destination: target.address, byteCount }
    const view = { tensor: tensor.index, side: "source" } as const
    if (layout.traits.answersAtOnce || isHostTensor(layout, tensor)) {
      device.push({ ...entry, source: 0, view, lease: target.lease })
    } else {
      const staging = layout.staging.address + stagingBytes
      host.push({ name: tensor.name, kind: TransferKind.hostCopy, destination: staging, source: 0, byteCount, view })
      device.push({ ...entry, source: staging, lease: target.lease })
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
    const origin = deviceSide(layout, tensor, "source")
    const entry = { name: tensor.name, kind: TransferKind.copyOut, source: origin.address, byteCount }
    const view = { tensor: tensor.index, side: "destination" } as const
    if (layout.traits.answersAtOnce || isHostTensor(layout, tensor)) {
      device.push({ ...entry, destination: 0, view, lease: origin.lease })
    } else {
      const staging = layout.staging.address + stagingBytes
      device.push({ ...entry, destination: staging, lease: origin.lease })
      host.push({ name: tensor.name, kind: TransferKind.hostCopy, destination: 0, source: staging, byteCount, view })
      stagingBytes = alignUp(stagingBytes + byteCount, stagingAlignmentBytes)
    }
  }
  return { host, device, stagingBytes }
}

/** Where the extent of each chunk starts in staging. */
const stagingStarts = (extents: Extents): ReadonlyArray<number> => {
  let next = 0
  return Array.from(extents.endBytes, (end, chunk) => {
    const start = next
    next += alignUp(end - extents.startBytes[chunk]!, stagingAlignmentBytes)
    return start
  })
}

/** Gathers tensors in staging as they lie in their chunks, gaps zeroed, and copies each chunk's extent at once. */
const gather = (layout: Layout, tensors: ReadonlyArray<Parameter>): Staged => {
  const plan = layout.plan!
  const starts = stagingStarts(plan.copyIn)
  const host: Array<Entry> = []
  const copies: Array<Entry> = []
  const cursors = plan.copyIn.startBytes.slice()
  for (const tensor of tensors) {
    const chunk = plan.chunkIndex[tensor.index]!
    const offset = plan.offsetBytes[tensor.index]!
    const byteCount = layout.byteCounts[tensor.index]!
    const inStaging = (offsetBytes: number): number =>
      layout.staging.address + starts[chunk]! + offsetBytes - plan.copyIn.startBytes[chunk]!
    const gapBytes = offset - cursors[chunk]!
    if (gapBytes > 0 && layout.clear === "all") {
      host.push({
        name: "padding",
        kind: TransferKind.hostFill,
        destination: inStaging(cursors[chunk]!),
        source: 0,
        byteCount: gapBytes
      })
    }
    copies.push({
      name: tensor.name,
      kind: TransferKind.hostCopy,
      destination: inStaging(offset),
      source: 0,
      byteCount,
      view: { tensor: tensor.index, side: "source" }
    })
    cursors[chunk] = offset + byteCount
  }
  const device = extentEntries(plan.copyIn, (chunk, start, byteCount) => ({
    name: "inputs",
    kind: TransferKind.copyIn,
    destination: layout.baseAddresses[chunk]! + start,
    source: layout.staging.address + starts[chunk]!,
    byteCount
  }))
  return { host: [...host, ...copies], device, stagingBytes: extentBytes(plan.copyIn) }
}

/** The way back of `gather`. */
const scatter = (layout: Layout, tensors: ReadonlyArray<Parameter>): Staged => {
  const plan = layout.plan!
  const starts = stagingStarts(plan.copyOut)
  const host = tensors.map((tensor): Entry => {
    const chunk = plan.chunkIndex[tensor.index]!
    const offset = plan.offsetBytes[tensor.index]! - plan.copyOut.startBytes[chunk]!
    return {
      name: tensor.name,
      kind: TransferKind.hostCopy,
      destination: 0,
      source: layout.staging.address + starts[chunk]! + offset,
      byteCount: layout.byteCounts[tensor.index]!,
      view: { tensor: tensor.index, side: "destination" }
    }
  })
  const device = extentEntries(plan.copyOut, (chunk, start, byteCount) => ({
    name: "outputs",
    kind: TransferKind.copyOut,
    destination: layout.staging.address + starts[chunk]!,
    source: layout.baseAddresses[chunk]! + start,
    byteCount
  }))
  return { host, device, stagingBytes: extentBytes(plan.copyOut) }
}

const extentEntries = (
  extents: Extents,
  entry: (chunk: number, startBytes: number, byteCount: number) => Entry
): ReadonlyArray<Entry> =>
  Array.from(extents.endBytes).flatMap((end, chunk) => {
    const start = extents.startBytes[chunk]!
    return end > start ? [entry(chunk, start, end - start)] : []
  })

/** What of the chunks is to be zeroed: with `"all"` every byte that the run takes and no copy writes. */
const clearChunks = (
  layout: Layout,
  plan: Plan,
  tensors: ReadonlyArray<Parameter>,
  coalesced: boolean
): ReadonlyArray<Entry> => {
  const fill = (name: string) => (chunk: number, start: number, byteCount: number): Entry => ({
    name,
    kind: TransferKind.fill,
    destination: layout.baseAddresses[chunk]! + start,
    source: 0,
    byteCount
  })
  if (layout.clear === "none") {
    return []
  }
  if (layout.clear === "outputs") {
    return extentEntries(plan.outputs, fill("outputs"))
  }
  const entries: Array<Entry> = []
  const cursors = new Float64Array(plan.usedBytes.length)
  if (coalesced) {
    cursors.set(plan.copyIn.endBytes)
  } else {
    for (const tensor of tensors) {
      const chunk = plan.chunkIndex[tensor.index]!
      const offset = plan.offsetBytes[tensor.index]!
      if (offset > cursors[chunk]!) {
        entries.push(fill("padding")(chunk, cursors[chunk]!, offset - cursors[chunk]!))
      }
      cursors[chunk] = offset + layout.byteCounts[tensor.index]!
    }
  }
  const rest = extentEntries({ startBytes: cursors, endBytes: plan.usedBytes }, fill("outputs and scratch"))
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
    const target = deviceSide(layout, tensor, "destination", start)
    return [{
      name: tensor.name,
      kind: TransferKind.fill,
      destination: target.address,
      source: 0,
      byteCount: end - start,
      lease: target.lease
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
    entry.kind === TransferKind.fill ||
    (entry.view !== undefined && layout.bindings.forms[entry.view.tensor] === Form.hostTensor)
  const bytes = entries.reduce((sum, entry) => sum + entry.byteCount, 0)
  if (!layout.traits.answersAtOnce || layout.staysOnThread || bytes <= layout.maxInlineCopyBytes) {
    return { inline: entries, apart: [] }
  }
  return { inline: entries.filter((entry) => !isFree(entry)), apart: entries.filter(isFree) }
}

const makeTable = (layout: Layout, entries: ReadonlyArray<Entry>, offThread: boolean): ViewTable | undefined => {
  if (entries.length === 0) {
    return undefined
  }
  const table = new ViewTable({
    capacity: entries.length,
    offThread,
    bindings: layout.bindings
  })
  for (const entry of entries) {
    table.push(entry)
  }
  return table
}
