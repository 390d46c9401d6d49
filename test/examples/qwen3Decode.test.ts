import { NodeContext } from "@effect/platform-node"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type Ended, ended, failure, run, start } from "./child.ts"
import { cases } from "./qwen3/golden.ts"
import { writeModel } from "./qwen3/makeModel.ts"

const main = "qwen3-decode/main.ts"

const golden = cases.find(({ prompt }) => prompt === "And it came to p")!

/** What `--json` ends with. */
interface Report {
  readonly backend: string
  readonly tokens: ReadonlyArray<number>
  readonly text: string
  readonly matchesReference: boolean
  readonly maxAbsLogitError: number
  readonly budgetBytes: number
  readonly retainedBytes: number
  readonly highWaterBytes: number
  readonly paddingBytes: number
  readonly steadyState: {
    readonly deviceMallocs: number
    readonly deviceFrees: number
    readonly stageCallsPerStep: number
    readonly copyBackCallsPerStep: number
  }
  readonly zeroBudget: { readonly deviceMallocsPerStep: number; readonly deviceFreesPerStep: number }
  readonly sameTokensInBothModes: boolean
}

const report = ({ code, stderr, stdout }: Ended): Report => {
  assert.strictEqual(code, 0, stderr)
  return JSON.parse(stdout.trimEnd().split("\n").at(-1)!)
}

/** What every decode has to show, whatever the model. */
const assertSound = (shown: Report): void => {
  assert.isTrue(shown.matchesReference)
  assert.isTrue(shown.sameTokensInBothModes)
  assert.isAtMost(shown.maxAbsLogitError, 1e-3)
  assert.isAbove(shown.maxAbsLogitError, 0)
  assert.deepInclude(shown.steadyState, {
    deviceMallocs: 0,
    deviceFrees: 0,
    stageCallsPerStep: 1,
    copyBackCallsPerStep: 1
  })
  // One for each tensor that is neither resident nor a scalar: tokens, positions, workspace, logits.
  assert.deepInclude(shown.zeroBudget, { deviceMallocsPerStep: 4, deviceFreesPerStep: 4 })
}

describe.concurrent("the decode example", { timeout: 60_000 }, () => {
  it.effect("shows the text, a progress bar and a table", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* run(main, ["--prompt", golden.prompt])
      assert.strictEqual(code, 0, stderr)
      assert.isTrue(stdout.startsWith(`${golden.prompt}${golden.greedy_text}\n`))
      assert.match(stdout, /budget 4 MiB +zero budget$/m)
      assert.match(stdout, /^device mallocs per step +0 +4$/m)
      assert.match(stdout, /^device frees per step +0 +4$/m)
      assert.match(stdout, /^retained between runs +4 MiB +0 B$/m)
      assert.match(stdout, /^time per step, median +\d+ µs +\d+ µs$/m)
      assert.match(stdout, /^Both modes chose the same tokens\. All logits are at most \S+ from those of the float64/m)
      assert.match(stderr, /^\[#+\] 64\/64 tokens with a budget of 4 MiB$/m)
      assert.match(stderr, /^\[#+\] 64\/64 tokens with a zero budget$/m)
    }))

  it.effect(
    "reports in one line of JSON that it mallocs nothing in the steady state, and computes what it should",
    () =>
      Effect.gen(function*() {
        const ended = yield* run(main, ["--prompt", golden.prompt, "--json"])
        assert.strictEqual(ended.stdout.trimEnd().split("\n").length, 1)
        const shown = report(ended)
        assertSound(shown)
        assert.deepInclude(shown, {
          backend: "simulator",
          tokens: golden.greedy_tokens,
          text: golden.greedy_text,
          budgetBytes: 4 * 1024 * 1024,
          retainedBytes: 4 * 1024 * 1024
        })
        assert.isAbove(shown.highWaterBytes, 0)
        assert.isAtMost(shown.highWaterBytes, shown.retainedBytes)
        assert.isBelow(shown.paddingBytes, shown.highWaterBytes)
      }),
    60_000
  )

  it.effect("draws the same tokens in both modes where the temperature is above zero", () =>
    Effect.gen(function*() {
      const args = ["--temperature", "1", "--seed", "7", "--steps", "24"]
      const shown = report(yield* run(main, ["--json", "--prompt", golden.prompt, ...args]))
      assertSound(shown)
      assert.notDeepEqual(shown.tokens, golden.greedy_tokens.slice(0, 24))
    }))

  it.effect("reads bytes that are no ASCII, and says what it did not measure", () =>
    Effect.gen(function*() {
      const ended = yield* run(main, ["--json", "--prompt", "café \u{1F600}", "--steps", "1"])
      const shown = report(ended)
      assert.isTrue(shown.matchesReference)
      assert.isNull(shown.steadyState)
      assert.isNull(shown.zeroBudget)
    }))

  it.effect("goes on in silence when its reader has gone", () =>
    Effect.gen(function*() {
      const decoding = start(main, ["--steps", "2"])
      decoding.child.stdout!.destroy()
      const { code, stderr } = yield* ended(decoding)
      assert.strictEqual(code, 0)
      assert.notMatch(stderr, /EPIPE/)
    }))

  it.effect("makes do with the budget that a refusal suggests", () =>
    Effect.gen(function*() {
      const refusal = failure(yield* run(main, ["--budget", "1 KiB"]))
      assert.match(refusal, /^The budget is too small: .* the largest are "workspace"/)
      const suggested = / give --budget (\d+) or more\.$/.exec(refusal)![1]!
      const shown = report(yield* run(main, ["--json", "--budget", suggested]))
      assertSound(shown)
      assert.strictEqual(shown.retainedBytes, Number(suggested))
    }))
})

describe.concurrent("the decode example with a model that", { timeout: 60_000 }, () => {
  layer(NodeContext.layer)((it) => {
    it.scoped("has a head of its own and mixed element types is sound", () =>
      Effect.gen(function*() {
        const { folder } = yield* writeModel({ seed: 1, vocab: 256, tied: false, dtype: "mixed" })
        assertSound(report(yield* run(main, ["--json", "--model", folder, "--prompt", "Abc", "--steps", "30"])))
      }))

    it.scoped("holds no numbers is refused", () =>
      Effect.gen(function*() {
        const { folder } = yield* writeModel({ seed: 1, vocab: 256, sharpness: NaN })
        const ended = yield* run(main, ["--model", folder, "--prompt", "Abc", "--steps", "8"])
        assert.match(failure(ended), /^The model's logits are not numbers/)
      }))
  })
})

const refusals: ReadonlyArray<readonly [string, ReadonlyArray<string>, RegExp]> = [
  ["an unknown option", ["--bogus"], /'--bogus'/],
  ["no step", ["--steps", "0"], /^The value "0" of --steps is not possible: it is a whole number of at least 1\.$/],
  ["a prompt that is too long", ["--prompt", "x".repeat(600)], /^A prompt of 600 tokens .* the model has 512/],
  ["a missing model", ["--model", "no/such/folder"], /^The model in no\/such\/folder cannot be used: config\.json /]
]

// What else is refused is in `qwen3/commandLine.test.ts`; these show that a refusal ends a process as it should.
describe.concurrent("the decode example refuses", { timeout: 60_000 }, () => {
  for (const [name, args, sentence] of refusals) {
    it.effect(`${name}, with a sentence`, () =>
      Effect.gen(function*() {
        const ended = yield* run(main, ["--json", ...args])
        assert.strictEqual(ended.stdout, "")
        assert.match(failure(ended), sentence)
      }))
  }
})
