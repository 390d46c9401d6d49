/**
 * A device address, as backends see it. Nothing that users of a runner hold is an address.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"

/**
 * A device address: a safe integer, 0 for null. For authors of backends and of decorators over `HostApi`.
 *
 * @since 0.1.0
 * @category models
 */
export type DevicePtr = number & Brand.Brand<"leasehold/DevicePtr">

/**
 * Takes a number for a device address. Answers `undefined` for whatever is not a safe integer of at least 0, such as an
 * address at or above 2^53, which a double cannot hold.
 *
 * @example
 * import { strictEqual } from "node:assert"
 * import * as DevicePtr from "leasehold/DevicePtr"
 *
 * strictEqual(DevicePtr.fromNumber(4096), 4096)
 * strictEqual(DevicePtr.fromNumber(2 ** 53), undefined)
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromNumber = (address: number): DevicePtr | undefined =>
  Number.isSafeInteger(address) && address >= 0 ? (address as DevicePtr) : undefined
