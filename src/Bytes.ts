/**
 * Sizes in bytes as people write them: `4096`, `"64 MiB"`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Either from "effect/Either"

/**
 * A unit of bytes: binary (`KiB` is 1,024 bytes) or decimal (`kB` is 1,000 bytes).
 *
 * @since 0.1.0
 * @category models
 */
export type Unit = "B" | "KiB" | "MiB" | "GiB" | "TiB" | "kB" | "MB" | "GB" | "TB"

/**
 * A size as an option takes it: a number of bytes, or a number with a unit. The result must be a whole number of bytes
 * from 0 to 2^53 - 1.
 *
 * @since 0.1.0
 * @category models
 */
export type Input = number | `${number} ${Unit}` | `${number}${Unit}`

const unitBytes: Readonly<Record<Unit, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4
}

const pattern = /^(\d+)(?:\.(\d+))? ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?$/

/** Longer texts are no sizes that a person wrote. */
const maxTextLength = 64

/**
 * Reads a size. Answers `undefined` for whatever is not a whole number of bytes from 0 to 2^53 - 1.
 *
 * @example
 * import { strictEqual } from "node:assert"
 * import * as Bytes from "leasehold/Bytes"
 *
 * strictEqual(Bytes.parse("64 MiB"), 67108864)
 * strictEqual(Bytes.parse("1.5 KiB"), 1536)
 * strictEqual(Bytes.parse("-1 B"), undefined)
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (input: unknown): number | undefined => {
  if (typeof input === "number") {
    return Number.isSafeInteger(input) && input >= 0 ? input + 0 : undefined
  }
  if (typeof input !== "string" || input.length > maxTextLength) {
    return undefined
  }
  const match = pattern.exec(input)
  if (match === null) {
    return undefined
  }
  // In whole numbers: a fraction in floating point would miss sizes that are whole, and take some that are not.
  const [, whole, fraction = "", unit = "B"] = match
  const scale = 10n ** BigInt(fraction.length)
  const scaled = BigInt(`${whole}${fraction}`) * BigInt(unitBytes[unit as Unit])
  const bytes = Number(scaled / scale)
  return scaled % scale === 0n && Number.isSafeInteger(bytes) ? bytes : undefined
}

/**
 * Writes a size for people: the largest binary unit in which it is at least 1, with at most one decimal.
 *
 * @example
 * import { strictEqual } from "node:assert"
 * import * as Bytes from "leasehold/Bytes"
 *
 * strictEqual(Bytes.format(67108864), "64 MiB")
 * strictEqual(Bytes.format(1000), "1000 B")
 *
 * @since 0.1.0
 * @category constructors
 */
export const format = (bytes: number): string => {
  const units = ["TiB", "GiB", "MiB", "KiB"] as const
  for (const unit of units) {
    if (bytes >= unitBytes[unit]) {
      return `${Math.round((bytes / unitBytes[unit]) * 10) / 10} ${unit}`
    }
  }
  return `${bytes} B`
}

/**
 * A configuration value that is a size, such as an environment variable holding `64 MiB`.
 *
 * @since 0.1.0
 * @category configuration
 */
export const config = (name: string): Config.Config<number> =>
  Config.mapOrFail(Config.string(name), (text) => {
    const bytes = parse(text)
    return bytes === undefined
      ? Either.left(ConfigError.InvalidData([], `expected a size such as "64 MiB", got "${text}"`))
      : Either.right(bytes)
  })
