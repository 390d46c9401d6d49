/** What a sweep says about a failure: it names what leaked and from which line, what was disturbed, and how to see it again. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { DeviceRunner, Simulator } from "leasehold"
import { FaultSweep } from "leasehold/testing"

/** A tensor in a scope of its own, which is closed only when everything went well. */
const leaking = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const scope = yield* Scope.make()
  const resident = yield* Scope.extend(runner.allocate("float32", [4]), scope)
  yield* resident.upload(Float32Array.of(1, 2, 3, 4))
  const back = new Float32Array(4)
  yield* resident.download(back)
  yield* back[3] === 4 ? Effect.void : Effect.fail("the upload has not arrived")
  yield* Scope.close(scope, Exit.void)
})

const options = {
  backend: Simulator.layer({ longCalls: "inline" }),
  layer: DeviceRunner.layer({ temporaryBuffer: { maxBytes: "4 KiB" } }),
  name: "leaking"
} as const

/** The pages of one case. The upload is operation 4: before it are chunk and resident, and the clearing of both. */
const pageOf = (only: string) => Effect.map(FaultSweep.run(leaking, { ...options, only }), FaultSweep.render)

describe("the page of a failure", () => {
  it.effect("names the tensor, the line that allocated it, the operation that failed, and the way to replay it", () =>
    Effect.gen(function*() {
      const only = "effects operation=4,submit,error,after,once"
      const lines = (yield* pageOf(only)).split("\n")
      assert.strictEqual(lines[0], "leaking: 8 operations, 1 fault, 0 interruptions: Leaked 1 time")
      assert.match(
        lines[2]!,
        /^Leaked: .* 16 B of device memory for resident "float32 \[4\]", from test\/testing\/pages.test.ts:11:\d+$/
      )
      assert.include(lines, "  program:    leaking, seed 1")
      assert.match(
        lines[4]!,
        /^ {2}case: {7}operation 4 at step \d+ of \d+, submit for upload \(resident\), fails after it had taken effect, once$/
      )
      assert.include(lines, "  in the end: 0 B of device memory and 0 B of host memory are held")
      assert.include(lines, `  replay:     FaultSweep.assertClean(program, { ...options, only: "${only}" })`)
      assert.isFalse(lines.some((line) => line.includes("left open")), "the first sentence has said it")
    }))

  const fates = {
    "outOfMemory,before,once": "fails for want of memory before it had any effect, once",
    "error,before,always": "fails before it had any effect, and so does every later one",
    "defect,after,everyOther": "throws after it had taken effect, and so does every other one after it",
    "lie,before,once": "says that it succeeded and has done nothing, once",
    "lie,after,once": "says that it succeeded and has done half of its work, once"
  }
  for (const [fault, words] of Object.entries(fates)) {
    it.effect(`says of ${fault} that the operation ${words}`, () =>
      Effect.gen(function*() {
        assert.include(yield* pageOf(`effects operation=4,submit,${fault}`), `submit for upload (resident), ${words}\n`)
      }))
  }

  it.effect("says after which operation a program was interrupted", () =>
    Effect.gen(function*() {
      const report = yield* FaultSweep.run(leaking, {
        ...options,
        forms: ["effects"],
        faults: [],
        interruptions: ["runner"]
      })
      assert.match(
        FaultSweep.render(report),
        / {2}case: {7}the program is interrupted at step \d+ of \d+, after submit for clear \(chunk\)\n/
      )
      assert.match(FaultSweep.summary(report), /, [\d,]+ interruptions: Leaked [\d,]+ times$/)
    }))
})
