/**
 * What the runs of a crowd do, each with bytes of its own, and what has to come of it. All crowds share the callables, so that
 * runs at once share what is prepared for them.
 */
import { Effect } from "effect"
import { Arg, Callable, type DeviceRunner } from "leasehold"
import type { Random } from "../model/random.ts"
import { fill } from "../runs/canaryBytes.ts"
import { bytes } from "../runs/canaryCallables.ts"
import { native } from "../utils/kernels.ts"
import type { Watch } from "./watch.ts"

/** A host view, and what it holds before the run and after it has come through. */
export interface Watched {
  readonly name: string
  readonly view: Uint8Array
  readonly before: Uint8Array
  readonly after: Uint8Array
}

/** How a run ends that is not to come through. */
export type Failure = "LaunchFailed" | "own" | "die" | "interrupt"

export interface Spec {
  readonly number: number
  /** The bytes of its tensors, in the order in which they are placed. */
  readonly sizes: ReadonlyArray<number>
  readonly views: ReadonlyArray<Watched>
  readonly failure: Failure | undefined
  readonly run: (on: DeviceRunner.Runs) => Effect.Effect<void, unknown>
  readonly bind: (on: DeviceRunner.Runs) => ReturnType<DeviceRunner.Runs["bind"]>
}

const inline = { execution: "inline" } as const
const inAndOut = { x: Arg.input(bytes, ["n"]), y: Arg.output(bytes, ["n"]) }
const scratchAndOut = { work: Arg.scratch(bytes, ["n"]), y: Arg.output(bytes, ["n"]) }
const someOut = { y: Arg.output(bytes, ["n"]), count: Arg.scalar("int32"), value: Arg.scalar("int32") }
const allKinds = {
  a: Arg.input(bytes, ["n"]),
  b: Arg.inout(bytes, ["n"]),
  work: Arg.scratch(bytes, ["n"]),
  c: Arg.output(bytes, ["n"])
}
const around = {
  x: Arg.inout(bytes, ["n"]),
  before: Arg.scalar("int32"),
  after: Arg.scalar("int32"),
  y: Arg.output(bytes, ["m"]),
  // The kernel does not look at it. It lies before x, because inputs lie before inouts.
  first: Arg.input(bytes, [1])
}

/** A callable twice: on the event loop's thread, and off it. */
const both = <const S extends Arg.Signature>(symbol: string, signature: S): ReadonlyArray<Callable.Callable<S>> => [
  native(symbol, signature, inline),
  native(symbol, signature)
]

export const copies = both("test_copy", inAndOut)
const failing = both("test_fail", inAndOut)
const reveals = both("test_reveal", scratchAndOut)
const writeFirsts = both("test_write_first", someOut)
const nothings = both("test_nothing", allKinds)
const revealArounds = both("test_reveal_around", around)

/** What a launch in TypeScript does, by the number of its run. */
const launches = new Map<number, (context: Callable.Context<typeof tsSignature>) => Effect.Effect<void, unknown>>()

const tsSignature = { ...allKinds, who: Arg.scalar("int32") }

const typeScript = Callable.make<typeof tsSignature, unknown>({
  name: "typeScript",
  signature: tsSignature,
  launch: (context) => Effect.suspend(() => launches.get(context.scalars.who)!(context))
})

/** Around the alignments, and where copies are cut. */
const sizes = [0, 1, 2, 63, 64, 65, 255, 256, 257, 511, 513, 1023, 1025, 2049]

/** Bytes of a run: its canary, from one of its three places on. */
const own = (watch: Watch, number: number, length: number, phase = 0): Uint8Array =>
  fill(new Uint8Array(length + phase), watch.canary(number)).slice(phase)

const input = (name: string, view: Uint8Array): Watched => ({ name, view, before: view.slice(), after: view.slice() })

/** A view that is full of the run's own bytes or of none, so that one that was left alone shows nothing of others. */
const output = (name: string, random: Random, canary: Uint8Array, after: Uint8Array): Watched => {
  const view = random.once(2) ? fill(new Uint8Array(after.length), canary) : new Uint8Array(after.length)
  return { name, view, before: view.slice(), after }
}

/** The two ways to ask for a run. */
const asked = <S extends Arg.Signature, E>(
  callable: Callable.Callable<S, E>,
  args: Callable.Args<S>
): Pick<Spec, "run" | "bind"> => ({
  // What is exact is known where the arguments are made.
  run: (on) => on.run(callable, args as never),
  bind: (on) => on.bind(callable, args as never)
})

type Kind = (watch: Watch, random: Random, size: number) => Spec

const copyOf = (callables: typeof copies, failure: Failure | undefined): Kind => (watch, random, size) => {
  const number = watch.nextNumber()
  const x = own(watch, number, size)
  const y = output("y", random, watch.canary(number), x.slice())
  return {
    number,
    sizes: [size, size],
    views: [input("x", x), y],
    failure,
    ...asked(random.pick(callables), { x, y: y.view })
  }
}

export const copyRun = copyOf(copies, undefined)

const revealRun: Kind = (watch, random, size) => {
  const number = watch.nextNumber()
  const y = output("y", random, watch.canary(number), new Uint8Array(size))
  return { number, sizes: [size, size], views: [y], failure: undefined, ...asked(random.pick(reveals), { y: y.view }) }
}

const writeFirstRun: Kind = (watch, random, size) => {
  const number = watch.nextNumber()
  const canary = watch.canary(number)
  const count = random.below(size + 1)
  const y = output("y", random, canary, new Uint8Array(size).fill(canary[0]!, 0, count))
  const args = { y: y.view, count, value: canary[0]! }
  return { number, sizes: [size], views: [y], failure: undefined, ...asked(random.pick(writeFirsts), args) }
}

const nothingRun: Kind = (watch, random, size) => {
  const number = watch.nextNumber()
  const [a, b] = [own(watch, number, size), own(watch, number, size, 1)]
  const c = output("c", random, watch.canary(number), new Uint8Array(size))
  return {
    number,
    sizes: [size, size, size, size],
    views: [input("a", a), input("b", b), c],
    failure: undefined,
    ...asked(random.pick(nothings), { a, b, c: c.view })
  }
}

/** Looks at the padding before and behind x. */
const revealAroundRun: Kind = (watch, random, size) => {
  const number = watch.nextNumber()
  const { alignmentBytes } = watch.setup.buffer
  const length = Math.max(1, size)
  const before = random.below(alignmentBytes)
  const after = Math.ceil(length / alignmentBytes) * alignmentBytes - length
  const [first, x] = [own(watch, number, 1), own(watch, number, length)]
  const y = output("y", random, watch.canary(number), new Uint8Array(before + after))
  return {
    number,
    sizes: [1, length, before + after],
    views: [input("first", first), input("x", x), y],
    failure: undefined,
    ...asked(random.pick(revealArounds), { first, x, before, after, y: y.view })
  }
}

/** Fails on purpose, in a launch in TypeScript. */
export const ownError = { _tag: "Own" }
export const ownDefect = new Error("a defect of the program")

/** Reads every slice that there is, writes all that it may, gives way to others, and looks again. */
const typeScriptRun: Kind = (watch, random, size) => {
  const number = watch.nextNumber()
  const [a, b] = [own(watch, number, size), own(watch, number, size, 1)]
  const [written, after] = [own(watch, number, size, 2), own(watch, number, size, 2)]
  const failure: Failure | undefined = random.once(4) ? random.pick(["own", "die", "interrupt"] as const) : undefined
  const c = output("c", random, watch.canary(number), after)
  const zero = new Uint8Array(size)
  const pauses = [random.below(3), random.below(6)]
  // The views themselves may be transferred away meanwhile.
  const views = { a: input("a", a), b: { name: "b", view: b, before: b.slice(), after: written.slice() }, c }
  launches.set(number, (context) =>
    Effect.gen(function*() {
      const look = (name: "a" | "b" | "c" | "work", expected: Uint8Array) =>
        Effect.map(context.read(name), (view) => watch.expectBytes(`"${name}" in a launch`, number, view, [expected]))
      yield* look("a", views.a.before)
      yield* look("b", views.b.before)
      yield* look("c", zero)
      yield* look("work", zero)
      yield* context.write("work", written)
      yield* Effect.repeatN(Effect.yieldNow(), pauses[0]!)
      yield* context.write("b", written)
      yield* context.write("c", after)
      yield* Effect.repeatN(Effect.yieldNow(), pauses[1]!)
      yield* look("a", views.a.before)
      yield* look("work", written)
      switch (failure) {
        case "own":
          return yield* Effect.fail(ownError)
        case "die":
          return yield* Effect.die(ownDefect)
        case "interrupt":
          return yield* Effect.interrupt
        default:
          return undefined
      }
    }))
  return {
    number,
    sizes: [size, size, size, size],
    views: Object.values(views),
    failure,
    ...asked(typeScript, { a, b, c: c.view, who: number })
  }
}

/** A launch of a run that has ended is forgotten. */
export const forget = (spec: Spec): void => {
  launches.delete(spec.number)
}

const kinds: ReadonlyArray<Kind> = [
  copyRun,
  copyRun,
  copyRun,
  copyOf(failing, "LaunchFailed"),
  revealRun,
  writeFirstRun,
  nothingRun,
  typeScriptRun,
  typeScriptRun
]

/** A run, mostly small, at times as large as the buffer or larger. */
export const specOf = (watch: Watch, random: Random): Spec => {
  const { maxBytes } = watch.configuration
  const size = random.once(8) ? Math.floor(maxBytes / random.pick([2, 3, 4, 5, 8])) : random.pick(sizes)
  // Around a slice lies its own run's padding only where slices of a run lie one behind the other.
  const kind = watch.setup.looksAtPadding && random.once(6) ? revealAroundRun : random.pick(kinds)
  return kind(watch, random, size)
}
