/**
 * What a run launches: a typed signature of named arguments, and either native kernels or a function in TypeScript. A
 * callable is pure data; a runner loads its kernels on first use.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type * as Arg from "./Arg.ts"
import type { DType, ScalarDType, ScalarValue, View } from "./DType.ts"
import type {
  InvalidArgument,
  RunnerClosed,
  RunnerPoisoned,
  ShapeMismatch,
  StaleRun,
  TransferFailed
} from "./Errors.ts"
import type * as HostApi from "./HostApi.ts"
import type { HostTensor } from "./HostTensor.ts"
import type { ResidentTensor } from "./ResidentTensor.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("leasehold/Callable")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * What is zeroed on the device before the launch. Zeroing rides in the call that stages the inputs.
 *
 * - `"all"`: outputs, scratch and padding.
 * - `"outputs"`: outputs only; a kernel may read in scratch and padding what an earlier run left there.
 * - `"none"`: nothing; what a kernel does not write of an output is what an earlier run left there.
 *
 * @since 0.1.0
 * @category models
 */
export type Clear = "all" | "outputs" | "none"

/**
 * Where a native kernel runs.
 *
 * - `"awaited"`: off the event loop's thread; the fiber waits.
 * - `"inline"`: on the event loop's thread where the backend can answer at once. The loop stands still meanwhile, and the
 *   call cannot be timed out; it is for kernels of microseconds.
 *
 * @since 0.1.0
 * @category models
 */
export type Execution = "inline" | "awaited"

/**
 * @since 0.1.0
 * @category models
 */
export interface Callable<in out S extends Arg.Signature, out E = never> {
  readonly [TypeId]: TypeId
  /** The name that errors and spans show. */
  readonly name: string
  readonly signature: S
  readonly execution: Execution
  /** Takes the place of the runner's `clear` where it is given. */
  readonly clear: Clear | undefined
  readonly implementation: Native | TypeScript<S, E>
}

/**
 * A callable of any signature and failure.
 *
 * @since 0.1.0
 * @category models
 */
export interface Any {
  readonly [TypeId]: TypeId
  readonly name: string
  readonly signature: Arg.Signature
  readonly execution: Execution
  readonly clear: Clear | undefined
  readonly implementation: Native | {
    readonly _tag: "TypeScript"
    readonly launch: (context: never) => Effect.Effect<void, unknown>
  }
}

/**
 * Kernels of one or several backends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Native {
  readonly _tag: "Native"
  readonly kernels: ReadonlyArray<HostApi.Kernel>
}

/**
 * A function in TypeScript that computes through `read` and `write`.
 *
 * @since 0.1.0
 * @category models
 */
export interface TypeScript<in out S extends Arg.Signature, out E> {
  readonly _tag: "TypeScript"
  readonly launch: (context: Context<S>) => Effect.Effect<void, E>
}

/**
 * Names of a signature's tensors.
 *
 * @since 0.1.0
 * @category models
 */
export type TensorNames<S extends Arg.Signature> = {
  readonly [K in keyof S]: S[K] extends Arg.Scalar ? never : K
}[keyof S]

/**
 * Names of a signature's scalars.
 *
 * @since 0.1.0
 * @category models
 */
export type ScalarNames<S extends Arg.Signature> = {
  readonly [K in keyof S]: S[K] extends Arg.Scalar ? K : never
}[keyof S]

/**
 * Why `read` and `write` of a launch context fail.
 *
 * @since 0.1.0
 * @category errors
 */
export type ContextError = TransferFailed | InvalidArgument | ShapeMismatch | StaleRun | RunnerClosed | RunnerPoisoned

/**
 * What a launch in TypeScript gets. It is valid until the launch ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Context<in out S extends Arg.Signature> {
  /** The resolved dimension names. */
  readonly dims: { readonly [K in Arg.DimNames<S>]: number }
  readonly scalars: {
    readonly [K in ScalarNames<S>]: S[K] extends Arg.Scalar<infer D> ? ScalarValue<D> : never
  }
  /** The resolved shapes of all tensors, scratch and residents included. */
  readonly shapes: { readonly [K in TensorNames<S>]: ReadonlyArray<number> }
  /** A copy of a tensor's elements on the device. */
  readonly read: <K extends TensorNames<S>>(name: K) => Effect.Effect<View<S[K]["dtype"]>, ContextError>
  /** Replaces all elements of a tensor that is not an input, nor a resident declared as read only. */
  readonly write: <K extends TensorNames<S>>(
    name: K,
    elements: View<S[K]["dtype"]>
  ) => Effect.Effect<void, ContextError>
}

/**
 * What stands for an argument in the argument object. Scratch is no part of it.
 *
 * @since 0.1.0
 * @category models
 */
export type Value<A extends Arg.Arg> = A extends Arg.Scalar<infer D extends ScalarDType> ? ScalarValue<D>
  : A extends Arg.Resident<infer D extends DType> ? ResidentTensor<D>
  : A extends Arg.Input<infer D extends DType> | Arg.Output<infer D extends DType> | Arg.Inout<infer D extends DType>
    ? View<D> | HostTensor<D>
  : never

/**
 * The argument object of a signature.
 *
 * @since 0.1.0
 * @category models
 */
export type Args<S extends Arg.Signature> = {
  readonly [K in keyof S as S[K] extends Arg.Scratch ? never : K]: Value<S[K]>
}

/**
 * An argument object with no name beside those of the signature, through a variable too.
 *
 * @since 0.1.0
 * @category models
 */
export type Exact<S extends Arg.Signature, A> = A & { readonly [K in Exclude<keyof A, keyof Args<S>>]: never }

/**
 * @since 0.1.0
 * @category guards
 */
export const isCallable = (u: unknown): u is Any => hasProperty(u, TypeId)

/**
 * A callable with native kernels, one for each backend it is to run on.
 *
 * `execution` defaults to `"awaited"`, `name` to the first kernel's symbol, `clear` to the runner's.
 *
 * @since 0.1.0
 * @category constructors
 */
export const native = <const S extends Arg.Signature>(options: {
  readonly signature: S
  readonly kernels: ReadonlyArray<HostApi.Kernel>
  readonly execution?: Execution | undefined
  readonly clear?: Clear | undefined
  readonly name?: string | undefined
}): Callable<S> => ({
  [TypeId]: TypeId,
  name: options.name ?? options.kernels[0]?.symbol ?? "callable",
  signature: options.signature,
  execution: options.execution ?? "awaited",
  clear: options.clear,
  implementation: { _tag: "Native", kernels: options.kernels }
})

/**
 * A callable that computes in TypeScript. Whatever `launch` fails with is in the error channel of the run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const S extends Arg.Signature, E = never>(options: {
  readonly signature: S
  readonly launch: (context: Context<S>) => Effect.Effect<void, E>
  readonly clear?: Clear | undefined
  readonly name?: string | undefined
}): Callable<S, E> => ({
  [TypeId]: TypeId,
  name: options.name ?? "callable",
  signature: options.signature,
  execution: "awaited",
  clear: options.clear,
  implementation: { _tag: "TypeScript", launch: options.launch }
})
