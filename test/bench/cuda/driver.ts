/** The CUDA driver as a program in JavaScript calls it that has no framework, or the loopback driver of the tests. */
import koffi from "koffi"

type Library = ReturnType<typeof koffi.load>

type Call = (...args: ReadonlyArray<unknown>) => number

/** Signatures are the driver's own. Source: the CUDA Driver API reference. */
const prototypes = {
  cuInit: "int cuInit(uint32_t flags)",
  cuDriverGetVersion: "int cuDriverGetVersion(_Out_ int *version)",
  cuDeviceGet: "int cuDeviceGet(_Out_ int *device, int ordinal)",
  cuDeviceGetName: "int cuDeviceGetName(_Out_ uint8_t *name, int byte_count, int device)",
  cuDevicePrimaryCtxRetain: "int cuDevicePrimaryCtxRetain(_Out_ void **context, int device)",
  cuDevicePrimaryCtxRelease: "int cuDevicePrimaryCtxRelease_v2(int device)",
  cuCtxPushCurrent: "int cuCtxPushCurrent_v2(void *context)",
  cuCtxPopCurrent: "int cuCtxPopCurrent_v2(_Out_ void **context)",
  cuCtxSynchronize: "int cuCtxSynchronize(void)",
  cuMemAlloc: "int cuMemAlloc_v2(_Out_ uint64_t *address, size_t byte_count)",
  cuMemFree: "int cuMemFree_v2(uint64_t address)",
  cuMemAllocAsync: "int cuMemAllocAsync(_Out_ uint64_t *address, size_t byte_count, void *stream)",
  cuMemFreeAsync: "int cuMemFreeAsync(uint64_t address, void *stream)",
  cuDeviceGetDefaultMemPool: "int cuDeviceGetDefaultMemPool(_Out_ void **pool, int device)",
  cuMemPoolSetAttribute: "int cuMemPoolSetAttribute(void *pool, int attribute, const uint64_t *value)",
  cuMemcpyHtoD: "int cuMemcpyHtoD_v2(uint64_t destination, const void *source, size_t byte_count)",
  cuMemcpyDtoH: "int cuMemcpyDtoH_v2(void *destination, uint64_t source, size_t byte_count)",
  cuStreamCreate: "int cuStreamCreate(_Out_ void **stream, uint32_t flags)",
  cuStreamDestroy: "int cuStreamDestroy_v2(void *stream)",
  cuStreamSynchronize: "int cuStreamSynchronize(void *stream)",
  cuModuleLoadData: "int cuModuleLoadData(_Out_ void **module, const void *image)",
  cuModuleUnload: "int cuModuleUnload(void *module)",
  cuModuleGetFunction: "int cuModuleGetFunction(_Out_ void **function, void *module, const char *name)",
  cuLaunchKernel:
    "int cuLaunchKernel(void *function, uint32_t gx, uint32_t gy, uint32_t gz, uint32_t bx, uint32_t by, " +
    "uint32_t bz, uint32_t shared_bytes, void *stream, void **parameters, void **extra)"
} as const

export type Driver = { readonly [K in keyof typeof prototypes]: Call } & {
  /** Where it was found. */
  readonly path: string
}

/** Loads the first of these that can be loaded, or throws. */
export const loadDriver = (paths: ReadonlyArray<string>): Driver => {
  const found = paths.reduce<{ readonly path: string; readonly library: Library } | undefined>((before, path) => {
    try {
      return before ?? { path, library: koffi.load(path) }
    } catch {
      return undefined
    }
  }, undefined)
  if (found === undefined) {
    throw new Error(`there is no CUDA driver: tried ${paths.join(", ")}`)
  }
  const { library, path } = found
  const functions = Object.entries(prototypes).map(([name, prototype]): [string, Call] => {
    const native = library.func(prototype)
    // What a program without a framework does about a failure.
    const call: Call = (...args) => {
      const code = Number(native(...args))
      if (code !== 0) {
        throw new Error(`${name} answered ${code}`)
      }
      return code
    }
    return [name, call]
  })
  return { ...Object.fromEntries(functions) as Omit<Driver, "path">, path }
}
