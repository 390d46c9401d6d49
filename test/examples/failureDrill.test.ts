import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { failure, run } from "./child.ts"

const read = (path: string): string => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8")

/** The line of the broken program that allocates what it leaks. */
const allocatingLine = read("examples/failure-drill/broken.ts").split("\n")
  .findIndex((line) => line.includes("runner.allocate(")) + 1

/** What the page shows that the drill prints. */
const shown = /<!-- output: examples\/failure-drill\/main.ts -->\n\n```text\n([\s\S]*?)```/
  .exec(read("docs/how-to/test-your-cleanup.md"))?.[1]

/** How many steps a program takes is nobody's promise. */
const withoutStepCounts = (text: string): string =>
  text.replaceAll(/[\d,]+ (?=interruptions|times|other cases)/g, "N ").replaceAll(/step \d+ of \d+/g, "step N of N")

const drill = (...flags: ReadonlyArray<string>) => run("failure-drill/main.ts", flags)

// Each sweep keeps a core busy for seconds, and tests run beside it.
const timeoutMillis = 120_000

describe.concurrent("the failure drill", () => {
  it.effect(
    "shows the broken loop failing and then the mended one passing, as the page says",
    () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* drill()
        assert.match(stdout, /\n\nmended\.ts: \d+ operations, \d+ faults, [\d,]+ interruptions: clean\n$/)
        assert.isDefined(shown)
        assert.strictEqual(withoutStepCounts(stdout), withoutStepCounts(shown))
        assert.strictEqual(code, 0)
      }),
    timeoutMillis
  )

  it.effect(
    "finds the mistake: it names what leaked, the line that allocated it, and the operation and step that failed",
    () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* drill("--broken")
        assert.strictEqual(code, 1)
        assert.notInclude(stdout, "mended.ts")
        assert.match(stdout, /^broken\.ts: \d+ operations, \d+ faults, [\d,]+ interruptions: Leaked [\d,]+ times$/m)
        const [page = "", ...others] = stdout.split("\n").filter((line) => /^[A-Z][A-Za-z]+: /.test(line))
        assert.isEmpty(others, "one mistake has one page")
        assert.isAbove(allocatingLine, 0)
        assert.match(page, /^Leaked: still held when .*: 108 B of device memory for resident "float32 \[27\]", from /)
        assert.include(page, `from examples/failure-drill/broken.ts:${allocatingLine}:`)
        assert.match(
          stdout,
          /^ {2}case: +operation \d+ at step \d+ of \d+, submit for stage \(token, outputs and scratch\) of run 1, fails/m
        )
        assert.match(stdout, /^ {2}ended: +it failed: TransferFailed: /m)
        assert.match(
          stdout,
          /^ {2}replay: +FaultSweep\.assertClean\(program, \{ \.\.\.options, only: "immediate operation=/m
        )
      }),
    timeoutMillis
  )

  it.effect("ends with a sentence where it is asked for something else", () =>
    Effect.gen(function*() {
      assert.strictEqual(failure(yield* drill("--all")), "\"--all\" is not known: there are --broken and --mended")
    }), timeoutMillis)
})
