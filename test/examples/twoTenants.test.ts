import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { failure, run } from "./child.ts"

const tenants = (...args: ReadonlyArray<string>) => run("two-tenants/main.ts", args)

const Report = Schema.parseJson(Schema.Struct({
  tenants: Schema.Array(Schema.Struct({
    name: Schema.String,
    clients: Schema.Int,
    reservedBytes: Schema.Int,
    maxBytes: Schema.Int,
    runs: Schema.Int,
    refused: Schema.Int,
    highWaterBytes: Schema.Int,
    medianMillis: Schema.Number
  })),
  slots: Schema.Int,
  overlap: Schema.Boolean,
  budgetBytes: Schema.Int,
  retainedBytes: Schema.Int,
  highWaterBytes: Schema.Int,
  runs: Schema.Int,
  failed: Schema.Int,
  waited: Schema.Int,
  refused: Schema.Int,
  longestQueue: Schema.Int,
  deviceMallocs: Schema.Int
}))

// Each starts a process that keeps a core busy for a second, and tests run beside it.
const timeoutMillis = 60_000

const invalid: ReadonlyArray<readonly [string, ReadonlyArray<string>, RegExp]> = [
  ["no fibers", ["--clients", "0"], /"0" of --clients .* from 1 to 256\.$/],
  ["requests that are no number", ["--requests", "many"], /"many" of --requests .* from 1 to 1000\.$/],
  ["too many slots", ["--slots=65"], /"65" of --slots .* from 1 to 64\.$/],
  ["a budget of zero", ["--budget", "0"], /"0" of --budget .* a size above zero/],
  [
    "a budget in which nothing fits",
    ["--budget", "20 KiB"],
    // Whoever of the two tenants comes first.
    /^"serve" needs 16384 B, .* it fits with \d+ B\.$|^A run of serve that needs \d+ B does not fit into the 10240 B of "b":/
  ],
  ["a budget beyond the device", ["--budget", "90 TiB"], /^The device has no 98956046499840 B /],
  ["an argument too many", ["more"], /'more'/]
]

describe.concurrent("two tenants on one runner", () => {
  it.effect(
    "share it: a is never refused, b stays within its quota, and every request has run or was refused",
    () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* tenants("--json")
        assert.strictEqual(code, 0, stderr)
        const report = yield* Schema.decode(Report)(stdout.trimEnd().split("\n").at(-1)!)
        const [a, b] = report.tenants
        assert.deepInclude(a, { name: "a", clients: 8, reservedBytes: 65_536, maxBytes: 262_144 })
        assert.deepInclude(b, { name: "b", clients: 32, reservedBytes: 0, maxBytes: 131_072 })
        assert.deepInclude(a, { runs: 200, refused: 0 })
        assert.strictEqual(b!.runs + b!.refused, 800)
        assert.isAbove(b!.refused, 0, "32 fibers do not have room in a queue of 8")
        assert.isAtMost(b!.highWaterBytes, b!.maxBytes)
        assert.isAbove(a!.highWaterBytes, 0)
        assert.deepInclude(report, { slots: 16, overlap: true, failed: 0, deviceMallocs: 1 })
        assert.strictEqual(report.runs, a!.runs + b!.runs)
        assert.strictEqual(report.refused, b!.refused)
        assert.isAbove(report.waited, 0)
        assert.isAtMost(report.waited, report.runs + report.refused)
        assert.strictEqual(report.retainedBytes, report.budgetBytes)
        assert.isAtMost(report.highWaterBytes, report.budgetBytes)
        assert.isAtLeast(report.longestQueue, 8)
        assert.isAtMost(report.longestQueue, 16, "each tenant has room for 8")
        assert.match(stderr, /^ +tenant a +tenant b +runner$/m)
      }),
    timeoutMillis
  )

  it.effect("print a table, and take what the command line asks for", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* tenants("--clients", "2", "--requests", "3", "--slots", "2")
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
      // Two fibers of a and eight of b find room in queues of eight, so all requests run.
      assert.match(stdout, /^fibers +2 +8$/m)
      assert.match(stdout, /^runs +6 +24 +30$/m)
      assert.match(stdout, /^refused +0 +0 +0$/m)
      assert.match(stdout, /^reserved +64 KiB +- +64 KiB$/m)
    }), timeoutMillis)

  for (const [name, args, sentence] of invalid) {
    it.effect(`end with a sentence for ${name}`, () =>
      Effect.gen(function*() {
        assert.match(failure(yield* tenants(...args)), sentence)
      }), timeoutMillis)
  }
})
