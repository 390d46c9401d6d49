/** What has to hold of a random run's memory: where its tensors lie, and every byte after staging and after the copy back. */
import { LeaseKind } from "../../src/internal/core/leaseTable.ts"
import type { RunTables } from "../../src/internal/runner/runTables.ts"
import { holds, same } from "../core/same.ts"
import { lengthOf, modelRules } from "./coreModel.ts"
import type { FakeMemory, Region } from "./fakeMemory.ts"
import {
  guard,
  guardBytes,
  inputByte,
  isIn,
  isOut,
  leftOver,
  outputByte,
  type Placed,
  type Scene
} from "./planScene.ts"

/** Where the run's tensors lie; with a zero budget they are malloc'd here. Checks them against each other. */
export const addressesOf = (
  scene: Scene,
  tables: RunTables,
  memory: FakeMemory,
  baseAddresses: ReadonlyArray<number>
): ReadonlyArray<number> => {
  const { leases } = tables
  const { plan } = tables.layout
  let next = scene.firstAddress
  for (const [index, { byteCount }] of scene.tensors.entries()) {
    if (leases.kinds[index] === LeaseKind.free) {
      const length = Number(lengthOf(byteCount, modelRules(scene.rules)))
      memory.add(`malloc ${index}`, next, new Uint8Array(length).fill(leftOver))
      leases.hold(index, LeaseKind.free, next, byteCount)
      next += length + 64
    }
  }
  if (leases.heldFreeCount > 0) {
    tables.bindLeases()
  }
  const lengths = scene.tensors.map(({ byteCount }) => Number(lengthOf(byteCount, modelRules(scene.rules))))
  for (const [index, { byteCount }] of scene.tensors.entries()) {
    const address = leases.addresses[index]!
    if (byteCount === 0) {
      same(leases.kinds[index], LeaseKind.none, "what has no bytes holds nothing")
      continue
    }
    same(leases.byteCounts[index], byteCount, "a lease has the logical bytes")
    if (plan === undefined) {
      continue
    }
    same(address % scene.rules.alignmentBytes, 0, "slices are aligned in absolute address")
    // The run is alone, and chunks start at boundaries, so each range starts where its chunk does.
    const range = plan.rangeIndex[index]!
    const end = address - baseAddresses[range]! + lengths[index]!
    holds(end <= plan.rangeBytes[range]!, "slices lie in what the plan takes")
    for (let other = 0; other < index; other++) {
      const start = leases.addresses[other]!
      holds(
        lengths[other] === 0 || scene.tensors[other]!.byteCount === 0 || start + lengths[other]! <= address ||
          address + lengths[index]! <= start,
        "slices lie apart"
      )
    }
  }
  return [...leases.addresses]
}

/** After staging: inputs are there, what was to be cleared is zero, and nothing beyond the run was touched. */
export const checkStaged = (
  scene: Scene,
  tables: RunTables,
  addresses: ReadonlyArray<number>,
  memory: FakeMemory
): void => {
  const { clear } = scene
  const coalesces = scene.coalesceMaxBytes > 0
  const regions = new Map<Region, Array<"left over" | "any" | "zero" | number>>()
  for (const [index, tensor] of scene.tensors.entries()) {
    if (tensor.byteCount === 0) {
      continue
    }
    const region = memory.find(addresses[index]!, tensor.byteCount)
    const start = addresses[index]! - region.base
    if (!regions.has(region)) {
      const used = tables.layout.plan === undefined
        ? region.bytes.byteLength
        : tables.layout.plan.rangeBytes[tables.layout.plan.rangeIndex[index]!]!
      // What lies between tensors may be written where they travel as one.
      const between = clear === "all" ? "zero" : coalesces ? "any" : "left over"
      regions.set(region, Array.from(region.bytes, (_, at) => at < used ? between : "left over"))
    }
    const expected = regions.get(region)!
    for (let at = 0; at < tensor.byteCount; at++) {
      expected[start + at] = isIn(tensor)
        ? inputByte(index, at)
        : clear === "all" || (clear === "outputs" && tensor.role === "output")
        ? "zero"
        : "left over"
    }
    if (clear === "outputs" && tensor.role === "output" && tables.layout.plan !== undefined) {
      // Outputs are cleared as one extent, padding between them included.
      const { endBytes, startBytes } = tables.layout.plan.outputs
      const range = tables.layout.plan.rangeIndex[index]!
      for (let at = startBytes[range]!; at < endBytes[range]!; at++) {
        expected[at] = "zero"
      }
    }
  }
  for (const [region, expected] of regions) {
    for (const [at, wanted] of expected.entries()) {
      const byte = region.bytes[at]
      if (wanted === "any") {
        continue
      }
      same(byte, wanted === "zero" ? 0 : wanted === "left over" ? leftOver : wanted, `byte ${at} of ${region.name}`)
      holds(wanted !== "left over" || region.writes[at] === 0, "what is not the run's is not written")
    }
  }
}

/** After the copy back: outputs hold every byte of the device's once, and nothing else of the host was written. */
export const checkViews = (placed: ReadonlyArray<Placed>): void => {
  for (const [index, tensor] of placed.entries()) {
    for (let at = 0; at < tensor.region.bytes.byteLength; at++) {
      const inView = at - guardBytes
      const isOutput = isOut(tensor) && inView >= 0 && inView < tensor.byteCount
      const isInput = isIn(tensor) && inView >= 0 && inView < tensor.byteCount
      same(tensor.region.writes[at], isOutput ? 1 : 0, `writes of byte ${inView} of ${tensor.name}`)
      const wanted = isOutput
        ? outputByte(index, inView)
        : isInput
        ? inputByte(index, inView)
        : inView >= 0 && inView < tensor.byteCount
        ? 0
        : guard
      same(tensor.region.bytes[at], wanted, `byte ${inView} of ${tensor.name}`)
    }
  }
}
