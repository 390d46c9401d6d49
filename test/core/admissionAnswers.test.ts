import { assert, describe, it } from "@effect/vitest"
import { demand, Scene } from "./admissionScene.ts"

describe("what an admission is asked", () => {
  it("names what is in a run's way", () => {
    const scene = new Scene(3, [100])
    const account = scene.open("account", 30)
    const low = scene.run(40)
    scene.run(30, account)
    scene.release(low)
    assert.strictEqual(scene.admission.obstacle(account, demand(1)), "quota")
    assert.strictEqual(scene.admission.obstacle(scene.root, demand(71)), "exhausted")
    assert.strictEqual(scene.admission.obstacle(scene.root, demand(50)), "fragmented")
    scene.run(1)
    scene.run(1)
    assert.strictEqual(scene.admission.obstacle(scene.root, demand(1)), "slots")
    scene.end()
  })

  it("says whether a run would fit if it were alone", () => {
    const scene = new Scene(2, [100, 50])
    const account = scene.open("account", 45, 30)
    scene.run(20)
    const prospect = (byteCount: number, of = scene.root): string => scene.admission.prospect(of, demand(byteCount))
    assert.deepStrictEqual([prospect(100), prospect(101)], ["fits", "reserved"])
    assert.deepStrictEqual([prospect(45, account), prospect(46, account)], ["fits", "quota"])
    assert.strictEqual(scene.admission.prospect(scene.root, demand(90, 20)), "fits")
    assert.strictEqual(scene.admission.prospect(scene.root, demand(90, 21)), "reserved")
  })

  it("counts on all that the buffer can grow to, less what is reserved", () => {
    const scene = new Scene(2, [50], { growthMaxBytes: 100 })
    const prospect = (byteCount: number, of = scene.root): string => scene.admission.prospect(of, demand(byteCount))
    assert.deepStrictEqual([prospect(100), prospect(101)], ["fits", "reserved"])
    const account = scene.open("account", 200, 30)
    assert.deepStrictEqual([prospect(70), prospect(71), prospect(71, account)], ["fits", "reserved", "reserved"])
  })
})

describe("a run that waits for itself", () => {
  it("is one whose holder has every slot, or the bytes that it needs, or its quota", () => {
    const holder = {}
    const slots = new Scene(1, [100])
    slots.run(1, slots.root, holder)
    assert.isTrue(slots.admission.waitsForItself(slots.wait("a", 1, { holder })))
    const bytes = new Scene(3, [100])
    bytes.run(50, bytes.root, holder)
    assert.isTrue(bytes.admission.waitsForItself(bytes.wait("a", 51, { holder })))
    const quota = new Scene(3, [100])
    const account = quota.open("account", 50)
    quota.run(50, account, holder)
    assert.isTrue(quota.admission.waitsForItself(quota.wait("a", 1, { account, holder })))
  })

  it("is one that stands behind a run for which its holder leaves no room", () => {
    const holder = {}
    const scene = new Scene(3, [100])
    scene.run(50, scene.root, holder)
    scene.wait("large", 60)
    assert.isTrue(scene.admission.waitsForItself(scene.wait("small", 1, { holder })))
  })

  it("is none that has been admitted or has gone", () => {
    const holder = {}
    const scene = new Scene(2, [100])
    scene.run(50, scene.root, holder)
    const admitted = scene.wait("admitted", 10, { holder })
    assert.isFalse(scene.admission.waitsForItself(admitted))
    const gone = scene.wait("gone", 60, { holder })
    assert.isTrue(scene.admission.waitsForItself(gone))
    scene.admission.withdraw(gone)
    assert.isFalse(scene.admission.waitsForItself(gone))
  })

  it("is none that others keep waiting, and none whose holder has nothing", () => {
    const holder = {}
    const scene = new Scene(2, [100])
    scene.run(10, scene.root, holder)
    scene.run(90)
    assert.isFalse(scene.admission.waitsForItself(scene.wait("a", 90, { holder })))
    assert.isFalse(scene.admission.waitsForItself(scene.wait("b", 100, { holder: {} })))
    assert.isFalse(scene.admission.waitsForItself(scene.wait("c", 100)))
  })

  it("is none that somebody else's quota does not hold off, though its holder takes all of that", () => {
    const holder = {}
    const scene = new Scene(2, [100])
    const account = scene.open("account", 50)
    scene.run(50, account, holder)
    scene.run(1)
    scene.wait("over quota", 1, { account })
    assert.isFalse(scene.admission.waitsForItself(scene.wait("a", 1, { holder })))
  })

  it("is none that has room in its account's own reservation", () => {
    const holder = {}
    const scene = new Scene(2, [100])
    const account = scene.open("account", 100, 20)
    scene.run(70, scene.root, holder)
    const active = scene.run(20, account)
    scene.wait("large", 80)
    assert.isFalse(scene.admission.waitsForItself(scene.wait("own", 20, { account, holder })))
    scene.release(active)
    assert.strictEqual(scene.states()["own"], "admitted")
  })
})
