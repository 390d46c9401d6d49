/**
 * One argument of a signature as a runner works with it: flat, and checked once.
 */
import type * as Arg from "../../Arg.ts"
import type { ArgumentKind } from "../core/argumentTable.ts"
import type { DTypeName } from "../core/dtypes.ts"
import type { Role } from "../core/plan.ts"

export interface Parameter {
  readonly index: number
  readonly name: string
  readonly kind: ArgumentKind
  readonly role: Role
  readonly dtype: DTypeName
  readonly dtypeCode: number
  readonly elementBytes: number
  readonly viewTag: string
  /** `undefined` for a scalar, and for a resident tensor of any shape. */
  readonly dims: ReadonlyArray<Arg.Dim> | undefined
  /** Whether the kernel may write the tensor where it outlives the run. */
  readonly writesResident: boolean
}
