/**
 * What a row of the table of bad inputs is made of, and how one is executed.
 *
 * Whatever is refused is refused with its class and its reason, without a native call, with the device's account as it was
 * before; and the runner works afterwards.
 */
import { assert } from "@effect/vitest"
import { Effect, Layer, type Scope } from "effect"
import { DeviceRunner, type HostApi, type RunnerOptions } from "leasehold"
import { Ledger } from "leasehold/testing"
import { deviceOf, type Form } from "../utils/forms.ts"
import { assertNothingHeld, assertUsable } from "../utils/programs.ts"
import { refusedWith, type World, world } from "./world.ts"

export interface Bench extends World {
  readonly ledger: Ledger.Service
}

export type Needs = Scope.Scope | HostApi.HostApi

export type Try<A = unknown> = Effect.Effect<A, { readonly _tag: string }, Needs>

/** One way in which a row's input reaches a runner, and what it is answered with. */
export interface Entry {
  readonly through: string
  /** A class and its reason as `docs/reference/errors.md` writes them, or words where nothing fails. */
  readonly answer: string
  readonly check: (bench: Bench) => Effect.Effect<void, { readonly _tag: string }, Needs>
  /** Whether the runner is lost afterwards, as it should be. */
  readonly losesRunner?: boolean
}

export interface Row {
  readonly number: number
  /** The input, in words. */
  readonly input: string
  readonly entries: ReadonlyArray<Entry>
  /** Why there is no such input today. Entries then show the nearest thing that there is. */
  readonly doesNotApply?: string
  /** Options of the runner that the row is tried on. */
  readonly options?: RunnerOptions.RunnerOptions
  /** Whether one form of the seam is enough, as no runner is involved. */
  readonly isOutsideRunners?: boolean
}

/** Executes attempts one by one, each on the runner as the one before has left it. */
export const refused = (
  through: string,
  answer: string,
  attempts: (bench: Bench) => ReadonlyArray<Try> | Effect.Effect<ReadonlyArray<Try>, { readonly _tag: string }, Needs>
): Entry => ({
  through,
  answer,
  check: (bench) =>
    Effect.gen(function*() {
      const made = attempts(bench)
      const list = Effect.isEffect(made) ? yield* made : made
      assert.isAbove(list.length, 0, `${through}: there is something to try`)
      for (const [index, attempt] of list.entries()) {
        const before = yield* bench.ledger.snapshot
        yield* refusedWith(bench, answerOf(answer), attempt, `${through}, attempt ${index + 1}`)
        assert.deepStrictEqual(yield* bench.ledger.snapshot, before, `${through}, attempt ${index + 1}: the account`)
      }
    })
})

/** What is not refused beforehand: the device or the program itself is asked, and `check` looks at what comes of it. */
export const answered = (through: string, answer: string, check: Entry["check"], losesRunner = false): Entry => ({
  through,
  answer,
  check: (bench) =>
    Effect.gen(function*() {
      yield* check(bench)
      const { breaches, inFlight } = yield* bench.ledger.snapshot
      assert.deepStrictEqual([breaches, inFlight], [[], []], through)
    }),
  losesRunner
})

/** Fails as the answer says; answers the error. */
export const failsAs = (
  answer: string,
  attempt: Try,
  what = ""
): Effect.Effect<{ readonly message: string }, never, Needs> =>
  Effect.matchEffect(attempt, {
    onSuccess: () => Effect.dieMessage(`${what}: expected ${answer}, but it succeeded`),
    onFailure: (error) => {
      const [tag, reason] = answerOf(answer)
      const { message, reason: actual } = error as object as { readonly message: string; readonly reason?: string }
      return Effect.sync(() => {
        assert.strictEqual(error._tag, tag, `${what}: ${message}`)
        assert.strictEqual(reason === undefined ? undefined : actual, reason, `${what}: ${message}`)
        return { message }
      })
    }
  })

const answerOf = (answer: string): readonly [tag: string, reason?: string] => {
  const [tag = "", reason] = answer.split(": ")
  return reason === undefined ? [tag] : [tag, reason]
}

/** The classes and reasons that a row is answered with. */
export const answersOf = (row: Row): ReadonlySet<string> =>
  new Set(row.entries.map(({ answer }) => answer).filter((answer) => /^[A-Z]\w+(: \w+)?$/.test(answer)))

/** A runner over a ledger over a probe, on a backend of a form. Small, so that its limits are near. */
const benchLayer = (form: Form, options: RunnerOptions.RunnerOptions) =>
  DeviceRunner.layer({
    temporaryBuffer: { maxBytes: "64 KiB", alignmentBytes: 256 },
    residentMaxBytes: "1 MiB",
    stagingMaxBytes: "1 MiB",
    maxInlineCopyBytes: "256 KiB",
    ...options
  }).pipe(Layer.provideMerge(Ledger.layer), Layer.provideMerge(deviceOf(form)))

/** Executes an entry on a runner of its own, and shows that the runner works afterwards. */
export const execute = (form: Form, row: Row, entry: Entry): Effect.Effect<void, { readonly _tag: string }> =>
  Effect.gen(function*() {
    const bench = { ...yield* world, ledger: yield* Ledger.Ledger }
    yield* Effect.scoped(entry.check(bench))
    if (entry.losesRunner !== true) {
      yield* assertUsable
      yield* assertNothingHeld
    }
  }).pipe(Effect.provide(benchLayer(form, row.options ?? {})))
