/**
 * Admission against a reference model: a million random commands a seed, and whatever can be seen of both is the same.
 *
 * `LEASEHOLD_SEED` chooses the first seed, and with `LEASEHOLD_LONG=1` ten seeds are used. A failure names its seed, and
 * the few commands that are left of the failing sequence when it has been shrunk.
 */
import { assert, describe, it } from "@effect/vitest"
import { Account } from "../../src/internal/core/account.ts"
import { RangeAllocator } from "../../src/internal/core/rangeAllocator.ts"
import { runAdmissionCampaign } from "./admissionCampaign.ts"
import { campaignSeeds } from "./random.ts"

const commandCount = 1_000_000

/** Runs the campaign while a method does something else than it should. */
const withMistake = <O extends object, K extends keyof O>(owner: O, method: K, mistake: O[K]) => {
  const right = owner[method]
  owner[method] = mistake
  try {
    return runAdmissionCampaign({ seed: 7, commandCount: 20_000 }).differences
  } finally {
    owner[method] = right
  }
}

describe("admission", () => {
  for (const seed of campaignSeeds()) {
    it(
      `does what a plain model does, over ${commandCount} random commands of seed ${seed}`,
      { timeout: 240_000 },
      () => {
        const { commands, differences, outcomes } = runAdmissionCampaign({ seed, commandCount })
        if (differences.length > 0) {
          assert.fail(differences.join("\n\n"))
        }
        assert.isAtLeast(commands, commandCount)
        for (const [outcome, count] of Object.entries(outcomes)) {
          assert.isAtLeast(count, 100, `too few ${outcome} were seen`)
        }
        console.log(`admission model: ${commands.toLocaleString("en")} commands, seed ${seed}, 0 differences`)
      }
    )
  }

  it("is told from the model where a quota is not kept", () => {
    const differences = withMistake(Account.prototype, "hasQuotaFor", () => true)
    assert.isNotEmpty(differences)
    assert.isBelow(differences[0]!.split("\n").length, 20)
  })

  it("is told from the model where what would be if others ended is mistaken for what is", () => {
    const differences = withMistake(RangeAllocator.prototype, "withOnly", function(this: RangeAllocator) {
      return this
    })
    assert.isNotEmpty(differences)
    assert.isBelow(differences[0]!.split("\n").length, 20)
  })
})
