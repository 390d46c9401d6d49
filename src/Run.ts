/**
 * One use of a slot: a bound run, to be launched and validated within its scope.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type {
  AdmissionRefused,
  BudgetExhausted,
  DeviceFailed,
  DeviceOutOfMemory,
  InvalidArgument,
  LaunchFailed,
  RunAlreadyActive,
  RunnerClosed,
  RunnerPoisoned,
  RunnerUnconfigured,
  ShapeMismatch,
  StagingExhausted,
  StaleRun,
  TensorExceedsChunk,
  TransferFailed
} from "./Errors.ts"
import type { RunPlan } from "./RunPlan.ts"
import type { TensorLease } from "./TensorLease.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("leasehold/Run")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * Why a run cannot be planned.
 *
 * @since 0.1.0
 * @category errors
 */
export type PlanError =
  | BudgetExhausted
  | TensorExceedsChunk
  | StagingExhausted
  | InvalidArgument
  | ShapeMismatch
  | RunnerClosed
  | RunnerPoisoned
  | RunnerUnconfigured

/**
 * Why a callable's kernel cannot be loaded.
 *
 * @since 0.1.0
 * @category errors
 */
export type LoadError = InvalidArgument | LaunchFailed | RunnerClosed | RunnerPoisoned

/**
 * Why a run cannot be bound. Nothing is held afterwards.
 *
 * @since 0.1.0
 * @category errors
 */
export type BindError =
  | PlanError
  | LoadError
  | RunAlreadyActive
  | AdmissionRefused
  | DeviceOutOfMemory
  | DeviceFailed
  | TransferFailed

/**
 * Why a launch fails.
 *
 * @since 0.1.0
 * @category errors
 */
export type LaunchError = LaunchFailed | InvalidArgument | StaleRun | RunnerClosed | RunnerPoisoned

/**
 * Why outputs cannot be copied back. The run has ended nevertheless.
 *
 * @since 0.1.0
 * @category errors
 */
export type ValidateError = TransferFailed | InvalidArgument | StaleRun | RunnerClosed | RunnerPoisoned

/**
 * Why a whole run fails.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunError = BindError | LaunchError | ValidateError

/**
 * A bound run: its inputs are on the device. It ends when it is validated or when its scope closes, whichever is first.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run<out E = never> {
  readonly [TypeId]: TypeId
  /** Tells this run from every other run of the runner. */
  readonly generation: number
  /** Which of the runner's slots it holds. */
  readonly slot: number
  /** How each tensor that is not empty is held, in the order of the signature. */
  readonly leases: ReadonlyArray<TensorLease>
  readonly plan: RunPlan
  /** Executes the callable. Once, and before `validate`. */
  readonly launch: Effect.Effect<void, LaunchError | E>
  /** Copies the outputs to their host views, all or none, and ends the run. Once, and after `launch`. */
  readonly validate: Effect.Effect<void, ValidateError>
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isRun = (u: unknown): u is Run<unknown> => hasProperty(u, TypeId)
