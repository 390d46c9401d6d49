import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck as fc } from "effect"
import { Arg, Callable, type DType, Errors, Simulator } from "leasehold"
import { ArgumentKind } from "../src/internal/core/argumentTable.ts"
import { dtypes } from "../src/internal/core/dtypes.ts"
import { Role } from "../src/internal/core/plan.ts"
import { prepareCallable, PreparedCallable } from "../src/internal/runner/preparedCallable.ts"

const signature = {
  tokens: Arg.input("int32", ["batch"]),
  cache: Arg.resident("float32", { access: "readWrite" }),
  logits: Arg.output("float32", ["batch", 256]),
  position: Arg.scalar("int32")
}

const kernel = Simulator.kernel({ library: "/nowhere/kernels.so", symbol: "decode_step" })

const prepared = (of: Arg.Signature): PreparedCallable => {
  const outcome = prepareCallable(Callable.make({ signature: of, launch: () => Effect.void }), "simulator")
  assert(outcome instanceof PreparedCallable, "the signature is valid")
  return outcome
}

const refused = (of: unknown): Errors.InvalidArgument => {
  const outcome = prepareCallable(
    Callable.make({ signature: of as Arg.Signature, launch: () => Effect.void }),
    "simulator"
  )
  assert(outcome instanceof Errors.InvalidArgument, "the signature is refused")
  assert.strictEqual(outcome.reason, "Signature")
  return outcome
}

const many = (count: number): Arg.Signature =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, Arg.scalar("int8")]))

describe("native", () => {
  it("is awaited, named after its first kernel, and clears as the runner does, unless told otherwise", () => {
    const callable = Callable.native({ signature, kernels: [kernel] })
    assert.strictEqual(callable.execution, "awaited")
    assert.strictEqual(callable.name, "decode_step")
    assert.isUndefined(callable.clear)
    assert.strictEqual(callable.signature, signature)
    assert.deepStrictEqual(callable.implementation, { _tag: "Native", kernels: [kernel] })
  })

  it("takes a name, an execution and what to clear", () => {
    const callable = Callable.native({ signature, kernels: [kernel], execution: "inline", clear: "none", name: "step" })
    assert.strictEqual(callable.execution, "inline")
    assert.strictEqual(callable.clear, "none")
    assert.strictEqual(callable.name, "step")
  })

  it("has a name without kernels", () => {
    assert.strictEqual(Callable.native({ signature, kernels: [] }).name, "callable")
  })
})

describe("make", () => {
  it("holds its launch, and runs nothing by itself", () => {
    let launched = false
    const launch = () =>
      Effect.sync(() => {
        launched = true
      })
    const callable = Callable.make({ signature, launch, clear: "outputs", name: "in TypeScript" })
    assert.deepStrictEqual(callable.implementation, { _tag: "TypeScript", launch })
    assert.strictEqual(callable.execution, "awaited")
    assert.strictEqual(callable.clear, "outputs")
    assert.strictEqual(callable.name, "in TypeScript")
    assert.strictEqual(Callable.make({ signature, launch }).name, "callable")
    assert.isFalse(launched)
  })
})

describe("isCallable", () => {
  it("knows callables from everything else", () => {
    assert.isTrue(Callable.isCallable(Callable.native({ signature, kernels: [] })))
    assert.isTrue(Callable.isCallable(Callable.make({ signature, launch: () => Effect.void })))
    for (const value of [undefined, null, 1, "callable", {}, { signature, execution: "inline" }, () => undefined]) {
      assert.isFalse(Callable.isCallable(value))
    }
  })
})

describe("kernel", () => {
  it("takes a path or a file URL for its library", () => {
    assert.deepStrictEqual(kernel, { backend: "simulator", library: "/nowhere/kernels.so", symbol: "decode_step" })
    const fromUrl = Simulator.kernel({ library: new URL("file:///no%20where/kernels.so"), symbol: "decode_step" })
    assert.strictEqual(fromUrl.library, "/no where/kernels.so")
  })
})

describe("arguments", () => {
  it("are plain data", () => {
    assert.deepStrictEqual(Arg.input("int32", ["n", 2]), { _tag: "Input", dtype: "int32", dims: ["n", 2] })
    assert.deepStrictEqual(Arg.output("uint8", []), { _tag: "Output", dtype: "uint8", dims: [] })
    assert.deepStrictEqual(Arg.inout("float16", [1]), { _tag: "Inout", dtype: "float16", dims: [1] })
    assert.deepStrictEqual(Arg.scratch("int64", ["n"]), { _tag: "Scratch", dtype: "int64", dims: ["n"] })
    assert.deepStrictEqual(Arg.scalar("uint64"), { _tag: "Scalar", dtype: "uint64" })
  })

  it("are read-only residents of any shape unless told otherwise", () => {
    assert.deepStrictEqual(Arg.resident("float32"), {
      _tag: "Resident",
      dtype: "float32",
      dims: undefined,
      access: "read"
    })
    assert.deepStrictEqual(Arg.resident("float32", { access: "readWrite", dims: ["n"] }), {
      _tag: "Resident",
      dtype: "float32",
      dims: ["n"],
      access: "readWrite"
    })
  })
})

describe("a signature", () => {
  it("is compiled in its own order, each argument to its kind and its place", () => {
    const { named, parameters, readWriteResidents } = prepared({
      scalar: Arg.scalar("int64"),
      output: Arg.output("float32", ["n"]),
      scratch: Arg.scratch("uint8", [64]),
      resident: Arg.resident("float16"),
      cache: Arg.resident("bfloat16", { access: "readWrite", dims: [2, "n"] }),
      inout: Arg.inout("int8", []),
      input: Arg.input("uint64", [0])
    })
    assert.deepStrictEqual(
      parameters.map(({ dims, dtype, index, kind, name, role }) => [index, name, kind, role, dtype, dims]),
      [
        [0, "scalar", ArgumentKind.scalar, Role.none, "int64", undefined],
        [1, "output", ArgumentKind.output, Role.output, "float32", ["n"]],
        [2, "scratch", ArgumentKind.scratch, Role.scratch, "uint8", [64]],
        [3, "resident", ArgumentKind.resident, Role.none, "float16", undefined],
        [4, "cache", ArgumentKind.resident, Role.none, "bfloat16", [2, "n"]],
        [5, "inout", ArgumentKind.inout, Role.inout, "int8", []],
        [6, "input", ArgumentKind.input, Role.input, "uint64", [0]]
      ]
    )
    assert.strictEqual(named.length, 6, "scratch is no part of the argument object")
    assert.deepStrictEqual(readWriteResidents, ["cache"])
  })

  it("has every element type with its code, its bytes and its view", () => {
    for (const [dtype, { code, elementBytes, viewTag }] of Object.entries(dtypes)) {
      const [parameter] = prepared({ a: Arg.input(dtype as DType.DType, []) }).parameters
      assert(parameter !== undefined)
      assert.strictEqual(parameter.dtypeCode, code)
      assert.strictEqual(parameter.elementBytes, elementBytes)
      assert.strictEqual(parameter.viewTag, viewTag)
    }
  })

  it("may be empty, and may have 65,536 arguments and no more", () => {
    assert.strictEqual(prepared({}).named.length, 0)
    assert.strictEqual(prepared(many(65_536)).named.length, 65_536)
    assert.include(refused(many(65_537)).message, "65536")
  })

  it("may use names that every object has", () => {
    const names = ["__proto__", "constructor", "toString", "with blanks", "ü", "n".repeat(256)]
    const { parameters } = prepared(Object.fromEntries(names.map((name) => [name, Arg.scalar("int8")])))
    assert.deepStrictEqual(parameters.map(({ name }) => name), names)
  })

  it("refuses a name that is empty or too long to stand in an error", () => {
    for (const name of ["", "n".repeat(257), "n".repeat(10_000_000)]) {
      const error = refused({ [name]: Arg.scalar("int8") })
      assert.strictEqual(error.argument, "")
      assert.isBelow(error.message.length, 200)
    }
  })

  it("refuses a direction or an element type that it does not know, by the argument's name", () => {
    for (
      const arg of [
        { _tag: "Inputs", dtype: "int32", dims: [] },
        { _tag: "toString", dtype: "int32", dims: [] },
        { _tag: "Input", dtype: "float33", dims: [] },
        { _tag: "Input", dtype: "constructor", dims: [] },
        { _tag: "Input", dtype: undefined, dims: [] }
      ]
    ) {
      assert.strictEqual(refused({ good: Arg.scalar("int8"), bad: arg }).argument, "bad")
    }
  })

  it("refuses a shape of more than eight dimensions", () => {
    const dims = Array.from({ length: 8 }, () => 1)
    prepared({ a: Arg.input("int8", dims) })
    assert.strictEqual(refused({ a: Arg.input("int8", [...dims, 1]) }).argument, "a")
    assert.strictEqual(refused({ a: Arg.resident("int8", { dims: [...dims, 1] }) }).argument, "a")
  })

  it("refuses dimensions that are neither names nor sizes", () => {
    const holes = [2]
    holes.length = 2
    for (const dim of ["", -1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, 4n, null, undefined, {}, ["n"]]) {
      assert.strictEqual(refused({ a: Arg.input("int8", ["n", dim as number]) }).argument, "a", fc.stringify(dim))
    }
    assert.strictEqual(refused({ a: Arg.scratch("int8", holes) }).argument, "a")
  })

  it("refuses an argument that is no object, instead of dying of it", () => {
    for (const arg of [undefined, null, "input", 4]) {
      assert.strictEqual(refused({ a: arg }).argument, "a")
    }
  })

  it("refuses an argument without the dimensions that its direction has", () => {
    for (const dims of [null, "n", 4, {}]) {
      assert.strictEqual(refused({ a: { _tag: "Input", dtype: "int8", dims } }).argument, "a", fc.stringify(dims))
    }
    for (const _tag of ["Input", "Output", "Inout", "Scratch"]) {
      assert.strictEqual(refused({ a: { _tag, dtype: "int8", dims: undefined } }).argument, "a", _tag)
    }
  })

  it("does not change when its dimensions do", () => {
    const dims = [1, 2]
    const { parameters } = prepared({ a: Arg.input("int8", dims) })
    dims[0] = 1000
    assert.deepStrictEqual(parameters[0]?.dims, [1, 2])
  })

  it.prop(
    "keeps its order and its dimensions whatever they are",
    [
      fc.uniqueArray(
        fc.tuple(
          fc.string({ minLength: 1, maxLength: 20 }),
          fc.array(fc.oneof(fc.string({ minLength: 1, maxLength: 3 }), fc.maxSafeNat()), { maxLength: 8 })
        ),
        { selector: ([name]) => name, maxLength: 10 }
      )
    ],
    ([entries]) => {
      const of = Object.fromEntries(entries.map(([name, dims]) => [name, Arg.input("float32", dims)]))
      const { parameters } = prepared(of)
      assert.deepStrictEqual(parameters.map(({ name }) => name), Object.keys(of))
      assert.deepStrictEqual(parameters.map(({ index }) => index), [...parameters.keys()])
      for (const { dims, name } of parameters) {
        assert.deepStrictEqual(dims, entries.find((entry) => entry[0] === name)?.[1])
      }
    }
  )
})
