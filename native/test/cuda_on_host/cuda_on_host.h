/*
 * cuda_on_host.h: what a CUDA source needs so that a C++ compiler makes host code of it, unchanged.
 *
 * It is included before the source. Every thread of a block is a fiber with a stack of its own (cuda_on_host.cpp), so that the
 * source's barriers and shuffles mean what they mean on a GPU. This tests a source's arithmetic, addresses and barriers, and
 * says nothing about a GPU's speed, its memory model, or what its compiler makes of the source.
 */
#ifndef LEASEHOLD_TEST_CUDA_ON_HOST_H
#define LEASEHOLD_TEST_CUDA_ON_HOST_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
/* All shared memory is dynamic, and declared as extern. */
#define __shared__

struct cuda_index {
  unsigned int x, y, z;
};

/* Of the fiber that runs. One block runs at a time. */
extern cuda_index threadIdx, blockIdx, blockDim, gridDim;

/* Waits until every thread of the block has come to the same line; whether one of them came with a value that is not 0. */
int cuda_block_barrier(int line, int value);

/* Waits until every thread of the warp has come to the same line; the value of the one whose lane differs in `mask`. */
float cuda_warp_exchange(int line, unsigned int threads, float value, int mask);

#define __syncthreads() ((void)cuda_block_barrier(__LINE__, 0))
#define __syncthreads_or(value) cuda_block_barrier(__LINE__, (value))
#define __shfl_xor_sync(threads, value, mask) cuda_warp_exchange(__LINE__, (threads), (value), (mask))

static inline float __uint_as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float __int_as_float(int32_t bits) { return __uint_as_float((uint32_t)bits); }

static inline int32_t __float_as_int(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

#endif
