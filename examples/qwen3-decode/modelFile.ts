/** How the files of a model folder are found and read: regular files only, within limits. */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import { isTagged } from "effect/Predicate"
import { ModelFileInvalid } from "./errors.ts"

/** Turns a failure of the file system into one that names the file but not its folder. */
export const unreadable = (file: string) => (error: PlatformError): ModelFileInvalid =>
  new ModelFileInvalid({
    file,
    reason: "Unreadable",
    detail: `cannot be read (${isTagged(error, "SystemError") ? error.reason : "BadArgument"})`
  })

/**
 * The name and size of a regular file. Whatever else may stand at a path (a folder, a pipe, a device) is refused before
 * it is opened, because opening alone may wait for ever.
 */
export const regularFile = (
  path: string
): Effect.Effect<
  { readonly file: string; readonly fileBytes: number },
  ModelFileInvalid,
  FileSystem.FileSystem | Path.Path
> =>
  Effect.gen(function*() {
    const file = (yield* Path.Path).basename(path)
    const info = yield* Effect.mapError((yield* FileSystem.FileSystem).stat(path), unreadable(file))
    if (info.type !== "File") {
      return yield* new ModelFileInvalid({ file, reason: "Unreadable", detail: "is not a regular file" })
    }
    return { file, fileBytes: Number(info.size) }
  })
