import { assert, describe, it } from "@effect/vitest"
import { ConfigError, ConfigProvider, Duration, Effect, Either, Option } from "effect"
import { Errors, type HostApi, RunnerOptions } from "leasehold"

const traits: HostApi.Traits = {
  alignmentBytes: 64,
  granularityBytes: 1,
  tailBytes: 0,
  coalesceMaxBytes: 0,
  overlapsCopies: false,
  freeSynchronizes: false,
  argumentPassing: "value",
  recovery: "rebuildRunner",
  answersAtOnce: true
}

const settled = (options: RunnerOptions.RunnerOptions): RunnerOptions.Settings => {
  const made = RunnerOptions.settings(options, traits)
  assert(Either.isRight(made), Either.isLeft(made) ? made.left.message : "")
  return made.right
}

const refused = (options: unknown): Errors.InvalidConfiguration => {
  const made = RunnerOptions.settings(options as RunnerOptions.RunnerOptions, traits)
  assert(Either.isLeft(made), "it is refused")
  assert.instanceOf(made.left, Errors.InvalidConfiguration)
  return made.left
}

const badSizes: ReadonlyArray<unknown> = [
  -1,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  "lots",
  "-1 MiB",
  "",
  64n,
  true,
  {},
  []
]

/** For each option values that are not valid, with the reason of the refusal. */
const invalidOptions: ReadonlyArray<
  readonly [option: string, reason: Errors.InvalidConfiguration["reason"], values: ReadonlyArray<unknown>]
> = [
  ["slots", "Count", [0, 65, -1, 1.5, "1", true]],
  ["admission", "Choice", ["wait", "", "FAIL", true, 0, {}, { wait: 1 }, { shed: null }]],
  ["clear", "Choice", ["some", "", "ALL", true, 0]],
  ["residentMaxBytes", "Size", badSizes],
  ["stagingMaxBytes", "Size", badSizes],
  ["maxInlineCopyBytes", "Size", badSizes],
  ["interruptDeadline", "Duration", [
    0,
    -1,
    Number.NaN,
    "soon",
    "",
    "0 seconds",
    "-1 seconds",
    0n,
    true,
    {},
    [],
    Duration.zero
  ]],
  ["allowSharedViews", "Choice", ["no", "false", 0, 1, {}]],
  ["tracing", "Choice", ["no", "false", 0, 1, {}]]
]

describe("settings", () => {
  it("fill in every default", () => {
    const expected: RunnerOptions.Settings = {
      temporaryBuffer: {
        maxBytes: 64 * 1024 ** 2,
        alignmentBytes: 1024,
        policy: "single",
        growth: "fixed",
        chunkBytes: [64 * 1024 ** 2]
      },
      slots: 1,
      admission: { _tag: "Fail" },
      clear: "all",
      residentMaxBytes: 256 * 1024 ** 2,
      stagingMaxBytes: 16 * 1024 ** 2,
      maxInlineCopyBytes: 4 * 1024 ** 2,
      interruptDeadline: undefined,
      allowSharedViews: false,
      tracing: false
    }
    assert.deepStrictEqual(settled({}), expected)
    assert.deepStrictEqual(settled(RunnerOptions.defaults), expected)
  })

  it("take an option that is undefined for one that is not there", () => {
    const names = [...Object.keys(RunnerOptions.defaults), "interruptDeadline"]
    const undefinedOptions = Object.fromEntries(names.map((name) => [name, undefined]))
    assert.deepStrictEqual(settled(undefinedOptions), settled({}))
  })

  it("take every valid option", () => {
    assert.deepStrictEqual(
      settled({
        temporaryBuffer: { maxBytes: "1 MiB", alignmentBytes: 256, chunks: { count: 2 } },
        slots: 1,
        admission: "fail",
        clear: "outputs",
        residentMaxBytes: 0,
        stagingMaxBytes: "1 KiB",
        maxInlineCopyBytes: 1024,
        interruptDeadline: "2 seconds",
        allowSharedViews: true,
        tracing: true
      }),
      {
        temporaryBuffer: {
          maxBytes: 1024 ** 2,
          alignmentBytes: 256,
          policy: "count",
          growth: "fixed",
          chunkBytes: [512 * 1024, 512 * 1024]
        },
        slots: 1,
        admission: { _tag: "Fail" },
        clear: "outputs",
        residentMaxBytes: 0,
        stagingMaxBytes: 1024,
        maxInlineCopyBytes: 1024,
        interruptDeadline: Duration.seconds(2),
        allowSharedViews: true,
        tracing: true
      }
    )
  })

  it("take deadlines in every form that a duration has", () => {
    for (const interruptDeadline of [1500, "1500 millis", 1_500_000_000n, Duration.millis(1500), [1, 500_000_000]]) {
      const { interruptDeadline: deadline } = settled({
        interruptDeadline: interruptDeadline as Duration.DurationInput
      })
      assert.isTrue(deadline !== undefined && Duration.equals(deadline, Duration.millis(1500)))
    }
    assert.strictEqual(settled({ interruptDeadline: Duration.infinity }).interruptDeadline, Duration.infinity)
  })

  it("ask the device what the temporary buffer has to be like", () => {
    const made = RunnerOptions.settings(
      { temporaryBuffer: { maxBytes: 1000, alignmentBytes: 16 } },
      { ...traits, alignmentBytes: 512, granularityBytes: 256 }
    )
    assert.deepStrictEqual(Option.getOrThrow(Either.getRight(made)).temporaryBuffer, {
      maxBytes: 1000,
      alignmentBytes: 512,
      policy: "single",
      growth: "fixed",
      chunkBytes: [768]
    })
  })

  for (const [option, reason, values] of invalidOptions) {
    it(`refuse ${option} by name when it is not valid`, () => {
      for (const value of values) {
        const error = refused({ [option]: value })
        assert.strictEqual(error.option, option)
        assert.strictEqual(error.reason, reason)
        assert.isTrue(error.message.startsWith(`the option ${option} is not valid: `), error.message)
      }
    })
  }

  it("refuse what the temporary buffer refuses, by its own name", () => {
    assert.strictEqual(refused({ temporaryBuffer: { maxBytes: -1 } }).option, "temporaryBuffer.maxBytes")
    assert.strictEqual(refused({ temporaryBuffer: { alignmentBytes: 3 } }).option, "temporaryBuffer.alignmentBytes")
    assert.strictEqual(refused({ temporaryBuffer: { chunks: "double" } }).option, "temporaryBuffer.chunks")
    assert.strictEqual(refused({ temporaryBuffer: { chunks: { count: 0 } } }).option, "temporaryBuffer.chunks.count")
    assert.strictEqual(refused({ temporaryBuffer: { chunks: { sizes: [] } } }).option, "temporaryBuffer.chunks.sizes")
  })

  it("refuse with a message that says what would be valid", () => {
    assert.strictEqual(
      refused({ clear: "some" }).message,
      "the option clear is not valid: it should be \"all\" or \"outputs\" or \"none\""
    )
    assert.include(refused({ residentMaxBytes: -1 }).message, "64 MiB")
  })
})

const read = (variables: Readonly<Record<string, string>>) =>
  RunnerOptions.environment.pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))
  )

describe("environment", () => {
  it.effect("gives options that mean the defaults when it is empty", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(settled(yield* read({})), settled({}))
    }))

  it.effect("gives every option that it documents", () =>
    Effect.gen(function*() {
      const options = yield* read({
        LEASEHOLD_MAX_BYTES: "64 KiB",
        LEASEHOLD_ALIGNMENT_BYTES: "256",
        LEASEHOLD_CHUNK_COUNT: "4",
        LEASEHOLD_CLEAR: "none",
        LEASEHOLD_RESIDENT_MAX_BYTES: "1GiB",
        LEASEHOLD_STAGING_MAX_BYTES: "2 MB",
        LEASEHOLD_MAX_INLINE_COPY_BYTES: "0",
        LEASEHOLD_INTERRUPT_DEADLINE: "250 millis",
        LEASEHOLD_TRACING: "true"
      })
      assert.deepStrictEqual(settled(options), {
        temporaryBuffer: {
          maxBytes: 65_536,
          alignmentBytes: 256,
          policy: "count",
          growth: "fixed",
          chunkBytes: [16_384, 16_384, 16_384, 16_384]
        },
        slots: 1,
        admission: { _tag: "Fail" },
        clear: "none",
        residentMaxBytes: 1024 ** 3,
        stagingMaxBytes: 2_000_000,
        maxInlineCopyBytes: 0,
        interruptDeadline: Duration.millis(250),
        allowSharedViews: false,
        tracing: true
      })
    }))

  it.effect("takes each variable by itself", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* read({ LEASEHOLD_MAX_BYTES: "64 MiB" })).temporaryBuffer?.maxBytes, 67_108_864)
      assert.strictEqual((yield* read({ LEASEHOLD_CLEAR: "outputs" })).clear, "outputs")
      assert.deepStrictEqual((yield* read({ LEASEHOLD_CHUNK_COUNT: "2" })).temporaryBuffer?.chunks, { count: 2 })
    }))

  const badValues: Readonly<Record<string, ReadonlyArray<string>>> = {
    LEASEHOLD_MAX_BYTES: ["lots", "-1", "64 mib", "0.5", ""],
    LEASEHOLD_ALIGNMENT_BYTES: ["wide", "-8"],
    LEASEHOLD_CHUNK_COUNT: ["single", "1.5", "four"],
    LEASEHOLD_CLEAR: ["some", "ALL", ""],
    LEASEHOLD_RESIDENT_MAX_BYTES: ["9007199254740992"],
    LEASEHOLD_STAGING_MAX_BYTES: ["-1 MiB"],
    LEASEHOLD_MAX_INLINE_COPY_BYTES: ["4 M"],
    LEASEHOLD_INTERRUPT_DEADLINE: ["soon", ""],
    LEASEHOLD_TRACING: ["perhaps", ""]
  }

  for (const [variable, values] of Object.entries(badValues)) {
    it.effect(`refuses a bad ${variable} instead of taking the default`, () =>
      Effect.gen(function*() {
        for (const value of values) {
          const error = yield* Effect.flip(read({ [variable]: value }))
          assert(ConfigError.isInvalidData(error), `"${value}" is invalid data`)
          assert.include(error.path, variable)
        }
      }))
  }

  it.effect("leaves it to the settings to refuse what can be read but is not valid", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        refused(yield* read({ LEASEHOLD_ALIGNMENT_BYTES: "3" })).option,
        "temporaryBuffer.alignmentBytes"
      )
      assert.strictEqual(refused(yield* read({ LEASEHOLD_CHUNK_COUNT: "0" })).option, "temporaryBuffer.chunks.count")
      assert.strictEqual(
        refused(yield* read({ LEASEHOLD_INTERRUPT_DEADLINE: "0 seconds" })).option,
        "interruptDeadline"
      )
    }))
})
