/** A model on a device: its weights are resident, and texts are read and continued with one run for each piece. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Callable, DeviceRunner, type ResidentTensor, type Run } from "leasehold"
import * as Callables from "./callables.ts"
import type { ModelFileInvalid } from "./errors.ts"
import * as Kernel from "./kernel.ts"
import * as Model from "./model.ts"

/** A model whose weights are on the device, until the scope closes that it was made in. */
export interface Decoder {
  /** Begins a text. It has a KV cache of its own, which is freed when the scope closes. */
  readonly begin: Effect.Effect<Text, DeviceRunner.AllocateError, Scope.Scope>
}

/** One text on the device. One run at a time. */
export interface Text {
  /** Reads the next tokens of the text: the logits after the last of them. They hold until the next call. */
  readonly next: (tokens: Int32Array) => Effect.Effect<Float32Array, Run.RunError>
}

/** Weights reach the device in pieces of this size, so that loading needs little host memory beside the device's. */
const pieceMaxBytes = 1024 * 1024

/** How much more than its own bytes a resident tensor may take on a device. */
const residentSlackBytes = 4096

/** Device bytes that a decoder and `textCount` texts of it need, generously. */
export const residentBytes = (model: Model.Model, options: {
  readonly config: Model.ModelConfig
  readonly textCount: number
}): number => {
  const cacheBytes = Model.kvCacheShape(options.config).reduce((product, count) => product * count, 4)
  const weightBytes = model.weights.reduce((sum, { byteCount }) => sum + byteCount + residentSlackBytes, 0)
  return weightBytes + 2 * options.textCount * (cacheBytes + residentSlackBytes)
}

/** How a decoder runs a model. */
export interface DecoderOptions {
  /** The model's own configuration, or one with room for fewer positions. */
  readonly config: Model.ModelConfig
  /**
   * How the run of one token is executed. It takes tens of microseconds to a few hundred for a small model, little more
   * than handing it to another thread and back. A program that does nothing else may choose `"inline"`: the event loop
   * stands still meanwhile, and the call cannot be timed out. A server, or a large model, is better off with `"awaited"`.
   */
  readonly stepExecution: Callable.Execution
}

/** Brings a model's weights to the device. */
export const make = (
  model: Model.Model,
  options: DecoderOptions
): Effect.Effect<
  Decoder,
  ModelFileInvalid | DeviceRunner.AllocateError | ResidentTensor.MoveError | Run.LoadError,
  DeviceRunner.DeviceRunner | Scope.Scope
> =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const { config, stepExecution } = options
    const callables = Callables.make({ config, weights: model.weights, stepExecution })
    yield* Effect.all([runner.load(callables.prefill), runner.load(callables.step)])
    const entries = yield* Effect.forEach(
      model.weights,
      (weight) => Effect.map(upload(runner, model, weight), (resident) => [weight.name, resident] as const)
    )
    const weights: Callables.Weights = Object.fromEntries(entries)
    return { begin: begin(runner, { callables, config, weights }) }
  })

const upload = <D extends Model.WeightDType>(
  runner: DeviceRunner.Service,
  model: Model.Model,
  weight: Model.Weight<D>
) =>
  Effect.gen(function*() {
    const resident = yield* runner.allocate(weight.dtype, weight.shape)
    yield* model.forEachPiece(
      weight,
      { maxBytes: pieceMaxBytes },
      ({ elements, offsetElements }) => resident.upload(elements, { offsetElements })
    )
    return resident
  })

const begin = (runner: DeviceRunner.Service, options: {
  readonly callables: ReturnType<typeof Callables.make>
  readonly config: Model.ModelConfig
  readonly weights: Callables.Weights
}): Effect.Effect<Text, DeviceRunner.AllocateError, Scope.Scope> =>
  Effect.gen(function*() {
    const { callables, config, weights } = options
    const fixed = {
      logits: new Float32Array(config.vocab),
      keyCache: yield* runner.allocate("float32", Model.kvCacheShape(config)),
      valueCache: yield* runner.allocate("float32", Model.kvCacheShape(config)),
      ...Kernel.scalars(config)
    }
    const argsFor = (count: number) =>
      Object.assign({ tokens: new Int32Array(count), positions: new Int32Array(count), ...fixed }, weights)
    // The loop's own argument object: a step writes its token and position into it, and makes nothing new.
    const stepArgs = argsFor(1)
    let position = 0
    return {
      next: (tokens) =>
        Effect.suspend(() => {
          const single = tokens.length === 1
          const args = single ? stepArgs : argsFor(tokens.length)
          args.tokens.set(tokens)
          args.positions.forEach((_, index) => {
            args.positions[index] = position + index
          })
          return Effect.map(runner.run(single ? callables.step : callables.prefill, args), () => {
            position += tokens.length
            return fixed.logits
          })
        })
    }
  })
