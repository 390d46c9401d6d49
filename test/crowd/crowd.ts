/**
 * One crowd: a device, a runner and many fibers, all drawn from one seed. It comes to an end, it leaves nothing behind, and
 * nothing happens on the way that is not explained.
 */
import { Context, Effect, Exit, Fiber, Layer, Logger, LogLevel, Scope } from "effect"
import { Arg, DeviceRunner, HostApi, Simulator } from "leasehold"
import { FaultInjection } from "leasehold/testing"
import { VirtualClock } from "../../src/internal/testing/virtualClock.ts"
import { Random } from "../model/random.ts"
import { fill } from "../runs/canaryBytes.ts"
import { native } from "../utils/kernels.ts"
import { Keeper } from "./keeper.ts"
import { look } from "./looks.ts"
import { member } from "./members.ts"
import { RandomScheduler } from "./scheduler.ts"
import { type Device, type Setup, setupOf } from "./setups.ts"
import { copies } from "./specs.ts"
import { type Tally, Watch } from "./watch.ts"

/** What a crowd that should be over is given before it is said to hang. */
const patience = "6 seconds"

/** Runs the crowd of a seed. Answers what did not fit, or nothing. */
export const runCrowd = (device: Device, seed: number, tally: Tally): Effect.Effect<string | undefined> =>
  Effect.suspend(() => {
    const setup = setupOf(device, seed)
    const clock = new VirtualClock()
    const scheduler = new RandomScheduler(new Random(seed + 1), setup.stepsPerPreemption)
    tally.crowds += 1
    let watch: Watch | undefined
    const describe = (problem: string): string =>
      `${device.name}, LEASEHOLD_SEED=${seed}: ${problem}\n${JSON.stringify(setup)}`
    return Effect.scoped(Effect.gen(function*() {
      const context = yield* Layer.build(deviceOf(device, setup))
      const options = {
        temporaryBuffer: setup.buffer,
        slots: setup.slots,
        admission: setup.admission,
        clear: "all",
        residentMaxBytes: "256 KiB",
        stagingMaxBytes: "2 MiB",
        maxInlineCopyBytes: "64 KiB"
      } as const
      const injection = Context.get(context, FaultInjection.FaultInjection)
      const runnerScope = yield* Scope.make()
      const runner = yield* injection.withoutFaults(
        Effect.provide(Scope.extend(DeviceRunner.make(options), runnerScope), context)
      )
      const simulator = Context.get(context, Simulator.Simulator)
      watch = new Watch({ setup, runner, injection, simulator, clock, scheduler, tally })
      yield* atWork(watch)
      yield* assertOver(watch)
      yield* Scope.close(runnerScope, Exit.void)
      yield* assertGone(watch)
    })).pipe(
      Effect.withScheduler(scheduler),
      Effect.withClock(clock.clock),
      Logger.withMinimumLogLevel(LogLevel.None),
      Effect.sandbox,
      Effect.match({
        onFailure: (cause) => describe(watch?.problems[0] ?? String(cause)),
        onSuccess: () => watch?.problems[0] === undefined ? undefined : describe(watch.problems[0])
      }),
      // What hangs may not be interruptible.
      Effect.disconnect,
      Effect.timeoutTo({
        duration: patience,
        onSuccess: (problem) => Effect.succeed(problem),
        onTimeout: () => Effect.map(hanging(watch), (problem) => describe(watch?.problems[0] ?? problem))
      }),
      Effect.flatten
    )
  })

/** What can be said about a crowd that does not come to an end. */
const hanging = (watch: Watch | undefined): Effect.Effect<string> =>
  watch === undefined ? Effect.succeed("it hangs before it begins") : Effect.gen(function*() {
    const { configurations, inFlight, parties, runner } = watch
    const stats = yield* runner.stats
    const budgets = yield* Effect.forEach(
      parties,
      ({ name, stats }) => Effect.map(stats ?? Effect.succeed(undefined), (budget) => ({ name, ...budget }))
    )
    const runs = [...inFlight].map(({ number, party: { isClosing, name, setup }, treatment }) => ({
      number,
      name,
      isClosing,
      setup,
      treatment
    }))
    return `it hangs; ${JSON.stringify({ inFlight: runs, configurations, stats, budgets })}`
  })

const deviceOf = ({ form }: Device, setup: Setup) => {
  const simulator = form.layer({ totalBytes: "16 MiB", longCalls: "inline", lanes: setup.lanes })
  const injected = FaultInjection.layer(setup.rules).pipe(Layer.provideMerge(simulator))
  return setup.isImmediate ? injected : Layer.provideMerge(withoutImmediate, injected)
}

const withoutImmediate = Layer.effect(
  HostApi.HostApi,
  Effect.map(HostApi.HostApi, (hostApi) => ({ ...hostApi, immediate: undefined }))
)

/** All fibers do what they have to do, while the keeper changes what is under them. */
const atWork = (watch: Watch): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { setup } = watch
    const latch = yield* Effect.makeLatch(true)
    const keeper = new Keeper(watch, new Random(setup.seed + 2), latch)
    yield* watch.injection.withoutFaults(keeper.begin)
    const members = yield* Effect.forEach(Array.from({ length: setup.fiberCount }), (_, index) =>
      Effect.fork(member(watch, { random: new Random(setup.seed + 3 + index), index, mayGo: latch.await })))
    const keeping = yield* Effect.fork(keeper.work)
    yield* Fiber.joinAll(members)
    keeper.stop()
    yield* Fiber.join(keeping)
    yield* watch.injection.withoutFaults(keeper.end)
  })

/** Everybody has gone: nothing is held, and the runner takes a run as large as its buffer. */
const assertOver = (watch: Watch): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { injection, runner, simulator, tally } = watch
    const stats = yield* look(watch)
    const { quarantine, residents, runs, state, temporaryBuffer } = stats
    tally.waited += runs.waited
    tally.growths += temporaryBuffer.growths
    tally.faults += yield* watch.firedCount
    const over = {
      active: runs.active,
      waiting: runs.waiting,
      waitingBytes: runs.waitingBytes,
      begunAndNotEnded: runs.begun - runs.ended,
      reservedBytes: temporaryBuffer.reservedBytes,
      residents: residents.count
    }
    watch.expect(state === "poisoned" || Object.values(over).every((count) => count === 0), () =>
      `something is left: ${JSON.stringify(over)}`)
    const completed = runs.ended - runs.failed
    watch.expect(
      watch.succeededCount <= completed && completed <= watch.succeededCount + watch.unsureCount,
      () =>
        `${completed} runs came through, and not ${watch.succeededCount} to ` +
        `${watch.succeededCount + watch.unsureCount}`
    )
    if (state !== "ready") {
      watch.expect(state === "poisoned" ? watch.losesDevice : watch.fails("free") || watch.fails("submit"), () =>
        `the runner is ${state}`)
      return
    }
    watch.expect(temporaryBuffer.inUseBytes === 0, () =>
      `${temporaryBuffer.inUseBytes} B are in use by nobody`)
    watch.expect(
      temporaryBuffer.freeBytes === temporaryBuffer.retainedBytes,
      () =>
        `of ${temporaryBuffer.retainedBytes} B that are retained ${temporaryBuffer.freeBytes} B are free`
    )
    const { liveBytes } = yield* simulator.statistics
    watch.expect(
      liveBytes === temporaryBuffer.retainedBytes + quarantine.bytes,
      () =>
        `the device holds ${liveBytes} B, and not ${temporaryBuffer.retainedBytes} B and ${quarantine.bytes} B`
    )
    yield* injection.withoutFaults(wholeRun(watch))
    watch.expect((yield* runner.stats).runs.active === 0, () => "a run is left")
  })

const reveal = native(
  "test_reveal",
  { work: Arg.scratch("uint8", ["n"]), y: Arg.output("uint8", ["n"]) },
  { execution: "inline" }
)

/** Takes all that one run can have: first what lies there is looked at, then it is written. */
const wholeRun = (watch: Watch): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { alignmentBytes, growth, maxBytes } = watch.configuration
    const { quarantine, temporaryBuffer } = yield* watch.runner.stats
    const { chunkCount, retainedBytes } = temporaryBuffer
    const wholeBytes = maxBytes === 0
      ? 4096
      : growth === "highWater"
      ? Math.max(0, maxBytes - quarantine.bytes)
      : Math.floor(retainedBytes / chunkCount)
    const length = Math.floor(wholeBytes / 2 / alignmentBytes) * alignmentBytes
    const number = watch.nextNumber()
    const [x, y] = [fill(new Uint8Array(length), watch.canary(number)), new Uint8Array(length)]
    const seen = new Uint8Array(length).fill(255)
    const exit = yield* Effect.exit(
      Effect.zipRight(watch.runner.run(reveal, { y: seen }), watch.runner.run(copies[0]!, { x, y }))
    )
    watch.expect(Exit.isSuccess(exit), () => `a run of ${2 * length} B finds no room: ${String(exit)}`)
    watch.expectBytes("the scratch of the last run", number, seen, [new Uint8Array(length)])
    watch.expectBytes("the output of the last run", number, y, [x])
  })

/** The runner is closed: the device has everything back but what it refused to take. */
const assertGone = (watch: Watch): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { quarantine, state } = yield* watch.runner.stats
    const { hostLiveBytes, liveBytes } = yield* watch.simulator.statistics
    // The memory of a device that is lost is forgotten.
    watch.expect(
      watch.losesDevice || (state === "closed" && liveBytes === quarantine.bytes && hostLiveBytes === 0),
      () => `the ${state} runner leaves ${liveBytes} B on the device and ${hostLiveBytes} B of the host behind`
    )
  })
