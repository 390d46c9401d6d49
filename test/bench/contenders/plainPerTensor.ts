/** What a program without Effect does: try and finally. */
import type { TensorCalls } from "../native.ts"
import { alignmentBytes, type Workload } from "../workload.ts"

export const plainPerTensor = (calls: TensorCalls, { byteCount, count, inputs, outputs }: Workload): void => {
  const addresses: Array<unknown> = []
  try {
    for (let index = 0; index < count; index++) {
      addresses.push(calls.malloc(alignmentBytes, byteCount))
    }
    for (let index = 0; index < inputs.length; index++) {
      calls.copyIn(addresses[index], inputs[index]!, byteCount)
    }
    for (let index = 0; index < outputs.length; index++) {
      calls.copyOut(outputs[index]!, addresses[inputs.length + index], byteCount)
    }
  } finally {
    for (const address of addresses) {
      calls.free(address)
    }
  }
}
