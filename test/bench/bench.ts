/** The whole benchmark: the cases size by size, then the other measurements, then the targets. */
import * as Effect from "effect/Effect"
import { allSizes, fits, type Measured, measureSize, nameOf, type Size } from "./cases.ts"
import { measureBus } from "./extra/bus.ts"
import { measureEventLoop } from "./extra/eventLoop.ts"
import { measureQwen3, missing as missingForQwen3 } from "./extra/qwen3.ts"
import { measureSlots } from "./extra/slots.ts"
import { describeMachine } from "./machine.ts"
import type { Effort } from "./measure.ts"
import type { Options } from "./options.ts"
import type { Case, Report } from "./report.ts"
import { targetsOf } from "./targets.ts"

const effort: Effort = { batchNanos: 4e6, warmUpNanos: 8e7, totalNanos: 4e9, minRounds: 5, maxRounds: 51 }
const quickEffort: Effort = { batchNanos: 2e5, warmUpNanos: 2e6, totalNanos: 2e8, minRounds: 3, maxRounds: 5 }

/** The units are measured among the contenders of this size, where it is measured at all. */
const unitSize: Size = { count: 20, byteCount: 64 }

const isUnitSize = ({ byteCount, count }: Size): boolean => count === unitSize.count && byteCount === unitSize.byteCount

/** Who hears of the benchmark while it goes on. */
export interface Listener {
  readonly progress: (text: string) => void
  readonly measured: (cases: ReadonlyArray<Case>) => void
}

export const bench = (options: Options, listener: Listener): Effect.Effect<Report, unknown> =>
  Effect.gen(function*() {
    const { only, quick } = options
    const chosen = (quick && only === undefined ? [unitSize] : allSizes).filter((size) =>
      only === undefined || nameOf(size).includes(only)
    )
    const sizes = chosen.filter(fits)
    const unitsAt = sizes.find(isUnitSize) ?? sizes[0]
    if (unitsAt === undefined) {
      return yield* Effect.fail(new Error("there is not enough free memory for any size"))
    }
    const leftOut = chosen.filter((size) => !fits(size)).map((size) => `${nameOf(size)}: not enough free memory`)
    const measured: Array<Measured> = []
    for (const [index, size] of sizes.entries()) {
      listener.progress(`${nameOf(size)} (${index + 1} of ${sizes.length})`)
      const one = yield* measureSize(size, { effort: quick ? quickEffort : effort, units: size === unitsAt })
      measured.push(one)
      listener.measured(one.cases)
    }
    const extra = yield* measureExtra(options, { leftOut, progress: listener.progress })
    const report = {
      machine: describeMachine(),
      units: measured.find(({ units }) => units !== undefined)!.units!,
      cases: measured.flatMap(({ cases }) => cases),
      extra,
      leftOut
    }
    return { ...report, targets: targetsOf(report) }
  })

/** The other measurements, which are left out where only some sizes are asked for. */
const measureExtra = (
  { only, quick }: Options,
  { leftOut, progress }: { readonly leftOut: Array<string>; readonly progress: Listener["progress"] }
): Effect.Effect<Report["extra"], unknown> =>
  Effect.gen(function*() {
    if (only !== undefined) {
      leftOut.push(`bus, slots, eventLoop and qwen3: only "${only}" was asked for`)
      return { bus: null, slots: null, eventLoop: null, qwen3: null }
    }
    progress("a device at the end of a bus")
    const bus = yield* measureBus
    progress("two slots on a device at the end of a bus")
    const slots = yield* measureSlots(quick ? { virtual: 20, real: 20 } : { virtual: 200, real: 200 })
    progress("the event loop")
    const eventLoop = yield* measureEventLoop(
      quick ? { kernelMillis: 20, kernels: 2 } : { kernelMillis: 200, kernels: 10 }
    )
    const lacking = missingForQwen3()
    if (lacking !== undefined) {
      leftOut.push(`qwen3: ${lacking} is not there`)
      return { bus, slots, eventLoop, qwen3: null }
    }
    progress("a decode step of Qwen3")
    return { bus, slots, eventLoop, qwen3: yield* measureQwen3(quick ? 20 : 500) }
  })
