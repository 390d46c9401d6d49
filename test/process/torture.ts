/**
 * Tortures native calls in flight with garbage collections: every shape on every device, round after round. Started by
 * `garbage.test.ts` with --expose-gc and the number of rounds; ends with a line of figures.
 */
import { Effect, Fiber } from "effect"
import { closeGate, gateWaiting, openGate } from "../utils/kernels.ts"
import { bait, collect } from "./collector.ts"
import * as TortureCalls from "./tortureCalls.ts"
import { shapes, type Verdict } from "./tortureShapes.ts"
import { devices, makeWorld, until, type World } from "./tortureWorld.ts"

/** What `garbage.test.ts` reads. */
export interface Figures {
  readonly caseCount: number
  readonly verdicts: Readonly<Record<string, Partial<Record<Verdict, number>>>>
  /** Rounds in which the collections that were asked for collected what nobody held. */
  readonly collectedCount: number
}

const roundCount = Number(process.argv[2])

/** Each device holds one call more than those of the shapes: the kernel at the gate. */
const heldCount = shapes.reduce((sum, shape) => sum + shape.heldCount, 1)

const figures = { caseCount: 0, verdicts: {} as Record<string, Partial<Record<Verdict, number>>>, collectedCount: 0 }

const count = (name: string, verdict: Verdict): void => {
  const counts = figures.verdicts[name] ??= {}
  counts[verdict] = (counts[verdict] ?? 0) + 1
  figures.caseCount += 1
}

const program = Effect.gen(function*() {
  openGate()
  const worlds: ReadonlyArray<World> = yield* Effect.forEach(devices, makeWorld)
  const lanes = yield* Effect.forEach(
    worlds.flatMap((world) => shapes.map((shape) => ({ world, shape }))),
    ({ shape, world }) => Effect.map(shape.make(world), (start) => ({ name: `${shape.name}, ${world.name}`, start }))
  )
  const calls = yield* TortureCalls.make
  lanes.push({ name: "calls whose arrays are dropped", start: calls.start })
  for (let round = 0; round < roundCount; round++) {
    yield* collect(round)
    closeGate()
    const blockers: ReadonlyArray<Fiber.Fiber<void, unknown>> = yield* Effect.forEach(
      [...worlds, calls],
      ({ block }) => block
    )
    yield* until(() => gateWaiting() === blockers.length, "every device is blocked")
    const started = yield* Effect.forEach(lanes, ({ start }) => start(round))
    yield* until(
      () => worlds.every((world) => world.heldCount() === heldCount),
      "every call of the round is in flight"
    )
    yield* Effect.forEach(started, ({ behind = Effect.void }) => behind)
    const isCollected = bait()
    yield* collect(round)
    for (const { during } of started) {
      during()
    }
    yield* collect(round)
    if (isCollected()) {
      figures.collectedCount += 1
    }
    for (const [index, { isWaiting = () => true }] of started.entries()) {
      if (!isWaiting()) {
        throw new Error(`${lanes[index]!.name}: released while a call in flight used it`)
      }
    }
    openGate()
    yield* Effect.forEach(blockers, Fiber.join)
    for (const [index, { end }] of started.entries()) {
      count(lanes[index]!.name, yield* end)
    }
  }
}).pipe(Effect.scoped, Effect.ensuring(Effect.sync(openGate)))

await Effect.runPromise(program)
console.log(`figures ${JSON.stringify(figures satisfies Figures)}`)
