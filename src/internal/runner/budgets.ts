/**
 * Child budgets: accounts with a quota and, where asked for, memory set apart for them.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Bytes from "../../Bytes.ts"
import {
  BudgetExhausted,
  BudgetInUse,
  InvalidConfiguration,
  type RunnerClosed,
  type RunnerPoisoned,
  type RunnerUnconfigured
} from "../../Errors.ts"
import { Account, Reservation } from "../core/account.ts"
import { alignUp, invalidSize } from "../core/sizes.ts"
import type { ActiveRun } from "./activeRun.ts"
import type { RunnerState } from "./state.ts"
import { suggestRoom } from "./suggestion.ts"

/** Why a child budget cannot be had. */
export type BudgetError =
  | InvalidConfiguration
  | BudgetExhausted
  | RunnerClosed
  | RunnerPoisoned
  | RunnerUnconfigured

/** Names stand in errors and metrics, so they are short. */
const maxNameLength = 256

const invalid = (reason: InvalidConfiguration["reason"], option: string, detail: string): InvalidConfiguration =>
  new InvalidConfiguration({ reason, option: `budget.${option}`, detail })

/** Opens a child budget in the scope. */
export const openBudget = (
  state: RunnerState,
  name: string,
  options: { readonly maxBytes?: Bytes.Input | undefined; readonly reserveBytes?: Bytes.Input | undefined }
): Effect.Effect<Account, BudgetError, Scope.Scope> =>
  Effect.acquireRelease(
    // Between the old and the new chunks there is nothing to reserve.
    Effect.zipRight(
      state.until(() => state.lifecycle._tag !== "Configuring"),
      Effect.suspend((): Effect.Effect<Account, BudgetError> => {
        // Reading the options may run code of the user's, so they are read before the runner is asked.
        const account = readAccount(state, name, options)
        const refusal = state.planRefusal("budget")
        return refusal !== undefined
          ? Effect.fail(refusal)
          : account instanceof Account
          ? open(state, account)
          : Effect.fail(account)
      })
    ),
    (account) => leaveBudget(state, account)
  )

const readAccount = (
  state: RunnerState,
  name: string,
  options: { readonly maxBytes?: Bytes.Input | undefined; readonly reserveBytes?: Bytes.Input | undefined }
): Account | InvalidConfiguration => {
  if (typeof name !== "string" || name === "" || name.length > maxNameLength) {
    return invalid("Name", "name", `it should have from 1 to ${maxNameLength} characters`)
  }
  // Without a quota of its own it has what there is, also when the buffer is configured anew.
  const maxBytes = options.maxBytes === undefined ? Infinity : Bytes.parse(options.maxBytes)
  if (maxBytes === undefined) {
    return invalid("Size", "maxBytes", "it should be a size such as \"64 MiB\", at least 0")
  }
  const asked = Bytes.parse(options.reserveBytes ?? 0)
  if (asked === undefined || asked > Math.min(maxBytes, state.configuration.maxBytes)) {
    return invalid("Size", "reserveBytes", "it should be a size of at most maxBytes")
  }
  const reserveBytes = alignUp(asked, state.rules.alignmentBytes)
  if (reserveBytes === invalidSize) {
    return invalid("Size", "reserveBytes", "it should be a size that can be counted")
  }
  return new Account(name, maxBytes, reserveBytes === 0 ? undefined : new Reservation(reserveBytes))
}

/** Adds an account, and carves its reservation out of what is free now, or keeps room for it when the buffer grows. */
const open = (state: RunnerState, account: Account): Effect.Effect<Account, InvalidConfiguration | BudgetExhausted> => {
  const { admission, configuration } = state
  if ([...admission.accounts].some(({ name }) => name === account.name)) {
    return Effect.fail(invalid("Name", "name", `there is a child budget "${account.name}" already`))
  }
  const reserveBytes = account.reservation?.byteCount ?? 0
  const { space } = admission
  const error = new BudgetExhausted({
    reason: reserveBytes <= space.freeBytes() ? "Fragmented" : "Exhausted",
    tensor: account.name,
    requestedBytes: reserveBytes,
    alignedBytes: reserveBytes,
    inUseBytes: space.inUseBytes,
    largestFreeBytes: space.largestFreeBytes(),
    maxBytes: configuration.maxBytes,
    ...suggestRoom(state, [reserveBytes]),
    largestHolders: []
  })
  return admission.open(account) ? Effect.succeed(account) : Effect.fail(error)
}

/** The most bytes that an account may hold at once: its quota, or the whole buffer where it has none. */
export const quotaBytes = (state: RunnerState, { maxBytes }: Account): number =>
  Number.isFinite(maxBytes) ? maxBytes : state.configuration.maxBytes

const runsOf = (state: RunnerState, account: Account): ReadonlyArray<ActiveRun> =>
  state.activeRuns.filter((run) => run.slot.account === account)

/** Closes a child budget: who waits is refused. Where runs of it are active it fails with their list, and nothing happens. */
export const closeBudget = (state: RunnerState, account: Account): Effect.Effect<void, BudgetInUse> =>
  Effect.suspend(() => {
    if (account.activeCount === 0) {
      state.admission.close(account)
      return Effect.void
    }
    return Effect.fail(
      new BudgetInUse({
        budget: account.name,
        inUseBytes: account.inUseBytes,
        runs: runsOf(state, account).map((run) => ({
          callable: run.name,
          generation: run.generation,
          byteCount: run.slot.byteCount,
          leases: run.tables.describe(run.slot).leases.map(({ byteCount, tensor }) => ({ tensor, byteCount }))
        }))
      })
    )
  })

/**
 * The scope of a child budget ends. It takes no runs any more; where some are still active it warns, and its memory goes back
 * when the last of them has ended.
 */
const leaveBudget = (state: RunnerState, account: Account): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (account.activeCount > 0 && !account.isClosed) {
      const names = runsOf(state, account).map((run) => run.name).join(", ")
      state.warnings.push(`the child budget "${account.name}" is closed while runs of it are active: ${names}`)
    }
    state.admission.close(account)
    return state.logWarnings
  })
