/** What the simulator's layer fails with in a worker thread. */
import { Effect } from "effect"
import type { Errors } from "leasehold"
import { Worker } from "node:worker_threads"

const program = `
  const { parentPort, workerData } = require("node:worker_threads")
  import("tsx/esm/api").then(async ({ tsImport }) => {
    const { Simulator } = await tsImport("./src/index.ts", workerData)
    const { Effect, Layer } = await import("effect")
    const exit = await Effect.runPromiseExit(Effect.scoped(Layer.build(Simulator.layer())))
    parentPort.postMessage(JSON.parse(JSON.stringify(exit)))
  })`

export const workerExit: Effect.Effect<Errors.BackendUnavailable> = Effect.async<
  { readonly cause: { readonly error: Errors.BackendUnavailable } },
  Error
>((resume) => {
  const worker = new Worker(program, { eval: true, workerData: new URL("../../root.ts", import.meta.url).href })
  worker.once("message", (message) => {
    resume(Effect.succeed(message))
    void worker.terminate()
  })
  worker.once("error", (error) => resume(Effect.fail(error)))
}).pipe(Effect.map(({ cause }) => cause.error), Effect.orDie)
