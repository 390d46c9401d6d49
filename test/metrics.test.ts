/** Metrics: what `layerMetrics` publishes, and when. Metrics outlive a test, so counters are compared before and after. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Metric, Option, Scope, TestClock } from "effect"
import { DeviceRunner, HostApi, RunnerMetrics, type RunnerStats } from "leasehold"
import { onEveryForm, runnerOf } from "./utils/forms.ts"
import { add, addInline, native } from "./utils/kernels.ts"
import * as Probe from "./utils/probe.ts"
import { failsWith, vectors } from "./utils/programs.ts"

const { counters, gauges } = RunnerMetrics

type Published = { readonly [K in keyof typeof gauges | keyof typeof counters]: number }

const deviceName = "Leasehold simulator"

/** What is published now, for every metric. */
const published: Effect.Effect<Published> = Effect.gen(function*() {
  const values: Record<string, number> = {}
  for (const [name, gauge] of Object.entries(gauges)) {
    values[name] = (yield* Metric.value(Metric.tagged(gauge, "device", deviceName))).value
  }
  for (const [name, counter] of Object.entries(counters)) {
    values[name] = (yield* Metric.value(Metric.tagged(counter, "device", deviceName))).count
  }
  return values as Published
})

const gaugesOf = (stats: RunnerStats.RunnerStats): Partial<Published> => ({
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
  leasehold_poisoned: stats.state === "poisoned" ? 1 : 0
})

const countersOf = (stats: RunnerStats.RunnerStats): Partial<Published> => ({
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

/** What counts only where runs wait and the buffer grows. */
const ofWaitingAndGrowing = [
  "leasehold_runs_waited_total",
  "leasehold_growths_total",
  "leasehold_trims_total",
  "leasehold_trimmed_bytes_total"
] as const

/** Asserts that what is published is what the runner says, counters as they have grown since `before`. */
const assertPublished = (stats: RunnerStats.RunnerStats, before: Published): Effect.Effect<void> =>
  Effect.map(published, (now) => {
    for (const [name, value] of Object.entries(gaugesOf(stats))) {
      assert.strictEqual(now[name as keyof Published], value, name)
    }
    for (const [name, value] of Object.entries(countersOf(stats))) {
      assert.strictEqual(now[name as keyof Published] - before[name as keyof Published], value, name)
    }
  })

/** Lets the fiber that publishes do so. */
const settle = Effect.repeatN(Effect.yieldNow(), 20)

describe("metrics", () => {
  it.effect("have names with prefix and unit, a description and one label", () =>
    Effect.gen(function*() {
      const named = [...Object.entries(gauges), ...Object.entries(counters)]
      yield* published
      const keys = (yield* Metric.snapshot).map(({ metricKey }) => metricKey)
      for (const [name] of named) {
        assert.match(name, /^leasehold_[a-z_]+$/)
        const key = keys.find((each) => each.name === name && each.tags.length > 0)
        assert.deepStrictEqual(key?.tags.map((label) => [label.key, label.value]), [["device", deviceName]], name)
        assert.isTrue(key !== undefined && Option.isSome(key.description) && key.description.value !== "", name)
      }
      assert.isTrue(Object.keys(counters).every((name) => name.endsWith("_total")))
      // What has no unit is a count of runs, or a fact.
      assert.deepStrictEqual(Object.keys(gauges).filter((name) => !name.endsWith("_bytes")), [
        "leasehold_runs_active",
        "leasehold_runs_waiting",
        "leasehold_serial_slots",
        "leasehold_poisoned"
      ])
      assert.strictEqual(new Set(named.map(([name]) => name)).size, named.length)
      // Every metric has a place in the two lists above, so that none goes without a test.
      const stats = {
        temporaryBuffer: {},
        quarantine: {},
        residents: {},
        host: {},
        runs: {},
        device: {},
        plans: {},
        slots: {}
      }
      const tested = { ...gaugesOf(stats as never), ...countersOf(stats as never) }
      assert.sameMembers(Object.keys(tested), named.map(([name]) => name))
    }))
})

onEveryForm("metrics", (form) => {
  it.scoped("nothing is published without the layer", () =>
    Effect.gen(function*() {
      const before = yield* published
      const runner = yield* DeviceRunner.DeviceRunner
      yield* runner.run(add, vectors(4))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* published, before)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("are published at once, then every interval, and a last time at the end", () =>
    Effect.gen(function*() {
      const before = yield* published
      const runner = yield* DeviceRunner.DeviceRunner
      const scope = yield* Scope.make()
      yield* Scope.extend(Layer.build(DeviceRunner.layerMetrics("10 seconds")), scope)
      yield* settle
      const first = yield* runner.stats
      yield* assertPublished(first, before)
      yield* runner.run(add, vectors(4))
      yield* runner.run(addInline, vectors(4))
      yield* TestClock.adjust("9 seconds")
      yield* settle
      yield* assertPublished(first, before)
      yield* TestClock.adjust("1 second")
      yield* settle
      const second = yield* runner.stats
      assert.strictEqual(second.runs.ended, 2)
      yield* assertPublished(second, before)
      yield* TestClock.adjust("1 minute")
      yield* settle
      yield* assertPublished(second, before)
      const resident = yield* runner.allocate("uint8", [1000])
      yield* resident.upload(new Uint8Array(1000))
      yield* Effect.ignore(runner.run(native("test_fail", {}), {}))
      yield* Scope.close(scope, Exit.void)
      const last = yield* runner.stats
      assert.deepStrictEqual([last.residents.inUseBytes, last.runs.failed], [1000, 1])
      yield* assertPublished(last, before)
      yield* runner.run(add, vectors(4))
      yield* TestClock.adjust("1 minute")
      yield* settle
      yield* assertPublished(last, before)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("show every counter of a program, failures included", () =>
    Effect.gen(function*() {
      const before = yield* published
      const runner = yield* DeviceRunner.DeviceRunner
      const probe = yield* Probe.Probe
      const scope = yield* Scope.make()
      yield* Scope.extend(Layer.build(DeviceRunner.layerMetrics("1 second")), scope)
      for (let index = 0; index < 3; index++) {
        yield* runner.run(add, vectors(8 + index % 2))
      }
      yield* Effect.scoped(Effect.gen(function*() {
        yield* runner.bind(add, vectors(4))
        yield* failsWith("RunAlreadyActive", runner.run(add, vectors(4)))
        yield* TestClock.adjust("1 second")
        yield* settle
        const bound = yield* runner.stats
        assert.isAbove(bound.temporaryBuffer.inUseBytes, 0)
        yield* assertPublished(bound, before)
      }))
      yield* runner.configure({ maxBytes: 0 })
      probe.fail({ operation: "free", purpose: "tensor", status: HostApi.Status.Busy })
      yield* runner.run(add, vectors(8))
      const stats = yield* runner.stats
      assert.deepStrictEqual(
        [stats.releaseFailures, stats.runs.refused, stats.runs.failed, stats.quarantine.count],
        [1, 1, 1, 1]
      )
      const idle = Object.entries(countersOf(stats)).filter(([, value]) => value === 0).map(([name]) => name)
      assert.deepStrictEqual(idle, [...ofWaitingAndGrowing], "every other counter has grown")
      yield* Scope.close(scope, Exit.void)
      yield* assertPublished(stats, before)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("show who waits, and how the buffer grows and is trimmed", () =>
    Effect.gen(function*() {
      const before = yield* published
      const runner = yield* DeviceRunner.DeviceRunner
      const scope = yield* Scope.make()
      yield* Scope.extend(Layer.build(DeviceRunner.layerMetrics("1 second")), scope)
      yield* runner.load(add)
      const held = yield* Scope.make()
      yield* Scope.extend(runner.bind(add, vectors(64)), held)
      const waiting = yield* Effect.fork(runner.run(add, vectors(256)))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* settle
      const now = yield* runner.stats
      assert.deepInclude(now.runs, { active: 1, waiting: 1, waitingBytes: 3072 })
      yield* assertPublished(now, before)
      yield* Scope.close(held, Exit.void)
      yield* Fiber.join(waiting)
      yield* runner.trim(0)
      const stats = yield* runner.stats
      const counts = countersOf(stats)
      assert.isTrue(ofWaitingAndGrowing.every((name) => counts[name]! > 0))
      yield* Scope.close(scope, Exit.void)
      yield* assertPublished(stats, before)
    }).pipe(Effect.provide(runnerOf(form, {
      temporaryBuffer: { maxBytes: "64 KiB", alignmentBytes: 256, growth: "highWater" },
      admission: { wait: { maxQueueCount: 1 } },
      slots: 2
    }))))

  it.scoped("show that a runner is poisoned", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const scope = yield* Scope.make()
      yield* Scope.extend(Layer.build(DeviceRunner.layerMetrics("1 second")), scope)
      yield* settle
      assert.strictEqual((yield* published).leasehold_poisoned, 0)
      yield* failsWith("LaunchFailed", runner.run(native("test_lose_device", {}), {}))
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.strictEqual((yield* published).leasehold_poisoned, 1)
      yield* Scope.close(scope, Exit.void)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("of two runners on one device add up in the counters", () =>
    Effect.gen(function*() {
      const before = yield* published
      const runner = yield* DeviceRunner.DeviceRunner
      const other = yield* DeviceRunner.make({ temporaryBuffer: { maxBytes: 4096 } })
      yield* Effect.forEach([runner, other, other], (each) => each.run(add, vectors(4)))
      for (const each of [runner, other]) {
        yield* Effect.scoped(
          Layer.build(
            DeviceRunner.layerMetrics("1 second").pipe(
              Layer.provide(Layer.succeed(DeviceRunner.DeviceRunner, each))
            )
          )
        )
      }
      const now = yield* published
      assert.strictEqual(now.leasehold_runs_ended_total - before.leasehold_runs_ended_total, 3)
      assert.strictEqual(now.leasehold_launches_total - before.leasehold_launches_total, 3)
    }).pipe(Effect.provide(runnerOf(form))))

  it.scoped("grow by what came since the statistics of before, and never shrink", () =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const { device } = runner
      const first = yield* runner.stats
      yield* RunnerMetrics.publish({ stats: first, previous: undefined, device })
      const before = yield* published
      yield* runner.run(add, vectors(4))
      const second = yield* runner.stats
      yield* RunnerMetrics.publish({ stats: second, previous: first, device })
      yield* RunnerMetrics.publish({ stats: second, previous: second, device })
      yield* RunnerMetrics.publish({ stats: first, previous: second, device })
      const now = yield* published
      assert.strictEqual(now.leasehold_runs_ended_total - before.leasehold_runs_ended_total, 1)
      assert.strictEqual(now.leasehold_high_water_bytes, first.temporaryBuffer.highWaterBytes)
    }).pipe(Effect.provide(runnerOf(form))))
})
