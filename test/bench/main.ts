/**
 * What a run costs, side by side with what people do without Leasehold.
 *
 *     npm run bench              a table for each size, then the targets
 *     npm run bench -- --json    the same, and one line of JSON at the end
 *     npm run bench -- --quick   whether the benchmark works
 *
 * Everything is measured in one process and turn by turn; read the ratios, not the times. A target that is missed is
 * reported, and is no failure.
 */
import * as Effect from "effect/Effect"
import { type Measured, measureSize } from "./cases.ts"
import * as Cases from "./cases.ts"
import { measureBus } from "./extra/bus.ts"
import { measureEventLoop } from "./extra/eventLoop.ts"
import { measureQwen3 } from "./extra/qwen3.ts"
import { describeMachine } from "./machine.ts"
import type { Effort } from "./measure.ts"
import { type Options, parse, usage } from "./options.ts"
import type { Report } from "./report.ts"
import { sizeTable, summary } from "./table.ts"
import { targetsOf } from "./targets.ts"

const effort: Effort = { batchNanos: 3e6, warmUpNanos: 6e7, totalNanos: 4e9, minRounds: 5, maxRounds: 61 }
const quickEffort: Effort = { batchNanos: 2e5, warmUpNanos: 2e6, totalNanos: 2e8, minRounds: 3, maxRounds: 5 }

/** The units are measured among the contenders of this size. */
const unitSize = { count: 20, byteCount: 64 }

const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

const bench = (options: Options): Effect.Effect<Report, unknown> =>
  Effect.gen(function*() {
    const leftOut: Array<string> = []
    const measured: Array<Measured> = []
    for (const size of options.quick ? [unitSize] : Cases.allSizes) {
      if (!Cases.fits(size)) {
        leftOut.push(`${size.count} x ${size.byteCount} B: not enough free memory`)
        continue
      }
      const isUnitSize = size.count === unitSize.count && size.byteCount === unitSize.byteCount
      const one = yield* measureSize(size, { effort: options.quick ? quickEffort : effort, units: isUnitSize })
      measured.push(one)
      print(sizeTable(one.cases))
    }
    const units = measured.find((one) => one.units !== undefined)?.units
    if (units === undefined) {
      return yield* Effect.fail(new Error("the units were not measured: there is not enough free memory"))
    }
    const extra = {
      bus: yield* measureBus,
      eventLoop: yield* measureEventLoop(
        options.quick ? { kernelMillis: 20, kernels: 4 } : { kernelMillis: 200, kernels: 10 }
      ),
      qwen3: yield* measureQwen3(options.quick ? 20 : 500)
    }
    const report = {
      machine: describeMachine(),
      units,
      cases: measured.flatMap(({ cases }) => cases),
      extra,
      leftOut
    }
    return { ...report, targets: targetsOf(report) }
  })

const options = parse(process.argv.slice(2))
if (typeof options === "string") {
  process.stderr.write(`${options}\n\n${usage}\n`)
  process.exitCode = 2
} else {
  const report = await Effect.runPromise(bench(options))
  print(summary(report))
  if (options.json) {
    print(JSON.stringify(report))
  }
}
