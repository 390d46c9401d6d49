/**
 * The shapes of the garbage torture: ways in which host memory goes away while a native call is in flight. What is in the
 * hands of a shape while the calls are in flight is only what it needs to judge the result: arrays are made, and forgotten,
 * in functions of their own, because a closure keeps all that the closures beside it use.
 */
import { Effect, Exit, Fiber, Scope } from "effect"
import type { DeviceRunner, HostTensor, ResidentTensor } from "leasehold"
import { add } from "../utils/kernels.ts"
import { isMajor } from "./collector.ts"
import type { World } from "./tortureWorld.ts"

/** How a round went: with the right bytes, or refused by a typed error, told by its reason. */
export type Verdict = "right bytes" | "Detached" | "Resizable"

/** A round whose calls are in flight. */
export interface Started {
  /** Makes the calls that are to wait behind those in flight. */
  readonly behind?: Effect.Effect<void>
  /** Takes memory away. */
  readonly during: () => void
  /** Whether what has to wait for the calls in flight still waits. Asked last before the gate opens. */
  readonly isWaiting?: () => boolean
  readonly end: Effect.Effect<Verdict>
}

export interface Shape {
  readonly name: string
  /** Calls that are in flight once a round has started, and stay so until the gate opens. */
  readonly heldCount: number
  readonly make: (world: World) => Effect.Effect<(round: number) => Effect.Effect<Started>, never, Scope.Scope>
}

const lengths = [2, 16, 64, 1024, 16_384]

const lengthOf = (round: number): number => lengths[round % lengths.length]!

const element = (round: number, index: number): number => (index * 7 + round) % 1009

const vector = (round: number, scale = 1): Float32Array =>
  Float32Array.from({ length: lengthOf(round) }, (_, index) => element(round, index) * scale)

const untouched = -7

const check = (actual: Float32Array, expected: (index: number) => number, what: string): Verdict => {
  const wrong = actual.findIndex((value, index) => value !== expected(index))
  if (wrong >= 0) {
    throw new Error(`${what}: element ${wrong} of ${actual.length} is ${actual[wrong]}, not ${expected(wrong)}`)
  }
  return "right bytes"
}

const sum = (round: number) => (index: number): number => element(round, index) * 3

/** A run that should be refused because memory has gone. */
const refusal = (exit: Exit.Exit<void, unknown>, expected: Verdict): Verdict => {
  const error = Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined
  const reason = typeof error === "object" && error !== null && "reason" in error ? error.reason : undefined
  if (reason !== expected) {
    throw new Error(`expected ${expected}, got ${Exit.isFailure(exit) ? exit.cause.toString() : "a success"}`)
  }
  return expected
}

const transfer = (view: ArrayBufferView | undefined): ArrayBuffer => {
  const buffer = view?.buffer
  if (!(buffer instanceof ArrayBuffer)) {
    throw new Error("only what is still there can be transferred")
  }
  return structuredClone(buffer, { transfer: [buffer] })
}

/** Held by this object only, so that it can be let go. */
interface Held<A> {
  value: A | undefined
}

const held = <A>(value: A): Held<A> => ({ value })

const letGo = (...all: ReadonlyArray<Held<unknown>>): void => {
  for (const one of all) {
    one.value = undefined
  }
}

const runInto = (runner: DeviceRunner.Service, round: number, target: ArrayBuffer) => {
  const view = new Float32Array(target)
  return {
    run: runner.run(add, { a: vector(round), b: vector(round, 2), c: view.fill(untouched) }),
    weak: isMajor(round) ? new WeakRef(view) : undefined
  }
}

/** A run all of whose views are dropped: the output's must be held until the copy back. */
const droppedViews: Shape = {
  name: "a run whose views are dropped",
  heldCount: 1,
  make: ({ runner }) =>
    Effect.map(runner, (runner) => (round) =>
      Effect.gen(function*() {
        const target = new ArrayBuffer(lengthOf(round) * 4)
        const started = runInto(runner, round, target)
        const { weak } = started
        const fiber = yield* Effect.fork(started.run)
        return {
          during: () => {
            if (weak !== undefined && weak.deref() === undefined) {
              throw new Error("nobody holds the view of an output whose run is in flight")
            }
          },
          end: Effect.map(Fiber.join(fiber), () => check(new Float32Array(target), sum(round), "output")).pipe(
            Effect.orDie
          )
        }
      }))
}

/** A run whose buffers are transferred: inputs were copied before, an output that is gone is refused and not written. */
const transferredViews: Shape = {
  name: "a run whose buffers are transferred",
  heldCount: 1,
  make: ({ runner }) =>
    Effect.map(runner, (runner) => (round) =>
      Effect.gen(function*() {
        const [a, b, c] = [vector(round), vector(round, 2), vector(round).fill(untouched)].map(held) as [
          Held<Float32Array>,
          Held<Float32Array>,
          Held<Float32Array>
        ]
        const fiber = yield* Effect.fork(runner.run(add, { a: a.value!, b: b.value!, c: c.value! }))
        const takesOutput = round % 2 === 1
        const isFreed = round % 4 === 3
        let kept: ArrayBuffer | undefined
        return {
          during: () => {
            // What was transferred is dropped too, so that the memory goes: all of it in every fourth round.
            transfer(a.value)
            transfer(b.value)
            if (takesOutput) {
              const moved = transfer(c.value)
              kept = isFreed ? undefined : moved
              letGo(c)
            }
            letGo(a, b)
          },
          end: Effect.map(Fiber.await(fiber), (exit) => {
            if (!takesOutput) {
              Exit.getOrElse(exit, (cause) => {
                throw new Error(cause.toString())
              })
              return check(c.value!, sum(round), "output")
            }
            if (kept !== undefined) {
              check(new Float32Array(kept), () => untouched, "transferred output")
            }
            return refusal(exit, "Detached")
          })
        }
      }))
}

/** `maxByteLength` is newer than the library of types. */
const Resizable = ArrayBuffer as unknown as new(
  byteLength: number,
  options: { readonly maxByteLength: number }
) => ArrayBuffer & { readonly resize: (byteLength: number) => void }

const entrances = ["input", "output", "upload", "download"] as const

/** Views of resizable buffers, which shrink right after the call: refused wherever they enter, before a native call. */
const shrunkViews: Shape = {
  name: "views whose buffers shrink",
  heldCount: 0,
  make: ({ runner }) =>
    Effect.gen(function*() {
      const owner = yield* runner
      const resident = yield* owner.allocate("float32", [16_384])
      return (round: number) =>
        Effect.gen(function*() {
          const byteCount = lengthOf(round) * 4
          const buffer = new Resizable(byteCount, { maxByteLength: byteCount * 2 })
          // One view follows the length of its buffer, the other has one of its own.
          const view = round % 2 === 0 ? new Float32Array(buffer) : new Float32Array(buffer, 0, lengthOf(round))
          const enter: Record<(typeof entrances)[number], () => Effect.Effect<void, unknown>> = {
            input: () => owner.run(add, { a: view, b: vector(round), c: vector(round) }),
            output: () => owner.run(add, { a: vector(round), b: vector(round), c: view }),
            upload: () => resident.upload(view, { offsetElements: 0 }),
            download: () => resident.download(view, { offsetElements: 0 })
          }
          const fiber = yield* Effect.fork(enter[entrances[round % entrances.length]!]())
          const shrunk = round % 3 === 0 ? 0 : 4
          if (round % 2 === 0) {
            buffer.resize(shrunk)
          }
          return {
            during: () => buffer.resize(shrunk),
            end: Effect.map(Fiber.await(fiber), (exit) => refusal(exit, "Resizable"))
          }
        })
    }).pipe(Effect.orDie)
}

const uploadFresh = (resident: ResidentTensor.ResidentTensor<"float32">, round: number) =>
  resident.upload(vector(round), { offsetElements: 0 })

/** Uploads and downloads that wait behind a run in flight, whose views are dropped or transferred meanwhile. */
const waitingMoves: Shape = {
  name: "uploads and downloads whose views are dropped or transferred",
  heldCount: 1,
  make: ({ runner }) =>
    Effect.gen(function*() {
      const owner = yield* runner
      const resident = yield* owner.allocate("float32", [16_384])
      return (round: number) =>
        Effect.gen(function*() {
          const run = runInto(owner, round, new ArrayBuffer(lengthOf(round) * 4)).run
          const running = yield* Effect.fork(run)
          const source = held(vector(round, 5))
          const target = held(vector(round).fill(untouched))
          const takes = round % 3
          let moves: ReadonlyArray<Fiber.Fiber<void, unknown>> = []
          let kept: ArrayBuffer | undefined
          return {
            behind: Effect.gen(function*() {
              moves = [
                yield* Effect.fork(
                  takes === 0 ? uploadFresh(resident, round) : resident.upload(source.value!, { offsetElements: 0 })
                ),
                yield* Effect.fork(resident.download(target.value!, { offsetElements: 0 }))
              ]
            }),
            during: () => {
              if (takes === 1) {
                kept = transfer(target.value)
                letGo(target)
              } else if (takes === 2) {
                transfer(source.value)
              }
              letGo(source)
            },
            end: Effect.gen(function*() {
              yield* Fiber.join(running)
              const [uploaded, downloaded] = yield* Effect.forEach(moves, Fiber.await)
              const after = new Float32Array(lengthOf(round))
              yield* resident.download(after, { offsetElements: 0 })
              if (takes === 2) {
                return refusal(uploaded!, "Detached")
              }
              check(after, (index) => element(round, index) * (takes === 0 ? 1 : 5), "resident")
              if (takes === 1) {
                check(new Float32Array(kept!), () => untouched, "transferred target")
                return refusal(downloaded!, "Detached")
              }
              return check(target.value!, (index) => element(round, index), "target")
            }).pipe(Effect.orDie)
          }
        })
    }).pipe(Effect.orDie)
}

type Float32HostTensor = HostTensor.HostTensor<"float32">

/** A run on host tensors, whose references are dropped and whose scope closes while the device uses them. */
const droppedHostTensors: Shape = {
  name: "host tensors dropped and closed in use",
  heldCount: 1,
  make: ({ runner }) =>
    Effect.map(runner, (runner) => (round) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const allocate = Effect.map(Scope.extend(runner.allocateHost("float32", [lengthOf(round)]), scope), held)
        const [a, b, c]: ReadonlyArray<Held<Float32HostTensor>> = [yield* allocate, yield* allocate, yield* allocate]
        a!.value!.view.set(vector(round))
        b!.value!.view.set(vector(round, 2))
        const output = c!.value!.view
        const running = yield* Effect.fork(runner.run(add, { a: a!.value!, b: b!.value!, c: c!.value! }))
        let closing: Fiber.RuntimeFiber<void> | undefined
        return {
          during: () => {
            letGo(a!, b!, c!)
            closing = Effect.runFork(Scope.close(scope, Exit.void))
          },
          isWaiting: () => closing?.unsafePoll() === null,
          end: Effect.gen(function*() {
            yield* Fiber.join(running)
            yield* Fiber.join(closing!)
            return check(output, sum(round), "output")
          }).pipe(Effect.orDie)
        }
      }).pipe(Effect.orDie))
}

export const shapes: ReadonlyArray<Shape> = [
  droppedViews,
  transferredViews,
  shrunkViews,
  waitingMoves,
  droppedHostTensors
]
