/**
 * Call sites: the line of a program that asked a runner for something. Effects run long after they were described, so the
 * line is taken where a method is called, and follows the fiber from there.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { dirname, relative } from "node:path"
import { fileURLToPath } from "node:url"

/** The line on whose behalf a fiber works, such as `decode.ts:12:20`, or `undefined`. */
class CallSite extends Context.Reference<CallSite>()("leasehold/testing/CallSite", {
  defaultValue: (): string | undefined => undefined
}) {}

/** The folder of the framework's own sources, whose lines are nobody's call sites. */
const ownFolder = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** A path as people write it: from the folder in which the program was started, where it lies in there. */
const shortened = (path: string): string => {
  const short = relative(process.cwd(), path)
  return short.startsWith("..") ? path : short
}

/** The line that called, outside of the framework and of packages. */
export const capture = (): string | undefined => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 32
  const lines = (new Error("call site").stack ?? "").split("\n")
  Error.stackTraceLimit = stackTraceLimit
  for (const line of lines.slice(1)) {
    const place = /\(?((?:file:\/\/)?\/[^()]+:\d+:\d+)\)?$/.exec(line)?.[1]
    if (place !== undefined) {
      const path = place.startsWith("file:") ? fileURLToPath(place) : place
      if (!path.startsWith(`${ownFolder}/`) && !path.includes("/node_modules/")) {
        return shortened(path)
      }
    }
  }
  return undefined
}

/** Remembers a line for whatever an effect does. It takes the same steps where no line is known. */
export const withCallSite = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  place: string | undefined
): Effect.Effect<A, E, R> => Effect.provideService(effect, CallSite, place)

/** Whether a fiber is within a method of a watched runner. */
export const isInRunner = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  fiber.currentContext.unsafeMap.has(CallSite.key)

/** The line on whose behalf the current fiber works. */
export const currentCallSite = (): string | undefined =>
  Option.match(Fiber.getCurrentFiber(), {
    onNone: () => undefined,
    onSome: (fiber) => Context.get(fiber.currentContext, CallSite)
  })
