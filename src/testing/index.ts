/**
 * Failures, leaks and interruptions on demand, for testing your own cleanup.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as FaultInjection from "./FaultInjection.ts"

/**
 * @since 0.1.0
 */
export * as FaultSweep from "./FaultSweep.ts"

/**
 * @since 0.1.0
 */
export * as Interleavings from "./Interleavings.ts"

/**
 * @since 0.1.0
 */
export * as Ledger from "./Ledger.ts"
