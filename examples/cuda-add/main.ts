/**
 * The smallest program on a GPU: c = a + b.
 *
 *     npx tsx examples/cuda-add/main.ts
 *
 * Without a driver it says so, and what was tried.
 */
import { Effect, Layer } from "effect"
import { Arg, Callable, Cuda, DeviceRunner } from "leasehold"
import { fileURLToPath } from "node:url"

const module = fileURLToPath(new URL("add.ptx", import.meta.url))

// #region callable
const add = Callable.native({
  name: "add",
  signature: {
    a: Arg.input("float32", ["n"]),
    b: Arg.input("float32", ["n"]),
    c: Arg.output("float32", ["n"])
  },
  kernels: [Cuda.kernels({
    module,
    launches: ({ n = 0 }) => [{
      symbol: "add",
      grid: Math.ceil(n / 256),
      block: 256,
      parameters: ["a", "b", "c", Cuda.constant("int32", n)]
    }]
  })]
})
// #endregion

// #region program
const program = Effect.gen(function*() {
  const runner = yield* DeviceRunner.DeviceRunner
  const a = Float32Array.from({ length: 1000 }, (_, index) => index)
  const b = a.map((value) => 2 * value)
  const c = new Float32Array(a.length)
  yield* runner.run(add, { a, b, c })
  console.log(`${a[999]} + ${b[999]} = ${c[999]}`)
})

const Runner = DeviceRunner.layer({ temporaryBuffer: { maxBytes: "1 MiB" } }).pipe(
  Layer.provide(Cuda.layer({ device: 0 }))
)
// #endregion

await Effect.runPromise(
  program.pipe(
    Effect.provide(Runner),
    Effect.catchTag("BackendUnavailable", (error) =>
      Effect.sync(() => {
        console.error(error.message)
        process.exitCode = 1
      }))
  )
)
