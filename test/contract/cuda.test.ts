/** The contract of the host API, on the CUDA backend over the loopback driver. */
import { assert, describe, it } from "@effect/vitest"
import { gate } from "../utils/kernels.ts"
import * as Loopback from "../utils/loopback.ts"
import { suite } from "./hostApi.ts"

/** Arguments go by value, and the driver has a limit to that. */
const options = { kernel: Loopback.kernel, gate, immediate: false, mostArguments: 600, lossCode: 719 }

suite("cuda, one stream", Loopback.layer(), options)
suite("cuda, a stream for each lane", Loopback.layer({ lanes: "overlap" }), options)
suite("cuda, in pieces", Loopback.layer({ coalesceMaxBytes: 0, pieceBytes: 4096 }), options)

describe("the loopback driver", () => {
  it("was not misused", () => {
    assert.strictEqual(Loopback.violations(), "")
    assert.strictEqual(Loopback.callsAfterLoss(), 0)
    assert.isAbove(Loopback.calls("cuLaunchKernel"), 0)
  })
})
