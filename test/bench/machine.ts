/** What the figures were taken on. */
import { readFileSync } from "node:fs"
import { arch, availableParallelism, cpus, release, totalmem, type as osType } from "node:os"
import { join } from "node:path"
import { compiler } from "./native.ts"
import { root } from "./root.ts"

const versionOf = (name: string): string =>
  (JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")) as { readonly version: string })
    .version

/** The C library that malloc comes from, as the process reports it. */
const allocator = (): string => {
  const report = process.report.getReport() as unknown as { readonly header: { readonly glibcVersionRuntime?: string } }
  const version = report.header.glibcVersionRuntime
  const tuned = Object.keys(process.env).filter((name) => /^(MALLOC_|GLIBC_TUNABLES$|LD_PRELOAD$)/.test(name))
  return `${version === undefined ? "the system's" : `glibc ${version}`}, ${
    tuned.length === 0 ? "default settings" : `with ${tuned.join(", ")}`
  }`
}

export const describeMachine = (): Readonly<Record<string, string | number>> => ({
  cpu: cpus()[0]?.model ?? "unknown",
  cores: availableParallelism(),
  memoryBytes: totalmem(),
  os: `${osType()} ${release()} ${arch()}`,
  node: process.versions.node,
  v8: process.versions.v8,
  effect: versionOf("effect"),
  koffi: versionOf("koffi"),
  compiler: compiler(),
  allocator: allocator(),
  date: new Date().toISOString()
})
