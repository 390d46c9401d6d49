/**
 * Scoped, typed device memory for Effect.
 *
 * @since 0.1.0
 */

/**
 * The named arguments of a callable.
 *
 * @since 0.1.0
 */
export * as Arg from "./Arg.ts"

/**
 * Sizes in bytes as people write them.
 *
 * @since 0.1.0
 */
export * as Bytes from "./Bytes.ts"

/**
 * What a run launches.
 *
 * @since 0.1.0
 */
export * as Callable from "./Callable.ts"

/**
 * Device addresses, for authors of backends.
 *
 * @since 0.1.0
 */
export * as DevicePtr from "./DevicePtr.ts"

/**
 * NVIDIA GPUs.
 *
 * @since 0.1.0
 */
export * as Cuda from "./backends/Cuda.ts"

/**
 * The device runner.
 *
 * @since 0.1.0
 */
export * as DeviceRunner from "./DeviceRunner.ts"

/**
 * Element types.
 *
 * @since 0.1.0
 */
export * as DType from "./DType.ts"

/**
 * Every failure that a runner reports.
 *
 * @since 0.1.0
 */
export * as Errors from "./Errors.ts"

/**
 * The seam between the framework and a device.
 *
 * @since 0.1.0
 */
export * as HostApi from "./HostApi.ts"

/**
 * Host memory that a runner owns.
 *
 * @since 0.1.0
 */
export * as HostTensor from "./HostTensor.ts"

/**
 * A backend of your own.
 *
 * @since 0.1.0
 */
export * as NativeBackend from "./backends/NativeBackend.ts"

/**
 * Device memory that outlives runs.
 *
 * @since 0.1.0
 */
export * as ResidentTensor from "./ResidentTensor.ts"

/**
 * One use of a slot.
 *
 * @since 0.1.0
 */
export * as Run from "./Run.ts"

/**
 * The metrics of runners.
 *
 * @since 0.1.0
 */
export * as RunnerMetrics from "./RunnerMetrics.ts"

/**
 * The options of a runner.
 *
 * @since 0.1.0
 */
export * as RunnerOptions from "./RunnerOptions.ts"

/**
 * A runner's counters.
 *
 * @since 0.1.0
 */
export * as RunnerStats from "./RunnerStats.ts"

/**
 * What a run would need.
 *
 * @since 0.1.0
 */
export * as RunPlan from "./RunPlan.ts"

/**
 * The simulated device.
 *
 * @since 0.1.0
 */
export * as Simulator from "./backends/Simulator.ts"

/**
 * The retained memory that runs slice from.
 *
 * @since 0.1.0
 */
export * as TemporaryBuffer from "./TemporaryBuffer.ts"

/**
 * How each tensor of a run is released.
 *
 * @since 0.1.0
 */
export * as TensorLease from "./TensorLease.ts"
