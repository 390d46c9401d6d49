/** Programs at the gate and at the lanes: fibers enter, wait, work and leave; one is interrupted, or the gate breaks. */
import { Effect } from "effect"
import { Gate } from "../../src/internal/runner/gate.ts"
import { Lanes } from "../../src/internal/runner/lanes.ts"
import type { Attempt, Defect, Exits, Program, Stage } from "./program.ts"
import { endings } from "./verdicts.ts"

type Lane = "in" | "compute" | "out"
type Place = Lane | "all"

const failure = Effect.fail(new Error("the work failed"))

/** Notes who is inside, and who waits where. */
class Doorman {
  readonly #stage: Stage
  readonly #inside = new Map<string, ReadonlyArray<string>>()
  readonly #wanted = new Map<string, { readonly doors: ReadonlyArray<string>; readonly since: number }>()
  readonly defects: Array<Defect> = []
  idleCount = 0
  isBroken = false

  constructor(stage: Stage) {
    this.#stage = stage
  }

  /** Work of a fiber behind some doors, in several steps. */
  pass(
    name: string,
    doors: ReadonlyArray<string>,
    through: (work: Effect.Effect<void, Error>) => Effect.Effect<void, Error>,
    fails = false
  ): Effect.Effect<void, Error> {
    // As few steps as can be, which leaves more schedules for those of the gate.
    const leave = Effect.suspend(() => {
      this.#inside.delete(name)
      return fails ? failure : Effect.void
    })
    const work = Effect.suspend(() => {
      this.#enter(name, doors)
      return leave
    })
    return Effect.suspend(() => {
      this.#wanted.set(name, { doors, since: this.#stage.now() })
      return through(work)
    })
  }

  #enter(name: string, doors: ReadonlyArray<string>): void {
    // It took its place in the queue, or was let in, at any time since it came, but not before.
    const { since } = this.#wanted.get(name)!
    this.#wanted.delete(name)
    if (!this.isBroken) {
      for (const [other, taken] of this.#inside) {
        if (taken.some((door) => doors.includes(door))) {
          this.defects.push({ kind: "overlaps", detail: `${name} is inside together with ${other}` })
        }
      }
      // Where somebody waits for several doors in turn it is not known for which it waits now.
      const passed = [...this.#wanted].find(([other, wanted]) =>
        wanted.doors.length === 1 && doors.includes(wanted.doors[0]!) && this.#stage.isParked(other) &&
        this.#stage.parkedAt(other)! <= since
      )
      if (passed !== undefined) {
        this.defects.push({ kind: "starved", detail: `${name} goes in before ${passed[0]}, which waited before it` })
      }
    }
    this.#inside.set(name, doors)
  }
}

interface Visit {
  readonly name: string
  readonly place: Place
  readonly fails?: boolean
}

const doorsOf = (place: Place, overlap: boolean): ReadonlyArray<string> =>
  !overlap ? ["gate"] : place === "all" ? ["in", "compute", "out"] : [place]

/** Who comes to the lanes, and what is done to them meanwhile. */
const atLanes = (
  name: string,
  overlap: boolean,
  visits: ReadonlyArray<Visit>,
  disturbance?: { readonly interrupts?: string; readonly breaks?: boolean }
): Program => ({
  name: `lanes: ${name}`,
  fiberCount: visits.length as 2 | 3,
  isDisturbed: disturbance !== undefined,
  make: (stage) => {
    const doorman = new Doorman(stage)
    const lanes = new Lanes(overlap, () => void (doorman.idleCount += 1))
    return attempt(stage, doorman, {
      visits,
      disturbance,
      doors: (place) => doorsOf(place, overlap),
      through: (place, work) => place === "all" ? lanes.exclusively(work) : lanes.through(place, work),
      break: () => lanes.break(),
      isBusy: () => lanes.busy
    })
  }
})

const atGate = (
  name: string,
  fiberCount: 2 | 3,
  disturbance?: { readonly interrupts?: string; readonly breaks?: boolean; readonly fails?: string }
): Program => ({
  name: `gate: ${name}`,
  fiberCount,
  isDisturbed: disturbance !== undefined,
  make: (stage) => {
    const doorman = new Doorman(stage)
    const gate = new Gate(() => void (doorman.idleCount += 1))
    return attempt(stage, doorman, {
      visits: ["a", "b", "c"].slice(0, fiberCount).map((visitor) => ({
        name: visitor,
        place: "in",
        fails: visitor === disturbance?.fails
      })),
      disturbance,
      doors: () => ["gate"],
      through: (_place, work) => gate.through(work),
      break: () => gate.break(),
      isBusy: () => gate.busy
    })
  }
})

interface Doors {
  readonly visits: ReadonlyArray<Visit>
  readonly disturbance: { readonly interrupts?: string; readonly breaks?: boolean } | undefined
  readonly doors: (place: Place) => ReadonlyArray<string>
  readonly through: (place: Place, work: Effect.Effect<void, Error>) => Effect.Effect<void, Error>
  readonly break: () => void
  readonly isBusy: () => boolean
}

const attempt = (stage: Stage, doorman: Doorman, doors: Doors): Attempt => {
  const { disturbance, visits } = doors
  const interrupts = disturbance?.interrupts
  const breaks = Effect.sync(() => {
    doorman.isBroken = true
    doors.break()
  })
  return {
    fibers: {
      ...Object.fromEntries(visits.map(({ fails, name, place }) => [
        name,
        doorman.pass(name, doors.doors(place), (work) => doors.through(place, work), fails)
      ])),
      ...(interrupts === undefined ? {} : { interrupts: stage.interrupt(interrupts) }),
      ...(disturbance?.breaks === true ? { breaks } : {})
    },
    judge: (exits) => [
      ...doorman.defects,
      ...endings(exits, (name) => ({
        mayBeInterrupted: name === interrupts,
        mayFail: visits.some((visit) => visit.name === name && visit.fails === true)
      })),
      ...isFree(stage, doorman, doors, exits)
    ]
  }
}

/** Whether everybody can come in again. */
const isFree = (stage: Stage, doorman: Doorman, doors: Doors, exits: Exits): ReadonlyArray<Defect> => {
  if (Object.values(exits).includes(undefined)) {
    return []
  }
  let hasEntered = false
  const again = doors.through("all", Effect.sync(() => void (hasEntered = true)))
  try {
    stage.apart(again)
  } catch {
    // It waits, and nobody is there whom it could wait for.
  }
  return !hasEntered || doors.isBusy() || (doorman.idleCount === 0 && !doorman.isBroken)
    ? [{ kind: "permitsLost", detail: "nobody is inside, and yet the gate is taken" }]
    : []
}

export const gatePrograms: ReadonlyArray<Program> = [
  atGate("two", 2),
  atGate("three", 3),
  atGate("two, one is interrupted", 2, { interrupts: "b" }),
  atGate("three, one is interrupted", 3, { interrupts: "b" }),
  atGate("two, and it breaks", 2, { breaks: true }),
  atGate("three, and it breaks", 3, { breaks: true }),
  atGate("two, one is interrupted, and it breaks", 2, { interrupts: "b", breaks: true }),
  atGate("three, the work of one fails", 3, { fails: "a" }),
  atLanes("two on lanes that are one", false, [{ name: "a", place: "in" }, { name: "b", place: "out" }]),
  atLanes("two on one lane", true, [{ name: "a", place: "in" }, { name: "b", place: "in" }]),
  atLanes("one exclusively, one on the last lane", true, [{ name: "a", place: "all" }, { name: "b", place: "out" }]),
  atLanes("two exclusively", true, [{ name: "a", place: "all" }, { name: "b", place: "all" }]),
  atLanes("one exclusively, two on lanes", true, [
    { name: "a", place: "in" },
    { name: "b", place: "all" },
    { name: "c", place: "out" }
  ]),
  atLanes("one exclusively and interrupted, one on a lane", true, [
    { name: "a", place: "out" },
    { name: "b", place: "all" }
  ], { interrupts: "b" }),
  atLanes("one exclusively, one on a lane, and they break", true, [
    { name: "a", place: "compute" },
    { name: "b", place: "all" }
  ], { breaks: true })
]
