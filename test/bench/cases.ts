/** The cases: all contenders over one workload after another. */
import * as Effect from "effect/Effect"
import { HostApi, Simulator } from "leasehold"
import { freemem } from "node:os"
import type { Contender } from "./contender.ts"
import { byHand } from "./contenders/byHand.ts"
import { leasehold } from "./contenders/leasehold.ts"
import { sharedChunk } from "./contenders/sharedChunk.ts"
import { measureHeap } from "./heap.ts"
import { type Effort, interleave, ratio, timingOf } from "./measure.ts"
import { type Case, contenderNames, type Timing, type UnitName, unitNames } from "./report.ts"
import { unitBatches } from "./units.ts"
import { alignmentBytes, findWrongOutput, makeWorkload, sliceBytes, spoilOutputs, type Workload } from "./workload.ts"

export interface Size {
  readonly count: number
  readonly byteCount: number
}

const counts = [1, 8, 20, 64, 512, 4096]
const sizes = [64, 4096, 65_536]

export const allSizes: ReadonlyArray<Size> = sizes.flatMap((byteCount) => counts.map((count) => ({ count, byteCount })))

export const nameOf = ({ byteCount, count }: Size): string => `${count} x ${byteCount} B`

/** Host views, the buffer that all share, and what those that malloc hold at once. */
const copiesInMemory = 4

export const fits = ({ byteCount, count }: Size): boolean =>
  count * sliceBytes(byteCount) * copiesInMemory < freemem() / 2

/** What came of one size. */
export interface Measured {
  readonly cases: ReadonlyArray<Case>
  /** Measured turn by turn with the contenders, where they were asked for. */
  readonly units: Readonly<Record<UnitName, Timing>> | undefined
}

/** Every contender of one size; with `units`, the units take their turns among them. */
export const measureSize = (
  size: Size,
  options: { readonly effort: Effort; readonly units: boolean }
): Effect.Effect<Measured, unknown> => {
  const work = makeWorkload(size.count, size.byteCount)
  const bufferBytes = size.count * sliceBytes(size.byteCount)
  const origin = { purpose: "chunk", runId: 0, names: [] } as const
  return Effect.scoped(Effect.gen(function*() {
    const hostApi = yield* HostApi.HostApi
    const buffer = yield* hostApi.malloc(bufferBytes, alignmentBytes, origin)
    const contenders = [
      ...(yield* leasehold(work).pipe(Effect.provideService(HostApi.HostApi, sharedChunk(hostApi, buffer)))),
      ...byHand(work, buffer)
    ].toSorted((left, right) => contenderNames.indexOf(left.name) - contenderNames.indexOf(right.name))
    return yield* Effect.promise(() => measureContenders(work, contenders, options))
  })).pipe(Effect.provide(Simulator.layer({ totalBytes: bufferBytes * copiesInMemory + 2 ** 26 })))
}

/** What all figures rely on: that each contender brings the inputs to its memory, and back what lies there for the outputs. */
const checkResults = async (work: Workload, contenders: ReadonlyArray<Contender>): Promise<void> => {
  for (const { echo, name } of contenders) {
    spoilOutputs(work)
    await echo()
    const index = findWrongOutput(work)
    if (index >= 0) {
      throw new Error(`${name}: the output ${index} of ${nameOf(work)} is not the echo of its input`)
    }
  }
}

const measureContenders = async (
  work: Workload,
  contenders: ReadonlyArray<Contender>,
  options: { readonly effort: Effort; readonly units: boolean }
): Promise<Measured> => {
  await checkResults(work, contenders)
  globalThis.gc?.()
  const unitsAmong = options.units ? unitNames : []
  const batches = [...contenders.map(({ batch }) => batch), ...unitsAmong.map((name) => unitBatches[name])]
  const times = await interleave(batches, options.effort)
  const reference = times[contenders.findIndex(({ name }) => name === "c_retained")]!
  const cases: Array<Case> = []
  for (const [index, { batch, count, name }] of contenders.entries()) {
    const timing = timingOf(times[index]!)
    const { deviceMallocs, nativeCalls } = await count()
    cases.push({
      contender: name,
      count: work.count,
      byteCount: work.byteCount,
      ...timing,
      nanosPerTensor: timing.nanosPerRun / work.count,
      bytesMovedPerRun: work.count * work.byteCount,
      ratioToCRetained: ratio(times[index]!, reference),
      nativeCallsPerRun: nativeCalls,
      deviceMallocsPerRun: deviceMallocs,
      ...await measureHeap(batch, timing.nanosPerRun)
    })
  }
  const units = unitsAmong.map((name, index) => [name, timingOf(times[contenders.length + index]!)])
  return {
    cases,
    units: options.units ? Object.fromEntries(units) as Record<UnitName, Timing> : undefined
  }
}
