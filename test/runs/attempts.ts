/** Commands as Effects on a runner, and what the model makes of each. */
import { Effect, Exit, Scope } from "effect"
import { Arg, Callable, type DeviceRunner, type HostTensor, type ResidentTensor } from "leasehold"
import { native } from "../utils/kernels.ts"
import { type Command, residentCount } from "./commands.ts"
import { alignmentBytes, type Model } from "./model.ts"

const vector = Arg.input("float32", ["n"])

const add = (execution: Callable.Execution) =>
  native("test_add", { a: vector, b: vector, c: Arg.output("float32", ["n"]) }, { execution })
const scale = (execution: Callable.Execution) =>
  native("test_scale", { x: Arg.inout("float32", ["n"]), factor: Arg.scalar("float32") }, { execution })
const copy = (execution: Callable.Execution) =>
  native("test_copy", { x: Arg.input("uint8", ["n"]), y: Arg.output("uint8", ["n"]) }, { execution })
const accumulate = (execution: Callable.Execution) =>
  native("test_accumulate", {
    sum: Arg.resident("float32", { dims: ["n"], access: "readWrite" }),
    x: vector,
    y: Arg.output("float32", ["n"])
  }, { execution })
const failIf = native("test_fail_if", { shall: Arg.scalar("int32"), y: Arg.output("int32", [2]) }, {
  execution: "inline"
})
const negate = Callable.make({
  signature: { x: vector, y: Arg.output("float32", ["n"]) },
  launch: ({ read, write }) => Effect.flatMap(read("x"), (x) => write("y", x.map((value) => -value)))
})

/** Both executions of each kernel's callable, made once: a runner remembers them by identity. */
const both = <C>(make: (execution: Callable.Execution) => C) => ({ inline: make("inline"), awaited: make("awaited") })
const kernels = { add: both(add), scale: both(scale), copy: both(copy), accumulate: both(accumulate) }

/** A view of the host that a command may change, and to what. */
export interface Watched {
  readonly view: Float32Array | Uint8Array
  readonly before: ReadonlyArray<number>
  readonly after: ReadonlyArray<number>
}

/** A command as an Effect, and what the model makes of it. */
export interface Attempt {
  readonly effect: Effect.Effect<unknown, { readonly _tag: string }>
  /** For a run: the bytes of each tensor for which it needs room. */
  readonly needs?: ReadonlyArray<number>
  /** The error that it meets without anything going wrong. */
  readonly refusal?: string | undefined
  readonly watched?: ReadonlyArray<Watched>
  /** What it does to the model when it succeeds. */
  readonly onSuccess?: () => void
  /** What is open when it has failed or was interrupted. */
  readonly onFailure?: (error: unknown) => void
  /** Whether a success brings outputs back. */
  readonly completes?: boolean
}

/** Bytes of each host tensor. */
export const hostLength = 24

const untouched = -7

const valuesOf = (length: number, start: number): Float32Array =>
  Float32Array.from({ length }, (_, index) => start + index)

const watch = (view: Watched["view"], after: ArrayLike<number>): Watched => ({
  view,
  before: Array.from(view),
  after: Array.from(after)
})
/** A field of something that may be an error. */
export const field = (error: unknown, name: string): unknown =>
  typeof error === "object" && error !== null ? Reflect.get(error, name) : undefined
interface HeldResident {
  readonly tensor: ResidentTensor.ResidentTensor<"float32">
  readonly scope: Scope.CloseableScope
}
/** The host tensors of a session. */
export type Hosts = readonly [HostTensor.HostTensor<"uint8">, HostTensor.HostTensor<"uint8">]

/** Makes attempts of commands, and keeps the residents that they name. */
export class Attempts {
  readonly #runner: DeviceRunner.Service
  readonly #model: Model
  readonly #hosts: Hosts
  readonly #held: Array<HeldResident | undefined> = Array.from({ length: residentCount }, () => undefined)

  constructor(runner: DeviceRunner.Service, model: Model, hosts: Hosts) {
    this.#runner = runner
    this.#model = model
    this.#hosts = hosts
  }

  /** What a command is, at this point of the session. */
  of(command: Command): Attempt {
    const model = this.#model
    const runner = this.#runner
    const start = command.number % 1000
    const execution = "isInline" in command && command.isInline ? "inline" : "awaited"
    switch (command.kind) {
      case "add": {
        const [a, b] = [valuesOf(command.length, start), valuesOf(command.length, 3 * start)]
        const c = new Float32Array(command.length).fill(untouched)
        return {
          effect: runner.run(kernels.add[execution], { a, b, c }),
          needs: [a.byteLength, b.byteLength, c.byteLength],
          watched: [watch(c, a.map((value, index) => value + b[index]!))],
          completes: true
        }
      }
      case "scale": {
        const x = valuesOf(command.length, start)
        return {
          effect: runner.run(kernels.scale[execution], { x, factor: 3 }),
          needs: [x.byteLength],
          watched: [watch(x, x.map((value) => 3 * value))],
          completes: true
        }
      }
      case "typescript": {
        const x = valuesOf(command.length, start + 1)
        const y = new Float32Array(command.length).fill(untouched)
        return {
          effect: runner.run(negate, { x, y }),
          needs: [x.byteLength, y.byteLength],
          watched: [watch(y, x.map((value) => -value))],
          completes: true
        }
      }
      case "copyHost": {
        const [x, y] = this.#hosts
        x.view.forEach((_, index) => {
          x.view[index] = start + index
        })
        y.view.fill(255)
        return {
          effect: runner.run(kernels.copy[execution], { x, y }),
          needs: [hostLength, hostLength],
          watched: [watch(y.view, x.view)],
          completes: true
        }
      }
      case "failIf": {
        const y = new Int32Array(2)
        return {
          effect: runner.run(failIf, { shall: command.shall ? 7 : 0, y }),
          needs: [y.byteLength],
          refusal: command.shall ? "LaunchFailed" : undefined,
          completes: true
        }
      }
      case "bound": {
        const [a, b] = [valuesOf(command.length, start), valuesOf(command.length, 5 * start)]
        const c = new Float32Array(command.length).fill(untouched)
        const isValidated = command.until === "validate"
        return {
          effect: Effect.scoped(Effect.gen(function*() {
            const run = yield* runner.bind(kernels.add.awaited, { a, b, c })
            if (command.until !== "bind") {
              yield* run.launch
            }
            if (isValidated) {
              yield* run.validate
            }
          })),
          needs: [a.byteLength, b.byteLength, c.byteLength],
          watched: [watch(c, isValidated ? a.map((value, index) => value + b[index]!) : c)],
          completes: isValidated
        }
      }
      case "configure": {
        const { chunkCount, maxBytes } = command
        return {
          effect: runner.configure({
            maxBytes,
            alignmentBytes,
            chunks: chunkCount === 1 || maxBytes === 0 ? "single" : { count: chunkCount }
          }),
          onSuccess: () => {
            model.maxBytes = maxBytes
            model.chunkCount = maxBytes === 0 ? 1 : chunkCount
            model.isUnconfigured = false
          }
        }
      }
      case "allocate":
        return this.#allocate(command.length)
      default:
        return this.#withResident(command, start)
    }
  }

  #allocate(length: number): Attempt {
    const model = this.#model
    const runner = this.#runner
    const place = this.#held.indexOf(undefined)
    if (place < 0) {
      return { effect: Effect.void }
    }
    return {
      effect: Effect.uninterruptibleMask((restore) =>
        Effect.gen(this, function*() {
          const scope = yield* Scope.make()
          const allocated = Scope.extend(runner.allocate("float32", [length]), scope)
          const tensor = yield* Effect.onError(restore(allocated), (cause) => Scope.close(scope, Exit.failCause(cause)))
          this.#held[place] = { tensor, scope }
          // It is there, even if the fiber is interrupted on its way out.
          model.residents[place] = { length, values: new Float32Array(length) }
        })
      )
    }
  }

  /** Commands to a resident that does not exist do nothing. */
  #withResident(
    command: Extract<Command, { readonly resident: number }>,
    start: number
  ): Attempt {
    const model = this.#model
    const runner = this.#runner
    const held = this.#held[command.resident]
    const resident = model.residents[command.resident]
    if (held === undefined || resident === undefined) {
      return { effect: Effect.void }
    }
    const { length, values } = resident
    const forget = (): void => {
      resident.values = undefined
    }
    switch (command.kind) {
      case "accumulate": {
        const x = valuesOf(length, start)
        const y = new Float32Array(length).fill(untouched)
        // Where nobody knows what it holds, nobody knows what comes out.
        const sum = (values ?? y).map((value, index) => value + x[index]!)
        return {
          effect: runner.run(kernels.accumulate[command.isInline ? "inline" : "awaited"], { sum: held.tensor, x, y }),
          needs: [x.byteLength, y.byteLength],
          watched: values === undefined ? [] : [watch(y, sum)],
          completes: true,
          onSuccess: () => {
            resident.values = y.slice()
          },
          onFailure: (error) => {
            const names = field(error, "indeterminateResidents")
            const isKnown = typeof error === "object" && (!Array.isArray(names) || !names.includes("sum"))
            if (!isKnown) {
              forget()
            }
          }
        }
      }
      case "upload": {
        const source = valuesOf(length, 7 * start)
        return {
          effect: held.tensor.upload(source),
          onSuccess: () => {
            resident.values = source
          },
          onFailure: forget
        }
      }
      case "download": {
        const target = new Float32Array(length).fill(untouched)
        return { effect: held.tensor.download(target), watched: values === undefined ? [] : [watch(target, values)] }
      }
      default:
        return {
          effect: Effect.uninterruptible(Effect.suspend(() => {
            this.#held[command.resident] = undefined
            model.residents[command.resident] = undefined
            return Scope.close(held.scope, Exit.void)
          }))
        }
    }
  }
}
