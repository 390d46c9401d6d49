/** What the project wants of itself, as ratios and counts within one run of the benchmark. */
import type { Case, ContenderName, Report, Target } from "./report.ts"

/** Recorded elsewhere, for context: the C++ runtime that the design descends from, in microseconds. */
export const recordedContext: ReadonlyArray<
  { readonly count: number; readonly byteCount: number; readonly micros: number }
> = [
  { count: 20, byteCount: 64, micros: 2.1 },
  { count: 20, byteCount: 4096, micros: 4 },
  { count: 64, byteCount: 4096, micros: 9.7 },
  { count: 64, byteCount: 65_536, micros: 103 }
]

const least = (name: string, value: number, limit: number): Target => ({ name, value, limit, holds: value >= limit })
const most = (name: string, value: number, limit: number): Target => ({ name, value, limit, holds: value <= limit })

/** The targets whose cases were measured. */
export const targetsOf = (report: Omit<Report, "targets">): ReadonlyArray<Target> => {
  const { cases, extra, units } = report
  const find = (contender: ContenderName, count: number, byteCount: number): Case | undefined =>
    cases.find((one) => one.contender === contender && one.count === count && one.byteCount === byteCount)
  const ratioAt = (
    contender: ContenderName,
    count: number,
    byteCount: number,
    limit: number
  ): ReadonlyArray<Target> => {
    const found = find(contender, count, byteCount)
    const name = `${contender} to c_retained, ${count} x ${byteCount} B`
    return found === undefined ? [] : [most(name, found.ratioToCRetained, limit)]
  }
  const nanos = (contender: ContenderName, count: number, byteCount: number): number =>
    find(contender, count, byteCount)?.nanosPerRun ?? Number.NaN
  const growth = (contender: ContenderName): ReadonlyArray<Target> => {
    const many = find(contender, 4096, 64)
    const few = find(contender, 64, 64)
    return many === undefined || few === undefined
      ? []
      : [most(`${contender}: ratio at 4096 x 64 B to ratio at 64`, many.ratioToCRetained / few.ratioToCRetained, 2)]
  }
  const core = nanos("core", 20, 64)
  const bracket = units.acquire_use_release.nanosPerRun
  return [
    ...ratioAt("core", 20, 4096, 2),
    ...ratioAt("core", 20, 65_536, 1.1),
    ...ratioAt("run", 20, 4096, 2.2),
    ...ratioAt("run", 20, 65_536, 1.15),
    most("run less core, ns, 20 x 64 B", nanos("run", 20, 64) - core, 1000),
    most(
      "run_awaited less core, ns, against two brackets and a bare asynchronous call",
      nanos("run_awaited", 20, 64) - core,
      2 * bracket + units.koffi_call_async_effect.nanosPerRun
    ),
    most(
      "bind, ns, against 1.5 bare scoped acquisitions and the core",
      nanos("bind", 20, 64),
      1.5 * units.scoped_acquire_release.nanosPerRun + core
    ),
    ...growth("core"),
    ...growth("run"),
    ...steadyState(cases),
    ...(extra.bus === null ? [] : [least("bus: coalesced to apart, times faster", extra.bus.timesFaster, 5)]),
    ...(extra.slots === null
      ? []
      : [least("slots: two to one, virtual time, times faster", extra.slots.virtual.timesFaster, 1.5)]),
    ...(extra.qwen3 === null ? [] : [most("qwen3: overhead, share of the run", extra.qwen3.overheadShare, 0.01)])
  ].filter(({ value }) => !Number.isNaN(value))
}

/** What runs so rarely is not compiled when its heap is measured. */
const compiledRuns = 1000

const steadyState = (cases: ReadonlyArray<Case>): ReadonlyArray<Target> => {
  const greatest = (contender: ContenderName, figure: (one: Case) => number): number =>
    Math.max(...cases.filter((one) => one.contender === contender).map(figure))
  return [
    most("run: device mallocs, any case", greatest("run", (one) => one.deviceMallocsPerRun), 0),
    most("core: native calls, any case", greatest("core", (one) => one.nativeCallsPerRun), 2),
    most("run: native calls with the launch, any case", greatest("run", (one) => one.nativeCallsPerRun), 3),
    most(
      `run: JS heap, bytes, any case of ${compiledRuns} runs`,
      greatest("run", (one) => one.rounds * one.runsPerRound < compiledRuns ? 0 : one.heapBytesPerRun),
      1024
    )
  ]
}
