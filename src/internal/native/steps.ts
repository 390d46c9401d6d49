/**
 * Kernels of devices that have a geometry: a launch of several steps, each a kernel of a module with its grid, its blocks and
 * its parameters. What they are follows from the dimensions of the call, so they are worked out once for each argument table.
 */
import * as Effect from "effect/Effect"
import * as HostApi from "../../HostApi.ts"
import { ArgumentTable } from "../core/argumentTable.ts"
import { dtypes } from "../core/dtypes.ts"
import { littleEndian, writeScalar } from "../core/scalars.ts"
import { hostAddress } from "../ffi/hostMemory.ts"
import type { Calls } from "./calls.ts"
import { Modules } from "./kernels.ts"
import type { Launches } from "./launches.ts"
import type { Extent, ModuleKernel, StepParameter, StepsOf, Value } from "./step.ts"
import { isConstant, isValueTable, valueBytes } from "./valueTable.ts"

/** Source: the layouts of `lh_launch_step`, `lh_parameter`, `lh_launch_plan` and `lh_geometry`. */
const stepCells = 16
const parameterCells = 4
const offsetCell = 3
const planBytes = 48
const geometryBytes = 48
const geometryPlanOffset = 32

const maxUint32 = 0xffff_ffff

interface Loaded {
  readonly module: number
  readonly launches: StepsOf
  readonly symbols: Map<string, HostApi.KernelHandle>
}

/** What a launch needs stays where it is as long as its geometry is used. */
interface Prepared {
  readonly geometry: Uint8Array
  readonly roots: ReadonlyArray<ArrayBufferView>
}

export const stepLaunches = (calls: Calls): Launches => {
  const modules = new Modules(calls)
  const loaded: Array<Loaded> = []
  /** For each module the kernels of it that were loaded, by what says how they are launched. */
  const handles = new Map<string, WeakMap<StepsOf, HostApi.KernelHandle>>()
  const prepared = new WeakMap<HostApi.Arguments, Prepared>()
  return {
    load: (kernel) =>
      Effect.suspend(() => {
        const { launches, module } = kernel as ModuleKernel
        if (calls.lost || calls.ended) {
          return Effect.fail(calls.failure("loadKernel", HostApi.Status.DeviceLost))
        }
        return Effect.map(modules.load(module), (handle) => {
          const own = handles.get(module) ?? new WeakMap<StepsOf, HostApi.KernelHandle>()
          handles.set(module, own)
          const known = own.get(launches)
          if (known !== undefined) {
            return known
          }
          loaded.push({ module: handle, launches, symbols: new Map() })
          own.set(launches, loaded.length)
          return loaded.length
        })
      }),
    prepare: (kernel, args, origin) => {
      const known = prepared.get(args)
      if (known !== undefined) {
        return known.geometry
      }
      const of = loaded[kernel - 1]
      const made = of === undefined
        ? refused(HostApi.Status.UnknownHandle, "a launch names a kernel that was not loaded")
        : prepare(modules, of, args, origin)
      if (made instanceof HostApi.HostApiError) {
        return made
      }
      prepared.set(args, made)
      return made.geometry
    }
  }
}

const prepare = (
  modules: Modules,
  { launches, module, symbols }: Loaded,
  args: HostApi.Arguments,
  origin: HostApi.Origin
): Prepared | HostApi.HostApiError => {
  const count = args.deviceTable ?? args.count
  const names = origin.names.slice(0, count)
  const shapes = Object.fromEntries(names.map((name, index) => [name, ArgumentTable.shape(args.cells, index)]))
  const steps = launches(args.dims, shapes, args)
  if (steps.length === 0) {
    return refused(HostApi.Status.InvalidArgument, "launches answered no step")
  }
  const stepTable = new Float64Array(steps.length * stepCells)
  const parameters: Array<StepParameter> = []
  const all = Array.from({ length: count }, (_, index) => index)
  for (const [index, step] of steps.entries()) {
    const kernel = symbols.get(step.symbol) ?? modules.find(module, step.symbol)
    if (kernel instanceof HostApi.HostApiError) {
      return kernel
    }
    symbols.set(step.symbol, kernel)
    const own = step.parameters ?? all
    const cells = [
      kernel,
      ...axes(step.grid),
      ...axes(step.block),
      step.sharedBytes ?? 0,
      parameters.length,
      own.length
    ]
    const wrong = cells.slice(1).find((cell) => !Number.isInteger(cell) || cell < 0 || cell > maxUint32)
    if (wrong !== undefined) {
      return refused(
        HostApi.Status.InvalidArgument,
        `step ${index} of launches has a grid, a block or shared bytes that are no whole number: ${wrong}`
      )
    }
    stepTable.set(cells, index * stepCells)
    parameters.push(...own)
  }
  const parameterTable = writeParameters(parameters, { count, names, deviceTable: deviceTableOf(args) })
  return parameterTable instanceof HostApi.HostApiError
    ? parameterTable
    : assemble(stepTable, parameterTable, parameters.length)
}

const axes = (extent: Extent): ReadonlyArray<number> => {
  const [x, y, z] = typeof extent === "number" ? [extent] : extent
  return [x, y ?? 1, z ?? 1]
}

/** What parameters can name. */
interface Named {
  readonly count: number
  readonly names: ReadonlyArray<string>
  /** The argument that holds the values of all tables, and its bytes; `undefined` where nobody brings one. */
  readonly deviceTable: { readonly index: number; readonly byteCount: number } | undefined
}

const deviceTableOf = ({ cells, deviceTable }: HostApi.Arguments): Named["deviceTable"] =>
  deviceTable === undefined
    ? undefined
    : { index: deviceTable, byteCount: ArgumentTable.shape(cells, deviceTable)[0] ?? 0 }

const writeParameters = (
  parameters: ReadonlyArray<StepParameter>,
  named: Named
): Float64Array | HostApi.HostApiError => {
  // Somebody may launch without parameters, and the table still has an address.
  const cells = new Float64Array(Math.max(1, parameters.length) * parameterCells)
  const bytes = new DataView(cells.buffer)
  let tableBytes = 0
  for (const [index, parameter] of parameters.entries()) {
    const cell = index * parameterCells
    const wrong = (isValueTable(parameter) ? parameter.table : [parameter]).find((value) => !isThere(value, named))
    if (wrong !== undefined) {
      return refused(HostApi.Status.InvalidArgument, `launches names ${describeWrong(wrong)}`)
    }
    if (isValueTable(parameter)) {
      cells[cell] = named.deviceTable?.index ?? 0
      cells[cell + offsetCell] = tableBytes
      tableBytes += parameter.table.length * valueBytes
    } else if (typeof parameter === "object") {
      cells[cell] = -1
      cells[cell + 1] = dtypes[parameter.dtype].elementBytes
      writeScalar(bytes, (cell + 2) * Float64Array.BYTES_PER_ELEMENT, parameter.dtype, parameter.value)
    } else {
      cells[cell] = placeOf(parameter, named)
    }
  }
  if (tableBytes > 0 && tableBytes !== named.deviceTable?.byteCount) {
    return refused(
      HostApi.Status.InvalidArgument,
      named.deviceTable === undefined
        ? "launches names a table of values, which a runner brings, and this launch is nobody's"
        : "launches answered other tables than when the run was laid out"
    )
  }
  return cells
}

const placeOf = (value: string | number, { names }: Named): number =>
  typeof value === "number" ? value : names.indexOf(value)

const describeWrong = (value: Value): string =>
  typeof value === "object"
    ? `a value of the type ${value.dtype}, which is neither an argument nor a constant`
    : `the parameter ${JSON.stringify(value)}, which the signature does not have`

/** Constants are their own; all else is an argument of the signature. */
const isThere = (value: Value, named: Named): boolean => {
  if (typeof value === "object") {
    return isConstant(value)
  }
  const place = placeOf(value, named)
  return Number.isInteger(place) && place >= 0 && place < named.count
}

const assemble = (steps: Float64Array, parameters: Float64Array, parameterCount: number): Prepared => {
  const plan = new Uint8Array(planBytes)
  const planView = new DataView(plan.buffer)
  planView.setUint32(0, planBytes, littleEndian)
  planView.setUint32(4, steps.length / stepCells, littleEndian)
  planView.setUint32(8, parameterCount, littleEndian)
  planView.setBigUint64(16, BigInt(hostAddress(steps)), littleEndian)
  planView.setBigUint64(24, BigInt(hostAddress(parameters)), littleEndian)
  const geometry = new Uint8Array(geometryBytes)
  const geometryView = new DataView(geometry.buffer)
  geometryView.setUint32(0, geometryBytes, littleEndian)
  geometryView.setBigUint64(geometryPlanOffset, BigInt(hostAddress(plan)), littleEndian)
  return { geometry, roots: [steps, parameters, plan] }
}

const refused = (status: number, detail: string): HostApi.HostApiError =>
  new HostApi.HostApiError({
    operation: "launch",
    status,
    statusName: HostApi.statusName(status),
    deviceCode: 0,
    deviceName: "",
    detail,
    entryIndex: -1
  })
