/*
 * test_kernels_on_host.cpp: the kernels of ../gpu/test_kernels.cu, compiled for the host, as a library of the loopback driver.
 */
#include "cuda_on_host.h"
#include "cuda_run.h"

#define DEVICE_POINTER(type, address) reinterpret_cast<type *>((address) - CUDA_ADDRESS_BIAS)

/* The kernels have other names here, for theirs are those of what launches them. */
#define gpu_nothing kernel_nothing
#define gpu_add kernel_add
#define gpu_scale kernel_scale
#define gpu_accumulate kernel_accumulate
#define gpu_copy kernel_copy
#define gpu_write_first kernel_write_first
#define gpu_reveal_around kernel_reveal_around
#define gpu_sum_of_table kernel_sum_of_table
#define gpu_checksum kernel_checksum
#define gpu_describe kernel_describe

#include "../gpu/test_kernels.cu"

#undef gpu_nothing
#undef gpu_add
#undef gpu_scale
#undef gpu_accumulate
#undef gpu_copy
#undef gpu_write_first
#undef gpu_reveal_around
#undef gpu_sum_of_table
#undef gpu_checksum
#undef gpu_describe

#define LAUNCH(name)                                                                                                   \
  CUDA_EXPORT auto gpu_##name##_parameters = cuda_parameter_bytes(kernel_##name);                                      \
  CUDA_EXPORT void gpu_##name(void **parameters, const cuda_launch *launch) {                                          \
    cuda_call(kernel_##name, parameters, launch);                                                                      \
  }

extern "C" {
LAUNCH(nothing)
LAUNCH(add)
LAUNCH(scale)
LAUNCH(accumulate)
LAUNCH(copy)
LAUNCH(write_first)
LAUNCH(reveal_around)
LAUNCH(sum_of_table)
LAUNCH(checksum)
LAUNCH(describe)
}
