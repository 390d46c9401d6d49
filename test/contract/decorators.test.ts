/** The contract of the host API over the decorators of the testing kit: who looks on, or has nothing to do, changes nothing. */
import { Layer } from "effect"
import { Simulator } from "leasehold"
import { FaultInjection, Ledger } from "leasehold/testing"
import { gate, kernel } from "../utils/kernels.ts"
import { suite } from "./hostApi.ts"

const atOnce = { kernel, gate, immediate: true }
const byEffects = { kernel, gate, immediate: false }

const simulator = (options: Simulator.Options = {}) => Simulator.layer({ totalBytes: "64 MiB", ...options })

/** Rules that never find their operation, one of which would have to wait. */
const idle = FaultInjection.layer([{
  where: { index: 1_000_000 },
  fault: FaultInjection.deviceLost,
  isOptional: true
}])
const idleThatWaits = FaultInjection.layer([{
  where: { index: 1_000_000 },
  fault: FaultInjection.hang,
  isOptional: true
}])

suite("fault injection", Layer.provide(idle, simulator()), atOnce)
suite("fault injection that may wait", Layer.provide(idleThatWaits, simulator()), byEffects)
suite("ledger", Layer.provide(Ledger.layer, simulator()), atOnce)
suite("ledger, late", Layer.provide(Ledger.layer, simulator({ completion: "late" })), byEffects)
suite("ledger over fault injection", Ledger.layer.pipe(Layer.provide(idle), Layer.provide(simulator())), atOnce)
