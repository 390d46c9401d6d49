/**
 * The event loop stays alive while a kernel is awaited. No clock judges: the kernel returns only when JavaScript has gone
 * on, and one that holds the loop up waits for itself until its own deadline fails the run.
 */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { DeviceRunner } from "leasehold"
import { onEveryForm, runnerOf } from "../utils/forms.ts"
import { closeGate, gateWaiting, native, openGate } from "../utils/kernels.ts"

const fiberCount = 100
const stepsPerFiber = 20

/** A turn of the event loop: timers and callbacks of the system have their chance before it ends. */
const turn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

onEveryForm("an awaited kernel", (form) => {
  it.live("lets timers and 100 other fibers go on, and returns when they let it", () =>
    Effect.scoped(Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const gate = native("test_gate", {})
      closeGate()
      const run = yield* Effect.fork(runner.run(gate, {}))
      // The kernel is on its way: from here on it waits for what follows.
      while (gateWaiting() === 0) {
        yield* turn
      }
      const steps = Array.from({ length: fiberCount }, () => 0)
      const others = yield* Effect.forEach(steps, (_, index) =>
        Effect.fork(
          Effect.repeatN(
            Effect.zipRight(
              turn,
              Effect.sync(() => {
                steps[index]! += 1
              })
            ),
            stepsPerFiber - 1
          )
        ))
      yield* Fiber.joinAll(others)
      assert.isTrue(steps.every((count) => count === stepsPerFiber))
      assert.strictEqual(gateWaiting(), 1, "the kernel still waits")
      const opened = yield* Deferred.make<void>()
      setTimeout(() => {
        openGate()
        Deferred.unsafeDone(opened, Effect.void)
      }, 1)
      yield* Deferred.await(opened)
      yield* Fiber.join(run)
      assert.strictEqual((yield* runner.stats).runs.ended, 1)
    })).pipe(
      Effect.ensuring(Effect.sync(openGate)),
      Effect.provide(runnerOf(form))
    ))
})
