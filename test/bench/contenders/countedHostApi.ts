/** The host API, each call of which adds one to a counter, in both forms. Each is one native call of the simulator. */
import type { HostApi } from "leasehold"

export const countedHostApi = (
  hostApi: HostApi.Service,
  count: { calls: number; mallocs: number }
): HostApi.Service => {
  const call =
    <Args extends ReadonlyArray<unknown>, A>(operation: (...args: Args) => A, mallocs = 0) => (...args: Args): A => {
      count.calls += 1
      count.mallocs += mallocs
      return operation(...args)
    }
  const { immediate } = hostApi
  return {
    ...hostApi,
    malloc: call(hostApi.malloc, 1),
    free: call(hostApi.free),
    submit: call(hostApi.submit),
    collect: call(hostApi.collect),
    launch: call(hostApi.launch),
    immediate: immediate && {
      ...immediate,
      malloc: call(immediate.malloc, 1),
      free: call(immediate.free),
      submit: call(immediate.submit),
      launch: call(immediate.launch)
    }
  }
}
