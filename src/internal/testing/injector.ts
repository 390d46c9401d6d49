/**
 * The injector: decides which operations of a host API fail, makes them fail, and counts.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import * as Utils from "effect/Utils"
import * as HostApi from "../../HostApi.ts"
import type { Fired, Rule, Service } from "../../testing/FaultInjection.ts"
import {
  decorate,
  type Interceptor,
  isRelease,
  type Operation,
  type OperationKind,
  type Variants
} from "./operations.ts"
import { Orphans } from "./orphans.ts"

/** What the owner of an injector can do. */
export type Controls = Omit<Service, "assertAllFired">

/** Wraps a host API. What a fault made the program lose sight of is freed when the scope closes. */
export const inject = (
  api: HostApi.Service,
  rules: ReadonlyArray<Rule>
): Effect.Effect<{ readonly hostApi: HostApi.Service; readonly controls: Controls }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const injector = new Injector(rules)
    const orphans = new Orphans(api)
    yield* Effect.addFinalizer(() => Effect.zipRight(injector.controls.releaseHangs, orphans.free))
    const wrapped = decorate(api, interceptor(injector, orphans))
    return {
      hostApi: injector.mayWait ? { ...wrapped, immediate: undefined } : wrapped,
      controls: injector.controls
    }
  })

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

  readonly controls: Controls = {
    fired: Effect.sync(() => this.#report()),
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
    Effect.tap(call, () => Effect.sync(() => orphans.note(operation)))

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
        const hidden = Effect.sync(() => {
          hide(operation, when)
          lose(rule)
        })
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

  /** A program forgets what it has on a device that it takes for lost. The device is not. */
  const lose = (rule: Rule): void => {
    if (rule.fault._tag === "Fail" && HostApi.isSticky(rule.fault.status)) {
      orphans.addAll()
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
    if (done === "half") {
      return variants.half?.() ?? call
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
        lose(rule)
        if (fault._tag === "Defect") {
          throw fault.defect
        }
        lastInjected = injectedError(operation.kind, fault.status)
        return fault.status
      }
      case "Lie":
        if (isAnswering(operation.kind) || fault.done === "half") {
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
          orphans.note(operation)
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
