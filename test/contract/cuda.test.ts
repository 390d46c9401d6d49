/** The contract of the host API, on the CUDA backend. */
import { assert, describe, it } from "@effect/vitest"
import * as CudaDevice from "../utils/cudaDevice.ts"
import { gate } from "../utils/kernels.ts"
import * as Loopback from "../utils/loopback.ts"
import { suite } from "./hostApi.ts"

const { canFail, kernel, layer, mostArguments } = CudaDevice
const options = { kernel, gate, immediate: false, mostArguments, canFail, lossCode: 719 }

suite("cuda, one stream", layer(), options)
suite("cuda, a stream for each lane", layer({ lanes: "overlap" }), options)
suite("cuda, in pieces", layer({ coalesceMaxBytes: 0, pieceBytes: 4096 }), options)

if (CudaDevice.mode === "loopback") {
  const ofGpu = { kernel: CudaDevice.rehearsed, mostArguments: 4096, canFail: false }
  suite("cuda, kernels of a GPU on the host", layer(), { ...options, ...ofGpu })
}

describe.runIf(CudaDevice.isLoopback)("the loopback driver", () => {
  it("was not misused", () => {
    assert.strictEqual(Loopback.violations(), "")
    assert.strictEqual(Loopback.callsAfterLoss(), 0)
    assert.isAbove(Loopback.calls("cuLaunchKernel"), 0)
  })
})
