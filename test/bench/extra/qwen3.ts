/**
 * What Leasehold adds to one decode step of the Qwen3 example: the time of a run less the time of a bare call of the same
 * kernel on the same arguments, one after the other, step by step.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import koffi from "koffi"
import { DeviceRunner, HostApi, Simulator } from "leasehold"
import { existsSync, mkdirSync, symlinkSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import * as Decoder from "../../../examples/qwen3-decode/decoder.ts"
import * as Kernel from "../../../examples/qwen3-decode/kernel.ts"
import * as Model from "../../../examples/qwen3-decode/model.ts"
import { median } from "../measure.ts"
import type { Qwen3Report } from "../report.ts"
import { root } from "../root.ts"

const example = join(root, "examples/qwen3-decode")
const modelFolder = join(example, "model")

/** What the measurement needs and a checkout may lack, by name; `undefined` where everything is there. */
export const missing = (): string | undefined => {
  if (!existsSync(join(modelFolder, "model.safetensors"))) {
    return "the example's model"
  }
  return existsSync(join(example, "kernel/build", basename(Kernel.library))) ? undefined : "the example's kernel"
}

/** The example finds its kernel beside itself, and is compiled to another folder here. */
const linkKernel = (): void => {
  const expected = dirname(dirname(Kernel.library))
  if (!existsSync(expected)) {
    mkdirSync(dirname(expected), { recursive: true })
    symlinkSync(join(example, "kernel"), expected)
  }
}

/** Steps that are run before the timed ones, so that everything is compiled. */
const warmUpSteps = 3000

/** A text is begun anew after so many tokens: a step takes longer the more came before it. */
const textTokens = 64

export const measureQwen3 = (steps: number): Effect.Effect<Qwen3Report, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    linkKernel()
    const model = yield* Model.open(modelFolder)
    const config = { ...model.config, maxPositions: textTokens }
    const residentMaxBytes = Decoder.residentBytes(model, { config, textCount: 1 })
    const watched: Watched = { table: undefined, runNanos: 0 }
    return yield* Effect.gen(function*() {
      const decoder = yield* Decoder.make(model, { config, stepExecution: "inline" })
      const bareKernel = koffi.load(Kernel.library).func(
        `int32_t ${Kernel.symbol}(const double *arguments, uint32_t count)`
      )
      const runs: Array<number> = []
      const bareCalls: Array<number> = []
      const token = Int32Array.of(1)
      const oneText = Effect.scoped(Effect.gen(function*() {
        const text = yield* decoder.begin
        for (let step = 0; step < textTokens; step++) {
          yield* text.next(token)
          const { cells, count } = watched.table!
          const called = process.hrtime.bigint()
          // The same token at the same position once more: the kernel writes what it has just written.
          const status = bareKernel(cells, count) as number
          const ended = process.hrtime.bigint()
          yield* status === 0 ? Effect.void : Effect.fail(new Error(`a bare call of the kernel answered ${status}`))
          runs.push(watched.runNanos)
          bareCalls.push(Number(ended - called))
        }
      }))
      while (runs.length < warmUpSteps + steps) {
        yield* oneText
      }
      runs.splice(0, warmUpSteps)
      bareCalls.splice(0, warmUpSteps)
      const overheadNanos = median(runs.map((nanos, step) => nanos - bareCalls[step]!))
      const runNanos = median(runs)
      return {
        steps: runs.length,
        arguments: watched.table!.count,
        runNanos,
        bareCallNanos: median(bareCalls),
        overheadNanos,
        overheadShare: overheadNanos / runNanos
      }
    }).pipe(
      Effect.provide(
        watchRuns(watched).pipe(
          Layer.provide(DeviceRunner.layer({ temporaryBuffer: { maxBytes: "16 MiB" }, residentMaxBytes })),
          Layer.provide(watchLaunches(watched)),
          Layer.provide(Simulator.layer({ totalBytes: residentMaxBytes + 2 ** 28 }))
        )
      )
    )
  })).pipe(Effect.provide(NodeContext.layer))

/** What is seen of the last run. */
interface Watched {
  /** The argument table; the runner keeps it as long as the plan. */
  table: HostApi.Arguments | undefined
  runNanos: number
}

/** Times `runner.run` alone, without what the example does around it. */
const watchRuns = (
  watched: Watched
): Layer.Layer<DeviceRunner.DeviceRunner, never, DeviceRunner.DeviceRunner> =>
  Layer.effect(
    DeviceRunner.DeviceRunner,
    Effect.map(DeviceRunner.DeviceRunner, (runner) => ({
      ...runner,
      run: (callable, args, options) => {
        const run = runner.run(callable, args, options)
        return Effect.suspend(() => {
          const begun = process.hrtime.bigint()
          return Effect.map(run, () => {
            watched.runNanos = Number(process.hrtime.bigint() - begun)
          })
        })
      }
    }))
  )

const watchLaunches = (watched: Watched): Layer.Layer<HostApi.HostApi, never, HostApi.HostApi> =>
  Layer.effect(
    HostApi.HostApi,
    Effect.map(HostApi.HostApi, (hostApi) => ({
      ...hostApi,
      immediate: hostApi.immediate && {
        ...hostApi.immediate,
        launch: (kernel: HostApi.KernelHandle, table: HostApi.Arguments, origin: HostApi.Origin) => {
          watched.table = table
          return hostApi.immediate!.launch(kernel, table, origin)
        }
      }
    }))
  )
