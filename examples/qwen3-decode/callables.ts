/**
 * What the decode loop launches: every tensor of a model classified once. Weights and KV cache stay on the device, token
 * ids, positions and scalars go in with each run, the workspace is scratch, and the logits come out.
 */
import { Arg, Callable, Simulator } from "leasehold"
import * as Kernel from "./kernel.ts"
import * as Model from "./model.ts"

/** A weight as an argument: it is resident, and its name in the model's file is the argument's name. */
export type WeightName = `${string}.weight`

type WeightArgs = { readonly [name: WeightName]: Arg.Resident<"bfloat16", undefined> | Arg.Resident<"float32", undefined> }

const signature = (config: Model.ModelConfig, weights: ReadonlyArray<Model.Weight>) => {
  const fixed = {
    tokens: Arg.input("int32", ["n"]),
    positions: Arg.input("int32", ["n"]),
    logits: Arg.output("float32", [config.vocab]),
    workspace: Arg.scratch("float32", ["n", Kernel.workspaceElementsPerToken(config)]),
    keyCache: Arg.resident("float32", { access: "readWrite", dims: Model.kvCacheShape(config) }),
    valueCache: Arg.resident("float32", { access: "readWrite", dims: Model.kvCacheShape(config) }),
    layers: Arg.scalar("int32"),
    ropeTheta: Arg.scalar("float64"),
  }
  const w: WeightArgs = Object.fromEntries(weights.map(({ name, dtype }) => [name, Arg.resident(dtype)]))
  return Object.assign(fixed, w)
}

export type S = ReturnType<typeof signature>
declare const s: S
export const x = s.tokens
export const y = s["a.weight"]
export type A = Callable.Args<S>
declare const a: A
export const t: number = a.tokens
export const tt: number = a["d.weight"]
export const c = (config: Model.ModelConfig, weights: ReadonlyArray<Model.Weight>) => Callable.native({ signature: signature(config, weights), kernels: [Simulator.kernel({ library: Kernel.library, symbol: Kernel.symbol })]})
import { DeviceRunner, ResidentTensor } from "leasehold"
declare const r: DeviceRunner.Service
declare const wr: { readonly [name: WeightName]: ResidentTensor.ResidentTensor<"bfloat16"> | ResidentTensor.ResidentTensor<"float32">}
declare const kc: ResidentTensor.ResidentTensor<"float32">
export const run = r.run(c(null!, null!), Object.assign({ tokens: new Int32Array(1), positions: new Int32Array(1), logits: new Float32Array(1), keyCache: kc, valueCache: kc, layers: 1, ropeTheta: 1 }, wr))
export const run2 = r.run(c(null!, null!), Object.assign({ tokens: new Int32Array(1), foo: 1, positions: new Int32Array(1), logits: new Float32Array(1), keyCache: kc, valueCache: kc, layers: 1, ropeTheta: 1 }, wr))
export const run3 = r.run(c(null!, null!), Object.assign({ tokens: new Float64Array(1), positions: new Int32Array(1), logits: new Float32Array(1), keyCache: kc, valueCache: kc, layers: 1, ropeTheta: 1 }, wr))
