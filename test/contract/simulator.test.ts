/** The contract of the host API, on every form of the simulator and over a decorator. */
import { Effect, Layer } from "effect"
import { HostApi, Simulator } from "leasehold"
import { gate, kernel } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"
import { suite } from "./hostApi.ts"

const atOnce = { kernel, gate, immediate: true }
const byEffects = { kernel, gate, immediate: false }

/** Pages that are never touched cost nothing, but what is taken is filled with poison. */
const simulator = (options: Simulator.Options = {}) => Simulator.layer({ totalBytes: "64 MiB", ...options })

/** Takes the plain functions away, so that everything goes through Effects. */
const withoutImmediate = Layer.effect(
  HostApi.HostApi,
  Effect.map(HostApi.HostApi, (hostApi) => ({ ...hostApi, immediate: undefined }))
)

suite("immediate", simulator(), atOnce)
suite("effects only", Layer.provide(withoutImmediate, simulator()), byEffects)
suite("late, serial lanes", simulator({ completion: "late" }), byEffects)
suite("late, overlapping lanes", simulator({ completion: "late", lanes: "overlap" }), byEffects)
suite("coalescing", simulator({ coalesceMaxBytes: "256 KiB" }), atOnce)
suite(
  "odd traits",
  simulator({ tailBytes: 32, granularityBytes: 32, alignmentBytes: 512 }),
  atOnce
)
suite("decorated", Layer.provide(Probe.layer, simulator()), atOnce)
suite("decorated, late", Layer.provide(Probe.layer, simulator({ completion: "late" })), byEffects)
