/**
 * Failures on demand: a layer that needs a `HostApi` and provides one, and fails the operations that its rules name.
 *
 * It wraps both forms of the seam, so what is tested is the path that ships. Only rules that make an operation wait (a
 * delay, a hang) take `immediate` away, because a plain function cannot wait.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Utils from "effect/Utils"
import * as HostApi from "../HostApi.ts"
import {
  decorate,
  type Interceptor,
  isRelease,
  type Operation,
  type OperationKind,
  type Variants
} from "../internal/testing/operations.ts"
import { Orphans } from "../internal/testing/orphans.ts"

/**
 * The kinds of operations, as methods of `HostApi`.
 *
 * @since 0.1.0
 * @category models
 */
export type { OperationKind }

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
  Effect.gen(function*() {
    const api = yield* HostApi.HostApi
    const injector = new Injector(rules)
    const orphans = new Orphans(api)
    yield* Effect.addFinalizer(() => Effect.zipRight(injector.service.releaseHangs, orphans.free))
    const wrapped = decorate(api, interceptor(injector, orphans))
    return Context.make(FaultInjection, injector.service).pipe(
      Context.add(HostApi.HostApi, injector.mayWait ? { ...wrapped, immediate: undefined } : wrapped)
    )
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

const waits = (rule: Rule): boolean => rule.fault._tag === "Hang" || rule.delay !== undefined

interface ArmedRule {
  readonly rule: Rule
  readonly random: Utils.PCGRandom | undefined
  seenCount: number
  seenBytes: number
  matchedCount: number
  firedCount: number
  isDisarmed: boolean
}

const describeRule = ({ fault, name, often = "once", when = "before", where = {} }: Rule): string => {
  if (name !== undefined) {
    return name
  }
  const kinds = where.operation === undefined ? "any operation" : [where.operation].flat().join(" or ")
  const what = fault._tag === "Fail" ? HostApi.statusName(fault.status) : fault._tag
  const about = [
    where.purpose === undefined ? "" : ` for ${where.purpose}`,
    where.tensor === undefined ? "" : ` of "${where.tensor}"`,
    where.run === undefined ? "" : ` in run ${where.run}`,
    where.index === undefined ? "" : ` number ${where.index}`
  ].join("")
  return `${what} ${when} ${kinds}${about}, ${typeof often === "string" ? often : `probability ${often.probability}`}`
}

/** Decides which operations fail, and counts. */
class Injector {
  readonly #rules: Array<ArmedRule>
  readonly #hanging = new Set<Deferred.Deferred<void>>()
  readonly mayWait: boolean
  #pausedCount = 0

  constructor(rules: ReadonlyArray<Rule>) {
    this.mayWait = rules.some(waits)
    this.#rules = rules.map(armed)
  }

  readonly service: Service = {
    fired: Effect.sync(() => this.#report()),
    assertAllFired: Effect.suspend(() => {
      const missing = this.#report().filter((rule) => rule.firedCount === 0 && !rule.isOptional)
      return missing.length === 0
        ? Effect.void
        : Effect.fail(new NeverFired({ rules: missing.map((rule) => rule.name) }))
    }),
    arm: (rule) =>
      Effect.sync(() => {
        this.#rules.push(armed(rule))
      }),
    withRule: (rule, effect) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const added = armed(rule)
          this.#rules.push(added)
          return added
        }),
        () => effect,
        (added) =>
          Effect.sync(() => {
            added.isDisarmed = true
          })
      ),
    withoutFaults: (effect) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          this.#pausedCount += 1
        }),
        () => effect,
        () =>
          Effect.sync(() => {
            this.#pausedCount -= 1
          })
      ),
    hangingCount: Effect.sync(() => this.#hanging.size),
    releaseHangs: Effect.suspend(() => {
      const hanging = [...this.#hanging]
      this.#hanging.clear()
      return Effect.forEach(hanging, (deferred) => Deferred.succeed(deferred, undefined), { discard: true })
    })
  }

  #report(): ReadonlyArray<Fired> {
    return this.#rules.map(({ firedCount, matchedCount, rule }) => ({
      name: describeRule(rule),
      isOptional: rule.isOptional ?? false,
      matchedCount,
      firedCount
    }))
  }

  /** The rule that hits an operation: the first that fits and whose turn it is. */
  aim(operation: Operation): Rule | undefined {
    if (this.#pausedCount > 0) {
      return undefined
    }
    let hit: Rule | undefined
    // Every rule counts every operation, whoever hits it.
    for (const candidate of this.#rules) {
      // A rule that was armed too late to take `immediate` away cannot fire at a plain function.
      if (operation.form === "immediate" && waits(candidate.rule)) {
        continue
      }
      if (fits(candidate, operation) && isDue(candidate) && hit === undefined) {
        candidate.firedCount += 1
        hit = candidate.rule
      }
    }
    return hit
  }

  readonly hang: Effect.Effect<void> = Effect.suspend(() => {
    const deferred = Deferred.unsafeMake<void>(FiberId.none)
    this.#hanging.add(deferred)
    return Deferred.await(deferred)
  })
}

const armed = (rule: Rule): ArmedRule => ({
  rule,
  random: typeof rule.often === "object" ? new Utils.PCGRandom(rule.often.seed) : undefined,
  seenCount: 0,
  seenBytes: 0,
  matchedCount: 0,
  firedCount: 0,
  isDisarmed: false
})

const fits = (candidate: ArmedRule, operation: Operation): boolean => {
  if (candidate.isDisarmed) {
    return false
  }
  const { afterBytes = 0, index = 0, operation: kind, purpose, run, tensor } = candidate.rule.where ?? {}
  if (
    (kind !== undefined && ![kind].flat().includes(operation.kind)) ||
    (purpose !== undefined && purpose !== operation.purpose) ||
    (tensor !== undefined && !operation.names.includes(tensor)) ||
    (run !== undefined && run !== operation.runId)
  ) {
    return false
  }
  candidate.seenCount += 1
  candidate.seenBytes += operation.byteCount
  return candidate.seenCount > index && (afterBytes === 0 || candidate.seenBytes > afterBytes)
}

/** Whether a rule fires on an operation that fits. */
const isDue = (candidate: ArmedRule): boolean => {
  const { often = "once" } = candidate.rule
  const matchedCount = candidate.matchedCount
  candidate.matchedCount += 1
  switch (often) {
    case "once":
      return candidate.firedCount === 0
    case "always":
      return true
    case "everyOther":
      return matchedCount % 2 === 0
    default:
      return candidate.random!.number() < often.probability
  }
}

const injectedError = (operation: string, status: number): HostApi.HostApiError =>
  new HostApi.HostApiError({
    operation,
    status,
    statusName: HostApi.statusName(status),
    deviceCode: 0,
    deviceName: "",
    detail: "injected",
    entryIndex: -1
  })

const interceptor = (injector: Injector, orphans: Orphans): Interceptor => {
  let lastInjected: HostApi.HostApiError | undefined

  const performed = <A>(operation: Operation, call: Effect.Effect<A, HostApi.HostApiError>) =>
    Effect.tap(call, () => Effect.sync(() => orphans.released(operation)))

  /** What an operation comes to that is hit by a fault. */
  const faulty = <A>(
    rule: Rule,
    operation: Operation,
    call: Effect.Effect<A, HostApi.HostApiError>,
    variants: Variants<Effect.Effect<A, HostApi.HostApiError>>
  ): Effect.Effect<A, HostApi.HostApiError> => {
    const { fault, when = "before" } = rule
    switch (fault._tag) {
      case "None":
        return performed(operation, call)
      case "Hang":
        return when === "before"
          ? Effect.zipRight(injector.hang, performed(operation, call))
          : Effect.tap(performed(operation, call), () => injector.hang)
      case "Lie":
        return liar(operation, fault.done, call, variants)
      default: {
        const failure = fault._tag === "Fail"
          ? Effect.suspend(() => Effect.fail(injectedError(operation.kind, fault.status)))
          : Effect.die(fault.defect)
        const hidden = Effect.sync(() => hide(operation, when))
        return when === "before" ? Effect.zipRight(hidden, failure) : Effect.matchEffect(performed(operation, call), {
          onSuccess: () => Effect.zipRight(hidden, failure),
          onFailure: (own) => HostApi.isSticky(own.status) ? Effect.fail(own) : failure
        })
      }
    }
  }

  /** Remembers what a failing operation leaves behind: an allocation that was made, or a release that was not. */
  const hide = (operation: Operation, when: "before" | "after"): void => {
    if (isRelease(operation.kind) === (when === "before")) {
      orphans.add(operation)
    }
  }

  const liar = <A>(
    operation: Operation,
    done: "nothing" | "half",
    call: Effect.Effect<A, HostApi.HostApiError>,
    variants: Variants<Effect.Effect<A, HostApi.HostApiError>>
  ): Effect.Effect<A, HostApi.HostApiError> => {
    if (isAnswering(operation.kind)) {
      return variants.half?.() ?? call
    }
    if (done === "half" && variants.half !== undefined) {
      return variants.half()
    }
    // Operations that may be left out answer nothing.
    return Effect.sync(() => hide(operation, "before") as A)
  }

  const faultyPlain = (rule: Rule, operation: Operation, call: () => number, variants: Variants<number>): number => {
    const { fault, when = "before" } = rule
    switch (fault._tag) {
      case "Fail":
      case "Defect": {
        const status = when === "after" ? call() : HostApi.Status.Ok
        if (HostApi.isSticky(status)) {
          return status
        }
        if (status === HostApi.Status.Ok) {
          hide(operation, when)
        }
        if (fault._tag === "Defect") {
          throw fault.defect
        }
        lastInjected = injectedError(operation.kind, fault.status)
        return fault.status
      }
      case "Lie":
        if (isAnswering(operation.kind) || (fault.done === "half" && variants.half !== undefined)) {
          return variants.half?.() ?? call()
        }
        hide(operation, "before")
        return HostApi.Status.Ok
      default:
        return call()
    }
  }

  return {
    effect: (operation, call, variants) =>
      Effect.suspend(() => {
        const rule = injector.aim(operation)
        if (rule === undefined) {
          return performed(operation, call)
        }
        const outcome = faulty(rule, operation, call, variants)
        return rule.delay === undefined ? outcome : Effect.delay(outcome, rule.delay)
      }),
    plain: (operation, call, variants) => {
      lastInjected = undefined
      const rule = injector.aim(operation)
      const performed = (): number => {
        const status = call()
        if (status === HostApi.Status.Ok) {
          orphans.released(operation)
        }
        return status
      }
      return rule === undefined ? performed() : faultyPlain(rule, operation, performed, variants)
    },
    lastFailure: () => lastInjected
  }
}

/** Operations that answer something: they cannot be left out. */
const isAnswering = (kind: OperationKind): boolean =>
  kind === "malloc" || kind === "hostMalloc" || kind === "loadKernel" || kind === "memoryInfo"
