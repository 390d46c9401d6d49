/*
 * devices.h: what all contexts on one device share in a process: the driver's primary context, and whether it is lost.
 *
 * A fault ends the primary context for everybody, so whoever sees it first writes it down here, and nobody calls the driver
 * for that device again.
 */
#ifndef LEASEHOLD_CUDA_DEVICES_H
#define LEASEHOLD_CUDA_DEVICES_H

#include "common/outcome.h"
#include "cuda/driver_library.h"

#include <stdbool.h>
#include <stdint.h>

#define CODE_NAME_BYTES (sizeof(((lh_error *)NULL)->device_name))

typedef struct cuda_gpu cuda_gpu;

/* Finds the record of a device, or makes it. Records live as long as the process. */
outcome gpu_find(const cuda_driver *driver, uint32_t ordinal, cuda_gpu **gpu_out);

cu_device gpu_device(const cuda_gpu *gpu);
const cuda_driver *gpu_driver(const cuda_gpu *gpu);

/* Whether the device is lost, and then how, with the vendor's name of the code. */
bool gpu_is_lost(cuda_gpu *gpu, outcome *lost_out, char *name_out);

/* Writes down that the device is lost. The first to say so is believed. */
void gpu_lose(cuda_gpu *gpu, outcome lost, const char *name);

#endif
