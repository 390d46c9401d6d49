/**
 * Planting: a copy of the sources with one mistake in it, beside the packages that it needs, and a process of its own that
 * sweeps it.
 */
import { Data, Duration, Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Mutant } from "./mutant.ts"

const root = fileURLToPath(new URL("../../..", import.meta.url))
const script = fileURLToPath(new URL("./sweepMutant.ts", import.meta.url))

/** Under `node_modules`, where a copy finds the packages and nobody looks for sources. */
const folderOfAll = join(root, "node_modules/.cache/leasehold-mutants")

/** The text of a mutant does not fit the sources of today. */
export class DoesNotApply extends Data.TaggedError("DoesNotApply")<{
  readonly mutant: string
  readonly file: string
  readonly count: number
}> {
  override get message(): string {
    return `the mutant "${this.mutant}" replaces a text that occurs ${this.count} times in ${this.file}, not once`
  }
}

/** A sweep of one scenario. */
export interface PlannedSweep {
  readonly scenario: string
  /** Those of the scenario where it is left out. */
  readonly forms?: Mutant["forms"]
  readonly only?: Mutant["only"]
  /** How many cases of each form are tried at most: of more, a sample is. */
  readonly maxCaseCount: number
}

/** What a process of sweeps is to do. */
export interface Task {
  readonly mutant: string
  /** In this order, until one finds something. */
  readonly sweeps: ReadonlyArray<PlannedSweep>
  readonly seed: number
  /** The copy that the sweeps have to meet. */
  readonly folder: string
}

/** What came of it. */
export interface Answer {
  readonly mutant: string
  readonly killed: boolean
  /** The sweep that found something. */
  readonly found?: PlannedSweep | undefined
  readonly scenario: string
  readonly verdict: string
  /** The first case in which it shows, and what it is, in a sentence. */
  readonly case: string
  readonly detail: string
  /** How many cases were tried in all. */
  readonly cases: number
  readonly seconds: number
}

/** A source with a mutant's mistake in it. */
export const mutate = (mutant: Mutant, source: string): Effect.Effect<string, DoesNotApply> => {
  const count = source.split(mutant.find).length - 1
  return count === 1
    ? Effect.succeed(source.replace(mutant.find, () => mutant.replace))
    : Effect.fail(new DoesNotApply({ mutant: mutant.name, file: mutant.file, count }))
}

const sourceFolder = join(root, "src")

/** A mutant's source of today, with the mistake in it. */
export const mutated = (mutant: Mutant): Effect.Effect<string, DoesNotApply> =>
  Effect.suspend(() => mutate(mutant, readFileSync(join(sourceFolder, mutant.file), "utf8")))

const removeFolder = (folder: string): void => rmSync(folder, { recursive: true, force: true })

/** A copy of the sources, mutated or as they are, and how TypeScript finds it. It goes when the scope closes. */
export const plant = (mutant: Mutant | undefined): Effect.Effect<string, DoesNotApply, Scope.Scope> =>
  Effect.gen(function*() {
    const text = mutant === undefined ? undefined : yield* mutated(mutant)
    const name = (mutant?.name ?? "control").replaceAll(/[^\w]+/g, "-")
    return yield* Effect.acquireRelease(
      Effect.sync(() => {
        mkdirSync(folderOfAll, { recursive: true })
        const folder = realpathSync(mkdtempSync(join(folderOfAll, `${process.pid}-${name}-`)))
        cpSync(sourceFolder, join(folder, "src"), { recursive: true })
        if (mutant !== undefined && text !== undefined) {
          writeFileSync(join(folder, "src", mutant.file), text)
        }
        // Libraries are found by paths that are relative to the sources.
        symlinkSync(join(root, "native"), join(folder, "native"))
        writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(configuration()))
        // Without it the sources would be taken for CommonJS, and get an Effect of their own.
        writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }))
        return folder
      }),
      (folder) => Effect.sync(() => removeFolder(folder))
    )
  })

/** The project's own configuration, whose paths lead to the copy because they are relative to the file that has them. */
const configuration = (): unknown => {
  const path = join(root, "tsconfig.json")
  const { compilerOptions } = JSON.parse(readFileSync(path, "utf8")) as {
    readonly compilerOptions: { readonly paths: Readonly<Record<string, ReadonlyArray<string>>> }
  }
  return { extends: path, compilerOptions: { paths: compilerOptions.paths } }
}

/** Whether a process is there. */
const isAlive = (processId: number): boolean => {
  try {
    return process.kill(processId, 0)
  } catch {
    return false
  }
}

/** Whether a folder belongs to another process that is at work. */
const isInUse = (name: string): boolean => {
  const processId = Number.parseInt(name, 10)
  return processId !== process.pid && isAlive(processId)
}

/** Removes what this process and those that were killed have left behind, and the folder of all once it is empty. */
export const tidyUp: Effect.Effect<void> = Effect.sync(() => {
  mkdirSync(folderOfAll, { recursive: true })
  const folders = readdirSync(folderOfAll)
  const leftBehind = folders.filter((name) => !isInUse(name))
  for (const name of leftBehind) {
    removeFolder(join(folderOfAll, name))
  }
  if (leftBehind.length === folders.length) {
    rmdirSync(folderOfAll)
  }
}).pipe(
  // Another process may plant at this very moment, and then the folder of all is still needed.
  Effect.catchAllDefect(() => Effect.void)
)

/** After so long a process of sweeps is killed. */
const deadlineSeconds = 60

/** What a process of sweeps said, and how it ended. */
interface Ending {
  readonly output: string
  readonly errors: string
  readonly exitCode: number | null
  readonly signal: string | null
  readonly isLate: boolean
}

/** Runs sweeps in a process of their own, which is killed where it takes too long or is not wanted any more. */
const spawnSweeps = (task: Task): Effect.Effect<Ending> =>
  Effect.async<Ending>((resume) => {
    const child = spawn(process.execPath, ["--import", "tsx/esm", script, JSON.stringify(task)], {
      cwd: root,
      // A copy is compiled once: what tsx would remember of it nobody asks for again.
      env: { ...process.env, TSX_DISABLE_CACHE: "1", TSX_TSCONFIG_PATH: join(task.folder, "tsconfig.json") },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    let errors = ""
    let isLate = false
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text
    })
    const deadline = setTimeout(() => {
      isLate = true
      child.kill("SIGKILL")
    }, deadlineSeconds * 1000)
    const end = (exitCode: number | null, signal: string | null): void => {
      clearTimeout(deadline)
      resume(Effect.succeed({ output, errors, exitCode, signal, isLate }))
    }
    child.on("error", (error) => {
      errors += error.message
      end(null, null)
    })
    child.on("close", end)
    return Effect.async<void>((gone) => {
      clearTimeout(deadline)
      child.removeAllListeners("close").on("close", () => gone(Effect.void))
      child.kill("SIGKILL")
    })
  })

/** The line that says what happened, among all that a dying process prints. */
const errorLine = (errors: string): string => {
  const lines = errors.split("\n").filter((line) => line.trim() !== "")
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1) ?? ""
}

/** Runs sweeps and answers what was found. A process that crashes has found something too, but the kit has not. */
export const sweepApart = (task: Task): Effect.Effect<Answer> =>
  Effect.map(Effect.timed(spawnSweeps(task)), ([duration, ending]): Answer => {
    const line = ending.output.trimEnd().split("\n").at(-1) ?? ""
    const seconds = Math.round(Duration.toSeconds(duration) * 10) / 10
    if (ending.exitCode === 0) {
      return { ...JSON.parse(line) as Answer, seconds }
    }
    const how = ending.signal === null ? `with exit code ${ending.exitCode}` : `by ${ending.signal}`
    return {
      mutant: task.mutant,
      killed: !ending.isLate,
      scenario: "",
      verdict: ending.isLate ? "TimedOut" : "Crashed",
      case: "",
      detail: ending.isLate
        ? `the sweeps took longer than ${deadlineSeconds} s`
        : `the process ended ${how}: ${errorLine(ending.errors)}`,
      cases: 0,
      seconds
    }
  })
