import { Arg, Callable, type DeviceRunner, type HostTensor, type ResidentTensor } from "leasehold"
import { describe, expectTypeOf, it } from "vitest"

declare const runner: DeviceRunner.Service

declare const weights: ResidentTensor.ResidentTensor<"float32">
declare const otherWeights: ResidentTensor.ResidentTensor<"float64">
declare const anyWeights: ResidentTensor.ResidentTensor
declare const hostTokens: HostTensor.HostTensor<"int32">
declare const hostLogits: HostTensor.HostTensor<"float32">
declare const hostBits: HostTensor.HostTensor<"bfloat16">

const signature = {
  tokens: Arg.input("int32", ["batch"]),
  weights: Arg.resident("float32"),
  cache: Arg.resident("float32", { access: "readWrite", dims: ["batch", 64] }),
  workspace: Arg.scratch("float32", ["batch", 4096]),
  logits: Arg.output("float32", ["batch", 256]),
  state: Arg.inout("float16", [16]),
  bytes: Arg.input("uint8", ["size"]),
  position: Arg.scalar("int32"),
  seed: Arg.scalar("uint64"),
  scale: Arg.scalar("float32")
}

const step = Callable.native({ signature, kernels: [] })

const good = {
  tokens: new Int32Array(4),
  weights,
  cache: weights,
  logits: new Float32Array(4 * 256),
  state: new Uint16Array(16),
  bytes: new Uint8Array(3),
  position: 7,
  seed: 7n,
  scale: 0.5
}

/** A callable whose signature is only known when the program runs. */
declare const dynamic: Callable.Callable<Arg.Signature>

/** The good arguments without some, so that a test can say what stands in their place. */
declare const without: <K extends keyof typeof good>(...names: ReadonlyArray<K>) => Omit<typeof good, K>

describe("argument objects that compile", () => {
  it("are those that the signature asks for", () => {
    void runner.run(step, good)
    void runner.bind(step, good)
    void runner.plan(step, good)
    void runner.run(step, { ...good })
    void runner.run(step, { ...good, position: 8 })
  })

  it("have the type that the signature says", () => {
    expectTypeOf<Callable.Args<typeof signature>>().toEqualTypeOf<{
      readonly tokens: Int32Array | HostTensor.HostTensor<"int32">
      readonly weights: ResidentTensor.ResidentTensor<"float32">
      readonly cache: ResidentTensor.ResidentTensor<"float32">
      readonly logits: Float32Array | HostTensor.HostTensor<"float32">
      readonly state: Uint16Array | HostTensor.HostTensor<"float16">
      readonly bytes: Uint8Array | HostTensor.HostTensor<"uint8">
      readonly position: number
      readonly seed: bigint
      readonly scale: number
    }>()
  })

  it("may hold host tensors for inputs and outputs", () => {
    void runner.run(step, { ...good, tokens: hostTokens, logits: hostLogits })
  })

  it("may be read only, frozen, or of a declared type", () => {
    const declared: Callable.Args<typeof signature> = good
    void runner.run(step, declared)
    void runner.run(step, Object.freeze({ ...good }))
    void runner.run(step, { ...good } as const)
  })

  it("may hold views of a subclass, and views over shared memory", () => {
    void runner.run(step, { ...good, bytes: Buffer.alloc(3) })
    void runner.run(step, { ...good, tokens: new Int32Array(new SharedArrayBuffer(16)) })
    void runner.run(step, { ...good, tokens: new Int32Array(8).subarray(4) })
  })

  it("are empty where the signature is, or has nothing but scratch", () => {
    void runner.run(Callable.native({ signature: {}, kernels: [] }), {})
    void runner.run(Callable.native({ signature: { work: Arg.scratch("uint8", [64]) }, kernels: [] }), {})
  })

  it("are a record where the signature is only known when the program runs", () => {
    const args: Record<string, Float32Array | number> = { a: new Float32Array(1), b: 4 }
    void runner.run(dynamic, args)
    void runner.run(dynamic, { a: new Float32Array(1), b: 4 })
  })
})

describe("argument objects that do not compile", () => {
  it("hold a view of another element type", () => {
    // @ts-expect-error a Float64Array for an int32
    void runner.run(step, { ...without("tokens"), tokens: new Float64Array(4) })
    // @ts-expect-error a Uint32Array for an int32
    void runner.run(step, { ...without("tokens"), tokens: new Uint32Array(4) })
    // @ts-expect-error a Float64Array for a float32
    void runner.run(step, { ...without("logits"), logits: new Float64Array(4) })
    // @ts-expect-error a Float32Array for a float16, which is never converted in silence
    void runner.run(step, { ...without("state"), state: new Float32Array(16) })
    // @ts-expect-error a clamped array for a uint8
    void runner.run(step, { ...without("bytes"), bytes: new Uint8ClampedArray(3) })
    // @ts-expect-error a BigInt64Array for an int32
    void runner.run(step, { ...without("tokens"), tokens: new BigInt64Array(4) })
  })

  it("hold a view of another element type, through a variable", () => {
    const args = { ...good, tokens: new Float64Array(4) }
    // @ts-expect-error a Float64Array for an int32
    void runner.run(step, args)
    // @ts-expect-error a Float64Array for an int32
    void runner.bind(step, args)
    // @ts-expect-error a Float64Array for an int32
    void runner.plan(step, args)
  })

  it("hold no view at all where one belongs", () => {
    // @ts-expect-error a plain array
    void runner.run(step, { ...without("tokens"), tokens: [1, 2, 3, 4] })
    // @ts-expect-error a buffer without a view
    void runner.run(step, { ...without("tokens"), tokens: new ArrayBuffer(16) })
    // @ts-expect-error a view without an element type
    void runner.run(step, { ...without("tokens"), tokens: new DataView(new ArrayBuffer(16)) })
    // @ts-expect-error a single number
    void runner.run(step, { ...without("tokens"), tokens: 4 })
    // @ts-expect-error null
    void runner.run(step, { ...without("tokens"), tokens: null })
    // @ts-expect-error an address
    void runner.run(step, { ...without("weights"), weights: 4096 })
  })

  it("lack a name", () => {
    // @ts-expect-error tokens are missing
    void runner.run(step, without("tokens"))
    // @ts-expect-error tokens are missing
    void runner.bind(step, without("tokens"))
    // @ts-expect-error tokens are missing
    void runner.plan(step, without("tokens"))
    // @ts-expect-error a resident is missing
    void runner.run(step, without("weights"))
    // @ts-expect-error a scalar is missing
    void runner.run(step, without("position"))
    // @ts-expect-error all are missing
    void runner.run(step, {})
  })

  it("hold undefined for a name, or may lack it", () => {
    // @ts-expect-error undefined
    void runner.run(step, { ...without("tokens"), tokens: undefined })
    const partial: { tokens?: Int32Array } & Omit<typeof good, "tokens"> = good
    // @ts-expect-error tokens may be missing
    void runner.run(step, partial)
  })

  it("hold a name that the signature does not have, as a literal", () => {
    // @ts-expect-error an unknown name
    void runner.run(step, { ...good, token: new Int32Array(4) })
    // @ts-expect-error an unknown name
    void runner.bind(step, { ...good, token: new Int32Array(4) })
    // @ts-expect-error an unknown name
    void runner.plan(step, { ...good, token: new Int32Array(4) })
    // @ts-expect-error an unknown name, for a signature without arguments
    void runner.run(Callable.native({ signature: {}, kernels: [] }), { extra: 1 })
  })

  it("hold a name that the signature does not have, through a variable", () => {
    const args = { ...good, token: new Int32Array(4) }
    // @ts-expect-error an unknown name
    void runner.run(step, args)
    // @ts-expect-error an unknown name
    void runner.bind(step, args)
    // @ts-expect-error an unknown name
    void runner.plan(step, args)
    const optional: typeof good & { token?: Int32Array } = good
    // @ts-expect-error a name that may be there
    void runner.run(step, optional)
  })

  it("hold scratch, which the runner provides", () => {
    // @ts-expect-error scratch is no argument
    void runner.run(step, { ...good, workspace: new Float32Array(4) })
    const args = { ...good, workspace: new Float32Array(4) }
    // @ts-expect-error scratch is no argument
    void runner.run(step, args)
    // @ts-expect-error scratch is no argument
    void runner.run(step, { ...good, workspace: weights })
    expectTypeOf<Callable.Args<typeof signature>>().not.toHaveProperty("workspace")
  })

  it("hold host memory for a resident tensor", () => {
    // @ts-expect-error a plain view
    void runner.run(step, { ...without("weights"), weights: new Float32Array(4) })
    // @ts-expect-error a host tensor
    void runner.run(step, { ...without("weights"), weights: hostLogits })
    // @ts-expect-error a plain view, for one that is written
    void runner.run(step, { ...without("cache"), cache: new Float32Array(4) })
  })

  it("hold a resident tensor for host memory", () => {
    // @ts-expect-error a resident tensor for an output
    void runner.run(step, { ...without("logits"), logits: weights })
    // @ts-expect-error a resident tensor for an input
    void runner.run(step, { ...without("tokens"), tokens: weights })
  })

  it("hold a tensor of another element type", () => {
    // @ts-expect-error a resident of float64
    void runner.run(step, { ...without("weights"), weights: otherWeights })
    // @ts-expect-error a resident of an element type that is not known
    void runner.run(step, { ...without("weights"), weights: anyWeights })
    // @ts-expect-error a host tensor of float32
    void runner.run(step, { ...without("tokens"), tokens: hostLogits })
    // @ts-expect-error a host tensor of bfloat16 for float16, though both are held by a Uint16Array
    void runner.run(step, { ...without("state"), state: hostBits })
  })

  it("hold a scalar of another type", () => {
    // @ts-expect-error a bigint for an int32
    void runner.run(step, { ...without("position"), position: 7n })
    // @ts-expect-error a number for a uint64
    void runner.run(step, { ...without("seed"), seed: 7 })
    // @ts-expect-error a bigint for a float32
    void runner.run(step, { ...without("scale"), scale: 1n })
    // @ts-expect-error text for an int32
    void runner.run(step, { ...without("position"), position: "7" })
    // @ts-expect-error an array for a scalar
    void runner.run(step, { ...without("position"), position: new Int32Array(1) })
    const args = { ...good, position: 7n }
    // @ts-expect-error a bigint for an int32, through a variable
    void runner.run(step, args)
  })

  it("are no objects", () => {
    // @ts-expect-error no arguments
    void runner.run(step)
    // @ts-expect-error null
    void runner.run(step, null)
    // @ts-expect-error a list
    void runner.run(step, [good])
  })
})

describe("callables that do not compile", () => {
  it("are none", () => {
    // @ts-expect-error a signature is no callable
    void runner.run(signature, good)
    // @ts-expect-error a function is no callable
    void runner.run(() => undefined, good)
    // @ts-expect-error the error channel and the signature of any callable are not known
    void runner.run({} as Callable.Any, good)
  })

  it("hold element types or directions that do not exist", () => {
    // @ts-expect-error an unknown element type
    Arg.input("float33", ["n"])
    // @ts-expect-error a 16-bit float has no value in JavaScript
    Arg.scalar("float16")
    // @ts-expect-error a 16-bit float has no value in JavaScript
    Arg.scalar("bfloat16")
    // @ts-expect-error a dimension is a number or a name
    Arg.input("float32", [4n])
    // @ts-expect-error a shape is a list
    Arg.input("float32", 4)
    // @ts-expect-error an unknown access
    Arg.resident("float32", { access: "write" })
    // @ts-expect-error an argument comes from a constructor
    Callable.native({ signature: { a: "float32" }, kernels: [] })
  })

  it("choose what is not to be chosen", () => {
    // @ts-expect-error an unknown execution
    Callable.native({ signature, kernels: [], execution: "later" })
    // @ts-expect-error an unknown clear
    Callable.native({ signature, kernels: [], clear: "some" })
    // @ts-expect-error a kernel names its backend
    Callable.native({ signature, kernels: [{ symbol: "step" }] })
  })
})

describe("the options of a run", () => {
  it("name dimensions of the signature", () => {
    expectTypeOf<Arg.DimNames<typeof signature>>().toEqualTypeOf<"batch" | "size">()
    expectTypeOf<DeviceRunner.RunOptions<typeof signature>["dims"]>().toEqualTypeOf<
      { readonly batch?: number; readonly size?: number } | undefined
    >()
    void runner.run(step, good, { dims: { batch: 4 } })
    void runner.run(step, good, { dims: { batch: 4, size: 3 } })
    void runner.bind(step, good, { dims: {} })
    void runner.plan(step, good, {})
    void runner.plan(step, good, { dims: undefined })
  })

  it("name no other dimensions", () => {
    // @ts-expect-error an unknown dimension
    void runner.run(step, good, { dims: { bath: 4 } })
    // @ts-expect-error an unknown dimension
    void runner.bind(step, good, { dims: { batch: 4, bath: 4 } })
    // @ts-expect-error an unknown dimension
    void runner.plan(step, good, { dims: { bath: 4 } })
    const dims = { bath: 4 }
    // @ts-expect-error an unknown dimension, through a variable
    void runner.run(step, good, { dims })
    // @ts-expect-error an argument is no dimension
    void runner.run(step, good, { dims: { tokens: 4 } })
  })

  it("name none where the signature has no names", () => {
    const nameless = Callable.native({ signature: { a: Arg.input("int8", [1]) }, kernels: [] })
    void runner.run(nameless, { a: new Int8Array(1) }, { dims: {} })
    // @ts-expect-error a signature of numbers has no names
    void runner.run(nameless, { a: new Int8Array(1) }, { dims: { n: 1 } })
  })

  it("take numbers only", () => {
    // @ts-expect-error text
    void runner.run(step, good, { dims: { batch: "4" } })
    // @ts-expect-error a bigint
    void runner.run(step, good, { dims: { batch: 4n } })
    // @ts-expect-error an unknown option
    void runner.run(step, good, { dim: { batch: 4 } })
  })
})
