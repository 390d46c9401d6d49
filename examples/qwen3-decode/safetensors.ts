/**
 * Reads safetensors files, in bounded memory: the header when a file is opened, then whatever piece of a tensor is
 * asked for. A file is believed only as far as it agrees with itself, and all of that is checked before it is used.
 *
 * Source: the format section of huggingface/safetensors' README. A file is eight bytes with the header's length (little
 * endian), the header (a JSON object), and the tensors' bytes, row-major and little endian, without holes.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { isRecord } from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { firstIssue, ModelFileInvalid, quoted } from "./errors.ts"
import { regularFile, unreadable } from "./modelFile.ts"

/**
 * The longest header that is read, in bytes. The format itself allows 100 MB; a header of this size names more than
 * 100,000 tensors.
 */
export const headerMaxBytes = 16 * 1024 * 1024

/** How much one call of the file system reads, in bytes. */
const readMaxBytes = 8 * 1024 * 1024

/** Bytes of the header's length at the start of a file. */
const prefixBytes = 8

/** Bytes of one element. Source: `Dtype` of huggingface/safetensors, without the types that are smaller than a byte. */
const elementBytes = new Map<string, number>([
  ["BOOL", 1],
  ["U8", 1],
  ["I8", 1],
  ["F8_E4M3", 1],
  ["F8_E5M2", 1],
  ["F8_E8M0", 1],
  ["U16", 2],
  ["I16", 2],
  ["F16", 2],
  ["BF16", 2],
  ["U32", 4],
  ["I32", 4],
  ["F32", 4],
  ["U64", 8],
  ["I64", 8],
  ["F64", 8],
  ["C64", 8]
])

/** A tensor as the header describes it. */
export interface SafetensorsTensor {
  /** The format's own name, such as `BF16`. */
  readonly dtype: string
  readonly shape: ReadonlyArray<number>
  readonly byteCount: number
}

/** An open file. It is valid until the scope closes that it was opened in. */
export interface SafetensorsFile {
  /** The file's name without its folder. */
  readonly file: string
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>
  /** Reads a piece of a tensor into memory of its own, which starts at offset 0 of its buffer. */
  readonly read: (
    name: string,
    piece: { readonly offsetBytes: number; readonly byteCount: number }
  ) => Effect.Effect<Uint8Array<ArrayBuffer>, ModelFileInvalid>
}

interface PlacedTensor extends SafetensorsTensor {
  /** From the start of the file. */
  readonly startBytes: number
}

/**
 * Opens a safetensors file and checks its header against itself and against the file's size. Fails with
 * `ModelFileInvalid` on a file that is missing, truncated, oversized or inconsistent.
 */
export const open = (
  path: string
): Effect.Effect<SafetensorsFile, ModelFileInvalid, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function*() {
    const { file, fileBytes } = yield* regularFile(path)
    const handle = yield* Effect.mapError((yield* FileSystem.FileSystem).open(path, { flag: "r" }), unreadable(file))
    const turn = yield* Effect.makeSemaphore(1)
    const readAt = (startBytes: number, byteCount: number) =>
      turn.withPermits(1)(readFully(handle, file, startBytes, byteCount))

    const headerBytes = yield* headerLength(file, fileBytes, readAt)
    const header = yield* readAt(prefixBytes, headerBytes)
    const tensors = yield* parseHeader(file, header, fileBytes)
    return {
      file,
      tensors,
      read: (name, piece) =>
        Effect.suspend(() => {
          const tensor = tensors.get(name)
          if (tensor === undefined) {
            return new ModelFileInvalid({ file, reason: "TensorMissing", detail: `has no tensor ${quoted(name)}` })
          }
          return isWithin(piece, tensor.byteCount)
            ? readAt(tensor.startBytes + piece.offsetBytes, piece.byteCount)
            : new ModelFileInvalid({
              file,
              reason: "OutOfRange",
              detail: `was asked for ${piece.byteCount} B from byte ${piece.offsetBytes} on of the tensor ` +
                `${quoted(name)}, which has ${tensor.byteCount} B`
            })
        })
    }
  })

const isWithin = (piece: { readonly offsetBytes: number; readonly byteCount: number }, byteCount: number): boolean =>
  Number.isSafeInteger(piece.offsetBytes) && Number.isSafeInteger(piece.byteCount) &&
  piece.offsetBytes >= 0 && piece.byteCount >= 0 && piece.byteCount <= byteCount - piece.offsetBytes

/** Reads exactly `byteCount` bytes. A file that has become shorter since it was opened is truncated. */
const readFully = (
  handle: FileSystem.File,
  file: string,
  startBytes: number,
  byteCount: number
): Effect.Effect<Uint8Array<ArrayBuffer>, ModelFileInvalid> =>
  Effect.gen(function*() {
    const bytes = yield* Effect.try({
      try: () => new Uint8Array(byteCount),
      catch: () =>
        new ModelFileInvalid({
          file,
          reason: "Unreadable",
          detail: `has a piece of ${byteCount} B, for which there is no memory`
        })
    })
    yield* handle.seek(startBytes, "start")
    let filledBytes = 0
    while (filledBytes < byteCount) {
      const target = bytes.subarray(filledBytes, Math.min(byteCount, filledBytes + readMaxBytes))
      // A read in flight cannot be called back: the file may only be closed, by an interruption, once it has ended.
      const gained = yield* Effect.uninterruptible(Effect.mapError(handle.read(target), unreadable(file)))
      if (Number(gained) === 0) {
        return yield* new ModelFileInvalid({
          file,
          reason: "Truncated",
          detail: `ended at byte ${startBytes + filledBytes}, while it was being read`
        })
      }
      filledBytes += Number(gained)
    }
    return bytes
  })

const headerLength = (
  file: string,
  fileBytes: number,
  readAt: (startBytes: number, byteCount: number) => Effect.Effect<Uint8Array<ArrayBuffer>, ModelFileInvalid>
): Effect.Effect<number, ModelFileInvalid> =>
  Effect.gen(function*() {
    if (fileBytes < prefixBytes) {
      return yield* new ModelFileInvalid({
        file,
        reason: "Truncated",
        detail: `has ${fileBytes} B, but a safetensors file starts with the ${prefixBytes} B of its header's length`
      })
    }
    const prefix = yield* readAt(0, prefixBytes)
    const length = new DataView(prefix.buffer).getBigUint64(0, true)
    if (length > BigInt(headerMaxBytes)) {
      return yield* new ModelFileInvalid({
        file,
        reason: "HeaderTooLong",
        detail: `announces a header of ${length} B, but at most ${headerMaxBytes} B are read`
      })
    }
    if (length > BigInt(fileBytes - prefixBytes)) {
      return yield* new ModelFileInvalid({
        file,
        reason: "Truncated",
        detail: `announces a header of ${length} B, but only ${fileBytes - prefixBytes} B follow`
      })
    }
    return Number(length)
  })

const TensorEntry = Schema.Struct({
  dtype: Schema.String,
  shape: Schema.Array(Schema.NonNegativeInt),
  data_offsets: Schema.Tuple(Schema.NonNegativeInt, Schema.NonNegativeInt)
})

const decodeTensorEntry = Schema.decodeUnknownEither(TensorEntry)

const parseHeader = (
  file: string,
  header: Uint8Array<ArrayBuffer>,
  fileBytes: number
): Effect.Effect<ReadonlyMap<string, PlacedTensor>, ModelFileInvalid> =>
  Effect.gen(function*() {
    const json = yield* Effect.try({
      try: (): unknown => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(header)),
      catch: () => new ModelFileInvalid({ file, reason: "HeaderInvalid", detail: "has a header that is not JSON" })
    })
    if (!isRecord(json)) {
      return yield* new ModelFileInvalid({
        file,
        reason: "HeaderInvalid",
        detail: "has a header that is no JSON object"
      })
    }
    const dataStartBytes = prefixBytes + header.byteLength
    const tensors = new Map<string, PlacedTensor>()
    for (const [name, entry] of Object.entries(json)) {
      if (name !== "__metadata__") {
        tensors.set(name, yield* parseTensor(file, name, entry, dataStartBytes))
      }
    }
    yield* checkLayout(file, tensors, dataStartBytes, fileBytes)
    return tensors
  })

const parseTensor = (
  file: string,
  name: string,
  entry: unknown,
  dataStartBytes: number
): Either.Either<PlacedTensor, ModelFileInvalid> => {
  const refuse = (reason: ModelFileInvalid["reason"], detail: string) =>
    Either.left(new ModelFileInvalid({ file, reason, detail }))
  const decoded = decodeTensorEntry(entry)
  if (Either.isLeft(decoded)) {
    return refuse("HeaderInvalid", `describes the tensor ${quoted(name)} wrongly: ${firstIssue(decoded.left)}`)
  }
  const { data_offsets: [beginBytes, endBytes], dtype, shape } = decoded.right
  const width = elementBytes.get(dtype)
  if (width === undefined) {
    return refuse("DtypeUnknown", `gives the tensor ${quoted(name)} the unknown element type ${quoted(dtype)}`)
  }
  // Doubles are exact below 2^53; a product that is not is beyond every file, whatever it was rounded to.
  const byteCount = shape.includes(0) ? 0 : shape.reduce((product, dimension) => product * dimension, width)
  if (!Number.isSafeInteger(byteCount)) {
    return refuse("TensorSizeInvalid", `gives the tensor ${quoted(name)} a shape of more than 2^53 B`)
  }
  if (endBytes - beginBytes !== byteCount) {
    return refuse(
      "TensorSizeInvalid",
      `gives the tensor ${quoted(name)} the bytes from ${beginBytes} to ${endBytes}, but ${dtype} [${
        shape.join(", ")
      }] ` +
        `has ${byteCount} B`
    )
  }
  return Either.right({ dtype, shape, byteCount, startBytes: dataStartBytes + beginBytes })
}

/** The tensors must cover everything behind the header, once. */
const checkLayout = (
  file: string,
  tensors: ReadonlyMap<string, PlacedTensor>,
  dataStartBytes: number,
  fileBytes: number
): Either.Either<void, ModelFileInvalid> => {
  const placed = [...tensors].toSorted(([, left], [, right]) =>
    left.startBytes - right.startBytes || left.byteCount - right.byteCount
  )
  let endBytes = dataStartBytes
  for (const [name, tensor] of placed) {
    if (tensor.startBytes !== endBytes) {
      const detail = tensor.startBytes < endBytes
        ? `lets the tensor ${quoted(name)} overlap another one by ${endBytes - tensor.startBytes} B`
        : `leaves a gap of ${tensor.startBytes - endBytes} B before the tensor ${quoted(name)}`
      return Either.left(new ModelFileInvalid({ file, reason: "LayoutInvalid", detail }))
    }
    endBytes += tensor.byteCount
  }
  if (endBytes !== fileBytes) {
    const reason = fileBytes < endBytes ? "Truncated" : "Oversized"
    const detail = `has ${fileBytes} B, but its header describes ${endBytes} B`
    return Either.left(new ModelFileInvalid({ file, reason, detail }))
  }
  return Either.void
}
