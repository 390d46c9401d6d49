/**
 * Programs on a runner: two or three fibers run and bind on one or two slots, and one of them is interrupted, or fails, or the
 * runner is closed, grows or is trimmed meanwhile.
 */
import { Effect } from "effect"
import type { DeviceRunner, RunnerOptions } from "leasehold"
import type { Program } from "./program.ts"
import { bufferBytes, type Form, type Move, Scene, type Shelf, type Size } from "./scene.ts"
import { endings, type Leave } from "./verdicts.ts"

interface Description {
  readonly name: string
  readonly forms?: ReadonlyArray<Form>
  readonly slots: ReadonlyArray<1 | 2>
  readonly moves: readonly [Move, Move, Move?]
  /** Who is interrupted: the index of a move. */
  readonly interrupts?: number
  /** What else happens meanwhile. */
  readonly meanwhile?: "close" | "closeTenant" | "trim" | "time"
  readonly admission?: RunnerOptions.Admission
  readonly growth?: "highWater"
  readonly grownFor?: Size
  readonly budget?: DeviceRunner.BudgetOptions
  /** How its moves may be refused. */
  readonly refusals?: ReadonlyArray<string>
}

const waits: RunnerOptions.Admission = { wait: { maxQueueCount: 8 } }

const programsOf = (description: Description): ReadonlyArray<Program> =>
  (description.forms ?? ["immediate", "effects"]).flatMap((form) =>
    description.slots.map((slots) => programOf(description, form, slots))
  )

const programOf = (description: Description, form: Form, slots: 1 | 2): Program => {
  const { budget, growth, grownFor, interrupts, meanwhile, refusals = [] } = description
  const moves = description.moves.filter((move) => move !== undefined)
  const names = ["a", "b", "c"]
  const shelf: Shelf | undefined = meanwhile === "close" || growth !== undefined ? undefined : { stand: undefined }
  return {
    name: `runner, ${slots} ${slots === 1 ? "slot" : "slots"} [${form}]: ${description.name}`,
    fiberCount: moves.length as 2 | 3,
    isDisturbed: interrupts !== undefined || meanwhile !== undefined,
    make: (stage) => {
      const scene = new Scene(stage, {
        form,
        budget,
        grownFor,
        shelf,
        runner: {
          slots,
          admission: description.admission ?? waits,
          temporaryBuffer: { maxBytes: bufferBytes, alignmentBytes: 256, growth }
        }
      })
      const others: Readonly<Record<Exclude<Description["meanwhile"], undefined>, Effect.Effect<unknown, unknown>>> = {
        close: scene.close,
        closeTenant: scene.closeTenant,
        trim: Effect.suspend(() => scene.runner.trim(0)),
        time: Effect.sync(() => stage.clock.advance())
      }
      const victim = interrupts === undefined ? undefined : names[interrupts]!
      const leaveOf = (name: string): Leave => ({
        mayBeInterrupted: name === victim,
        mayFail: moves[names.indexOf(name)]?.fails === true,
        refusals: name === "trim" ? ["ConfigureWhileActive"] : refusals
      })
      return {
        fibers: {
          ...Object.fromEntries(moves.map((move, index) => [names[index]!, scene.move(move)])),
          ...(victim === undefined ? {} : { interrupts: stage.interrupt(victim) }),
          ...(meanwhile === undefined ? {} : { [meanwhile]: others[meanwhile] })
        },
        judge: (exits) => [...endings(exits, leaveOf), ...scene.finish(exits)]
      }
    }
  }
}

const bind = (size: Size, more: Partial<Move> = {}): Move => ({ size, how: "bind", ...more })
const run = (size: Size, more: Partial<Move> = {}): Move => ({ size, how: "run", ...more })
const inline = (size: Size, more: Partial<Move> = {}): Move => ({ size, how: "inline", ...more })

/** How runs end on a runner that closes. */
const gone = ["RunnerClosed", "StaleRun", "AdmissionRefused: Draining"]

const descriptions: ReadonlyArray<Description> = [
  { name: "two run", slots: [1, 2], moves: [inline("small"), inline("small")] },
  { name: "two bind", slots: [1, 2], moves: [bind("small"), bind("small")] },
  { name: "a large one and a small one", slots: [2], moves: [bind("large"), inline("small")] },
  { name: "three run", slots: [1, 2], moves: [inline("small"), inline("small"), inline("small")] },
  { name: "one large, two small", slots: [2], moves: [bind("small"), bind("large"), inline("small")] },
  {
    name: "one large, two small, on lanes",
    forms: ["lanes"],
    slots: [2],
    moves: [
      bind("small"),
      bind("large"),
      run("small")
    ]
  },
  {
    name: "one that waits for memory is interrupted",
    slots: [2],
    moves: [bind("large"), bind("large")],
    interrupts: 1
  },
  {
    name: "one that waits for the slot is interrupted",
    slots: [1],
    moves: [bind("small"), inline("small")],
    interrupts: 1
  },
  {
    name: "the first of two that wait is interrupted",
    slots: [2],
    moves: [
      bind("large"),
      bind("medium"),
      inline("large")
    ],
    interrupts: 1
  },
  { name: "one that runs is interrupted", slots: [1], moves: [bind("small"), run("small")], interrupts: 0 },
  { name: "the run of one fails", slots: [2], moves: [run("large", { fails: true }), inline("large")] },
  {
    name: "the runner closes",
    slots: [2],
    moves: [bind("large"), inline("large")],
    meanwhile: "close",
    refusals: gone
  },
  {
    name: "the runner closes while two wait",
    slots: [1],
    moves: [bind("small"), bind("small"), inline("small")],
    meanwhile: "close",
    refusals: gone
  },
  {
    name: "a deadline",
    slots: [2],
    moves: [bind("large"), bind("large")],
    meanwhile: "time",
    admission: { wait: { maxQueueCount: 8, deadline: "1 second" } },
    refusals: ["AdmissionRefused: Deadline"]
  },
  {
    name: "a deadline of two that wait",
    slots: [1],
    moves: [bind("large"), inline("large"), inline("large")],
    meanwhile: "time",
    admission: { wait: { maxQueueCount: 8, deadline: "1 second" } },
    refusals: ["AdmissionRefused: Deadline"]
  },
  {
    name: "two of a child budget, one beside it",
    slots: [2],
    budget: { maxBytes: 768, reserveBytes: 768 },
    moves: [bind("small", { isTenant: true }), inline("small", { isTenant: true }), bind("most")]
  },
  {
    name: "a small one of a child budget behind a large one",
    slots: [2],
    budget: { maxBytes: 768 },
    moves: [bind("small"), bind("large"), bind("small", { isTenant: true })]
  },
  {
    name: "one of a child budget is interrupted",
    forms: ["immediate"],
    slots: [2],
    budget: { maxBytes: 768, reserveBytes: 768 },
    moves: [bind("small", { isTenant: true }), bind("small", { isTenant: true })],
    interrupts: 1
  },
  {
    name: "the child budget closes",
    forms: ["immediate"],
    slots: [2],
    budget: { maxBytes: 768, reserveBytes: 768 },
    meanwhile: "closeTenant",
    moves: [bind("small", { isTenant: true }), bind("small", { isTenant: true })],
    refusals: ["AdmissionRefused: Draining"]
  },
  { name: "the buffer grows", slots: [1, 2], growth: "highWater", moves: [bind("small"), bind("medium")] },
  {
    name: "the buffer grows for one that is interrupted",
    slots: [1],
    growth: "highWater",
    moves: [bind("small"), bind("medium")],
    interrupts: 0
  },
  {
    name: "the buffer grows while two wait",
    slots: [2],
    growth: "highWater",
    moves: [bind("small"), inline("medium"), inline("large")]
  },
  {
    name: "the buffer is trimmed",
    slots: [2],
    growth: "highWater",
    grownFor: "medium",
    moves: [bind("small"), bind("medium")],
    meanwhile: "trim"
  },
  {
    name: "one queue place, no deadline",
    slots: [1],
    moves: [bind("small"), inline("small"), inline("small")],
    admission: { shed: { maxQueueCount: 1, maxWait: "1 minute" } },
    refusals: ["AdmissionRefused: QueueFull"]
  }
]

export const runnerPrograms: ReadonlyArray<Program> = descriptions.flatMap(programsOf)
