/**
 * The account of memory while fibers release and allocate at once. The backend may give an address to the next who asks as
 * soon as it has freed it, before the one who freed it has heard so: the account then struck out the new allocation, and
 * took its release for a second one.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { HostApi, Simulator } from "leasehold"
import { Interleavings } from "leasehold/testing"

const allocateAndFree = (name: string) =>
  Effect.flatMap(HostApi.HostApi, (api) => {
    const origin: HostApi.Origin = { purpose: "resident", runId: 0, names: [name] }
    return Effect.flatMap(api.malloc(64, 64, origin), (address) => Effect.as(api.free(address, origin), address))
  })

it.effect("a release was counted as a second one where its address was somebody's already", () =>
  Effect.gen(function*() {
    let sharedCount = 0
    const report = yield* Interleavings.assertClean(
      Interleavings.together({ left: allocateAndFree("left"), right: allocateAndFree("right") }),
      {
        name: "the account",
        backend: Simulator.layer({ totalBytes: "1 MiB", longCalls: "inline" }),
        layer: Layer.empty,
        forms: ["effects"],
        strategies: ["exhaustive"],
        preemptions: 1,
        accepts: (exit) => {
          sharedCount += exit._tag === "Success" && exit.value.left === exit.value.right ? 1 : 0
          return exit._tag === "Success"
        }
      }
    )
    assert.isTrue(report.isExhausted)
    assert.isAbove(sharedCount, 0, "an address goes to one after the other")
  }))
