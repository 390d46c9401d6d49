/** The report for people. */
import type {
  BusReport,
  Case,
  DelayReport,
  EventLoopReport,
  Qwen3Report,
  Report,
  SlotsReport,
  Timing
} from "./report.ts"
import { recordedContext } from "./targets.ts"

const micros = (nanos: number): string => nanos < 100_000 ? (nanos / 1000).toFixed(2) : (nanos / 1000).toFixed(0)

const bytes = (byteCount: number): string => byteCount < 1024 ? `${byteCount} B` : `${byteCount / 1024} KiB`

const row = (cells: ReadonlyArray<string>, widths: ReadonlyArray<number>): string =>
  cells.map((cell, index) => index === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[index]!)).join("  ")

const caseWidths = [18, 10, 17, 8, 10, 7, 8, 9, 8]
const caseHeader = ["", "us/run", "p10-p90", "ratio", "ns/tensor", "calls", "mallocs", "heap B", "GC/1000"]

const caseRow = (one: Case): string =>
  row([
    one.contender,
    micros(one.nanosPerRun),
    `${micros(one.p10)}-${micros(one.p90)}`,
    one.ratioToCRetained.toFixed(2),
    one.nanosPerTensor.toFixed(1),
    String(one.nativeCallsPerRun),
    String(one.deviceMallocsPerRun),
    one.heapBytesPerRun.toFixed(0),
    one.minorCollectionsPer1000Runs.toFixed(1)
  ], caseWidths)

/** One size: all contenders, and what was recorded elsewhere. */
export const sizeTable = (cases: ReadonlyArray<Case>): string => {
  const [first] = cases
  if (first === undefined) {
    return ""
  }
  const { byteCount, count } = first
  const context = recordedContext.find((one) => one.count === count && one.byteCount === byteCount)
  return [
    `${count} x ${bytes(byteCount)}, ${bytes(first.bytesMovedPerRun)} moved in a run`,
    row(caseHeader, caseWidths),
    ...cases.map(caseRow),
    ...(context === undefined
      ? []
      : [`(recorded elsewhere: the C++ runtime that the design descends from, ${context.micros} us)`]),
    ""
  ].join("\n")
}

const unitWidths = [26, 10, 17]

const unitRow = ([name, timing]: readonly [string, Timing]): string =>
  row([name, micros(timing.nanosPerRun), `${micros(timing.p10)}-${micros(timing.p90)}`], unitWidths)

const delay = ({ maxMillis, p50Millis, p99Millis }: DelayReport): string =>
  `p50 ${p50Millis.toFixed(1)} ms, p99 ${p99Millis.toFixed(1)} ms, longest ${maxMillis.toFixed(1)} ms`

const slotsLines = (slots: SlotsReport): ReadonlyArray<string> => [
  `a second slot, a kernel as long as its copies: ${
    slots.kernelMicros.toFixed(0)
  } us in virtual time, and some ms in real`,
  ...(["virtual", "real"] as const).map((clock) => {
    const { oneSlot, timesFaster, twoSlots } = slots[clock]
    return `  ${clock.padEnd(9)}  ${oneSlot.toFixed(0)} steps a second with one slot, ${
      twoSlots.toFixed(0)
    } with two: ` +
      `${timesFaster.toFixed(2)} times`
  }),
  ""
]

const busLines = (bus: BusReport): ReadonlyArray<string> => [
  `a device at the end of a bus, virtual time, ${bus.tensors} inputs of ${bytes(bus.byteCount)}, ` +
  `${bus.nanosPerTransfer / 1000} us a transfer`,
  `  apart      ${bus.apart.transfersPerRun} transfers, ${micros(bus.apart.virtualNanosPerRun)} us a run`,
  `  coalesced  ${bus.coalesced.transfersPerRun} transfers, ${micros(bus.coalesced.virtualNanosPerRun)} us a run: ` +
  `${bus.timesFaster.toFixed(1)} times faster`,
  ""
]

const eventLoopLines = (eventLoop: EventLoopReport): ReadonlyArray<string> => [
  `event-loop delay during kernels of ${eventLoop.kernelMillis} ms`,
  `  idle     ${delay(eventLoop.idle)}`,
  `  awaited  ${delay(eventLoop.awaited)} (${eventLoop.kernels} kernels)`,
  `  inline   ${delay(eventLoop.inline)} (2 kernels)`,
  ""
]

const qwen3Lines = (qwen3: Qwen3Report): ReadonlyArray<string> => [
  `Qwen3 decode step, inline, ${qwen3.arguments} arguments: run ${micros(qwen3.runNanos)} us, ` +
  `bare call of the kernel ${micros(qwen3.bareCallNanos)} us, ` +
  `overhead ${micros(qwen3.overheadNanos)} us (${(qwen3.overheadShare * 100).toFixed(2)} %)`,
  ""
]

/** What follows the cases: units, the other measurements, and the targets. */
export const summary = ({ extra, leftOut, machine, targets, units }: Omit<Report, "cases">): string =>
  [
    "units, measured among the contenders",
    row(["", "us", "p10-p90"], unitWidths),
    ...Object.entries(units).map(unitRow),
    "",
    ...(extra.bus === null ? [] : busLines(extra.bus)),
    ...(extra.slots === null ? [] : slotsLines(extra.slots)),
    ...(extra.eventLoop === null ? [] : eventLoopLines(extra.eventLoop)),
    ...(extra.qwen3 === null ? [] : qwen3Lines(extra.qwen3)),
    "targets",
    ...targets.map(({ holds, limit, name, value }) =>
      `  ${holds ? "holds " : "MISSES"}  ${name}: ${figure(value)} (limit ${figure(limit)})`
    ),
    ...leftOut.map((reason) => `left out: ${reason}`),
    "",
    Object.entries(machine).map(([name, value]) => `${name}: ${value}`).join("; ")
  ].join("\n")

const figure = (value: number): string => Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3)
