/**
 * What a kernel reads from a table in device memory, because a launch could not pass it by value: planned as the last tensor of a
 * run, written when every address is known, and copied in with the inputs.
 */
import type { Arguments, DeviceTable } from "../../HostApi.ts"
import type { Resolution } from "./dimensions.ts"
import type { PreparedCallable } from "./preparedCallable.ts"

export interface DeviceTableLayout {
  /** Its place among the parameters. */
  readonly index: number
  /** 0 where no table is needed. */
  readonly byteCount: number
  /** What the kernel threw when it was asked, if it did: then nobody knows what it needs. */
  readonly thrown: { readonly cause: unknown } | undefined
  /** The table of one frame, if one is needed: nobody else writes it while a run of that frame is bound. */
  readonly make: () => HostTable | undefined
}

/** A device table as it lies on the host. */
export interface HostTable {
  readonly index: number
  readonly hostAddress: number
  readonly write: (args: Arguments) => void
}

/** The table of a callable's kernel for these shapes, or `undefined` where the kernel never has one. */
export const layOutDeviceTable = (
  { deviceTable, parameters }: PreparedCallable,
  resolution: Resolution,
  hostAddress: (view: ArrayBufferView) => number
): DeviceTableLayout | undefined => {
  if (deviceTable === undefined) {
    return undefined
  }
  const index = parameters.length - 1
  const { table, thrown } = askForTable(deviceTable, parameters, resolution)
  const { byteCount } = table
  const make = (): HostTable | undefined => {
    if (byteCount === 0) {
      return undefined
    }
    const bytes = new Uint8Array(byteCount)
    return { index, hostAddress: hostAddress(bytes), write: (args) => table.write(bytes, args) }
  }
  return { index, byteCount, thrown, make }
}

interface Answer {
  readonly table: DeviceTable
  readonly thrown: DeviceTableLayout["thrown"]
}

const noTable: DeviceTable = { byteCount: 0, write: () => {} }

/**
 * Asks code of the user's. What it throws is not thrown on: runs that wait are laid out in the midst of what others do. It shows
 * when the run is launched, as it does where there is no table.
 */
const askForTable = (
  deviceTable: NonNullable<PreparedCallable["deviceTable"]>,
  parameters: PreparedCallable["parameters"],
  { dims, shapes }: Resolution
): Answer => {
  const own = parameters.slice(0, -1)
  const names = own.map(({ name }) => name)
  try {
    const shapesByName = Object.fromEntries(own.map(({ index, name }) => [name, shapes[index]!]))
    return { table: deviceTable(dims, shapesByName, names), thrown: undefined }
  } catch (cause) {
    return { table: noTable, thrown: { cause } }
  }
}

/** The same dimensions, and as many bytes of the table as there are. */
export const withDeviceTable = (
  { dims, shapes }: Resolution,
  { byteCount, index }: DeviceTableLayout
): Resolution => ({ dims, shapes: shapes.map((shape, place) => place === index ? [byteCount] : shape) })
