/** Plans by exact arithmetic: sizes and chunks around 2^31, 2^32 and 2^53, against the model. */
import { assert, describe, it } from "@effect/vitest"
import type { SliceRules } from "../../src/internal/core/bumpAllocator.ts"
import { makePlan, type PlanRequest, Role } from "../../src/internal/core/plan.ts"
import { RangeAllocator } from "../../src/internal/core/rangeAllocator.ts"
import { comparePlan } from "./comparePlan.ts"
import { tensors as randomTensors } from "./coreCommands.ts"
import { modelRules, planOf, usableChunk } from "./coreModel.ts"
import { campaignSeeds, Random } from "./random.ts"

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
    return { base, capacity }
  })
  const space = new RangeAllocator(
    chunks.map(({ base }) => base),
    chunks.map(({ capacity }) => capacity),
    rules.alignmentBytes
  )
  const modelChunks = chunks.map(({ base, capacity }) =>
    usableChunk(BigInt(base), BigInt(capacity), BigInt(rules.alignmentBytes))
  )
  const request: PlanRequest = {
    byteCounts: Float64Array.from(tensors, ({ byteCount }) => byteCount),
    roles: Uint8Array.from(tensors, ({ role }) => Role[role]),
    capacityBytes: space.usableBytes(),
    rules
  }
  const made = makePlan(request)
  const rangeAddresses = modelChunks.map(({ base }) => Number(base))
  comparePlan(made, request, tensors, planOf(modelChunks, modelRules(rules), tensors), rangeAddresses)
  return made._tag === "Plan"
}

describe("plans", () => {
  for (const seed of campaignSeeds()) {
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
