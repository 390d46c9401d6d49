/** What a person reads when a decode fails: one sentence, with what to do about it where that is known. */
import * as Cause from "effect/Cause"
import * as Either from "effect/Either"
import type { Errors } from "leasehold"
import type { DecodeRequestInvalid, ModelFileInvalid, ResultsDiffer } from "./errors.ts"
import * as Kernel from "./kernel.ts"

export type Failure = ModelFileInvalid | DecodeRequestInvalid | ResultsDiffer | Errors.RunnerError

/** The sentence of a failure; for a defect, which is a bug, all that is known. */
export const describe = (cause: Cause.Cause<Failure>, options: { readonly model: string }): string =>
  Either.match(Cause.failureOrCause(cause), {
    onLeft: (failure) => asSentence(clause(failure, options.model)),
    onRight: (defect) => Cause.isInterruptedOnly(defect) ? "Interrupted." : Cause.pretty(defect)
  })

const clause = (failure: Failure, model: string): string => {
  switch (failure._tag) {
    case "ModelFileInvalid":
      return `the model in ${model} cannot be used: ${failure.message}`
    case "BudgetExhausted":
      return `the budget is too small: ${failure.message}; give --budget ${failure.suggestedMaxBytes} or more`
    case "LaunchFailed":
      return `${failure.message}${kernelHint(failure)}`
    default:
      return failure.message
  }
}

const kernelHint = (failure: Errors.LaunchFailed): string => {
  if (failure.reason === "LibraryNotLoaded") {
    return "; build it with `make -C examples/qwen3-decode/kernel`"
  }
  const status = failure.reason === "Kernel" ? Kernel.statusSentence(failure.deviceCode) : undefined
  return status === undefined ? "" : `; ${status}`
}

const asSentence = (text: string): string =>
  `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`
