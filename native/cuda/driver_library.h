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
  /* cuFuncGetParamInfo, what a kernel takes; null where the driver is older than 12.4. */
  cu_result (*func_get_param_info)(cu_function function, size_t index, size_t *offset_out, size_t *byte_count_out);
  /* The code that a kernel of a test returned, which none of a GPU can. Null for every driver but that of the tests. */
  int32_t (*kernel_code)(cu_result result);
} cuda_driver;

/*
 * Loads a driver and initialises it, once for each path; null: the first of the known names that is there. On failure,
 * `detail` holds a sentence, and where the driver itself refuses, `code_out` its code.
 */
lh_status cuda_driver_load(const char *path, const cuda_driver **driver_out, cu_result *code_out, char *detail,
                           size_t detail_bytes);

#endif
