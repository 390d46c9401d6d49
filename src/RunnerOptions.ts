/**
 * The options of a runner, their defaults, and the same options read from the environment.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import { hasProperty, isRecord } from "effect/Predicate"
import * as Bytes from "./Bytes.ts"
import type { Clear } from "./Callable.ts"
import { InvalidConfiguration } from "./Errors.ts"
import type { Traits } from "./HostApi.ts"
import * as TemporaryBuffer from "./TemporaryBuffer.ts"

/**
 * What happens to a run for which there is no slot or no memory now. One that could never fit fails at once, whatever is
 * chosen.
 *
 * - `"fail"`: it fails, with `RunAlreadyActive` or `BudgetExhausted`.
 * - `{ wait }`: it waits its turn, in the order of arrival. It is refused with `AdmissionRefused` where `maxQueueCount` runs
 *   wait before it already, and when the `deadline` has passed.
 * - `{ shed }`: it waits, but is refused at once where `maxQueueCount` runs wait before it, or where it would have to wait for
 *   longer than `maxWait`, by what was seen of late.
 *
 * @since 0.1.0
 * @category models
 */
export type Admission =
  | "fail"
  | { readonly wait: { readonly maxQueueCount: number; readonly deadline?: Duration.DurationInput | undefined } }
  | { readonly shed: { readonly maxQueueCount: number; readonly maxWait: Duration.DurationInput } }

/**
 * @since 0.1.0
 * @category models
 */
export interface RunnerOptions {
  /** The memory that runs slice from. */
  readonly temporaryBuffer?: TemporaryBuffer.Options | undefined
  /**
   * How many runs may be bound at once, inside the one budget: from 1 to 64. With one, runs are strictly serial. Defaults to
   * `1`.
   */
  readonly slots?: number | undefined
  /** What happens to a run for which there is no slot or no memory now. Defaults to `"fail"`. */
  readonly admission?: Admission | undefined
  /** What is zeroed on the device before each launch; a callable may choose otherwise. Defaults to `"all"`. */
  readonly clear?: Clear | undefined
  /** The budget of all resident tensors together, in bytes. Defaults to `"256 MiB"`. */
  readonly residentMaxBytes?: Bytes.Input | undefined
  /**
   * The budget of the host staging areas in bytes, of which each slot has an equal share. They are allocated where the backend
   * needs them: where copies outlast a call, or are coalesced. A run whose host views do not fit into its slot's share is
   * refused with `StagingExhausted`. Defaults to `"16 MiB"`.
   */
  readonly stagingMaxBytes?: Bytes.Input | undefined
  /**
   * The most bytes that are copied from or to plain host views in one synchronous stretch, because that stretch blocks the
   * event loop. A larger run is refused with `InvalidArgument`, and host tensors are the way. Defaults to `"4 MiB"`.
   */
  readonly maxInlineCopyBytes?: Bytes.Input | undefined
  /**
   * How long an interrupted run waits for a native call in flight. When it expires the call's memory goes to quarantine
   * and the runner is poisoned. Calls of `execution: "inline"` cannot be timed out. Defaults to waiting for ever.
   */
  readonly interruptDeadline?: Duration.DurationInput | undefined
  /** Whether plain views over a `SharedArrayBuffer` are taken; other threads may change them under a copy. Defaults to `false`. */
  readonly allowSharedViews?: boolean | undefined
  /** Whether bind, launch, validate and run are spans. Defaults to `false`. */
  readonly tracing?: boolean | undefined
}

/**
 * @since 0.1.0
 * @category configuration
 */
export const defaults = {
  temporaryBuffer: TemporaryBuffer.defaults,
  slots: 1,
  admission: "fail",
  clear: "all",
  residentMaxBytes: "256 MiB",
  stagingMaxBytes: "16 MiB",
  maxInlineCopyBytes: "4 MiB",
  allowSharedViews: false,
  tracing: false
} as const satisfies RunnerOptions

/**
 * `Admission` with its durations read.
 *
 * @since 0.1.0
 * @category models
 */
export type AdmissionSettings =
  | { readonly _tag: "Fail" }
  | { readonly _tag: "Wait"; readonly maxQueueCount: number; readonly deadline: Duration.Duration | undefined }
  | { readonly _tag: "Shed"; readonly maxQueueCount: number; readonly maxWait: Duration.Duration }

/**
 * Options with every size in bytes and every default filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly temporaryBuffer: TemporaryBuffer.Configuration
  readonly slots: number
  readonly admission: AdmissionSettings
  readonly clear: Clear
  readonly residentMaxBytes: number
  readonly stagingMaxBytes: number
  readonly maxInlineCopyBytes: number
  readonly interruptDeadline: Duration.Duration | undefined
  readonly allowSharedViews: boolean
  readonly tracing: boolean
}

/**
 * Checks options against what the backend's traits ask for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const settings = (options: RunnerOptions, traits: Traits): Either.Either<Settings, InvalidConfiguration> =>
  Either.gen(function*() {
    return {
      temporaryBuffer: yield* TemporaryBuffer.configuration(options.temporaryBuffer ?? {}, traits),
      slots: yield* count("slots", options.slots ?? defaults.slots, { least: 1, most: maxSlotCount }),
      admission: yield* admission(options.admission ?? defaults.admission),
      clear: yield* only<Clear>("clear", options.clear ?? defaults.clear, ["all", "outputs", "none"]),
      residentMaxBytes: yield* size("residentMaxBytes", options.residentMaxBytes ?? defaults.residentMaxBytes),
      stagingMaxBytes: yield* size("stagingMaxBytes", options.stagingMaxBytes ?? defaults.stagingMaxBytes),
      maxInlineCopyBytes: yield* size("maxInlineCopyBytes", options.maxInlineCopyBytes ?? defaults.maxInlineCopyBytes),
      interruptDeadline: yield* optionalDuration("interruptDeadline", options.interruptDeadline),
      allowSharedViews: yield* only<boolean>(
        "allowSharedViews",
        options.allowSharedViews ?? defaults.allowSharedViews,
        [true, false]
      ),
      tracing: yield* only<boolean>("tracing", options.tracing ?? defaults.tracing, [true, false])
    }
  })

/**
 * The options that the environment can give: sizes such as `64 MiB`, choices by name. Chunks are `single` or a count.
 *
 * | variable | option |
 * | --- | --- |
 * | `LEASEHOLD_MAX_BYTES` | `temporaryBuffer.maxBytes` |
 * | `LEASEHOLD_ALIGNMENT_BYTES` | `temporaryBuffer.alignmentBytes` |
 * | `LEASEHOLD_CHUNK_COUNT` | `temporaryBuffer.chunks` |
 * | `LEASEHOLD_GROWTH` | `temporaryBuffer.growth` |
 * | `LEASEHOLD_SLOTS` | `slots` |
 * | `LEASEHOLD_CLEAR` | `clear` |
 * | `LEASEHOLD_RESIDENT_MAX_BYTES` | `residentMaxBytes` |
 * | `LEASEHOLD_STAGING_MAX_BYTES` | `stagingMaxBytes` |
 * | `LEASEHOLD_MAX_INLINE_COPY_BYTES` | `maxInlineCopyBytes` |
 * | `LEASEHOLD_INTERRUPT_DEADLINE` | `interruptDeadline` |
 * | `LEASEHOLD_TRACING` | `tracing` |
 *
 * @since 0.1.0
 * @category configuration
 */
export const environment: Config.Config<RunnerOptions> = Config.all({
  temporaryBuffer: Config.all({
    maxBytes: Bytes.config("LEASEHOLD_MAX_BYTES").pipe(Config.withDefault(undefined)),
    alignmentBytes: Bytes.config("LEASEHOLD_ALIGNMENT_BYTES").pipe(Config.withDefault(undefined)),
    chunks: Config.integer("LEASEHOLD_CHUNK_COUNT").pipe(
      Config.map((count) => ({ count })),
      Config.withDefault(undefined)
    ),
    growth: Config.literal("fixed", "highWater")("LEASEHOLD_GROWTH").pipe(Config.withDefault(undefined))
  }),
  slots: Config.integer("LEASEHOLD_SLOTS").pipe(Config.withDefault(undefined)),
  clear: Config.literal("all", "outputs", "none")("LEASEHOLD_CLEAR").pipe(Config.withDefault(undefined)),
  residentMaxBytes: Bytes.config("LEASEHOLD_RESIDENT_MAX_BYTES").pipe(Config.withDefault(undefined)),
  stagingMaxBytes: Bytes.config("LEASEHOLD_STAGING_MAX_BYTES").pipe(Config.withDefault(undefined)),
  maxInlineCopyBytes: Bytes.config("LEASEHOLD_MAX_INLINE_COPY_BYTES").pipe(Config.withDefault(undefined)),
  interruptDeadline: Config.duration("LEASEHOLD_INTERRUPT_DEADLINE").pipe(Config.withDefault(undefined)),
  tracing: Config.boolean("LEASEHOLD_TRACING").pipe(Config.withDefault(undefined))
})

/** The most runs that can be bound at once. */
const maxSlotCount = 64

const count = (
  option: string,
  input: number,
  bounds: { readonly least: number; readonly most: number }
): Either.Either<number, InvalidConfiguration> =>
  Number.isSafeInteger(input) && input >= bounds.least && input <= bounds.most
    ? Either.right(input)
    : Either.left(
      new InvalidConfiguration({
        reason: "Count",
        option,
        detail: `it should be a whole number from ${bounds.least} to ${bounds.most}`
      })
    )

const maxQueueCount = (option: string, input: number): Either.Either<number, InvalidConfiguration> =>
  count(`${option}.maxQueueCount`, input, { least: 0, most: Number.MAX_SAFE_INTEGER })

const admission = (input: Admission): Either.Either<AdmissionSettings, InvalidConfiguration> =>
  Either.gen(function*() {
    if (input === "fail") {
      return { _tag: "Fail" }
    }
    if (hasProperty(input, "wait") && isRecord(input.wait)) {
      return {
        _tag: "Wait",
        maxQueueCount: yield* maxQueueCount("admission.wait", input.wait.maxQueueCount),
        deadline: yield* optionalDuration("admission.wait.deadline", input.wait.deadline)
      }
    }
    if (hasProperty(input, "shed") && isRecord(input.shed)) {
      return {
        _tag: "Shed",
        maxQueueCount: yield* maxQueueCount("admission.shed", input.shed.maxQueueCount),
        maxWait: yield* duration("admission.shed.maxWait", input.shed.maxWait)
      }
    }
    return yield* Either.left(
      new InvalidConfiguration({
        reason: "Choice",
        option: "admission",
        detail: "it should be \"fail\", { wait: { maxQueueCount } } or { shed: { maxQueueCount, maxWait } }"
      })
    )
  })

const size = (option: string, input: Bytes.Input): Either.Either<number, InvalidConfiguration> => {
  const bytes = Bytes.parse(input)
  return bytes === undefined
    ? Either.left(
      new InvalidConfiguration({ reason: "Size", option, detail: "it should be a size such as \"64 MiB\"" })
    )
    : Either.right(bytes)
}

const only = <const A>(option: string, input: A, choices: ReadonlyArray<A>): Either.Either<A, InvalidConfiguration> =>
  choices.includes(input)
    ? Either.right(input)
    : Either.left(
      new InvalidConfiguration({
        reason: "Choice",
        option,
        detail: `it should be ${choices.map((choice) => JSON.stringify(choice)).join(" or ")}`
      })
    )

const optionalDuration = (
  option: string,
  input: Duration.DurationInput | undefined
): Either.Either<Duration.Duration | undefined, InvalidConfiguration> =>
  input === undefined ? Either.right(undefined) : duration(option, input)

const duration = (
  option: string,
  input: Duration.DurationInput
): Either.Either<Duration.Duration, InvalidConfiguration> => {
  const decoded = Duration.decodeUnknown(input)
  return decoded._tag === "Some" && Duration.toMillis(decoded.value) > 0
    ? Either.right(decoded.value)
    : Either.left(
      new InvalidConfiguration({ reason: "Duration", option, detail: "it should be a duration above zero" })
    )
}
