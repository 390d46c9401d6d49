import { Data, Effect } from "effect"
import { Arg, Callable, type DType, type Errors, type HostTensor, type ResidentTensor, Simulator } from "leasehold"
import { describe, expectTypeOf, it } from "vitest"

class Overflow extends Data.TaggedError("Overflow")<{ readonly at: number }> {}

const signature = {
  tokens: Arg.input("int32", ["batch"]),
  weights: Arg.resident("float32", { dims: ["rows", 64] }),
  cache: Arg.resident("bfloat16"),
  workspace: Arg.scratch("float64", ["batch", "extra"]),
  logits: Arg.output("float32", ["batch", 256]),
  state: Arg.inout("uint64", [2]),
  position: Arg.scalar("int32"),
  seed: Arg.scalar("int64")
}

declare const context: Callable.Context<typeof signature>
declare const weights: ResidentTensor.ResidentTensor<"float32">
declare const hostTensor: HostTensor.HostTensor<"float32">

describe("a callable", () => {
  it("has the signature and the failure that it was made of", () => {
    expectTypeOf(Callable.native({ signature, kernels: [] })).toEqualTypeOf<Callable.Callable<typeof signature>>()
    expectTypeOf(Callable.make({ signature, launch: () => Effect.void })).toEqualTypeOf<
      Callable.Callable<typeof signature>
    >()
    expectTypeOf(Callable.make({ signature, launch: () => new Overflow({ at: 1 }) })).toEqualTypeOf<
      Callable.Callable<typeof signature, Overflow>
    >()
  })

  it("keeps element types and dimensions of a signature that is written in place", () => {
    const { signature: inPlace } = Callable.native({ signature: { a: Arg.input("int8", ["n", 4]) }, kernels: [] })
    expectTypeOf(inPlace).toEqualTypeOf<{ readonly a: Arg.Input<"int8", readonly ["n", 4]> }>()
  })

  it("that may fail is not one that may not", () => {
    expectTypeOf<Callable.Callable<typeof signature, Overflow>>().not.toExtend<Callable.Callable<typeof signature>>()
    expectTypeOf<Callable.Callable<typeof signature>>().toExtend<Callable.Callable<typeof signature, Overflow>>()
  })

  it("of any kind is a callable", () => {
    expectTypeOf<Callable.Callable<typeof signature>>().toExtend<Callable.Any>()
    expectTypeOf<Callable.Callable<typeof signature, Overflow>>().toExtend<Callable.Any>()
    expectTypeOf(Callable.native({ signature: {}, kernels: [] })).toExtend<Callable.Any>()
    expectTypeOf(Callable.isCallable).guards.toEqualTypeOf<Callable.Any>()
  })

  it("of another signature is another callable", () => {
    type Other = { readonly tokens: Arg.Input<"int64", readonly ["batch"]> }
    type Narrow = { readonly tokens: Arg.Input<"int32", readonly ["batch"]> }
    expectTypeOf<Callable.Callable<Other>>().not.toExtend<Callable.Callable<Narrow>>()
    expectTypeOf<Callable.Callable<typeof signature>>().not.toExtend<Callable.Callable<Narrow>>()
  })

  it("is launched by an Effect", () => {
    // @ts-expect-error a launch answers an Effect
    Callable.make({ signature, launch: () => undefined })
    // @ts-expect-error a promise is no Effect
    Callable.make({ signature, launch: () => Promise.resolve() })
  })
})

describe("constructors of arguments", () => {
  it("keep element types and dimensions as they are written", () => {
    expectTypeOf(Arg.input("int32", ["batch", 4])).toEqualTypeOf<Arg.Input<"int32", readonly ["batch", 4]>>()
    expectTypeOf(Arg.output("int32", [])).toEqualTypeOf<Arg.Output<"int32", readonly []>>()
    expectTypeOf(Arg.inout("uint8", ["n"])).toEqualTypeOf<Arg.Inout<"uint8", readonly ["n"]>>()
    expectTypeOf(Arg.scratch("uint8", ["n"])).toEqualTypeOf<Arg.Scratch<"uint8", readonly ["n"]>>()
    expectTypeOf(Arg.scalar("int64")).toEqualTypeOf<Arg.Scalar<"int64">>()
    expectTypeOf(Arg.resident("float32")).toEqualTypeOf<Arg.Resident<"float32", undefined>>()
    expectTypeOf(Arg.resident("float32", { access: "readWrite" })).toEqualTypeOf<Arg.Resident<"float32", undefined>>()
    expectTypeOf(Arg.resident("float32", { dims: ["n", 2] })).toEqualTypeOf<
      Arg.Resident<"float32", readonly ["n", 2]>
    >()
  })

  it("name a kernel by its library and its symbol", () => {
    expectTypeOf(Simulator.kernel({ library: "/a.so", symbol: "f" })).toEqualTypeOf<Simulator.Kernel>()
    // @ts-expect-error a kernel has a library
    Simulator.kernel({ symbol: "f" })
    // @ts-expect-error a kernel has a symbol
    Simulator.kernel({ library: "/a.so" })
  })
})

describe("the context of a launch", () => {
  it("is what a launch gets", () => {
    void Callable.make({
      signature,
      launch: (given) => {
        expectTypeOf(given).toEqualTypeOf<Callable.Context<typeof signature>>()
        return Effect.void
      }
    })
  })

  it("has the dimension names of the signature, residents and scratch included, and no others", () => {
    expectTypeOf(context.dims).toEqualTypeOf<
      { readonly batch: number; readonly extra: number; readonly rows: number }
    >()
    // @ts-expect-error an unknown dimension
    void context.dims.bath
    // @ts-expect-error dimensions are read only
    context.dims.batch = 4
  })

  it("has the scalars, each in its own type, and no tensors", () => {
    expectTypeOf(context.scalars).toEqualTypeOf<{ readonly position: number; readonly seed: bigint }>()
    expectTypeOf<Callable.ScalarNames<typeof signature>>().toEqualTypeOf<"position" | "seed">()
    // @ts-expect-error a tensor is no scalar
    void context.scalars.tokens
  })

  it("has the shapes of all tensors, and of no scalar", () => {
    expectTypeOf<keyof typeof context.shapes>().toEqualTypeOf<
      "tokens" | "weights" | "cache" | "workspace" | "logits" | "state"
    >()
    expectTypeOf(context.shapes.workspace).toEqualTypeOf<ReadonlyArray<number>>()
    expectTypeOf<Callable.TensorNames<typeof signature>>().toEqualTypeOf<keyof typeof context.shapes>()
    // @ts-expect-error a scalar has no shape
    void context.shapes.position
  })

  it("reads each tensor as its own typed array", () => {
    expectTypeOf(context.read("tokens")).toEqualTypeOf<Effect.Effect<Int32Array, Callable.ContextError>>()
    expectTypeOf(context.read("cache")).toEqualTypeOf<Effect.Effect<Uint16Array, Callable.ContextError>>()
    expectTypeOf(context.read("workspace")).toEqualTypeOf<Effect.Effect<Float64Array, Callable.ContextError>>()
    expectTypeOf(context.read("state")).toEqualTypeOf<Effect.Effect<BigUint64Array, Callable.ContextError>>()
    // @ts-expect-error a scalar is not read
    void context.read("position")
    // @ts-expect-error an unknown name
    void context.read("token")
  })

  it("writes each tensor from its own typed array", () => {
    expectTypeOf(context.write("logits", new Float32Array(4))).toEqualTypeOf<
      Effect.Effect<void, Callable.ContextError>
    >()
    void context.write("workspace", new Float64Array(4))
    // @ts-expect-error a Float64Array for a float32
    void context.write("logits", new Float64Array(4))
    // @ts-expect-error a plain array
    void context.write("logits", [1, 2])
    // @ts-expect-error a host tensor is for runs
    void context.write("logits", hostTensor)
    // @ts-expect-error a scalar is not written
    void context.write("position", new Int32Array(1))
    // @ts-expect-error an unknown name
    void context.write("logit", new Float32Array(4))
  })

  it("fails with exactly these", () => {
    expectTypeOf<Callable.ContextError>().toEqualTypeOf<
      | Errors.TransferFailed
      | Errors.InvalidArgument
      | Errors.ShapeMismatch
      | Errors.StaleRun
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
  })

  it("is empty for a signature without names and scalars", () => {
    type Nameless = Callable.Context<{ readonly a: Arg.Input<"int8", readonly [4]> }>
    expectTypeOf<keyof Nameless["dims"]>().toBeNever()
    expectTypeOf<keyof Nameless["scalars"]>().toBeNever()
    expectTypeOf<keyof Nameless["shapes"]>().toEqualTypeOf<"a">()
  })
})

describe("element types", () => {
  it("are held by these typed arrays", () => {
    expectTypeOf<{ readonly [D in DType.DType]: DType.View<D> }>().toEqualTypeOf<{
      readonly float16: Uint16Array
      readonly bfloat16: Uint16Array
      readonly float32: Float32Array
      readonly float64: Float64Array
      readonly int8: Int8Array
      readonly int16: Int16Array
      readonly int32: Int32Array
      readonly int64: BigInt64Array
      readonly uint8: Uint8Array
      readonly uint16: Uint16Array
      readonly uint32: Uint32Array
      readonly uint64: BigUint64Array
    }>()
  })

  it("are bigint as 64-bit scalars, and number as all others", () => {
    expectTypeOf<{ readonly [D in DType.ScalarDType]: DType.ScalarValue<D> }>().toEqualTypeOf<{
      readonly float32: number
      readonly float64: number
      readonly int8: number
      readonly int16: number
      readonly int32: number
      readonly int64: bigint
      readonly uint8: number
      readonly uint16: number
      readonly uint32: number
      readonly uint64: bigint
    }>()
    expectTypeOf<Exclude<DType.DType, DType.ScalarDType>>().toEqualTypeOf<"float16" | "bfloat16">()
  })
})

describe("tensors of a runner", () => {
  it("move elements of their own type only", () => {
    expectTypeOf(weights.upload(new Float32Array(4))).toEqualTypeOf<Effect.Effect<void, ResidentTensor.MoveError>>()
    expectTypeOf(weights.download(hostTensor, { offsetElements: 4 })).toEqualTypeOf<
      Effect.Effect<void, ResidentTensor.MoveError>
    >()
    // @ts-expect-error a Float64Array for a float32
    void weights.upload(new Float64Array(4))
    // @ts-expect-error a plain array
    void weights.upload([1, 2, 3, 4])
    // @ts-expect-error a resident tensor is no host memory
    void weights.upload(weights)
    // @ts-expect-error a Float64Array for a float32
    void weights.download(new Float64Array(4))
    // @ts-expect-error an unknown option
    void weights.download(new Float32Array(4), { offsetBytes: 4 })
  })

  it("fail to move with exactly these", () => {
    expectTypeOf<ResidentTensor.MoveError>().toEqualTypeOf<
      | Errors.InvalidArgument
      | Errors.ShapeMismatch
      | Errors.TransferFailed
      | Errors.DeviceFailed
      | Errors.RunnerClosed
      | Errors.RunnerPoisoned
    >()
  })

  it("of one element type are none of another", () => {
    expectTypeOf<ResidentTensor.ResidentTensor<"float32">>().not.toExtend<ResidentTensor.ResidentTensor<"float64">>()
    // Of any element type it is, so that tensors of several can be kept together; moves are checked at run time then.
    expectTypeOf<ResidentTensor.ResidentTensor<"float32">>().toExtend<ResidentTensor.ResidentTensor>()
    expectTypeOf<HostTensor.HostTensor<"float16">>().not.toExtend<HostTensor.HostTensor<"bfloat16">>()
    expectTypeOf<HostTensor.HostTensor<"float16">>().toExtend<HostTensor.HostTensor>()
    expectTypeOf(hostTensor.view).toEqualTypeOf<Float32Array>()
  })

  it("cannot be invented", () => {
    // @ts-expect-error a host tensor has a type id
    const forged: HostTensor.HostTensor<"int8"> = { dtype: "int8", shape: [1], byteLength: 1, view: new Int8Array(1) }
    return forged
  })
})
