/** The functions of native/bench as JavaScript calls them. */
import koffi from "koffi"
import { join } from "node:path"
import { root } from "./root.ts"

/** A device address as koffi hands it out. */
export type Address = unknown

/** What a program in JavaScript calls for one tensor. */
export interface TensorCalls {
  readonly malloc: (alignmentBytes: number, byteCount: number) => Address
  readonly free: (address: Address) => void
  readonly copyIn: (destination: Address, view: Uint8Array, byteCount: number) => void
  readonly copyOut: (view: Uint8Array, source: Address, byteCount: number) => void
}

/** What the native library was compiled with. */
export const compiler = (): string => loaded.func("const char *bench_compiler(void)")() as string

export const library = join(root, "native/build/libleasehold_bench.so")

const loaded = koffi.load(library)

export const tensorCalls = {
  malloc: loaded.func("void *bench_malloc(uint64_t alignment_bytes, uint64_t byte_count)"),
  free: loaded.func("void bench_free(void *address)"),
  copyIn: loaded.func("void bench_copy_in(void *destination, const uint8_t *view, uint64_t byte_count)"),
  copyOut: loaded.func("void bench_copy_out(uint8_t *view, const void *source, uint64_t byte_count)")
} as TensorCalls

export const cRetained = loaded.func(
  "int32_t bench_c_retained(const double *addresses, uint32_t input_count, uint32_t count, uint64_t byte_count, " +
    "double buffer_address, uint64_t slice_bytes, int32_t run_count, int32_t is_echo)"
) as (...args: ReadonlyArray<unknown>) => number

export const cMalloc = loaded.func(
  "int32_t bench_c_malloc(const double *addresses, uint32_t input_count, uint32_t count, uint64_t byte_count, " +
    "uint64_t alignment_bytes, int32_t run_count, int32_t is_echo)"
) as (...args: ReadonlyArray<unknown>) => number

/** Finds what {@link cudaRetained} calls in a CUDA driver; not 0 where that is not there. */
export const openCuda = loaded.func("int32_t bench_cuda_open(const char *path)") as (path: string) => number

export const cudaRetained = loaded.func(
  "int32_t bench_cuda_retained(const double *addresses, uint32_t input_count, uint32_t count, uint64_t byte_count, " +
    "uint64_t buffer, uint64_t slice_bytes, void *function, void *stream, void **parameters)"
) as (...args: ReadonlyArray<unknown>) => number

/** The empty kernel, called as a function. */
export const emptyKernel = loaded.func("int32_t bench_empty(const void *arguments, uint32_t count)") as unknown as {
  (args: null, count: number): number
  readonly async: (args: null, count: number, done: (error: unknown, status: number) => void) => void
}

/** The address of a view's first byte. */
export const addressOf = (view: ArrayBufferView): number => Number(koffi.address(view))

/** The same calls, each of which adds one to a counter. */
export const counted = (calls: TensorCalls, count: { calls: number; mallocs: number }): TensorCalls => ({
  malloc: (alignmentBytes, byteCount) => {
    count.calls += 1
    count.mallocs += 1
    return calls.malloc(alignmentBytes, byteCount)
  },
  free: (address) => {
    count.calls += 1
    calls.free(address)
  },
  copyIn: (destination, view, byteCount) => {
    count.calls += 1
    calls.copyIn(destination, view, byteCount)
  },
  copyOut: (view, source, byteCount) => {
    count.calls += 1
    calls.copyOut(view, source, byteCount)
  }
})

const echoTensor = loaded.func(
  "void bench_echo_tensor(void *destination, const void *source, uint64_t byte_count)"
) as (destination: Address, source: Address, byteCount: number) => void

/**
 * The same calls, with the echo where a program without a launch has none: before the first output is copied out, it gets
 * the bytes of the tensor that was copied in first, inverted, and so on.
 */
export const echoing = (calls: TensorCalls): TensorCalls => {
  const copiedIn: Array<Address> = []
  return {
    ...calls,
    copyIn: (destination, view, byteCount) => {
      copiedIn.push(destination)
      calls.copyIn(destination, view, byteCount)
    },
    copyOut: (view, source, byteCount) => {
      echoTensor(source, copiedIn.shift(), byteCount)
      calls.copyOut(view, source, byteCount)
    }
  }
}
