/**
 * The host API, with one piece of device memory for every chunk that is asked for, so that all contenders work on the same
 * bytes: where a buffer lies decides how it shares the caches with the host views, which is luck and no merit. Contenders
 * take turns, and none relies on what its chunk held before.
 */
import * as Effect from "effect/Effect"
import type { DevicePtr, HostApi } from "leasehold"

export const sharedChunk = (hostApi: HostApi.Service, chunk: DevicePtr.DevicePtr): HostApi.Service => ({
  ...hostApi,
  malloc: (byteCount, alignmentBytes, origin) =>
    origin.purpose === "chunk" ? Effect.succeed(chunk) : hostApi.malloc(byteCount, alignmentBytes, origin),
  free: (address, origin) => origin.purpose === "chunk" ? Effect.void : hostApi.free(address, origin)
})
