import type { Brand, Effect } from "effect"
import type { DevicePtr, HostApi, ResidentTensor, TensorLease } from "leasehold"
import { fromNumber } from "leasehold/DevicePtr"
import { describe, expectTypeOf, it } from "vitest"

declare const api: HostApi.Service
declare const origin: HostApi.Origin
declare const address: DevicePtr.DevicePtr

describe("DevicePtr", () => {
  it("is a branded number, which no plain number is", () => {
    expectTypeOf<DevicePtr.DevicePtr>().toEqualTypeOf<number & Brand.Brand<"leasehold/DevicePtr">>()
    expectTypeOf<number>().not.toExtend<DevicePtr.DevicePtr>()
    expectTypeOf<bigint>().not.toExtend<DevicePtr.DevicePtr>()
    // @ts-expect-error a number is no address
    const forged: DevicePtr.DevicePtr = 4096
    return forged
  })

  it("comes from a number that was checked", () => {
    expectTypeOf(fromNumber).toEqualTypeOf<(address: number) => DevicePtr.DevicePtr | undefined>()
    // @ts-expect-error it may not have been an address
    void api.free(fromNumber(4096), origin)
  })

  it("is what a backend takes and gives", () => {
    expectTypeOf(api.malloc(1, 1, origin)).toEqualTypeOf<Effect.Effect<DevicePtr.DevicePtr, HostApi.HostApiError>>()
    expectTypeOf(api.free(address, origin)).toEqualTypeOf<Effect.Effect<void, HostApi.HostApiError>>()
    // @ts-expect-error a number is no address
    void api.free(4096, origin)
  })

  it("is part of nothing that a user of a runner holds", () => {
    type Values<T> = T[keyof T]
    expectTypeOf<Extract<Values<ResidentTensor.ResidentTensor>, DevicePtr.DevicePtr>>().toBeNever()
    expectTypeOf<Extract<Values<TensorLease.TensorLease>, DevicePtr.DevicePtr>>().toBeNever()
  })
})
