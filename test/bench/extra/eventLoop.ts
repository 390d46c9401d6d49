/** How long the event loop is held up while kernels run one after another: awaited, inline, and while nothing runs. */
import * as Effect from "effect/Effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { library } from "../native.ts"
import type { DelayReport, EventLoopReport } from "../report.ts"

/** What the monitor's own timer adds to every figure at most. */
const resolutionMillis = 1

export const measureEventLoop = (
  { kernelMillis, kernels }: { readonly kernelMillis: number; readonly kernels: number }
): Effect.Effect<EventLoopReport, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const runner = yield* DeviceRunner.make()
    const sleep = (execution: Callable.Execution, times: number) => {
      const callable = Callable.native({
        signature: { millis: Arg.scalar("int32") },
        kernels: [Simulator.kernel({ library, symbol: "bench_sleep" })],
        execution
      })
      // A pause between kernels lets the monitor see each of them.
      const one = Effect.zipRight(runner.run(callable, { millis: kernelMillis }), Effect.sleep(2 * resolutionMillis))
      return Effect.repeatN(one, times - 1)
    }
    return {
      kernelMillis,
      kernels,
      idle: yield* delayDuring(Effect.sleep(kernelMillis * kernels)),
      awaited: yield* delayDuring(sleep("awaited", kernels)),
      // The counter-example: each kernel holds the loop up for as long as it takes.
      inline: yield* delayDuring(sleep("inline", Math.ceil(kernels / 4)))
    }
  })).pipe(Effect.provide(Simulator.layer()))

const delayDuring = <E>(work: Effect.Effect<unknown, E>): Effect.Effect<DelayReport, E> =>
  Effect.gen(function*() {
    const monitor = monitorEventLoopDelay({ resolution: resolutionMillis })
    monitor.enable()
    yield* work
    // The delay that the work caused last is seen a turn later.
    yield* Effect.sleep(2 * resolutionMillis)
    monitor.disable()
    return { p50Millis: monitor.percentile(50) / 1e6, p99Millis: monitor.percentile(99) / 1e6 }
  })
