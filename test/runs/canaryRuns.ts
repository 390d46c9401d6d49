/**
 * Runs with canaries: each writes bytes of its own wherever it may, and everything that it can read afterwards is searched
 * for the bytes of others. Kernels leave outputs unwritten and show what lies in scratch and in padding on purpose.
 */
import { Effect, Exit, Fiber, Scope } from "effect"
import { Arg, Callable, DeviceRunner, type ResidentTensor } from "leasehold"
import { FaultInjection } from "leasehold/testing"
import type { Random } from "../model/random.ts"
import { canaryOf, countForeign, fill } from "./canaryBytes.ts"
import {
  bytes,
  copies,
  failing,
  fromResident,
  nothing,
  reveal,
  revealAround,
  revealBehind,
  toResident,
  writeFirst
} from "./canaryCallables.ts"

/** Around the alignments, and around the sizes at which pieces and copies are cut. */
const sizes = [1, 2, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1023, 1025, 2049] as const
const residentBytes = 513

export interface Totals {
  runs: number
  failed: number
  interrupted: number
  configurations: number
  views: number
  searchedBytes: number
  /** Bytes of others, by where they were found. */
  readonly foreign: Record<Place, number>
  /** Results of runs that succeeded and were not what they should be. */
  wrong: number
}

export type Place = "host view" | "output" | "scratch" | "padding" | "slice" | "resident"

export const noTotals = (): Totals => ({
  runs: 0,
  failed: 0,
  interrupted: 0,
  configurations: 0,
  views: 0,
  searchedBytes: 0,
  foreign: { "host view": 0, output: 0, scratch: 0, padding: 0, slice: 0, resident: 0 },
  wrong: 0
})

const alignments = [64, 256, 1024] as const

/** What the runs of one campaign share. */
class Watch {
  readonly totals: Totals
  readonly random: Random
  readonly seed: number
  alignmentBytes: number = alignments[0]
  maxBytes = 0
  canary: Uint8Array = new Uint8Array(3)
  run: number
  /** Whose bytes the resident tensor may hold. More than one where a write to it failed. */
  residentOwners: ReadonlyArray<Uint8Array> = []

  constructor(
    options: { readonly totals: Totals; readonly random: Random; readonly seed: number; readonly run: number }
  ) {
    this.totals = options.totals
    this.random = options.random
    this.seed = options.seed
    this.run = options.run
  }

  next(): void {
    this.canary = canaryOf(this.run, this.seed)
    this.run += 1
    this.totals.runs += 1
  }

  own(length: number): Uint8Array {
    return fill(new Uint8Array(length), this.canary)
  }

  search(place: Place, view: Uint8Array, canaries: ReadonlyArray<Uint8Array> = [this.canary]): void {
    this.totals.views += 1
    this.totals.searchedBytes += view.length
    this.totals.foreign[place] += countForeign(view, canaries)
  }

  /** Holds a result against what it should be. */
  expect(isAsExpected: boolean): void {
    this.totals.wrong += isAsExpected ? 0 : 1
  }

  ended(exit: Exit.Exit<unknown, unknown>): boolean {
    this.totals.failed += Exit.isFailure(exit) && !Exit.isInterrupted(exit) ? 1 : 0
    this.totals.interrupted += Exit.isInterrupted(exit) ? 1 : 0
    return Exit.isSuccess(exit)
  }
}

const isSame = (left: Uint8Array, right: Uint8Array): boolean => Buffer.compare(left, right) === 0
const isZero = (view: Uint8Array, from = 0): boolean => view.subarray(from).every((byte) => byte === 0)

type Kind = (
  watch: Watch,
  runner: DeviceRunner.Service,
  kept: ResidentTensor.ResidentTensor<"uint8">
) => Effect.Effect<void>

/** A view that is already full of the run's own bytes or of none, so that one that was left alone shows nothing of others. */
const target = (watch: Watch, length: number): Uint8Array =>
  watch.random.once(2) ? watch.own(length) : new Uint8Array(length)

const copyRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const n = watch.random.pick(sizes)
    const [x, y] = [watch.own(n), target(watch, n)]
    const exit = yield* Effect.exit(runner.run(watch.random.pick(copies), { x, y }))
    if (watch.ended(exit)) {
      watch.expect(isSame(x, y))
    }
    watch.search("host view", x)
    watch.search("output", y)
  })

const failingRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const n = watch.random.pick(sizes)
    const [x, y] = [watch.own(n), target(watch, n)]
    const before = y.slice()
    watch.ended(yield* Effect.exit(runner.run(watch.random.pick(failing), { x, y })))
    watch.expect(isSame(y, before))
    watch.search("host view", x)
    watch.search("output", y)
  })

const revealRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const y = target(watch, watch.random.pick(sizes))
    if (watch.ended(yield* Effect.exit(runner.run(reveal, { y })))) {
      watch.expect(isZero(y))
    }
    watch.search("scratch", y)
  })

const writeFirstRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const y = target(watch, watch.random.pick(sizes))
    const count = watch.random.below(y.length + 1)
    if (watch.ended(yield* Effect.exit(runner.run(writeFirst, { y, count, value: watch.canary[0]! })))) {
      watch.expect(isZero(y, count))
    }
    watch.search("output", y)
  })

const nothingRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const n = watch.random.pick(sizes)
    const [a, b, c] = [watch.own(n), watch.own(n), target(watch, n)]
    if (watch.ended(yield* Effect.exit(runner.run(nothing, { a, b, c })))) {
      watch.expect(isSame(a, b) && isZero(c))
    }
    watch.search("host view", a)
    watch.search("host view", b)
    watch.search("output", c)
  })

/** Looks at the padding before and behind x. */
const revealAroundRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const { alignmentBytes } = watch
    const n = watch.random.pick(sizes)
    const before = watch.random.below(alignmentBytes)
    const after = Math.ceil(n / alignmentBytes) * alignmentBytes - n
    const y = target(watch, before + after)
    const x = watch.own(n)
    const args = { first: watch.own(1), x, before, after, y }
    if (watch.ended(yield* Effect.exit(runner.run(revealAround, args)))) {
      watch.expect(isZero(y))
    }
    watch.search("padding", y)
    watch.search("host view", x)
  })

const revealBehindRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const { alignmentBytes } = watch
    const n = watch.random.pick(sizes)
    const y = target(watch, Math.ceil(n / alignmentBytes) * alignmentBytes - n)
    const exit = yield* Effect.exit(runner.run(revealBehind, { before: 0, after: y.length, y }, { dims: { n } }))
    if (watch.ended(exit)) {
      watch.expect(isZero(y))
    }
    watch.search("padding", y)
  })

/** Reads every slice that there is, writes all that it may, and at times is interrupted half way. */
const typeScriptRun: Kind = (watch, runner, kept) =>
  Effect.gen(function*() {
    const n = watch.random.pick(sizes)
    const [x, z, y] = [watch.own(n), watch.own(n), target(watch, n)]
    const isInterrupted = watch.random.once(4)
    const owners = watch.residentOwners
    const callable = Callable.make({
      signature: {
        x: Arg.input(bytes, ["n"]),
        z: Arg.inout(bytes, ["n"]),
        work: Arg.scratch(bytes, ["n"]),
        y: Arg.output(bytes, ["n"]),
        kept: Arg.resident(bytes)
      },
      launch: (context) =>
        Effect.gen(function*() {
          for (const name of ["x", "z", "y"] as const) {
            watch.search("slice", yield* context.read(name))
          }
          watch.search("scratch", yield* context.read("work"))
          watch.search("resident", yield* context.read("kept"), owners)
          yield* context.write("work", watch.own(n))
          yield* context.write("z", watch.own(n))
          if (isInterrupted) {
            yield* context.write("y", watch.own(n))
            yield* Effect.interrupt
          }
        })
    })
    watch.ended(yield* Effect.exit(runner.run(callable, { x, z, y, kept })))
    watch.search("host view", z)
    watch.search("output", y)
  })

/** Interrupted from outside, wherever it is by then. */
const interruptedRun: Kind = (watch, runner) =>
  Effect.gen(function*() {
    const n = watch.random.pick(sizes)
    const [x, y] = [watch.own(n), target(watch, n)]
    const fiber = yield* Effect.fork(runner.run(copies[1]!, { x, y }))
    yield* Effect.repeatN(Effect.yieldNow(), watch.random.below(8))
    watch.ended(yield* Fiber.interrupt(fiber))
    watch.search("host view", x)
    watch.search("output", y)
  })

/** Writes the resident tensor in a run or by an upload, and reads it in a run or by a download. */
const residentRun: Kind = (watch, runner, kept) =>
  Effect.gen(function*() {
    const x = watch.own(residentBytes)
    const writing = watch.random.once(2) ? runner.run(toResident, { x, kept }) : kept.upload(x)
    const written = yield* Effect.exit(writing)
    const owners = watch.ended(written) ? [watch.canary] : [...watch.residentOwners, watch.canary]
    watch.residentOwners = owners.slice(-8)
    const y = target(watch, residentBytes)
    const reading = watch.random.once(2) ? runner.run(fromResident, { kept, y }) : kept.download(y)
    if (watch.ended(yield* Effect.exit(reading)) && Exit.isSuccess(written)) {
      watch.expect(isSame(x, y))
    }
    watch.search("resident", y, [...watch.residentOwners, watch.canary])
  })

const kinds: ReadonlyArray<Kind> = [
  copyRun,
  copyRun,
  failingRun,
  revealRun,
  writeFirstRun,
  nothingRun,
  revealAroundRun,
  revealBehindRun,
  typeScriptRun,
  interruptedRun,
  residentRun
]

/** Around a malloc there is nobody's memory to look at. */
const needsSlices: ReadonlySet<Kind> = new Set([revealAroundRun, revealBehindRun])

/** Another budget, another alignment, other chunks; one time in four no budget at all, so that every lease is `Free`. */
const reconfigure = (watch: Watch, runner: DeviceRunner.Service) =>
  Effect.gen(function*() {
    watch.maxBytes = watch.random.once(4) ? 0 : watch.random.pick([16_384, 24_576])
    watch.alignmentBytes = watch.random.pick(alignments)
    const { alignmentBytes, maxBytes } = watch
    const chunks = maxBytes > 0 && watch.random.once(2) ? { count: 2 } : "single"
    yield* runner.configure({ maxBytes, alignmentBytes, chunks })
    watch.totals.configurations += 1
  })

/** A resident tensor of the campaign, which others have been before. */
const allocateKept = (watch: Watch, runner: DeviceRunner.Service) =>
  Effect.gen(function*() {
    const kept = yield* runner.allocate(bytes, [residentBytes])
    watch.residentOwners = []
    const read = new Uint8Array(residentBytes)
    yield* kept.download(read)
    watch.search("resident", read, [])
    return kept
  })

/** So many runs on a runner, with operations that fail among them. Answers how many operations were made to fail. */
export const canaryRuns = (
  runCount: number,
  options: { readonly totals: Totals; readonly random: Random; readonly seed: number; readonly run: number }
) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const injection = yield* FaultInjection.FaultInjection
    const watch = new Watch(options)
    let scope = yield* Scope.make()
    let kept: ResidentTensor.ResidentTensor<"uint8"> | undefined
    for (let index = 0; index < runCount; index++) {
      if (kept === undefined || watch.random.once(50)) {
        yield* injection.withoutFaults(Effect.zipRight(Scope.close(scope, Exit.void), reconfigure(watch, runner)))
        scope = yield* Scope.make()
        kept = yield* injection.withoutFaults(Scope.extend(allocateKept(watch, runner), scope))
      }
      watch.next()
      const kind = watch.random.pick(kinds)
      yield* (watch.maxBytes === 0 && needsSlices.has(kind) ? revealRun : kind)(watch, runner, kept)
    }
    yield* Scope.close(scope, Exit.void)
    return (yield* injection.fired).reduce((sum, { firedCount }) => sum + firedCount, 0)
  })
