/** The campaign: which programs are explored how far, and what it all comes to. */
import { gatePrograms } from "./gatePrograms.ts"
import { type DefectKind, defectKinds, type Program } from "./program.ts"
import { runnerPrograms } from "./runnerPrograms.ts"
import { exploreAll, type Explored } from "./tree.ts"

export const programs: ReadonlyArray<Program> = [...gatePrograms, ...runnerPrograms]

export const preemptions = 3
export const seed = 1

interface Size {
  readonly maxWholeCount: number
  readonly sampleCount: number
}

/**
 * At the gate every schedule of two and of three fibers is tried, and where a fourth interrupts or breaks it those with two
 * preemptions. On a runner, with ten times the steps, it is those with one, so that the disturbance comes at each step, and a
 * sample of the others.
 */
const short: Readonly<Record<"gate" | "runner" | "disturbed", Size>> = {
  gate: { maxWholeCount: 90_000, sampleCount: 20_000 },
  runner: { maxWholeCount: 800, sampleCount: 150 },
  disturbed: { maxWholeCount: 2800, sampleCount: 150 }
}
const long: typeof short = {
  gate: { maxWholeCount: 1_000_000, sampleCount: 20_000 },
  runner: { maxWholeCount: 40_000, sampleCount: 10_000 },
  disturbed: { maxWholeCount: 40_000, sampleCount: 10_000 }
}

const sizeOf = (program: Program): keyof typeof short =>
  gatePrograms.includes(program) ? "gate" : program.fiberCount === 2 && program.isDisturbed ? "disturbed" : "runner"

/** Explores one program. */
export const exploreProgram = (name: string, isLong: boolean): Explored => {
  const program = programs.find((program) => program.name === name)
  if (program === undefined) {
    throw new Error(`there is no program "${name}"`)
  }
  return exploreAll(program, { preemptions, seed, ...(isLong ? long : short)[sizeOf(program)] })
}

/** How many preemptions all schedules of a program were tried with; -1 where not all without were. */
export const wholePreemptions = ({ levels }: Explored): number => levels.filter(({ isWhole }) => isWhole).length - 1

/** Which part of all schedules with up to three preemptions was tried, as far as it can be reckoned. */
export const share = ({ levels, schedules }: Explored): number =>
  schedules / levels.reduce((sum, { known }) => sum + known, 0)

const rounded = (value: number): number => Number(value.toPrecision(3))

export const summarize = (reports: ReadonlyArray<Explored>) => {
  const count = (kind: DefectKind): number => reports.reduce((sum, { defects }) => sum + defects[kind], 0)
  const defects = Object.fromEntries(defectKinds.map((kind) => [kind, count(kind)])) as Record<DefectKind, number>
  const partial = reports.filter(({ levels }) => levels.some(({ isWhole }) => !isWhole))
  return {
    programs: reports.length,
    schedules: reports.reduce((sum, { schedules }) => sum + schedules, 0),
    fibers: Math.max(...reports.map(({ fibers }) => fibers)),
    preemptions,
    ...defects,
    /** Programs of which every schedule was tried. */
    whole: reports.length - partial.length,
    /** Of the others: with how many preemptions every schedule was tried, and which share of those with up to three. */
    partial: partial.map((report) => ({
      program: report.program,
      whole: wholePreemptions(report),
      tried: report.schedules,
      share: rounded(share(report))
    })),
    seed
  }
}

export type Summary = ReturnType<typeof summarize>

export const isClean = (summary: Pick<Summary, DefectKind> & { readonly modelDifferences?: number }): boolean =>
  defectKinds.every((kind) => summary[kind] === 0) && (summary.modelDifferences ?? 0) === 0
