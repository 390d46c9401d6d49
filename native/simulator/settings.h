/*
 * settings.h: how a simulated device is set up, read from `name=value` pairs parted by single spaces.
 *
 *   total_bytes=1073741824      device memory; pages that are never handed out cost nothing
 *   alignment_bytes=64          least alignment of an allocation, a power of two
 *   size_granularity_bytes=1    allocations take up a multiple of this
 *   tail_bytes=0                declared to the caller, who leaves so many bytes behind each slice
 *   coalesce_max_bytes=0        declared to the caller
 *   completion=immediate|late   whether work ends within the call or on threads of the device
 *   lanes=serial|overlap        whether the lanes share one order or run beside each other
 *   clock=real|virtual          whether what work costs is slept or only counted
 *   memory_lab=off|fail         whether launches are examined, and fail where something is found; see memory_lab.h
 *   malloc_nanos=0              what an allocation costs
 *   free_nanos=0                what a free costs
 *   transfer_nanos=0            what each copy and each fill costs, whatever its size
 *   launch_nanos=0              what a launch costs
 *   in_bytes_per_second=0       how fast copies to the device are; 0: nothing beside transfer_nanos
 *   out_bytes_per_second=0      how fast copies from the device are
 */
#ifndef LEASEHOLD_SIMULATOR_SETTINGS_H
#define LEASEHOLD_SIMULATOR_SETTINGS_H

#include "leasehold_host_api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct settings {
  uint64_t total_bytes;
  uint64_t alignment_bytes;
  uint64_t size_granularity_bytes;
  uint64_t tail_bytes;
  uint64_t coalesce_max_bytes;
  uint64_t malloc_nanos;
  uint64_t free_nanos;
  uint64_t transfer_nanos;
  uint64_t launch_nanos;
  uint64_t in_bytes_per_second;
  uint64_t out_bytes_per_second;
  bool completes_late;
  bool lanes_overlap;
  bool clock_is_virtual;
  bool memory_lab_is_on;
} settings;

/* Reads the text (null: nothing but defaults). On failure, `detail` holds a sentence that names the setting. */
lh_status settings_read(const char *text, settings *settings_out, char *detail, size_t detail_bytes);

#endif
