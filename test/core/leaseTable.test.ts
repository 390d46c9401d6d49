import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { LeaseKind, LeaseTable } from "../../src/internal/core/leaseTable.ts"
import { holds, same } from "./same.ts"

const { bufferNoop, externalNoop, free } = LeaseKind

/** An entry as a plain model keeps it. */
interface Entry {
  kind: LeaseKind
  state: "vacant" | "held" | "settled"
  address: number
  byteCount: number
}

type Command =
  | { readonly _tag: "declareFree" | "release" | "quarantine" | "moveTo"; readonly index: number }
  | { readonly _tag: "hold"; readonly index: number; readonly kind: LeaseKind }

const otherCommands = ["declareFree", "release", "quarantine", "moveTo"] as const

const tableSize = 6

const index = fc.nat(tableSize - 1)

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.tuple(index, fc.constantFrom<LeaseKind>(free, free, bufferNoop, externalNoop)).map((
      [index, kind]
    ): Command => ({ _tag: "hold", index, kind }))
  },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constantFrom(...otherCommands), index).map((
      [_tag, index]
    ): Command => ({ _tag, index }))
  }
)

/** Whether a command is allowed, and what it does to the model. */
const predict = (entry: Entry, step: Command, address: number): boolean => {
  const isHeldMalloc = entry.state === "held" && entry.kind === free
  switch (step._tag) {
    case "declareFree":
      if (entry.state !== "vacant") {
        return false
      }
      Object.assign(entry, { kind: free, byteCount: 64 })
      return true
    case "hold":
      if (isHeldMalloc) {
        return false
      }
      Object.assign(entry, { kind: step.kind, state: "held", address, byteCount: 32 })
      return true
    case "release":
    case "quarantine":
      if (!isHeldMalloc) {
        return false
      }
      entry.state = "settled"
      return true
    default:
      if (entry.kind !== externalNoop && entry.kind !== bufferNoop) {
        return false
      }
      entry.address = address
      return true
  }
}

const execute = (table: LeaseTable, step: Command, address: number): void => {
  switch (step._tag) {
    case "declareFree":
      return table.declareFree(step.index, 64)
    case "hold":
      return table.hold(step.index, step.kind, address, 32)
    case "release":
      return table.release(step.index)
    case "quarantine":
      return table.quarantine(step.index)
    case "moveTo":
      return table.moveTo(step.index, address)
  }
}

const succeeds = (run: () => void): boolean => {
  try {
    run()
    return true
  } catch {
    return false
  }
}

const checkAgainst = (table: LeaseTable, model: ReadonlyArray<Entry>): void => {
  table.checkInvariants()
  const heldFree = [...model.keys()].filter((at) => model[at]!.kind === free && model[at]!.state === "held")
  same(table.heldFreeCount, heldFree.length)
  same(table.newestHeldFree(), heldFree.at(-1) ?? -1)
  for (const [at, entry] of model.entries()) {
    same(table.kinds[at], entry.kind)
    same(table.addresses[at], entry.address)
    same(table.byteCounts[at], entry.byteCount)
  }
}

const held = (): LeaseTable => {
  const table = new LeaseTable(1)
  table.hold(0, free, 4096, 8)
  return table
}

describe("LeaseTable", () => {
  it("does what a plain model does, and refuses what the model forbids, over 50,000 random commands", () => {
    const seen = { allowed: 0, refused: 0 }
    fc.assert(
      fc.property(fc.array(command, { minLength: 1, maxLength: 60, size: "max" }), (commands) => {
        const table = new LeaseTable(tableSize)
        const model = Array.from(
          { length: tableSize },
          (): Entry => ({ kind: LeaseKind.none, state: "vacant", address: 0, byteCount: 0 })
        )
        for (const [position, step] of commands.entries()) {
          const address = 4096 + position
          const allowed = predict(model[step.index]!, step, address)
          same(succeeds(() => execute(table, step, address)), allowed, step._tag)
          checkAgainst(table, model)
          seen[allowed ? "allowed" : "refused"] += 1
        }
      }),
      { numRuns: 2000 }
    )
    assert.isAtLeast(seen.allowed + seen.refused, 50_000)
    assert.isAtLeast(seen.allowed, 5000)
    assert.isAtLeast(seen.refused, 5000)
  })

  it.prop(
    "gives every malloc back once, the newest first, whatever else is held",
    [fc.array(fc.constantFrom<LeaseKind>(free, bufferNoop, externalNoop), { maxLength: 40 })],
    ([kinds]) => {
      const table = new LeaseTable(kinds.length)
      kinds.forEach((kind, at) => table.hold(at, kind, 1000 + at, 8))
      const settled: Array<number> = []
      for (let at = table.newestHeldFree(); at >= 0; at = table.newestHeldFree()) {
        if (at % 2 === 0) {
          table.release(at)
        } else {
          table.quarantine(at)
        }
        table.checkInvariants()
        settled.push(at)
      }
      const mallocs = [...kinds.keys()].filter((at) => kinds[at] === free)
      assert.deepStrictEqual(settled, mallocs.toReversed())
      holds(table.heldFreeCount === 0, "nothing is left to free")
    },
    { fastCheck: { numRuns: 300 } }
  )

  it("needs no pass over its entries when it holds no malloc", () => {
    const table = new LeaseTable(2)
    table.hold(0, bufferNoop, 4096, 8)
    table.hold(1, externalNoop, 8192, 8)
    assert.strictEqual(table.heldFreeCount, 0)
    assert.strictEqual(table.newestHeldFree(), -1)
  })

  it("declares a malloc that every run makes anew", () => {
    const table = new LeaseTable(1)
    table.declareFree(0, 64)
    assert.strictEqual(table.kinds[0], free)
    assert.strictEqual(table.byteCounts[0], 64)
    assert.strictEqual(table.newestHeldFree(), -1, "nothing is held yet")
    for (const address of [4096, 8192]) {
      table.hold(0, free, address, 64)
      assert.strictEqual(table.newestHeldFree(), 0)
      table.release(0)
      table.checkInvariants()
    }
  })

  it("asserts that a malloc is settled once", () => {
    for (const first of ["release", "quarantine"] as const) {
      for (const second of ["release", "quarantine"] as const) {
        const table = new LeaseTable(1)
        table.hold(0, free, 4096, 8)
        table[first](0)
        assert.throws(() => table[second](0), /settled exactly once/)
        assert.strictEqual(table.heldFreeCount, 0)
      }
    }
  })

  it("asserts that a held malloc is not forgotten", () => {
    for (const kind of [free, bufferNoop, externalNoop]) {
      const table = new LeaseTable(1)
      table.hold(0, free, 4096, 8)
      assert.throws(() => table.hold(0, kind, 8192, 8), /a held malloc is not forgotten/)
      assert.strictEqual(table.addresses[0], 4096)
      assert.strictEqual(table.heldFreeCount, 1)
    }
  })

  it("asserts that only a malloc is released", () => {
    const table = new LeaseTable(3)
    table.hold(0, bufferNoop, 4096, 8)
    table.hold(1, externalNoop, 4096, 8)
    for (const at of [0, 1, 2]) {
      assert.throws(() => table.release(at), /only a malloc is released/)
      assert.throws(() => table.quarantine(at), /only a malloc is released/)
    }
  })

  it("asserts that a declared malloc is held before it is released", () => {
    const table = new LeaseTable(1)
    table.declareFree(0, 8)
    assert.throws(() => table.release(0), /settled exactly once/)
  })

  it("asserts that a lease is declared before it is held", () => {
    const table = new LeaseTable(1)
    table.hold(0, bufferNoop, 4096, 8)
    assert.throws(() => table.declareFree(0, 8), /declared before it is held/)
  })

  it("asserts that a lease belongs to a tensor of the run", () => {
    const table = new LeaseTable(2)
    for (const at of [-1, 2, Number.NaN]) {
      assert.throws(() => table.hold(at, bufferNoop, 4096, 8), /belongs to a tensor/)
    }
  })

  it("asserts that what was malloc'd does not move", () => {
    const table = new LeaseTable(3)
    table.hold(0, externalNoop, 4096, 8)
    table.moveTo(0, 8192)
    table.hold(1, bufferNoop, 4096, 8)
    table.moveTo(1, 16384)
    assert.deepStrictEqual([...table.addresses], [8192, 16384, 0])
    table.hold(2, free, 4096, 8)
    assert.throws(() => table.moveTo(2, 8192), /does not move/)
  })

  it("finds out when a held malloc lost its address, its bytes or its kind", () => {
    const withoutAddress = held()
    withoutAddress.addresses[0] = 0
    assert.throws(() => withoutAddress.checkInvariants(), /has an address/)
    const withoutBytes = held()
    withoutBytes.byteCounts[0] = 0
    assert.throws(() => withoutBytes.checkInvariants(), /has bytes/)
    const withoutKind = held()
    withoutKind.kinds[0] = LeaseKind.none
    assert.throws(() => withoutKind.checkInvariants(), /has a kind/)
    const otherKind = held()
    otherKind.kinds[0] = bufferNoop
    assert.throws(() => otherKind.checkInvariants(), /are counted/)
  })
})
