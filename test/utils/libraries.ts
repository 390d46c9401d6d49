/** Small shared libraries, compiled for a test into a folder that goes when the test ends. */
import { Effect, type Scope } from "effect"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** A folder of its own, real path included, because libraries are found by it. */
export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "leasehold-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

const header = fileURLToPath(new URL("../../native/include/leasehold_host_api.h", import.meta.url))

/** The names of all functions of the native ABI, as its header declares them. */
export const abiFunctions = (): ReadonlyArray<string> =>
  [...readFileSync(header, "utf8").matchAll(/^LH_EXPORT \w+ (lh_\w+)\(/gm)].map((match) => match[1]!)

/** A library that exports the whole ABI: a version, a status for opening, and failures for all else. */
export const abiSource = (options: {
  readonly version?: number
  readonly openStatus?: number
  readonly without?: string
}): string => {
  const answers: Readonly<Record<string, number>> = {
    lh_abi_version: options.version ?? 1,
    lh_context_open: options.openStatus ?? 0
  }
  return abiFunctions()
    .filter((name) => name !== options.without)
    .map((name) => `int ${name}(void) { return ${answers[name] ?? 15}; }\n`)
    .join("")
}

/** Compiles C and answers the path of the library. */
export const compile = (folder: string, name: string, source: string): string => {
  const input = join(folder, `${name}.c`)
  const output = join(folder, `${name}.so`)
  writeFileSync(input, source)
  execFileSync("cc", ["-shared", "-fPIC", "-O0", "-o", output, input])
  return output
}

/** Writes a file of so many bytes of a library, with its machine changed on request, and answers its path. */
export const spoiled = (
  library: string,
  path: string,
  how: { readonly byteCount?: number; readonly machine?: boolean }
): string => {
  const bytes = readFileSync(library)
  if (how.machine === true) {
    // The field e_machine of an ELF header, at offset 18: 0x00f3 is RISC-V and 0x0008 is MIPS.
    bytes.writeUInt16LE(bytes.readUInt16LE(18) === 0x00f3 ? 0x0008 : 0x00f3, 18)
  }
  writeFileSync(path, bytes.subarray(0, how.byteCount ?? bytes.byteLength))
  return path
}
