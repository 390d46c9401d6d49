/**
 * Loading callables: their signatures are compiled and their kernels loaded once for a runner, and remembered by identity.
 */
import * as Effect from "effect/Effect"
import type { Any as AnyCallable } from "../../Callable.ts"
import { InvalidArgument } from "../../Errors.ts"
import type { Kernel } from "../../HostApi.ts"
import type { LoadError } from "../../Run.ts"
import { call } from "./calls.ts"
import { loadFailure } from "./failures.ts"
import { kernelFor, prepareCallable, PreparedCallable } from "./preparedCallable.ts"
import type { RunnerState } from "./state.ts"

/** The callable's compiled signature, with or without its kernel. */
export const prepare = (state: RunnerState, callable: AnyCallable): PreparedCallable | InvalidArgument => {
  const known = state.prepared.get(callable)
  if (known !== undefined) {
    return known
  }
  const prepared = prepareCallable(callable, state.hostApi.backend)
  if (prepared instanceof PreparedCallable) {
    state.prepared.set(callable, prepared)
  }
  return prepared
}

/** Prepares a callable and loads its kernel, unless that was done before. */
export const loadCallable = (
  state: RunnerState,
  callable: AnyCallable
): Effect.Effect<PreparedCallable, LoadError> =>
  Effect.suspend((): Effect.Effect<PreparedCallable, LoadError> => {
    const refusal = state.refusal("load")
    if (refusal !== undefined) {
      return Effect.fail(refusal)
    }
    const prepared = prepare(state, callable)
    if (!(prepared instanceof PreparedCallable)) {
      return Effect.fail(prepared)
    }
    const { implementation } = callable
    if (prepared.kernel !== undefined || implementation._tag === "TypeScript") {
      return Effect.succeed(prepared)
    }
    const kernel = kernelFor(callable, state.hostApi.backend)
    return kernel === undefined
      ? Effect.fail(noKernel(callable, state.hostApi.backend, implementation.kernels))
      : loadKernel(state, prepared, kernel)
  })

const loadKernel = (
  state: RunnerState,
  prepared: PreparedCallable,
  kernel: Kernel
): Effect.Effect<PreparedCallable, LoadError> =>
  state.operation(
    call(state, state.hostApi.loadKernel(kernel, { purpose: "load", runId: 0, names: [kernel.symbol] }))
  ).pipe(
    Effect.map((handle) => {
      prepared.kernel = handle
      return prepared
    }),
    Effect.mapError((error) => loadFailure(prepared.name, error))
  )

const noKernel = (callable: AnyCallable, backend: string, kernels: ReadonlyArray<Kernel>): InvalidArgument => {
  const backends = kernels.map((kernel) => kernel.backend).join(", ")
  return new InvalidArgument({
    reason: "Backend",
    argument: "",
    detail: `${callable.name} has no kernel for the backend "${backend}"${
      backends === "" ? "" : `, only for ${backends}`
    }`
  })
}
