/** Errors about what finds no room beside others name a budget with which the same call succeeds. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { DeviceRunner, type Run, type Simulator, type TemporaryBuffer } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { failsWith } from "../utils/programs.ts"
import { bytes, copy, hold } from "./holding.ts"

type Act = (runner: DeviceRunner.Service) => Effect.Effect<void, Run.RunError | DeviceRunner.BudgetError>

interface Case {
  readonly buffer: TemporaryBuffer.Options
  readonly simulator?: Simulator.Options
}

/** Buffers in which one run of 40 KiB, or another, has room, and both do not. */
const cases: Readonly<Record<string, Case>> = {
  "one chunk": { buffer: { maxBytes: "64 KiB", alignmentBytes: 256 } },
  "one chunk that ends off the boundaries": { buffer: { maxBytes: 41_000, alignmentBytes: 256 } },
  "one chunk of whole units": {
    buffer: { maxBytes: 43_500, alignmentBytes: 256 },
    simulator: { granularityBytes: 1536 }
  },
  "chunks of the same size": { buffer: { maxBytes: "64 KiB", alignmentBytes: 256, chunks: { count: 2 } } },
  "chunks of sizes": { buffer: { maxBytes: "64 KiB", alignmentBytes: 256, chunks: { sizes: [41_001, 21_001] } } }
}

onEveryForm("a budget that is suggested", (form) => {
  for (const [name, { buffer, simulator }] of Object.entries(cases)) {
    /** Carries something out while a run of 40 KiB is bound, on a buffer like this. */
    const beside = (options: TemporaryBuffer.Options, act: Act) =>
      Effect.scoped(Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* hold(40_960)
        return yield* act(runner)
      })).pipe(Effect.provide(runnerOf(form, { slots: 2, temporaryBuffer: options }, simulator)))

    const acts: Readonly<Record<string, Act>> = {
      "a run": (runner) => runner.run(copy, bytes(30_002)),
      "a reservation": (runner) => Effect.asVoid(Effect.scoped(runner.budget("tenant-a", { reserveBytes: 30_001 })))
    }
    for (const [what, act] of Object.entries(acts)) {
      it.effect(`is one in which ${what} has room: ${name}`, () =>
        Effect.gen(function*() {
          const error = yield* failsWith("BudgetExhausted", beside(buffer, act))
          const { suggestedChunks, suggestedMaxBytes } = error
          const chunks = suggestedChunks === "single" ? { chunks: "single" } as const : {}
          assert.isAtMost(suggestedMaxBytes, error.maxBytes + error.requestedBytes + 4096)
          yield* beside({ ...buffer, ...chunks, maxBytes: suggestedMaxBytes }, act)
        }))
    }
  }
})
