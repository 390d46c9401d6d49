/** What the benchmark reports: the one place that knows its shape. */
import type { Heap } from "./heap.ts"

/** In the order of the table. */
export const contenderNames = [
  "core",
  "core_clear_all",
  "run",
  "run_clear_all",
  "run_awaited",
  "bind",
  "c_retained",
  "c_malloc",
  "effect_per_tensor",
  "effect_bracket",
  "plain_per_tensor",
  "zero_budget"
] as const
export type ContenderName = (typeof contenderNames)[number]

export const unitNames = [
  "effect_step",
  "acquire_use_release",
  "scoped_acquire_release",
  "koffi_call",
  "koffi_call_async",
  "koffi_call_async_effect"
] as const
export type UnitName = (typeof unitNames)[number]

/** The median over rounds, and how far the rounds lie apart. */
export interface Timing {
  readonly nanosPerRun: number
  /** A tenth of the rounds was faster. */
  readonly p10: number
  /** A tenth of the rounds was slower. */
  readonly p90: number
  readonly rounds: number
  readonly runsPerRound: number
}

/** One contender over one workload. */
export interface Case extends Timing, Heap {
  readonly contender: ContenderName
  readonly count: number
  readonly byteCount: number
  readonly nanosPerTensor: number
  readonly bytesMovedPerRun: number
  /** The median of the ratios to `c_retained` within each round. */
  readonly ratioToCRetained: number
  /** Calls from JavaScript into native code; the C loops are called once for a whole batch. */
  readonly nativeCallsPerRun: number
  readonly deviceMallocsPerRun: number
}

export interface Target {
  readonly name: string
  readonly value: number
  readonly limit: number
  readonly holds: boolean
}

export interface BusReport {
  readonly tensors: number
  readonly byteCount: number
  readonly nanosPerTransfer: number
  readonly apart: { readonly transfersPerRun: number; readonly virtualNanosPerRun: number }
  readonly coalesced: { readonly transfersPerRun: number; readonly virtualNanosPerRun: number }
  readonly timesFaster: number
}

/** Steps in a second with one slot and with two. */
export interface SlotsComparison {
  readonly oneSlot: number
  readonly twoSlots: number
  readonly timesFaster: number
}

export interface SlotsReport {
  readonly tensors: number
  readonly byteCount: number
  /** The virtual device's costs: copies in one direction, and the kernel. */
  readonly copyMicros: number
  readonly kernelMicros: number
  readonly virtual: SlotsComparison
  readonly real: SlotsComparison
}

export interface DelayReport {
  readonly p50Millis: number
  readonly p99Millis: number
  readonly maxMillis: number
}

export interface EventLoopReport {
  readonly kernelMillis: number
  readonly kernels: number
  readonly idle: DelayReport
  readonly awaited: DelayReport
  readonly inline: DelayReport
}

export interface Qwen3Report {
  readonly steps: number
  readonly arguments: number
  readonly runNanos: number
  readonly bareCallNanos: number
  /** The median of the differences of run and bare call, step by step. */
  readonly overheadNanos: number
  readonly overheadShare: number
}

export interface Report {
  readonly machine: Readonly<Record<string, string | number>>
  readonly units: Readonly<Record<UnitName, Timing>>
  readonly cases: ReadonlyArray<Case>
  readonly extra: {
    readonly bus: BusReport | null
    readonly slots: SlotsReport | null
    readonly eventLoop: EventLoopReport | null
    readonly qwen3: Qwen3Report | null
  }
  readonly targets: ReadonlyArray<Target>
  readonly leftOut: ReadonlyArray<string>
}
