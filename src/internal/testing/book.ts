/**
 * The book of a ledger: what is held, what is in flight, and what should not have happened.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { isSticky, Status } from "../../HostApi.ts"
import type { Allocation, Breach, InFlight, Snapshot } from "../../testing/Ledger.ts"
import { argumentCells, ArgumentKind } from "../core/argumentTable.ts"
import { transferCells, TransferKind } from "../core/transferTable.ts"
import { currentCallSite } from "./callSite.ts"
import { type Interceptor, isRelease, type Operation, type OperationKind } from "./operations.ts"

interface Entry {
  readonly allocation: Allocation
  readonly address: number
  state: Allocation["state"]
}

interface Range {
  readonly name: string
  readonly address: number
  readonly byteCount: number
}

type Key = number | SharedArrayBuffer

const memoryOf: Partial<Record<OperationKind, Allocation["memory"]>> = {
  malloc: "device",
  free: "device",
  hostMalloc: "host",
  hostFree: "host",
  hostRegister: "registered",
  hostUnregister: "registered"
}

/** How an operation has ended. A sticky status says that the device is lost. */
type Ending = "succeeded" | "failed" | "lost"

const endingOf = (status: number): Ending => status === Status.Ok ? "succeeded" : isSticky(status) ? "lost" : "failed"

export class Book implements Interceptor {
  readonly #countSteps: () => number
  readonly operations: Array<Operation> = []
  readonly #held = new Map<Key, Entry>()
  readonly #inFlight = new Set<Operation>()
  /** What each release in flight releases: its address may be somebody else's before the release is known to have ended. */
  readonly #releasing = new Map<Operation, Entry>()
  readonly #breaches: Array<Breach> = []
  /** Releases of each allocation that were tried, by its key, until the same key is allocated again. */
  readonly #triedReleases = new Set<Key>()
  #allocationCount = 0
  #isLost = false
  /** The fiber whose call met the loss. */
  #learner: Fiber.RuntimeFiber<unknown, unknown> | undefined

  constructor(countSteps: () => number = () => 0) {
    this.#countSteps = countSteps
  }

  effect = <A, E>(operation: Operation, call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      this.#begin(operation)
      return Effect.onExit(call, (exit) => Effect.sync(() => this.#end(operation, effectEnding(exit))))
    })

  plain = (operation: Operation, call: () => number): number => {
    this.#begin(operation)
    let ending: Ending = "failed"
    try {
      const status = call()
      ending = endingOf(status)
      return status
    } finally {
      this.#end(operation, ending)
    }
  }

  get inFlightCount(): number {
    return this.#inFlight.size
  }

  get isLost(): boolean {
    return this.#isLost
  }

  snapshot(): Snapshot {
    const entries = [...this.#held.values()]
    const allocations = entries
      .map(({ allocation, state }): Allocation => Object.assign({}, allocation, { state }))
      .toSorted((left, right) => left.number - right.number)
    const bytes = (test: (allocation: Allocation) => boolean): number =>
      allocations.filter(test).reduce((sum, { byteCount }) => sum + byteCount, 0)
    return {
      allocations,
      inFlight: [...this.#inFlight].map(({ kind, names, purpose, runId }): InFlight => ({
        operation: kind,
        purpose,
        runId,
        names
      })),
      breaches: [...this.#breaches],
      deviceBytes: bytes(({ memory, state }) => memory === "device" && state === "held"),
      hostBytes: bytes(({ memory, state }) => memory !== "device" && state === "held"),
      quarantinedBytes: bytes(({ state }) => state === "quarantined"),
      operationCount: this.operations.length,
      isLost: this.#isLost
    }
  }

  /** The keys of what is still there in truth, for whoever has to clean up after a program. */
  leftovers(): ReadonlyArray<{ readonly memory: Allocation["memory"]; readonly key: Key }> {
    return [...this.#held].map(([key, { address, allocation }]) => ({
      memory: allocation.memory,
      key: typeof key === "number" ? address : key
    }))
  }

  #begin(operation: Operation): void {
    operation.step = this.#countSteps()
    this.operations.push(operation)
    if (this.#isLost && this.#isLossKnown()) {
      this.#breach("CalledAfterLoss", `${describeOperation(operation)} was called on a device that is lost`)
    }
    if (isRelease(operation.kind)) {
      this.#beginRelease(operation)
    } else {
      for (const range of deviceRanges(operation)) {
        if (!this.#isHeld(range)) {
          this.#breach(
            "UsedAfterRelease",
            `${describeOperation(operation)} names "${range.name}", of which the device memory is not held`
          )
        }
      }
    }
    this.#inFlight.add(operation)
  }

  /** A fiber needs some steps to tell the runner of a loss. What others call meanwhile is no breach. */
  #isLossKnown(): boolean {
    const learner = this.#learner
    return learner === undefined || learner === currentFiber() || learner.unsafePoll() !== null
  }

  #beginRelease(operation: Operation): void {
    const key = keyOf(operation)
    const entry = this.#held.get(key)
    if (entry === undefined || this.#triedReleases.has(key)) {
      this.#breach("DoubleReleased", `${describeOperation(operation)} releases what is not held any more`)
      return
    }
    this.#triedReleases.add(key)
    this.#releasing.set(operation, entry)
    for (const other of this.#inFlight) {
      if (deviceRanges(other).some((range) => isWithin(range, entry))) {
        this.#breach(
          "UsedAfterRelease",
          `${describeOperation(operation)} began while ${describeOperation(other)} was in flight, which uses it`
        )
      }
    }
  }

  #end(operation: Operation, ending: Ending): void {
    this.#inFlight.delete(operation)
    operation.hasFailed = ending !== "succeeded"
    if (ending === "lost" && !this.#isLost) {
      this.#isLost = true
      this.#learner = currentFiber()
    }
    const memory = memoryOf[operation.kind]
    if (memory === undefined) {
      return
    }
    const key = keyOf(operation)
    if (isRelease(operation.kind)) {
      const entry = this.#releasing.get(operation)
      this.#releasing.delete(operation)
      if (ending !== "succeeded" && entry !== undefined) {
        entry.state = "quarantined"
      } else if (ending === "succeeded" && (entry === undefined || entry === this.#held.get(key))) {
        this.#held.delete(key)
      }
    } else if (ending === "succeeded") {
      this.#allocationCount += 1
      this.#triedReleases.delete(key)
      this.#held.set(key, {
        address: operation.address,
        state: "held",
        allocation: {
          number: this.#allocationCount,
          memory,
          purpose: operation.purpose,
          runId: operation.runId,
          name: operation.names[0] ?? "",
          byteCount: operation.byteCount,
          place: currentCallSite(),
          state: "held"
        }
      })
    }
  }

  #isHeld(range: Range): boolean {
    for (const entry of this.#held.values()) {
      if (entry.allocation.memory === "device" && entry.state === "held" && isWithin(range, entry)) {
        return true
      }
    }
    return false
  }

  #breach(verdict: Breach["verdict"], detail: string): void {
    this.#breaches.push({ verdict, detail })
  }
}

const currentFiber = (): Fiber.RuntimeFiber<unknown, unknown> | undefined =>
  Option.getOrUndefined(Fiber.getCurrentFiber())

const effectEnding = (exit: Exit.Exit<unknown, unknown>): Ending => {
  if (Exit.isSuccess(exit)) {
    return "succeeded"
  }
  const error = exit.cause._tag === "Fail" ? exit.cause.error : undefined
  return typeof error === "object" && error !== null && "status" in error ? endingOf(Number(error.status)) : "failed"
}

/** Host memory may lie at the same addresses as device memory: it is booked under what is below zero. */
const keyOf = (operation: Operation): Key =>
  operation.buffer ?? (memoryOf[operation.kind] === "host" ? -operation.address : operation.address)

const isWithin = (range: Range, entry: Entry): boolean =>
  range.address >= entry.address && range.address + range.byteCount <= entry.address + entry.allocation.byteCount

/** An operation in words: what, for what, and about which tensors. */
export const describeOperation = ({ kind, names, purpose, runId }: Operation): string => {
  const about = names.length === 0 ? "" : ` (${names.slice(0, 4).join(", ")}${names.length > 4 ? ", ..." : ""})`
  return `${kind} for ${purpose}${about}${runId === 0 ? "" : ` of run ${runId}`}`
}

/** The device memory that an operation names. */
const deviceRanges = (operation: Operation): ReadonlyArray<Range> => {
  switch (operation.kind) {
    case "submit":
    case "collect":
      return entriesOf(operation, transferCells, (cells) => {
        const [kind, destination, source, byteCount] = cells
        const address = kind === TransferKind.copyOut
          ? source!
          : kind === TransferKind.copyIn || kind === TransferKind.fill
          ? destination!
          : 0
        return { address, byteCount: byteCount! }
      })
    case "launch":
      return entriesOf(operation, argumentCells, (cells) => ({
        address: cells[0] === ArgumentKind.scalar ? 0 : cells[4]!,
        byteCount: cells[2]!
      }))
    default:
      return []
  }
}

const entriesOf = (
  operation: Operation,
  width: number,
  read: (cells: Float64Array) => { readonly address: number; readonly byteCount: number }
): ReadonlyArray<Range> => {
  const ranges: Array<Range> = []
  for (let entry = 0; entry * width < operation.cells.length; entry++) {
    const { address, byteCount } = read(operation.cells.subarray(entry * width, (entry + 1) * width))
    if (address !== 0 && byteCount > 0) {
      ranges.push({ address, byteCount, name: operation.names[entry] ?? "" })
    }
  }
  return ranges
}
