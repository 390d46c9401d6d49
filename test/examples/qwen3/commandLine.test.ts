import * as Command from "@effect/cli/Command"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, layer } from "@effect/vitest"
import type * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { DeviceRunner, Simulator } from "leasehold"
import * as Failure from "../../../examples/qwen3-decode/failure.ts"
import { options, type Request } from "../../../examples/qwen3-decode/options.ts"
import { program, type RunnerLayer } from "../../../examples/qwen3-decode/program.ts"
import { writeModel } from "./makeModel.ts"

/** What the command line writes, and the requests that it hands on. */
const read = (...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const requests: Array<Request> = []
    const write = (...values: ReadonlyArray<unknown>) => Effect.sync(() => lines.push(values.join(" ")))
    const console = { ...(yield* Effect.console), log: write, error: write } satisfies Console.Console
    const command = Command.make("qwen3-decode", options, (request) => Effect.sync(() => requests.push(request)))
    const run = Command.run(command, { name: "qwen3-decode", version: "0.0.0" })(["node", "main.ts", ...args])
    const exit = yield* Effect.exit(Effect.withConsole(run, console))
    return { succeeded: Exit.isSuccess(exit), text: lines.join("\n").trim(), request: requests[0] }
  })

const runnerLayer: RunnerLayer = ({ maxBytes, residentMaxBytes }) =>
  DeviceRunner.layer({ temporaryBuffer: { maxBytes }, residentMaxBytes }).pipe(Layer.provideMerge(Simulator.layer()))

/** The sentence with which a program refuses what the command line lets pass. */
const refusal = (...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { request } = yield* read("--json", ...args)
    const cause = yield* Effect.flip(Effect.sandbox(program(request!, runnerLayer)))
    return Failure.describe(cause, request!)
  })

const invalid: ReadonlyArray<readonly [string, ReadonlyArray<string>, RegExp]> = [
  ["an argument too many", ["more"], /'more'/],
  ["a negative number of steps", ["--steps", "-1"], /"-1" of --steps/],
  ["steps that are not whole", ["--steps=1.5"], /"1\.5" of --steps/],
  ["steps that are no number", ["--steps", "many"], /"many" of --steps/],
  ["a budget that is no size", ["--budget", "abc"], /^The value "abc" of --budget is not possible: it is a size/],
  ["a negative budget", ["--budget", "-4 MiB"], /"-4 MiB" of --budget/],
  ["a budget of zero", ["--budget", "0"], /"0" of --budget/],
  ["a negative temperature", ["--temperature", "-1"], /"-1" of --temperature .* from 0 to 100\.$/],
  ["a temperature that is too high", ["--temperature", "101"], /"101" of --temperature/],
  ["a temperature that is no number", ["--temperature", "0x10"], /"0x10" of --temperature/],
  ["a seed that is not whole", ["--seed", "1.5"], /"1\.5" of --seed .* from 0 to 4294967295\.$/],
  ["a seed of more than 32 bits", ["--seed", "4294967296"], /"4294967296" of --seed/]
]

const refusals: ReadonlyArray<readonly [string, ReadonlyArray<string>, RegExp]> = [
  ["an empty prompt", ["--prompt", ""], /^The prompt is empty/],
  ["more steps than positions", ["--steps", "495"], /take 513 positions, but the model has 512/],
  ["a budget beyond the device", ["--budget", "900 TiB"], /^The device has no 989560464998400 B/],
  ["a folder without a model", ["--model", "docs"], /^The model in docs cannot be used: config\.json cannot be read/]
]

describe("the command line of the decode example", () => {
  layer(NodeContext.layer)((it) => {
    it.effect("has a default for everything", () =>
      Effect.gen(function*() {
        const { request, succeeded } = yield* read()
        assert.isTrue(succeeded)
        assert.deepInclude(request, { prompt: "And it came to pass", steps: 64, temperature: 0, seed: 0, json: false })
        assert.strictEqual(request!.budgetBytes, 4 * 1024 * 1024)
        assert.match(request!.model, /examples\/qwen3-decode\/model$/)
      }))

    it.effect("takes what it is given", () =>
      Effect.gen(function*() {
        const text = ["--model", "m", "--prompt", "né", "--budget", "1.5 KiB", "--json"]
        const numbers = ["--steps", "3", "--temperature", "0.8", "--seed", "4294967295"]
        const { request } = yield* read(...text, ...numbers)
        assert.deepStrictEqual(request, {
          backend: "simulator",
          model: "m",
          prompt: "né",
          steps: 3,
          budgetBytes: 1536,
          temperature: 0.8,
          seed: 4_294_967_295,
          json: true
        })
      }))

    it.effect("lists its options", () =>
      Effect.gen(function*() {
        const { succeeded, text } = yield* read("--help")
        assert.isTrue(succeeded)
        for (const name of Object.keys(options)) {
          assert.include(text, `--${name === "budgetBytes" ? "budget" : name}`)
        }
      }))

    for (const [name, args, sentence] of invalid) {
      it.effect(`refuses ${name}`, () =>
        Effect.gen(function*() {
          const { request, succeeded, text } = yield* read(...args)
          assert.isFalse(succeeded)
          assert.isUndefined(request)
          assert.match(text, sentence)
        }))
    }

    for (const [name, args, sentence] of refusals) {
      it.effect(`lets ${name} pass, which the program refuses`, () =>
        Effect.gen(function*() {
          assert.match(yield* refusal(...args), sentence)
        }))
    }

    it.scoped("lets a model without a byte vocabulary pass, which the program refuses", () =>
      Effect.gen(function*() {
        const { folder } = yield* writeModel({ seed: 1, vocab: 61 })
        assert.match(yield* refusal("--model", folder), /^The model has a vocabulary of 61 tokens;/)
      }))
  })
})
