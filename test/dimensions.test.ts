import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { type Arg, Errors } from "leasehold"
import {
  type GivenDims,
  type Resolution,
  resolveDimensions,
  type TensorFacts
} from "../src/internal/runner/dimensions.ts"

/** A plain view: it knows only how many elements it has. */
const view = (name: string, dims: ReadonlyArray<Arg.Dim>, elementCount: number): TensorFacts => ({
  name,
  dims,
  shape: undefined,
  elementCount
})

/** A host tensor or a resident: it has a shape of its own. */
const shaped = (
  name: string,
  dims: ReadonlyArray<Arg.Dim> | undefined,
  shape: ReadonlyArray<number>
): TensorFacts => ({ name, dims, shape, elementCount: shape.reduce((count, dim) => count * dim, 1) })

const scratch = (name: string, dims: ReadonlyArray<Arg.Dim>): TensorFacts => ({
  name,
  dims,
  shape: undefined,
  elementCount: -1
})

const resolved = (facts: ReadonlyArray<TensorFacts>, given: GivenDims = {}): Resolution => {
  const resolution = resolveDimensions(facts, given)
  assert("shapes" in resolution, `it resolves: ${"message" in resolution ? resolution.message : ""}`)
  return resolution
}

const mismatch = (facts: ReadonlyArray<TensorFacts>, given: GivenDims = {}): Errors.ShapeMismatch => {
  const resolution = resolveDimensions(facts, given)
  assert(resolution instanceof Errors.ShapeMismatch, "it is a mismatch")
  return resolution
}

const invalid = (facts: ReadonlyArray<TensorFacts>, given: GivenDims = {}): Errors.InvalidArgument => {
  const resolution = resolveDimensions(facts, given)
  assert(resolution instanceof Errors.InvalidArgument, "it is an invalid argument")
  return resolution
}

describe("resolveDimensions", () => {
  it("takes the one name of a plain view from its number of elements", () => {
    const { dims, shapes } = resolved([view("a", ["n"], 12), view("b", [3, "m", 2], 24)])
    assert.deepStrictEqual(dims, { n: 12, m: 4 })
    assert.deepStrictEqual(shapes, [[12], [3, 4, 2]])
  })

  it("takes every name of a tensor that has a shape", () => {
    const { dims, shapes } = resolved([shaped("a", ["rows", "columns", 2], [3, 5, 2])])
    assert.deepStrictEqual(dims, { rows: 3, columns: 5 })
    assert.deepStrictEqual(shapes, [[3, 5, 2]])
  })

  it("unifies names over all tensors, whatever their order", () => {
    const facts = [view("a", ["m", "k"], 6), view("b", ["k", "n"], 12), view("k", ["k"], 3), view("c", ["m", "n"], 8)]
    for (const order of [facts, facts.toReversed(), [facts[2]!, facts[0]!, facts[3]!, facts[1]!]]) {
      assert.deepStrictEqual(resolved(order).dims, { m: 2, k: 3, n: 4 })
    }
  })

  it("learns in as many passes as it takes", () => {
    const chain = [
      view("d", ["c", "d"], 15),
      view("c", ["b", "c"], 6),
      view("b", ["a", "b"], 14),
      view("a", ["a"], 7)
    ]
    assert.deepStrictEqual(resolved(chain).dims, { a: 7, b: 2, c: 3, d: 5 })
  })

  it("gives scratch the shape that other tensors tell", () => {
    const { shapes } = resolved([scratch("work", ["batch", 4096]), view("tokens", ["batch"], 8)])
    assert.deepStrictEqual(shapes, [[8, 4096], [8]])
  })

  it("keeps the shape of a tensor of any shape, and counts a view without dimensions as one row", () => {
    const { dims, shapes } = resolved([
      shaped("weights", undefined, [2, 3]),
      { name: "flat", dims: undefined, shape: undefined, elementCount: 5 }
    ])
    assert.deepStrictEqual(dims, {})
    assert.deepStrictEqual(shapes, [[2, 3], [5]])
  })

  it("takes a scalar, or a tensor of rank zero, for one element", () => {
    assert.deepStrictEqual(resolved([view("position", [], 1)]).shapes, [[]])
    assert.strictEqual(mismatch([view("one", [], 2)]).tensor, "one")
    assert.strictEqual(mismatch([view("one", [], 0)]).tensor, "one")
  })

  it("resolves no tensors at all", () => {
    assert.deepStrictEqual(resolved([]), { dims: {}, shapes: [] })
  })

  it("refuses two sizes for one name, and names the tensor that came second", () => {
    const error = mismatch([view("a", ["n"], 4), view("b", ["n"], 5)])
    assert.strictEqual(error.tensor, "b")
    assert.strictEqual(error.expected, "[n = 4]")
    assert.strictEqual(error.actual, "5 elements")
    assert.strictEqual(error.message, "\"b\" should be [n = 4], but it is 5 elements")
  })

  it("refuses a shape of another rank, or with another number where the signature has one", () => {
    assert.strictEqual(mismatch([shaped("a", ["n"], [2, 2])]).actual, "[2, 2]")
    assert.strictEqual(mismatch([shaped("a", ["n"], [4, 1])]).actual, "[4, 1]")
    assert.strictEqual(mismatch([shaped("a", ["n", 1], [4])]).actual, "[4]")
    assert.strictEqual(mismatch([shaped("a", [2, "n"], [4])]).expected, "[2, n]")
    assert.strictEqual(mismatch([shaped("a", [2, "n"], [3, 4])]).tensor, "a")
    assert.strictEqual(mismatch([view("a", [2, 3], 5)]).expected, "[2, 3]")
  })

  it("refuses the same elements in another shape", () => {
    assert.strictEqual(mismatch([shaped("a", [2, 3], [3, 2])]).actual, "[3, 2]")
    assert.strictEqual(mismatch([shaped("a", ["m", "n"], [2, 3]), shaped("b", ["m", "n"], [3, 2])]).tensor, "b")
  })

  it("refuses a number of elements that the other dimensions do not divide", () => {
    assert.strictEqual(mismatch([view("a", [4, "n"], 10)]).expected, "[4, n]")
    assert.strictEqual(mismatch([view("a", [4, "n"], 3)]).actual, "3 elements")
  })

  it("finds the side of a square, and of a cube, of a name that stands several times", () => {
    assert.deepStrictEqual(resolved([view("a", ["n", "n"], 49)]).dims, { n: 7 })
    assert.deepStrictEqual(resolved([view("a", ["n", 2, "n"], 18)]).shapes, [[3, 2, 3]])
    assert.deepStrictEqual(resolved([view("a", ["n", "n", "n"], 1000)]).dims, { n: 10 })
    assert.deepStrictEqual(resolved([view("a", ["n", "n"], 0)]).dims, { n: 0 })
  })

  it("refuses what is no square, however close", () => {
    const side = 94_906_265
    for (const count of [2, 48, 50, side * side - 1, side * side + 1]) {
      assert.strictEqual(mismatch([view("a", ["n", "n"], count)]).tensor, "a", `${count}`)
    }
    assert.deepStrictEqual(resolved([view("a", ["n", "n"], side * side)]).dims, { n: side })
    assert.strictEqual(mismatch([shaped("a", ["n", "n"], [2, 3])]).tensor, "a")
  })

  it("finds every side of every power up to the largest rank", () => {
    for (let rank = 1; rank <= 8; rank++) {
      const dims = Array.from({ length: rank }, () => "n")
      const largest = Math.floor(Number.MAX_SAFE_INTEGER ** (1 / rank))
      for (const side of [0, 1, 2, 3, 5, 7, 10, 11, 13, 64, 97, largest - 1]) {
        if (side >= 0 && BigInt(side) ** BigInt(rank) <= BigInt(Number.MAX_SAFE_INTEGER)) {
          const count = Number(BigInt(side) ** BigInt(rank))
          assert.deepStrictEqual(resolved([view("a", dims, count)]).dims, { n: side }, `${side}^${rank}`)
        }
      }
    }
  })

  it("asks for a name that no argument tells", () => {
    const error = invalid([view("a", ["m", "n"], 12)])
    assert.strictEqual(error.reason, "Dimension")
    assert.strictEqual(error.argument, "a")
    assert.include(error.message, "\"m\"")
    assert.include(error.message, "dims")
    assert.strictEqual(invalid([scratch("work", ["k"])]).argument, "work")
  })

  it("takes names that are given beside the arguments", () => {
    assert.deepStrictEqual(resolved([view("a", ["m", "n"], 12)], { m: 3 }).dims, { m: 3, n: 4 })
    assert.deepStrictEqual(resolved([scratch("work", ["k", 2])], { k: 5 }).shapes, [[5, 2]])
    assert.deepStrictEqual(resolved([view("a", ["n"], 3)], { n: undefined }).dims, { n: 3 })
  })

  it("refuses a given name that an argument contradicts", () => {
    const error = mismatch([view("a", ["n"], 3)], { n: 4 })
    assert.strictEqual(error.tensor, "a")
    assert.strictEqual(error.expected, "[n = 4]")
    assert.strictEqual(mismatch([shaped("a", ["n"], [3])], { n: 4 }).actual, "[3]")
  })

  it("refuses a given dimension that is no size", () => {
    for (const value of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "4", 4n, null, {}]) {
      const error = invalid([view("a", ["n"], 4)], { n: value as number })
      assert.strictEqual(error.reason, "Dimension", fc.stringify(value))
      assert.include(error.message, "\"n\"")
    }
  })

  it("learns from an empty tensor that a lone name is zero", () => {
    assert.deepStrictEqual(resolved([view("a", ["n"], 0)]).dims, { n: 0 })
    assert.deepStrictEqual(resolved([view("a", [4, "n"], 0)]).shapes, [[4, 0]])
    assert.deepStrictEqual(resolved([shaped("a", ["m", "n"], [0, 7])]).dims, { m: 0, n: 7 })
  })

  it("learns nothing about the other names of an empty tensor", () => {
    const error = invalid([view("a", [0, "n"], 0)])
    assert.strictEqual(error.reason, "Dimension")
    assert.deepStrictEqual(resolved([view("a", [0, "n"], 0), view("b", ["n"], 3)]).dims, { n: 3 })
    assert.deepStrictEqual(resolved([view("a", ["m", "n"], 0), view("b", ["m"], 0)], { n: 9 }).dims, { n: 9, m: 0 })
  })

  it("refuses elements where a dimension is zero, and none where all are more", () => {
    assert.strictEqual(mismatch([view("a", [0, "n"], 3)]).tensor, "a")
    assert.strictEqual(mismatch([view("a", [2, 3], 0)]).tensor, "a")
    assert.strictEqual(mismatch([view("a", ["n"], 3), view("b", ["n"], 0)]).tensor, "b")
  })

  it("keeps a name that every object has apart from what an object inherits", () => {
    for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      const { dims } = resolved([view("a", [name], 4)])
      assert.deepStrictEqual(Object.entries(dims), [[name, 4]])
    }
  })

  it("refuses scratch with more elements than can be counted", () => {
    const error = invalid([scratch("work", ["n", 2 ** 27])], { n: 2 ** 27 })
    assert.strictEqual(error.reason, "SizeOverflow")
    assert.strictEqual(error.argument, "work")
    assert.include(error.message, `[${2 ** 27}, ${2 ** 27}]`)
  })

  it("refuses what only rounds to the elements of a view", () => {
    assert.strictEqual(mismatch([view("a", ["m", 3], 2 ** 53 - 1)], { m: 2 ** 53 - 1 }).tensor, "a")
    assert.strictEqual(mismatch([view("a", [2 ** 53 - 1, 2 ** 53 - 1, "n"], 7)]).tensor, "a")
  })

  it("takes an empty scratch, however large its other dimensions are", () => {
    assert.deepStrictEqual(resolved([scratch("work", [2 ** 40, 2 ** 40, "n"])], { n: 0 }).shapes, [[
      2 ** 40,
      2 ** 40,
      0
    ]])
  })

  it.prop(
    "finds exactly the names that shapes were made of, and the shapes themselves",
    [
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
      fc.array(fc.array(fc.oneof(fc.nat(4), fc.integer({ min: 5, max: 8 })), { maxLength: 5 }), { maxLength: 6 }),
      fc.infiniteStream(fc.boolean())
    ],
    ([sizes, patterns, coins]) => {
      const valueOf = (dim: Arg.Dim): number => typeof dim === "number" ? dim : sizes[Number(dim.slice(1))]!
      const signature = patterns.map((pattern) =>
        pattern.map((choice): Arg.Dim => choice < sizes.length ? `d${choice}` : choice)
      )
      const facts = signature.map((dims, index) => {
        const shape = dims.map(valueOf)
        const count = shape.reduce((product, dim) => product * dim, 1)
        return coins.next().value === true ? shaped(`t${index}`, dims, shape) : view(`t${index}`, dims, count)
      })
      // One tensor tells each name by itself, so that there is always enough to know.
      const names = [...new Set(signature.flat().filter((dim) => typeof dim === "string"))]
      const tellers = names.map((name) => view(`of ${name}`, [name], valueOf(name)))
      for (const order of [[...facts, ...tellers], [...tellers, ...facts]]) {
        const { dims, shapes } = resolved(order)
        assert.deepStrictEqual(dims, Object.fromEntries(names.map((name) => [name, valueOf(name)])))
        assert.deepStrictEqual(shapes, order.map((tensor) => (tensor.dims ?? []).map(valueOf)))
      }
    },
    { fastCheck: { numRuns: 1000 } }
  )

  it.prop(
    "answers with true shapes, a mismatch or an invalid argument, whatever it is given",
    [
      fc.array(
        fc.record({
          dims: fc.array(fc.oneof(fc.constantFrom("a", "b", "c"), fc.nat(3), fc.maxSafeNat()), { maxLength: 4 }),
          elementCount: fc.oneof(fc.integer({ min: -1, max: 64 }), fc.maxSafeNat())
        }),
        { maxLength: 5 }
      ),
      fc.dictionary(fc.constantFrom("a", "b", "c"), fc.oneof(fc.nat(4), fc.maxSafeNat()), { maxKeys: 2 })
    ],
    ([tensors, given]) => {
      const facts = tensors.map(({ dims, elementCount }, index) => view(`t${index}`, dims, elementCount))
      const resolution = resolveDimensions(facts, given)
      if (!("shapes" in resolution)) {
        return
      }
      for (const [index, { dims, elementCount }] of facts.entries()) {
        const shape = resolution.shapes[index]!
        const exact = shape.reduce((product, dim) => product * BigInt(dim), 1n)
        assert.isAtMost(Number(exact), Number.MAX_SAFE_INTEGER)
        assert.isTrue(elementCount === -1 || exact === BigInt(elementCount))
        const expected = dims!.map((dim) => typeof dim === "number" ? dim : resolution.dims[dim]!)
        assert.deepStrictEqual(shape, expected)
      }
      for (const [name, value] of Object.entries(given)) {
        assert.strictEqual(resolution.dims[name], value)
      }
    },
    { fastCheck: { numRuns: 3000 } }
  )
})
