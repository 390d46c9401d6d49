/** The ways in which the inputs of the table reach a runner, over the cases that other files list. */
import { Effect, Layer, type Scope } from "effect"
import { Arg, type Callable, type Errors, type HostApi } from "leasehold"
import { native } from "../utils/kernels.ts"
import { argumentCases } from "./argumentCases.ts"
import { type Bench, type Entry, refused, type Try } from "./row.ts"
import { badShapes } from "./shapeCases.ts"
import { badSignatures } from "./signatureCases.ts"
import { awaited, goodArguments, inline, ways } from "./world.ts"

/** Builds a layer of a backend, in a scope that ends with the attempt. */
export const option = <E extends { readonly _tag: string }>(
  make: () => Layer.Layer<HostApi.HostApi, E>
): Effect.Effect<void, E> => Effect.scoped(Effect.asVoid(Layer.build(make())))

/** Arguments through every way to a run, its kernels loaded before. */
export const everyRun = (
  bench: Bench,
  args: unknown,
  options?: unknown
): Effect.Effect<ReadonlyArray<Try>, Errors.RunnerError> =>
  Effect.zipRight(
    Effect.all([bench.runner.load(inline), bench.runner.load(awaited)]),
    Effect.sync(() => ways(bench).map(([, attempt]) => attempt(args, options)))
  )

/** A callable of either execution through every way to a run; loaded before, where that can be done. */
export const everyCallable = (
  { untyped }: Bench,
  make: (execution: Callable.Execution) => unknown,
  args: unknown
): Effect.Effect<ReadonlyArray<Try>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const callables = [make("inline"), make("awaited")]
    for (const callable of callables) {
      yield* Effect.ignore(untyped.load(callable))
    }
    return callables.flatMap((callable) => [
      untyped.run(callable, args),
      untyped.bind(callable, args),
      untyped.plan(callable, args)
    ])
  })

/** The shapes whose row this is. */
export const shapes = (number: number, answer: string): Entry =>
  refused(
    "allocate, allocateHost",
    answer,
    ({ untyped }) =>
      badShapes.filter(([row]) => row === `${number}`).flatMap(([, , shape]) => [
        untyped.allocate("float32", shape),
        untyped.allocateHost("float32", shape)
      ])
  )

/** The signatures whose row this is. */
export const signatures = (number: number): Entry =>
  refused(
    "load, run, bind and plan of a signature",
    "InvalidArgument: Signature",
    ({ untyped }) =>
      badSignatures.filter(([row]) => row === `${number}`).flatMap(([, , make]) =>
        (["inline", "awaited"] as const).flatMap((execution) => {
          const callable = { ...native("test_nothing", {}, { execution }), signature: make() }
          return [
            untyped.load(callable),
            untyped.run(callable, {}),
            untyped.bind(callable, {}),
            untyped.plan(callable, {})
          ]
        })
      )
  )

/** Dimensions that are given beside the arguments. */
export const dims = (answer: string, values: ReadonlyArray<unknown>): Entry =>
  refused("the option dims of run, bind and plan", answer, (bench) =>
    Effect.gen(function*() {
      const good = yield* goodArguments(bench.runner)
      return (yield* Effect.forEach(values, (n) => everyRun(bench, good, { dims: { n } }))).flat()
    }))

/** Runs whose scratch has these sizes. */
export const work = (answer: string, ...sizes: ReadonlyArray<number>): Entry =>
  refused("run, bind and plan", answer, (bench) => {
    const signature = Object.fromEntries(sizes.map((bytes, index) => [`t${index}`, Arg.scratch("uint8", [bytes])]))
    return everyCallable(bench, (execution) => native("test_nothing", signature, { execution }), {})
  })

/** The values whose row this is, each for the argument that it is wrong for. */
export const argumentsOf = (number: number, answer: string): Entry =>
  refused("run, bind and plan", answer, (bench) =>
    Effect.gen(function*() {
      const good = yield* goodArguments(bench.runner)
      const attempts: Array<Try> = []
      for (const [row, , argument, reason, make] of argumentCases) {
        if (row === `${number}` && answer.endsWith(reason)) {
          attempts.push(...yield* everyRun(bench, { ...good, [argument]: yield* make(bench) }))
        }
      }
      return attempts
    }))

/** The same values for what is uploaded to a resident tensor, and for what it is downloaded into. */
export const movesOf = (number: number, answer: string): Entry =>
  refused("upload and download", answer, (bench) =>
    Effect.gen(function*() {
      const resident = yield* bench.runner.allocate("float32", [29])
      const attempts: Array<Effect.Effect<unknown, Errors.RunnerError, Scope.Scope>> = []
      for (const [row, , argument, reason, make] of argumentCases) {
        if (row === `${number}` && answer.endsWith(reason) && (argument === "x" || argument === "y")) {
          const view = (yield* make(bench)) as Float32Array
          attempts.push(resident.upload(view), resident.download(view), resident.upload(view, { offsetElements: 0 }))
        }
      }
      return attempts
    }))
