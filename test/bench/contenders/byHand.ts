/** The contenders that are written by hand: C loops, and JavaScript that mallocs each tensor itself. */
import * as Effect from "effect/Effect"
import type { Contender, Counts } from "../contender.ts"
import { loop } from "../loop.ts"
import { addressOf, cMalloc, counted, cRetained, echoing, type TensorCalls, tensorCalls } from "../native.ts"
import { alignmentBytes, sliceBytes, type Workload } from "../workload.ts"
import { effectBracket } from "./effectBracket.ts"
import { effectPerTensor } from "./effectPerTensor.ts"
import { plainPerTensor } from "./plainPerTensor.ts"

/** `bufferAddress` is where the C loop's retained buffer lies: in the memory of the simulator, as Leasehold's does. */
export const byHand = (work: Workload, bufferAddress: number): ReadonlyArray<Contender> => {
  const { byteCount, count, inputs } = work
  const addresses = Float64Array.from([...inputs, ...work.outputs], addressOf)
  const retained = (runs: number, isEcho: 0 | 1): void => {
    cRetained(addresses, inputs.length, count, byteCount, bufferAddress, sliceBytes(byteCount), runs, isEcho)
  }
  const malloced = (runs: number, isEcho: 0 | 1): void => {
    cMalloc(addresses, inputs.length, count, byteCount, alignmentBytes, runs, isEcho)
  }
  return [
    {
      name: "c_retained",
      batch: (runs) => retained(runs, 0),
      echo: () => retained(1, 1),
      // One call makes a whole batch.
      count: () => ({ nativeCalls: 0, deviceMallocs: 0 })
    },
    {
      name: "c_malloc",
      batch: (runs) => malloced(runs, 0),
      echo: () => malloced(1, 1),
      count: () => ({ nativeCalls: 0, deviceMallocs: count })
    },
    effectContender("effect_per_tensor", effectPerTensor, work),
    effectContender("effect_bracket", effectBracket, work),
    {
      name: "plain_per_tensor",
      batch: (runs) => {
        for (let run = 0; run < runs; run++) {
          plainPerTensor(tensorCalls, work)
        }
      },
      ...singleRuns((calls) => plainPerTensor(calls, work))
    }
  ]
}

/** The Effect is made once for all runs, which favours these contenders: `run` is made anew for each. */
const effectContender = (
  name: Contender["name"],
  make: (calls: TensorCalls, work: Workload) => Effect.Effect<void>,
  work: Workload
): Contender => {
  const effect = make(tensorCalls, work)
  return {
    name,
    batch: (runs) => Effect.runSync(loop(() => effect, runs)),
    ...singleRuns((calls) => Effect.runSync(make(calls, work)))
  }
}

const singleRuns = (run: (calls: TensorCalls) => void): Pick<Contender, "echo" | "count"> => ({
  echo: () => run(echoing(tensorCalls)),
  count: () => countCalls(run)
})

const countCalls = (run: (calls: TensorCalls) => void): Counts => {
  const count = { calls: 0, mallocs: 0 }
  run(counted(tensorCalls, count))
  return { nativeCalls: count.calls, deviceMallocs: count.mallocs }
}
