/**
 * Plans and the transfers that follow from them, over random signatures, sizes, alignments and backends: regions are
 * aligned and apart, padding is accounted for, and what moves is exactly the bytes of the tensors.
 *
 * The tables are those that a runner makes. They are carried out on fake memory, whose every byte is looked at.
 */
import { assert, describe, it } from "@effect/vitest"
import { Arg, Callable } from "leasehold"
import type { SliceRules } from "../../src/internal/core/bumpAllocator.ts"
import { makePlan, type PlanRequest, Role } from "../../src/internal/core/plan.ts"
import { Bindings } from "../../src/internal/runner/bindings.ts"
import { checkArguments } from "../../src/internal/runner/checkArguments.ts"
import { makeTables } from "../../src/internal/runner/makeTables.ts"
import { prepareCallable, PreparedCallable } from "../../src/internal/runner/preparedCallable.ts"
import { readArguments } from "../../src/internal/runner/readArguments.ts"
import { type Moves, RunTables } from "../../src/internal/runner/runTables.ts"
import { holds, same } from "../core/same.ts"
import { comparePlan } from "./comparePlan.ts"
import { tensors as randomTensors } from "./coreCommands.ts"
import { planOf, type Tensor } from "./coreModel.ts"
import { FakeMemory } from "./fakeMemory.ts"
import { addressesOf, checkStaged, checkViews } from "./planChecks.ts"
import {
  contextOf,
  guard,
  guardBytes,
  inputByte,
  isIn,
  isOut,
  modelRules,
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
  const { context, chunks } = contextOf(scene, memory)
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
  const prepared = prepareCallable(Callable.native({ signature, kernels: [], execution: scene.execution }))
  assert(prepared instanceof PreparedCallable, "the signature is a good one")
  const bindings = new Bindings(prepared.parameters)
  const args = Object.fromEntries(
    placed.filter(({ role }) => role !== "scratch").map(({ name, view }) => [name, view])
  )
  same(readArguments(bindings, prepared.named, args), undefined)
  same(checkArguments(bindings, { owner: memory, allowSharedViews: false, hostAddress }), undefined)
  const tables = makeTables(prepared, bindings, undefined, context)
  const expected = scene.maxBytes === 0 ? undefined : planOf(chunks, modelRules(scene.rules), scene.tensors)
  if (!(tables instanceof RunTables)) {
    holds(expected?.refused !== undefined, `what has room is not refused: ${tables.message}`)
    return "refused"
  }
  same(expected?.refused, undefined, "what has no room is refused")
  const addresses = addressesOf(scene, tables, memory, context)
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
  const described = tables.describe()
  if (scene.coalesceMaxBytes === 0) {
    same(described.hostToDeviceBytes, logical(isIn), "exactly the logical bytes go to the device")
    same(described.deviceToHostBytes, logical(isOut), "exactly the logical bytes come back")
  }
  if (tables.plan !== undefined) {
    same(described.bufferBytes - described.paddingBytes, logical(() => true), "padding is all that is not a tensor")
  }
  return "ran"
}

const move = (memory: FakeMemory, moves: Moves): void => {
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

    it(`are right by exact arithmetic for 20,000 requests up to 2^53 of seed ${seed}`, { timeout: 120_000 }, () => {
      const random = new Random(seed + 1)
      let planned = 0
      for (let count = 0; count < 20_000; count++) {
        planned += checkLarge(random) ? 1 : 0
      }
      assert.isAtLeast(planned, 2000)
      assert.isAtMost(planned, 18_000)
    })
  }
})

/** One request with sizes and chunks around 2^31, 2^32 and 2^53, against the model. Answers whether it was planned. */
const checkLarge = (random: Random): boolean => {
  const tensors = randomTensors(random, 5)
  const rules: SliceRules = {
    alignmentBytes: 2 ** random.below(31),
    granularityBytes: random.pick([1, 32, 48, 512, 2 ** 21]),
    tailBytes: random.pick([0, 32, 2 ** 16])
  }
  let next = 1 + random.below(1000)
  const chunks = random.list(3, () => {
    const base = next
    const capacity = random.pick([2 ** 31, 2 ** 32, 2 ** 33, 2 ** 45, 2 ** 51]) + random.below(2000) - 1000
    next += capacity + random.below(1000)
    return { base: BigInt(base), capacity: BigInt(capacity), used: 0n }
  })
  const request: PlanRequest = {
    byteCounts: Float64Array.from(tensors, ({ byteCount }) => byteCount),
    roles: Uint8Array.from(tensors, ({ role }) => Role[role]),
    baseAddresses: chunks.map(({ base }) => Number(base)),
    capacityBytes: chunks.map(({ capacity }) => Number(capacity)),
    rules
  }
  const made = makePlan(request)
  comparePlan(made, request, tensors, planOf(chunks, modelRules(rules), tensors))
  return made._tag === "Plan"
}
