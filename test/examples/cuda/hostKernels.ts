/** The kernels of the decode example for a GPU, compiled for the host and launched by the loopback driver. */
import { Effect, Layer } from "effect"
import { HostApi } from "leasehold"
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Loopback from "../../utils/loopback.ts"

const root = fileURLToPath(new URL("../../..", import.meta.url))

/** Compiles the kernels, and answers the path of a module of the loopback driver that holds them. */
const build = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "leasehold-cuda-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
).pipe(Effect.map((folder) => {
  const library = join(folder, "host_kernels.so")
  const module = join(folder, "host_kernels.loopback")
  const includes = [root, join(root, "native"), join(root, "native/include")].map((path) => `-I${path}`)
  const flags = "-std=c++17 -O2 -ffp-contract=off -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden".split(" ")
  execFileSync("c++", [...flags, ...includes, "-o", library, join(root, "test/examples/cuda/host_kernels.cpp")])
  writeFileSync(module, `leasehold loopback module\nlibrary=${library}\n`)
  return module
}))

/** A device over the loopback driver, on which every module is that of the host kernels. */
export const layer = Layer.scoped(
  HostApi.HostApi,
  Effect.gen(function*() {
    const module = yield* build
    const api = yield* HostApi.HostApi
    return {
      ...api,
      loadKernel: (kernel, origin) => api.loadKernel(Object.assign({}, kernel, { module }), origin)
    } satisfies HostApi.Service
  })
).pipe(Layer.provide(Loopback.layer({ totalBytes: 256 * 2 ** 20 })))
