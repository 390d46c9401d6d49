/**
 * The metrics of runners. They are read off `RunnerStats`, which is the truth; nothing is published unless
 * `DeviceRunner.layerMetrics` is part of the program. The one label is `device`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { DeviceInfo } from "./HostApi.ts"
import type { RunnerStats } from "./RunnerStats.ts"

const gauge = (name: string, description: string): Metric.Metric.Gauge<number> => Metric.gauge(name, { description })

const counter = (name: string, description: string): Metric.Metric.Counter<number> =>
  Metric.counter(name, { description, incremental: true })

/**
 * Metrics that go up and down, by name.
 *
 * @since 0.1.0
 * @category metrics
 */
export const gauges = {
  leasehold_retained_bytes: gauge("leasehold_retained_bytes", "Bytes of all chunks"),
  leasehold_in_use_bytes: gauge("leasehold_in_use_bytes", "Bytes that active runs take, padding included"),
  leasehold_high_water_bytes: gauge("leasehold_high_water_bytes", "The most bytes that runs took at once"),
  leasehold_padding_bytes: gauge("leasehold_padding_bytes", "Padding in the high water mark"),
  leasehold_quarantined_bytes: gauge("leasehold_quarantined_bytes", "Bytes whose release failed"),
  leasehold_resident_bytes: gauge("leasehold_resident_bytes", "Bytes of all resident tensors"),
  leasehold_staging_bytes: gauge("leasehold_staging_bytes", "Bytes of the host staging areas"),
  leasehold_free_bytes: gauge("leasehold_free_bytes", "Bytes of the chunks that are neither taken nor reserved"),
  leasehold_largest_free_bytes: gauge("leasehold_largest_free_bytes", "The largest piece of the free bytes"),
  leasehold_reserved_bytes: gauge("leasehold_reserved_bytes", "Bytes that child budgets have reserved"),
  leasehold_runs_active: gauge("leasehold_runs_active", "Runs that are bound"),
  leasehold_runs_waiting: gauge("leasehold_runs_waiting", "Runs that wait for their turn"),
  leasehold_waiting_bytes: gauge("leasehold_waiting_bytes", "What the runs that wait need together"),
  leasehold_serial_slots: gauge("leasehold_serial_slots", "1 when several slots cannot overlap on this device"),
  leasehold_poisoned: gauge("leasehold_poisoned", "1 when the runner is poisoned")
} as const

/**
 * Metrics that only go up, by name.
 *
 * @since 0.1.0
 * @category metrics
 */
export const counters = {
  leasehold_runs_begun_total: counter("leasehold_runs_begun_total", "Runs begun"),
  leasehold_runs_ended_total: counter("leasehold_runs_ended_total", "Runs ended"),
  leasehold_runs_failed_total: counter("leasehold_runs_failed_total", "Runs ended without their outputs"),
  leasehold_runs_refused_total: counter(
    "leasehold_runs_refused_total",
    "Runs refused for want of a slot, memory or a place"
  ),
  leasehold_runs_waited_total: counter("leasehold_runs_waited_total", "Runs that had to wait for their turn"),
  leasehold_growths_total: counter("leasehold_growths_total", "Growths of the temporary buffer"),
  leasehold_trims_total: counter("leasehold_trims_total", "Times that memory was given back"),
  leasehold_trimmed_bytes_total: counter("leasehold_trimmed_bytes_total", "Bytes that were given back"),
  leasehold_device_mallocs_total: counter("leasehold_device_mallocs_total", "Device mallocs"),
  leasehold_device_frees_total: counter("leasehold_device_frees_total", "Device frees"),
  leasehold_transfers_total: counter("leasehold_transfers_total", "Copies between host and device"),
  leasehold_launches_total: counter("leasehold_launches_total", "Launches"),
  leasehold_host_to_device_bytes_total: counter("leasehold_host_to_device_bytes_total", "Bytes copied to the device"),
  leasehold_device_to_host_bytes_total: counter("leasehold_device_to_host_bytes_total", "Bytes copied to the host"),
  leasehold_plan_hits_total: counter("leasehold_plan_hits_total", "Runs whose plan was known"),
  leasehold_plan_misses_total: counter("leasehold_plan_misses_total", "Runs whose plan was made"),
  leasehold_release_failures_total: counter("leasehold_release_failures_total", "Releases that the device refused")
} as const

type Values = { readonly [K in keyof typeof gauges | keyof typeof counters]: number }

const values = (stats: RunnerStats): Values => ({
  leasehold_retained_bytes: stats.temporaryBuffer.retainedBytes,
  leasehold_in_use_bytes: stats.temporaryBuffer.inUseBytes,
  leasehold_high_water_bytes: stats.temporaryBuffer.highWaterBytes,
  leasehold_padding_bytes: stats.temporaryBuffer.paddingBytes,
  leasehold_quarantined_bytes: stats.quarantine.bytes,
  leasehold_resident_bytes: stats.residents.inUseBytes,
  leasehold_staging_bytes: stats.host.stagingBytes,
  leasehold_free_bytes: stats.temporaryBuffer.freeBytes,
  leasehold_largest_free_bytes: stats.temporaryBuffer.largestFreeBytes,
  leasehold_reserved_bytes: stats.temporaryBuffer.reservedBytes,
  leasehold_runs_active: stats.runs.active,
  leasehold_runs_waiting: stats.runs.waiting,
  leasehold_waiting_bytes: stats.runs.waitingBytes,
  leasehold_serial_slots: stats.slots.count > 1 && !stats.slots.overlap ? 1 : 0,
  leasehold_poisoned: stats.state === "poisoned" ? 1 : 0,
  leasehold_runs_begun_total: stats.runs.begun,
  leasehold_runs_ended_total: stats.runs.ended,
  leasehold_runs_failed_total: stats.runs.failed,
  leasehold_runs_refused_total: stats.runs.refused,
  leasehold_runs_waited_total: stats.runs.waited,
  leasehold_growths_total: stats.temporaryBuffer.growths,
  leasehold_trims_total: stats.temporaryBuffer.trims,
  leasehold_trimmed_bytes_total: stats.temporaryBuffer.trimmedBytes,
  leasehold_device_mallocs_total: stats.device.mallocs,
  leasehold_device_frees_total: stats.device.frees,
  leasehold_transfers_total: stats.device.transfers,
  leasehold_launches_total: stats.device.launches,
  leasehold_host_to_device_bytes_total: stats.device.hostToDeviceBytes,
  leasehold_device_to_host_bytes_total: stats.device.deviceToHostBytes,
  leasehold_plan_hits_total: stats.plans.hits,
  leasehold_plan_misses_total: stats.plans.misses,
  leasehold_release_failures_total: stats.releaseFailures
})

/**
 * Publishes what the counters are now. Counters grow by what came since `previous`, the statistics that were published
 * before, if any were.
 *
 * @since 0.1.0
 * @category metrics
 */
export const publish = (options: {
  readonly stats: RunnerStats
  readonly previous: RunnerStats | undefined
  readonly device: DeviceInfo
}): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { device, previous, stats } = options
    const current = values(stats)
    const before = previous === undefined ? undefined : values(previous)
    const set = Effect.forEach(
      Object.keys(gauges) as Array<keyof typeof gauges>,
      (name) => Metric.set(Metric.tagged(gauges[name], "device", device.name), current[name]),
      { discard: true }
    )
    const grow = Effect.forEach(
      Object.keys(counters) as Array<keyof typeof counters>,
      (name) =>
        Metric.incrementBy(
          Metric.tagged(counters[name], "device", device.name),
          current[name] - (before?.[name] ?? 0)
        ),
      { discard: true }
    )
    return Effect.zipRight(set, grow)
  })
