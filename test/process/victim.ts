/**
 * A decode loop that is about to die: it says when it has come to a phase and stays there until it is killed, or told on
 * standard input how to end itself. Started by `death.test.ts` with the phase, the device and the library of `victim.c`.
 *
 * It writes `at <phase>` when it is there; after a signal that it survives, `waited` with whether anything was begun under
 * the call in flight; and `ledger` with what is held once everything is closed. With the phase `none` it just runs.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect, Exit, Layer, Logger, LogLevel, Scope } from "effect"
import koffi from "koffi"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import { createInterface } from "node:readline"
import * as CudaDevice from "../utils/cudaDevice.ts"
import { nextTurn } from "../utils/garbage.ts"
import * as Kernels from "../utils/kernels.ts"
import type { Device, Phase } from "./deaths.ts"

const [phase, device, library] = process.argv.slice(2) as [Phase | "none", Device, string]

const victims = koffi.load(library)
const crash = victims.func("void victim_crash(void)") as () => void
const openVictimGate = victims.func("void victim_gate_open(int)") as (crashes: number) => void
const victimGateWaiting = victims.func("int victim_gate_waiting(void)") as () => number

const openGate = (crashes: 0 | 1): void => {
  openVictimGate(crashes)
  Kernels.openGate()
}

const gateWaiting = (): number => device === "cuda" ? Kernels.gateWaiting() : victimGateWaiting()

const gate = Callable.native({
  signature: { x: Arg.input("float32", ["n"]), y: Arg.output("float32", ["n"]) },
  kernels: [Simulator.kernel({ library, symbol: "victim_gate" }), CudaDevice.kernel("test_gate")]
})

const decodeStep = Kernels.native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite" }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
})

const stepCount = 3
const length = 64

/** What to let go of when the process has survived a signal, or is about to end by itself. */
let releaseHangs: Effect.Effect<void> = Effect.void

/** A copy back can wait behind a kernel only on a device that works late; on the other it is made to hang. */
const rules: ReadonlyArray<FaultInjection.Rule> = phase === "in copy back" && device === "immediate"
  ? [{ where: { operation: "submit", purpose: "copyBack", index: stepCount }, fault: FaultInjection.hang }]
  : []

const until = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.repeat(Effect.zipRight(nextTurn, condition), { until: (isSo) => isSo }).pipe(Effect.asVoid)

const program = Effect.gen(function*() {
  const ledger = yield* Ledger.Ledger
  releaseHangs = (yield* FaultInjection.FaultInjection).releaseHangs
  const { statistics } = yield* Simulator.Simulator

  // What is made after this is closed before it.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      const { allocations, breaches, inFlight } = yield* ledger.snapshot
      const { liveBytes } = yield* statistics
      const counts = [allocations.length, breaches.length, inFlight.length, liveBytes]
      console.log(`ledger ${counts.join(" ")}`)
    })
  )

  const announce = Effect.gen(function*() {
    const { operationCount } = yield* ledger.snapshot
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => Effect.runFork(survive(ledger, operationCount)))
    }
    console.log(`at ${phase}`)
  })
  const stay = Effect.zipRight(announce, Effect.never)
  /** Announces the phase when it has come, while the caller goes into it. */
  const announceWhen = (condition: Effect.Effect<boolean>) =>
    Effect.forkDaemon(Effect.zipRight(until(condition), announce))
  const kernelRuns = Effect.sync(() => gateWaiting() === 1)
  const gated = (runner: DeviceRunner.Service) =>
    runner.run(gate, { x: new Float32Array(length), y: new Float32Array(length) })

  Kernels.closeGate()
  if (phase === "before configure") {
    return yield* stay
  }
  const runnerScope = yield* Scope.make()
  yield* Effect.addFinalizer((exit) => Scope.close(runnerScope, exit))
  const make = DeviceRunner.make({ temporaryBuffer: { maxBytes: "64 KiB" }, stagingMaxBytes: "64 KiB" })
  const runner = yield* Scope.extend(make, runnerScope)
  const sum = yield* runner.allocate("float32", [length])
  const step = (number: number) => {
    const args = { sum, x: new Float32Array(length).fill(number), y: new Float32Array(length) }
    return Effect.map(runner.run(decodeStep, args), () => {
      const expected = (number * (number + 1)) / 2
      if (!args.y.every((value) => value === expected)) {
        throw new Error(`step ${number} gives ${args.y[0]}, not ${expected}`)
      }
    })
  }
  for (let number = 1; number <= stepCount; number++) {
    yield* step(number)
  }

  const bind = runner.bind(decodeStep, { sum, x: new Float32Array(length), y: new Float32Array(length) })
  const isClosing = Effect.isFailure(Effect.scoped(runner.allocate("float32", [0])))
  const copiesBack = Effect.map(
    ledger.snapshot,
    ({ inFlight }) => inFlight.some(({ purpose }) => purpose === "copyBack")
  )
  const scenes = {
    none: Effect.void,
    bound: Effect.zipRight(bind, stay),
    "in a launch": Effect.zipRight(announceWhen(kernelRuns), gated(runner)),
    "in copy back": Effect.gen(function*() {
      const run = yield* bind
      yield* run.launch
      if (device !== "immediate") {
        const other = yield* make
        yield* Effect.forkDaemon(gated(other))
        yield* until(kernelRuns)
      }
      yield* announceWhen(copiesBack)
      yield* run.validate
    }),
    "between runs": stay,
    closing: Effect.gen(function*() {
      yield* Effect.forkDaemon(gated(runner))
      yield* until(kernelRuns)
      yield* announceWhen(isClosing)
      yield* Scope.close(runnerScope, Exit.void)
    })
  }
  return yield* scenes[phase]
})

const letGo = Effect.zipRight(Effect.sync(() => openGate(0)), Effect.suspend(() => releaseHangs))

/** After a signal: shows that nothing was begun under a call in flight, and lets the call end. */
const survive = (ledger: Ledger.Service, operationCount: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    if ((yield* ledger.snapshot).inFlight.length === 0) {
      return
    }
    yield* Effect.repeatN(nextTurn, 50)
    const now = yield* ledger.snapshot
    console.log(`waited ${now.inFlight.length > 0 && now.operationCount === operationCount}`)
    yield* letGo
  })

// A call on a worker thread keeps the process until it has ended.
process.once("exit", () => openGate(0))

const orders: Readonly<Record<string, () => void>> = {
  exit: () => process.exit(23),
  throw: () => {
    throw new Error("nobody catches this")
  },
  // The gate of a GPU is no code of the process.
  crash: () => phase === "in a launch" && device !== "cuda" ? openGate(1) : crash()
}

if (phase !== "none") {
  createInterface({ input: process.stdin })
    .on("line", (line) => orders[line]?.())
    // Whoever started this process has gone, so it goes too.
    .on("close", () => process.kill(process.pid, "SIGKILL"))
}

const backend = device === "cuda" ? CudaDevice.layer() : Simulator.layer({ totalBytes: "16 MiB", completion: device })

const watched = Ledger.layer.pipe(
  Layer.provideMerge(FaultInjection.layer(rules)),
  Layer.provideMerge(backend)
)

// Standard output is for the lines above; that a runner is closed under a run is what this is about.
const quiet = Logger.minimumLogLevel(LogLevel.Error)

NodeRuntime.runMain(program.pipe(Effect.scoped, Effect.provide(watched), Effect.provide(quiet)))
