/**
 * Finding and loading a backend's shared library, with every reason why it cannot be loaded.
 */
import * as Either from "effect/Either"
import { realpathSync, statSync } from "node:fs"
import { isAbsolute } from "node:path"
import { isMainThread } from "node:worker_threads"
import { BackendUnavailable } from "../../Errors.ts"
import { abiVersion, declareLibrary, type Functions } from "../ffi/declarations.ts"

/** koffi cuts longer paths. */
const maxPathLength = 4095

/** What is wrong with a path that is to be loaded, or `undefined`. */
export const rejectPath = (path: string): string | undefined => {
  if (typeof path !== "string" || path === "") {
    return "a library path should be a non-empty string"
  }
  if (!isAbsolute(path)) {
    return "a library path should be absolute"
  }
  if (path.includes("\0")) {
    return "a library path should hold no NUL character"
  }
  return path.length > maxPathLength ? `a library path should have at most ${maxPathLength} characters` : undefined
}

/** The right of everybody to write a file. */
const writableByAll = 0o002

/**
 * What is wrong with the file at a path that is to be loaded, or `undefined`: whoever may write it chooses what this
 * process executes. Links are followed, as the loader does; a file that is not there is for the loader to report. Only the
 * file itself is looked at, and only everybody's right: the owner, the group and the folders are the machine's affair.
 */
export const rejectFile = (path: string): string | undefined => {
  const status = Either.getOrUndefined(Either.try(() => statSync(path)))
  return status !== undefined && status.isFile() && (status.mode & writableByAll) !== 0
    ? "its library may be written by everybody; take that right away with `chmod o-w`"
    : undefined
}

/** Loads the library at `path` and checks that it speaks our version of the ABI. */
export const loadLibrary = (options: {
  readonly backend: string
  readonly path: string
  /** The command that builds the library. */
  readonly hint: string
}): Either.Either<Functions, BackendUnavailable> => {
  const { backend, hint, path } = options
  const unavailable = (
    reason: BackendUnavailable["reason"],
    detail: string
  ): Either.Either<never, BackendUnavailable> =>
    Either.left(
      new BackendUnavailable({
        backend,
        reason,
        detail,
        pathsTried: typeof path === "string" ? [path] : [],
        // Building the library helps where it is not there, or is not the right one.
        hint: reason === "UnsupportedThread" || reason === "LibraryRejected" ? "" : hint
      })
    )
  if (!isMainThread) {
    return unavailable("UnsupportedThread", "native backends do not run in worker threads; use a child process")
  }
  const rejected = rejectPath(path)
  if (rejected !== undefined) {
    return unavailable("LibraryRejected", rejected)
  }
  const status = Either.getOrUndefined(Either.try(() => statSync(path)))
  if (status === undefined) {
    return unavailable("LibraryNotFound", "its library is not there, or cannot be looked at")
  }
  if (!status.isFile()) {
    return unavailable("LibraryRejected", "its library is not a file")
  }
  const rejectedFile = rejectFile(path)
  if (rejectedFile !== undefined) {
    return unavailable("LibraryRejected", rejectedFile)
  }
  return Either.flatMap(
    Either.try({
      try: () => declareLibrary(realpathSync(path)),
      catch: (error) => error
    }).pipe(Either.orElse((error) => {
      const detail = error instanceof Error ? error.message : String(error)
      return /cannot find function/i.test(detail)
        ? unavailable("SymbolMissing", detail)
        : unavailable("LibraryNotLoaded", detail)
    })),
    (functions) => {
      const version = Number(functions.lh_abi_version())
      return version === abiVersion
        ? Either.right(functions)
        : unavailable("AbiMismatch", `its library has ABI version ${version}, and ${abiVersion} is needed`)
    }
  )
}
