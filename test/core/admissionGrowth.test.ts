import { assert, describe, it } from "@effect/vitest"
import { chunksOf, demand, Scene } from "./admissionScene.ts"

describe("a buffer that grows", () => {
  it("grows for the head when nobody is active, and admits it once it has grown", () => {
    const scene = new Scene(2, [100], { growthMaxBytes: 400 })
    assert.strictEqual(scene.admission.admit(scene.root, demand(200), undefined), undefined)
    const head = scene.wait("head", 200)
    assert.deepStrictEqual([head.state, head.growToBytes], ["growing", 200])
    scene.admission.install(chunksOf([200]), 400)
    assert.deepStrictEqual(scene.told, ["head"])
    scene.admission.endGrowth(head, true)
    assert.deepStrictEqual(scene.told, ["head", "head"])
    assert.strictEqual(head.state, "admitted")
    scene.end()
  })

  it("makes its first chunk when the first run comes", () => {
    const scene = new Scene(1, [], { growthMaxBytes: 400 })
    const head = scene.wait("head", 1)
    assert.deepStrictEqual([head.state, head.growToBytes], ["growing", 1])
  })

  it("admits nobody while it grows", () => {
    const scene = new Scene(4, [100], { growthMaxBytes: 400 })
    const other = scene.open("other", 100)
    const head = scene.wait("head", 200)
    scene.wait("small", 1)
    scene.wait("other", 1, { account: other })
    assert.strictEqual(scene.admission.admit(other, demand(1), undefined), undefined)
    assert.deepStrictEqual(scene.states(), { head: "growing", small: "waiting", other: "waiting" })
    scene.admission.install(chunksOf([202]), 400)
    scene.admission.endGrowth(head, true)
    assert.deepStrictEqual(scene.told, ["head", "head", "small", "other"])
    scene.end()
  })

  for (const hasGrown of [true, false]) {
    it(`refuses the one it ${hasGrown ? "has grown" : "could not grow"} for if its account was closed meanwhile`, () => {
      const scene = new Scene(2, [100], { growthMaxBytes: 400 })
      const account = scene.open("account", 400, 20)
      const head = scene.wait("head", 300, { account })
      assert.strictEqual(head.state, "growing")
      const next = scene.wait("next", 10)
      scene.admission.close(account)
      assert.isTrue(scene.admission.accounts.has(account), "it is still waited for")
      if (hasGrown) {
        scene.admission.install(chunksOf([320]), 400)
      }
      scene.admission.endGrowth(head, hasGrown)
      assert.strictEqual(head.state, "refused")
      assert.isFalse(scene.admission.accounts.has(account))
      assert.strictEqual(next.state, "admitted")
      scene.end()
      assert.strictEqual(scene.admission.space.inUseBytes, 0)
    })
  }

  it("measures the one it has grown for when it has grown, and nobody before", () => {
    const scene = new Scene(2, [], { growthMaxBytes: 400 })
    const measured: Array<string> = []
    const measure = () => {
      measured.push("head")
      return demand(150)
    }
    const head = scene.wait("head", 200, { measure })
    scene.admission.pause()
    scene.admission.install(chunksOf([200]), 400)
    scene.admission.resume({ measureAgain: true })
    assert.deepStrictEqual(measured, [])
    scene.admission.endGrowth(head, true)
    assert.deepStrictEqual(measured, ["head"])
    assert.strictEqual(head.slot?.byteCount, 150)
    scene.end()
  })

  it("refuses the one it has grown for where its run cannot be laid out any more", () => {
    const scene = new Scene(2, [], { growthMaxBytes: 400 })
    const head = scene.wait("head", 200, { measure: () => undefined })
    const next = scene.wait("next", 10)
    scene.admission.install(chunksOf([200]), 400)
    scene.admission.endGrowth(head, true)
    assert.deepStrictEqual([head.state, next.state], ["refused", "admitted"])
    assert.strictEqual(scene.admission.waitingBytes, 0)
    scene.end()
  })

  it("does not grow for those who wait for a slot", () => {
    const scene = new Scene(2, [100], { growthMaxBytes: 400 })
    const [first, second] = [scene.run(40), scene.run(40)]
    const [third, fourth] = [scene.wait("third", 50), scene.wait("fourth", 60)]
    scene.release(first)
    assert.strictEqual(third.state, "waiting", "there is no memory beside the second")
    scene.release(second)
    assert.deepStrictEqual([third.state, fourth.state], ["admitted", "waiting"])
    scene.end()
  })

  it("holds later runs off reserved memory too until it has grown for the head", () => {
    const scene = new Scene(3, [100], { growthMaxBytes: 400 })
    const tenant = scene.open("tenant", 400, 40)
    const active = scene.run(10, tenant)
    const head = scene.wait("head", 200)
    const next = scene.wait("next", 10, { account: tenant })
    assert.deepStrictEqual([head.state, next.state], ["waiting", "waiting"])
    scene.release(active)
    assert.strictEqual(head.state, "growing")
  })

  it("waits for active runs to end, and holds later runs off meanwhile", () => {
    const scene = new Scene(4, [100], { growthMaxBytes: 400 })
    const active = scene.run(10)
    const head = scene.wait("head", 200)
    scene.wait("small", 1)
    assert.deepStrictEqual(scene.states(), { head: "waiting", small: "waiting" })
    scene.release(active)
    assert.strictEqual(head.state, "growing")
    assert.strictEqual(head.growToBytes, 211, "to what was wanted at once")
  })

  it("grows to what runs wanted at once, though the head would fit", () => {
    const scene = new Scene(4, [100], { growthMaxBytes: 400 })
    const active = scene.run(80)
    const head = scene.wait("head", 50)
    scene.wait("next", 60)
    scene.release(active)
    assert.deepStrictEqual([head.state, head.growToBytes], ["growing", 190])
  })

  it("never grows above its limit", () => {
    const scene = new Scene(4, [100], { growthMaxBytes: 150 })
    const active = scene.run(80)
    const head = scene.wait("head", 120)
    scene.wait("next", 120)
    scene.release(active)
    assert.strictEqual(head.growToBytes, 150)
    // Somebody asks for more than there can be, though told that it does not fit: that is no reason to grow.
    const tooLarge = new Scene(1, [100], { growthMaxBytes: 150 })
    assert.deepInclude(tooLarge.wait("too large", 200), { state: "waiting", growToBytes: 0 })
  })

  it("refuses the head, and tells it once, where it could not grow and the head needs more than there is", () => {
    const scene = new Scene(2, [100], { growthMaxBytes: 400 })
    const head = scene.wait("head", 200)
    scene.wait("small", 100)
    scene.admission.endGrowth(head, false)
    assert.deepStrictEqual(scene.states(), { head: "refused", small: "admitted" })
    assert.deepStrictEqual(scene.told, ["head", "head", "small"])
    assert.strictEqual(scene.admission.waitingCount, 0)
    scene.end()
  })

  it("makes do with what there is where it could not grow to what was wanted at once", () => {
    const scene = new Scene(4, [100], { growthMaxBytes: 400 })
    const active = scene.run(80)
    const head = scene.wait("head", 50)
    scene.wait("next", 60)
    scene.release(active)
    scene.admission.endGrowth(head, false)
    assert.deepStrictEqual(scene.states(), { head: "admitted", next: "waiting" })
    scene.end()
    assert.deepStrictEqual(scene.told, ["head", "head", "next"])
  })

  it("has the next head grow it where the old chunk was lost as well", () => {
    const scene = new Scene(2, [100], { growthMaxBytes: 400 })
    const head = scene.wait("head", 200)
    const next = scene.wait("next", 30)
    scene.admission.install(chunksOf([]), 400)
    scene.admission.endGrowth(head, false)
    assert.strictEqual(head.state, "refused")
    assert.deepStrictEqual([next.state, next.growToBytes], ["growing", 30])
  })

  it("goes on growing through a pause, and admits after it", () => {
    const scene = new Scene(1, [100], { growthMaxBytes: 400 })
    const head = scene.wait("head", 200)
    scene.admission.pause()
    scene.admission.install(chunksOf([200]), 400)
    scene.admission.endGrowth(head, true)
    assert.strictEqual(head.state, "waiting")
    scene.admission.resume({ measureAgain: false })
    assert.strictEqual(head.state, "admitted")
    scene.end()
  })

  it("leaves room for what is reserved, at boundaries", () => {
    const scene = new Scene(2, [96], { alignmentBytes: 16, growthMaxBytes: 1000 })
    const account = scene.open("account", 1000, 40)
    const head = scene.wait("head", 60)
    assert.deepStrictEqual([head.state, head.growToBytes], ["growing", 64 + 48])
    scene.admission.install(chunksOf([112], 16), 1000)
    scene.admission.endGrowth(head, true)
    assert.strictEqual(head.state, "admitted")
    scene.run(40, account)
    scene.end()
  })

  it("does not grow for a run that fits into its account's reservation", () => {
    const scene = new Scene(2, [50], { growthMaxBytes: 1000 })
    const account = scene.open("account", 1000, 50)
    assert.strictEqual(scene.wait("own", 50, { account }).state, "admitted")
    scene.end()
  })

  it("is asked to grow by its head only", () => {
    const scene = new Scene(1, [100], { growthMaxBytes: 400 })
    const head = scene.wait("head", 200)
    const next = scene.wait("next", 200)
    assert.throws(() => scene.admission.endGrowth(next, true), /who was asked to/)
    assert.strictEqual(head.state, "growing")
  })
})
