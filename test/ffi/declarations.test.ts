import { assert, describe, it } from "@effect/vitest"
import koffi from "koffi"
import { HostApi } from "leasehold"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { ArgumentKind } from "../../src/internal/core/argumentTable.ts"
import { dtypes } from "../../src/internal/core/dtypes.ts"
import { maxRank } from "../../src/internal/core/sizes.ts"
import { TransferKind } from "../../src/internal/core/transferTable.ts"
import { abiVersion, declareLibrary, prototypes } from "../../src/internal/ffi/declarations.ts"

const header = readFileSync(new URL("../../native/include/leasehold_host_api.h", import.meta.url), "utf8")
const library = fileURLToPath(new URL("../../native/build/libleasehold_simulator.so", import.meta.url))

/** The header without comments and preprocessor lines, its white space as single blanks. */
const code = header
  .replaceAll(/\/\*[^]*?\*\//g, " ")
  .replaceAll(/^\s*#.*$/gm, " ")
  .replaceAll(/\s+/g, " ")

interface Variable {
  readonly type: string
  readonly name: string
  /** The length of an array; 0 for what is none. */
  readonly length: number
}

interface Prototype {
  readonly name: string
  readonly returns: string
  readonly parameters: ReadonlyArray<Variable>
}

const defines = new Map(
  [...header.matchAll(/^#define (LH_\w+) (\d+)u?$/gm)].map((match) => [match[1]!, Number(match[2])])
)

/** Reads `const char *name[4]`. The words of the type are parted by single blanks, stars included. */
const parseVariable = (text: string): Variable => {
  const match = /^(.*?)(\w+) ?(?:\[(\w+)\])?$/.exec(text.trim())
  assert(match !== null, `a declaration: ${text}`)
  const length = match[3] === undefined ? 0 : (defines.get(match[3]) ?? Number(match[3]))
  return { type: match[1]!.replaceAll("*", " * ").trim().replaceAll(/ +/g, " "), name: match[2]!, length }
}

const parsePrototype = (text: string): Prototype => {
  const match = /^([^(]*)\((.*)\)$/.exec(text.trim())
  assert(match !== null, `a prototype: ${text}`)
  const { name, type } = parseVariable(match[1]!)
  const parameters = match[2]!.trim() === "void" ? [] : match[2]!.split(",").map(parseVariable)
  return { name, returns: type, parameters }
}

const functions = [...code.matchAll(/LH_EXPORT ([^;]*);/g)].map((match) => parsePrototype(match[1]!))

const structs = new Map(
  [...code.matchAll(/typedef struct (\w+) \{([^}]*)\} (\w+);/g)].map((match) => {
    assert.strictEqual(match[1], match[3])
    return [match[1]!, match[2]!.split(";").filter((member) => member.trim() !== "").map(parseVariable)]
  })
)

const structBytes = new Map(
  [...code.matchAll(/LH_STATIC_ASSERT\(sizeof\((lh_\w+)\) == (\d+)/g)].map((match) => [match[1]!, Number(match[2])])
)

/** Handles and plain numbers: `typedef double lh_address`. */
const aliases = new Map(
  [...code.matchAll(/typedef (\w+) (lh_\w+);/g)].map((match) => [match[2]!, match[1]!])
)

/** Every constant of an enum: a number, or one shifted to its bit. */
const constants = new Map(
  [...code.matchAll(/enum \{([^}]*)\}/g)].flatMap((match) =>
    match[1]!.split(",").map((constant): [string, number] => {
      const [, name, value, shift] = /^\s*(LH_\w+) = (\d+)(?: << (\d+))?\s*$/.exec(constant) ?? []
      assert(name !== undefined, `a constant: ${constant}`)
      return [name, Number(value) * 2 ** Number(shift ?? 0)]
    })
  )
)

const statuses = [
  ...[...code.matchAll(/enum \{([^}]*)\}/g)].map((match) => match[1]!).find((body) => body.includes("LH_OK"))!
    .matchAll(/LH_\w+/g)
].map((match) => match[0])

/** The constants of an enum other than that of the statuses. */
const withPrefix = (prefix: string): Readonly<Record<string, number>> =>
  Object.fromEntries(
    [...constants].filter(([name]) => name.startsWith(prefix) && !statuses.includes(name)).map((
      [name, value]
    ) => [name.slice(prefix.length), value])
  )

/** `OUT_OF_MEMORY` as `outOfMemory`. */
const camelCase = (name: string): string =>
  name.toLowerCase().replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

const camelCased = (record: Readonly<Record<string, number>>): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [camelCase(name), value]))

/** What koffi calls each type of a member, and its bytes. */
const memberTypes: Readonly<Record<string, { readonly koffi: string; readonly bytes: number }>> = {
  "uint8_t": { koffi: "uint8_t", bytes: 1 },
  "char": { koffi: "char", bytes: 1 },
  "uint32_t": { koffi: "uint32_t", bytes: 4 },
  "int32_t": { koffi: "int32_t", bytes: 4 },
  "int64_t": { koffi: "int64_t", bytes: 8 },
  "uint64_t": { koffi: "uint64_t", bytes: 8 },
  "double": { koffi: "double", bytes: 8 },
  "const char *": { koffi: "char *", bytes: 8 },
  "const lh_launch_step *": { koffi: "lh_launch_step *", bytes: 8 },
  "const lh_parameter *": { koffi: "lh_parameter *", bytes: 8 },
  "const lh_launch_plan *": { koffi: "lh_launch_plan *", bytes: 8 }
}

/** The members of a struct with their offsets, laid out as C lays them out, in koffi's words. */
const laidOut = (members: ReadonlyArray<Variable>) => {
  let end = 0
  return members.map((member) => {
    const type = memberTypes[aliases.get(member.type) ?? member.type]
    assert(type !== undefined, `a type that is known: ${member.type}`)
    const offset = Math.ceil(end / type.bytes) * type.bytes
    end = offset + type.bytes * Math.max(1, member.length)
    return { name: member.name, offset, type: member.length === 0 ? type.koffi : `${type.koffi}[${member.length}]` }
  })
}

describe("the parsed header", () => {
  it("has what a header of this ABI has at least", () => {
    assert.isAtLeast(functions.length, 20)
    assert.strictEqual(functions.length, header.match(/^LH_EXPORT /gm)?.length)
    assert.strictEqual(structs.size, header.match(/^typedef struct \w+ \{/gm)?.length)
    assert.isAtLeast(structs.size, 9)
    assert.strictEqual(constants.get("LH_DEVICE_LOST"), 100)
    assert.strictEqual(constants.get("LH_FEATURE_VIRTUAL_CLOCK"), 8)
    assert.deepStrictEqual(functions.find(({ name }) => name === "lh_free"), {
      name: "lh_free",
      returns: "lh_status",
      parameters: [
        { type: "lh_context *", name: "context", length: 0 },
        { type: "lh_address", name: "address", length: 0 }
      ]
    })
  })

  it("asserts the size of every struct", () => {
    assert.sameMembers([...structBytes.keys()].filter((name) => name !== "double"), [...structs.keys()])
  })
})

describe("declarations", () => {
  it("name every function of the header, in its order, and nothing more", () => {
    assert.deepStrictEqual(Object.keys(prototypes), functions.map(({ name }) => name))
  })

  for (const expected of functions) {
    it(`declare ${expected.name} with the types and names of the header`, () => {
      const declared = (prototypes as Readonly<Record<string, string>>)[expected.name]
      assert(declared !== undefined, "it is declared")
      assert.deepStrictEqual(parsePrototype(declared.replaceAll(/_(?:Out|Inout|In)_ /g, "")), expected)
    })
  }

  it("mark as written by the library what the header calls *_out, where koffi converts it", () => {
    const marked = Object.values(prototypes).flatMap((prototype) =>
      [...prototype.matchAll(/_(Out|Inout)_ ([^,)]*)/g)].map((match) => parseVariable(match[2]!))
    )
    assert.isNotEmpty(marked)
    for (const { name, type } of marked) {
      assert.match(type, /^lh_\w+ \*( \*)?$/, "only structs and handles are converted")
      assert.isTrue(name.endsWith("_out") || name === "error", name)
    }
    const structOuts = functions.flatMap(({ parameters }) => parameters).filter(({ type }) =>
      structs.has(type.replace(" *", ""))
    )
    for (const { name, type } of structOuts) {
      assert.isTrue(marked.some((variable) => variable.name === name && variable.type === type), `${type} ${name}`)
    }
  })

  it("are found in a library that is built", () => {
    const found = declareLibrary(library)
    assert.deepStrictEqual(Object.keys(found), functions.map(({ name }) => name))
    assert.strictEqual(found.lh_abi_version(), abiVersion)
    assert.strictEqual(declareLibrary(library), found, "a library is declared once")
  })

  for (const [name, members] of structs) {
    it(`lay ${name} out as the header does`, () => {
      declareLibrary(library)
      const { members: declared } = koffi.type(name)
      assert(declared !== undefined, "it is a struct")
      assert.deepStrictEqual(
        Object.values(declared).map((member) => ({ name: member.name, offset: member.offset, type: member.type.name })),
        laidOut(members)
      )
      assert.strictEqual(koffi.sizeof(name), structBytes.get(name))
    })
  }

  it("take handles and addresses for what the header says they are", () => {
    declareLibrary(library)
    assert.sameMembers([...aliases.keys()], ["lh_status", "lh_address", "lh_ticket", "lh_module", "lh_kernel"])
    for (const [alias, type] of aliases) {
      assert.strictEqual(koffi.type(alias).name, type)
    }
    assert.strictEqual(koffi.type("lh_context").size, 0, "a context is opaque")
  })
})

describe("the constants of the header", () => {
  it("are the statuses of HostApi, by name and value", () => {
    const expected = Object.fromEntries(
      statuses.map((name) => [camelCase(`_${name.slice("LH_".length)}`), constants.get(name)])
    )
    assert.deepStrictEqual<Readonly<Record<string, number | undefined>>>(HostApi.Status, expected)
  })

  it("tell sticky statuses from others as HostApi does", () => {
    const rule = /lh_status_is_sticky\(lh_status status\) \{ return status < (\w+) \|\| status > (\w+); \}/.exec(code)
    assert(rule !== null, "the header's rule has the form that this test knows")
    const least = constants.get(rule[1]!)!
    const greatest = constants.get(rule[2]!)!
    for (let status = -300; status <= 300; status++) {
      assert.strictEqual(HostApi.isSticky(status), status < least || status > greatest, `${status}`)
    }
    for (const status of [9999, 2 ** 31 - 1, -(2 ** 31)]) {
      assert.isTrue(HostApi.isSticky(status), `${status}`)
    }
  })

  it("are the codes of the element types", () => {
    const declared = Object.fromEntries(Object.entries(dtypes).map(([name, { code }]) => [name, code]))
    assert.deepStrictEqual(declared, camelCased(withPrefix("LH_DTYPE_")))
  })

  it("are the kinds of arguments and of transfers", () => {
    assert.deepStrictEqual<Readonly<Record<string, number>>>(ArgumentKind, camelCased(withPrefix("LH_ARGUMENT_")))
    assert.deepStrictEqual<Readonly<Record<string, number>>>(TransferKind, camelCased(withPrefix("LH_TRANSFER_")))
  })

  it("are the version and the limits", () => {
    assert.strictEqual(abiVersion, defines.get("LH_ABI_VERSION"))
    assert.strictEqual(maxRank, defines.get("LH_ARGUMENT_MAX_RANK"))
    assert.strictEqual(defines.get("LH_ARGUMENT_MAX_COUNT"), 65_536)
  })
})
