/**
 * What every backend promises behind `HostApi`, and every decorator over one keeps: the same for the Effects and for the
 * plain functions of `immediate`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, type Scope } from "effect"
import { HostApi } from "leasehold"
import { assertSameBytes, pattern } from "../utils/bytes.ts"
import { churn, nextTurn } from "../utils/garbage.ts"
import {
  type Argument,
  copyIn,
  copyOut,
  effects,
  type Entry,
  fill,
  hostCopy,
  hostFill,
  immediate,
  Kind,
  launchTable,
  origin,
  scalar,
  type Surface,
  table
} from "./tables.ts"

export interface Options {
  /** The kernels of the tests, for the backend. See `native/test/test_kernels.c`. */
  readonly kernel: (symbol: string) => HostApi.Kernel
  /** The gate of the kernel `test_gate`. */
  readonly gate: {
    readonly open: () => void
    readonly close: () => void
    readonly waiting: () => number
    /** Stands at the gate on a worker thread of the process. */
    readonly wait: Effect.Effect<void>
  }
  /** Whether the layer offers `immediate`. */
  readonly immediate: boolean
  /** With how many arguments a kernel can be launched at least. Defaults to 4096. */
  readonly mostArguments?: number
  /** Whether kernels can fail by themselves, and a device can be lost without its process. Defaults to true. */
  readonly canFail?: boolean
  /** The device's own code for what `test_lose_device` does. Defaults to that of the simulator. */
  readonly lossCode?: number
  /** Whether a launch off the loop's thread keeps a worker thread of the process until its kernel has ended. */
  readonly keepsWorkers?: boolean
}

const { Status } = HostApi

/** How many calls the process makes on worker threads at once. Source: libuv's default. */
const workerThreads = 4

/** An address that no context has handed out. */
const foreignAddress = 4096

interface Device extends Surface {
  readonly api: HostApi.Service
  /** The bytes at a device address. */
  readonly read: (address: number, byteCount: number) => Effect.Effect<Uint8Array, HostApi.HostApiError>
  readonly write: (address: number, bytes: ArrayBufferView) => Effect.Effect<void, HostApi.HostApiError>
  readonly load: (symbol: string) => Effect.Effect<HostApi.KernelHandle, HostApi.HostApiError>
}

const deviceOf = (api: HostApi.Service, surface: Surface, options: Options): Device => ({
  ...surface,
  api,
  read: (address, byteCount) =>
    Effect.suspend(() => {
      const bytes = new Uint8Array(byteCount)
      return Effect.as(surface.submit("out", table(api, [copyOut(bytes, address)])), bytes)
    }),
  write: (address, bytes) => Effect.suspend(() => surface.submit("in", table(api, [copyIn(address, bytes)]))),
  load: (symbol) => api.loadKernel(options.kernel(symbol), origin("load"))
})

/** What became of an operation, in figures that do not differ from device to device. */
const outcome = <A>(
  effect: Effect.Effect<A, HostApi.HostApiError>
): Effect.Effect<string> =>
  Effect.match(effect, {
    onSuccess: () => "succeeded",
    onFailure: ({ detail, deviceCode, deviceName, entryIndex, operation, status, statusName }) =>
      JSON.stringify({ operation, status, statusName, deviceCode, deviceName, detail, entryIndex })
  })

/** The failure of an operation that must not succeed. */
const refused = <A>(effect: Effect.Effect<A, HostApi.HostApiError>): Effect.Effect<HostApi.HostApiError> =>
  Effect.flip(effect).pipe(Effect.orDieWith(() => new Error("it was not refused")))

/** Memory that a table of bad entries is tried on. */
interface Memory {
  readonly live: number
  readonly other: number
  readonly freed: number
  readonly bytes: Uint8Array
}

const makeMemory = (device: Device): Effect.Effect<Memory, HostApi.HostApiError> =>
  Effect.gen(function*() {
    const live = yield* device.malloc(256, 256)
    const other = yield* device.malloc(256, 256)
    const freed = yield* device.malloc(256, 256)
    yield* device.free(freed)
    yield* device.write(live, pattern(256, 1))
    yield* device.write(other, pattern(256, 2))
    return { live, other, freed, bytes: new Uint8Array(256).fill(0x11) }
  })

/** Entries that make their table be refused, whatever else is in it. */
const badEntries = ({ bytes, freed, live }: Memory): ReadonlyArray<readonly [string, number, Entry]> => {
  const whole = new Uint8Array(257)
  const good = copyIn(live, bytes)
  const odd = (name: string, change: Partial<Entry>): readonly [string, number, Entry] => [
    name,
    Status.InvalidArgument,
    { ...good, ...change }
  ]
  return [
    ["a fill beyond the end", Status.OutOfRange, fill(live + 1, 0, 256)],
    ["a copy in beyond the end", Status.OutOfRange, copyIn(live, whole)],
    ["a copy out beyond the end", Status.OutOfRange, copyOut(whole, live)],
    ["a copy out of the last byte and the next", Status.OutOfRange, copyOut(bytes.subarray(0, 2), live + 255)],
    ["more bytes than an address reaches", Status.OutOfRange, fill(live, 0, Number.MAX_SAFE_INTEGER)],
    ["a fill of freed memory", Status.UseAfterFree, fill(freed, 0, 1)],
    ["a copy into freed memory", Status.UseAfterFree, copyIn(freed, bytes)],
    ["a copy from the middle of freed memory", Status.UseAfterFree, copyOut(bytes.subarray(0, 4), freed + 100)],
    ["a fill of foreign memory", Status.ForeignPointer, fill(foreignAddress, 0, 1)],
    ["a copy into foreign memory", Status.ForeignPointer, copyIn(foreignAddress, bytes)],
    ["a copy from foreign memory", Status.ForeignPointer, copyOut(bytes, foreignAddress)],
    ["a copy to null", Status.InvalidArgument, copyIn(0, bytes)],
    ["a copy from a null host address", Status.InvalidArgument, { ...good, source: 0 }],
    odd("no bytes", { byteCount: 0 }),
    odd("a negative number of bytes", { byteCount: -1 }),
    odd("half a byte", { byteCount: 0.5 }),
    odd("bytes that are no number", { byteCount: Number.NaN }),
    odd("endless bytes", { byteCount: Number.POSITIVE_INFINITY }),
    odd("bytes above the safe integers", { byteCount: 2 ** 53 }),
    odd("kind 0", { kind: 0 }),
    odd("kind 6", { kind: 6 }),
    odd("kind 1.5", { kind: 1.5 }),
    odd("a kind that is no number", { kind: Number.NaN }),
    odd("a negative address", { destination: -live }),
    odd("an address between two bytes", { destination: live + 0.5 }),
    odd("an address above the safe integers", { destination: 2 ** 53 }),
    odd("a fill value above 255", { kind: Kind.fill, source: 256 }),
    odd("a fill value below 0", { kind: Kind.fill, source: -1 })
  ]
}

/** Arguments that make their launch be refused. */
const badArguments = ({ freed, other }: Memory): ReadonlyArray<readonly [string, number, Argument]> => {
  const odd = (name: string, change: Partial<Argument>): readonly [string, number, Argument] => [
    name,
    Status.InvalidArgument,
    { kind: 2, byteCount: 256, address: other, ...change }
  ]
  return [
    ["a tensor beyond the end", Status.OutOfRange, { kind: 2, byteCount: 257, address: other }],
    ["a tensor in freed memory", Status.UseAfterFree, { kind: 2, byteCount: 256, address: freed }],
    ["a tensor in foreign memory", Status.ForeignPointer, { kind: 2, byteCount: 1, address: foreignAddress }],
    ["a tensor less aligned than it says", Status.Misaligned, {
      kind: 2,
      byteCount: 1,
      address: other + 1,
      alignmentBytes: 2
    }],
    odd("a tensor at null", { address: 0 }),
    odd("an empty tensor with an address", { byteCount: 0 }),
    odd("an alignment of 3", { alignmentBytes: 3 }),
    odd("kind 0", { kind: 0 }),
    odd("kind 7", { kind: 7 }),
    odd("a kind that is no number", { kind: Number.NaN }),
    odd("dtype 0", { dtype: 0 }),
    odd("dtype 13", { dtype: 13 }),
    odd("half a byte", { byteCount: 0.5, dims: [256] }),
    odd("bytes that are no number", { byteCount: Number.NaN, dims: [256] }),
    odd("an address between two bytes", { address: other + 0.5 }),
    odd("rank 9", { rank: 9 }),
    odd("rank 1.5", { rank: 1.5 }),
    odd("a negative dimension", { dims: [-256] }),
    odd("dimensions of fewer bytes", { dims: [15, 17] }),
    odd("dimensions that overflow", { dims: [2 ** 40, 2 ** 40] }),
    odd("a reserved field in use", { reserved: 1 }),
    odd("a scalar with an address", { kind: 6, byteCount: 4, dims: [] }),
    odd("a scalar of 9 bytes", { kind: 6, byteCount: 9, address: 0, dims: [] })
  ]
}

const load = (
  api: HostApi.Service,
  kernel: HostApi.Kernel & { readonly library?: string }
): Effect.Effect<HostApi.KernelHandle, HostApi.HostApiError> => api.loadKernel(kernel, origin("load"))

/** Runs the whole contract on a backend. */
export const suite = <E>(name: string, layer: Layer.Layer<HostApi.HostApi, E>, options: Options): void => {
  type Test = (device: Device) => Effect.Effect<void, HostApi.HostApiError, Scope.Scope>
  const { canFail = true, lossCode = 100, mostArguments = 4096 } = options

  /** A device of its own, in the named form. */
  const open = (form: "effects" | "immediate"): Effect.Effect<Device, E, Scope.Scope> =>
    Effect.map(Layer.build(Layer.fresh(layer)), (context) => {
      const api = Context.get(context, HostApi.HostApi)
      const now = api.immediate
      if (form === "immediate" && now === undefined) {
        throw new Error("the backend has no plain functions")
      }
      return deviceOf(api, form === "immediate" && now !== undefined ? immediate(now) : effects(api), options)
    })

  /** A test of what exists in both forms. */
  const onBothForms = (title: string, test: Test): void => {
    it.scoped(title, () => Effect.flatMap(open("effects"), test))
    if (options.immediate) {
      it.scoped(`${title} (immediate)`, () => Effect.flatMap(open("immediate"), test))
    }
  }

  /** A test of what exists as an Effect only. */
  const onEffects = (title: string, test: Test): void => {
    it.scoped(title, () => Effect.flatMap(open("effects"), test))
  }

  /** Occupies the device with kernels that wait until the gate is opened. */
  const busy = (device: Device): Effect.Effect<Fiber.Fiber<unknown, unknown>, HostApi.HostApiError, Scope.Scope> =>
    Effect.gen(function*() {
      options.gate.close()
      yield* Effect.addFinalizer(() => Effect.sync(options.gate.open))
      const kernel = yield* device.load("test_gate")
      const launches = Array.from(
        { length: workerThreads },
        () => device.api.launch(kernel, launchTable([], { offThread: true }), origin("launch"))
      )
      const fiber = yield* Effect.fork(Effect.all(launches, { concurrency: "unbounded", discard: true }))
      yield* Effect.repeat(nextTurn, { until: () => options.gate.waiting() === 1 })
      return fiber
    })

  /** Occupies all worker threads of the process until the gate is opened, at which one kernel stands already. */
  const occupyWorkers: Effect.Effect<Fiber.Fiber<unknown>> = Effect.gen(function*() {
    if (options.keepsWorkers === true) {
      // The kernels that wait for their turn have them all.
      return Fiber.void
    }
    const waits = Array.from({ length: workerThreads }, () => options.gate.wait)
    const fiber = yield* Effect.fork(Effect.all(waits, { concurrency: "unbounded", discard: true }))
    yield* Effect.repeat(nextTurn, { until: () => options.gate.waiting() === 1 + workerThreads })
    return fiber
  })

  /** Lets every fiber that can go on do so. */
  const settle = Effect.repeatN(nextTurn, 10)

  describe(`host API contract [${name}]`, () => {
    describe("description", () => {
      onEffects("says what the device is like, in figures that make sense", ({ api }) =>
        Effect.gen(function*() {
          const { device, traits } = api
          assert.match(api.backend, /^[a-z][a-z0-9-]*$/)
          assert.isAbove(device.name.length, 0)
          assert.isTrue(Number.isSafeInteger(device.totalBytes) && device.totalBytes > 0)
          assert.isTrue(Number.isInteger(Math.log2(traits.alignmentBytes)))
          assert.isAtLeast(traits.granularityBytes, 1)
          assert.isAtLeast(traits.tailBytes, 0)
          assert.isAtLeast(traits.coalesceMaxBytes, 0)
          assert.include(["value", "table"], traits.argumentPassing)
          assert.include(["rebuildRunner", "newProcess"], traits.recovery)
          const memory = yield* api.memoryInfo
          assert.strictEqual(memory.totalBytes, device.totalBytes)
          assert.isAtMost(memory.freeBytes, memory.totalBytes)
        }))

      onEffects("offers plain functions only where it answers at once", ({ api }) =>
        Effect.sync(() => {
          assert.strictEqual(api.immediate !== undefined, options.immediate)
          assert.isTrue(api.immediate === undefined || api.traits.answersAtOnce)
        }))
    })

    describe("device memory", () => {
      onBothForms(
        "is aligned as asked, and every allocation lies apart from the others",
        (device) =>
          Effect.gen(function*() {
            const taken: Array<readonly [number, number]> = []
            for (const alignmentBytes of [1, 2, 64, 256, 4096, 65_536]) {
              for (const byteCount of [1, 63, 64, 1000, 65_535, 65_536, 100_000]) {
                const address = yield* device.malloc(byteCount, alignmentBytes)
                assert.isTrue(Number.isSafeInteger(address) && address > 0)
                assert.strictEqual(address % alignmentBytes, 0)
                assert.strictEqual(address % device.api.traits.alignmentBytes, 0)
                taken.push([address, byteCount])
              }
            }
            const sorted = taken.toSorted(([left], [right]) => left - right)
            for (let index = 1; index < sorted.length; index++) {
              const [address, byteCount] = sorted[index - 1]!
              assert.isAtMost(address + byteCount, sorted[index]![0])
            }
          })
      )

      onBothForms(
        "that is all taken gives OutOfMemory and changes nothing; what is freed can be had again",
        (device) =>
          Effect.gen(function*() {
            const { memoryInfo } = device.api
            const before = yield* memoryInfo
            const kept = yield* device.malloc(1000)
            yield* device.write(kept, pattern(1000))
            const withKept = yield* memoryInfo
            assert.isBelow(withKept.freeBytes, before.freeBytes)
            for (const byteCount of [before.totalBytes + 1, before.totalBytes * 2, Number.MAX_SAFE_INTEGER]) {
              const error = yield* refused(device.malloc(byteCount))
              assert.deepStrictEqual([error.status, error.statusName], [Status.OutOfMemory, "OutOfMemory"])
              assert.deepStrictEqual(yield* memoryInfo, withKept)
            }
            const taken: Array<number> = []
            const take = Effect.map(device.malloc(Math.ceil(before.totalBytes / 8)), (address) => taken.push(address))
            assert.strictEqual((yield* refused(Effect.forever(take))).status, Status.OutOfMemory)
            assert.isAtLeast(taken.length, 6)
            assert.strictEqual(
              (yield* refused(device.malloc(Math.ceil(before.totalBytes / 8)))).status,
              Status.OutOfMemory
            )
            assertSameBytes(yield* device.read(kept, 1000), pattern(1000))
            yield* Effect.forEach(taken, device.free)
            assert.deepStrictEqual(yield* memoryInfo, withKept)
            yield* device.free(yield* device.malloc(Math.floor(before.totalBytes / 2)))
            yield* device.free(kept)
            assert.deepStrictEqual(yield* memoryInfo, before)
          })
      )

      onBothForms(
        "has no allocation of no bytes, nor one whose alignment is no power of two",
        (device) =>
          Effect.gen(function*() {
            const before = yield* device.api.memoryInfo
            const sizes: ReadonlyArray<readonly [number, number]> = [[0, 64], [64, 0], [64, 3], [64, 48], [0, 0]]
            for (const [byteCount, alignmentBytes] of sizes) {
              const error = yield* refused(device.malloc(byteCount, alignmentBytes))
              assert.strictEqual(error.statusName, "InvalidArgument", `${byteCount} at ${alignmentBytes}`)
            }
            for (const byteCount of [2 ** 53, 2 ** 60, 2 ** 64, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
              const { status } = yield* refused(device.malloc(byteCount))
              assert.include([Status.OutOfMemory, Status.InvalidArgument], status, `${byteCount}`)
            }
            assert.deepStrictEqual(yield* device.api.memoryInfo, before)
          })
      )

      onBothForms("is freed once, and only by the address that was handed out", (device) =>
        Effect.gen(function*() {
          const { freed, live } = yield* makeMemory(device)
          const before = yield* device.api.memoryInfo
          const cases: ReadonlyArray<readonly [string, number, number]> = [
            ["again", freed, Status.DoubleFree],
            ["by an address inside it that was freed", freed + 8, Status.UseAfterFree],
            ["by an address inside it", live + 8, Status.ForeignPointer],
            ["by an address of nobody", foreignAddress, Status.ForeignPointer],
            ["by null", 0, Status.InvalidArgument],
            ["by half an address", live + 0.5, Status.InvalidArgument],
            ["by no number", Number.NaN, Status.InvalidArgument]
          ]
          for (const [how, address, status] of cases) {
            const error = yield* refused(device.free(address))
            assert.deepStrictEqual([error.status, error.operation, error.entryIndex], [status, "free", -1], how)
            assert.deepStrictEqual(yield* device.api.memoryInfo, before, how)
          }
          assertSameBytes(yield* device.read(live, 256), pattern(256, 1))
          yield* device.free(live)
          assert.strictEqual((yield* refused(device.free(live))).statusName, "DoubleFree")
        }))

      onBothForms("of one device is foreign to another", (device) =>
        Effect.gen(function*() {
          const stranger = yield* Effect.orDie(open("effects"))
          const mine = yield* device.malloc(64)
          const theirs = yield* stranger.malloc(64)
          yield* device.write(mine, pattern(64))
          yield* stranger.write(theirs, pattern(64, 5))
          assert.strictEqual((yield* refused(stranger.free(mine))).statusName, "ForeignPointer")
          assert.strictEqual((yield* refused(device.free(theirs))).statusName, "ForeignPointer")
          const clear = table(device.api, [fill(theirs, 0, 64)])
          assert.strictEqual((yield* refused(device.submit("in", clear))).statusName, "ForeignPointer")
          assertSameBytes(yield* device.read(mine, 64), pattern(64))
          assertSameBytes(yield* stranger.read(theirs, 64), pattern(64, 5))
        }))
    })

    describe("transfers", () => {
      onBothForms("move every byte and no other, whatever the size and the offset", (device) =>
        Effect.gen(function*() {
          const deviceBytes = 200_000
          const base = yield* device.malloc(deviceBytes)
          for (const byteCount of [1, 2, 3, 7, 8, 63, 64, 65, 1000, 4096, 65_537]) {
            for (const offset of [0, 1, 13]) {
              yield* device.submit("in", table(device.api, [fill(base, 0xcc, deviceBytes)]))
              const source = new Uint8Array(byteCount + 32).fill(0xaa)
              source.set(pattern(byteCount, offset), offset)
              yield* device.write(base + 64 + offset, source.subarray(offset, offset + byteCount))
              const around = yield* device.read(base + 64 + offset - 8, byteCount + 16)
              const expected = new Uint8Array(byteCount + 16).fill(0xcc)
              expected.set(pattern(byteCount, offset), 8)
              assertSameBytes(around, expected)
              const target = new Uint8Array(byteCount + 32).fill(0xbb)
              const inner = target.subarray(offset, offset + byteCount)
              yield* device.submit("out", table(device.api, [copyOut(inner, base + 64 + offset)]))
              const wanted = new Uint8Array(byteCount + 32).fill(0xbb)
              wanted.set(pattern(byteCount, offset), offset)
              assertSameBytes(target, wanted)
            }
          }
        }))

      onBothForms("fill with any byte, and only the bytes that are named", (device) =>
        Effect.gen(function*() {
          const base = yield* device.malloc(4096)
          yield* device.write(base, pattern(4096))
          for (const value of [0, 1, 0x7f, 0x80, 0xa5, 0xff]) {
            yield* device.submit("in", table(device.api, [fill(base + 100, value, 999)]))
            const expected = pattern(4096)
            expected.fill(value, 100, 1099)
            assertSameBytes(yield* device.read(base, 4096), expected)
          }
        }))

      onBothForms("happen in the order of their table", (device) =>
        Effect.gen(function*() {
          const base = yield* device.malloc(64)
          const bytes = new Uint8Array(16).fill(7)
          const seen = [new Uint8Array(64), new Uint8Array(64), new Uint8Array(64)] as const
          yield* device.submit(
            "in",
            table(device.api, [
              fill(base, 1, 64),
              copyOut(seen[0], base),
              fill(base + 8, 2, 16),
              copyOut(seen[1], base),
              copyIn(base + 16, bytes),
              copyOut(seen[2], base)
            ])
          )
          const first = new Uint8Array(64).fill(1)
          const second = first.slice().fill(2, 8, 24)
          const third = second.slice().fill(7, 16, 32)
          assert.deepStrictEqual([...seen], [first, second, third])
        }))

      onBothForms(
        "gather through host memory first, and one copy carries what was gathered",
        (device) =>
          Effect.gen(function*() {
            const { api } = device
            const staging = yield* api.hostMalloc(1024, origin("staging"))
            const base = yield* device.malloc(1024)
            const [one, two] = [pattern(100, 1), pattern(200, 2)]
            yield* device.submit(
              "in",
              table(api, [
                hostFill(staging, 0, 512),
                hostCopy(staging, one, 100),
                hostCopy(staging + 256, two, 200),
                { kind: Kind.copyIn, destination: base, source: staging, byteCount: 512 }
              ])
            )
            const expected = new Uint8Array(512)
            expected.set(one)
            expected.set(two, 256)
            assertSameBytes(yield* device.read(base, 512), expected)
            yield* api.hostFree(staging, origin("staging"))
          })
      )

      onBothForms("of an empty table do nothing", (device) =>
        Effect.gen(function*() {
          const before = yield* device.api.memoryInfo
          yield* device.submit("in", table(device.api, []))
          assert.deepStrictEqual(yield* device.api.memoryInfo, before)
        }))

      onBothForms(
        "that are wrong are refused before any byte of their table moves, and the entry is named",
        (device) =>
          Effect.gen(function*() {
            const memory = yield* makeMemory(device)
            const { bytes, live, other } = memory
            for (const [what, status, bad] of badEntries(memory)) {
              const good = [fill(live, 0x55, 256), copyOut(bytes, other)]
              for (const [entries, index] of [[[...good, bad], 2], [[bad, ...good], 0]] as const) {
                const error = yield* refused(device.submit("in", table(device.api, entries)))
                assert.deepStrictEqual(
                  [error.status, error.entryIndex, error.operation],
                  [status, index, "submit"],
                  what
                )
              }
              assertSameBytes(bytes, new Uint8Array(256).fill(0x11), what)
              assertSameBytes(yield* device.read(live, 256), pattern(256, 1), what)
              assertSameBytes(yield* device.read(other, 256), pattern(256, 2), what)
            }
          })
      )

      onEffects("off the loop's thread move and refuse as others do", (device) =>
        Effect.gen(function*() {
          const { api } = device
          const base = yield* device.malloc(1 << 20)
          const shared = new Uint8Array(new SharedArrayBuffer(1 << 20))
          shared.set(pattern(1 << 20))
          yield* device.submit("in", table(api, [copyIn(base, shared)], { offThread: true }))
          shared.fill(0)
          yield* device.submit("out", table(api, [copyOut(shared, base)], { offThread: true }))
          assertSameBytes(Uint8Array.from(shared), pattern(1 << 20))
          const bad = table(api, [fill(base, 0, 1), fill(base + 1, 0, 1 << 20)], { offThread: true })
          const error = yield* refused(device.submit("in", bad))
          assert.deepStrictEqual([error.statusName, error.entryIndex], ["OutOfRange", 1])
          assert.deepStrictEqual((yield* device.read(base, 1))[0], pattern(1)[0])
        }))

      onEffects("on one lane happen in the order in which they were submitted", (device) =>
        Effect.gen(function*() {
          const base = yield* device.malloc(4096)
          for (const lane of ["in", "compute", "out"] as const) {
            const seen = Array.from({ length: 40 }, () => new Uint8Array(4096))
            yield* Effect.all(
              seen.flatMap((target, index) => [
                device.submit(lane, table(device.api, [fill(base, index + 1, 4096)])),
                device.submit(lane, table(device.api, [copyOut(target, base)]))
              ]),
              { concurrency: "unbounded", discard: true }
            )
            assert.deepStrictEqual(seen, seen.map((_, index) => new Uint8Array(4096).fill(index + 1)))
          }
        }))
    })

    describe("host views", () => {
      onEffects(
        "are looked at again within the call, and the addresses of then are taken",
        (device) =>
          Effect.gen(function*() {
            const { api } = device
            const base = yield* device.malloc(64)
            const submitted = table(api, [copyIn(base, pattern(64, 3))])
            assert.deepStrictEqual([...submitted.cells], [Kind.copyIn, base, 0, 64])
            const submit = device.submit("in", submitted)
            assert.strictEqual(submitted.refreshed(), 0, "an Effect that does not run looks at nothing")
            yield* submit
            assert.strictEqual(submitted.refreshed(), 1)
            yield* submit
            assert.strictEqual(submitted.refreshed(), 2)
            assertSameBytes(yield* device.read(base, 64), pattern(64, 3))
          })
      )

      onEffects(
        "that are gone fail the call by their entry, before any byte moves",
        (device) =>
          Effect.gen(function*() {
            const { api } = device
            const memory = yield* makeMemory(device)
            const { bytes, live } = memory
            const entries = [fill(live, 0x55, 256), copyOut(bytes, live)]
            for (const offThread of [false, true]) {
              for (const gone of [0, 1]) {
                const submitted = table(api, entries, { gone, offThread })
                const error = yield* refused(device.submit("in", submitted))
                assert.deepStrictEqual(
                  [error.statusName, error.entryIndex, error.operation, submitted.refreshed()],
                  ["InvalidArgument", gone, "submit", 1]
                )
              }
            }
            const collected = table(api, [hostCopy(bytes, new Uint8Array(256), 256)], { gone: 0 })
            const error = yield* refused(api.collect(collected, origin("copyBack")))
            assert.deepStrictEqual(
              [error.statusName, error.entryIndex, error.operation],
              ["InvalidArgument", 0, "collect"]
            )
            assertSameBytes(bytes, new Uint8Array(256).fill(0x11))
            assertSameBytes(yield* device.read(live, 256), pattern(256, 1))
          })
      )

      onEffects("have one address, where their bytes are", (device) =>
        Effect.gen(function*() {
          const { api } = device
          const base = yield* device.malloc(16)
          for (const buffer of [new ArrayBuffer(64), new SharedArrayBuffer(64)]) {
            const whole = new Uint8Array(buffer)
            const address = api.hostAddress(whole)
            assert.isTrue(Number.isSafeInteger(address) && address > 0)
            assert.strictEqual(api.hostAddress(whole.subarray(16)), address + 16)
            assert.strictEqual(api.hostAddress(new Float32Array(buffer, 8, 2)), address + 8)
            assert.strictEqual(api.hostAddress(new Uint8Array(buffer)), address)
            whole.set(pattern(64, 9))
            yield* device.submit("in", table(api, [{ ...copyIn(base, whole.subarray(16, 32)), source: address + 16 }]))
            assertSameBytes(yield* device.read(base, 16), pattern(64, 9).slice(16, 32))
          }
          const views = [new Uint8Array(4), new Uint8Array(64), new Uint8Array(5000)]
          const addresses = views.map((view) => api.hostAddress(view))
          yield* churn
          assert.deepStrictEqual(views.map((view) => api.hostAddress(view)), addresses)
        }))
    })

    describe("collecting", () => {
      onEffects("moves staged bytes to host views", ({ api }) =>
        Effect.gen(function*() {
          const staging = yield* api.hostMalloc(256, origin("staging"))
          const target = new Uint8Array(64)
          yield* api.collect(
            table(api, [
              hostCopy(staging, pattern(64, 4), 64),
              hostFill(staging + 16, 9, 4),
              hostCopy(target, staging, 64)
            ]),
            origin("copyBack")
          )
          const expected = pattern(64, 4)
          expected.fill(9, 16, 20)
          assertSameBytes(target, expected)
        }))

      onEffects("takes nothing that touches the device, and then moves nothing", (device) =>
        Effect.gen(function*() {
          const { api } = device
          const { bytes, live } = yield* makeMemory(device)
          const target = new Uint8Array(256)
          for (const entry of [fill(live, 0, 1), copyIn(live, bytes), copyOut(bytes, live)]) {
            const entries = [hostCopy(target, bytes, 256), entry]
            const error = yield* refused(api.collect(table(api, entries), origin("copyBack")))
            assert.deepStrictEqual([error.statusName, error.entryIndex], ["InvalidArgument", 1])
          }
          const broken = [hostCopy(target, bytes, 256), hostCopy(0, bytes, 1)]
          const error = yield* refused(api.collect(table(api, broken), origin("copyBack")))
          assert.deepStrictEqual([error.statusName, error.entryIndex], ["InvalidArgument", 1])
          assertSameBytes(target, new Uint8Array(256))
          assertSameBytes(yield* device.read(live, 256), pattern(256, 1))
        }))
    })

    describe("host memory", () => {
      onEffects("comes zeroed and aligned, and is freed once", ({ api }) =>
        Effect.gen(function*() {
          const staging = origin("staging")
          const blocks: Array<number> = []
          for (const byteCount of [1, 64, 4097, 1 << 20]) {
            const address = yield* api.hostMalloc(byteCount, staging)
            assert.isTrue(Number.isSafeInteger(address) && address > 0 && address % 64 === 0)
            const bytes = new Uint8Array(byteCount).fill(1)
            yield* api.collect(table(api, [hostCopy(bytes, address, byteCount)]), staging)
            assert.isTrue(bytes.every((byte) => byte === 0))
            blocks.push(address)
          }
          assert.strictEqual((yield* refused(api.hostMalloc(0, staging))).statusName, "InvalidArgument")
          const inner = yield* refused(api.hostFree(blocks[3]! + 64, staging))
          assert.strictEqual(inner.statusName, "ForeignPointer")
          yield* Effect.forEach(blocks, (address) => api.hostFree(address, staging))
          const again = yield* refused(api.hostFree(blocks[3]!, staging))
          assert.deepStrictEqual([again.statusName, again.operation], ["DoubleFree", "hostFree"])
          assert.strictEqual((yield* refused(api.hostFree(foreignAddress, staging))).statusName, "ForeignPointer")
          assert.strictEqual((yield* refused(api.hostFree(0, staging))).statusName, "InvalidArgument")
        }))

      onEffects(
        "of the caller is registered once at a time, and serves transfers like any other",
        (device) =>
          Effect.gen(function*() {
            const { api } = device
            const tensor = origin("hostTensor")
            const buffer = new SharedArrayBuffer(4096)
            const base = yield* device.malloc(4096)
            assert.notStrictEqual((yield* refused(api.hostUnregister(buffer, tensor))).status, Status.Ok)
            yield* api.hostRegister(buffer, tensor)
            assert.strictEqual((yield* refused(api.hostRegister(buffer, tensor))).statusName, "InvalidArgument")
            new Uint8Array(buffer).set(pattern(4096))
            yield* device.submit("in", table(api, [copyIn(base, new Uint8Array(buffer))], { offThread: true }))
            assertSameBytes(yield* device.read(base, 4096), pattern(4096))
            yield* api.hostUnregister(buffer, tensor)
            const again = yield* refused(api.hostUnregister(buffer, tensor))
            assert.strictEqual(again.statusName, "DoubleFree")
            yield* api.hostRegister(buffer, tensor)
            yield* api.hostUnregister(buffer, tensor)
            assertSameBytes(new Uint8Array(buffer).slice(), pattern(4096))
          })
      )
    })

    describe("kernels", () => {
      onBothForms(
        "get the arguments that were launched, and what they write is on the device",
        (device) =>
          Effect.gen(function*() {
            const [source, target] = [yield* device.malloc(1000), yield* device.malloc(1000)]
            yield* device.write(source, pattern(1000))
            yield* device.submit("in", table(device.api, [fill(target, 0, 1000)]))
            const copy = yield* device.load("test_copy")
            const entries = [{ byteCount: 500, address: source }, { kind: 2, byteCount: 500, address: target }]
            for (const offThread of [false, true]) {
              yield* device.launch(copy, launchTable(entries, { offThread }))
              const expected = new Uint8Array(1000)
              expected.set(pattern(500))
              assertSameBytes(yield* device.read(target, 1000), expected)
            }
            const write = yield* device.load("test_write_first")
            yield* device.launch(
              write,
              launchTable([{ kind: 2, byteCount: 1000, address: target }, scalar(3), scalar(0x42)])
            )
            assert.deepStrictEqual([...(yield* device.read(target, 4))], [0x42, 0x42, 0x42, pattern(4)[3]!])
          })
      )

      onBothForms(
        "see kind, element type, bytes, alignment and dimensions as they were launched",
        (device) =>
          Effect.gen(function*() {
            const base = yield* device.malloc(4096, 512)
            const described = yield* device.malloc(4 * 6 * 8)
            const describeKernel = yield* device.load("test_describe")
            yield* device.launch(
              describeKernel,
              launchTable([
                { kind: 1, dtype: 3, byteCount: 96, address: base, alignmentBytes: 512, dims: [2, 3, 4] },
                { kind: 4, dtype: 8, byteCount: 64, address: base + 512, dims: [8] },
                { kind: 5, dtype: 1, byteCount: 0, address: 0, dims: [7, 0] },
                scalar(5),
                { kind: 2, dtype: 4, byteCount: 192, address: described, dims: [24] }
              ])
            )
            const bytes = yield* device.read(described, 192)
            assert.deepStrictEqual(
              Array.from(new Float64Array(bytes.buffer)),
              [[1, 3, 96, 1, 3, 2], [4, 8, 64, 1, 1, 8], [5, 1, 0, 1, 2, 7], [6, 7, 4, 1, 0, 0]].flat()
            )
          })
      )

      onBothForms(`are launched with no arguments, and with ${mostArguments}`, (device) =>
        Effect.gen(function*() {
          yield* device.launch(yield* device.load("test_nothing"), launchTable([]))
          const base = yield* device.malloc(4096)
          const sum = yield* device.malloc(8)
          yield* device.submit("in", table(device.api, [fill(base, 1, 4096)]))
          const entries = Array.from({ length: mostArguments }, (_, index) => ({ byteCount: 1, address: base + index }))
          yield* device.launch(
            yield* device.load("test_checksum"),
            launchTable([...entries, { kind: 2, dtype: 4, byteCount: 8, address: sum, dims: [1] }])
          )
          const bytes = yield* device.read(sum, 8)
          assert.strictEqual(
            new Float64Array(bytes.buffer)[0],
            mostArguments + 31 * ((mostArguments - 1) * mostArguments / 2)
          )
        }))

      onBothForms(
        "are not run with an argument that is wrong, and the argument is named",
        (device) =>
          Effect.gen(function*() {
            const memory = yield* makeMemory(device)
            const { live, other } = memory
            const copy = yield* device.load("test_copy")
            const source = { byteCount: 256, address: live }
            for (const [what, status, bad] of badArguments(memory)) {
              for (const [entries, index] of [[[source, bad], 1], [[bad, source], 0]] as const) {
                const error = yield* refused(device.launch(copy, launchTable(entries)))
                assert.deepStrictEqual(
                  [error.status, error.entryIndex, error.operation],
                  [status, index, "launch"],
                  what
                )
              }
              assertSameBytes(yield* device.read(other, 256), pattern(256, 2), what)
            }
            const offThread = launchTable([source, { ...source, byteCount: 257 }], { offThread: true })
            assert.strictEqual((yield* refused(device.launch(copy, offThread))).entryIndex, 1)
            for (const kernel of [0, -1, 1.5, 1e6, Number.NaN]) {
              const error = yield* refused(device.launch(kernel, launchTable([])))
              assert.deepStrictEqual([error.statusName, error.entryIndex], ["UnknownHandle", -1], `kernel ${kernel}`)
            }
          })
      )

      if (canFail) {
        onBothForms(
          "that fail are reported with their own code, and the device goes on",
          (device) =>
            Effect.gen(function*() {
              const failIf = yield* device.load("test_fail_if")
              for (const code of [1, 7, 99, 2 ** 31 - 1]) {
                for (const offThread of [false, true]) {
                  const error = yield* refused(device.launch(failIf, launchTable([scalar(code)], { offThread })))
                  assert.deepStrictEqual(
                    [error.statusName, error.deviceCode, error.entryIndex, error.operation],
                    ["LaunchFailed", code, -1, "launch"]
                  )
                  assert.isFalse(HostApi.isSticky(error.status))
                }
              }
              yield* device.launch(failIf, launchTable([scalar(0)]))
            })
        )
      }

      onEffects(
        "are found by name, the same one twice, and named when there is none",
        ({ api }) =>
          Effect.gen(function*() {
            const known = options.kernel("test_nothing")
            assert.strictEqual(yield* load(api, known), yield* load(api, { ...known }))
            // Where the steps of a launch name functions, they are found when it is launched.
            const found = Effect.flatMap(
              load(api, options.kernel("no_such_kernel")),
              (handle) => api.launch(handle, launchTable([]), origin("launch"))
            )
            const symbol = yield* refused(found)
            assert.deepStrictEqual([symbol.statusName, symbol.operation], ["SymbolNotFound", "loadKernel"])
            for (const library of ["/no/such/library.so", "library.so", ""]) {
              const elsewhere = { ...known, library, module: library }
              assert.strictEqual((yield* refused(load(api, elsewhere))).statusName, "LibraryNotLoaded", library)
            }
            assert.isAbove(yield* load(api, known), 0)
          })
      )
    })

    describe.runIf(canFail)("a lost device", () => {
      onBothForms("answers everything with what has happened to it", (device) =>
        Effect.gen(function*() {
          const { api } = device
          const address = yield* device.malloc(64)
          const host = yield* api.hostMalloc(64, origin("staging"))
          const nothing = yield* device.load("test_nothing")
          const bytes = new Uint8Array(64).fill(3)
          const lost = yield* refused(device.launch(yield* device.load("test_lose_device"), launchTable([])))
          assert.deepStrictEqual([lost.statusName, lost.deviceCode], ["DeviceLost", lossCode])
          const everything: ReadonlyArray<Effect.Effect<unknown, HostApi.HostApiError>> = [
            device.malloc(64),
            device.malloc(100_000),
            device.free(address),
            device.submit("in", table(api, [fill(address, 0, 1)])),
            device.submit("out", table(api, [copyOut(bytes, address)])),
            device.submit("out", table(api, [fill(address, 0, 1)], { offThread: true })),
            device.launch(nothing, launchTable([])),
            device.launch(nothing, launchTable([], { offThread: true })),
            api.memoryInfo,
            api.hostMalloc(64, origin("staging")),
            api.hostFree(host, origin("staging")),
            api.hostRegister(new SharedArrayBuffer(64), origin("hostTensor")),
            api.collect(table(api, [hostFill(bytes, 0, 64)]), origin("copyBack")),
            device.load("test_fail"),
            device.free(address)
          ]
          for (const [index, effect] of everything.entries()) {
            const error = yield* refused(effect)
            assert.deepStrictEqual([error.statusName, error.deviceCode], ["DeviceLost", lossCode], `operation ${index}`)
            assert.isTrue(HostApi.isSticky(error.status))
          }
          assertSameBytes(bytes, new Uint8Array(64).fill(3))
        }))

      onEffects("is left alone when it closes, and another one works", (device) =>
        Effect.gen(function*() {
          const stranger = yield* Effect.orDie(open("effects"))
          yield* Effect.scoped(Effect.gen(function*() {
            const lost = yield* Effect.orDie(open("effects"))
            yield* lost.malloc(64)
            yield* refused(lost.launch(yield* lost.load("test_lose_device"), launchTable([])))
          }))
          for (const other of [device, stranger, yield* Effect.orDie(open("effects"))]) {
            const address = yield* other.malloc(64)
            yield* other.write(address, pattern(64))
            assertSameBytes(yield* other.read(address, 64), pattern(64))
          }
        }))
    })

    describe("waiting", () => {
      onEffects("for a kernel is not cut short by an interruption", (device) =>
        Effect.gen(function*() {
          const running = yield* busy(device)
          const interruption = yield* Effect.fork(Fiber.interrupt(running))
          yield* settle
          assert.strictEqual((yield* Fiber.poll(running))._tag, "None")
          options.gate.open()
          yield* Fiber.await(interruption)
          assert.strictEqual(options.gate.waiting(), 0)
        }))

      onEffects(
        "for work behind a kernel is not cut short by an interruption either",
        (device) =>
          Effect.gen(function*() {
            const address = yield* device.malloc(100_000)
            const nothing = yield* device.load("test_nothing")
            const running = yield* busy(device)
            const waiting = yield* Effect.forEach([
              device.launch(nothing, launchTable([], { offThread: true })),
              device.api.hostMalloc(64, origin("staging")),
              device.free(address)
            ] as ReadonlyArray<Effect.Effect<unknown, HostApi.HostApiError>>, (effect) => Effect.fork(effect))
            yield* settle
            const interruption = yield* Effect.fork(Fiber.interruptAll(waiting))
            yield* settle
            assert.strictEqual((yield* Fiber.poll(waiting[0]!))._tag, "None", "the launch waits for its turn")
            options.gate.open()
            yield* Fiber.await(interruption)
            yield* Fiber.await(running)
            assert.strictEqual((yield* refused(device.free(address))).statusName, "DoubleFree", "the free took effect")
          })
      )

      onEffects("is what a free does for memory that a kernel uses", (device) =>
        Effect.gen(function*() {
          const address = yield* device.malloc(64)
          options.gate.close()
          yield* Effect.addFinalizer(() => Effect.sync(options.gate.open))
          const gate = yield* device.load("test_gate")
          const args = launchTable([{ byteCount: 64, address }], { offThread: true })
          const running = yield* Effect.fork(device.launch(gate, args))
          yield* Effect.repeat(nextTurn, { until: () => options.gate.waiting() === 1 })
          const freeing = yield* Effect.fork(device.free(address))
          yield* settle
          assert.strictEqual((yield* Fiber.poll(freeing))._tag, "None")
          options.gate.open()
          assert.isTrue(Exit.isSuccess(yield* Fiber.await(running)))
          assert.isTrue(Exit.isSuccess(yield* Fiber.await(freeing)))
        }))
    })

    describe("many calls at once", () => {
      onEffects("are all made, however many there are", (device) =>
        Effect.gen(function*() {
          const { api } = device
          const count = 400
          const all = { concurrency: "unbounded" } as const
          const indexes = Array.from({ length: count }, (_, index) => index)
          const addresses = yield* Effect.forEach(indexes, () => device.malloc(65_536), all)
          assert.strictEqual(new Set(addresses).size, count)
          const write = yield* device.load("test_write_first")
          yield* Effect.forEach(addresses, (address, index) =>
            device.launch(
              write,
              launchTable([{ kind: 2, byteCount: 65_536, address }, scalar(4), scalar(index % 256)], {
                offThread: true
              })
            ), all)
          const shared = new Uint8Array(new SharedArrayBuffer(count * 4))
          yield* Effect.forEach(addresses, (address, index) =>
            device.submit(
              "out",
              table(api, [copyOut(shared.subarray(index * 4, index * 4 + 4), address)], { offThread: true })
            ), all)
          assert.deepStrictEqual(Array.from(shared), indexes.flatMap((index) => Array<number>(4).fill(index % 256)))
          yield* Effect.forEach(addresses, (address) => device.free(address), all)
          const again = yield* Effect.forEach(addresses, (address) => refused(device.free(address)), all)
          assert.isTrue(again.every(({ statusName }) => statusName === "DoubleFree"))
        }))

      onEffects("keep what they touch alive while nobody else does", (device) =>
        Effect.gen(function*() {
          const { api } = device
          const source = yield* device.malloc(64 * 256)
          const target = yield* device.malloc(64 * 256)
          yield* device.submit("in", table(api, [fill(target, 0, 64 * 256)]))
          const copy = yield* device.load("test_copy")
          const running = yield* busy(device)
          // A backend may answer submits on worker threads, which wait for no kernel: none of those is to be free.
          const occupied = yield* occupyWorkers
          const held: Array<WeakRef<SharedArrayBuffer>> = []
          // Everything that a job touches is made in here, and nobody outside refers to it.
          const job = (index: number): Effect.Effect<void, HostApi.HostApiError> => {
            const bytes = new Uint8Array(new SharedArrayBuffer(256))
            bytes.set(pattern(256, index))
            held.push(new WeakRef(bytes.buffer))
            const offset = index * 256
            return device.submit("compute", table(api, [copyIn(source + offset, bytes)], { offThread: true }))
          }
          const launch = (index: number): Effect.Effect<void, HostApi.HostApiError> =>
            device.launch(
              copy,
              launchTable([
                { byteCount: 256, address: source + index * 256 },
                { kind: 2, byteCount: 256, address: target + index * 256 }
              ], { offThread: true })
            )
          const indexes = Array.from({ length: 64 }, (_, index) => index)
          const submits = yield* Effect.forEach(indexes, (index) => Effect.fork(job(index)))
          yield* churn
          assert.isTrue(held.every((buffer) => buffer.deref() !== undefined), "no buffer is collected in flight")
          options.gate.open()
          yield* Fiber.await(running)
          yield* Fiber.await(occupied)
          yield* Effect.forEach(submits, (fiber) => Fiber.join(fiber))
          yield* Effect.forEach(indexes, (index) => device.read(source + index * 256, 256)).pipe(
            Effect.map((read) => assert.deepStrictEqual(read, indexes.map((index) => pattern(256, index))))
          )
          const blocked = yield* busy(device)
          const launches = yield* Effect.forEach(indexes, (index) => Effect.fork(launch(index)))
          yield* churn
          options.gate.open()
          yield* Fiber.await(blocked)
          yield* Effect.forEach(launches, (fiber) => Fiber.join(fiber))
          assertSameBytes(yield* device.read(target, 64 * 256), yield* device.read(source, 64 * 256))
        }))
    })

    if (options.immediate) {
      it.scoped("both forms answer alike, byte for byte and failure for failure", () =>
        Effect.gen(function*() {
          const accounts: Array<ReadonlyArray<string>> = []
          for (const form of ["effects", "immediate"] as const) {
            const device = yield* open(form)
            const account: Array<string> = []
            const note = <A>(effect: Effect.Effect<A, HostApi.HostApiError>): Effect.Effect<void> =>
              Effect.map(outcome(effect), (text) => void account.push(text))
            const memory = yield* makeMemory(device)
            for (const [, , entry] of badEntries(memory)) {
              yield* note(device.submit("in", table(device.api, [entry])))
            }
            const copy = yield* device.load("test_copy")
            for (const [, , argument] of badArguments(memory)) {
              yield* note(device.launch(copy, launchTable([argument])))
            }
            for (const address of [memory.live, memory.live, memory.freed, memory.freed + 1, foreignAddress, 0]) {
              yield* note(device.free(address))
            }
            for (const byteCount of [0, 1, Number.MAX_SAFE_INTEGER]) {
              yield* note(device.malloc(byteCount, 64))
            }
            yield* note(device.launch(yield* device.load("test_fail"), launchTable([])))
            account.push((yield* device.read(memory.other, 256)).join())
            yield* note(device.launch(yield* device.load("test_lose_device"), launchTable([])))
            yield* note(device.malloc(64))
            accounts.push(account)
          }
          assert.deepStrictEqual(accounts[0], accounts[1])
          assert.isAbove(accounts[0]!.length, 60)
        }))
    }
  })
}
