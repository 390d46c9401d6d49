/** The mutants fit the sources of today. Whether the sweeps kill them is for the campaign to say. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { bundle } from "../../utils/bundle.ts"
import { allScenarios } from "../scenarios/index.ts"
import { askedFor, missingMutants, mutants } from "./index.ts"
import { mutate, mutated, plant } from "./plant.ts"

/** What is in `values` more than once. */
const repeated = (values: ReadonlyArray<string>): ReadonlyArray<string> =>
  values.filter((value, index) => values.indexOf(value) !== index)

describe("mutants", () => {
  for (const mutant of mutants) {
    it.effect(`"${mutant.name}" replaces a text that is there exactly once`, () =>
      Effect.gen(function*() {
        const text = yield* mutated(mutant)
        assert.include(text, mutant.replace)
        assert.notStrictEqual(mutant.replace, mutant.find)
      }))
  }

  it("have names of their own", () => {
    assert.deepStrictEqual(repeated(mutants.map(({ name }) => name)), [])
    assert.deepStrictEqual(repeated(mutants.map(({ file, find, replace }) => `${file}\n${find}\n${replace}`)), [])
  })

  it("are all that were asked for, planted or missing with a reason", () => {
    const planted = new Set(mutants.map(({ name }) => name))
    const missing = new Set(missingMutants.map(({ name }) => name))
    assert.strictEqual(new Set(askedFor).size, 15)
    for (const name of askedFor) {
      assert.notStrictEqual(planted.has(name), missing.has(name), name)
    }
    for (const { name, reason } of missingMutants) {
      assert.isNotEmpty(reason, name)
    }
  })

  it("name scenarios that there are", () => {
    const known = new Set(allScenarios.map(({ name }) => name))
    for (const mutant of mutants) {
      assert.deepStrictEqual(mutant.scenarios.filter((name) => !known.has(name)), [], mutant.name)
    }
    assert.deepStrictEqual(repeated(allScenarios.map(({ name }) => name)), [])
  })

  it.effect("that fit twice, or not at all, are refused", () =>
    Effect.gen(function*() {
      const mutant = { ...mutants[0]!, find: "one", replace: "$& two" }
      assert.strictEqual((yield* Effect.flip(mutate(mutant, "one one"))).count, 2)
      assert.strictEqual((yield* Effect.flip(mutate(mutant, "nothing"))).count, 0)
      assert.strictEqual(yield* mutate(mutant, "only one"), "only $& two")
    }))

  it.effect("are planted in a program that goes with its scope", () =>
    Effect.gen(function*() {
      const texts = yield* Effect.forEach(
        [mutants[0], mutants[1], undefined, undefined],
        (mutant) => Effect.scoped(Effect.map(plant(mutant), (program) => readFileSync(program, "utf8")))
      )
      assert.strictEqual(new Set(texts).size, 3)
      assert.strictEqual(texts[2], texts[3])
      let planted = ""
      const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
        planted = yield* plant(mutants[0])
        assert.isTrue(existsSync(join(dirname(planted), "../../native/build")))
        return yield* Effect.fail("the sweeps failed")
      })))
      assert.deepStrictEqual(exit, Exit.fail("the sweeps failed"))
      assert.isFalse(existsSync(planted))
      // The link to the native libraries goes, and not what it leads to.
      assert.isTrue(existsSync(new URL("../../../native/build", import.meta.url)))
    }))

  it.effect("of sources that the program does without are refused", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.scoped(bundle({
        entry: "faults/mutants/sweepMutant.ts",
        rewrite: { source: "nowhere.ts", text: "" }
      })))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.include(String(exit), "does without nowhere.ts")
    }))
})
