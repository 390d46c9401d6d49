/**
 * The tree of schedules: first those without a preemption, then those with one, and so on. Each is reached in one way, from
 * the one that lacks its last choice; where fibers wait, yield or end every successor is tried.
 *
 * Where a program has more schedules with so many preemptions than are to be tried, a sample is: whole branches, drawn from
 * all that are known. From what they hold it is reckoned how many there are, so that the share that was tried can be said.
 */
import { Utils } from "effect"
import { type Branch, type Choice, format, ListedTurns, type Turns } from "../../src/internal/testing/schedules.ts"
import { type Defect, type DefectKind, defectKinds, type Program } from "./program.ts"
import { tryOnce } from "./trial.ts"

export interface Bounds {
  readonly preemptions: number
  /** Levels are tried whole as long as all schedules so far are no more than this. */
  readonly maxWholeCount: number
  /** Of each level so many are tried at least, where it has so many. */
  readonly sampleCount: number
  readonly seed: number
}

/** The schedules of a program that have the same number of preemptions. */
export interface Level {
  readonly preemptions: number
  readonly tried: number
  /** How many there are: counted where all were tried, else reckoned from those that were, and at least as many. */
  readonly known: number
  readonly isWhole: boolean
}

export interface Found {
  readonly kind: DefectKind
  readonly detail: string
  /** The schedule in which it showed first. */
  readonly schedule: string
}

export interface Explored {
  readonly program: string
  readonly fibers: number
  readonly schedules: number
  readonly mostSteps: number
  readonly levels: ReadonlyArray<Level>
  /** In how many schedules each defect showed. */
  readonly defects: Readonly<Record<DefectKind, number>>
  /** One for each kind of defect. */
  readonly found: ReadonlyArray<Found>
  readonly seconds: number
}

interface Node {
  readonly parent: Node | undefined
  readonly choice: Choice | undefined
}

const turnsOf = (node: Node): Extract<Turns, { readonly _tag: "Listed" }> => {
  const choices: Array<Choice> = []
  for (let at: Node | undefined = node; at?.choice !== undefined; at = at.parent) {
    choices.push(at.choice)
  }
  return { _tag: "Listed", choices: choices.toReversed() }
}

/** Keeps so many of what it is given, each with the same chance. */
class Sample<A> {
  readonly kept: Array<A> = []
  readonly #random: Utils.PCGRandom
  readonly #maxCount: number
  count = 0

  constructor(random: Utils.PCGRandom, maxCount: number) {
    this.#random = random
    this.#maxCount = maxCount
  }

  add(value: A): void {
    this.count += 1
    if (this.kept.length < this.#maxCount) {
      this.kept.push(value)
    } else {
      const index = this.#random.integer(this.count)
      if (index < this.#maxCount) {
        this.kept[index] = value
      }
    }
  }

  /** What was kept, in an order that is drawn. */
  shuffled(): ReadonlyArray<A> {
    for (let last = this.kept.length - 1; last > 0; last--) {
      const other = this.#random.integer(last + 1)
      ;[this.kept[last], this.kept[other]] = [this.kept[other]!, this.kept[last]!]
    }
    return this.kept
  }
}

/** Takes one out, drawn, so that a branch that is too large is not tried at one end only. */
const takeAny = <A>(values: Array<A>, random: Utils.PCGRandom): A => {
  const index = values.length === 1 ? 0 : random.integer(values.length)
  const value = values[index]!
  const last = values.pop()!
  if (index < values.length) {
    values[index] = last
  }
  return value
}

/** After so many that failed nothing more is learnt. */
const maxFailureCount = 50

/** What was found in all schedules so far. */
class Findings {
  readonly #program: Program
  readonly defects = Object.fromEntries(defectKinds.map((kind) => [kind, 0])) as Record<DefectKind, number>
  readonly found = new Map<DefectKind, Found>()
  schedules = 0
  mostSteps = 0
  #failed = 0

  constructor(program: Program) {
    this.#program = program
  }

  get isOver(): boolean {
    return this.#failed >= maxFailureCount
  }

  /** Tries one schedule. Answers where else it could have gone. */
  attempt(node: Node, looksFor: "tasks" | "all"): ReadonlyArray<Branch> {
    const listed = turnsOf(node)
    const turns = new ListedTurns(listed, looksFor)
    const seen = tryOnce(this.#program, turns)
    this.schedules += 1
    this.mostSteps = Math.max(this.mostSteps, seen.stepCount)
    const wrong: ReadonlyArray<Defect> = turns.isComplete ? seen.defects : [{
      kind: "unexpected",
      detail: "the program went another way when it was tried again"
    }]
    this.#failed += wrong.length > 0 ? 1 : 0
    for (const kind of new Set(wrong.map((defect) => defect.kind))) {
      this.defects[kind] += 1
      if (!this.found.has(kind)) {
        const { detail } = wrong.find((defect) => defect.kind === kind)!
        this.found.set(kind, { kind, detail, schedule: format({ form: "effects", turns: listed }) })
      }
    }
    return turns.branches
  }
}

/** Tries the schedules of a program. */
export const exploreAll = (program: Program, bounds: Bounds): Explored => {
  const { maxWholeCount, preemptions: most, sampleCount, seed } = bounds
  const startMillis = performance.now()
  const findings = new Findings(program)
  const levels: Array<Level> = []
  let roots = new Sample<Node>(new Utils.PCGRandom(seed, 0), 1)
  roots.add({ parent: undefined, choice: undefined })
  /** How many schedules there are for each that was tried. */
  let scale = 1
  for (let preemptions = 0; preemptions <= most && !findings.isOver; preemptions++) {
    const room = Math.max(sampleCount, maxWholeCount - findings.schedules)
    const next = new Sample<Node>(new Utils.PCGRandom(seed, preemptions + 1), Math.max(sampleCount, maxWholeCount))
    const random = new Utils.PCGRandom(seed, most + 2 + preemptions)
    let rootCount = 0
    let tried = 0
    let leftCount = 0
    for (const root of roots.shuffled()) {
      if (tried >= room || findings.isOver) {
        break
      }
      rootCount += 1
      const branch = [root]
      while (branch.length > 0 && tried < room && !findings.isOver) {
        const parent = takeAny(branch, random)
        tried += 1
        for (
          const { at, firstOption, number, optionCount } of findings.attempt(
            parent,
            preemptions < most ? "all" : "tasks"
          )
        ) {
          for (let option = firstOption; option < firstOption + optionCount; option++) {
            const child: Node = { parent, choice: { at, number, option } }
            if (at === "task") {
              branch.push(child)
            } else {
              next.add(child)
            }
          }
        }
      }
      leftCount += branch.length
    }
    const isWhole = scale === 1 && rootCount === roots.count && leftCount === 0
    const known = Math.round((tried + leftCount) * scale * roots.count / Math.max(1, rootCount))
    scale = known / Math.max(1, tried)
    levels.push({ preemptions, tried, known, isWhole })
    roots = next
  }
  const { defects, found, mostSteps, schedules } = findings
  const seconds = (performance.now() - startMillis) / 1000
  const { fiberCount: fibers, name } = program
  return { program: name, fibers, schedules, mostSteps, levels, defects, found: [...found.values()], seconds }
}
