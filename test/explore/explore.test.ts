/** A part of `npm run explore`, small enough for every test run, and what it says of programs that are wrong. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Gate } from "../../src/internal/runner/gate.ts"
import { isClean, programs, share, summarize, wholePreemptions } from "./campaign.ts"
import { defectKinds, type Program } from "./program.ts"
import { exploreAll } from "./tree.ts"

const named = (name: string): Program => {
  const program = programs.find((program) => program.name === name)
  assert.isDefined(program, name)
  return program
}

const noDefects = Object.fromEntries(defectKinds.map((kind) => [kind, 0]))

describe("all schedules with up to three preemptions", () => {
  for (
    const [name, leastCount] of [
      ["gate: two", 500],
      ["gate: two, one is interrupted", 5000],
      ["gate: two, and it breaks", 6000],
      ["lanes: two exclusively", 2500],
      ["runner, 2 slots [immediate]: two run", 40]
    ] as const
  ) {
    it(`of "${name}" are clean`, () => {
      const report = exploreAll(named(name), { preemptions: 3, maxWholeCount: 100_000, sampleCount: 0, seed: 1 })
      assert.deepStrictEqual(report.defects, noDefects, JSON.stringify(report.found))
      assert.isAtLeast(report.schedules, leastCount)
      assert.strictEqual(wholePreemptions(report), 3)
      assert.strictEqual(share(report), 1)
    })
  }
})

describe("a sample of the schedules", () => {
  for (
    const name of [
      "runner, 2 slots [immediate]: one large, two small",
      "runner, 2 slots [effects]: one that waits for memory is interrupted",
      "runner, 2 slots [immediate]: the runner closes",
      "runner, 1 slot [immediate]: a deadline of two that wait",
      "runner, 2 slots [immediate]: two of a child budget, one beside it",
      "runner, 2 slots [immediate]: the buffer grows",
      "runner, 2 slots [immediate]: the buffer is trimmed"
    ]
  ) {
    it(`of "${name}" is clean, and says that it is a sample`, () => {
      const report = exploreAll(named(name), { preemptions: 3, maxWholeCount: 120, sampleCount: 40, seed: 1 })
      assert.deepStrictEqual(report.defects, noDefects, JSON.stringify(report.found))
      assert.isAtLeast(report.schedules, 160)
      assert.isBelow(wholePreemptions(report), 3)
      assert.isBelow(share(report), 0.5)
      const { partial } = summarize([report])
      assert.deepStrictEqual(partial.map(({ program, tried }) => [program, tried]), [[name, report.schedules]])
    })
  }
})

/** A gate program with a door of its own. */
const behind = (through: (gate: Gate, work: Effect.Effect<void>) => Effect.Effect<void>): Program => ({
  name: "wrong",
  fiberCount: 2,
  isDisturbed: false,
  make: (stage) => {
    let inside = 0
    let most = 0
    const gate = new Gate(() => undefined)
    const work = Effect.suspend(() => {
      inside += 1
      most = Math.max(most, inside)
      return Effect.sync(() => void (inside -= 1))
    })
    return {
      fibers: { a: through(gate, work), b: through(gate, work) },
      judge: () => {
        let isFree = false
        try {
          stage.apart(gate.through(Effect.sync(() => void (isFree = true))))
        } catch {
          // It waits for nobody.
        }
        return [
          ...(most > 1 ? [{ kind: "overlaps", detail: "two were inside at once" } as const] : []),
          ...(isFree ? [] : [{ kind: "permitsLost", detail: "the gate is taken" } as const])
        ]
      }
    }
  }
})

describe("a program that is wrong", () => {
  const bounds = { preemptions: 3, maxWholeCount: 10_000, sampleCount: 0, seed: 1 }

  it("is clean where it is right", () => {
    assert.deepStrictEqual(exploreAll(behind((gate, work) => gate.through(work)), bounds).defects, noDefects)
  })

  it("is found to let two in at once", () => {
    const report = exploreAll(behind((_gate, work) => work), bounds)
    assert.isAbove(report.defects.overlaps, 0)
    assert.isFalse(isClean(summarize([report])))
    assert.match(report.found[0]!.schedule, /^effects (step|task)=/)
  })

  it("is found to wait for ever, and to keep the gate", () => {
    const report = exploreAll(behind((gate, work) => gate.through(Effect.zipRight(work, Effect.never))), bounds)
    assert.isAbove(report.defects.lostWakeups, 0)
    assert.isAbove(report.defects.permitsLost, 0)
  })
})
