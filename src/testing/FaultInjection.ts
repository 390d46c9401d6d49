/**
 * Failures on demand: a layer that needs a `HostApi` and provides one, and fails the operations that its rules name.
 *
 * It wraps both forms of the seam, so what is tested is the path that ships. Only rules that make an operation wait (a
 * delay, a hang) take `immediate` away, because a plain function cannot wait.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as HostApi from "../HostApi.ts"
import { type Controls, inject } from "../internal/testing/injector.ts"
import type { OperationKind } from "../internal/testing/operations.ts"

export type {
  /**
   * The kinds of operations, as methods of `HostApi`.
   *
   * @since 0.1.0
   * @category models
   */
  OperationKind
}

/**
 * What goes wrong.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  /** The operation answers this status: typed, and with `DeviceLost` or an unknown status sticky. */
  | { readonly _tag: "Fail"; readonly status: number }
  /** The operation throws. */
  | { readonly _tag: "Defect"; readonly defect: unknown }
  /** The operation does not end until `releaseHangs`, or the end of the layer. */
  | { readonly _tag: "Hang" }
  /** The operation says that it succeeded, but did nothing, or half of it. Only what can be half done can be `"half"`. */
  | { readonly _tag: "Lie"; readonly done: "nothing" | "half" }
  /** Nothing goes wrong; for rules that only delay. */
  | { readonly _tag: "None" }

/**
 * Which operations a rule is about. What is left out is not asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Where {
  readonly operation?: OperationKind | ReadonlyArray<OperationKind> | undefined
  readonly purpose?: HostApi.Purpose | undefined
  /** How many operations that fit otherwise go by first. Defaults to `0`. */
  readonly index?: number | undefined
  /** The name of a tensor that the operation is about, among others. */
  readonly tensor?: string | undefined
  /** The generation of the run on whose behalf the operation is made. */
  readonly run?: number | undefined
  /** Fires once operations that fit have asked for more bytes than this in all. Defaults to `0`, at once. */
  readonly afterBytes?: number | undefined
}

/**
 * One thing that goes wrong.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rule {
  /** What the report calls it. Defaults to a description. */
  readonly name?: string | undefined
  /** Defaults to every operation. */
  readonly where?: Where | undefined
  readonly fault: Fault
  /**
   * Whether the operation takes effect before the fault is seen. An operation that fails by itself is then seen to fail as the
   * rule says, unless it has lost the device. Defaults to `"before"`: it has no effect at all.
   */
  readonly when?: "before" | "after" | undefined
  /**
   * How often it fires, counted from the first operation on that `where` finds. A probability is drawn from the seed, apart
   * for each rule. Defaults to `"once"`.
   */
  readonly often?:
    | "once"
    | "always"
    | "everyOther"
    | { readonly probability: number; readonly seed: number }
    | undefined
  /** How long the operation waits before anything else, on the `Clock` of the program. */
  readonly delay?: Duration.DurationInput | undefined
  /** Whether it may never fire. Defaults to `false`: a rule that never fired is a test that tested nothing. */
  readonly isOptional?: boolean | undefined
}

/**
 * What a rule has done.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fired {
  readonly name: string
  readonly isOptional: boolean
  /** How many operations fitted. */
  readonly matchedCount: number
  /** How many of them it hit. */
  readonly firedCount: number
}

/**
 * A rule was armed and never fired, so what it was meant to test was not tested.
 *
 * @since 0.1.0
 * @category errors
 */
export class NeverFired extends Schema.TaggedError<NeverFired>("leasehold/testing/NeverFired")("NeverFired", {
  rules: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `these rules were armed and never fired: ${this.rules.join("; ")}`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** What each rule has done so far, in their order. */
  readonly fired: Effect.Effect<ReadonlyArray<Fired>>
  /** Fails where a rule that is not optional has never fired. */
  readonly assertAllFired: Effect.Effect<void, NeverFired>
  /** Adds a rule. */
  readonly arm: (rule: Rule) => Effect.Effect<void>
  /** Runs an effect with one rule more, which is disarmed when the effect has ended. `fired` goes on to tell of it. */
  readonly withRule: <A, E, R>(rule: Rule, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Runs an effect while no rule fires or counts. */
  readonly withoutFaults: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** How many operations hang now. */
  readonly hangingCount: Effect.Effect<number>
  /** Lets every operation that hangs go on. */
  readonly releaseHangs: Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class FaultInjection extends Context.Tag("leasehold/testing/FaultInjection")<FaultInjection, Service>() {}

/**
 * The operation answers a status, by default one that is not sticky.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fail = (status: number = HostApi.Status.InvalidArgument): Fault => ({ _tag: "Fail", status })

/**
 * There is no memory left.
 *
 * @since 0.1.0
 * @category constructors
 */
export const outOfMemory: Fault = fail(HostApi.Status.OutOfMemory)

/**
 * The device is lost: a sticky fault, which poisons the runner.
 *
 * @since 0.1.0
 * @category constructors
 */
export const deviceLost: Fault = fail(HostApi.Status.DeviceLost)

/**
 * The operation throws.
 *
 * @since 0.1.0
 * @category constructors
 */
export const defect = (defect: unknown = new Error("injected defect")): Fault => ({ _tag: "Defect", defect })

/**
 * The operation does not end until it is released.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hang: Fault = { _tag: "Hang" }

/**
 * The operation says that it succeeded and did nothing, or half of it.
 *
 * An allocation always does at least half: it has to answer an address.
 *
 * @since 0.1.0
 * @category constructors
 */
export const lie = (done: "nothing" | "half" = "nothing"): Fault => ({ _tag: "Lie", done })

/**
 * A rule that only makes operations slow.
 *
 * @since 0.1.0
 * @category constructors
 */
export const delayed = (delay: Duration.DurationInput, where?: Where): Rule => ({
  ...(where === undefined ? {} : { where }),
  fault: { _tag: "None" },
  often: "always",
  delay
})

/**
 * Wraps a `HostApi`. What a fault made the program lose sight of (memory that was allocated although the allocation failed)
 * is freed when the scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  rules: ReadonlyArray<Rule> = []
): Effect.Effect<Context.Context<FaultInjection | HostApi.HostApi>, never, HostApi.HostApi | Scope.Scope> =>
  Effect.map(
    Effect.flatMap(HostApi.HostApi, (api) => inject(api, rules)),
    ({ controls, hostApi }) =>
      Context.make(FaultInjection, { ...controls, assertAllFired: assertAllFired(controls) }).pipe(
        Context.add(HostApi.HostApi, hostApi)
      )
  )

const assertAllFired = ({ fired }: Controls): Effect.Effect<void, NeverFired> =>
  Effect.flatMap(fired, (rules) => {
    const missing = rules.filter((rule) => rule.firedCount === 0 && !rule.isOptional)
    return missing.length === 0
      ? Effect.void
      : Effect.fail(new NeverFired({ rules: missing.map((rule) => rule.name) }))
  })

/**
 * Fails the operations that the rules name. When it closes after a success it dies with `NeverFired` where a rule that is
 * not optional has never fired, so that the test around it fails.
 *
 * A rule that waits must be among these for `immediate` to be taken away; one that is armed later never fires at a plain
 * function.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  rules: ReadonlyArray<Rule> = []
): Layer.Layer<FaultInjection | HostApi.HostApi, never, HostApi.HostApi> =>
  Layer.scopedContext(
    Effect.tap(make(rules), (context) =>
      Effect.addFinalizer((exit) =>
        Exit.isSuccess(exit) ? Effect.orDie(Context.get(context, FaultInjection).assertAllFired) : Effect.void
      ))
  )
