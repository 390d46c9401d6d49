/*
 * leasehold_kernel.h: what a native kernel of the simulator includes.
 *
 * A kernel is a plain C function of type lh_kernel_function, exported from a shared library. It gets the argument table of
 * its launch, in the order of the callable's signature; every address in it is valid for byte_count bytes while it runs.
 * It may be called from any thread, one call at a time per context; and several times for one launch where the memory lab
 * is on, with the same inputs each time.
 *
 * It returns LH_OK, or a code of its own above zero, which the launch reports as LH_LAUNCH_FAILED with that code beside it,
 * or LH_DEVICE_LOST, after which the simulated device is lost.
 */
#ifndef LEASEHOLD_KERNEL_H
#define LEASEHOLD_KERNEL_H

#include "leasehold_host_api.h"

#include <string.h>

typedef int32_t (*lh_kernel_function)(const lh_argument *arguments, uint32_t count);

/* The device memory of an argument; null for an empty tensor and for a scalar. */
static inline void *lh_argument_data(const lh_argument *argument) { return (void *)(uintptr_t)argument->address; }

static inline uint64_t lh_argument_bytes(const lh_argument *argument) { return (uint64_t)argument->byte_count; }

static inline uint64_t lh_argument_dim(const lh_argument *argument, uint32_t index) {
  return (uint64_t)argument->dims[index];
}

static inline int32_t lh_argument_int32(const lh_argument *argument) {
  int32_t value;
  memcpy(&value, argument->scalar, sizeof value);
  return value;
}

static inline int64_t lh_argument_int64(const lh_argument *argument) {
  int64_t value;
  memcpy(&value, argument->scalar, sizeof value);
  return value;
}

static inline float lh_argument_float32(const lh_argument *argument) {
  float value;
  memcpy(&value, argument->scalar, sizeof value);
  return value;
}

static inline double lh_argument_float64(const lh_argument *argument) {
  double value;
  memcpy(&value, argument->scalar, sizeof value);
  return value;
}

#endif
