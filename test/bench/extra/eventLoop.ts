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
      // The monitor's tick comes between, or two inline kernels would be one long delay.
      return Effect.repeatN(Effect.zipRight(runner.run(callable, { millis: kernelMillis }), tick), times - 1)
    }
    return {
      kernelMillis,
      kernels,
      idle: yield* delayDuring(Effect.sleep(kernelMillis * kernels)),
      awaited: yield* delayDuring(sleep("awaited", kernels)),
      // The counter-example: each kernel holds the loop up for as long as it takes, and two are enough to see it.
      inline: yield* delayDuring(sleep("inline", 2))
    }
  })).pipe(Effect.provide(Simulator.layer()))

const tick = Effect.sleep(2 * resolutionMillis)

const delayDuring = <E>(work: Effect.Effect<unknown, E>): Effect.Effect<DelayReport, E> =>
  Effect.gen(function*() {
    const monitor = monitorEventLoopDelay({ resolution: resolutionMillis })
    monitor.enable()
    // A delay is measured from one tick to the next.
    yield* tick
    yield* work
    yield* tick
    monitor.disable()
    return {
      p50Millis: monitor.percentile(50) / 1e6,
      p99Millis: monitor.percentile(99) / 1e6,
      maxMillis: monitor.max / 1e6
    }
  })
