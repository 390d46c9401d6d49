/** The CUDA backend over the loopback driver, which launches the example's kernels on the host. */
import { Effect, Layer } from "effect"
import { HostApi } from "leasehold"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Loopback from "../../utils/loopback.ts"
import { library } from "./cudaHarness.ts"

/** The kernels as a module of the loopback driver. */
const module = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "leasehold-qwen3-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => {
    const path = join(folder, "qwen3_decode.loopback")
    writeFileSync(path, `leasehold loopback module\nlibrary=${library}\n`)
    return path
  }
)

/** A device on which every module is that of the host kernels. */
export const layer = Layer.scoped(
  HostApi.HostApi,
  Effect.gen(function*() {
    const path = yield* module
    const api = yield* HostApi.HostApi
    return {
      ...api,
      loadKernel: (kernel, origin) => api.loadKernel(Object.assign({}, kernel, { module: path }), origin)
    } satisfies HostApi.Service
  })
).pipe(Layer.provide(Loopback.layer({ totalBytes: 256 * 2 ** 20 })))
