/** A scene: a runner for one schedule, on a simulator that answers within each call, and what was seen of its runs. */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { DeviceRunner, HostApi, type Run, type RunnerOptions, Simulator } from "leasehold"
import { addSignature, native } from "../utils/kernels.ts"
import { watchAdmission } from "./admissionWatch.ts"
import type { Defect, Exits, Stage } from "./program.ts"
import { RangeNotes } from "./ranges.ts"

/** c = a + b, off the event loop's thread where the simulator has one; never in one stretch. */
const add = native("test_add", addSignature)
/** The same in one stretch, where the backend lets it. */
const addInline = native("test_add", addSignature, { execution: "inline" })
/** Its kernel fails. */
const failing = native("test_fail", addSignature)

/** How a backend is asked: at once, through Effects alone, or through Effects and with a gate for each lane. */
export type Form = "immediate" | "effects" | "lanes"

const simulator = Effect.runSync(
  Layer.build(Simulator.layer({ totalBytes: "16 MiB", longCalls: "inline" })).pipe(
    // It lives as long as the process.
    Scope.extend(Effect.runSync(Scope.make()))
  )
)
const plain = Context.get(simulator, HostApi.HostApi)
const { statistics } = Context.get(simulator, Simulator.Simulator)

const apis: Readonly<Record<Form, HostApi.Service>> = {
  immediate: plain,
  effects: { ...plain, immediate: undefined },
  lanes: { ...plain, immediate: undefined, traits: { ...plain.traits, overlapsCopies: true } }
}

/** The whole temporary buffer: four small runs, or two medium ones, or a large one beside none. */
export const bufferBytes = 3072
const elementCounts = { small: 64, medium: 128, most: 192, large: 256 } as const
export type Size = keyof typeof elementCounts

/** Arguments of a run; those of another seed give other outputs. */
const argumentsOf = (size: Size, seed: number): Record<"a" | "b" | "c", Float32Array> => {
  const length = elementCounts[size]
  return {
    a: new Float32Array(length).fill(1 + length),
    b: new Float32Array(length).fill(2 * seed),
    c: new Float32Array(length)
  }
}

export interface Move {
  readonly size: Size
  /** `run`: in one bracket; `inline`: the same in one stretch; `bind`: step by step in a scope. */
  readonly how: "run" | "inline" | "bind"
  readonly fails?: boolean
  /** On behalf of the child budget. */
  readonly isTenant?: boolean
}

/** A runner, and who sees its calls. */
interface Stand {
  readonly runner: DeviceRunner.Service
  readonly scope: Scope.CloseableScope
  readonly notes: RangeNotes
  /** Bytes of the device that were held before it was made, and then. */
  readonly bytesBefore: number
  readonly bytes: number
}

/** Where a runner is kept from one schedule to the next: one that came through clean is as good as new. */
export interface Shelf {
  stand: Stand | undefined
}

const liveBytes = (): number => Effect.runSync(statistics).liveBytes

const makeStand = (apart: Stage["apart"], { form, runner: options }: SceneOptions): Stand => {
  const bytesBefore = liveBytes()
  const scope = Effect.runSync(Scope.make())
  const notes = new RangeNotes()
  const runner = apart(
    DeviceRunner.make(options).pipe(
      Scope.extend(scope),
      Effect.provideService(HostApi.HostApi, notes.decorate(apis[form]))
    )
  )
  for (const callable of [add, addInline, failing]) {
    apart(runner.load(callable))
  }
  return { runner, scope, notes, bytesBefore, bytes: liveBytes() }
}

export interface SceneOptions {
  readonly form: Form
  readonly runner: RunnerOptions.RunnerOptions
  readonly budget?: DeviceRunner.BudgetOptions | undefined
  /** What was needed before, where the buffer grows. */
  readonly grownFor?: Size | undefined
  /** Left out where the program leaves its runner otherwise than it finds it. */
  readonly shelf?: Shelf | undefined
}

export class Scene {
  readonly #apart: Stage["apart"]
  readonly #stand: Stand
  readonly #shelf: Shelf | undefined
  readonly #tenantScope = Effect.runSync(Scope.make())
  readonly #tenant: DeviceRunner.ChildBudget | undefined
  readonly #watch = watchAdmission()
  readonly #defects: Array<Defect> = []
  readonly #slots: number
  #isClosed = false
  #moveCount = 0

  constructor({ apart }: Stage, options: SceneOptions) {
    const { budget, grownFor, runner, shelf } = options
    this.#apart = apart
    this.#slots = runner.slots ?? 1
    this.#shelf = shelf
    this.#stand = shelf?.stand ?? makeStand(apart, options)
    this.#stand.notes.clear()
    if (shelf !== undefined) {
      // It comes back when it was found to be clean.
      shelf.stand = undefined
    }
    this.#tenant = budget && apart(Scope.extend(this.runner.budget("tenant", budget), this.#tenantScope))
    if (grownFor !== undefined) {
      apart(this.move({ size: grownFor, how: "run" }))
    }
  }

  get runner(): DeviceRunner.Service {
    return this.#stand.runner
  }

  /** What a fiber does: one run, whose result is looked at. */
  move({ fails = false, how, isTenant = false, size }: Move): Effect.Effect<void, unknown> {
    const runs: DeviceRunner.Runs = isTenant ? this.#tenant! : this.runner
    this.#moveCount += 1
    const args = argumentsOf(size, this.#moveCount)
    const check = (): void => {
      if (args.c.some((value) => value !== args.a[0]! + args.b[0]!)) {
        this.#defects.push({ kind: "overlaps", detail: "a run succeeded, and its outputs are not its own" })
      }
    }
    const callable = fails ? failing : how === "inline" ? addInline : add
    return how === "bind"
      ? Effect.scoped(Effect.flatMap(runs.bind(callable, args), (run) => {
        this.#stand.notes.hold(run.generation, leasesOf(run))
        return Effect.flatMap(run.launch, () => {
          this.#stand.notes.hold(run.generation)
          return Effect.map(run.validate, check)
        })
      }))
      : Effect.map(runs.run(callable, args), check)
  }

  /** Closes the runner. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.#isClosed = true
    return Scope.close(this.#stand.scope, Exit.void)
  })

  /** Closes the child budget. */
  readonly closeTenant: Effect.Effect<void> = Effect.suspend(() => Scope.close(this.#tenantScope, Exit.void))

  /** What is wrong when nothing is left to do. */
  finish(exits: Exits): ReadonlyArray<Defect> {
    const seen = [...this.#defects, ...this.#stand.notes.overlaps()]
    if (Object.values(exits).includes(undefined)) {
      // Who waits for ever holds what it holds, and nothing can be learnt of it.
      return [...seen, ...this.#watch.defects]
    }
    const defects = [...seen, ...this.#watch.finish(), ...this.#afterwards()]
    if (this.#shelf !== undefined && defects.length === 0) {
      this.#shelf.stand = this.#stand
    }
    return defects
  }

  /** Whether every slot and the whole buffer can be had again, and the device gets back what is its own. */
  #afterwards(): ReadonlyArray<Defect> {
    try {
      this.#apart(this.closeTenant)
      if (!this.#isClosed) {
        const { runs } = this.#apart(this.runner.stats)
        if (runs.begun !== runs.ended) {
          return [{ kind: "permitsLost", detail: `${runs.begun} runs have begun and ${runs.ended} ended` }]
        }
        this.#apart(this.move({ size: "large", how: "inline" }))
        if (this.#shelf === undefined) {
          // One that is kept shows it in the next schedule.
          this.#apart(Effect.scoped(this.#everySlot))
        }
      }
      if (this.#shelf === undefined) {
        this.#apart(this.close)
      }
    } catch (error) {
      return [{ kind: "permitsLost", detail: `a run afterwards did not end well: ${String(error)}` }]
    }
    const { bytes, bytesBefore } = this.#stand
    const heldBytes = liveBytes() - (this.#shelf === undefined ? bytesBefore : bytes)
    return heldBytes === 0
      ? []
      : [{ kind: "permitsLost", detail: `the device holds ${heldBytes} B more than before` }]
  }

  get #everySlot(): Effect.Effect<unknown, unknown, Scope.Scope> {
    return Effect.forEach(
      Array.from({ length: this.#slots }, () => argumentsOf("small", 0)),
      (args) => this.runner.bind(add, args),
      { discard: true }
    )
  }
}

/** Where the leases of a run lie in the chunks. No device address is below zero, so these are told apart from launches. */
const leasesOf = ({ leases }: Run.Run) =>
  leases.flatMap((lease) =>
    lease._tag === "BufferNoop"
      ? [{ start: lease.offsetBytes - (lease.chunkIndex + 1) * 2 ** 32, byteCount: lease.byteCount }]
      : []
  )
