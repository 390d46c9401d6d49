/**
 * Scenarios with an eye of their own: what the kit cannot judge by itself, because it is about bytes beside an output, old
 * handles, sizes that no test device has, or the order of releases. A program that sees something wrong complains, and the
 * invariant of its scenario fails.
 */
import { Effect, Exit, Layer } from "effect"
import * as Scopes from "effect/Scope"
import { Arg, DeviceRunner, HostApi, type RunnerOptions } from "leasehold"
import { add, addInline, addSignature, native } from "../../utils/kernels.ts"
import { Closing, closingScenario, type Scenario, scenario } from "../scenario.ts"
import { Complaints, expect, witnessed } from "../witness.ts"

const runnerOf = DeviceRunner.DeviceRunner
const pairOf = () => ({ a: Float32Array.of(1, 2), b: Float32Array.of(3, 4), c: new Float32Array(2) })

const copy = native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) }, {
  execution: "inline"
})

const canary = 0xa5

/** An output of five bytes, in the middle of many. */
const insideLarger = Effect.gen(function*() {
  const runner = yield* runnerOf
  const bytes = new Uint8Array(48).fill(canary)
  const [start, end] = [16, 21]
  const isIntact = () => bytes.every((byte, index) => (index >= start && index < end) || byte === canary)
  const once = Effect.ensuring(
    runner.run(copy, { x: Uint8Array.of(1, 2, 3, 4, 5), y: bytes.subarray(start, end) }),
    Effect.suspend(() => expect(isIntact(), "a run wrote beside its output"))
  )
  yield* once
  yield* once
})

const states: ReadonlySet<string> = new Set(["StaleRun", "RunnerPoisoned", "RunnerClosed"])

/** Says of an old handle that it is refused. */
const refuses = <E extends { readonly _tag: string }>(operation: Effect.Effect<void, E>) =>
  Effect.matchEffect(operation, {
    onFailure: ({ _tag: tag }) => expect(states.has(tag), `an old handle was refused with ${tag}`),
    onSuccess: () => expect(false, "an old handle reached the device")
  })

/** Who has ended cannot come back, not even while another run holds the slot. */
const oldHandle = Effect.gen(function*() {
  const runner = yield* runnerOf
  const old = yield* Effect.scoped(runner.bind(addInline, pairOf()))
  const next = yield* runner.bind(addInline, pairOf())
  yield* expect(next.generation > old.generation, "two runs have the same generation")
  yield* refuses(old.launch)
  yield* next.launch
  yield* refuses(old.validate)
  yield* next.validate
})

const workspace = native("test_nothing", { workspace: Arg.scratch("uint8", ["n", "m"]) })

/** Sizes that 32 bits cannot hold, as a length and as a product. */
const largeSizes: ReadonlyArray<readonly [number, number]> = [[3 * 2 ** 30, 1], [2 ** 16, 2 ** 16 + 1]]

/** What does not fit is refused with its true size, and what is only planned has it. */
const beyond32Bits = Effect.gen(function*() {
  const runner = yield* runnerOf
  for (const [n, m] of largeSizes) {
    const bytes = n * m
    const isTrue = (requested: number, taken: number) => requested === bytes && taken >= bytes
    const wrong = `${bytes} B were taken for less`
    yield* Effect.matchEffect(runner.plan(workspace, {}, { dims: { n, m } }), {
      onFailure: (error) =>
        expect(error._tag === "BudgetExhausted" && isTrue(error.requestedBytes, error.alignedBytes), wrong),
      onSuccess: ({ clearedBytes, leases }) => expect(isTrue(leases[0]?.byteCount ?? 0, clearedBytes), wrong)
    })
    yield* Effect.matchEffect(Effect.scoped(runner.allocate("uint8", [n, m])), {
      onFailure: (error) =>
        expect(error._tag === "BudgetExhausted" && isTrue(error.requestedBytes, error.alignedBytes), wrong),
      onSuccess: () => expect(false, wrong)
    })
  }
})

const reveal = native("test_reveal", { scratch: Arg.scratch("uint8", ["n"]), y: Arg.output("uint8", ["n"]) }, {
  execution: "inline"
})

/** The second run lies where the first one lay. */
const leftBehind = Effect.gen(function*() {
  const runner = yield* runnerOf
  const revealed = new Uint8Array(64)
  yield* runner.run(copy, { x: new Uint8Array(64).fill(canary), y: new Uint8Array(64) })
  yield* runner.run(reveal, { y: revealed })
  yield* expect(revealed.every((byte) => byte === 0), "a run has read what another one left behind")
})

/** Notes in which order a run's tensors are freed, and complains where that is not the signature's order backwards. */
const watchingFrees = (
  options: RunnerOptions.RunnerOptions
): Layer.Layer<DeviceRunner.DeviceRunner, unknown, HostApi.HostApi | Complaints> =>
  Layer.provide(
    DeviceRunner.layer(options),
    Layer.effect(
      HostApi.HostApi,
      Effect.gen(function*() {
        const api = yield* HostApi.HostApi
        const complaints = yield* Complaints
        const order = Object.keys(addSignature)
        const last = new Map<number, number>()
        const note = ({ names: [name = ""], runId }: HostApi.Origin): void => {
          const position = order.indexOf(name)
          if (runId > 0 && position >= 0) {
            if (position >= (last.get(runId) ?? Infinity)) {
              complaints.push(`"${name}" was freed after an older tensor of its run`)
            }
            last.set(runId, position)
          }
        }
        const { immediate } = api
        return {
          ...api,
          free: (address, origin) => Effect.zipRight(Effect.sync(() => note(origin)), api.free(address, origin)),
          immediate: immediate === undefined ? undefined : {
            ...immediate,
            free: (address, origin) => {
              note(origin)
              return immediate.free(address, origin)
            }
          }
        }
      })
    )
  )

const accumulate = native("test_accumulate", {
  sum: Arg.resident("float32", { access: "readWrite" }),
  x: Arg.input("float32", ["n"]),
  y: Arg.output("float32", ["n"])
})

/** The resident's scope ends while a run in another fiber is under way. */
const closedUnderARun = Effect.gen(function*() {
  const runner = yield* runnerOf
  const scope = yield* Effect.acquireRelease(Scopes.make(), (opened, exit) => Scopes.close(opened, exit))
  const sum = yield* Scopes.extend(runner.allocate("float32", [2]), scope)
  // Otherwise the scope would be closed while the kernel is loaded, before the run has begun.
  yield* runner.load(accumulate)
  yield* Effect.all([
    runner.run(accumulate, { sum, x: Float32Array.of(1, 2), y: new Float32Array(2) }),
    Effect.zipRight(Effect.yieldNow(), Effect.uninterruptible(Scopes.close(scope, Exit.void)))
  ], { concurrency: "unbounded" })
})

/** A run, and two moves that have to wait for it and for each other. */
const waitingAtTheGate = Effect.gen(function*() {
  const runner = yield* runnerOf
  const resident = yield* runner.allocate("int16", [4])
  yield* runner.load(add)
  yield* Effect.all([
    runner.run(add, pairOf()),
    resident.upload(Int16Array.of(1, 2, 3, 4)),
    resident.download(new Int16Array(4))
  ], { concurrency: "unbounded" })
})

/** From one chunk to two, once with the old chunk beside the new ones and once after it. */
const twoChunks = Effect.gen(function*() {
  const runner = yield* runnerOf
  yield* runner.configure({ alignmentBytes: 64, maxBytes: "12 KiB", chunks: { sizes: ["4 KiB", "4 KiB"] } })
  yield* runner.run(addInline, pairOf())
  yield* runner.configure({ alignmentBytes: 64, maxBytes: "12 KiB", chunks: { count: 2 } })
  yield* runner.run(addInline, pairOf())
})

/** Effect's own operators over several fibers do not end where they are interrupted at some of their own steps. */
const severalFibers = ["runner", "reachable"] as const

export const oracleScenarios: ReadonlyArray<Scenario> = [
  witnessed({
    name: "output inside a larger buffer",
    // Whatever is copied too far lands within the larger buffer.
    simulator: { alignmentBytes: 8 },
    runner: { temporaryBuffer: { alignmentBytes: 8 } },
    program: insideLarger
  }),
  witnessed({ name: "an old handle", program: oldHandle }),
  witnessed({ name: "sizes beyond 32 bits", mayRecover: true, program: beyond32Bits }),
  // A device that says that it has cleared memory, and has not, is not the runner's fault.
  witnessed({
    name: "what another run left behind",
    faults: ["error", "outOfMemory", "deviceLost", "defect", "hang"],
    program: leftBehind
  }),
  witnessed({
    name: "leases freed newest first",
    delayed: true,
    runner: { temporaryBuffer: { maxBytes: 0 } },
    program: Effect.flatMap(runnerOf, (runner) => runner.run(addInline, pairOf()))
  }, watchingFrees),
  scenario({
    name: "resident closed while a run uses it",
    delayed: true,
    interruptions: severalFibers,
    program: closedUnderARun
  }),
  scenario({
    name: "waiting for each other",
    delayed: true,
    interruptions: severalFibers,
    program: waitingAtTheGate
  }),
  scenario({ name: "two chunks instead of one", program: twoChunks }),
  closingScenario({
    name: "runner closed with a resident open",
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.allocate("float32", [2])
      yield* yield* Closing
    })
  }),
  scenario({
    // The first run loads the kernel; only the second is one synchronous stretch.
    name: "free leases, twice",
    runner: { temporaryBuffer: { maxBytes: 0 } },
    program: Effect.gen(function*() {
      const runner = yield* runnerOf
      yield* runner.run(addInline, pairOf())
      yield* runner.run(addInline, pairOf())
    })
  }),
  scenario({
    name: "free leases under an interrupt deadline",
    delayed: true,
    runner: { temporaryBuffer: { maxBytes: 0 }, interruptDeadline: "1 second" },
    // At every step the runner's own fibers, which wait for the deadline and are nobody else's, would be interrupted too.
    interruptions: ["reachable"],
    program: Effect.flatMap(runnerOf, (runner) => runner.run(addInline, pairOf()))
  })
]
