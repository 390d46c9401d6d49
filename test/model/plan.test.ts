/**
 * Plans and the transfers that follow from them, over random signatures, sizes, alignments and backends: regions are
 * aligned and apart, padding is accounted for, and what moves is exactly the bytes of the tensors.
 *
 * The tables are those that a runner makes. They are carried out on fake memory, whose every byte is looked at.
 */
import { assert, describe, it } from "@effect/vitest"
import { Arg, Callable } from "leasehold"
import { Admission } from "../../src/internal/core/admission.ts"
import { RangeAllocator } from "../../src/internal/core/rangeAllocator.ts"
import type { Slot } from "../../src/internal/core/slot.ts"
import { Bindings } from "../../src/internal/runner/bindings.ts"
import { checkArguments } from "../../src/internal/runner/checkArguments.ts"
import { type LayoutContext, layOutRun } from "../../src/internal/runner/layOutRun.ts"
import type { Moves } from "../../src/internal/runner/moves.ts"
import { prepareCallable, PreparedCallable } from "../../src/internal/runner/preparedCallable.ts"
import { readArguments } from "../../src/internal/runner/readArguments.ts"
import { RunLayout } from "../../src/internal/runner/runLayout.ts"
import { RunTables } from "../../src/internal/runner/runTables.ts"
import type { ViewTable } from "../../src/internal/runner/viewTable.ts"
import { holds, same } from "../core/same.ts"
import { modelRules, planOf, type Tensor } from "./coreModel.ts"
import { FakeMemory } from "./fakeMemory.ts"
import { addressesOf, checkStaged, checkViews } from "./planChecks.ts"
import {
  contextOf,
  guard,
  guardBytes,
  inputByte,
  isIn,
  isOut,
  outputByte,
  type Placed,
  type Scene,
  sceneOf
} from "./planScene.ts"
import { campaignSeeds, Random } from "./random.ts"

/** Runs one scene from its signature to the host's outputs. Answers whether it fitted. */
const play = (scene: Scene): "ran" | "refused" => {
  const memory = new FakeMemory()
  const placed = scene.tensors.map((tensor, index): Placed => {
    const buffer = new Uint8Array(guardBytes * 2 + tensor.byteCount).fill(guard)
    const view = buffer.subarray(guardBytes, guardBytes + tensor.byteCount)
    view.forEach((_, at) => view[at] = isIn(tensor) ? inputByte(index, at) : 0)
    return { ...tensor, name: `t${index}`, view, region: memory.add(`view ${index}`, 2 ** 45 + index * 4096, buffer) }
  })
  const hostAddress = (view: ArrayBufferView): number =>
    placed.find(({ region }) => region.bytes.buffer === view.buffer)!.region.base + view.byteOffset
  const { baseAddresses, chunks, context, stagingAddress } = contextOf(scene, memory)
  const signature = Object.fromEntries(placed.map(({ byteCount, name, role }): [string, Arg.Arg] => [
    name,
    role === "scratch" || role === "none"
      ? Arg.scratch("uint8", [byteCount])
      : role === "input"
      ? Arg.input("uint8", [byteCount])
      : role === "inout"
      ? Arg.inout("uint8", [byteCount])
      : Arg.output("uint8", [byteCount])
  ]))
  const prepared = prepareCallable(Callable.native({ signature, kernels: [], execution: scene.execution }), "simulator")
  assert(prepared instanceof PreparedCallable, "the signature is a good one")
  const bindings = new Bindings(prepared.parameters)
  const args = Object.fromEntries(
    placed.filter(({ role }) => role !== "scratch").map(({ name, view }) => [name, view])
  )
  same(readArguments(bindings, prepared.named, args), undefined)
  same(checkArguments(bindings, { owner: memory, allowSharedViews: false, hostAddress }), undefined)
  const layout = layOutRun(prepared, bindings, undefined, context)
  const expected = scene.maxBytes === 0 ? undefined : planOf(chunks, modelRules(scene.rules), scene.tensors)
  if (!(layout instanceof RunLayout)) {
    holds(expected?.refused !== undefined, `what has room is not refused: ${layout.message}`)
    return "refused"
  }
  same(expected?.refused, undefined, "what has no room is refused")
  const tables = new RunTables(layout, bindings)
  const slot = slotFor(layout, baseAddresses, context)
  tables.place(slot, stagingAddress)
  const addresses = addressesOf(scene, tables, memory, baseAddresses)
  same(tables.bindViews(bindings), undefined)
  move(memory, tables.stage)
  checkStaged(scene, tables, addresses, memory)
  // The kernel: whatever it may write, it writes.
  for (const [index, tensor] of scene.tensors.entries()) {
    if (tensor.byteCount > 0 && tensor.role !== "input") {
      memory.write(addresses[index]!, Uint8Array.from({ length: tensor.byteCount }, (_, at) => outputByte(index, at)))
    }
  }
  placed.forEach(({ region }) => region.writes.fill(0))
  move(memory, tables.copyBack)
  checkViews(placed)
  const logical = (direction: (tensor: Tensor) => boolean): number =>
    scene.tensors.filter(direction).reduce((sum, { byteCount }) => sum + byteCount, 0)
  const described = tables.describe(slot)
  if (scene.coalesceMaxBytes === 0) {
    same(described.hostToDeviceBytes, logical(isIn), "exactly the logical bytes go to the device")
    same(described.deviceToHostBytes, logical(isOut), "exactly the logical bytes come back")
  }
  if (layout.plan !== undefined) {
    same(described.bufferBytes - described.paddingBytes, logical(() => true), "padding is all that is not a tensor")
  }
  return "ran"
}

/** The slot of a run that is alone. */
const slotFor = (layout: RunLayout, baseAddresses: ReadonlyArray<number>, context: LayoutContext): Slot => {
  const admission = new Admission(1)
  const { alignmentBytes } = context.rules
  admission.install(new RangeAllocator(baseAddresses, context.configuration.chunkBytes, alignmentBytes), 0)
  const slot = admission.admit(admission.root, layout.demand, undefined)
  holds(slot !== undefined, "a run that is alone is admitted")
  return slot!
}

const move = (memory: FakeMemory, moves: Moves<ViewTable>): void => {
  for (const table of [moves.apart, moves.inline, moves.collect]) {
    if (table !== undefined) {
      table.table.checkInvariants()
      memory.carryOut(table)
    }
  }
}

const sceneCount = 1500

describe("plans", () => {
  for (const seed of campaignSeeds()) {
    it(`move exactly the logical bytes of ${sceneCount} random runs of seed ${seed}`, { timeout: 120_000 }, () => {
      const random = new Random(seed)
      const outcomes = { ran: 0, refused: 0 }
      for (let count = 0; count < sceneCount; count++) {
        const scene = sceneOf(random)
        try {
          outcomes[play(scene)] += 1
        } catch (error) {
          assert.fail(`seed ${seed}, run ${count}: ${String(error)}\n${JSON.stringify(scene)}`)
        }
      }
      assert.isAtLeast(outcomes.ran, sceneCount / 2)
      assert.isAtLeast(outcomes.refused, 30)
      console.log(`plans: ${outcomes.ran} runs and ${outcomes.refused} refusals, seed ${seed}, 0 differences`)
    })
  }
})
