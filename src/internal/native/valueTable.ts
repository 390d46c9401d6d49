/**
 * Values that the steps of a launch read from device memory: eight bytes each, the table of one parameter behind that of another.
 */
import type { DeviceTable } from "../../HostApi.ts"
import { ArgumentTable } from "../core/argumentTable.ts"
import { isDTypeName } from "../core/dtypes.ts"
import { writeScalar } from "../core/scalars.ts"
import type { Constant, Step, StepParameter, Value, ValueTable } from "./step.ts"

/** What each value takes: an address has as many, and no scalar has more. */
export const valueBytes = 8

export const isValueTable = (parameter: StepParameter): parameter is ValueTable =>
  typeof parameter === "object" && "table" in parameter

/** Whether a value is one of its own, of a type that there is. Code without types may bring anything. */
export const isConstant = (value: Value): value is Constant => typeof value === "object" && isDTypeName(value.dtype)

/** Lays out the values of all steps, to be written once it is known where the arguments of a run lie. */
export const layOutValues = (steps: ReadonlyArray<Step>, names: ReadonlyArray<string>): DeviceTable => {
  const values = steps.flatMap(({ parameters = [] }) => parameters.filter(isValueTable).flatMap(({ table }) => table))
  const constants = new Uint8Array(values.length * valueBytes)
  const addressed: Array<{ readonly offset: number; readonly index: number }> = []
  for (const [place, value] of values.entries()) {
    const offset = place * valueBytes
    if (isConstant(value)) {
      writeScalar(new DataView(constants.buffer), offset, value.dtype, value.value)
    } else if (typeof value !== "object") {
      addressed.push({ offset, index: indexOf(value, names) })
    }
  }
  return {
    byteCount: constants.length,
    write: (bytes, { cells }) => {
      bytes.set(constants)
      const source = new DataView(cells.buffer, cells.byteOffset, cells.byteLength)
      const target = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      for (const { index, offset } of addressed) {
        ArgumentTable.writeValue(cells, source, index, target, offset)
      }
    }
  }
}

/** The place of an argument among the names of a signature. Whether there is one is looked at when the run is launched. */
const indexOf = (value: string | number, names: ReadonlyArray<string>): number =>
  typeof value === "number" ? value : names.indexOf(value)
