/**
 * The recorder: what happened under a schedule. It tells two schedules apart by one number, and where a report is wanted
 * it remembers the tasks one by one.
 */
import { describeOperation } from "./book.ts"
import type { AnyFiber, Explorer, Strategy } from "./explorer.ts"
import { nameOf } from "./fiberNames.ts"
import type { Operation } from "./operations.ts"
import { type Choice, isWaiting } from "./schedules.ts"

/** What a fiber did from one time it was chosen to the next. */
export interface TaskRecord {
  readonly fiber: AnyFiber
  readonly operations: Array<string>
  stepCount: number
  ending: "is preempted" | "yields" | "waits" | "ends"
}

/** So many tasks are remembered. */
const maxTaskCount = 24

/** Source: the 32-bit FNV-1a hash. The second runs beside it with another prime, so that 64 bits tell schedules apart. */
const offsetBasis = 2_166_136_261
const firstPrime = 16_777_619
const secondPrime = 2_654_435_761

export class TraceHash {
  #first = offsetBasis
  #second = offsetBasis ^ secondPrime

  add(value: number): void {
    this.#first = Math.imul(this.#first ^ value, firstPrime)
    this.#second = Math.imul((this.#second ^ value) + 1, secondPrime)
    this.#second ^= this.#second >>> 15
  }

  addText(text: string): void {
    for (let index = 0; index < text.length; index++) {
      this.add(text.charCodeAt(index))
    }
  }

  get text(): string {
    return [this.#first, this.#second].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("")
  }
}

export class Recorder implements Strategy {
  readonly #turns: Strategy
  readonly #keepsTasks: boolean
  readonly #hash = new TraceHash()
  readonly #tasks: Array<TaskRecord> = []
  /** Every departure from first in, first out, where tasks are kept. */
  readonly choices: Array<Choice> = []
  #explorer: Explorer | undefined
  #yieldedAt: number | undefined
  #lastFiber: AnyFiber | undefined
  #lastNumber = 0
  #current: TaskRecord | undefined
  /** Steps at which another fiber could have gone on. */
  contendedCount = 0
  stepCount = 0

  constructor(turns: Strategy, keepsTasks: boolean) {
    this.#turns = turns
    this.#keepsTasks = keepsTasks
  }

  readonly atStep = (explorer: Explorer, fiber: AnyFiber, step: number): boolean => {
    this.#explorer = explorer
    this.stepCount += 1
    this.contendedCount += explorer.waitingCount > 0 ? 1 : 0
    this.#hash.add(this.#numberOf(explorer, fiber))
    if (this.#current !== undefined) {
      this.#current.stepCount += 1
    }
    const yields = this.#turns.atStep?.(explorer, fiber, step) ?? false
    this.#yieldedAt = yields ? step : undefined
    return yields
  }

  readonly pick = (explorer: Explorer, waitingCount: number): number => {
    const index = this.#turns.pick?.(explorer, waitingCount) ?? 0
    if (this.#keepsTasks) {
      this.#endTask()
      const yieldedAt = this.#yieldedAt
      if (yieldedAt !== undefined) {
        this.choices.push({ at: "step", number: yieldedAt, option: index })
      } else if (index > 0) {
        this.choices.push({ at: "task", number: explorer.taskCount, option: index })
      }
      const fiber = explorer.waitingFiber(index)
      this.#current = fiber && { fiber, operations: [], stepCount: 0, ending: "waits" }
      this.#yieldedAt = undefined
    }
    return index
  }

  readonly onOperation = (operation: Operation): void => {
    this.#hash.addText(operation.kind)
    this.#hash.addText(operation.purpose)
    this.#hash.add(operation.runId)
    if (this.#explorer?.isPaused === false) {
      this.#current?.operations.push(describeOperation(operation))
    }
  }

  /** The same for two schedules in which the same fibers took the same steps and made the same operations, in one order. */
  get traceHash(): string {
    return this.#hash.text
  }

  /** How many fibers there were, but for the program's own. */
  get fiberCount(): number {
    return this.#fibers.size - 1
  }

  /** Whether the program was given up because it took too many steps. */
  get isRunaway(): boolean {
    return this.#explorer?.isRunaway ?? false
  }

  /** The last tasks, in their order. */
  get tasks(): ReadonlyArray<TaskRecord> {
    this.#endTask()
    return this.#tasks
  }

  /** Those that have not ended, oldest first. */
  get waitingNames(): ReadonlyArray<string> {
    return [...this.#fibers.keys()].filter((fiber) => fiber.unsafePoll() === null).map((fiber) => this.name(fiber))
  }

  /** What a report calls a fiber. */
  name(fiber: AnyFiber): string {
    const number = this.#fibers.get(fiber)
    return nameOf(fiber) ?? (number === 0 ? "program" : `fiber ${number}`)
  }

  get #fibers(): ReadonlyMap<AnyFiber, number> {
    return this.#explorer?.fibers ?? new Map<AnyFiber, number>()
  }

  #numberOf(explorer: Explorer, fiber: AnyFiber): number {
    if (fiber !== this.#lastFiber) {
      this.#lastFiber = fiber
      this.#lastNumber = explorer.fibers.get(fiber) ?? explorer.fibers.size
    }
    return this.#lastNumber
  }

  #endTask(): void {
    const task = this.#current
    if (task === undefined) {
      return
    }
    this.#current = undefined
    task.ending = task.fiber.unsafePoll() !== null
      ? "ends"
      : this.#yieldedAt !== undefined
      ? "is preempted"
      : this.#explorer !== undefined && isWaiting(this.#explorer, task.fiber)
      ? "yields"
      : "waits"
    this.#tasks.push(task)
    if (this.#tasks.length > maxTaskCount) {
      this.#tasks.shift()
    }
  }
}
