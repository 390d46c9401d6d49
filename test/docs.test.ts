/**
 * The documentation holds: its snippets are parts of files that run, its links lead somewhere, its programs print what it
 * shows, and its tables say what the code says.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Logger, LogLevel, Predicate, Scope, TestClock, TestContext } from "effect"
import {
  Arg,
  Callable,
  Cuda,
  DeviceRunner,
  Errors,
  HostApi,
  RunnerMetrics,
  RunnerOptions,
  Simulator,
  TemporaryBuffer
} from "leasehold"
import { FaultInjection, FaultSweep, Interleavings, Ledger } from "leasehold/testing"
import { execFile, execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { format, parse } from "../src/internal/testing/schedules.ts"
import { rows as badInputs } from "./badInputs/rows.ts"
import { mutants } from "./faults/mutants/index.ts"
import { allScenarios, scenarios } from "./faults/scenarios/index.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), "utf8")

const filesIn = (folder: string, ending: string): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(ending))
    .map((path) => join(folder, path))
    .toSorted()

const pages = ["README.md", "CHANGELOG.md", ...filesIn("docs", ".md")]

// Markdown, as far as the pages use it.

interface Block {
  /** Where it stands, for a failure's message. */
  readonly place: string
  readonly language: string
  readonly body: string
  /** The HTML comment before it, such as `file: path#region`; empty where there is none. */
  readonly directive: string
}

const blocksOf = (page: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  let directive = ""
  let open: { readonly language: string; readonly line: number; readonly body: Array<string> } | undefined
  for (const [index, line] of read(page).split("\n").entries()) {
    if (open !== undefined && line === "```") {
      blocks.push({
        place: `${page}:${open.line}`,
        language: open.language,
        body: open.body.join("\n"),
        directive
      })
      open = undefined
      directive = ""
    } else if (open !== undefined) {
      open.body.push(line)
    } else if (line.startsWith("```")) {
      open = { language: line.slice(3), line: index + 1, body: [] }
    } else if (line !== "") {
      directive = /^<!-- (.*) -->$/.exec(line)?.[1] ?? ""
    }
  }
  assert.isUndefined(open, `${page} closes its last block`)
  return blocks
}

const allBlocks = pages.flatMap(blocksOf)

/** A page without its blocks. */
const proseOf = (page: string): string => read(page).replaceAll(/^```[\s\S]*?^```$/gm, "")

/** What stands under a heading, up to the next one of the same level. */
const sectionOf = (page: string, heading: string): string => {
  const level = heading.slice(0, heading.indexOf(" ") + 1)
  const start = read(page).indexOf(`\n${heading}\n`)
  assert.isAtLeast(start, 0, `${page} has the heading ${heading}`)
  const rest = read(page).slice(start + heading.length + 2)
  const end = rest.indexOf(`\n${level}`)
  return end < 0 ? rest : rest.slice(0, end)
}

/** The cells of all tables of a text. */
const cellsOf = (text: string): ReadonlyArray<ReadonlyArray<string>> =>
  text.split("\n").filter((line) => line.startsWith("|") && !line.startsWith("| --")).map((line) =>
    line.slice(1, -1).split("|").map((cell) => cell.trim())
  )

/** The cells of all tables of a text, without backticks around them. */
const rowsOf = (text: string): ReadonlyArray<ReadonlyArray<string>> =>
  cellsOf(text).map((cells) => cells.map((cell) => cell.replaceAll(/^`([^`]*)`$/g, "$1")))

/** The names that the rows of all tables tell of: whatever their first cells have between backticks. */
const namesIn = (text: string): ReadonlyArray<string> =>
  cellsOf(text).flatMap(([first = ""]) => [...first.matchAll(/`(\w+)[^`]*`/g)].map(([, name]) => name!))

const rowOf = (text: string, name: string): ReadonlyArray<string> => {
  const row = rowsOf(text).find(([first]) => first === name)
  assert.isDefined(row, `there is a row for ${name}`)
  return row
}

/** A file, or the lines of it between `// #region name` and `// #endregion`. */
const snippetOf = (reference: string): string => {
  const [path = "", region] = reference.split("#")
  const text = read(path)
  if (region === undefined) {
    return text.trimEnd()
  }
  const lines = text.split("\n").map((line) => line.trim())
  const start = lines.indexOf(`// #region ${region}`)
  assert.isAtLeast(start, 0, `${path} has the region ${region}`)
  const end = lines.indexOf("// #endregion", start)
  return text.split("\n").slice(start + 1, end).join("\n")
}

/** What a link to a heading of the page may end in. */
const slugsOf = (page: string): ReadonlyArray<string> =>
  [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) =>
    title.toLowerCase().replaceAll(/[^a-z0-9 _-]/g, "").replaceAll(" ", "-")
  )

const variablesIn = (text: string): ReadonlyArray<string> => [...new Set(text.match(/LEASEHOLD_[A-Z_]+/g))].toSorted()

describe("the pages", () => {
  it("show no code that is not part of a file that runs", () => {
    const code = allBlocks.filter(({ language }) => language === "ts" || language === "c")
    assert.isAbove(code.length, 20)
    for (const { body, directive, place } of code) {
      assert.match(directive, /^file: \S+$/, `the snippet at ${place} names its file`)
      assert.strictEqual(body, snippetOf(directive.slice("file: ".length)), `the snippet at ${place}`)
    }
  })

  it("use the languages that this test knows", () => {
    const known = ["ts", "c", "sh", "text"]
    for (const { language, place } of allBlocks) {
      assert.include(known, language, place)
    }
  })

  it("link to files and headings that exist", () => {
    for (const page of pages) {
      for (const [, target = ""] of proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (target.startsWith("https://")) {
          continue
        }
        const [path = "", anchor] = target.split("#")
        const file = path === "" ? page : join(dirname(page), path)
        assert.isTrue(existsSync(join(root, file)), `${page} links to ${target}`)
        if (anchor !== undefined) {
          assert.include(slugsOf(file), anchor, `${page} links to ${target}`)
        }
      }
    }
  })

  it("are all in the index", () => {
    const index = read("docs/README.md")
    for (const page of filesIn("docs", ".md").filter((path) => path !== "docs/README.md")) {
      assert.include(index, `(${page.slice("docs/".length)})`)
    }
  })

  it("start with an example of at most 20 lines that is whole", () => {
    const [example] = blocksOf("README.md")
    assert.strictEqual(example?.language, "ts")
    assert.isAtMost(example!.body.split("\n").length, 20)
    assert.match(example!.body, /^import /)
    assert.include(example!.body, "runMain")
  })

  it("name every promise and its tests", () => {
    for (const file of filesIn("test/promises", ".test.ts")) {
      assert.include(read("README.md"), `(${file})`)
    }
  })
})

describe("the tutorial's programs", () => {
  const programs = filesIn("examples/tutorial", ".ts").filter((path) => read(path).includes("runMain"))
  const tsx = join(root, "node_modules", ".bin", "tsx")

  beforeAll(() => {
    execFileSync("make", ["-s", "-C", "examples/tutorial/kernel"], { cwd: root })
  })

  for (const program of programs) {
    it.concurrent(`${program} prints what the pages show`, async () => {
      const shown = allBlocks.filter(({ directive }) => directive === `output: ${program}`)
      assert.isNotEmpty(shown, `a page shows what ${program} prints`)
      const { stderr, stdout } = await promisify(execFile)(tsx, [program], { cwd: root, timeout: 20_000 })
      // Lines of the log carry the time of day.
      const printed = stdout.replaceAll(/^\[\d\d:\d\d:\d\d\.\d{3}\]/gm, "[time]").trimEnd()
      assert.strictEqual(stderr, "")
      for (const { body, place } of shown) {
        assert.strictEqual(printed, body, place)
      }
    })
  }

  for (const program of programs) {
    it(`${program} is short, and is shown`, () => {
      assert.isBelow(read(program).split("\n").length, 60)
      assert.isTrue(allBlocks.some(({ directive }) => directive.startsWith(`file: ${program}`)))
    })
  }
})

describe("docs/reference/errors.md", () => {
  const page = "docs/reference/errors.md"
  const classes = Errors.RunnerError.members.map((member) => ({
    name: member.identifier.replace("leasehold/", ""),
    fields: new Map(Object.entries<unknown>(member.fields))
  }))
  const reasonsOf = (name: string): ReadonlyArray<string> => {
    const reason = classes.find((known) => known.name === name)?.fields.get("reason")
    return Predicate.hasProperty(reason, "literals") ? reason.literals as ReadonlyArray<string> : []
  }

  it("has a section for every class, and none beside them", () => {
    const exported = Object.entries(Errors).filter(([, value]) => typeof value === "function" && "fields" in value)
    assert.sameMembers(classes.map(({ name }) => name), exported.map(([name]) => name))
    const headings = [...proseOf(page).matchAll(/^## ([A-Z]\w+[A-Z]\w+)$/gm)].map(([, title]) => title!)
    assert.sameMembers(headings, classes.map(({ name }) => name))
  })

  for (const { fields, name } of classes) {
    it(`says what each reason and each field of ${name} means`, () => {
      const section = sectionOf(page, `## ${name}`)
      for (const reason of reasonsOf(name)) {
        assert.isAbove(rowOf(section, reason)[1]!.length, 10, `${name} with reason ${reason} has a cause`)
      }
      const common = rowsOf(sectionOf(page, "## Fields that several classes share")).map(([field]) => field)
      for (const field of fields.keys()) {
        if (!["_tag", "reason", ...common].includes(field)) {
          assert.isAbove(rowOf(section, field).at(-1)!.length, 3, `${name} has the field ${field}`)
        }
      }
    })
  }

  it("shows messages that failures really have", async () => {
    const messages = await Effect.runPromise(Logger.withMinimumLogLevel(provokedMessages, LogLevel.None))
    for (const { name } of classes) {
      const shown = blocksOf(page).filter(({ directive }) => directive === `messages: ${name}`)
      assert.strictEqual(shown.length, 1, `${name} has its messages`)
      for (const message of shown[0]!.body.split("\n")) {
        assert.include(messages.get(name) ?? [], message)
      }
    }
  })

  it("tells every case of bad input by a class and a reason that exist", () => {
    const rows = cellsOf(sectionOf(page, "## From case to class and reason")).filter(([first]) => /^\d+$/.test(first!))
    assert.deepStrictEqual(rows.map(([number]) => Number(number)), Array.from({ length: 68 }, (_, index) => index + 1))
    for (const [number, , , answer = ""] of rows) {
      const named = [...answer.matchAll(/`([A-Z]\w+)(?:: (\w+))?`/g)]
      assert.isTrue(named.length > 0 || /^(taken|does not apply|a defect|no error)/.test(answer), `row ${number}`)
      for (const [, name, reason] of named) {
        assert.include(classes.map((known) => known.name), name, `row ${number}`)
        if (reason !== undefined) {
          assert.include(reasonsOf(name!), reason, `row ${number}`)
        }
      }
    }
  })
})

describe("docs/how-to/share-one-device.md", () => {
  it("says what each refusal means for a server", () => {
    const section = sectionOf("docs/how-to/share-one-device.md", "## Answer clients that are refused")
    const told = cellsOf(section).filter(([first]) => first!.startsWith("`AdmissionRefused`")).flatMap(([first = ""]) =>
      [...first.matchAll(/`(\w+)`/g)].map(([, name]) => name!).slice(1)
    )
    assert.sameMembers(told, [...Errors.AdmissionRefused.fields.reason.literals])
  })
})

describe("docs/reference/options.md", () => {
  const page = "docs/reference/options.md"
  const sections = [
    ["## Runner", RunnerOptions.defaults],
    ["## Temporary buffer", TemporaryBuffer.defaults],
    ["## Simulator", Simulator.defaults]
  ] as const

  for (const [heading, defaults] of sections) {
    it(`states the exported defaults under ${heading}`, () => {
      const rows = rowsOf(sectionOf(page, heading))
      for (const [name, value] of Object.entries(defaults)) {
        const stated = rows.find(([first]) => first === name)?.[1]
        assert.strictEqual(stated, typeof value === "object" ? "see below" : JSON.stringify(value), name)
      }
    })
  }

  it("names the environment variables that are read, and no others", () => {
    assert.deepStrictEqual(variablesIn(read(page)), variablesIn(read("src/RunnerOptions.ts")))
  })
})

describe("docs/reference/metrics.md", () => {
  const page = "docs/reference/metrics.md"

  it("has every metric and its kind, and none beside them", () => {
    const rows = rowsOf(sectionOf(page, "## Metrics")).filter(([name]) => name!.startsWith("leasehold_"))
    assert.sameDeepMembers(rows.map(([name, kind]) => [name, kind]), [
      ...Object.keys(RunnerMetrics.gauges).map((name) => [name, "gauge"]),
      ...Object.keys(RunnerMetrics.counters).map((name) => [name, "counter"])
    ])
  })

  it.scoped("has every statistic, and none beside them", () =>
    Effect.gen(function*() {
      const stats = yield* (yield* DeviceRunner.make()).stats
      const paths = Object.entries(stats).flatMap(([name, value]) =>
        typeof value === "object" ? Object.keys(value).map((inner) => `${name}.${inner}`) : [name]
      )
      const rows = rowsOf(sectionOf(page, "## Statistics")).slice(1)
      assert.sameMembers(rows.map(([name]) => name!), paths)
    }).pipe(Effect.provide(Simulator.layer())))
})

describe("docs/reference/testing.md", () => {
  const page = "docs/reference/testing.md"
  const modules = [...read("src/testing/index.ts").matchAll(/^export \* as (\w+) from/gm)].map(([, name]) => name!)
  const sourceOf = (module: string): string => read(`src/testing/${module}.ts`)

  /** The members of an interface, as the source declares them. */
  const membersOf = (module: string, name: string): ReadonlyArray<string> => {
    const [, body = ""] =
      new RegExp(`^export interface ${name}\\b[^\\n]*\\{\\n([\\s\\S]*?)^\\}`, "m").exec(sourceOf(module)) ?? []
    const members = [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, member]) => member!)
    assert.isNotEmpty(members, `${module}.${name}`)
    return members
  }

  /** The literals of a list that the source exports or keeps to itself. */
  const literalsOf = (path: string, name: string): ReadonlyArray<string> => {
    const [, list = ""] = new RegExp(`const ${name} = \\[([^\\]]*)\\] as const`).exec(read(path)) ?? []
    const literals = [...list.matchAll(/"(\w+)"/g)].map(([, literal]) => literal!)
    assert.isNotEmpty(literals, `${path}: ${name}`)
    return literals
  }

  /** The literals of a union that the source exports. */
  const unionOf = (path: string, name: string): ReadonlyArray<string> => {
    const [, union = ""] = new RegExp(`^export type ${name} = (.*)$`, "m").exec(read(path)) ?? []
    const literals = [...union.matchAll(/"(\w+)"/g)].map(([, literal]) => literal!)
    assert.isNotEmpty(literals, `${path}: ${name}`)
    return literals
  }

  /** The verdicts that the comment of a module's type explains. */
  const explainedVerdicts = (module: string): ReadonlyArray<string> => {
    const comments = [...sourceOf(module).matchAll(/\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*(?:export type )?Verdict\b/g)]
    assert.strictEqual(comments.length, 1, `${module}.Verdict`)
    return [...comments[0]![0].matchAll(/^ *\* - ([^:]*):/gm)].flatMap(([, names = ""]) =>
      [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name!)
    )
  }

  it("lists the modules, and every export of each", () => {
    assert.isAtLeast(modules.length, 4)
    for (const module of modules) {
      assert.isAbove(rowOf(read(page), module)[1]!.length, 10, module)
      const source = sourceOf(module)
      const lists = [...source.matchAll(/^export type \{([\s\S]*?)\n?\}/gm)]
      const exported = [
        ...[...source.matchAll(/^export (?:const|class|interface|type) (\w+)/gm)].map(([, name]) => name!),
        ...lists.flatMap(([, list = ""]) =>
          [...list.replaceAll(/\/\*\*[\s\S]*?\*\//g, "").matchAll(/\w+/g)].map(([name]) => name)
        )
      ]
      assert.sameMembers([...namesIn(sectionOf(page, `## ${module}`))], [...new Set(exported)], module)
    }
  })

  const tables = [
    ["## Rules", () => [...membersOf("FaultInjection", "Rule"), ...membersOf("FaultInjection", "Where")]],
    ["## FaultInjection.Service", () => membersOf("FaultInjection", "Service")],
    ["## Ledger.Snapshot", () => membersOf("Ledger", "Snapshot")],
    ["## Ledger.Allocation", () => membersOf("Ledger", "Allocation")],
    ["## Options", () => membersOf("FaultSweep", "Options")],
    ["## FaultSweep.Report", () => membersOf("FaultSweep", "Report")],
    ["## Verdicts", () => literalsOf("src/internal/testing/verdicts.ts", "verdicts")],
    ["## Interleavings.Options", () => membersOf("Interleavings", "Options")],
    ["## Interleavings.Report", () => membersOf("Interleavings", "Report")],
    ["## Interleavings.Verdicts", () => explainedVerdicts("Interleavings")],
    ["## Strategies", () => unionOf("src/testing/Interleavings.ts", "Strategy")],
    ["## Operations", () => literalsOf("src/internal/testing/operations.ts", "operationKinds")],
    [
      "## Cases",
      () => ["forms", "faultKinds", "persistences"].flatMap((name) => literalsOf("src/internal/testing/cases.ts", name))
    ]
  ] as const
  for (const [heading, names] of tables) {
    it(`has every row that the source asks for under ${heading}, and none beside them`, () => {
      assert.sameMembers([...namesIn(sectionOf(page, heading))], [...names()])
    })
  }

  it("says of each verdict what it means and what to do", () => {
    for (const heading of ["## Verdicts", "## Interleavings.Verdicts"]) {
      for (const [verdict = "", meaning = "", advice = ""] of rowsOf(sectionOf(page, heading)).slice(1)) {
        assert.isAbove(meaning.length, 10, verdict)
        assert.isAbove(advice.length, 10, verdict)
      }
    }
  })

  it("explains every verdict that only schedules have", () => {
    for (const verdict of unionOf("src/internal/testing/raceVerdicts.ts", "RaceVerdict")) {
      assert.include(namesIn(sectionOf(page, "## Interleavings.Verdicts")), verdict)
    }
  })

  it("names schedules as they are read", () => {
    const examples = cellsOf(sectionOf(page, "## Schedules")).slice(1).map(([, example = ""]) => example.slice(1, -1))
    assert.isNotEmpty(examples)
    for (const example of examples) {
      const schedule = parse(example)
      assert.isDefined(schedule, example)
      assert.strictEqual(format(schedule), example)
    }
  })

  const sectionsOfOptions = [["FaultSweep", "## Options", 9], [
    "Interleavings",
    "## Interleavings.Options",
    11
  ]] as const
  for (const [module, heading, leastCount] of sectionsOfOptions) {
    it(`states the defaults that the source of ${module} has`, () => {
      const source = sourceOf(module)
      const [, taken = ""] = /const \{ ([^}]*) \} = options$/m.exec(source) ?? []
      const defaults = [
        ...source.matchAll(/options\.(\w+) \?\? ("[^"]*"|\[[^\]]*\]|[\d_.]+|true|false)/g),
        ...taken.matchAll(/(\w+) = ([\d_.]+)/g)
      ].filter(([, name]) => name !== "smaller")
      assert.isAtLeast(defaults.length, leastCount)
      for (const [, name = "", value = ""] of defaults) {
        assert.strictEqual(rowOf(sectionOf(page, heading), name)[1], value, name)
      }
    })
  }

  it("names the fields of each error", () => {
    for (
      const error of [
        FaultInjection.NeverFired,
        Ledger.NotEmpty,
        FaultSweep.SweepFailed,
        Interleavings.InterleavingsFailed
      ]
    ) {
      const fields = Object.keys(error.fields).filter((field) => field !== "_tag")
      const cell = cellsOf(sectionOf(page, "## Errors")).find(([first]) => first === `\`${error.name}\``)?.[1] ?? ""
      assert.sameMembers([...cell.matchAll(/`(\w+)`/g)].map(([, field]) => field!), fields, error.name)
    }
  })
})

describe("docs/reference/reliability.md", () => {
  const page = "docs/reference/reliability.md"

  it("has every promise of the README, and says which verdict and which tests look for it", () => {
    const rows = rowsOf(sectionOf(page, "## Promises")).filter(([number]) => /^P\d+$/.test(number!))
    assert.deepStrictEqual(rows.map(([number]) => number), Array.from(rows, (_, index) => `P${index + 1}`))
    assert.isAtLeast(rows.length, 10)
    const covered = rows.flatMap(([, , promises = ""]) => promises.split(", ").map(Number))
    const promised = filesIn("test/promises", ".test.ts").map((file) => Number(/\/(\d\d)-/.exec(file)?.[1]))
    assert.sameMembers([...new Set(covered)], promised)
    const verdicts = namesIn(sectionOf("docs/reference/testing.md", "## Verdicts"))
    for (const [number, , , tests = ""] of rows) {
      assert.match(tests, /\bT\d+/, number)
      for (const [, verdict] of tests.matchAll(/`(\w+)`/g)) {
        assert.include(verdicts, verdict, number)
      }
    }
  })

  it("counts the scenarios, the mutants and the rows that do not apply as they are", () => {
    const section = sectionOf(page, "## Programme")
    assert.include(section, `the ${scenarios.length} scenarios that are swept at each change`)
    assert.strictEqual(allScenarios.length - scenarios.length, 11, "the long tests add eleven")
    assert.match(rowOf(section, "T22")[2]!, new RegExp(`^${mutants.length} mistakes`))
    assert.strictEqual(
      badInputs.filter(({ doesNotApply }) => doesNotApply !== undefined).length,
      7,
      "seven do not apply"
    )
  })

  it("has every part of the programme once: built and with its place, or not built and with a reason", () => {
    const rows = rowsOf(sectionOf(page, "## Programme")).filter(([number]) => /^T\d+$/.test(number!))
    const { scripts } = JSON.parse(read("package.json"))
    assert.sameMembers(rows.map(([number]) => number!), Array.from({ length: 28 }, (_, index) => `T${index + 1}`))
    for (const [number, , ...rest] of rows) {
      if (rest.length === 1) {
        assert.isAbove(rest[0]!.length, 10, number)
      } else {
        const [, place = "", command = ""] = rest
        assert.match(place, /^\[[^\]]+\]\(\.\.\/\.\.\/[^)]+\)$/, `${number} links to where it is`)
        const script = /^npm (?:run )?(\S+)$/.exec(command)?.[1] ?? ""
        assert.property(scripts, script, number)
        assert.include(read(".ci/run"), command, `${number} is run at each change`)
      }
    }
  })
})

describe("docs/reference/native-abi.md", () => {
  const page = "docs/reference/native-abi.md"
  const header = read("native/include/leasehold_host_api.h")

  it("has every status with its number, and says which are sticky", () => {
    const [, list = ""] = /typedef int32_t lh_status;\s+enum \{([\s\S]*?)\};/.exec(header) ?? []
    const statuses = [...list.matchAll(/(LH_\w+) = (\d+)/g)]
    assert.strictEqual(statuses.length, Object.keys(HostApi.Status).length)
    for (const [, name = "", number = ""] of statuses) {
      const [, stated, sticky] = rowOf(sectionOf(page, "## Statuses"), name)
      assert.strictEqual(stated, number, name)
      assert.strictEqual(sticky, HostApi.isSticky(Number(number)) ? "yes" : "no", name)
    }
  })

  it("has every function, struct and constant of the header", () => {
    const functions = [...header.matchAll(/^LH_EXPORT \w+ (lh_\w+)\(/gm)].map(([, name]) => name!)
    assert.isAbove(functions.length, 20)
    for (const name of functions) {
      assert.isAbove(rowOf(sectionOf(page, "## Functions"), name)[1]!.length, 5, name)
    }
    for (const [, name = "", bytes = ""] of header.matchAll(/sizeof\((lh_\w+)\) == (\d+)/g)) {
      assert.strictEqual(rowOf(sectionOf(page, "## Structs"), name)[1], bytes, name)
    }
    for (const [name] of header.matchAll(/\bLH_(?:LANE|FEATURE|TRAIT|TRANSFER|ARGUMENT|DTYPE)_[A-Z0-9_]+/g)) {
      assert.include(read(page), `\`${name}\``)
    }
  })

  it("names what a kernel may read its arguments with", () => {
    for (const [, name = ""] of read("native/include/leasehold_kernel.h").matchAll(/ \*?(lh_argument_\w+)\(/g)) {
      assert.include(read(page), `\`${name}\``)
    }
  })
})

// Failures on purpose: one effect for each message that the page of errors shows.

/** What a simulated device refuses, and how often. */
interface Refusal {
  readonly operation: "malloc" | "free" | "submit" | "launch"
  readonly status: number
  readonly times: number
}

/** A device that refuses. A test arms it by setting what it refuses. */
const refusingDevice = (armed: { refusal: Refusal | undefined }) => {
  const guarded = <A>(
    operation: Refusal["operation"],
    call: Effect.Effect<A, HostApi.HostApiError>
  ): Effect.Effect<A, HostApi.HostApiError> =>
    Effect.suspend(() => {
      const { refusal } = armed
      if (refusal?.operation !== operation || refusal.times === 0) {
        return call
      }
      armed.refusal = { ...refusal, times: refusal.times - 1 }
      const { status } = refusal
      const statusName = HostApi.statusName(status)
      return new HostApi.HostApiError({
        operation,
        status,
        statusName,
        deviceCode: 0,
        deviceName: "",
        detail: "",
        entryIndex: status === HostApi.Status.Busy ? -1 : 0
      })
    })
  return Layer.effect(
    HostApi.HostApi,
    Effect.map(HostApi.HostApi, (api): HostApi.Service => ({
      ...api,
      immediate: undefined,
      malloc: (...args) => guarded("malloc", api.malloc(...args)),
      free: (...args) => guarded("free", api.free(...args)),
      submit: (...args) => guarded("submit", api.submit(...args)),
      launch: (...args) => guarded("launch", api.launch(...args))
    }))
  )
}

const arm = (armed: { refusal: Refusal | undefined }, refusal: Refusal): Effect.Effect<void> =>
  Effect.sync(() => {
    armed.refusal = refusal
  })

interface Bench {
  readonly runner: DeviceRunner.Service
  /** Another runner on the same device. */
  readonly other: DeviceRunner.Service
  readonly refuse: (refusal: Refusal) => Effect.Effect<void>
}

/** Runs what is to fail on a runner of 64 KiB, and answers the failure. */
const failure = (
  use: (bench: Bench) => Effect.Effect<unknown, unknown, Scope.Scope>,
  options: { readonly runner?: RunnerOptions.RunnerOptions; readonly simulator?: Simulator.Options } = {}
): Effect.Effect<unknown, unknown> => {
  const armed: { refusal: Refusal | undefined } = { refusal: undefined }
  return Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: "64 KiB" }, ...options.runner })
    const other = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: "64 KiB" } })
    return yield* Effect.flip(use({ runner, other, refuse: (refusal) => arm(armed, refusal) }))
  })).pipe(Effect.provide(Layer.provide(refusingDevice(armed), Simulator.layer(options.simulator))))
}

const kernels = (symbol: string) => [
  Simulator.kernel({ library: join(root, "native", "build", "libleasehold_test_kernels.so"), symbol })
]

const prefillSignature = {
  tokens: Arg.input("int32", ["n"]),
  workspace: Arg.scratch("float32", ["n", 1024]),
  logits: Arg.output("float32", ["n", 256])
}
const prefill = Callable.native({ name: "prefill", signature: prefillSignature, kernels: kernels("test_nothing") })
const prefillArgs = (n: number) => ({ tokens: new Int32Array(n), logits: new Float32Array(n * 256) })

const stepSignature = {
  token: Arg.input("int32", [1]),
  kvCache: Arg.resident("float32", { access: "readWrite" }),
  logits: Arg.output("float32", [256]),
  position: Arg.scalar("int32")
}
const stepOn = (symbol: string) =>
  Callable.native({ name: "decode step", signature: stepSignature, kernels: kernels(symbol) })
const step = stepOn("test_nothing")

const stepArgs = (runner: DeviceRunner.Service) =>
  Effect.map(runner.allocate("float32", [64]), (kvCache) => ({
    token: new Int32Array(1),
    kvCache,
    logits: new Float32Array(256),
    position: 0
  }))

/** Hands over whatever it is, as a program without types would. */
type Untyped = (callable: Callable.Any, args: unknown) => Effect.Effect<void, unknown>

/** A decode step with one of its arguments replaced. */
const stepWith = (change: (bench: Bench) => Effect.Effect<Record<string, unknown>, unknown, Scope.Scope>) =>
  failure((bench) =>
    Effect.gen(function*() {
      const args = { ...yield* stepArgs(bench.runner), ...yield* change(bench) }
      yield* (bench.runner.run as Untyped)(step, args)
    })
  )

const detached = (): Int32Array => {
  const view = new Int32Array(1)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}

/** `maxByteLength` is newer than the library of types. */
const ResizableBuffer = ArrayBuffer as new(
  byteCount: number,
  options: { readonly maxByteLength: number }
) => ArrayBuffer

const configured = (temporaryBuffer: TemporaryBuffer.Options) => ({ runner: { temporaryBuffer } })

const budgetFailures = [
  failure(({ runner }) => runner.run(prefill, prefillArgs(15))),
  failure(({ runner }) => runner.run(prefill, prefillArgs(20))),
  failure(
    ({ runner }) => runner.run(prefill, prefillArgs(6)),
    configured({ maxBytes: "36 KiB", chunks: { sizes: ["26 KiB", "10 KiB"] } })
  ),
  failure(
    ({ runner }) => runner.run(prefill, prefillArgs(5)),
    configured({ maxBytes: "64 KiB", chunks: { count: 4 } })
  ),
  failure(({ runner }) => runner.allocate("float32", [1000]), { runner: { residentMaxBytes: 2048 } }),
  failure(({ refuse, runner }) =>
    refuse({ operation: "free", status: HostApi.Status.Busy, times: 1 }).pipe(
      Effect.zipRight(runner.configure({ maxBytes: "32 KiB" })),
      Effect.zipRight(runner.configure({ maxBytes: "80 KiB" }))
    )
  ),
  failure(({ runner }) => runner.run(prefill, prefillArgs(5)), {
    runner: { stagingMaxBytes: 4096 },
    simulator: { completion: "late" }
  })
]

const slotFailures = [
  failure(({ runner }) => Effect.zipRight(runner.bind(prefill, prefillArgs(1)), runner.run(prefill, prefillArgs(1)))),
  failure(({ runner }) =>
    Effect.gen(function*() {
      yield* runner.load(prefill)
      yield* Effect.fork(runner.configure({ maxBytes: "128 KiB" }))
      yield* Effect.yieldNow()
      yield* runner.run(prefill, prefillArgs(1))
    })
  ),
  failure(({ runner }) =>
    Effect.zipRight(runner.bind(prefill, prefillArgs(1)), runner.configure({ maxBytes: "128 KiB" }))
  ),
  failure(({ runner }) =>
    Effect.gen(function*() {
      yield* Effect.fork(runner.configure({ maxBytes: "128 KiB" }))
      yield* Effect.yieldNow()
      yield* runner.configure({ maxBytes: "256 KiB" })
    })
  )
]

const optionFailures = [
  failure(() => Effect.void, configured({ maxBytes: "64 MB/s" as "64 MiB" })),
  failure(() => Effect.void, configured({ alignmentBytes: 1000 })),
  failure(() => Effect.void, configured({ maxBytes: 4096, chunks: { sizes: ["1 KiB", "4 KiB"] } })),
  failure(() => Effect.void, { runner: { slots: 65 } }),
  failure(() => Effect.void, { runner: { interruptDeadline: 0 } }),
  Effect.flip(failure(({ runner }) => runner.trim("8 KiB"))),
  Effect.flip(failure(({ runner }) => runner.budget(""))),
  Effect.flip(failure(({ runner }) => Effect.zipRight(runner.budget("tenant-a"), runner.budget("tenant-a")))),
  Effect.flip(
    failure(({ runner }) =>
      Effect.zipRight(runner.budget("tenant-a", { reserveBytes: "8 KiB" }), runner.configure({ maxBytes: "4 KiB" }))
    )
  )
].map((effect) => Effect.flip(effect))

/** Runs an effect on a clock of its own. That clock would stay with the fiber, so the fiber is one of its own too. */
const onTestClock = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.fork(Effect.provide(effect, TestContext.TestContext)).pipe(
    Effect.flatMap(Fiber.await),
    Effect.flatten
  )

/** Lets a run wait in a fiber of its own, and goes on when it does. */
const letWait = (runner: DeviceRunner.Service, run: Effect.Effect<void, unknown>) =>
  Effect.gen(function*() {
    const { runs: before } = yield* runner.stats
    const fiber = yield* Effect.fork(run)
    const look = Effect.zipRight(Effect.yieldNow(), runner.stats)
    yield* Effect.repeat(look, { until: ({ runs }) => runs.waited > before.waited })
    return fiber
  })

/** Room for a run of `prefill` and nothing beside it: 6 KiB of 8 KiB. */
const narrow = (admission: RunnerOptions.Admission) => ({
  runner: { temporaryBuffer: { maxBytes: "8 KiB" }, slots: 2, admission } as const
})

const admissionFailures = [
  failure(({ runner }) =>
    Effect.gen(function*() {
      yield* runner.bind(prefill, prefillArgs(1))
      yield* letWait(runner, runner.run(prefill, prefillArgs(1)))
      yield* Fiber.join(yield* Effect.fork(runner.run(prefill, prefillArgs(1))))
    }), narrow({ wait: { maxQueueCount: 1 } })),
  failure(({ runner }) =>
    Effect.gen(function*() {
      yield* runner.bind(prefill, prefillArgs(1))
      const waiting = yield* letWait(runner, runner.run(prefill, prefillArgs(1)))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(waiting)
    }), narrow({ wait: { maxQueueCount: 8, deadline: "2 seconds" } })),
  failure(({ runner }) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.extend(runner.bind(prefill, prefillArgs(1)), scope)
      const waiting = yield* letWait(runner, runner.run(prefill, prefillArgs(1)))
      yield* letWait(runner, Effect.scoped(Effect.zipRight(runner.bind(prefill, prefillArgs(1)), Effect.never)))
      // A run has ended, 40 ms after the others began to wait: that is what the estimate rests on.
      yield* TestClock.adjust("40 millis")
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(waiting)
      const look = Effect.zipRight(Effect.yieldNow(), runner.stats)
      yield* Effect.repeat(look, { until: ({ runs }) => runs.waiting === 0 })
      yield* Fiber.join(yield* Effect.fork(runner.run(prefill, prefillArgs(1))))
    }), narrow({ shed: { maxQueueCount: 8, maxWait: "10 millis" } })),
  failure(({ runner }) =>
    Effect.flatMap(
      runner.budget("tenant-a", { maxBytes: "4 KiB" }),
      (tenant) => tenant.run(prefill, prefillArgs(1))
    )
  ),
  failure(({ runner }) =>
    Effect.gen(function*() {
      const tenant = yield* runner.budget("tenant-a")
      yield* runner.bind(prefill, prefillArgs(1))
      const waiting = yield* letWait(runner, tenant.run(prefill, prefillArgs(1)))
      yield* tenant.close
      yield* Fiber.join(waiting)
    }), narrow({ wait: { maxQueueCount: 8 } })),
  failure(
    ({ runner }) => Effect.zipRight(runner.bind(prefill, prefillArgs(1)), runner.run(prefill, prefillArgs(1))),
    narrow({ wait: { maxQueueCount: 8 } })
  ),
  failure(({ runner }) =>
    Effect.gen(function*() {
      const tenant = yield* runner.budget("tenant-a")
      yield* tenant.bind(prefill, prefillArgs(1))
      yield* tenant.close
    })
  ),
  failure(
    ({ runner }) => Effect.zipRight(runner.bind(prefill, prefillArgs(1)), runner.run(prefill, prefillArgs(1))),
    narrow("fail")
  ),
  failure(
    ({ runner }) =>
      Effect.zipRight(runner.budget("tenant-a", { reserveBytes: "4 KiB" }), runner.run(prefill, prefillArgs(1))),
    narrow("fail")
  ),
  failure(
    ({ runner }) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Scope.extend(runner.bind(prefill, prefillArgs(1)), scope)
        yield* runner.bind(prefill, prefillArgs(1))
        yield* Scope.close(scope, Exit.void)
        yield* runner.run(prefill, prefillArgs(2))
      }),
    { runner: { temporaryBuffer: { maxBytes: "16 KiB" }, slots: 2 } }
  )
].map(onTestClock)

const argumentFailures = [
  stepWith(() => Effect.succeed({ logits: undefined })),
  stepWith(() => Effect.succeed({ tokens: new Int32Array(1) })),
  stepWith(({ runner }) => Effect.map(runner.allocate("int32", [1]), (token) => ({ token }))),
  stepWith(() => Effect.succeed({ token: new Float64Array(1) })),
  stepWith(() => Effect.succeed({ position: 0.5 })),
  stepWith(() => Effect.succeed({ token: detached() })),
  stepWith(() => Effect.succeed({ token: new Int32Array(new ResizableBuffer(4, { maxByteLength: 8 })) })),
  stepWith(() => Effect.succeed({ token: new Int32Array(new SharedArrayBuffer(4)) })),
  stepWith(() => {
    const memory = new ArrayBuffer(1024)
    return Effect.succeed({ token: new Int32Array(memory, 0, 1), logits: new Float32Array(memory) })
  }),
  stepWith(({ other }) => Effect.map(other.allocate("float32", [64]), (kvCache) => ({ kvCache }))),
  stepWith(({ runner }) => Effect.map(Effect.scoped(runner.allocate("float32", [64])), (kvCache) => ({ kvCache }))),
  stepWith(() => Effect.succeed({ logits: new Float32Array(100) })),
  failure(({ runner }) => runner.allocate("float32", [2, -1])),
  failure(({ runner }) => runner.allocate("float32", [2 ** 27, 2 ** 27])),
  failure(({ runner }) =>
    runner.run(
      Callable.native({ signature: { work: Arg.scratch("uint8", ["n"]) }, kernels: kernels("test_nothing") }),
      {}
    )
  ),
  failure(({ runner }) => runner.run(prefill, prefillArgs(5)), { runner: { maxInlineCopyBytes: 4096 } }),
  failure(({ runner }) =>
    runner.run(
      Callable.native({ signature: { x: Arg.scratch("float33" as "float32", [1]) }, kernels: kernels("x") }),
      {}
    )
  ),
  failure(({ runner }) =>
    runner.run(
      Callable.native({ name: "matmul", signature: {}, kernels: [{ backend: "cuda", symbol: "matmul" }] }),
      {}
    )
  ),
  failure(({ runner }) => Effect.flatMap(runner.bind(prefill, prefillArgs(1)), (run) => run.validate)),
  failure(({ runner }) =>
    Effect.flatMap(runner.allocate("float32", [4, 4]), (resident) => resident.upload(new Float32Array(15)))
  )
]

const lose = ({ runner }: Bench) =>
  Effect.flatMap(stepArgs(runner), (args) => runner.run(stepOn("test_lose_device"), args))

const launchFailures = [
  failure(({ runner }) => Effect.flatMap(stepArgs(runner), (args) => runner.run(stepOn("test_fail"), args))),
  failure(({ runner }) => Effect.flatMap(stepArgs(runner), (args) => runner.run(stepOn("no_such_kernel"), args))),
  failure(({ runner }) =>
    runner.run(
      Callable.native({ signature: {}, kernels: [Simulator.kernel({ library: "/opt/kernels.so", symbol: "matmul" })] }),
      {}
    )
  ),
  failure(lose),
  ...[HostApi.Status.Misaligned, HostApi.Status.Busy].map((status) =>
    failure(({ refuse, runner }) =>
      Effect.gen(function*() {
        const args = yield* stepArgs(runner)
        yield* refuse({ operation: "launch", status, times: 1 })
        yield* runner.run(step, args)
      })
    )
  )
]

const deviceFailures = [
  failure(({ runner }) => runner.configure({ maxBytes: "2 GiB" })),
  failure(({ refuse, runner }) =>
    Effect.zipRight(
      refuse({ operation: "malloc", status: HostApi.Status.OutOfMemory, times: 2 }),
      runner.configure({ maxBytes: "64 KiB", alignmentBytes: 512 })
    )
  ),
  failure((bench) => Effect.zipRight(Effect.flip(lose(bench)), bench.other.allocate("float32", [4]))),
  failure((bench) =>
    Effect.gen(function*() {
      const resident = yield* bench.other.allocate("float32", [4])
      yield* Effect.flip(lose(bench))
      yield* resident.upload(new Float32Array(4))
    })
  ),
  failure(({ refuse, runner }) =>
    Effect.gen(function*() {
      const args = yield* stepArgs(runner)
      yield* refuse({ operation: "submit", status: HostApi.Status.TransferFailed, times: 1 })
      yield* runner.run(step, args)
    })
  )
]

const stateFailures = [
  failure(({ runner }) =>
    Effect.gen(function*() {
      const run = yield* Effect.scoped(runner.bind(prefill, prefillArgs(1)))
      yield* run.launch
    })
  ),
  failure(() =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const runner = yield* Scope.extend(DeviceRunner.make(), scope)
      const resident = yield* runner.allocate("float32", [4])
      yield* Scope.close(scope, Exit.void)
      yield* resident.upload(new Float32Array(4))
    }).pipe(Effect.provide(Simulator.layer()))
  ),
  failure((bench) => Effect.zipRight(Effect.flip(lose(bench)), bench.runner.run(prefill, prefillArgs(1)))),
  failure(({ runner }) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(runner.run(prefill, prefillArgs(1)))
      const look = Effect.zipRight(Effect.yieldNow(), runner.stats)
      yield* Effect.repeat(look, { until: (stats) => stats.device.stageCalls > 0 })
      // Between staging and launching nothing is waited for: the launch has begun.
      yield* Effect.repeatN(Effect.yieldNow(), 50)
      yield* Fiber.interrupt(fiber)
      yield* runner.run(prefill, prefillArgs(1))
    }), {
    runner: { interruptDeadline: "20 millis" },
    simulator: { cost: { launch: "500 millis" } }
  }),
  failure(({ refuse, runner }) =>
    Effect.gen(function*() {
      yield* refuse({ operation: "malloc", status: HostApi.Status.OutOfMemory, times: 2 })
      yield* Effect.flip(runner.configure({ maxBytes: "64 KiB", alignmentBytes: 512 }))
      yield* runner.run(prefill, prefillArgs(1))
    })
  ),
  ...[
    { libraryPath: "/opt/leasehold/libleasehold_simulator.so" },
    { libraryPath: "build/libleasehold_simulator.so" },
    { totalBytes: "100 TiB" } as const
  ].map((simulator) => Effect.flip(failure(() => Effect.void, { simulator }))),
  Effect.flip(Effect.scoped(Layer.build(Cuda.layer({ driverPath: "/opt/nvidia/libcuda.so.1" }))))
]

/** The messages of all failures, by class. */
const provokedMessages = Effect.gen(function*() {
  const failures = yield* Effect.all([
    ...budgetFailures,
    ...slotFailures,
    ...admissionFailures,
    ...optionFailures,
    ...argumentFailures,
    ...launchFailures,
    ...deviceFailures,
    ...stateFailures
  ])
  const messages = new Map<string, Array<string>>()
  for (const error of failures) {
    assert.isTrue(Errors.isRunnerError(error), String(error))
    if (Errors.isRunnerError(error)) {
      messages.set(error._tag, [...messages.get(error._tag) ?? [], error.message])
    }
  }
  return messages
})
