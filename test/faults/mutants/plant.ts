/** Planting: a program of sweeps, bundled with sources of which one has a mistake in it, and a process of its own that runs it. */
import { Data, Duration, Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { bundle } from "../../utils/bundle.ts"
import type { Mutant } from "./mutant.ts"

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

/** A mutant's source of today, with the mistake in it. */
export const mutated = (mutant: Mutant): Effect.Effect<string, DoesNotApply> =>
  Effect.suspend(() =>
    mutate(mutant, readFileSync(fileURLToPath(new URL(`../../../src/${mutant.file}`, import.meta.url)), "utf8"))
  )

/** The program of sweeps over the sources, mutated or as they are. It goes when the scope closes. */
export const plant = (mutant: Mutant | undefined): Effect.Effect<string, DoesNotApply, Scope.Scope> =>
  Effect.gen(function*() {
    const rewrite = mutant === undefined ? undefined : { source: mutant.file, text: yield* mutated(mutant) }
    return yield* bundle({ entry: "faults/mutants/sweepMutant.ts", rewrite })
  })

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
const spawnSweeps = (program: string, task: Task): Effect.Effect<Ending> =>
  Effect.async<Ending>((resume) => {
    const child = spawn(process.execPath, [program, JSON.stringify(task)], { stdio: ["ignore", "pipe", "pipe"] })
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
export const sweepApart = (program: string, task: Task): Effect.Effect<Answer> =>
  Effect.map(Effect.timed(spawnSweeps(program, task)), ([duration, ending]): Answer => {
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
