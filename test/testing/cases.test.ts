/** Cases as text: what a report names can be read again, and nothing else can. */
import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { faultKinds, format, forms, parse, persistences, timings } from "../../src/internal/testing/cases.ts"
import { operationKinds } from "../../src/internal/testing/operations.ts"

const faultPoint = fc.record({
  operation: fc.nat(10_000),
  target: fc.constantFrom(...operationKinds),
  kind: fc.constantFrom(...faultKinds),
  timing: fc.constantFrom(...timings),
  persistence: fc.constantFrom(...persistences)
})

const interruptPoint = fc.record({
  step: fc.nat(1_000_000),
  target: fc.constantFrom("root" as const, "current" as const),
  mode: fc.constantFrom("every" as const, "reachable" as const)
})

const anyCase = fc.record({
  form: fc.constantFrom(...forms),
  faults: fc.array(faultPoint, { maxLength: 2 }),
  interrupt: fc.option(interruptPoint, { nil: undefined })
})

describe("a case", () => {
  it("is read as it was written", () => {
    fc.assert(fc.property(anyCase, (given) => assert.deepStrictEqual(parse(format(given)), given)), { numRuns: 1000 })
  })

  it("is named in a way that people can read", () => {
    assert.strictEqual(
      format({
        form: "effects",
        faults: [{ operation: 3, target: "submit", kind: "outOfMemory", timing: "before", persistence: "once" }],
        interrupt: { step: 12, target: "root", mode: "every" }
      }),
      "effects operation=3,submit,outOfMemory,before,once step=12,root,every"
    )
  })

  it("that is misspelt anywhere is none", () => {
    for (
      const text of [
        "",
        " ",
        "effect",
        "effects operation",
        "effects operation=",
        "effects operation=,submit,error,before,once",
        "effects operation=-1,submit,error,before,once",
        "effects operation=1.5,submit,error,before,once",
        "effects operation=1,submits,error,before,once",
        "effects operation=1,submit,errors,before,once",
        "effects operation=1,submit,error,during,once",
        "effects operation=1,submit,error,before,twice",
        "effects step=12,leaf,every",
        "effects step=12,root,some",
        "effects task=12,root,every"
      ]
    ) {
      assert.isUndefined(parse(text), text)
    }
  })
})
