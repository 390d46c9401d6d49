/*
 * test_kernels.cu: the kernels of test_kernels.c that a GPU can have, for one block each. `test/utils/gpuKernels.ts` says what
 * they are launched with.
 *
 * The tests launch them on a GPU from test_kernels.ptx, which `make` in this folder builds where there is nvcc, and on the
 * loopback driver compiled for the host (../cuda_on_host).
 */
#include <stdint.h>

/* A device address that a kernel finds in memory. Compiled for the host, it lies elsewhere than it says. */
#ifndef DEVICE_POINTER
#define DEVICE_POINTER(type, address) reinterpret_cast<type *>(address)
#endif

extern "C" {

/* touches nothing */
__global__ void gpu_nothing() {}

/* c = a + b */
__global__ void gpu_add(const float *a, const float *b, float *c, uint64_t element_count) {
  for (uint64_t index = threadIdx.x; index < element_count; index += blockDim.x) c[index] = a[index] + b[index];
}

/* x *= factor */
__global__ void gpu_scale(float *x, float factor, uint64_t element_count) {
  for (uint64_t index = threadIdx.x; index < element_count; index += blockDim.x) x[index] *= factor;
}

/* sum += x; y = sum */
__global__ void gpu_accumulate(float *sum, const float *x, float *y, uint64_t element_count) {
  for (uint64_t index = threadIdx.x; index < element_count; index += blockDim.x) {
    sum[index] += x[index];
    y[index] = sum[index];
  }
}

/* y = x */
__global__ void gpu_copy(const uint8_t *x, uint8_t *y, uint64_t byte_count) {
  for (uint64_t index = threadIdx.x; index < byte_count; index += blockDim.x) y[index] = x[index];
}

/* writes the first bytes of y and no others */
__global__ void gpu_write_first(uint8_t *y, int32_t first_count, int32_t value) {
  for (int32_t index = (int32_t)threadIdx.x; index < first_count; index += (int32_t)blockDim.x) y[index] = (uint8_t)value;
}

/* y = what lies before and behind x, which it has not been given */
__global__ void gpu_reveal_around(const uint8_t *x, uint64_t byte_count, int32_t before, int32_t after, uint8_t *y) {
  for (int32_t index = (int32_t)threadIdx.x; index < before; index += (int32_t)blockDim.x) y[index] = (x - before)[index];
  for (int32_t index = (int32_t)threadIdx.x; index < after; index += (int32_t)blockDim.x) {
    y[before + index] = x[byte_count + index];
  }
}

/* y = factor * (the sum of all tensors of the table); the factor stands behind their addresses */
__global__ void gpu_sum_of_table(const uint64_t *table, uint32_t tensor_count, float *y, uint64_t element_count) {
  float factor = *reinterpret_cast<const float *>(&table[tensor_count]);
  for (uint64_t index = threadIdx.x; index < element_count; index += blockDim.x) {
    float sum = 0;
    for (uint32_t tensor = 0; tensor < tensor_count; tensor += 1) {
      sum += DEVICE_POINTER(const float, table[tensor])[index];
    }
    y[index] = factor * sum;
  }
}

/* Launched once for each tensor of a table: adds 31 times the tensor's index and its bytes to the sum, which the first sets. */
__global__ void gpu_checksum(const uint8_t *bytes, uint64_t byte_count, uint32_t tensor_index, double *sum) {
  if (threadIdx.x > 0) return;
  double added = 31.0 * tensor_index;
  for (uint64_t index = 0; index < byte_count; index += 1) added += bytes[index];
  *sum = tensor_index == 0 ? added : *sum + added;
}

/* Launched once for each argument of a table: writes the six figures that describe it to its place in y. */
__global__ void gpu_describe(double *y, uint32_t argument_index, const uint8_t *address, uint32_t alignment_bytes,
                             uint32_t kind, uint32_t dtype, uint64_t byte_count, uint32_t rank, uint64_t first_dim) {
  if (threadIdx.x > 0) return;
  double *described = y + 6 * argument_index;
  described[0] = kind;
  described[1] = dtype;
  described[2] = (double)byte_count;
  described[3] = alignment_bytes == 0 || (uint64_t)address % alignment_bytes == 0 ? 1 : 0;
  described[4] = rank;
  described[5] = (double)first_dim;
}
}
