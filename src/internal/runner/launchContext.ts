/**
 * What a launch in TypeScript gets: the run's dimensions and scalars, and its tensors through the host API.
 */
import * as Effect from "effect/Effect"
import type * as Arg from "../../Arg.ts"
import type { Context, ContextError } from "../../Callable.ts"
import { InvalidArgument, ShapeMismatch, StaleRun } from "../../Errors.ts"
import { ArgumentKind } from "../core/argumentTable.ts"
import { Role } from "../core/plan.ts"
import { isDetached, isResizable, isShared, viewBuffer, viewByteLength, viewTag } from "../hostViews.ts"
import type { ActiveRun } from "./activeRun.ts"
import { Form } from "./bindings.ts"
import { callWithDeadline } from "./calls.ts"
import { moveFailure } from "./failures.ts"
import type { Parameter } from "./parameter.ts"
import { checkInlineSize, moveBytes, type SingleMove } from "./singleMove.ts"
import type { RunnerState } from "./state.ts"
import { makeView } from "./views.ts"

export const launchContext = (state: RunnerState, run: ActiveRun): Context<Arg.Signature> => {
  const { bindings, tables } = run
  const scalars: Array<readonly [string, unknown]> = []
  const shapes: Array<readonly [string, ReadonlyArray<number>]> = []
  for (const parameter of tables.parameters) {
    if (bindings.forms[parameter.index] === Form.scalar) {
      scalars.push([parameter.name, bindings.values[parameter.index]])
    } else {
      shapes.push([parameter.name, tables.layout.resolution.shapes[parameter.index]!])
    }
  }
  return {
    dims: tables.layout.resolution.dims,
    scalars: Object.fromEntries(scalars),
    shapes: Object.fromEntries(shapes),
    read: (name) => Effect.suspend(() => read(state, run, name)),
    write: (name, elements) => Effect.suspend(() => write(state, run, name, elements))
  }
}

const find = (run: ActiveRun, name: string): Parameter | InvalidArgument =>
  run.tables.parameters.find((parameter) => parameter.name === name && parameter.kind !== ArgumentKind.scalar) ??
    new InvalidArgument({ reason: "Unknown", argument: name.slice(0, 256), detail: "is no tensor of the signature" })

const read = (state: RunnerState, run: ActiveRun, name: string): Effect.Effect<never, ContextError> => {
  const parameter = find(run, name)
  if (parameter instanceof InvalidArgument) {
    return Effect.fail(parameter)
  }
  const byteCount = run.tables.byteCounts[parameter.index]!
  const view = makeView(parameter.dtype, new ArrayBuffer(byteCount))
  // The buffer is nobody else's before it is handed out, but it is not pinned either: it is moved as a plain view is.
  const move = { purpose: "read", view, byteCount, owned: false } as const
  return Effect.as(transfer(state, run, parameter, move), view as never)
}

const write = (
  state: RunnerState,
  run: ActiveRun,
  name: string,
  elements: unknown
): Effect.Effect<void, ContextError> => {
  const parameter = find(run, name)
  if (parameter instanceof InvalidArgument) {
    return Effect.fail(parameter)
  }
  const readOnly = parameter.role === Role.input ||
    (parameter.kind === ArgumentKind.resident && !parameter.writesResident)
  if (readOnly) {
    return Effect.fail(
      new InvalidArgument({ reason: "NotATensor", argument: name, detail: "is read only, so a launch cannot write it" })
    )
  }
  if (viewTag(elements) !== parameter.viewTag) {
    return Effect.fail(
      new InvalidArgument({ reason: "DType", argument: name, detail: `should be written from a ${parameter.viewTag}` })
    )
  }
  const view = elements as ArrayBufferView
  const buffer = viewBuffer(view)
  if (isResizable(buffer)) {
    return Effect.fail(
      new InvalidArgument({
        reason: "Resizable",
        argument: name,
        detail: "is written from a view of a resizable buffer"
      })
    )
  }
  if (!state.settings.allowSharedViews && isShared(buffer)) {
    return Effect.fail(
      new InvalidArgument({ reason: "Shared", argument: name, detail: "is written from a view of shared memory" })
    )
  }
  if (viewByteLength(view) === 0 && isDetached(buffer)) {
    return Effect.fail(
      new InvalidArgument({
        reason: "Detached",
        argument: name,
        detail: "is written from a view that was transferred away"
      })
    )
  }
  const byteCount = run.tables.byteCounts[parameter.index]!
  if (viewByteLength(view) !== byteCount) {
    return Effect.fail(
      new ShapeMismatch({
        tensor: name,
        expected: `[${run.tables.layout.resolution.shapes[parameter.index]!.join(", ")}]`,
        actual: `${viewByteLength(view) / parameter.elementBytes} elements`
      })
    )
  }
  return transfer(state, run, parameter, { purpose: "write", view, byteCount, owned: false })
}

const transfer = (
  state: RunnerState,
  run: ActiveRun,
  parameter: Parameter,
  options: Pick<SingleMove, "purpose" | "view" | "byteCount" | "owned">
): Effect.Effect<void, ContextError> => {
  if (options.byteCount === 0) {
    return Effect.void
  }
  const { name } = parameter
  const tooLarge = checkInlineSize(state, { ...options, name })
  if (tooLarge !== undefined) {
    return Effect.fail(tooLarge)
  }
  const deviceAddress = run.tables.leases.addresses[parameter.index]!
  const move: SingleMove = { ...options, name, runId: run.generation, deviceAddress }
  return state.lanes.exclusively(Effect.suspend((): Effect.Effect<void, ContextError> => {
    const refusal = state.refusal(options.purpose) ??
      (run.phase === "Launching"
        ? undefined
        : new StaleRun({ callable: run.name, generation: run.generation, operation: options.purpose }))
    return refusal === undefined
      ? callWithDeadline(state, {
        operation: options.purpose,
        isInterruptible: run.isInterruptible,
        touched: () => [move.view],
        explain: (error) => moveFailure(error, options.purpose, name, "unchanged")
      }, () => moveBytes(state, move))
      : Effect.fail(refusal)
  }))
}
