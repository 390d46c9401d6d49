/** A step of a launch: a kernel of a module with its grid, its blocks and its parameters. */
import type * as HostApi from "../../HostApi.ts"
import type { DTypeName } from "../core/dtypes.ts"

/** A value that a kernel takes beside the callable's own arguments. */
export interface Constant {
  readonly dtype: DTypeName
  readonly value: number | bigint
}

/** A number along each axis, from x on; what is left out is 1. */
export type Extent = number | readonly [x: number, y?: number, z?: number]

export interface Step {
  readonly symbol: string
  readonly grid: Extent
  readonly block: Extent
  readonly sharedBytes?: number | undefined
  readonly parameters?: ReadonlyArray<StepParameter> | undefined
}

/** An argument, by its name or its place in the signature, or a constant. */
export type Value = string | number | Constant

/** The address of values in device memory. */
export interface ValueTable {
  readonly table: ReadonlyArray<Value>
}

export type StepParameter = Value | ValueTable

export type StepsOf = (
  dims: Readonly<Record<string, number>>,
  shapes: Readonly<Record<string, ReadonlyArray<number>>>,
  args: HostApi.Arguments
) => ReadonlyArray<Step>

/** A kernel in a module. */
export interface ModuleKernel extends HostApi.Kernel {
  /** The absolute path of the module. */
  readonly module: string
  readonly launches: StepsOf
}
