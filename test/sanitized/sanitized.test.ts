/**
 * The native simulator under the address sanitizer, in Node: a process with the sanitizer's runtime preloaded launches
 * kernels and is swept, and no wrong access is reported. That one would be is shown by processes that make a mistake.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { type Ended, ended } from "../examples/child.ts"
import { bundle, sanitizedEnvironment, sanitizedLibraries } from "../utils/bundle.ts"
import { pooledScenarios, unpooledScenarios } from "./programs.ts"

/** The status with which the sanitizer ends a process. Nothing else does. */
const reportedCode = 86

const taskMaxMillis = process.env["LEASEHOLD_LONG"] === "1" ? 3_600_000 : 180_000

/** Processes at a time: each keeps a core busy. */
const turn = Effect.unsafeMakeSemaphore(2)

/** Runs a task of `child.ts` to its end. */
const run = (task: string): Effect.Effect<Ended> =>
  turn.withPermits(1)(Effect.scoped(Effect.gen(function*() {
    const program = yield* bundle({ entry: "sanitized/child.ts", libraries: sanitizedLibraries })
    const child = spawn(process.execPath, [program, task], {
      env: {
        ...process.env,
        ...yield* sanitizedEnvironment,
        // Node itself leaks on purpose when it ends.
        ASAN_OPTIONS: `detect_leaks=0:exitcode=${reportedCode}`,
        UBSAN_OPTIONS: `exitcode=${reportedCode}`
      },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: taskMaxMillis,
      killSignal: "SIGKILL"
    })
    const written = { stdout: "", stderr: "" }
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text: string) => {
        written[stream] += text
      })
    }
    return yield* ended({ child, output: () => written })
  })))

/** What a process wrote that has ended well, and of which the sanitizer had nothing to say. */
const linesOf = ({ code, stderr, stdout }: Ended): ReadonlyArray<string> => {
  assert.strictEqual(code, 0, stderr)
  assert.notMatch(stderr, /Sanitizer|runtime error/)
  const lines = stdout.trimEnd().split("\n")
  assert.strictEqual(lines.at(-1), "lived")
  return lines.slice(0, -1)
}

interface Sweep {
  readonly name: string
  readonly faultCases: number
  readonly interruptCases: number
  readonly pointCount: number
  readonly coveredCount: number
  readonly failures: ReadonlyArray<string>
}

const mistakes: ReadonlyArray<readonly [sentence: string, task: string, access: "READ" | "WRITE", kernel: string]> = [
  ["reads one byte past its slice", "readsOnePastSlice", "READ", "test_touch"],
  ["writes the last byte before its neighbour", "writesPadding", "WRITE", "test_touch"],
  ["reads behind the last slice of a run, on a thread of the device", "readsBehindLastSlice", "READ", "test_touch"],
  ["reads a slice of a run that has ended", "readsReleasedSlice", "READ", "test_remember"],
  ["reads an allocation that has been freed", "readsReleasedAllocation", "READ", "test_remember"]
]

describe.concurrent("under the address sanitizer", () => {
  it.effect(
    "a program without mistakes ends well, and nothing is reported",
    () =>
      Effect.map(run("correct"), (process) => {
        assert.deepStrictEqual(linesOf(process), [])
      }),
    taskMaxMillis
  )

  for (const [sentence, task, access, kernel] of mistakes) {
    it.effect(
      `a kernel that ${sentence} is stopped, and the report names it`,
      () =>
        Effect.map(run(task), ({ code, stderr, stdout }) => {
          assert.deepStrictEqual([code, stdout], [reportedCode, ""], stderr)
          assert.match(stderr, /ERROR: AddressSanitizer: use-after-poison on address/)
          assert.match(stderr, new RegExp(`${access} of size 1 at .*\\n    #0 .* in ${kernel} .*test_kernels\\.c:\\d+`))
        }),
      taskMaxMillis
    )
  }

  const sweeps = [
    ["with their budget", "sweepPooled", pooledScenarios],
    ["without any", "sweepUnpooled", unpooledScenarios]
  ] as const
  for (const [name, task, scenarios] of sweeps) {
    it.effect(
      `scenarios that fail and are interrupted everywhere touch nothing they should not, ${name}`,
      () =>
        Effect.map(run(task), (process) => {
          const lines = linesOf(process).filter((line) => line.startsWith("{"))
          const sweeps = lines.map((line): Sweep => JSON.parse(line))
          assert.deepStrictEqual(sweeps.flatMap(({ failures }) => failures), [])
          assert.deepStrictEqual(sweeps.map((sweep) => sweep.name), scenarios.map((scenario) => scenario.name))
          for (const sweep of sweeps) {
            assert.isAbove(sweep.faultCases + sweep.interruptCases, 900)
            assert.strictEqual(sweep.coveredCount, sweep.pointCount)
          }
        }),
      taskMaxMillis
    )
  }
})
