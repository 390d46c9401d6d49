/*
 * cuda_retained.c: the step of a C program that keeps one buffer on a CUDA device and copies each tensor by itself.
 */
#include "cuda/driver.h"
#include "leasehold_kernel.h"

#include <dlfcn.h>
#include <string.h>

typedef struct retained_calls {
  cu_result (*copy_in)(cu_device_address destination, const void *source, size_t byte_count);
  cu_result (*copy_out)(void *destination, cu_device_address source, size_t byte_count);
  cu_result (*launch_kernel)(cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                             unsigned int block_x, unsigned int block_y, unsigned int block_z,
                             unsigned int shared_bytes, cu_stream stream, void **parameters, void **extra);
  cu_result (*synchronize)(void);
} retained_calls;

static retained_calls calls;

static void *library;

/* ISO C has no cast from an object pointer to a function pointer, but POSIX promises that they look the same. */
static int32_t find(const char *name, void *function_out, size_t function_bytes) {
  void *symbol = dlsym(library, name);
  memcpy(function_out, &symbol, function_bytes);
  return symbol != NULL ? 0 : -1;
}

LH_EXPORT int32_t bench_cuda_open(const char *path);
LH_EXPORT int32_t bench_cuda_retained(const double *addresses, uint32_t input_count, uint32_t count, uint64_t byte_count,
                                      uint64_t buffer, uint64_t slice_bytes, cu_function function, cu_stream stream,
                                      void **parameters);

/* Finds what the step calls in a driver that the process has loaded. -1 where it is not there. */
int32_t bench_cuda_open(const char *path) {
  library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == NULL) {
    return -1;
  }
  return find("cuMemcpyHtoD_v2", &calls.copy_in, sizeof calls.copy_in) |
         find("cuMemcpyDtoH_v2", &calls.copy_out, sizeof calls.copy_out) |
         find("cuLaunchKernel", &calls.launch_kernel, sizeof calls.launch_kernel) |
         find("cuCtxSynchronize", &calls.synchronize, sizeof calls.synchronize);
}

/* One step, in the context that is current. The host views are given by address, inputs first. Answers the driver's first code that is not 0. */
int32_t bench_cuda_retained(const double *addresses, uint32_t input_count, uint32_t count, uint64_t byte_count,
                            uint64_t buffer, uint64_t slice_bytes, cu_function function, cu_stream stream,
                            void **parameters) {
  cu_result result = CU_SUCCESS;
  for (uint32_t index = 0; result == CU_SUCCESS && index < input_count; index += 1) {
    const void *view = (const void *)(uintptr_t)addresses[index];
    result = calls.copy_in(buffer + index * slice_bytes, view, byte_count);
  }
  if (result == CU_SUCCESS) {
    result = calls.launch_kernel(function, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
  }
  if (result == CU_SUCCESS) {
    result = calls.synchronize();
  }
  for (uint32_t index = input_count; result == CU_SUCCESS && index < count; index += 1) {
    void *view = (void *)(uintptr_t)addresses[index];
    result = calls.copy_out(view, buffer + index * slice_bytes, byte_count);
  }
  return result;
}
