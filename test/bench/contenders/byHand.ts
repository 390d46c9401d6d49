/** The contenders that are written by hand: C loops, and JavaScript that mallocs each tensor itself. */
import * as Effect from "effect/Effect"
import type { Contender, Counts } from "../contender.ts"
import { loop } from "../loop.ts"
import { addressOf, cMalloc, counted, cRetained, type TensorCalls, tensorCalls } from "../native.ts"
import { alignmentBytes, sliceBytes, type Workload } from "../workload.ts"
import { effectBracket } from "./effectBracket.ts"
import { effectPerTensor } from "./effectPerTensor.ts"
import { plainPerTensor } from "./plainPerTensor.ts"

/** `bufferAddress` is where the C loop's retained buffer lies: in the memory of the simulator, as Leasehold's does. */
export const byHand = (work: Workload, bufferAddress: number): ReadonlyArray<Contender> => {
  const { byteCount, count, inputs } = work
  const addresses = Float64Array.from([...inputs, ...work.outputs], addressOf)
  const perTensor = effectPerTensor(tensorCalls, work)
  const bracket = effectBracket(tensorCalls, work)
  return [
    {
      name: "c_retained",
      batch: (runs) => {
        cRetained(addresses, inputs.length, count, byteCount, bufferAddress, sliceBytes(byteCount), runs)
      },
      count: () => ({ nativeCalls: 0, deviceMallocs: 0 })
    },
    {
      name: "c_malloc",
      batch: (runs) => {
        cMalloc(addresses, inputs.length, count, byteCount, alignmentBytes, runs)
      },
      count: () => ({ nativeCalls: 0, deviceMallocs: count })
    },
    {
      name: "effect_per_tensor",
      batch: (runs) => Effect.runSync(loop(perTensor, runs)),
      count: () => countCalls((calls) => Effect.runSync(effectPerTensor(calls, work)))
    },
    {
      name: "effect_bracket",
      batch: (runs) => Effect.runSync(loop(bracket, runs)),
      count: () => countCalls((calls) => Effect.runSync(effectBracket(calls, work)))
    },
    {
      name: "plain_per_tensor",
      batch: (runs) => {
        for (let run = 0; run < runs; run++) {
          plainPerTensor(tensorCalls, work)
        }
      },
      count: () => countCalls((calls) => plainPerTensor(calls, work))
    }
  ]
}

const countCalls = (run: (calls: TensorCalls) => void): Counts => {
  const count = { calls: 0, mallocs: 0 }
  run(counted(tensorCalls, count))
  return { nativeCalls: count.calls, deviceMallocs: count.mallocs }
}
