/**
 * Programs that tests run as processes of their own, each bundled into one file that starts in a fraction of the time
 * that the sources take.
 */
import { Effect, type Scope } from "effect"
import { execFileSync } from "node:child_process"
import { mkdirSync, symlinkSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { temporaryFolder } from "../utils/libraries.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

export const nativeFolder = join(root, "native")

/** The part of the bundler that is used here. */
interface Bundler {
  readonly build: (options: Readonly<Record<string, unknown>>) => Promise<unknown>
}

/** The bundler is the one that tsx brings along. */
const bundler = (): Bundler => {
  const require = createRequire(import.meta.url)
  return createRequire(require.resolve("tsx"))("esbuild") as Bundler
}

interface Resolver {
  readonly onResolve: (filter: { readonly filter: RegExp }, answer: () => { readonly path: string }) => void
}

export interface Options {
  /** A file of this folder. */
  readonly entry: string
  /** Where the native libraries are. Defaults to those that `make` builds. */
  readonly libraries?: string
  /** A module of the package, by the end of its path, and a file of this folder that takes its place. */
  readonly replace?: { readonly module: RegExp; readonly by: string }
}

/**
 * Bundles a program and answers the path of the result. It lies as deep in its folder as the sources lie in theirs, beside
 * a folder with the native libraries, so that whatever finds a library by its own path finds one here.
 */
export const bundle = (options: Options): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const outfile = join(folder, "test", "process", options.entry.replace(/\.ts$/, ".mjs"))
    const { replace } = options
    const replacing = replace === undefined ? [] : [{
      name: "replace",
      setup: ({ onResolve }: Resolver) =>
        onResolve({ filter: replace.module }, () => ({ path: join(root, "test", "process", replace.by) }))
    }]
    yield* Effect.promise(() =>
      bundler().build({
        entryPoints: [join(root, "test", "process", options.entry)],
        absWorkingDir: root,
        outfile,
        bundle: true,
        platform: "node",
        format: "esm",
        target: "node20",
        external: ["koffi"],
        // Modules in the older format ask for Node's own by `require`.
        banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
        plugins: replacing,
        logLevel: "error"
      })
    )
    mkdirSync(join(folder, "native"))
    symlinkSync(options.libraries ?? join(nativeFolder, "build"), join(folder, "native", "build"))
    symlinkSync(join(nativeFolder, "test"), join(folder, "native", "test"))
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
    return outfile
  })

/** The folder of the native libraries under the address sanitizer. */
export const sanitizedLibraries = join(nativeFolder, "build", "sanitize")

/** What a process needs to load sanitized libraries. Leaks are the ledger's matter: the sanitizer misses Node's. */
export const sanitizedEnvironment = Effect.sync(() => ({
  LD_PRELOAD: execFileSync("cc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim(),
  ASAN_OPTIONS: "detect_leaks=0"
}))
