/**
 * The sixth shape of the garbage torture, beneath the runner: native calls whose arrays nobody holds but the wrapper that
 * makes them. It has a context of its own, because the package hands none out.
 */
import { Effect, Fiber, type Scope } from "effect"
import { HostApi } from "leasehold"
import { fileURLToPath } from "node:url"
import { ArgumentKind, ArgumentTable } from "../../src/internal/core/argumentTable.ts"
import { dtypes } from "../../src/internal/core/dtypes.ts"
import { TransferKind, TransferTable } from "../../src/internal/core/transferTable.ts"
import { callOffThread } from "../../src/internal/ffi/calls.ts"
import { declareLibrary, type FunctionName } from "../../src/internal/ffi/declarations.ts"
import { hostAddress } from "../../src/internal/ffi/hostMemory.ts"
import type { Started } from "./tortureShapes.ts"

const folder = fileURLToPath(new URL("../../native/build", import.meta.url))

/** Source: `LH_LANE_*` of the native ABI. */
const lanes = { in: 0, compute: 1, out: 2 } as const

const byteCount = 256

const pattern = (round: number): Uint8Array => Uint8Array.from({ length: byteCount }, (_, index) => index ^ round)

/** What a call may answer in: an array of its own for each, as the package makes them. */
const outputs = (): readonly [
  ticket: Float64Array,
  failedIndex: Uint32Array
] => [new Float64Array(1), new Uint32Array(1)]

export interface Calls {
  /** Launches a kernel that waits at the gate. */
  readonly block: Effect.Effect<Fiber.Fiber<void>>
  readonly start: (round: number) => Effect.Effect<Started>
}

const assertOk = (status: unknown, what: string): void => {
  if (status !== HostApi.Status.Ok) {
    throw new Error(`${what} answered ${String(status)}`)
  }
}

/** Opens the simulator, without the package, and closes it with the scope. */
const open = Effect.gen(function*() {
  const functions = declareLibrary(`${folder}/libleasehold_simulator.so`)
  const contextOut: Array<unknown> = [null]
  const options = { struct_bytes: 56, device_index: 0, flags: 0, reserved_0: 0, settings: "total_bytes=1048576" }
  const error = { struct_bytes: 256, status: 0, device_code: 0, device_name: "", detail: "" }
  assertOk(functions.lh_context_open({ ...options, reserved: [0, 0, 0, 0] }, error, contextOut), "lh_context_open")
  const [context] = contextOut
  yield* Effect.addFinalizer(() => Effect.sync(() => assertOk(functions.lh_context_close(context), "lh_context_close")))
  return {
    functions,
    context,
    call: (name: FunctionName, ...args: ReadonlyArray<unknown>): void =>
      assertOk(functions[name](context, ...args), name)
  }
})

/** The table of `test_copy`. */
const copyTable = (source: number, destination: number): Float64Array => {
  const table = new ArgumentTable(2)
  for (const [index, address] of [source, destination].entries()) {
    table.describe(index, {
      kind: index === 0 ? ArgumentKind.input : ArgumentKind.output,
      dtypeCode: dtypes.uint8.code,
      byteCount,
      alignmentBytes: 64,
      shape: [byteCount]
    })
    table.setAddress(index, address)
  }
  return table.cells
}

/** What a native function answers through an array. */
const answer = (ask: (out: Float64Array) => void): number => {
  const out = new Float64Array(1)
  ask(out)
  return out[0]!
}

export const make: Effect.Effect<Calls, never, Scope.Scope> = Effect.gen(function*() {
  const { call, context, functions } = yield* open
  const module = answer((out) => call("lh_module_load", `${folder}/libleasehold_test_kernels.so`, out))
  const find = (symbol: string) => answer((out) => call("lh_kernel_find", module, symbol, out))
  const malloc = () => answer((out) => call("lh_malloc", byteCount, 64, out))
  const [copy, gate, source, destination] = [find("test_copy"), find("test_gate"), malloc(), malloc()]

  const move = (lane: number, kind: TransferKind, to: number, from: number): void => {
    const table = new TransferTable(1)
    table.push(kind, to, from, byteCount)
    call("lh_submit", lane, table.cells, 1, ...outputs())
  }
  const write = (address: number, view: Uint8Array) => move(lanes.in, TransferKind.copyIn, address, hostAddress(view))

  /** All arrays are made here, as the call is made, so that no closure keeps them. */
  const launch = (kernel: number, makeTable: () => Float64Array | null, count: number): Effect.Effect<void> =>
    Effect.suspend(() =>
      callOffThread(
        functions.lh_launch,
        [context, lanes.compute, kernel, null, makeTable(), count, 0, ...outputs()],
        [],
        (status) => Effect.sync(() => assertOk(status, "lh_launch"))
      )
    )

  return {
    block: Effect.fork(launch(gate, () => null, 0)),
    start: (round) =>
      Effect.gen(function*() {
        const expected = pattern(round)
        write(source, expected)
        write(destination, new Uint8Array(byteCount))
        const fiber = yield* Effect.fork(launch(copy, () => copyTable(source, destination), 2))
        return {
          // The call has taken all that it needs of what there was to hold.
          during: () => {},
          end: Effect.map(Fiber.join(fiber), () => {
            const copied = new Uint8Array(byteCount)
            move(lanes.out, TransferKind.copyOut, hostAddress(copied), destination)
            if (!Buffer.from(copied.buffer).equals(Buffer.from(expected.buffer))) {
              throw new Error("the kernel did not copy what lies on the device")
            }
            return "right bytes" as const
          })
        }
      })
  }
})
