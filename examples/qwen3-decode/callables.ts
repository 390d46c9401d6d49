/**
 * What a decode loop launches. Here every tensor of the model gets its class: weights and KV cache are resident, token
 * ids, positions and scalars go in with each run, the workspace is scratch, and the logits come out.
 */
import { Arg, Callable, Cuda, type ResidentTensor, Simulator } from "leasehold"
import * as CudaLaunches from "./cudaLaunches.ts"
import * as Kernel from "./kernel.ts"
import * as Model from "./model.ts"

/** Each weight is an argument of its own, under its name in the file. */
export type Weights = {
  readonly [name: `${string}.weight`]:
    | ResidentTensor.ResidentTensor<"bfloat16">
    | ResidentTensor.ResidentTensor<"float32">
}

type WeightArgs = {
  readonly [name: keyof Weights]: Arg.Resident<"bfloat16", undefined> | Arg.Resident<"float32", undefined>
}

/** The arguments in the order in which the kernel takes them, the weights last. */
const signature = (config: Model.ModelConfig, weights: ReadonlyArray<Model.Weight>) => {
  const weightArgs: WeightArgs = Object.fromEntries(weights.map(({ dtype, name }) => [name, Arg.resident(dtype)]))
  return Object.assign({
    tokens: Arg.input("int32", ["n"]),
    positions: Arg.input("int32", ["n"]),
    logits: Arg.output("float32", [config.vocab]),
    workspace: Arg.scratch("float32", ["n", Kernel.workspaceElementsPerToken(config)]),
    keyCache: Arg.resident("float32", { access: "readWrite", dims: Model.kvCacheShape(config) }),
    valueCache: Arg.resident("float32", { access: "readWrite", dims: Model.kvCacheShape(config) }),
    layers: Arg.scalar("int32"),
    hidden: Arg.scalar("int32"),
    heads: Arg.scalar("int32"),
    kvHeads: Arg.scalar("int32"),
    headDim: Arg.scalar("int32"),
    intermediate: Arg.scalar("int32"),
    vocab: Arg.scalar("int32"),
    maxPositions: Arg.scalar("int32"),
    ropeTheta: Arg.scalar("float64"),
    rmsEpsilon: Arg.scalar("float32"),
    tied: Arg.scalar("int32")
  }, weightArgs)
}

/**
 * The callables of a model: one signature, kernels for each device, and two ways of running it. A whole prompt takes
 * milliseconds, so `prefill` leaves the event loop's thread and the fiber waits for it. How one token is run is for the app to say.
 */
export const make = (model: {
  readonly config: Model.ModelConfig
  readonly weights: ReadonlyArray<Model.Weight>
  readonly stepExecution: Callable.Execution
}) => {
  const shared = {
    signature: signature(model.config, model.weights),
    kernels: [
      Simulator.kernel({ library: Kernel.library, symbol: Kernel.symbol }),
      Cuda.kernels({ module: CudaLaunches.module, launches: CudaLaunches.make(model) })
    ]
  }
  return {
    prefill: Callable.native({ ...shared, name: "prefill", execution: "awaited" }),
    step: Callable.native({ ...shared, name: "decode step", execution: model.stepExecution })
  }
}
