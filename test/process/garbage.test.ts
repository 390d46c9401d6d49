/**
 * Garbage collections while native calls are in flight: what a call touches is held until it has ended, or was refused.
 *
 * Five hundred rounds, two thousand with LEASEHOLD_LONG=1, of every shape on every device; once as it ships, and once under
 * the address sanitizer, which sees what wrong bytes may not show.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { bundle, type Options, sanitizedEnvironment, sanitizedLibraries } from "../utils/bundle.ts"
import { start } from "./children.ts"
import type { Figures } from "./torture.ts"
import { shapes } from "./tortureShapes.ts"
import { devices } from "./tortureWorld.ts"

const isLong = process.env["LEASEHOLD_LONG"] === "1"
const roundCount = isLong ? 2000 : 500
const caseCount = roundCount * (shapes.length * devices.length + 1)
const timeout = isLong ? 600_000 : 120_000

/** Runs the torture in a process of its own. Its calls block threads, more of them than Node has by default. */
const torture = (options: Omit<Options, "entry">, environment: Readonly<Record<string, string>>, rounds = roundCount) =>
  Effect.gen(function*() {
    const program = yield* bundle({ entry: "process/torture.ts", ...options })
    const child = yield* start(program, {
      nodeOptions: ["--expose-gc"],
      args: [`${rounds}`],
      environment: { UV_THREADPOOL_SIZE: "40", ...environment }
    })
    return yield* child.ended
  })

const figuresOf = ({ code, signal, stderr, stdout }: Effect.Effect.Success<ReturnType<typeof torture>>): Figures => {
  assert.deepStrictEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: "" })
  return JSON.parse(/^figures (.*)$/m.exec(stdout)![1]!) as Figures
}

/** In how many of so many rounds a number that counts rounds leaves one of these remainders. */
const turns = (divisor: number, ...remainders: ReadonlyArray<number>): number =>
  Array.from({ length: roundCount }, (_, round) => round).filter((round) => remainders.includes(round % divisor)).length

/** Each round's verdict is known: right bytes, unless its turn is one in which memory goes that is still needed. */
const expectedVerdicts: ReadonlyArray<Figures["verdicts"][string]> = [
  { "right bytes": roundCount },
  { "right bytes": turns(2, 0), Detached: turns(2, 1) },
  { Resizable: roundCount },
  { "right bytes": turns(3, 0), Detached: turns(3, 1, 2) },
  { "right bytes": roundCount }
]

const assertHeld = (figures: Figures, how: string): void => {
  assert.strictEqual(figures.caseCount, caseCount)
  const expected = devices.flatMap(([device]) =>
    shapes.map((shape, index) => [`${shape.name}, ${device}`, expectedVerdicts[index]])
  )
  assert.deepStrictEqual<unknown>(
    figures.verdicts,
    Object.fromEntries([
      ...expected,
      ["calls whose arrays are dropped", { "right bytes": roundCount }]
    ])
  )
  // A collection is the engine's own affair, and may leave something for the next.
  assert.isAtLeast(figures.collectedCount, roundCount * 0.9, "rounds whose collections collected what nobody held")
  console.log(
    `${figures.caseCount} cases of memory that goes while calls are in flight, ${how}: all refused, or held with the ` +
      `right bytes; what nobody held was collected in ${figures.collectedCount} of ${roundCount} rounds`
  )
}

describe("garbage collections before, during and after native calls", () => {
  it.scopedLive("find every array that a call uses held, or its use refused", () =>
    Effect.gen(function*() {
      assertHeld(figuresOf(yield* torture({}, {})), "as it ships")
    }), timeout)

  it.scopedLive("find nothing to report under the address sanitizer", () =>
    Effect.gen(function*() {
      assertHeld(
        figuresOf(yield* torture({ libraries: sanitizedLibraries }, yield* sanitizedEnvironment)),
        "under the address sanitizer"
      )
    }), timeout)

  it.scopedLive(
    "find a wrapper that does not hold its arrays, under the address sanitizer",
    () =>
      Effect.gen(function*() {
        const planted = {
          libraries: sanitizedLibraries,
          replace: { module: /\/ffi\/calls\.ts$/, by: "process/unrootedCalls.ts" }
        }
        const { code, stderr, stdout } = yield* torture(planted, yield* sanitizedEnvironment, 50)
        assert.notStrictEqual(code, 0)
        assert.match(stderr, /AddressSanitizer: heap-use-after-free/)
        assert.notInclude(stdout, "figures")
      }),
    timeout
  )
})
