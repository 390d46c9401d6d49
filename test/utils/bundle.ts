/**
 * Programs that tests run as processes of their own, each bundled into one file that starts in a fraction of the time
 * that the sources take.
 */
import { Effect, type Scope } from "effect"
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdirSync, symlinkSync } from "node:fs"
import { createRequire } from "node:module"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { temporaryFolder } from "./libraries.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const nativeFolder = join(root, "native")

/** The part of the bundler that is used here. */
interface Bundler {
  readonly build: (options: Readonly<Record<string, unknown>>) => Promise<unknown>
}

/** The bundler is the one that tsx brings along. */
const bundler = (): Bundler => {
  const require = createRequire(import.meta.url)
  return createRequire(require.resolve("tsx"))("esbuild") as Bundler
}

interface Build {
  readonly onResolve: (filter: { readonly filter: RegExp }, answer: () => { readonly path: string }) => void
  readonly onLoad: (
    filter: { readonly filter: RegExp },
    answer: (found: { readonly path: string }) => { readonly contents: string; readonly loader: "ts" } | undefined
  ) => void
}

interface Plugin {
  readonly name: string
  readonly setup: (build: Build) => void
}

export interface Options {
  /** A file of the tests, such as `process/victim.ts`. */
  readonly entry: string
  /** Where the native libraries are. Defaults to those that `make` builds. */
  readonly libraries?: string
  /** A module of the package, by the end of its path, and a file of the tests that takes its place. */
  readonly replace?: { readonly module: RegExp; readonly by: string }
  /** A source of the package, such as `internal/core/slot.ts`, and the text that it has instead. */
  readonly rewrite?: { readonly source: string; readonly text: string } | undefined
}

const replacing = ({ by, module }: NonNullable<Options["replace"]>): Plugin => ({
  name: "replace",
  setup: ({ onResolve }) => onResolve({ filter: module }, () => ({ path: join(root, "test", by) }))
})

/** `done` hears that the source is part of the program. */
const rewriting = ({ source, text }: NonNullable<Options["rewrite"]>, done: () => void): Plugin => ({
  name: "rewrite",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.ts$/ }, ({ path }) => {
      if (path !== join(root, "src", source)) {
        return undefined
      }
      done()
      return { contents: text, loader: "ts" }
    })
})

/**
 * Bundles a program and answers the path of the result. It lies as deep in its folder as the sources lie in theirs, beside
 * a folder with the native libraries, so that whatever finds a library by its own path finds one here.
 */
export const bundle = (options: Options): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const outfile = join(folder, "test", "program", `${basename(options.entry, ".ts")}.mjs`)
    const { replace, rewrite } = options
    let isRewritten = false
    yield* Effect.promise(() =>
      bundler().build({
        entryPoints: [join(root, "test", options.entry)],
        absWorkingDir: root,
        outfile,
        bundle: true,
        platform: "node",
        format: "esm",
        target: "node20",
        external: ["koffi"],
        // Modules in the older format ask for Node's own by `require`.
        banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
        plugins: [
          ...replace === undefined ? [] : [replacing(replace)],
          ...rewrite === undefined ? [] : [rewriting(rewrite, () => {
            isRewritten = true
          })]
        ],
        logLevel: "error"
      })
    )
    if (rewrite !== undefined && !isRewritten) {
      return yield* Effect.dieMessage(`${options.entry} does without ${rewrite.source}`)
    }
    mkdirSync(join(folder, "native"))
    symlinkSync(options.libraries ?? join(nativeFolder, "build"), join(folder, "native", "build"))
    symlinkSync(join(nativeFolder, "test"), join(folder, "native", "test"))
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
    return outfile
  })

/** The folder of the native libraries under the address sanitizer. */
export const sanitizedLibraries = join(nativeFolder, "build", "sanitize")

/** What a process needs to load sanitized libraries. Leaks are the ledger's matter: the sanitizer misses Node's. */
export const sanitizedEnvironment = Effect.sync(() => {
  const runtime = execFileSync("cc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim()
  // Without a folder there is none, and the compiler only hands the name back.
  assert(runtime.includes("/"), "the compiler has no libasan.so, which comes with gcc")
  return { LD_PRELOAD: runtime, ASAN_OPTIONS: "detect_leaks=0" }
})
