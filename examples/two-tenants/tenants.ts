/** Two tenants on one runner: what they may have, and what their clients do. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Arg, Callable, DeviceRunner, type Errors, type RunnerStats } from "leasehold"
import type { Request } from "./options.ts"

/** Adds the tenant's number to each element. It takes a few milliseconds, as a step of a model does. */
const serve = Callable.make({
  name: "serve",
  signature: {
    tenant: Arg.scalar("float32"),
    x: Arg.input("float32", ["n"]),
    y: Arg.output("float32", ["n"])
  },
  launch: ({ read, scalars, write }) =>
    Effect.flatMap(Effect.delay(read("x"), "2 millis"), (x) => write("y", x.map((value) => value + scalars.tenant)))
})

/** How many elements requests have, in turn. A run needs 8 bytes for each: from 8 KiB to 32 KiB. */
const lengths = [1024, 1024, 2048, 4096]

/** What a tenant came to. */
export interface Tenant {
  readonly name: string
  /** How many fibers made its requests. */
  readonly clients: number
  readonly runs: number
  readonly refused: number
  readonly medianMillis: number
  readonly stats: DeviceRunner.BudgetStats
}

export interface Served {
  readonly tenants: ReadonlyArray<Tenant>
  readonly stats: RunnerStats.RunnerStats
}

/** A tenant was served with what is not its own. */
export class WrongResult extends Schema.TaggedError<WrongResult>("two-tenants/WrongResult")("WrongResult", {
  tenant: Schema.String
}) {
  override get message(): string {
    return `a run of tenant ${this.tenant} has brought a result that is not its own`
  }
}

/** Serves all clients of both tenants at once, until each has made its requests. */
export const program = (
  request: Request
): Effect.Effect<Served, Errors.RunnerError | WrongResult, DeviceRunner.DeviceRunner> =>
  Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const a = yield* runner.budget("a", { reserveBytes: Math.floor(request.budgetBytes / 4) })
    const b = yield* runner.budget("b", { maxBytes: Math.floor(request.budgetBytes / 2) })
    const { clients, requests } = request
    const tenants = yield* Effect.all([
      serveTenant(a, { tenant: 1, clients, requests }),
      serveTenant(b, { tenant: 2, clients: clients * 4, requests })
    ], { concurrency: 2 })
    return { tenants, stats: yield* runner.stats }
  }))

const serveTenant = (
  budget: DeviceRunner.ChildBudget,
  { clients, requests, tenant }: { readonly tenant: number; readonly clients: number; readonly requests: number }
): Effect.Effect<Tenant, Errors.RunnerError | WrongResult, Scope.Scope> =>
  Effect.gen(function*() {
    const millis: Array<number> = []
    let refused = 0
    const ask = (length: number) =>
      Effect.gen(function*() {
        const since = yield* Clock.currentTimeMillis
        const y = new Float32Array(length)
        yield* budget.run(serve, { tenant, x: new Float32Array(length).fill(length), y })
        if (y.some((value) => value !== length + tenant)) {
          yield* new WrongResult({ tenant: budget.name })
        }
        millis.push((yield* Clock.currentTimeMillis) - since)
      }).pipe(Effect.catchTag("AdmissionRefused", (error) => {
        // What needs more than its tenant may ever have will not fit later either.
        if (error.requestedBytes > error.maxBytes) {
          return Effect.fail(error)
        }
        refused += 1
        return Effect.sleep(Math.max(1, error.retryAfterMillis))
      }))
    const client = (number: number) =>
      Effect.forEach(
        Array.from({ length: requests }, (_, index) => lengths[(number + index) % lengths.length]!),
        ask,
        { discard: true }
      )
    yield* Effect.forEach(Array.from({ length: clients }, (_, number) => number), client, {
      concurrency: "unbounded",
      discard: true
    })
    const runs = millis.length
    return { name: budget.name, clients, runs, refused, medianMillis: median(millis), stats: yield* budget.stats }
  })

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? 0
