import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join, posix, sep } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../src", import.meta.url))

/** Every module of `src`, by its path in it, with what it imports. Paths among the imports are in `src` too. */
const modules: ReadonlyArray<{ readonly path: string; readonly imports: ReadonlyArray<string> }> = readdirSync(root, {
  recursive: true,
  encoding: "utf8"
})
  .filter((file) => file.endsWith(".ts"))
  .map((file) => {
    const path = file.split(sep).join("/")
    const text = readFileSync(join(root, file), "utf8").replaceAll(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "")
    const specifiers = [
      ...text.matchAll(/\bfrom\s*"([^"]+)"/g),
      ...text.matchAll(/\bimport\s*\(?\s*"([^"]+)"/g),
      ...text.matchAll(/\brequire\s*\(\s*"([^"]+)"/g)
    ].map((match) => match[1]!)
    return {
      path,
      imports: specifiers.map((specifier) =>
        specifier.startsWith(".") ? posix.normalize(posix.join(posix.dirname(path), specifier)) : specifier
      )
    }
  })

const importers = (wanted: (specifier: string) => boolean): ReadonlyArray<string> =>
  modules.filter((module) => module.imports.some(wanted)).map((module) => module.path)

const isPackage = (name: string) => (specifier: string): boolean =>
  specifier === name || specifier.startsWith(`${name}/`)

describe("the rooms of src", () => {
  it("were found", () => {
    assert.isAtLeast(modules.length, 40)
    assert.include(modules.map((module) => module.path), "internal/core/plan.ts")
    assert.isAtLeast(importers(isPackage("effect")).length, 10)
  })

  it("import koffi in src/internal/ffi only", () => {
    const known = importers(isPackage("koffi"))
    assert.isNotEmpty(known)
    assert.deepStrictEqual(known.filter((path) => !path.startsWith("internal/ffi/")), [])
  })

  it("import Effect nowhere in src/internal/core", () => {
    const core = importers((specifier) => isPackage("effect")(specifier) || specifier.startsWith("@effect/"))
    assert.deepStrictEqual(core.filter((path) => path.startsWith("internal/core/")), [])
  })

  it("let src/internal/core know itself and the assertions only", () => {
    const strangers = modules
      .filter((module) => module.path.startsWith("internal/core/"))
      .flatMap((module) => module.imports)
      .filter((specifier) => specifier !== "internal/assert.ts" && !specifier.startsWith("internal/core/"))
    assert.deepStrictEqual(strangers, [])
  })

  it("keep src/internal/ffi below the runner, the backends and the face", () => {
    const upwards = modules
      .filter((module) => module.path.startsWith("internal/ffi/"))
      .flatMap((module) => module.imports)
      .filter((specifier) => specifier.endsWith(".ts") && !/^internal\/(ffi\/|[a-zA-Z]+\.ts$)/.test(specifier))
    assert.deepStrictEqual(upwards, [])
  })

  it("import Effect by sub-path, and each other by relative path", () => {
    assert.deepStrictEqual(importers((specifier) => specifier === "effect"), [])
    assert.deepStrictEqual(importers(isPackage("leasehold")), [])
  })

  it("have no import that leads out of src", () => {
    assert.deepStrictEqual(importers((specifier) => specifier.startsWith("../")), [])
  })
})
