/** Promise 5: slices are aligned in absolute address, lie inside one chunk and never overlap. */
import { assert, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { Arg, DeviceRunner, type Simulator } from "leasehold"
import { onEveryDevice, runnerOf } from "../utils/forms.ts"
import { native } from "../utils/kernels.ts"
import * as Probe from "../utils/probe.ts"

const roles = [Arg.input, Arg.inout, Arg.output, Arg.scratch] as const

interface Shape {
  readonly sizes: ReadonlyArray<readonly [role: number, bytes: number]>
  readonly alignmentBytes: number
}

const shapes: fc.Arbitrary<Shape> = fc.record({
  sizes: fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 0, max: 3000 })), { maxLength: 14 }),
  alignmentBytes: fc.constantFrom(1, 64, 256, 4096)
})

type Device = Simulator.Options & { readonly alignmentBytes: number; readonly tailBytes: number }

const devices: ReadonlyArray<Device> = [
  { alignmentBytes: 64, tailBytes: 0 },
  { alignmentBytes: 512, granularityBytes: 32, tailBytes: 32 },
  { alignmentBytes: 1, granularityBytes: 1, tailBytes: 7 }
]

/** Those of a GPU. */
const ownTraits: ReadonlyArray<Device> = [{ alignmentBytes: 256, tailBytes: 0 }]

onEveryDevice("promise 5: slices are aligned and apart", (form) => {
  for (const device of form.hasOwnTraits === true ? ownTraits : devices) {
    it.effect.prop(
      `for any sizes, on a device of ${JSON.stringify(device)}`,
      [shapes],
      ([{ alignmentBytes, sizes }]) =>
        Effect.scoped(
          Effect.gen(function*() {
            const runner = yield* DeviceRunner.DeviceRunner
            const probe = yield* Probe.Probe
            const signature = Object.fromEntries(
              sizes.map(([role, bytes], index): [string, Arg.Arg] => [`t${index}`, roles[role]!("uint8", [bytes])])
            )
            const args = Object.fromEntries(
              sizes.flatMap(([role, bytes], index) => role === 3 ? [] : [[`t${index}`, new Uint8Array(bytes)]])
            )
            yield* runner.configure({
              maxBytes: "256 KiB",
              alignmentBytes,
              chunks: { sizes: ["100 KiB", "64 KiB", 5001] }
            })
            for (const execution of ["inline", "awaited"] as const) {
              const callable = native("test_nothing", signature, { execution })
              const calls = yield* probe.during(runner.run(callable, args))
              const launch = calls.find((call) => call.operation === "launch")!
              check(Probe.launchedArguments(launch), probe.live, {
                alignmentBytes: Math.max(alignmentBytes, device.alignmentBytes),
                tailBytes: device.tailBytes
              })
            }
          }).pipe(Effect.provide(runnerOf(form, { maxInlineCopyBytes: "1 MiB" }, device)))
        ),
      { fastCheck: { numRuns: 12 } }
    )
  }
})

const check = (
  tensors: ReadonlyArray<{ readonly name: string; readonly address: number; readonly byteCount: number }>,
  chunks: ReadonlyMap<number, number>,
  rules: { readonly alignmentBytes: number; readonly tailBytes: number }
): void => {
  const placed = tensors.filter((tensor) => tensor.byteCount > 0)
  for (const tensor of placed) {
    assert.strictEqual(tensor.address % rules.alignmentBytes, 0, `${tensor.name} is aligned`)
    const end = tensor.address + tensor.byteCount + rules.tailBytes
    const inside = [...chunks].filter(([base, bytes]) => base <= tensor.address && end <= base + bytes)
    assert.strictEqual(inside.length, 1, `${tensor.name} lies inside one chunk, its tail included`)
    for (const other of placed) {
      const otherEnd = other.address + other.byteCount + rules.tailBytes
      assert.isTrue(
        other === tensor || otherEnd <= tensor.address || end <= other.address,
        `${tensor.name} and ${other.name} do not overlap`
      )
    }
  }
  for (const tensor of tensors) {
    assert.strictEqual(tensor.byteCount === 0, tensor.address === 0)
  }
}
