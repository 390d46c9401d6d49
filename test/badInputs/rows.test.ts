/** Executes the table of bad inputs on every form of the seam, and holds it against the page that describes it. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { forms, onEveryForm } from "../utils/forms.ts"
import { answersOf, execute } from "./row.ts"
import { rows } from "./rows.ts"

onEveryForm("bad inputs", (form) => {
  for (const row of rows.filter(({ isOutsideRunners }) => isOutsideRunners !== true || form === forms[0])) {
    for (const entry of row.entries) {
      it.effect(`row ${row.number}: ${row.input}, through ${entry.through}: ${entry.answer}`, () =>
        execute(form, row, entry))
    }
  }
})

/** The table of `docs/reference/errors.md`: number and answer. */
const described = new Map(
  readFileSync(new URL("../../docs/reference/errors.md", import.meta.url), "utf8")
    .split("## From case to class and reason")[1]!
    .split("\n")
    .map((line) => line.split(" | ").map((cell) => cell.replace(/^\| *| *\|?$/g, "").trim()))
    .filter(([number]) => /^\d+$/.test(number!))
    .map((cells) => [Number(cells[0]), cells.at(-1)!])
)

describe("the table of bad inputs", () => {
  it("has each of its 68 rows once", () => {
    assert.deepStrictEqual(rows.map(({ number }) => number), Array.from({ length: 68 }, (_, index) => index + 1))
    assert.deepStrictEqual([...described.keys()], rows.map(({ number }) => number))
  })

  it("tries something in every row, or says in a line why it does not apply", () => {
    for (const { doesNotApply, entries, number } of rows) {
      assert.isTrue(entries.length > 0 || doesNotApply !== undefined, `row ${number}`)
      assert.isTrue(doesNotApply === undefined || /^[a-z][^\n]+$/.test(doesNotApply), `row ${number}`)
    }
  })

  it("gives the answers that the reference page names, and no others", () => {
    for (const row of rows) {
      const answer = described.get(row.number)!
      assert.strictEqual(answer.startsWith("does not apply"), row.doesNotApply !== undefined, `row ${row.number}`)
      if (row.doesNotApply === undefined) {
        const named = [...answer.matchAll(/`([A-Z]\w+(?:: \w+)?)`/g)].map((match) => match[1]!)
        assert.sameMembers([...answersOf(row)], [...new Set(named)], `row ${row.number}`)
      }
    }
  })
})
