/**
 * Schedules: one way in which the fibers of a program take turns, and the line of text that names it, by which it can be
 * replayed.
 *
 * A fiber is preempted only where another could go on instead, so what is a choice for one form of a program is one
 * whenever it is tried again.
 */
import * as Utils from "effect/Utils"
import { type Form, forms } from "./cases.ts"
import type { AnyFiber, Explorer, Strategy } from "./explorer.ts"

/** A place where a schedule departs from first in, first out. */
export interface Choice {
  /** `"step"`: a fiber is preempted; `"task"`: a fiber waits, yields or ends, and another than the first goes on. */
  readonly at: "step" | "task"
  /** Which step or task, from 0. */
  readonly number: number
  /** Which of the fibers that wait goes on, in the order in which they came. */
  readonly option: number
}

export type Turns =
  /** Whoever goes on is drawn, and so is who gives way. */
  | { readonly _tag: "Random"; readonly seed: number; readonly index: number; readonly yieldProbability: number }
  /** Fibers have priorities, drawn, which change at `depth - 1` of the steps at which there is a choice. */
  | {
    readonly _tag: "Pct"
    readonly seed: number
    readonly index: number
    readonly depth: number
    readonly contendedCount: number
  }
  /** First in, first out, but for the choices that are named. */
  | { readonly _tag: "Listed"; readonly choices: ReadonlyArray<Choice> }

export interface Schedule {
  readonly form: Form
  readonly turns: Turns
}

/**
 * A schedule as text, such as `effects random=1,38,0.05`, `immediate pct=1,7,3,120` or `effects step=104,0 task=7,1`; with no
 * choice at all `effects undisturbed`.
 */
export const format = ({ form, turns }: Schedule): string => {
  switch (turns._tag) {
    case "Random":
      return `${form} random=${turns.seed},${turns.index},${turns.yieldProbability}`
    case "Pct":
      return `${form} pct=${turns.seed},${turns.index},${turns.depth},${turns.contendedCount}`
    default:
      return turns.choices.length === 0
        ? `${form} undisturbed`
        : [form, ...turns.choices.map(({ at, number, option }) => `${at}=${number},${option}`)].join(" ")
  }
}

const isCount = (value: number | undefined): value is number => Number.isSafeInteger(value) && value! >= 0

/** Reads a schedule; `undefined` where the text is not one. */
export const parse = (text: string): Schedule | undefined => {
  const [word, ...parts] = text.trim().split(/\s+/)
  const form = forms.find((known) => known === word)
  const turns = parseTurns(parts)
  return form === undefined || turns === undefined ? undefined : { form, turns }
}

const parseTurns = (parts: ReadonlyArray<string>): Turns | undefined => {
  if (parts.length === 1 && parts[0] === "undisturbed") {
    return { _tag: "Listed", choices: [] }
  }
  const choices: Array<Choice> = []
  for (const part of parts) {
    const [name, values = ""] = part.split("=")
    const [first, second, third, fourth] = values.split(",").map((value) => value === "" ? Number.NaN : Number(value))
    if (name === "random" && parts.length === 1) {
      return isCount(second) && Number.isFinite(first) && third! >= 0 && third! <= 1
        ? { _tag: "Random", seed: first!, index: second, yieldProbability: third! }
        : undefined
    }
    if (name === "pct" && parts.length === 1) {
      return isCount(second) && Number.isFinite(first) && isCount(third) && isCount(fourth)
        ? { _tag: "Pct", seed: first!, index: second, depth: third, contendedCount: fourth }
        : undefined
    }
    if ((name !== "step" && name !== "task") || !isCount(first) || !isCount(second)) {
      return undefined
    }
    choices.push({ at: name, number: first, option: second })
  }
  return choices.length === 0 ? undefined : { _tag: "Listed", choices }
}

/** A generator of its own for each schedule, so that one can be replayed without those before it. */
const randomOf = ({ index, seed }: { readonly seed: number; readonly index: number }): Utils.PCGRandom =>
  new Utils.PCGRandom(seed, index)

/** Draws who goes on, and who gives way. */
export class RandomTurns implements Strategy {
  readonly #random: Utils.PCGRandom
  readonly #yieldProbability: number

  constructor(turns: Extract<Turns, { readonly _tag: "Random" }>) {
    this.#random = randomOf(turns)
    this.#yieldProbability = turns.yieldProbability
  }

  readonly atStep = (explorer: Explorer): boolean =>
    explorer.waitingCount > 0 && this.#random.number() < this.#yieldProbability

  readonly pick = (_explorer: Explorer, waitingCount: number): number =>
    waitingCount === 1 ? 0 : this.#random.integer(waitingCount)
}

/**
 * Probabilistic concurrency testing: of the fibers that can go on it is always the one with the highest priority. Source:
 * Burckhardt and others, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010: a bug that takes
 * `depth` events in one order is met with a probability of at least `1 / (fibers * steps ** (depth - 1))`.
 */
export class PctTurns implements Strategy {
  readonly #random: Utils.PCGRandom
  readonly #priorities = new Map<AnyFiber, number>()
  /** The steps with a choice at which the fiber at work falls below all others, and how far. */
  readonly #changes = new Map<number, number>()
  #contendedCount = 0
  #lowest = 0
  #last: AnyFiber | undefined
  #wasPreempted = false

  constructor(turns: Extract<Turns, { readonly _tag: "Pct" }>) {
    this.#random = randomOf(turns)
    for (let change = 1; change < turns.depth; change++) {
      this.#changes.set(this.#random.integer(Math.max(1, turns.contendedCount)), change / turns.depth)
    }
  }

  readonly atStep = (explorer: Explorer, fiber: AnyFiber): boolean => {
    const { waitingCount } = explorer
    if (waitingCount === 0) {
      return false
    }
    const change = this.#changes.get(this.#contendedCount)
    this.#contendedCount += 1
    if (change !== undefined) {
      this.#priorities.set(fiber, change)
    }
    const own = this.#priorityOf(fiber)
    for (let index = 0; index < waitingCount; index++) {
      if (this.#priorityOf(explorer.waitingFiber(index)) > own) {
        this.#wasPreempted = true
        return true
      }
    }
    return false
  }

  readonly pick = (explorer: Explorer, waitingCount: number): number => {
    // Who yields of its own accord waits for others. With its priority it would be asked again and again.
    if (!this.#wasPreempted && this.#last !== undefined && isWaiting(explorer, this.#last)) {
      this.#lowest -= 1
      this.#priorities.set(this.#last, this.#lowest)
    }
    this.#wasPreempted = false
    let best = 0
    for (let index = 1; index < waitingCount; index++) {
      if (this.#priorityOf(explorer.waitingFiber(index)) > this.#priorityOf(explorer.waitingFiber(best))) {
        best = index
      }
    }
    this.#last = explorer.waitingFiber(best)
    return best
  }

  /** Between 1 and 2 for a fiber that is new; an interruption goes before all fibers. */
  #priorityOf(fiber: AnyFiber | undefined): number {
    if (fiber === undefined) {
      return Number.POSITIVE_INFINITY
    }
    let priority = this.#priorities.get(fiber)
    if (priority === undefined) {
      priority = 1 + this.#random.number()
      this.#priorities.set(fiber, priority)
    }
    return priority
  }
}

/** Whether a fiber is among those that could go on. */
export const isWaiting = (explorer: Explorer, fiber: AnyFiber): boolean => {
  for (let index = 0; index < explorer.waitingCount; index++) {
    if (explorer.waitingFiber(index) === fiber) {
      return true
    }
  }
  return false
}

/** A place at which a schedule could have gone another way. */
export interface Branch {
  readonly at: Choice["at"]
  readonly number: number
  /** The options that were not taken: from `firstOption`, as many as these. */
  readonly firstOption: number
  readonly optionCount: number
}

/** Goes the way that the choices name, and first in, first out elsewhere. */
export class ListedTurns implements Strategy {
  readonly #choices: ReadonlyArray<Choice>
  readonly #looksFor: "nothing" | "tasks" | "all"
  /** Where else this schedule could have branched, behind its last choice. */
  readonly branches: Array<Branch> = []
  /** The choices that the program came to. */
  readonly met: Array<Choice> = []
  #nextChoice = 0
  #favoured: Choice | undefined
  readonly #preempted = new Set<AnyFiber>()
  #stepOfTask = 0
  #idleStepCount = 1

  constructor(
    { choices }: Extract<Turns, { readonly _tag: "Listed" }>,
    looksFor: "nothing" | "tasks" | "all" = "nothing"
  ) {
    this.#choices = choices
    this.#looksFor = looksFor
  }

  /** Whether every choice was met. */
  get isComplete(): boolean {
    return this.met.length === this.#choices.length
  }

  readonly atStep = (explorer: Explorer, fiber: AnyFiber, step: number): boolean => {
    this.#stepOfTask += 1
    const choice = this.#next("step", step)
    if (choice !== undefined) {
      this.#favoured = choice
      this.#preempted.add(fiber)
      return true
    }
    // Who gives way before it has done anything might as well not have been chosen.
    if (
      this.#looks && this.#looksFor === "all" && explorer.waitingCount > 0 && this.#stepOfTask > this.#idleStepCount
    ) {
      this.branches.push({ at: "step", number: step, firstOption: 0, optionCount: explorer.waitingCount })
    }
    return false
  }

  readonly pick = (explorer: Explorer, waitingCount: number): number => {
    const index = this.#choose(explorer.taskCount, waitingCount)
    const fiber = explorer.waitingFiber(index)
    this.#stepOfTask = 0
    // After a preemption the run loop takes up the thread with a step of its own.
    this.#idleStepCount = fiber !== undefined && this.#preempted.delete(fiber) ? 2 : 1
    return index
  }

  #choose(task: number, waitingCount: number): number {
    const favoured = this.#favoured
    this.#favoured = undefined
    const choice = favoured ?? this.#next("task", task)
    if (choice !== undefined && choice.option < waitingCount) {
      this.met.push(choice)
      return choice.option
    }
    if (this.#looks && waitingCount > 1) {
      this.branches.push({ at: "task", number: task, firstOption: 1, optionCount: waitingCount - 1 })
    }
    return 0
  }

  /** Whether all choices are behind. */
  get #looks(): boolean {
    return this.#looksFor !== "nothing" && this.#nextChoice === this.#choices.length
  }

  /** The choice that is due. One that the program has passed by is left out. */
  #next(at: Choice["at"], number: number): Choice | undefined {
    for (let choice = this.#choices[this.#nextChoice]; choice !== undefined; choice = this.#choices[this.#nextChoice]) {
      if (choice.at !== at || choice.number > number) {
        return undefined
      }
      this.#nextChoice += 1
      if (choice.number === number) {
        return choice
      }
    }
    return undefined
  }
}

export const strategyOf = (turns: Turns): Strategy => {
  switch (turns._tag) {
    case "Random":
      return new RandomTurns(turns)
    case "Pct":
      return new PctTurns(turns)
    default:
      return new ListedTurns(turns)
  }
}
