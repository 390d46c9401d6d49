/*
 * driver_library.h: the CUDA driver of this machine, or the library that a test puts in its place.
 */
#ifndef LEASEHOLD_CUDA_DRIVER_LIBRARY_H
#define LEASEHOLD_CUDA_DRIVER_LIBRARY_H

#include "cuda/driver.h"
#include "leasehold_host_api.h"

#include <stdbool.h>
#include <stddef.h>

#define CUDA_DRIVER_FIELD(field, name, parameters) cu_result(*field) parameters;

/* The entry points of one driver library. It lives as long as the process. */
typedef struct cuda_driver {
  CU_DRIVER_CALLS(CUDA_DRIVER_FIELD)
  /* Whether kernels of a test can fail without ending their context, which those of a GPU cannot. See failures.h. */
  bool is_loopback;
} cuda_driver;

/*
 * Loads a driver and initialises it, once for each path; null: the first of the known names that is there. On failure,
 * `detail` holds a sentence, and where the driver itself refuses, `code_out` its code.
 */
lh_status cuda_driver_load(const char *path, const cuda_driver **driver_out, cu_result *code_out, char *detail,
                           size_t detail_bytes);

#endif
