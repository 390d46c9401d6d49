/** While another piece of work is on its way to the device, no step of a run goes past it, however it could be taken at once. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { DeviceRunner, HostApi, Simulator } from "leasehold"
import { settle } from "./utils/gated.ts"
import { addInline } from "./utils/kernels.ts"

/** Holds uploads back until they are let go, and notes everything else that reaches the device on behalf of runs. */
const watch = (hold: Deferred.Deferred<void>, calls: Array<HostApi.Purpose>) =>
  Layer.effect(
    HostApi.HostApi,
    Effect.map(HostApi.HostApi, (api): HostApi.Service => ({
      ...api,
      submit: (lane, transfers, origin) =>
        origin.purpose === "upload"
          ? Effect.zipRight(Deferred.await(hold), api.submit(lane, transfers, origin))
          : Effect.zipRight(Effect.sync(() => calls.push(origin.purpose)), api.submit(lane, transfers, origin)),
      launch: (kernel, args, origin) =>
        Effect.zipRight(Effect.sync(() => calls.push(origin.purpose)), api.launch(kernel, args, origin)),
      immediate: api.immediate && {
        ...api.immediate,
        submit: (lane, transfers, origin) => {
          calls.push(origin.purpose)
          return api.immediate!.submit(lane, transfers, origin)
        },
        launch: (kernel, args, origin) => {
          calls.push(origin.purpose)
          return api.immediate!.launch(kernel, args, origin)
        }
      }
    }))
  ).pipe(Layer.provide(Simulator.layer({ totalBytes: "1 MiB" })))

for (const step of ["bind", "launch", "validate", "end", "run"] as const) {
  const waits = step !== "end"
  it.scoped(`${step} ${waits ? "waits for an upload in flight" : "calls nobody, and waits for no upload"}`, () =>
    Effect.gen(function*() {
      const hold = yield* Deferred.make<void>()
      const calls: Array<HostApi.Purpose> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        yield* runner.load(addInline)
        const resident = yield* runner.allocate("float32", [1])
        const args = { a: Float32Array.of(1), b: Float32Array.of(2), c: new Float32Array(1) }
        const scope = yield* Scope.make()
        const bind = Scope.extend(runner.bind(addInline, args), scope)
        const bound = step === "bind" || step === "run" ? undefined : yield* bind
        yield* step === "validate" ? bound!.launch : Effect.void
        const upload = yield* Effect.fork(resident.upload(Float32Array.of(1)))
        yield* settle
        const callsBefore = calls.length
        const steps: Readonly<Record<typeof step, Effect.Effect<unknown, unknown>>> = {
          bind,
          launch: bound?.launch ?? Effect.void,
          validate: bound?.validate ?? Effect.void,
          end: Scope.close(scope, Exit.void),
          run: runner.run(addInline, args)
        }
        const fiber = yield* Effect.fork(steps[step])
        yield* settle
        assert.deepStrictEqual(calls.slice(callsBefore), [])
        assert.strictEqual((yield* runner.stats).runs.active, waits ? 1 : 0)
        yield* Deferred.succeed(hold, undefined)
        yield* Fiber.join(upload)
        yield* Fiber.join(fiber)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* runner.stats).runs.active, 0)
      })).pipe(
        Effect.provide(
          DeviceRunner.layer({ temporaryBuffer: { maxBytes: "64 KiB" } }).pipe(Layer.provide(watch(hold, calls)))
        )
      )
    }))
}
