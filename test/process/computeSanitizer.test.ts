/**
 * Steps on a GPU under `compute-sanitizer`, where that is installed; otherwise the same program without it. It watches what
 * kernels read and write, but cannot see past a slice inside a chunk, and so it watches runs without a budget too, in which each
 * tensor has memory of its own.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { bundle } from "../utils/bundle.ts"
import * as CudaDevice from "../utils/cudaDevice.ts"

const isInstalled = CudaDevice.mode === "device" &&
  spawnSync("compute-sanitizer", ["--version"], { stdio: "ignore" }).status === 0

/** What the sanitizer ends with where it has found something. */
const foundCode = 86

const sanitizer = ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", String(foundCode)]

const run = (program: string, maxBytes: number) => {
  const node = [process.execPath, program, String(maxBytes)]
  const [command, ...args] = isInstalled ? [...sanitizer, ...node] : node
  return spawnSync(command!, args, { encoding: "utf8", timeout: 240_000, env: { ...process.env, NODE_OPTIONS: "" } })
}

describe(`steps on a CUDA device, ${isInstalled ? "under" : "without"} compute-sanitizer`, () => {
  for (const maxBytes of [65_536, 0]) {
    it.scopedLive(`read and write what is theirs, with a budget of ${maxBytes} B`, () =>
      Effect.gen(function*() {
        const { signal, status, stderr, stdout } = run(yield* bundle({ entry: "process/steps.ts" }), maxBytes)
        assert.deepStrictEqual([status, signal], [0, null], `${stdout}${stderr}`)
      }), 300_000)
  }
})
