/** What the tests of sweeps share: a small device, a small runner, and programs that are right. */
import { Effect } from "effect"
import { DeviceRunner, HostApi } from "leasehold"
import type { FaultSweep } from "leasehold/testing"
import { addInline } from "../../utils/kernels.ts"
import { vectors } from "../../utils/programs.ts"
import { originOf, simulator } from "./seam.ts"

/** A runner whose every table is a page at most. */
export const runnerLayer = DeviceRunner.layer({
  temporaryBuffer: { maxBytes: "4 KiB" },
  residentMaxBytes: "4 KiB",
  maxInlineCopyBytes: "4 KiB"
})

/** Options under which programs get a runner on a small device. */
export const withRunner = { backend: simulator, layer: runnerLayer, patience: "20 millis" } as const

/** An addition; three operations beside those of the runner. */
export const addition = Effect.flatMap(DeviceRunner.DeviceRunner, (runner) => runner.run(addInline, vectors(4)))

/** Device memory of a scope, without a runner. */
export const memory = Effect.flatMap(HostApi.HostApi, (api) =>
  Effect.acquireRelease(
    api.malloc(64, 64, originOf()),
    (address) => Effect.ignore(api.free(address, originOf()))
  ))

/** The verdicts of a report, each once. */
export const verdictsOf = (report: FaultSweep.Report): ReadonlyArray<string> =>
  report.failures.map(({ verdict }) => verdict)
