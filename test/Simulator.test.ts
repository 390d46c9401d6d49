/** The simulator as a layer: how it is found and opened, what it refuses, what it counts, and what it leaves behind. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { Errors, HostApi, Simulator } from "leasehold"
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"
import { Worker } from "node:worker_threads"
import * as NativeHostApi from "../src/internal/native/hostApi.ts"
import { libraryLaunches } from "../src/internal/native/kernels.ts"
import {
  copyIn,
  copyOut,
  effects,
  type Entry,
  fill,
  hostCopy,
  hostFill,
  immediate,
  launchTable,
  origin,
  table
} from "./contract/tables.ts"
import { nextTurn } from "./utils/garbage.ts"
import { closeGate, gateWaiting, kernel, openGate } from "./utils/kernels.ts"
import { abiFunctions, abiSource, compile, spoiled, temporaryFolder } from "./utils/libraries.ts"
import { failsWith } from "./utils/programs.ts"

const built = fileURLToPath(new URL("../native/build/libleasehold_simulator.so", import.meta.url))

interface Opened {
  readonly api: HostApi.Service
  readonly statistics: Effect.Effect<Simulator.Statistics>
}

const open = (
  options?: Simulator.Options
): Effect.Effect<Opened, Errors.BackendUnavailable | Errors.InvalidConfiguration, Scope.Scope> =>
  Effect.map(Layer.build(Simulator.layer({ totalBytes: "1 MiB", ...options })), (context) => ({
    api: Context.get(context, HostApi.HostApi),
    statistics: Context.get(context, Simulator.Simulator).statistics
  }))

/** Options as a program without types hands them over. */
const openUntyped = (options: object): ReturnType<typeof open> => open(options)

const unavailable = (
  options: object
): Effect.Effect<Errors.BackendUnavailable, never, Scope.Scope> =>
  failsWith("BackendUnavailable", openUntyped(options)).pipe(
    Effect.tap((error) =>
      Effect.sync(() => {
        assert.strictEqual(error.backend, "simulator")
        assert.include(error.message, "the simulator backend is not available")
        assert.isTrue(Errors.isRunnerError(error))
        assert.isTrue(error.pathsTried.every((path) => error.message.includes(path)))
      })
    )
  )

describe("the simulator's library", () => {
  it.scoped("is the one that the build makes, unless another one is named", () =>
    Effect.gen(function*() {
      for (const options of [{}, { libraryPath: undefined }, { libraryPath: built }]) {
        const { api } = yield* openUntyped(options)
        assert.deepStrictEqual([api.backend, api.device.totalBytes], ["simulator", 2 ** 20])
      }
    }))

  it.scoped("that is not there is LibraryNotFound, with the path and the command that builds it", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      for (const libraryPath of [join(folder, "missing.so"), "/no/such/folder/x.so"]) {
        const error = yield* unavailable({ libraryPath })
        assert.deepStrictEqual([error.reason, error.pathsTried], ["LibraryNotFound", [libraryPath]])
        assert.include(error.hint, "npm run build:native")
      }
    }))

  it.scoped("is LibraryRejected where its path cannot be trusted", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const writable = join(folder, "writable.so")
      copyFileSync(built, writable)
      chmodSync(writable, 0o777)
      const paths = [
        "",
        "libleasehold_simulator.so",
        "./native/build/libleasehold_simulator.so",
        `${built}\0.evil`,
        `/${"x/".repeat(2048)}x.so`,
        folder,
        writable
      ]
      for (const libraryPath of paths) {
        const error = yield* unavailable({ libraryPath })
        assert.deepStrictEqual([error.reason, error.pathsTried], ["LibraryRejected", [libraryPath]], libraryPath)
      }
      chmodSync(writable, 0o755)
      yield* open({ libraryPath: writable })
    }))

  it.scoped("that is a symbolic link is taken for what it leads to", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const link = join(folder, "link.so")
      symlinkSync(built, link)
      yield* open({ libraryPath: link })
      const writable = join(folder, "writable.so")
      copyFileSync(built, writable)
      chmodSync(writable, 0o666)
      const toWritable = join(folder, "to-writable.so")
      symlinkSync(writable, toWritable)
      assert.strictEqual((yield* unavailable({ libraryPath: toWritable })).reason, "LibraryRejected")
      const dangling = join(folder, "dangling.so")
      symlinkSync(join(folder, "nowhere.so"), dangling)
      assert.strictEqual((yield* unavailable({ libraryPath: dangling })).reason, "LibraryNotFound")
    }))

  it.scoped("whose path the system refuses to follow is refused by name, and is no defect", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const circle = join(folder, "circle.so")
      symlinkSync(circle, circle)
      for (const libraryPath of [join(built, "x.so"), circle, `/${"x".repeat(300)}.so`]) {
        const { reason } = yield* unavailable({ libraryPath })
        assert.include(["LibraryNotFound", "LibraryRejected", "LibraryNotLoaded"], reason)
      }
    }))

  it.scoped("whose path is no text is refused by name, and is no defect", () =>
    Effect.gen(function*() {
      for (const libraryPath of [7, {}, true, new URL(`file://${built}`)]) {
        assert.strictEqual((yield* unavailable({ libraryPath })).reason, "LibraryRejected")
      }
    }))

  it.scoped("that cannot be loaded is LibraryNotLoaded, with what the loader says", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const text = join(folder, "text.so")
      writeFileSync(text, "this is no library\n")
      const paths = [
        text,
        spoiled(built, join(folder, "empty.so"), { byteCount: 0 }),
        spoiled(built, join(folder, "short.so"), { byteCount: 100 }),
        // One that is cut in its middle is no case: the loader itself reads beyond the end of the file, and dies of it.
        spoiled(built, join(folder, "foreign.so"), { machine: true }),
        compile(folder, "unresolved", "int missing(void); int lh_abi_version(void) { return missing(); }")
      ]
      for (const libraryPath of paths) {
        const error = yield* unavailable({ libraryPath })
        const expected = libraryPath.endsWith("unresolved.so")
          ? ["LibraryNotLoaded", "SymbolMissing"]
          : ["LibraryNotLoaded"]
        assert.include(expected, error.reason, libraryPath)
        assert.isAbove(error.detail.length, 0)
      }
      // A library that is mended is loaded the next time.
      copyFileSync(built, text)
      yield* open({ libraryPath: text })
    }))

  it.scoped("without a function of the ABI is SymbolMissing, and the function is named", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      assert.strictEqual(abiFunctions().length, 23)
      for (const without of ["lh_abi_version", "lh_collect", "lh_launch"]) {
        const libraryPath = compile(folder, without, abiSource({ without }))
        const error = yield* unavailable({ libraryPath })
        assert.strictEqual(error.reason, "SymbolMissing")
        assert.include(error.detail, without)
      }
    }))

  it.scoped("of another version of the ABI is AbiMismatch, older or newer", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      for (const version of [0, 2, 1000]) {
        const libraryPath = compile(folder, `version${version}`, abiSource({ version }))
        const error = yield* unavailable({ libraryPath })
        assert.strictEqual(error.reason, "AbiMismatch")
        assert.include(error.detail, `ABI version ${version}, and 1 is needed`)
      }
    }))

  it.scoped("that has no device is DeviceNotFound, and one that fails to open is OpenFailed", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const none = compile(folder, "none", abiSource({ openStatus: HostApi.Status.NoDevice }))
      assert.strictEqual((yield* unavailable({ libraryPath: none })).reason, "DeviceNotFound")
      const broken = compile(folder, "broken", abiSource({ openStatus: HostApi.Status.HostOutOfMemory }))
      const error = yield* unavailable({ libraryPath: broken })
      assert.deepStrictEqual([error.reason, error.detail], ["OpenFailed", "HostOutOfMemory"])
    }))

  it.scoped("is not opened with more memory than there are addresses", () =>
    Effect.gen(function*() {
      const error = yield* unavailable({ totalBytes: "1000 TiB" })
      assert.strictEqual(error.reason, "OpenFailed")
      assert.include(error.detail, "total_bytes")
    }))

  it.effect("is UnsupportedThread in a worker", () =>
    Effect.gen(function*() {
      const program = `
        const { parentPort, workerData } = require("node:worker_threads")
        import("tsx/esm/api").then(async ({ tsImport }) => {
          const { Simulator } = await tsImport("./src/index.ts", workerData)
          const { Effect, Layer } = await import("effect")
          const exit = await Effect.runPromiseExit(Effect.scoped(Layer.build(Simulator.layer())))
          parentPort.postMessage(JSON.parse(JSON.stringify(exit)))
        })`
      const root = new URL("../root.ts", import.meta.url).href
      const exit = yield* Effect.async<{ readonly cause: { readonly error: Errors.BackendUnavailable } }, Error>(
        (resume) => {
          const worker = new Worker(program, { eval: true, workerData: root })
          worker.once("message", (message) => {
            resume(Effect.succeed(message))
            void worker.terminate()
          })
          worker.once("error", (error) => resume(Effect.fail(error)))
        }
      )
      assert.strictEqual(exit.cause.error.reason, "UnsupportedThread")
      assert.include(exit.cause.error.detail, "child process")
      assert.notInclude(exit.cause.error.hint, "build", "building it does not help")
    }))
})

const badSizes = [
  -1,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  2 ** 60,
  "64MB ",
  "64 MIB",
  "",
  "1.5 B",
  true,
  64n
]

const badDurations = ["5 parsecs", "soon", "", {}, true, Number.POSITIVE_INFINITY, "9007199254740991 seconds"]

const invalidOptions: ReadonlyArray<
  readonly [option: string, reason: Errors.InvalidConfiguration["reason"], values: ReadonlyArray<unknown>]
> = [
  ["totalBytes", "Size", [0, ...badSizes]],
  ["granularityBytes", "Size", [0, ...badSizes]],
  ["tailBytes", "Size", badSizes],
  ["coalesceMaxBytes", "Size", badSizes],
  ["alignmentBytes", "Size", [0, ...badSizes]],
  ["alignmentBytes", "Alignment", [3, 48, 1000, "1 kB", 2 ** 40 + 1]],
  ["completion", "Choice", ["later", "Immediate", "", true, 1, "late lanes=overlap"]],
  ["lanes", "Choice", ["parallel", "Serial", "", true, 1]],
  ["cost.clock", "Choice", ["fake", "", true]],
  ["cost.malloc", "Duration", badDurations],
  ["cost.free", "Duration", badDurations],
  ["cost.transfer", "Duration", badDurations],
  ["cost.launch", "Duration", badDurations],
  ["cost.hostToDeviceBytesPerSecond", "Size", [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "1 GiB", true]],
  ["cost.deviceToHostBytesPerSecond", "Size", [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "1 GiB", true]]
]

describe("the simulator's options", () => {
  for (const [option, reason, values] of invalidOptions) {
    it.scoped(`${option} is refused as ${reason}, whatever is wrong with it`, () =>
      Effect.gen(function*() {
        for (const value of values) {
          const [first, second] = option.split(".")
          const options = second === undefined ? { [first!]: value } : { [first!]: { [second]: value } }
          const error = yield* failsWith("InvalidConfiguration", openUntyped(options))
          assert.deepStrictEqual([error.reason, error.option], [reason, `Simulator.${option}`], inspect(value))
          assert.include(error.message, `Simulator.${option}`)
        }
      }))
  }

  it.scoped("become the device's traits", () =>
    Effect.gen(function*() {
      const { api } = yield* open()
      assert.deepStrictEqual(api.traits, {
        alignmentBytes: 64,
        granularityBytes: 1,
        tailBytes: 0,
        coalesceMaxBytes: 0,
        overlapsCopies: false,
        freeSynchronizes: false,
        argumentPassing: "value",
        recovery: "rebuildRunner",
        answersAtOnce: true
      })
      assert.isDefined(api.immediate)
      const late = yield* open({
        totalBytes: "2 MB",
        alignmentBytes: "4 KiB",
        granularityBytes: 32,
        tailBytes: 7,
        coalesceMaxBytes: "1 MiB",
        completion: "late",
        lanes: "overlap"
      })
      assert.strictEqual(late.api.device.totalBytes, 2_000_000)
      assert.deepStrictEqual(late.api.traits, {
        alignmentBytes: 4096,
        granularityBytes: 32,
        tailBytes: 7,
        coalesceMaxBytes: 2 ** 20,
        overlapsCopies: true,
        freeSynchronizes: true,
        argumentPassing: "value",
        recovery: "rebuildRunner",
        answersAtOnce: false
      })
      assert.isUndefined(late.api.immediate)
    }))
})

describe("what the simulator counts", () => {
  for (const completion of ["immediate", "late"] as const) {
    it.scoped(`is what was done, and nothing that was refused (${completion})`, () =>
      Effect.gen(function*() {
        const { api, statistics } = yield* open({ completion })
        const device = effects(api)
        const none = yield* statistics
        assert.isTrue(Object.values(none).slice(0, -1).every((count) => count === 0))
        const [first, second] = [yield* device.malloc(1000), yield* device.malloc(24)]
        const host = yield* api.hostMalloc(512, origin("staging"))
        const bytes = new Uint8Array(100)
        const entries: ReadonlyArray<Entry> = [
          hostFill(host, 1, 512),
          hostCopy(bytes, host, 100),
          copyIn(first, bytes),
          copyIn(first + 100, bytes),
          fill(second, 7, 24),
          copyOut(bytes, first)
        ]
        yield* device.submit("in", table(api, entries))
        yield* api.collect(table(api, [hostCopy(bytes, host, 100)]), origin("copyBack"))
        const nothing = yield* api.loadKernel(kernel("test_nothing"), origin("load"))
        const failing = yield* api.loadKernel(kernel("test_fail"), origin("load"))
        yield* device.launch(nothing, launchTable([]))
        yield* device.launch(nothing, launchTable([], { offThread: true }))
        yield* Effect.ignore(device.launch(failing, launchTable([])))
        yield* Effect.ignore(device.malloc(2 ** 30))
        yield* Effect.ignore(device.submit("in", table(api, [fill(first, 0, 1), fill(4096, 0, 1)])))
        yield* device.free(second)
        yield* Effect.ignore(device.free(second))
        const { clockNanos, ...counted } = yield* statistics
        assert.isAtLeast(clockNanos, 0)
        assert.deepStrictEqual(counted, {
          liveBytes: 1000,
          liveCount: 1,
          hostLiveBytes: 512,
          hostLiveCount: 1,
          mallocCount: 2,
          freeCount: 1,
          copyInCount: 2,
          copyOutCount: 1,
          fillCount: 1,
          launchCount: 2,
          copiedInBytes: 200,
          copiedOutBytes: 100,
          inFlightCount: 0
        })
        yield* device.free(first)
        yield* api.hostFree(host, origin("staging"))
        const after = yield* statistics
        assert.deepStrictEqual([after.liveBytes, after.liveCount, after.hostLiveBytes, after.hostLiveCount], [
          0,
          0,
          0,
          0
        ])
      }))
  }

  it.scoped("includes the work that is on its way", () =>
    Effect.gen(function*() {
      const { api, statistics } = yield* open({ completion: "late" })
      closeGate()
      yield* Effect.addFinalizer(() => Effect.sync(openGate))
      const gate = yield* api.loadKernel(kernel("test_gate"), origin("load"))
      const fibers = yield* Effect.forEach([1, 2, 3], () =>
        Effect.fork(api.launch(gate, launchTable([]), origin("launch"))))
      yield* Effect.repeat(nextTurn, {
        until: () =>
          gateWaiting() === 1
      })
      assert.strictEqual((yield* statistics).inFlightCount, 3)
      openGate()
      yield* Fiber.joinAll(fibers)
      assert.strictEqual((yield* statistics).inFlightCount, 0)
    }))
})

describe("the simulator's cost model", () => {
  const cost = {
    clock: "virtual",
    malloc: "1 millis",
    free: "2 millis",
    transfer: "3 micros",
    launch: 0.05,
    hostToDeviceBytesPerSecond: 1_000_000_000,
    deviceToHostBytesPerSecond: 3
  } as const

  for (const completion of ["immediate", "late"] as const) {
    it.scoped(`counts exactly what each operation costs, on a clock that nobody waits for (${completion})`, () =>
      Effect.gen(function*() {
        const { api, statistics } = yield* open({ completion, cost })
        const device = effects(api)
        const bytes = new Uint8Array(1000)
        let expected = 0
        const costs = (nanos: number, what: string) =>
          Effect.map(statistics, ({ clockNanos }) => {
            expected += nanos
            assert.strictEqual(clockNanos, expected, what)
          })
        yield* costs(0, "opening")
        const address = yield* device.malloc(1000)
        yield* costs(1_000_000, "malloc")
        yield* device.submit("in", table(api, [copyIn(address, bytes)]))
        yield* costs(3000 + 1000, "a copy in of 1,000 bytes at 1 byte a nanosecond")
        yield* device.submit("in", table(api, [fill(address, 0, 1000), fill(address, 1, 10)]))
        yield* costs(6000, "two fills")
        yield* device.submit("out", table(api, [copyOut(bytes.subarray(0, 1), address)]))
        yield* costs(3000 + 333_333_334, "a copy out of 1 byte at 3 bytes a second, rounded up")
        yield* api.collect(table(api, [hostFill(bytes, 0, 1000)]), origin("copyBack"))
        yield* device.submit("in", table(api, [hostFill(bytes, 0, 1000)]))
        yield* costs(0, "work within the host")
        const nothing = yield* api.loadKernel(kernel("test_nothing"), origin("load"))
        yield* costs(0, "loading")
        yield* device.launch(nothing, launchTable([]))
        yield* costs(50_000, "a launch")
        yield* Effect.ignore(device.malloc(2 ** 30))
        yield* Effect.ignore(device.free(4096))
        yield* Effect.ignore(device.submit("in", table(api, [fill(4096, 0, 1)])))
        yield* costs(0, "what is refused")
        yield* device.free(address)
        yield* costs(2_000_000, "free")
      }))
  }

  for (const [lanes, expected] of [["serial", 45_000], ["overlap", 25_000]] as const) {
    it.scoped(`${lanes === "serial" ? "adds lanes up" : "takes the longest of the lanes"} (${lanes})`, () =>
      Effect.gen(function*() {
        const { api, statistics } = yield* open({
          completion: "late",
          lanes,
          cost: { clock: "virtual", transfer: "10 micros", launch: "25 micros" }
        })
        closeGate()
        yield* Effect.addFinalizer(() => Effect.sync(openGate))
        const device = effects(api)
        const address = yield* device.malloc(64)
        const gate = yield* api.loadKernel(kernel("test_gate"), origin("load"))
        // The copies are submitted while the kernel runs, whose end nobody has seen yet.
        const launch = yield* Effect.fork(device.launch(gate, launchTable([])))
        yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
        for (const lane of ["in", "out"] as const) {
          const copying = yield* Effect.fork(device.submit(lane, table(api, [fill(address, 0, 64)])))
          yield* lanes === "overlap" ? Fiber.join(copying) : nextTurn
        }
        openGate()
        yield* Fiber.join(launch)
        assert.strictEqual((yield* statistics).clockNanos, expected)
      }))
  }

  it.scoped("takes its time on the real clock", () =>
    Effect.gen(function*() {
      const { api, statistics } = yield* open({ cost: { launch: "3 millis" } })
      const nothing = yield* api.loadKernel(kernel("test_nothing"), origin("load"))
      const before = (yield* statistics).clockNanos
      const start = process.hrtime.bigint()
      yield* api.launch(nothing, launchTable([]), origin("launch"))
      assert.isAtLeast(Number(process.hrtime.bigint() - start), 3_000_000)
      assert.isAtLeast((yield* statistics).clockNanos - before, 3_000_000)
    }))
})

describe("what only the simulator can refuse", () => {
  it.scoped("host addresses that lie in device memory, or leave the host allocation that they start in", () =>
    Effect.gen(function*() {
      const { api } = yield* open()
      const now = api.immediate
      assert.isDefined(now)
      const host = yield* api.hostMalloc(64, origin("staging"))
      for (const device of now === undefined ? [] : [effects(api), immediate(now)]) {
        const [one, two] = [yield* device.malloc(64), yield* device.malloc(64)]
        yield* device.submit("in", table(api, [fill(one, 1, 64), fill(two, 2, 64)]))
        const inDevice: Entry = { kind: 1, destination: one, source: two, byteCount: 64 }
        const error = yield* Effect.flip(device.submit("in", table(api, [inDevice])))
        assert.deepStrictEqual([error.statusName, error.entryIndex], ["InvalidArgument", 0])
        const beyond: Entry = { kind: 1, destination: one, source: host, byteCount: 64 }
        yield* device.submit("in", table(api, [beyond]))
        const range = yield* Effect.flip(device.submit("in", table(api, [{ ...beyond, source: host + 1 }])))
        assert.deepStrictEqual([range.statusName, range.entryIndex], ["OutOfRange", 0])
        const bytes = new Uint8Array(64)
        yield* device.submit("out", table(api, [copyOut(bytes, two)]))
        assert.isTrue(bytes.every((byte) => byte === 2))
      }
    }))
})

/** How many open files and threads this process has, and how much it has mapped. */
const footprint = () => ({
  files: readdirSync("/proc/self/fd").length,
  threads: readdirSync("/proc/self/task").length,
  mappedKiB: Number(/VmSize:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1])
})

describe("a device that is closed", () => {
  it.effect("leaves no file, no thread and no memory behind, however many there were", () =>
    Effect.gen(function*() {
      const kinds: ReadonlyArray<Simulator.Options> = [
        { totalBytes: "1 GiB" },
        { totalBytes: "1 GiB", completion: "late" },
        { totalBytes: "1 GiB", completion: "late", lanes: "overlap" }
      ]
      const use = (options: Simulator.Options) =>
        Effect.scoped(Effect.gen(function*() {
          const { api } = yield* open(options)
          const device = effects(api)
          const address = yield* device.malloc(100_000)
          yield* api.hostMalloc(100_000, origin("staging"))
          yield* device.submit("in", table(api, [fill(address, 0, 100_000)]))
          const nothing = yield* api.loadKernel(kernel("test_nothing"), origin("load"))
          yield* device.launch(nothing, launchTable([], { offThread: true }))
          return footprint()
        }))
      // Worker threads of the runtime and the libraries themselves come once.
      yield* Effect.forEach(kinds, use)
      const before = footprint()
      const during = yield* Effect.forEach(Array.from({ length: 51 }, (_, index) => kinds[index % 3]!), use)
      yield* nextTurn
      const after = footprint()
      assert.strictEqual(after.files, before.files)
      assert.strictEqual(after.threads, before.threads)
      assert.isBelow(after.mappedKiB, before.mappedKiB + 1024 * 1024, "less than one device more")
      assert.strictEqual(during[2]!.threads, before.threads + 3)
    }))

  it.effect("fifty at once live side by side", () =>
    Effect.gen(function*() {
      const before = footprint()
      yield* Effect.scoped(Effect.gen(function*() {
        const devices = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, index) => index),
          (index) => open({ completion: index % 2 === 0 ? "immediate" : "late" })
        )
        const addresses = yield* Effect.forEach(devices, ({ api }) => effects(api).malloc(1000))
        assert.strictEqual(new Set(addresses).size, 50)
        assert.strictEqual(footprint().threads, before.threads + 25)
      }))
      assert.strictEqual(footprint().threads, before.threads)
    }))

  for (const completion of ["immediate", "late"] as const) {
    it.effect(`answers DeviceLost to whoever still holds it (${completion})`, () =>
      Effect.gen(function*() {
        const { api, statistics } = yield* Effect.scoped(open({ completion }))
        const device = effects(api)
        const tensor = origin("hostTensor")
        const calls: ReadonlyArray<Effect.Effect<unknown, HostApi.HostApiError>> = [
          device.malloc(64),
          device.malloc(100_000),
          device.free(64),
          device.submit("in", table(api, [fill(64, 0, 1)])),
          device.submit("in", table(api, [fill(64, 0, 1)], { offThread: true })),
          device.launch(1, launchTable([])),
          device.launch(1, launchTable([], { offThread: true })),
          api.memoryInfo,
          api.hostMalloc(64, tensor),
          api.hostFree(64, tensor),
          api.hostRegister(new SharedArrayBuffer(64), tensor),
          api.hostUnregister(new SharedArrayBuffer(64), tensor),
          api.collect(table(api, [hostFill(new Uint8Array(8), 1, 8)]), tensor),
          api.loadKernel(kernel("test_nothing"), tensor)
        ]
        for (const [index, call] of calls.entries()) {
          assert.strictEqual((yield* Effect.flip(call)).statusName, "DeviceLost", `call ${index}`)
        }
        if (api.immediate !== undefined) {
          const now = immediate(api.immediate)
          const plain = [
            now.malloc(64),
            now.free(64),
            now.submit("in", table(api, [fill(64, 0, 1)])),
            now.launch(1, launchTable([]))
          ]
          for (const call of plain as ReadonlyArray<Effect.Effect<unknown, HostApi.HostApiError>>) {
            assert.strictEqual((yield* Effect.flip(call)).statusName, "DeviceLost")
          }
        }
        assert.strictEqual((yield* statistics).liveBytes, 0)
      }))
  }

  for (const completion of ["immediate", "late"] as const) {
    it.effect(`while a kernel runs is left alone, and the kernel's launch ends (${completion})`, () =>
      Effect.gen(function*() {
        closeGate()
        const scope = yield* Scope.make()
        const { api } = yield* Scope.extend(open({ completion }), scope)
        const gate = yield* api.loadKernel(kernel("test_gate"), origin("load"))
        const launch = (): Effect.Effect<void, HostApi.HostApiError> =>
          api.launch(gate, launchTable([], { offThread: true }), origin("launch"))
        const running = yield* Effect.forEach([1, 2, 3], () => Effect.fork(launch()))
        yield* Effect.repeat(nextTurn, { until: () => gateWaiting() === 1 })
        yield* Scope.close(scope, Exit.void)
        openGate()
        for (const fiber of running) {
          const exit = yield* Fiber.await(fiber)
          assert.isTrue(Exit.isSuccess(exit) || exit.cause._tag === "Fail", String(exit))
        }
        // Another device is not disturbed.
        yield* Effect.scoped(Effect.flatMap(open({ completion }), ({ api }) => effects(api).malloc(64)))
      }).pipe(Effect.ensuring(Effect.sync(openGate))))
  }
})

/** A native library in TypeScript: every call is noted, and calls on threads end when a test lets them. */
const fakeLibrary = () => {
  const called: Array<string> = []
  const pending: Array<(status: number) => void> = []
  const functions = Object.fromEntries(
    abiFunctions().map((name) => {
      const call = (...args: ReadonlyArray<unknown>): number => {
        called.push(name)
        if (name === "lh_context_open") {
          ;(args[2] as Array<unknown>)[0] = {}
        }
        return 0
      }
      const async = (...args: ReadonlyArray<unknown>): void => {
        called.push(name)
        pending.push((status) => (args.at(-1) as (error: null, status: number) => void)(null, status))
      }
      return [name, Object.assign(call, { async })]
    })
  )
  return { called, pending, functions: functions as Parameters<typeof NativeHostApi.open>[0]["functions"] }
}

describe("a context that has ended", () => {
  for (const [how, status] of [["succeeds", 0], ["fails", 13], ["is lost", 100], ["is not ready", 8]] as const) {
    it.effect(`is not called again when a call that was in flight ${how}`, () =>
      Effect.gen(function*() {
        const { called, functions, pending } = fakeLibrary()
        const scope = yield* Scope.make()
        const context = yield* NativeHostApi.open({
          backend: "fake",
          functions,
          settings: "",
          deviceIndex: 0,
          leavesThread: true,
          launches: libraryLaunches
        }).pipe(
          Scope.extend(scope)
        )
        const { hostApi } = context
        const launching = yield* Effect.fork(hostApi.malloc(100_000, 64, origin("chunk")))
        const freeing = yield* Effect.fork(hostApi.free(64 as never, origin("chunk")))
        yield* nextTurn
        assert.strictEqual(pending.length, 2)
        yield* Scope.close(scope, Exit.void)
        assert.notInclude(called, "lh_context_close", "a context that is in use is not closed")
        assert.notInclude(called, "lh_context_abandon", "nor given up while a call is on its way to it")
        const before = called.length
        context.statistics()
        yield* Effect.ignore(hostApi.memoryInfo)
        yield* Effect.ignore(hostApi.malloc(64, 64, origin("chunk")))
        assert.deepStrictEqual(called.slice(before), [])
        pending.forEach((end) => end(status))
        yield* Fiber.await(launching)
        yield* Fiber.await(freeing)
        assert.deepStrictEqual(called.slice(before), ["lh_context_abandon"])
      }))
  }

  it.effect("is closed once, when its scope closes and nothing is in flight", () =>
    Effect.gen(function*() {
      const { called, functions, pending } = fakeLibrary()
      const scope = yield* Scope.make()
      yield* Scope.extend(
        NativeHostApi.open({
          backend: "fake",
          functions,
          settings: "",
          deviceIndex: 0,
          leavesThread: true,
          launches: libraryLaunches
        }),
        scope
      )
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* nextTurn
      pending.forEach((end) => end(0))
      yield* Fiber.await(closing)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(called.filter((name) => /close|abandon/.test(name)), ["lh_context_close"])
    }))
})

describe("a kernel's description", () => {
  it("takes a path or a file URL", () => {
    const url = new URL("../native/build/libleasehold_test_kernels.so", import.meta.url)
    const path = fileURLToPath(url)
    const expected = { backend: "simulator", library: path, symbol: "test_add" } as const
    assert.deepStrictEqual(Simulator.kernel({ library: url, symbol: "test_add" }), expected)
    assert.deepStrictEqual(Simulator.kernel({ library: path, symbol: "test_add" }), expected)
  })

  it.scoped("is found through a path with spaces and other letters", () =>
    Effect.gen(function*() {
      const folder = join(yield* temporaryFolder, "ein Ördner # 1")
      mkdirSync(folder)
      const library = join(folder, "kernels & more.so")
      copyFileSync(kernel("test_add").library, library)
      const { api } = yield* open()
      const handle = yield* api.loadKernel(Simulator.kernel({ library, symbol: "test_nothing" }), origin("load"))
      yield* api.launch(handle, launchTable([]), origin("launch"))
      assert.isAbove(handle, 0)
    }))
})
