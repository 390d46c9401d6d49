/** A backend that is nobody's but the test's: it is compiled here, passes the contract of the host API, and carries runs. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Arg, Callable, DeviceRunner, NativeBackend } from "leasehold"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"
import { suite } from "../contract/hostApi.ts"
import { gate } from "../utils/kernels.ts"
import { nativeFolder } from "../utils/nativeFolder.ts"
import { failsWith } from "../utils/programs.ts"

const source = fileURLToPath(new URL("heap_backend.c", import.meta.url))
const native = fileURLToPath(new URL("../../native", import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "leasehold-backend-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** As docs/how-to/write-a-backend.md says. */
const build = (): string => {
  const output = join(folder, "libheap_backend.so")
  const common = readdirSync(join(native, "common")).filter((name) => name.endsWith(".c"))
  const sources = [source, ...common.map((name) => join(native, "common", name))]
  const flags = `-std=c11 -D_GNU_SOURCE -DLIBRARY_SUFFIX=".so" -O2 -Wall -Wextra -Werror -shared -fPIC -pthread`.split(
    " "
  )
  const folders = [`-I${native}`, `-I${join(native, "include")}`]
  execFileSync("cc", [...flags, "-fvisibility=hidden", ...folders, "-o", output, ...sources, "-ldl"])
  return output
}

const libraryPath = build()
const library = join(nativeFolder, "libleasehold_test_kernels.so")
const kernel = (symbol: string) => NativeBackend.kernel({ backend: "heap", library, symbol })

// #region use
const heap = NativeBackend.layer({ backend: "heap", libraryPath })

const copy = Callable.native({
  signature: { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) },
  kernels: [NativeBackend.kernel({ backend: "heap", library, symbol: "test_copy" })]
})
// #endregion

suite("a backend of somebody else", heap, { kernel, gate, immediate: true, keepsWorkers: true })

describe("a backend of somebody else", () => {
  it("has fewer than 200 lines of code", () => {
    const lines = readFileSync(source, "utf8").replaceAll(/\/\*[^]*?\*\//g, "").split("\n").filter((line) =>
      line.trim() !== ""
    )
    assert.isBelow(lines.length, 200)
  })

  it.scoped("carries runs", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const x = Uint8Array.from({ length: 100 }, (_, index) => index)
      const y = new Uint8Array(100)
      yield* runner.run(copy, { x, y })
      assert.deepStrictEqual(y, x)
      assert.strictEqual((yield* runner.stats).device.launches, 1)
    }).pipe(Effect.provide(DeviceRunner.layer({ temporaryBuffer: { maxBytes: "1 MiB" } }).pipe(Layer.provide(heap)))))

  for (
    const [option, options] of [
      ["backend", { backend: "Heap" }],
      ["device", { device: -1 }],
      ["settings", { settings: { name: "a value" } }],
      ["longCalls", { longCalls: "never" as "inline" }]
    ] as const
  ) {
    it.scoped(`refuses an option that is not valid: ${option}`, () =>
      Effect.map(
        failsWith(
          "InvalidConfiguration",
          Layer.build(NativeBackend.layer({ backend: "heap", libraryPath, ...options }))
        ),
        (error) => {
          assert.strictEqual(error.option, `NativeBackend.${option}`)
        }
      ))
  }

  it.scoped("is not available where its library is not", () =>
    Effect.map(
      failsWith(
        "BackendUnavailable",
        Layer.build(NativeBackend.layer({ backend: "heap", libraryPath: "/no/such/library.so" }))
      ),
      (error) => {
        assert.deepInclude(error, { backend: "heap", reason: "LibraryNotFound" })
      }
    ))
})
