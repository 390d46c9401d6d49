/*
 * failures.h: what the driver's codes mean here.
 *
 * A code that ends the context is sticky: the driver answers it to every later call, and only a new process helps. So is a
 * code that is not known. The driver reports what a kernel did wrong at some later call, so the code tells what happened and
 * not always to whom.
 */
#ifndef LEASEHOLD_CUDA_FAILURES_H
#define LEASEHOLD_CUDA_FAILURES_H

#include "common/outcome.h"
#include "cuda/driver_library.h"

/* What a call was about, for codes that mean one thing here and another there. */
typedef enum call_purpose {
  CALL_OTHER,
  CALL_ALLOCATION,      /* of device memory */
  CALL_HOST_ALLOCATION, /* of pinned memory */
  CALL_TRANSFER,
  CALL_MODULE,
  CALL_SYMBOL,
  CALL_LAUNCH
} call_purpose;

/* How a call ended; success for CU_SUCCESS. */
outcome failure_of(const cuda_driver *driver, cu_result code, call_purpose purpose);

#endif
