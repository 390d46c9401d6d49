/**
 * Reading the arguments of a run from the object that holds them. It may run code of the user's (a getter, a proxy), which
 * may do anything to what was read before; checking comes after all of it, and runs none.
 */
import { InvalidArgument } from "../../Errors.ts"
import type { Bindings } from "./bindings.ts"
import type { Parameter } from "./parameter.ts"

/**
 * Reads every argument once. `named` are the parameters that have an argument, in order. The names of an object are
 * checked when it is not the one of the run before: listing the names of a large object costs more than all the rest, and
 * an object that had the right names can only have gained some that no run asks for.
 */
export const readArguments = (
  bindings: Bindings,
  named: ReadonlyArray<Parameter>,
  args: unknown
): InvalidArgument | undefined => {
  if (typeof args !== "object" || args === null) {
    return new InvalidArgument({ reason: "Missing", argument: "", detail: "the arguments should be an object" })
  }
  const object = args as Readonly<Record<string, unknown>>
  if (object === bindings.namedBy) {
    return readByName(bindings, named, object, 0)
  }
  const readCount = readInOrder(bindings, named, object)
  if (readCount !== named.length) {
    const failure = readByName(bindings, named, object, Math.min(readCount, named.length)) ??
      checkNames(bindings, object)
    if (failure !== undefined) {
      return failure
    }
  }
  bindings.namedBy = object
  return undefined
}

/**
 * Reads arguments as long as the object lists them in the order of the signature, and nothing else, and answers how many
 * it read: more than there are where the object lists more. An object that is written out at the call is read whole.
 */
const readInOrder = (
  bindings: Bindings,
  named: ReadonlyArray<Parameter>,
  object: Readonly<Record<string, unknown>>
): number => {
  let count = 0
  // oxlint-disable-next-line guard-for-in -- what is inherited ends the reading in order, as any other name does
  for (const name in object) {
    const parameter = named[count]
    if (parameter === undefined) {
      return count + 1
    }
    if (name !== parameter.name) {
      return count
    }
    const value = object[name]
    if (value === undefined) {
      return count
    }
    bindings.incoming[parameter.index] = value
    count += 1
  }
  return count
}

const readByName = (
  bindings: Bindings,
  named: ReadonlyArray<Parameter>,
  object: Readonly<Record<string, unknown>>,
  start: number
): InvalidArgument | undefined => {
  for (let position = start; position < named.length; position++) {
    const parameter = named[position]!
    const value = object[parameter.name]
    if (value === undefined) {
      return new InvalidArgument({ reason: "Missing", argument: parameter.name, detail: "is missing" })
    }
    bindings.incoming[parameter.index] = value
  }
  return undefined
}

/** Arguments may be inherited or not enumerable: they were all there. What is to be found is a name too many. */
const checkNames = (
  bindings: Bindings,
  object: Readonly<Record<string, unknown>>
): InvalidArgument | undefined => {
  const unknown = Object.keys(object).find((name) => !bindings.names.has(name))
  if (unknown === undefined) {
    return undefined
  }
  const isScratch = bindings.parameters.some((parameter) => parameter.name === unknown)
  return new InvalidArgument({
    reason: "Unknown",
    argument: unknown.slice(0, 256),
    detail: isScratch ? "is scratch, which the runner provides" : "is not in the signature"
  })
}
