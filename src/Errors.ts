/**
 * Every failure that a runner reports. Classes are divided by what a caller does next; cases that a caller treats alike
 * share one class and differ in its `reason`. Messages are sentences with the figures that a person needs, and show no
 * address. The table from case to class and reason is `docs/reference/errors.md`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Bytes from "./Bytes.ts"

/** A device's own account of a failure; it is kept, never flattened. */
const deviceFields = {
  /** The host API operation that failed. */
  operation: Schema.String,
  /** The status of the native ABI. */
  status: Schema.Int,
  statusName: Schema.String,
  /** The vendor's own code or the kernel's return value; 0 where there is none. */
  deviceCode: Schema.Number,
  /** The vendor's own name of the code; empty where there is none. */
  deviceName: Schema.String,
  /** What the backend said beside it; may be empty. */
  detail: Schema.String
}

/** What a failed run may have left in memory that outlives it. */
const aftermathFields = {
  /** Whether the host outputs of the failed run are as they were before it. */
  hostOutputs: Schema.Literal("unchanged", "indeterminate"),
  /** The `readWrite` residents that the failed run may have half written. */
  indeterminateResidents: Schema.Array(Schema.String)
}

const statusText = (error: {
  readonly statusName: string
  readonly deviceCode: number
  readonly deviceName: string
  readonly detail: string
}): string => {
  const device = error.deviceName !== ""
    ? ` (${error.deviceName}, device code ${error.deviceCode})`
    : error.deviceCode === 0
    ? ""
    : ` (device code ${error.deviceCode})`
  // A backend's sentence becomes a clause of ours.
  const detail = error.detail.endsWith(".") ? error.detail.slice(0, -1) : error.detail
  return `${error.statusName}${device}${detail === "" ? "" : `: ${detail}`}`
}

const residentsText = (names: ReadonlyArray<string>): string =>
  names.length === 0 ? "" : `; it may have half written ${names.map((name) => `"${name}"`).join(", ")}`

/**
 * What was asked for does not fit into a budget. Raise the budget to `suggestedMaxBytes`, or ask for less.
 *
 * - `NeverFits`: one tensor is larger than the whole budget of the temporary buffer.
 * - `Exhausted`: the tensors of the run together do not fit, or not beside the runs that are active.
 * - `Fragmented`: they would fit in sum, but not in the pieces that the chunks, or the runs that are active, leave.
 * - `Residents`: the budget of the resident tensors is spent.
 * - `Quarantined`: memory in quarantine counts against the budget and leaves too little of it.
 * - `Reserved`: they fit, but not beside what child budgets have reserved.
 *
 * @since 0.1.0
 * @category errors
 */
export class BudgetExhausted extends Schema.TaggedError<BudgetExhausted>("leasehold/BudgetExhausted")(
  "BudgetExhausted",
  {
    reason: Schema.Literal("NeverFits", "Exhausted", "Fragmented", "Residents", "Quarantined", "Reserved"),
    /** The tensor that did not fit; the callable, where its run as a whole found no room beside others. */
    tensor: Schema.String,
    requestedBytes: Schema.Number,
    /** `requestedBytes` with granularity and tail. */
    alignedBytes: Schema.Number,
    /** What is in use before it, padding included. */
    inUseBytes: Schema.Number,
    /** The largest free piece. */
    largestFreeBytes: Schema.Number,
    maxBytes: Schema.Number,
    /** The `maxBytes` with which the same call succeeds. */
    suggestedMaxBytes: Schema.Number,
    /** Whether that is so with the chunks as they are, or with `chunks: "single"`. */
    suggestedChunks: Schema.Literal("same", "single"),
    /** The tensors that take the most, largest first, at most three. */
    largestHolders: Schema.Array(Schema.Struct({ tensor: Schema.String, byteCount: Schema.Number }))
  }
) {
  override get message(): string {
    const budget = this.reason === "Residents" ? "the resident budget" : "the temporary buffer"
    const holders = this.largestHolders.length === 0
      ? ""
      : `; the largest are ${
        this.largestHolders.map((holder) => `"${holder.tensor}" (${holder.byteCount} B)`).join(", ")
      }`
    const taken = this.reason === "Quarantined" ? "are in quarantine" : "are taken"
    const chunks = this.suggestedChunks === "single" ? " in one chunk" : ""
    return `"${this.tensor}" needs ${this.alignedBytes} B, but of the ${this.maxBytes} B of ${budget} ` +
      `${this.inUseBytes} B ${taken} and at most ${this.largestFreeBytes} B are free in one piece${holders}; ` +
      `it fits with ${this.suggestedMaxBytes} B${chunks}`
  }
}

/**
 * A tensor is within the budget but larger than every chunk. Choose larger chunks, or `chunks: "single"`.
 *
 * @since 0.1.0
 * @category errors
 */
export class TensorExceedsChunk extends Schema.TaggedError<TensorExceedsChunk>("leasehold/TensorExceedsChunk")(
  "TensorExceedsChunk",
  {
    tensor: Schema.String,
    requestedBytes: Schema.Number,
    alignedBytes: Schema.Number,
    largestChunkBytes: Schema.Number,
    maxBytes: Schema.Number,
    /** The budget with which the same call succeeds, with one chunk. */
    suggestedMaxBytes: Schema.Number
  }
) {
  override get message(): string {
    return `"${this.tensor}" needs ${this.alignedBytes} B in one piece, but the largest chunk has ` +
      `${this.largestChunkBytes} B of the budget of ${this.maxBytes} B; choose larger chunks, or chunks: "single" with ` +
      `${this.suggestedMaxBytes} B`
  }
}

/**
 * The host views of a run do not fit into the staging area. Raise `stagingMaxBytes`, or use a `HostTensor`.
 *
 * @since 0.1.0
 * @category errors
 */
export class StagingExhausted extends Schema.TaggedError<StagingExhausted>("leasehold/StagingExhausted")(
  "StagingExhausted",
  {
    callable: Schema.String,
    requestedBytes: Schema.Number,
    maxBytes: Schema.Number,
    suggestedMaxBytes: Schema.Number
  }
) {
  override get message(): string {
    return `a run of ${this.callable} stages ${this.requestedBytes} B, but the staging area has ${this.maxBytes} B; ` +
      `it fits with stagingMaxBytes ${this.suggestedMaxBytes}, or with host tensors`
  }
}

/**
 * Every slot of the runner is taken, and it lets nobody wait. Retry when an active run has ended, or let runs wait with
 * `admission`.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunAlreadyActive extends Schema.TaggedError<RunAlreadyActive>("leasehold/RunAlreadyActive")(
  "RunAlreadyActive",
  {
    callable: Schema.String,
    /** What is in the way. */
    holder: Schema.Literal("run", "configuration"),
    /** The callable of an active run; empty where the runner is being configured. */
    activeCallable: Schema.String,
    /** How many runs may be bound at once. */
    slots: Schema.Number
  }
) {
  override get message(): string {
    const slots = this.slots === 1 ? "it has one slot" : `its ${this.slots} slots are taken`
    const holder = this.holder === "run"
      ? `a run of ${this.activeCallable} is active, and ${slots}`
      : "it is being configured"
    return `the runner cannot start a run of ${this.callable}: ${holder}`
  }
}

/**
 * A run was not admitted. Nothing of it reached the device. Retry later where the reason passes by itself
 * (`retryAfterMillis`), or shed the request.
 *
 * - `QueueFull`: as many runs wait as may.
 * - `Deadline`: its turn did not come in time.
 * - `Shed`: it would have had to wait for longer than it may, by the estimate.
 * - `Quota`: it would bring its child budget above its `maxBytes`; for good where it needs more than that by itself.
 * - `Draining`: the runner, or its child budget, was closed while it waited.
 * - `WaitsForItself`: its fiber holds a run of the runner, and it could not start before that one ends.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdmissionRefused extends Schema.TaggedError<AdmissionRefused>("leasehold/AdmissionRefused")(
  "AdmissionRefused",
  {
    reason: Schema.Literal("QueueFull", "Deadline", "Shed", "Quota", "Draining", "WaitsForItself"),
    callable: Schema.String,
    /** The child budget on whose behalf it was to run; empty for the runner's own. */
    budget: Schema.String,
    /** What it needs of the temporary buffer, padding included. */
    requestedBytes: Schema.Number,
    /** How many others wait in its queue. */
    queueCount: Schema.Number,
    /** What all others that wait need together. */
    waitingBytes: Schema.Number,
    /** What of the temporary buffer is neither taken nor reserved. */
    freeBytes: Schema.Number,
    /** The largest piece of it. */
    largestFreeBytes: Schema.Number,
    /** The most bytes that its child budget may hold; that of the temporary buffer for the runner's own. */
    maxBytes: Schema.Number,
    /** After how long a run like this one may come to its turn, by what was seen of late; 0 where nothing was seen yet. */
    retryAfterMillis: Schema.Number
  }
) {
  override get message(): string {
    const queue = `${this.queueCount} ${this.queueCount === 1 ? "run waits" : "runs wait"} before it`
    const hint = this.retryAfterMillis === 0 ? "" : `; retry after about ${this.retryAfterMillis} ms`
    return `a run of ${this.callable} that needs ${this.requestedBytes} B ${
      refusalTexts[this.reason](this)
    }: ${queue}, for ` +
      `${this.waitingBytes} B in all, and ${this.freeBytes} B are free${hint}`
  }
}

const refusalTexts: Readonly<Record<AdmissionRefused["reason"], (error: AdmissionRefused) => string>> = {
  QueueFull: () => "found its queue full",
  Deadline: () => "did not come to its turn in time",
  Shed: () => "would have had to wait for too long",
  Quota: ({ budget, maxBytes, requestedBytes }) =>
    `does not fit into the ${maxBytes} B of "${budget}"${requestedBytes > maxBytes ? "" : " now"}`,
  Draining: ({ budget }) =>
    budget === "" ? "waited on a runner that was closed" : `waited in "${budget}", which was closed`,
  WaitsForItself: () => "would wait for a run that its own fiber holds"
}

/**
 * A child budget cannot be closed while runs of it are active. End them first.
 *
 * @since 0.1.0
 * @category errors
 */
export class BudgetInUse extends Schema.TaggedError<BudgetInUse>("leasehold/BudgetInUse")(
  "BudgetInUse",
  {
    budget: Schema.String,
    inUseBytes: Schema.Number,
    /** The runs that are active, each with its leases. */
    runs: Schema.Array(Schema.Struct({
      callable: Schema.String,
      generation: Schema.Number,
      byteCount: Schema.Number,
      leases: Schema.Array(Schema.Struct({ tensor: Schema.String, byteCount: Schema.Number }))
    }))
  }
) {
  override get message(): string {
    const runs = this.runs.map((run) => `${run.callable} (${run.byteCount} B)`).join(", ")
    return `the child budget "${this.budget}" cannot be closed: it holds ${this.inUseBytes} B in runs of ${runs}`
  }
}

/**
 * The temporary buffer cannot be configured while a run is active, or while another configuration is under way.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConfigureWhileActive extends Schema.TaggedError<ConfigureWhileActive>("leasehold/ConfigureWhileActive")(
  "ConfigureWhileActive",
  {
    holder: Schema.Literal("run", "configuration"),
    activeCallable: Schema.String
  }
) {
  override get message(): string {
    return this.holder === "run"
      ? `the temporary buffer cannot be configured while a run of ${this.activeCallable} is active`
      : "the temporary buffer is being configured already"
  }
}

/**
 * An option is not valid. Nothing was done.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidConfiguration extends Schema.TaggedError<InvalidConfiguration>("leasehold/InvalidConfiguration")(
  "InvalidConfiguration",
  {
    reason: Schema.Literal("Size", "Alignment", "Chunks", "Choice", "Duration", "Setting", "Count", "Name", "Reserved"),
    option: Schema.String,
    detail: Schema.String
  }
) {
  override get message(): string {
    return `the option ${this.option} is not valid: ${this.detail}`
  }
}

/**
 * What can be wrong with an argument. The meaning of each is in `docs/reference/errors.md`.
 *
 * @since 0.1.0
 * @category errors
 */
export const InvalidArgumentReason = Schema.Literal(
  "Missing",
  "Unknown",
  "NotATensor",
  "DType",
  "Scalar",
  "Shape",
  "SizeOverflow",
  "Dimension",
  "Detached",
  "Resizable",
  "Shared",
  "Aliased",
  "ForeignHandle",
  "HandleClosed",
  "InlineCopyTooLarge",
  "Signature",
  "Backend",
  "RunOutOfOrder"
)

/**
 * An argument is not what the signature, or the order of a run, asks for. Nothing reached the device, unless a view was
 * lost after the launch.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidArgument extends Schema.TaggedError<InvalidArgument>("leasehold/InvalidArgument")(
  "InvalidArgument",
  {
    reason: InvalidArgumentReason,
    /** The argument's name; empty where the failure is about none in particular. */
    argument: Schema.String,
    detail: Schema.String,
    /** Whether host outputs are as they were: not so where a view was gone when others had been copied back. */
    hostOutputs: aftermathFields.hostOutputs.pipe(
      Schema.propertySignature,
      Schema.withConstructorDefault(() => "unchanged" as const)
    ),
    /** The `readWrite` residents that the run's kernel may have written before its outputs could not be copied back. */
    indeterminateResidents: aftermathFields.indeterminateResidents.pipe(
      Schema.propertySignature,
      Schema.withConstructorDefault((): ReadonlyArray<string> => [])
    )
  }
) {
  override get message(): string {
    const sentence = this.argument === "" ? this.detail : `the argument "${this.argument}" ${this.detail}`
    const outputs = this.hostOutputs === "unchanged" ? "" : "; host outputs are indeterminate"
    return `${sentence}${outputs}${residentsText(this.indeterminateResidents)}`
  }
}

/**
 * A tensor has another number of elements, or another shape, than the signature asks for.
 *
 * @since 0.1.0
 * @category errors
 */
export class ShapeMismatch extends Schema.TaggedError<ShapeMismatch>("leasehold/ShapeMismatch")(
  "ShapeMismatch",
  {
    tensor: Schema.String,
    /** The dimensions asked for, with names resolved as far as they are known. */
    expected: Schema.String,
    /** What was given, as a shape or as a number of elements. */
    actual: Schema.String
  }
) {
  override get message(): string {
    return `"${this.tensor}" should be ${this.expected}, but it is ${this.actual}`
  }
}

/**
 * The device has no room for an allocation, although the budget has. Free device memory, or lower the budget.
 *
 * @since 0.1.0
 * @category errors
 */
export class DeviceOutOfMemory extends Schema.TaggedError<DeviceOutOfMemory>("leasehold/DeviceOutOfMemory")(
  "DeviceOutOfMemory",
  {
    ...deviceFields,
    /** What the memory was for: a tensor's name, or "chunk". */
    purpose: Schema.String,
    requestedBytes: Schema.Number,
    /** Where the runner stands now. */
    runner: Schema.Literal("ready", "unconfigured")
  }
) {
  override get message(): string {
    const state = this.runner === "ready" ? "" : "; the runner is unconfigured now: call configure again"
    return `the device has no ${this.requestedBytes} B (${Bytes.format(this.requestedBytes)}) in one piece for ` +
      `${this.purpose}: ${statusText(this)}${state}`
  }
}

/**
 * The device or its driver failed at something other than a transfer or a launch.
 *
 * @since 0.1.0
 * @category errors
 */
export class DeviceFailed extends Schema.TaggedError<DeviceFailed>("leasehold/DeviceFailed")(
  "DeviceFailed",
  {
    ...deviceFields,
    /** Where the runner stands now. */
    runner: Schema.Literal("ready", "unconfigured", "poisoned")
  }
) {
  override get message(): string {
    return `the device failed at ${this.operation}: ${statusText(this)}; the runner is ${this.runner}`
  }
}

/**
 * A copy or a fill failed.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransferFailed extends Schema.TaggedError<TransferFailed>("leasehold/TransferFailed")(
  "TransferFailed",
  {
    ...deviceFields,
    ...aftermathFields,
    step: Schema.Literal("stage", "copyBack", "upload", "download", "read", "write"),
    /** The tensor whose transfer failed; empty where the device did not say. */
    tensor: Schema.String,
    /** True when the status is sticky: the runner is poisoned now. */
    sticky: Schema.Boolean
  }
) {
  override get message(): string {
    const tensor = this.tensor === "" ? "" : ` of "${this.tensor}"`
    return `the ${this.step} transfer${tensor} failed: ${statusText(this)}; host outputs are ${this.hostOutputs}` +
      `${residentsText(this.indeterminateResidents)}${this.sticky ? "; the runner is poisoned" : ""}`
  }
}

/**
 * A launch failed, or its kernel could not be loaded.
 *
 * @since 0.1.0
 * @category errors
 */
export class LaunchFailed extends Schema.TaggedError<LaunchFailed>("leasehold/LaunchFailed")(
  "LaunchFailed",
  {
    ...deviceFields,
    ...aftermathFields,
    reason: Schema.Literal("Kernel", "LibraryNotLoaded", "SymbolNotFound", "Argument", "DeviceLost", "Device"),
    callable: Schema.String,
    /** The argument that the device refused, or that a simulator's memory lab is about; empty where neither named one. */
    argument: Schema.String,
    /** Whether the failure is surely this run's, on a device that reports faults late. */
    attribution: Schema.Literal("thisRun", "unknown"),
    /** True when the status is sticky: the runner is poisoned now. */
    sticky: Schema.Boolean
  }
) {
  override get message(): string {
    const argument = this.argument === "" ? "" : ` at the argument "${this.argument}"`
    return `${this.callable} failed${argument}: ${statusText(this)}; host outputs are ${this.hostOutputs}` +
      `${residentsText(this.indeterminateResidents)}${this.sticky ? "; the runner is poisoned" : ""}`
  }
}

/**
 * A handle of a run that has ended. It never reaches the device.
 *
 * @since 0.1.0
 * @category errors
 */
export class StaleRun extends Schema.TaggedError<StaleRun>("leasehold/StaleRun")(
  "StaleRun",
  { callable: Schema.String, generation: Schema.Number, operation: Schema.String }
) {
  override get message(): string {
    return `${this.operation} was called on run ${this.generation} of ${this.callable}, which has ended`
  }
}

/**
 * The runner, and whatever came from it, is closed.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunnerClosed extends Schema.TaggedError<RunnerClosed>("leasehold/RunnerClosed")(
  "RunnerClosed",
  { operation: Schema.String }
) {
  override get message(): string {
    return `${this.operation} was called on a closed runner`
  }
}

/**
 * The device reported a sticky fault, or a native call outlived its deadline; the runner refuses everything since.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunnerPoisoned extends Schema.TaggedError<RunnerPoisoned>("leasehold/RunnerPoisoned")(
  "RunnerPoisoned",
  {
    ...deviceFields,
    reason: Schema.Literal("StickyFault", "InterruptDeadline"),
    recovery: Schema.Literal("rebuildRunner", "newProcess")
  }
) {
  override get message(): string {
    const cause = this.reason === "StickyFault"
      ? `the device reported ${statusText(this)} during ${this.operation}`
      : `${this.operation} did not end within the interrupt deadline`
    const recovery = this.recovery === "rebuildRunner" ? "build the runner and its backend anew" : "start a new process"
    return `the runner is poisoned: ${cause}; ${recovery}`
  }
}

/**
 * A configuration failed and the old chunks could not be had again. Call `configure` again.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunnerUnconfigured extends Schema.TaggedError<RunnerUnconfigured>("leasehold/RunnerUnconfigured")(
  "RunnerUnconfigured",
  { operation: Schema.String }
) {
  override get message(): string {
    return `${this.operation} needs a temporary buffer, but the last configuration failed; call configure again`
  }
}

/**
 * The backend cannot be used on this machine. It speaks to an operator, so it names the paths tried.
 *
 * @since 0.1.0
 * @category errors
 */
export class BackendUnavailable extends Schema.TaggedError<BackendUnavailable>("leasehold/BackendUnavailable")(
  "BackendUnavailable",
  {
    backend: Schema.String,
    reason: Schema.Literal(
      "LibraryNotFound",
      "LibraryRejected",
      "LibraryNotLoaded",
      "SymbolMissing",
      "AbiMismatch",
      "DriverNotFound",
      "DeviceNotFound",
      "OpenFailed",
      "UnsupportedThread"
    ),
    detail: Schema.String,
    pathsTried: Schema.Array(Schema.String),
    /** What to do about it. */
    hint: Schema.String
  }
) {
  override get message(): string {
    const paths = this.pathsTried.length === 0 ? "" : ` (tried ${this.pathsTried.join(", ")})`
    return `the ${this.backend} backend is not available: ${this.detail}${paths}${
      this.hint === "" ? "" : `; ${this.hint}`
    }`
  }
}

/**
 * Every failure that a runner reports.
 *
 * @since 0.1.0
 * @category errors
 */
export const RunnerError = Schema.Union(
  BudgetExhausted,
  TensorExceedsChunk,
  StagingExhausted,
  RunAlreadyActive,
  AdmissionRefused,
  BudgetInUse,
  ConfigureWhileActive,
  InvalidConfiguration,
  InvalidArgument,
  ShapeMismatch,
  DeviceOutOfMemory,
  DeviceFailed,
  TransferFailed,
  LaunchFailed,
  StaleRun,
  RunnerClosed,
  RunnerPoisoned,
  RunnerUnconfigured,
  BackendUnavailable
)

/**
 * @since 0.1.0
 * @category errors
 */
export type RunnerError = typeof RunnerError.Type

/**
 * @since 0.1.0
 * @category guards
 */
export const isRunnerError: (u: unknown) => u is RunnerError = Schema.is(RunnerError)
