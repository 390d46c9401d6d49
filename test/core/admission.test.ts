import { assert, describe, it } from "@effect/vitest"
import { Admission } from "../../src/internal/core/admission.ts"
import { demand, Scene } from "./admissionScene.ts"

describe("the order of admission", () => {
  it("admits at once into the lowest slot, as long as there is one", () => {
    const scene = new Scene(2, [100])
    const first = scene.run(10)
    const second = scene.run(10)
    assert.deepStrictEqual([first.index, second.index], [0, 1])
    assert.strictEqual(scene.admission.admit(scene.root, demand(10), undefined), undefined)
    scene.release(first)
    assert.strictEqual(scene.run(10).index, 0)
    scene.release(first, second)
    assert.strictEqual(scene.run(10).index, 0, "whoever ended last")
    scene.end()
  })

  it("admits those who wait by arrival, and tells each once", () => {
    const scene = new Scene(1, [100])
    const active = scene.run(10)
    scene.wait("a", 10)
    scene.wait("b", 10)
    scene.wait("c", 10)
    assert.deepStrictEqual([scene.admission.waitingCount, scene.admission.waitingBytes], [3, 30])
    scene.release(active)
    assert.deepStrictEqual(scene.told, ["a"])
    scene.end()
    assert.deepStrictEqual(scene.told, ["a", "b", "c"])
  })

  it("lets nobody who has just come pass those who wait", () => {
    const scene = new Scene(2, [100])
    const active = scene.run(60)
    scene.wait("large", 50)
    assert.strictEqual(scene.admission.admit(scene.root, demand(1), undefined), undefined)
    scene.wait("small", 1)
    assert.deepStrictEqual(scene.states(), { large: "waiting", small: "waiting" })
    scene.release(active)
    assert.deepStrictEqual(scene.told, ["large", "small"])
    scene.end()
  })

  it("admits several at once when a large run ends, in the order of their arrival", () => {
    const scene = new Scene(3, [100])
    const active = scene.run(100)
    scene.wait("a", 40)
    scene.wait("b", 40)
    scene.wait("c", 40)
    scene.release(active)
    assert.deepStrictEqual(scene.told, ["a", "b"])
    assert.deepStrictEqual([scene.tickets.get("a")?.slot?.index, scene.tickets.get("b")?.slot?.index], [0, 1])
    scene.end()
  })

  it("looks at the earliest of all heads first, whatever the order of the accounts", () => {
    const scene = new Scene(1, [100])
    const [one, two] = [scene.open("one", 100), scene.open("two", 100)]
    const active = scene.run(10)
    scene.wait("second account", 10, { account: two })
    scene.wait("first account", 10, { account: one })
    scene.wait("root", 10)
    scene.release(active)
    scene.end()
    assert.deepStrictEqual(scene.told, ["second account", "first account", "root"])
  })

  it("holds later runs off the shared memory that a head waits for, in every account", () => {
    const scene = new Scene(4, [100])
    const other = scene.open("other", 100)
    const active = scene.run(60)
    scene.wait("large", 50)
    scene.wait("small", 1, { account: other })
    assert.deepStrictEqual(scene.states(), { large: "waiting", small: "waiting" })
    scene.release(active)
    assert.deepStrictEqual(scene.told, ["large", "small"])
    scene.end()
  })

  it("does not hold later runs off reservations of their own", () => {
    const scene = new Scene(4, [100])
    const reserving = scene.open("reserving", 100, 20)
    scene.run(60)
    scene.wait("large", 50)
    scene.wait("reserved", 20, { account: reserving })
    assert.deepStrictEqual(scene.states(), { large: "waiting", reserved: "admitted" })
    scene.wait("beyond", 10, { account: reserving })
    assert.strictEqual(scene.states()["beyond"], "waiting", "beyond its reservation it shares with all")
    scene.end()
  })

  it("lets a head that waits only for its account's quota hold off nobody but its own account", () => {
    const scene = new Scene(4, [100])
    const small = scene.open("small", 30)
    scene.run(30, small)
    scene.wait("over quota", 1, { account: small })
    scene.wait("behind it", 0, { account: small })
    scene.wait("root", 50)
    assert.deepStrictEqual(scene.states(), { "over quota": "waiting", "behind it": "waiting", root: "admitted" })
    scene.end()
    assert.deepStrictEqual(scene.told, ["root", "over quota", "behind it"])
  })

  it("lets a head that is too large for what is shared wait for its reservation alone", () => {
    const scene = new Scene(4, [100])
    const reserving = scene.open("reserving", 200, 60)
    scene.run(50, reserving)
    scene.wait("own", 50, { account: reserving })
    scene.wait("shared", 40)
    assert.deepStrictEqual(scene.states(), { own: "waiting", shared: "admitted" })
    scene.end()
  })

  it("holds nobody off who needs no bytes", () => {
    const scene = new Scene(4, [100])
    const other = scene.open("other", 100)
    scene.run(60)
    scene.wait("large", 50)
    scene.wait("empty", 0, { account: other })
    assert.deepStrictEqual(scene.states(), { large: "waiting", empty: "admitted" })
    scene.end()
  })

  it("counts what is malloc'd against slots and quotas where there are no chunks", () => {
    const scene = new Scene(2, [])
    const small = scene.open("small", 30)
    const malloc = { rangeBytes: new Float64Array(0), totalBytes: 20 }
    scene.wait("first", malloc, { account: small })
    scene.wait("over quota", malloc, { account: small })
    scene.wait("root", malloc)
    assert.deepStrictEqual(scene.states(), { first: "admitted", "over quota": "waiting", root: "admitted" })
    assert.strictEqual(small.inUseBytes, 20)
    scene.end()
    assert.strictEqual(small.highWaterBytes, 20)
  })
})

describe("the ranges of active runs", () => {
  it("lie on the same addresses for the same shape where there is one slot", () => {
    const scene = new Scene(1, [200, 300], { alignmentBytes: 16 })
    const shape = demand(50, 0, 70)
    const places = (): unknown => {
      const slot = scene.admission.admit(scene.root, shape, undefined)
      const found = structuredClone(slot?.ranges.slice(0, 3))
      scene.release(slot)
      return found
    }
    const first = places()
    for (const byteCount of [1, 17, 200, 300, 33]) {
      scene.release(scene.run(byteCount))
      assert.deepStrictEqual(places(), first)
    }
    const account = scene.open("reserving", 100, 100)
    scene.release(scene.run(100, account))
    assert.deepStrictEqual(places(), first)
    scene.admission.close(account)
    assert.deepStrictEqual(places(), first)
  })

  it("are given back where only some of those that a run needs are free", () => {
    const scene = new Scene(2, [100, 100])
    const active = scene.run(80)
    scene.wait("both", demand(90, 90))
    assert.deepStrictEqual(scene.states(), { both: "waiting" })
    assert.strictEqual(scene.admission.space.inUseBytes, 80)
    scene.release(active)
    assert.deepStrictEqual(scene.told, ["both"])
    scene.end()
  })

  it("lie in another chunk where the preferred one has no room", () => {
    const scene = new Scene(2, [100, 100])
    scene.run(80)
    const slot = scene.run(80)
    assert.strictEqual(slot.ranges[0]?.chunkIndex, 1)
    scene.end()
  })

  it("lie in reserved memory for its own account only", () => {
    const scene = new Scene(4, [100])
    const reserving = scene.open("reserving", 100, 40)
    const range = reserving.reservation?.range
    assert.deepStrictEqual(range, { chunkIndex: 0, startBytes: 60, byteCount: 40 })
    const shared = scene.run(60)
    assert.strictEqual(scene.admission.admit(scene.root, demand(1), undefined), undefined)
    const own = scene.run(40, reserving)
    assert.strictEqual(own.space, reserving.reservation?.space)
    assert.strictEqual(own.space?.address(own.ranges[0]!), 4096 + 60)
    scene.release(shared)
    const beyond = scene.run(30, reserving)
    assert.strictEqual(beyond.space, scene.admission.space, "what its reservation has no room for is shared")
    scene.end()
    assert.strictEqual(reserving.highWaterBytes, 70)
  })
})

/** Checks an admission that was changed behind its back. */
const tampered = (change: (scene: Scene) => void): () => void => {
  const scene = new Scene(2, [100])
  scene.run(60)
  scene.wait("a", 50)
  scene.wait("b", 50)
  change(scene)
  return () => scene.admission.checkInvariants()
}

describe("invariants", () => {
  it("are found broken when an admission was tampered with", () => {
    assert.doesNotThrow(tampered(() => undefined))
    assert.throws(tampered(({ admission }) => admission.slots[0]!.account = undefined), /taken or free/)
    assert.throws(tampered(({ root }) => root.activeCount = 2), /counts its runs/)
    assert.throws(tampered(({ root }) => root.inUseBytes = 61), /counts its bytes/)
    assert.throws(tampered(({ root }) => root.queue.push(root.queue.shift()!)), /stands by arrival/)
    assert.throws(tampered(({ root }) => root.queue[0]!.state = "refused"), /stands in a queue waits/)
    assert.throws(tampered(({ root }) => root.queue.pop()), /who waits is counted/)
  })

  it("include that a slot is given back once", () => {
    const admission = new Admission(1)
    assert.throws(() => admission.release(admission.slots[0]!), /given back was taken/)
  })
})
