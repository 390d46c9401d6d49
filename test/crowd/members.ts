/** What the fibers of a crowd do: runs of every kind, one after the other, each treated in one of many ways. */
import { Cause, Effect, Exit, Fiber, Scope } from "effect"
import { Arg, type Run } from "leasehold"
import type { Random } from "../model/random.ts"
import { fill } from "../runs/canaryBytes.ts"
import { bytes } from "../runs/canaryCallables.ts"
import { native } from "../utils/kernels.ts"
import { attempted, untouched } from "./judge.ts"
import { look } from "./looks.ts"
import { copyRun, forget, type Spec, specOf } from "./specs.ts"
import type { Party, Treatment, Watch } from "./watch.ts"

const residentIn = { kept: Arg.resident(bytes, { dims: ["n"] }), y: Arg.output(bytes, ["n"]) }
const fromResidents = [native("test_copy", residentIn, { execution: "inline" }), native("test_copy", residentIn)]

/** One of the fibers. */
interface Member {
  readonly watch: Watch
  readonly random: Random
  readonly party: Party
  /** Whether it holds another run of the runner. */
  readonly isNested: boolean
}

/** Gives way some times. */
const pause = (random: Random, most: number) => Effect.repeatN(Effect.yieldNow(), random.below(most + 1))

type Way = (member: Member, spec: Spec) => Effect.Effect<unknown>

const plain: Way = ({ isNested, party, watch }, spec) =>
  attempted(watch, { party, isNested, spec, treatment: untouched, use: Effect.exit(spec.run(party.runs)) })

/** Interrupted from outside, wherever it is by then. */
const interrupted: Way = ({ isNested, party, random, watch }, spec) =>
  attempted(watch, {
    party,
    isNested,
    spec,
    treatment: { ...untouched, isInterrupted: true },
    use: Effect.flatMap(
      Effect.fork(spec.run(party.runs)),
      (fiber) => Effect.zipRight(pause(random, random.pick([0, 5, 40])), Fiber.interrupt(fiber))
    )
  })

/** Binds, holds the run for a while, and leaves it, or goes on. What is `within` happens while it is held. */
const bound = (member: Member, spec: Spec, within: Effect.Effect<unknown>): Effect.Effect<unknown> => {
  const { isNested, party, random, watch } = member
  const until = random.pick(["bind", "launch", "validate", "validate"] as const)
  const isInterrupted = random.once(5)
  const comesThrough = until === "validate"
  const use = Effect.scoped(Effect.gen(function*() {
    const run = yield* spec.bind(party.runs)
    const letGo = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const ranges = watch.hold(spec.number, run)
        return Effect.sync(() => watch.letGo(run.slot, ranges))
      }),
      (made) => made
    )
    yield* pause(random, 6)
    yield* within
    if (until !== "bind") {
      yield* run.launch
      yield* pause(random, 6)
    }
    if (comesThrough) {
      yield* letGo
      yield* run.validate
      const again = yield* Effect.exit(run.validate)
      watch.expect(isStale(again), () => `promise 11: a run that was validated is not stale, but ${String(again)}`)
    }
    return run
  }))
  const treatment: Treatment = { ...untouched, comesThrough, isInterrupted }
  const kept: Effect.Effect<Exit.Exit<Run.Run<unknown>, unknown>> = isInterrupted
    ? Effect.flatMap(Effect.fork(use), (fiber) => Effect.zipRight(pause(random, 30), Fiber.interrupt(fiber)))
    : Effect.exit(use)
  const checked = Effect.tap(
    kept,
    (exit) =>
      Exit.isFailure(exit) ?
        Effect.void :
        Effect.map(Effect.exit(exit.value.launch), (again) =>
          watch.expect(
            isStale(again),
            () => `promise 11: a run whose scope has closed is not stale, but ${String(again)}`
          ))
  )
  return attempted(watch, { party, isNested, spec, treatment, use: checked })
}

const isStale = (exit: Exit.Exit<void, unknown>): boolean =>
  Exit.isFailure(exit) &&
  [...Cause.failures(exit.cause)].some((error) =>
    typeof error === "object" && error !== null && "_tag" in error &&
    (error._tag === "StaleRun" || error._tag === "RunnerPoisoned")
  )

/** A view of it is transferred away, most likely while it waits. */
const detached: Way = ({ party, random, watch }, spec) =>
  attempted(watch, {
    party,
    isNested: false,
    spec,
    treatment: { ...untouched, losesArgument: true },
    use: Effect.gen(function*() {
      const fiber = yield* Effect.fork(spec.run(party.runs))
      yield* pause(random, 10)
      const buffer = random.pick(spec.views).view.buffer as ArrayBuffer
      structuredClone(buffer, { transfer: [buffer] })
      return yield* Fiber.await(fiber)
    })
  })

/** Reads a resident tensor that is closed, most likely while the run waits; somebody else has its memory then. */
const residentClosed = ({ party, random, watch }: Member): Effect.Effect<unknown> =>
  Effect.gen(function*() {
    const { runner } = watch
    const number = watch.nextNumber()
    const length = 1 + random.below(700)
    const own = fill(new Uint8Array(length), watch.canary(number))
    const scope = yield* Scope.make()
    const made = yield* Effect.exit(Scope.extend(
      Effect.tap(runner.allocate(bytes, [length]), (kept) => kept.upload(own)),
      scope
    ))
    if (Exit.isFailure(made)) {
      watch.expect(mayFail(watch, made.cause), () => `a resident tensor cannot be had: ${Cause.pretty(made.cause)}`)
      return yield* Scope.close(scope, Exit.void)
    }
    const y = new Uint8Array(length)
    const spec: Spec = {
      number,
      sizes: [length],
      views: [{ name: "y", view: y, before: y.slice(), after: own }],
      failure: undefined,
      run: (on) => on.run(random.pick(fromResidents), { kept: made.value, y }),
      bind: (on) => on.bind(random.pick(fromResidents), { kept: made.value, y })
    }
    const use = Effect.gen(function*() {
      const fiber = yield* Effect.fork(spec.run(party.runs))
      yield* pause(random, 10)
      yield* Scope.close(scope, Exit.void)
      yield* overwrite(watch, length)
      return yield* Fiber.await(fiber)
    })
    return yield* attempted(watch, {
      party,
      isNested: false,
      spec,
      treatment: { ...untouched, losesArgument: true },
      use
    })
  })

/** Takes the memory that was given back last, and fills it with bytes of another. */
const overwrite = (watch: Watch, length: number) =>
  Effect.scoped(Effect.flatMap(
    watch.runner.allocate(bytes, [length]),
    (other) => other.upload(fill(new Uint8Array(length), watch.canary(watch.nextNumber())))
  )).pipe(Effect.exit)

/** Whether something is made to fail in this crowd, or somebody is. */
const mayFail = (watch: Watch, cause: Cause.Cause<unknown>): boolean =>
  watch.setup.rules.length > 0 || Cause.isInterruptedOnly(cause)

/** A run inside a run: by the fiber that holds the outer one. */
const nested = (member: Member): Effect.Effect<unknown> => {
  const { random, watch } = member
  const inner = Effect.suspend(() => {
    const party = random.pick(watch.parties)
    const spec = specOf(watch, random)
    return Effect.ensuring(plain({ ...member, party, isNested: true }, spec), Effect.sync(() => forget(spec)))
  })
  return bound(member, copyRun(watch, random, random.pick([1, 256, 1024])), inner)
}

/** One run, or two where one is inside the other. */
const once = (watch: Watch, random: Random, mayNest: boolean): Effect.Effect<unknown> =>
  Effect.suspend(() => {
    const member: Member = { watch, random, party: random.pick(watch.parties), isNested: false }
    if (mayNest && random.once(4)) {
      return nested(member)
    }
    const spec = specOf(watch, random)
    const way = random.below(12)
    const done = way === 0
      ? residentClosed(member)
      : way === 1
      ? detached(member, spec)
      : way < 4
      ? interrupted(member, spec)
      : way < 7
      ? bound(member, spec, Effect.void)
      : plain(member, spec)
    return Effect.ensuring(done, Effect.sync(() => forget(spec)))
  })

/** A fiber of the crowd. Only the first nests, so that no two wait for each other. */
export const member = (
  watch: Watch,
  options: { readonly random: Random; readonly index: number; readonly mayGo: Effect.Effect<void> }
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { index, mayGo, random } = options
    for (let count = 0; count < watch.setup.runsPerFiber && watch.problems.length === 0; count++) {
      yield* mayGo
      yield* once(watch, random, index === 0)
      if ((yield* look(watch)).state === "poisoned") {
        return
      }
      yield* pause(random, 3)
    }
  })
