/** The benchmark itself: that it measures what it says, and counts what can be counted. Times mean nothing here. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { bench } from "./bench.ts"
import { allSizes, nameOf } from "./cases.ts"
import { measureHeap } from "./heap.ts"
import { orderOf } from "./measure.ts"
import { parse } from "./options.ts"
import { type Case, type ContenderName, contenderNames, type Report, unitNames } from "./report.ts"
import { sizeTable, summary } from "./table.ts"

const caseOf = (report: Report, contender: ContenderName): Case =>
  report.cases.find((one) => one.contender === contender)!

/** Calls and device mallocs of one run over so many tensors, half of them outputs. */
const counts = (tensors: number): Readonly<Record<ContenderName, readonly [calls: number, mallocs: number]>> => {
  const byHand = [3 * tensors, tensors] as const
  return {
    core: [2, 0],
    core_clear_all: [2, 0],
    run: [3, 0],
    run_clear_all: [3, 0],
    run_awaited: [3, 0],
    bind: [3, 0],
    c_retained: [0, 0],
    c_malloc: [0, tensors],
    effect_per_tensor: byHand,
    effect_bracket: byHand,
    plain_per_tensor: byHand,
    zero_budget: [3 + 2 * tensors, tensors]
  }
}

it.live("measures every contender of a size, and counts its calls and mallocs whatever the tensor count", () =>
  Effect.gen(function*() {
    for (const tensors of [8, 64]) {
      const only = `${tensors} x 64 B`
      const shown: Array<string> = []
      const report = yield* bench({ json: true, quick: true, only }, {
        progress: () => {},
        measured: (cases) => shown.push(sizeTable(cases))
      })
      assert.deepStrictEqual(report.cases.map(({ contender }) => contender), [...contenderNames])
      const counted = contenderNames.map((name) => {
        const { deviceMallocsPerRun, nativeCallsPerRun } = caseOf(report, name)
        return [name, [nativeCallsPerRun, deviceMallocsPerRun]]
      })
      assert.deepStrictEqual(Object.fromEntries(counted), counts(tensors))
      for (const one of report.cases) {
        assert.strictEqual(one.count, tensors)
        assert.strictEqual(one.bytesMovedPerRun, tensors * 64)
        assert.isAbove(one.p10, 0)
        assert.isAtMost(one.p10, one.nanosPerRun)
        assert.isAtMost(one.nanosPerRun, one.p90)
        assert.isAtLeast(one.heapBytesPerRun, 0)
        assert.include(shown[0], one.contender)
      }
      assert.strictEqual(caseOf(report, "c_retained").ratioToCRetained, 1)
      assert.deepStrictEqual(Object.keys(report.units), [...unitNames])
      assert.deepStrictEqual(report.extra, { bus: null, slots: null, eventLoop: null, qwen3: null })
      assert.deepStrictEqual(report.leftOut, [`bus, slots, eventLoop and qwen3: only "${only}" was asked for`])
      assert.deepStrictEqual(JSON.parse(JSON.stringify(report)), report)
    }
  }))

it.live("measures the bus in transfers and virtual time, the event loop, and the targets of what was measured", () =>
  Effect.gen(function*() {
    const report = yield* bench({ json: true, quick: true, only: undefined }, {
      progress: () => {},
      measured: () => {}
    })
    const { bus, eventLoop, qwen3, slots } = report.extra
    assert.isNotNull(slots)
    // The schedule alone: with one slot copy in, kernel and copy out one after the other; with two the kernels back to back.
    assert.closeTo(slots.virtual.oneSlot, 1e6 / (4 * slots.copyMicros), 1)
    assert.isAtLeast(slots.virtual.timesFaster, 1.5)
    assert.deepStrictEqual(bus, {
      tensors: 20,
      byteCount: 4096,
      nanosPerTransfer: 5000,
      apart: { transfersPerRun: 20, virtualNanosPerRun: 100_000 },
      coalesced: { transfersPerRun: 1, virtualNanosPerRun: 5000 },
      timesFaster: 20
    })
    // A kernel that blocks the loop cannot be missed: it is one delay at least as long as itself.
    assert.isAtLeast(eventLoop!.inline.maxMillis, eventLoop!.kernelMillis)
    assert.strictEqual(qwen3 === null, report.leftOut.some((reason) => reason.startsWith("qwen3: ")))
    const names = report.targets.map(({ name }) => name)
    assert.strictEqual(new Set(names).size, names.length)
    const mallocs = report.targets.find(({ name }) => name.includes("device mallocs"))
    assert.deepStrictEqual({ ...mallocs, name: "" }, { name: "", value: 0, limit: 0, holds: true })
    const text = summary(report)
    for (const { name } of report.targets) {
      assert.include(text, name)
    }
    assert.isTrue(text.split("\n").every((line) => line.length <= 120 || line.startsWith("cpu: ")), text)
  }))

it("knows what runs allocate on the heap, across collections too", async () => {
  const kept: Array<ReadonlyArray<number>> = []
  const pointers = 512
  const noughts = Array.from({ length: pointers }, () => 0)
  // 40 MB in 10,000 runs, which the young generation cannot hold.
  const allocating = (runs: number): void => {
    for (let run = 0; run < runs; run++) {
      kept[0] = noughts.slice()
    }
  }
  const nothing = await measureHeap(() => {}, 4000)
  const some = await measureHeap(allocating, 4000)
  assert.isAtMost(nothing.heapBytesPerRun, 1)
  assert.strictEqual(nothing.minorCollectionsPer1000Runs, 0)
  assert.isAbove(some.minorCollectionsPer1000Runs, 0)
  assert.isAtLeast(some.heapBytesPerRun, 8 * pointers)
  assert.isAtMost(some.heapBytesPerRun, 9 * pointers)
})

it("lets everybody take one turn a round, and follow everybody else sooner or later", () => {
  const count = 12
  const followed = new Set<string>()
  for (let round = 0; round < 200; round++) {
    const order = orderOf(round, count)
    assert.deepStrictEqual(order.toSorted((left, right) => left - right), Array.from({ length: count }, (_, at) => at))
    order.slice(1).forEach((index, turn) => followed.add(`${order[turn]} ${index}`))
  }
  assert.strictEqual(followed.size, count * (count - 1))
})

it("reads its command line, and says what is wrong with it", () => {
  const sizes = allSizes.map(nameOf)
  assert.deepStrictEqual(parse([], sizes), { json: false, quick: false, only: undefined })
  assert.deepStrictEqual(parse(["--json", "--quick", "--only", "20 x 64 B"], sizes), {
    json: true,
    quick: true,
    only: "20 x 64 B"
  })
  for (const wrong of [["--fast"], ["20"], ["--only"], ["--only", "21 x 64 B"]]) {
    assert.isString(parse(wrong, sizes), wrong.join(" "))
  }
})
