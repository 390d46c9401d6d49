/** The loss of a CUDA device, each in a process of its own: it takes every runner with it, and no other process. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { bundle } from "../utils/bundle.ts"
import { start } from "./children.ts"
import { Report, type Way, ways } from "./lossWays.ts"

/** What the driver answers. A GPU tells of a trap by more than one code. Source: the driver's API reference. */
const codes: Readonly<Record<Way, ReadonlyArray<number>>> = {
  "trap": [719, 715],
  "illegal address": [700]
}

describe("a lost CUDA device", () => {
  it.scopedLive(
    "poisons every runner of the process, is asked for nothing any more, and lets the process end",
    () =>
      Effect.gen(function*() {
        const program = yield* bundle({ entry: "process/lost.ts" })
        for (const way of ways) {
          const child = yield* start(program, { args: [way] })
          const { code, signal, stderr, stdout } = yield* child.ended
          assert.deepStrictEqual([code, signal], [0, null], stderr)
          const { deviceCode, ...report } = yield* Schema.decode(Report)(stdout.trimEnd())
          assert.include(codes[way], deviceCode)
          assert.deepStrictEqual(report, {
            reason: "DeviceLost",
            sticky: true,
            attribution: "unknown",
            states: ["poisoned", "poisoned"],
            otherTag: "TransferFailed",
            laterTags: ["RunnerPoisoned"],
            recoveries: ["newProcess"],
            rebuilt: "BackendUnavailable",
            callsAfterLoss: 0,
            violations: ""
          })
        }
      }),
    120_000
  )
})
