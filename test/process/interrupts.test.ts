/**
 * Interruptions while native calls are in flight on threads of their own: nothing that a call uses is released before it
 * has ended, nothing is lost, and the next run works.
 *
 * Two hundred interruptions, a thousand with LEASEHOLD_LONG=1. The moments come from a seed, `LEASEHOLD_SEED`, and are named
 * by what has happened, never by the time: the operation that is in flight, and the turns of the event loop since it began.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Scope, Utils } from "effect"
import { DeviceRunner, type RunnerOptions, Simulator } from "leasehold"
import { Ledger } from "leasehold/testing"
import { nextTurn } from "../utils/garbage.ts"
import { gate } from "../utils/gated.ts"
import { add, closeGate, gateWaiting, openGate } from "../utils/kernels.ts"
import { assertUsable, vectors } from "../utils/programs.ts"

const roundCount = process.env["LEASEHOLD_LONG"] === "1" ? 1000 : 200
const seed = Number(process.env["LEASEHOLD_SEED"] ?? 16)

/** Every call takes its time, so that there is a middle to interrupt. */
const cost: Simulator.CostModel = {
  malloc: "200 micros",
  free: "200 micros",
  transfer: "300 micros",
  launch: "500 micros"
}

const devices: ReadonlyArray<readonly [name: string, options: Simulator.Options]> = [
  ["calls on worker threads", { cost }],
  ["late", { cost, completion: "late" }],
  ["late with lanes that overlap", { cost, completion: "late", lanes: "overlap" }]
]

const buffers: ReadonlyArray<readonly [name: string, maxBytes: number]> = [
  ["a malloc for each tensor", 0],
  ["a retained buffer", 512 * 1024]
]

const options = (maxBytes: number): RunnerOptions.RunnerOptions => ({
  temporaryBuffer: { maxBytes },
  stagingMaxBytes: "512 KiB",
  maxInlineCopyBytes: "256 KiB"
})

/** Large enough that each malloc leaves the event loop's thread too. */
const length = 16_384

const untouched = -7

interface Outputs {
  readonly plain: Float32Array
  readonly owned: Float32Array
}

/**
 * What is interrupted: a life with all kinds of calls, whose scope gives everything back. The outputs are known to who
 * started it.
 */
const life = (runner: DeviceRunner.Service, outputs: { current: Outputs | undefined }) =>
  Effect.gen(function*() {
    const [a, b, c] = [
      yield* runner.allocateHost("float32", [length]),
      yield* runner.allocateHost("float32", [length]),
      yield* runner.allocateHost("float32", [length])
    ]
    a.view.fill(1)
    b.view.fill(2)
    c.view.fill(untouched)
    const plain = vectors(length).c
    outputs.current = { plain, owned: c.view }
    const resident = yield* runner.allocate("float32", [length])
    yield* resident.upload(a)
    yield* runner.run(add, { a: vectors(length).a, b: vectors(length).b, c: plain })
    yield* runner.run(add, { a, b, c })
    yield* resident.download(b)
  }).pipe(Effect.scoped)

/** A plain view is as it was or complete; so is a host tensor here, because its copy is one entry that is never cut off. */
const assertWhole = ({ owned, plain }: Outputs): "unchanged" | "complete" => {
  const { a, b } = vectors(length)
  const isChanged = plain[0] !== untouched
  assert.isTrue(
    plain.every((value, index) => value === (isChanged ? a[index]! + b[index]! : untouched)),
    "a plain view"
  )
  const isOwnedChanged = owned[0] !== untouched
  assert.isTrue(owned.every((value) => value === (isOwnedChanged ? 3 : untouched)), "a host tensor")
  return isChanged ? "complete" : "unchanged"
}

/** Turns the event loop until the operation with a number is in flight, or the fiber has ended. */
const reached = (ledger: Ledger.Service, operationNumber: number, fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
  Effect.gen(function*() {
    while (fiber.unsafePoll() === null) {
      const { inFlight, operationCount } = yield* ledger.snapshot
      if (operationCount >= operationNumber && inFlight.length > 0) {
        return inFlight[0]!.operation
      }
      yield* nextTurn
    }
    return undefined
  })

interface Round {
  readonly random: Utils.PCGRandom
  /** Whether the runner lives within what is interrupted. */
  readonly ownRunner: boolean
  readonly maxBytes: number
}

/** One interruption. Answers which operation was in flight. */
const interruptOnce = ({ maxBytes, ownRunner, random }: Round) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger.Ledger
    const make = DeviceRunner.make(options(maxBytes))
    const outputs: { current: Outputs | undefined } = { current: undefined }
    const scope = yield* Scope.make()
    const shared = ownRunner ? undefined : yield* Scope.extend(make, scope)
    const before = yield* ledger.snapshot
    const program = shared === undefined
      ? Effect.scoped(Effect.flatMap(make, (runner) => life(runner, outputs)))
      : life(shared, outputs)
    const fiber = yield* Effect.fork(program)
    // The life has some thirty operations; late ones are interrupted while it ends.
    const interruptedIn = yield* reached(ledger, before.operationCount + 1 + random.integer(32), fiber)
    for (let turns = random.integer(8); turns > 0; turns--) {
      yield* nextTurn
    }
    const exit = yield* Fiber.interrupt(fiber)
    const after = yield* ledger.snapshot
    assert.isEmpty(after.breaches, Ledger.render(after))
    assert.isEmpty(after.inFlight, "a call outlived the fiber that made it")
    assert.strictEqual(after.deviceBytes, before.deviceBytes, Ledger.render(after))
    assert.strictEqual(after.hostBytes, before.hostBytes, Ledger.render(after))
    assert.strictEqual(after.quarantinedBytes, 0, Ledger.render(after))
    // The ledger believes what calls answer. The device knows what it does.
    const device = yield* (yield* Simulator.Simulator).statistics
    assert.deepStrictEqual([device.inFlightCount, device.liveBytes], [0, after.deviceBytes])
    if (Exit.isFailure(exit)) {
      assert.isTrue(Cause.isInterruptedOnly(exit.cause), exit.cause.toString())
    }
    const whole = outputs.current === undefined ? "unchanged" : assertWhole(outputs.current)
    const runner = shared ?? (yield* Scope.extend(make, scope))
    const stats = yield* runner.stats
    assert.deepStrictEqual([stats.state, stats.runs.active, stats.quarantine.bytes], ["ready", 0, 0])
    yield* Effect.provideService(assertUsable, DeviceRunner.DeviceRunner, runner)
    yield* Scope.close(scope, Exit.void)
    yield* ledger.assertEmpty
    return { interruptedIn, whole }
  })

const deviceOf = (device: Simulator.Options) =>
  Ledger.layer.pipe(Layer.provideMerge(Simulator.layer({ totalBytes: "16 MiB", ...device })))

describe("interruptions of calls that run on threads of their own", () => {
  it.scopedLive(
    "release nothing that a call in flight uses, lose nothing, and leave the runner usable",
    () =>
      Effect.gen(function*() {
        openGate()
        const random = new Utils.PCGRandom(seed)
        const counts = new Map<string, number>()
        const count = (name: string) => counts.set(name, (counts.get(name) ?? 0) + 1)
        for (let round = 0; round < roundCount; round++) {
          const [, device] = devices[round % devices.length]!
          const [, maxBytes] = buffers[Math.floor(round / devices.length) % buffers.length]!
          const ownRunner = Math.floor(round / (devices.length * buffers.length)) % 2 === 0
          const { interruptedIn, whole } = yield* interruptOnce({ random, ownRunner, maxBytes }).pipe(
            Effect.provide(deviceOf(device)),
            Effect.tapErrorCause(() => Effect.sync(() => console.log(`seed ${seed}, round ${round}`)))
          )
          count(interruptedIn ?? "after the end")
          count(`outputs ${whole}`)
        }
        console.log(
          `${roundCount} interruptions of real calls, seed ${seed}, by the operation in flight: ` +
            [...counts].map(([name, value]) => `${name} ${value}`).join(", ")
        )
        for (const operation of ["malloc", "free", "submit", "launch", "hostRegister", "hostUnregister"]) {
          assert.isAtLeast(counts.get(operation) ?? 0, 1, `no ${operation} was interrupted`)
        }
        assert.isAtLeast(counts.get("outputs unchanged") ?? 0, 1)
        assert.isAtLeast(counts.get("outputs complete") ?? 0, 1)
        assert.isBelow(counts.get("after the end") ?? 0, roundCount / 4)
      }),
    300_000
  )

  for (const [name, device] of devices) {
    for (const [bufferName, maxBytes] of buffers) {
      it.live(`end no sooner than the kernel, however long it takes [${name}, ${bufferName}]`, () =>
        Effect.gen(function*() {
          closeGate()
          const ledger = yield* Ledger.Ledger
          const runner = yield* DeviceRunner.make(options(maxBytes))
          const args = vectors(length)
          const fiber = yield* Effect.fork(runner.run(gate, args))
          yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
          const before = yield* ledger.snapshot
          const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
          for (let turn = 0; turn < 200; turn++) {
            yield* nextTurn
          }
          const during = yield* ledger.snapshot
          assert.deepStrictEqual(during.inFlight.map(({ operation }) => operation), ["launch"])
          assert.strictEqual(during.operationCount, before.operationCount, "nothing was begun under the kernel")
          assert.strictEqual(during.deviceBytes, before.deviceBytes)
          assert.isNull(interruption.unsafePoll())
          openGate()
          yield* Fiber.join(interruption)
          assert.isTrue(args.c.every((value) => value === untouched))
          assert.isEmpty((yield* ledger.snapshot).breaches)
          yield* Effect.provideService(assertUsable, DeviceRunner.DeviceRunner, runner)
        }).pipe(Effect.scoped, Effect.ensuring(Effect.sync(openGate)), Effect.provide(deviceOf(device))))
    }
  }
})
