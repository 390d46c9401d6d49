/**
 * The named arguments of a callable: for each its direction, its element type and its dimensions.
 *
 * Dimensions are element counts, outermost first: a number, or a name that stands for the same count wherever it appears
 * in one signature. Names are resolved when a run is bound.
 *
 * @since 0.1.0
 */
import type { DType, ScalarDType } from "./DType.ts"

/**
 * A dimension: a count, or a name that is resolved when a run is bound.
 *
 * @since 0.1.0
 * @category models
 */
export type Dim = number | string

/**
 * Host to device before the launch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Input<out D extends DType = DType, out S extends ReadonlyArray<Dim> = ReadonlyArray<Dim>> {
  readonly _tag: "Input"
  readonly dtype: D
  readonly dims: S
}

/**
 * Device to host after the launch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Output<out D extends DType = DType, out S extends ReadonlyArray<Dim> = ReadonlyArray<Dim>> {
  readonly _tag: "Output"
  readonly dtype: D
  readonly dims: S
}

/**
 * Host to device before the launch, and back after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Inout<out D extends DType = DType, out S extends ReadonlyArray<Dim> = ReadonlyArray<Dim>> {
  readonly _tag: "Inout"
  readonly dtype: D
  readonly dims: S
}

/**
 * Device memory that exists for the run only.
 *
 * @since 0.1.0
 * @category models
 */
export interface Scratch<out D extends DType = DType, out S extends ReadonlyArray<Dim> = ReadonlyArray<Dim>> {
  readonly _tag: "Scratch"
  readonly dtype: D
  readonly dims: S
}

/**
 * What a kernel does with a resident tensor. A failed run names the `readWrite` ones, which it may have half written.
 *
 * @since 0.1.0
 * @category models
 */
export type Access = "read" | "readWrite"

/**
 * A resident tensor: device memory that outlives runs, of any shape or of the given one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resident<
  out D extends DType = DType,
  out S extends ReadonlyArray<Dim> | undefined = ReadonlyArray<Dim> | undefined
> {
  readonly _tag: "Resident"
  readonly dtype: D
  readonly dims: S
  readonly access: Access
}

/**
 * A value passed to the kernel directly.
 *
 * @since 0.1.0
 * @category models
 */
export interface Scalar<out D extends ScalarDType = ScalarDType> {
  readonly _tag: "Scalar"
  readonly dtype: D
}

/**
 * One argument of a signature.
 *
 * @since 0.1.0
 * @category models
 */
export type Arg = Input | Output | Inout | Scratch | Resident | Scalar

/**
 * Arguments by name, in the order in which the kernel gets them. At most 4,096 work everywhere; the native ABI takes 65,536.
 *
 * @since 0.1.0
 * @category models
 */
export type Signature = Readonly<Record<string, Arg>>

/**
 * The dimension names that a signature mentions.
 *
 * @since 0.1.0
 * @category models
 */
export type DimNames<S extends Signature> = {
  readonly [K in keyof S]: S[K] extends { readonly dims: ReadonlyArray<infer D> } ? Extract<D, string> : never
}[keyof S]

/**
 * Declares a tensor that is copied to the device before the launch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const input = <D extends DType, const S extends ReadonlyArray<Dim>>(dtype: D, dims: S): Input<D, S> => ({
  _tag: "Input",
  dtype,
  dims
})

/**
 * Declares a tensor that is copied back to the host after the launch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const output = <D extends DType, const S extends ReadonlyArray<Dim>>(dtype: D, dims: S): Output<D, S> => ({
  _tag: "Output",
  dtype,
  dims
})

/**
 * Declares a tensor that is copied to the device before the launch and back after it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inout = <D extends DType, const S extends ReadonlyArray<Dim>>(dtype: D, dims: S): Inout<D, S> => ({
  _tag: "Inout",
  dtype,
  dims
})

/**
 * Declares device memory for the run only. It is no part of the argument object.
 *
 * @since 0.1.0
 * @category constructors
 */
export const scratch = <D extends DType, const S extends ReadonlyArray<Dim>>(dtype: D, dims: S): Scratch<D, S> => ({
  _tag: "Scratch",
  dtype,
  dims
})

/**
 * Declares a resident tensor. Without `dims` any shape is taken; without `access` the kernel only reads it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resident = <D extends DType, const S extends ReadonlyArray<Dim> | undefined = undefined>(
  dtype: D,
  options?: { readonly access?: Access | undefined; readonly dims?: S | undefined }
): Resident<D, S> => ({ _tag: "Resident", dtype, dims: options?.dims as S, access: options?.access ?? "read" })

/**
 * Declares a scalar. 64-bit integers are `bigint`, all others `number`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const scalar = <D extends ScalarDType>(dtype: D): Scalar<D> => ({ _tag: "Scalar", dtype })
