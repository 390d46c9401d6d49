/**
 * The options of a runner, their defaults, and the same options read from the environment.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Bytes from "./Bytes.ts"
import type { Clear } from "./Callable.ts"
import { InvalidConfiguration } from "./Errors.ts"
import type { Traits } from "./HostApi.ts"
import * as TemporaryBuffer from "./TemporaryBuffer.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface RunnerOptions {
  /** The memory that runs slice from. */
  readonly temporaryBuffer?: TemporaryBuffer.Options | undefined
  /** How many runs may be bound at once. One, today. Defaults to `1`. */
  readonly slots?: 1 | undefined
  /** What happens to a run that finds the slot taken: it fails with `RunAlreadyActive`. Defaults to `"fail"`. */
  readonly admission?: "fail" | undefined
  /** What is zeroed on the device before each launch; a callable may choose otherwise. Defaults to `"all"`. */
  readonly clear?: Clear | undefined
  /** The budget of all resident tensors together, in bytes. Defaults to `"256 MiB"`. */
  readonly residentMaxBytes?: Bytes.Input | undefined
  /**
   * The size of the host staging area in bytes. It is allocated where the backend needs one: where copies outlast a call,
   * or are coalesced. A run whose host views do not fit is refused with `StagingExhausted`. Defaults to `"16 MiB"`.
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
 * Options with every size in bytes and every default filled in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly temporaryBuffer: TemporaryBuffer.Configuration
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
    yield* only("slots", options.slots ?? defaults.slots, [1])
    yield* only("admission", options.admission ?? defaults.admission, ["fail"])
    return {
      temporaryBuffer: yield* TemporaryBuffer.configuration(options.temporaryBuffer ?? {}, traits),
      clear: yield* only<Clear>("clear", options.clear ?? defaults.clear, ["all", "outputs", "none"]),
      residentMaxBytes: yield* size("residentMaxBytes", options.residentMaxBytes ?? defaults.residentMaxBytes),
      stagingMaxBytes: yield* size("stagingMaxBytes", options.stagingMaxBytes ?? defaults.stagingMaxBytes),
      maxInlineCopyBytes: yield* size("maxInlineCopyBytes", options.maxInlineCopyBytes ?? defaults.maxInlineCopyBytes),
      interruptDeadline: yield* deadline(options.interruptDeadline),
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
    )
  }),
  clear: Config.literal("all", "outputs", "none")("LEASEHOLD_CLEAR").pipe(Config.withDefault(undefined)),
  residentMaxBytes: Bytes.config("LEASEHOLD_RESIDENT_MAX_BYTES").pipe(Config.withDefault(undefined)),
  stagingMaxBytes: Bytes.config("LEASEHOLD_STAGING_MAX_BYTES").pipe(Config.withDefault(undefined)),
  maxInlineCopyBytes: Bytes.config("LEASEHOLD_MAX_INLINE_COPY_BYTES").pipe(Config.withDefault(undefined)),
  interruptDeadline: Config.duration("LEASEHOLD_INTERRUPT_DEADLINE").pipe(Config.withDefault(undefined)),
  tracing: Config.boolean("LEASEHOLD_TRACING").pipe(Config.withDefault(undefined))
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

const deadline = (
  input: Duration.DurationInput | undefined
): Either.Either<Duration.Duration | undefined, InvalidConfiguration> => {
  if (input === undefined) {
    return Either.right(undefined)
  }
  const duration = Duration.decodeUnknown(input)
  return duration._tag === "Some" && Duration.toMillis(duration.value) > 0
    ? Either.right(duration.value)
    : Either.left(
      new InvalidConfiguration({
        reason: "Duration",
        option: "interruptDeadline",
        detail: "it should be a duration above zero"
      })
    )
}
