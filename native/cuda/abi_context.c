/*
 * abi_context.c: the exported functions of the header's sections on versions and contexts.
 */
#include "common/structs.h"
#include "cuda/context.h"

#include <stdio.h>
#include <string.h>

uint32_t lh_abi_version(void) { return LH_ABI_VERSION; }

/* Opening and ending --------------------------------------------------------------------------------------------- */

static bool has_reserved_bits(const lh_open_options *options) {
  uint64_t bits = options->flags | options->reserved_0;
  for (size_t index = 0; index < sizeof options->reserved / sizeof *options->reserved; index += 1) {
    bits |= options->reserved[index];
  }
  return bits != 0;
}

static lh_status open_with(const lh_open_options *options, lh_error *error, lh_context **context_out) {
  lh_open_options read;
  if (context_out == NULL || !struct_read(options, &read, sizeof read)) {
    snprintf(error->detail, sizeof error->detail,
             "The options or the place for the context are null or have no struct_bytes.");
    return LH_INVALID_ARGUMENT;
  }
  if (has_reserved_bits(&read)) {
    snprintf(error->detail, sizeof error->detail, "A reserved field or an unknown flag of the options is not zero.");
    return LH_INVALID_ARGUMENT;
  }
  cuda_settings setup;
  lh_status status = cuda_settings_read(read.settings, &setup, error->detail, sizeof error->detail);
  return status == LH_OK ? context_open(&setup, read.device_index, error, context_out) : status;
}

lh_status lh_context_open(const lh_open_options *options, lh_error *error, lh_context **context_out) {
  lh_error failed = {.struct_bytes = sizeof failed, .entry_index = NO_ENTRY};
  failed.status = open_with(options, &failed, context_out);
  if (failed.status != LH_OK && error != NULL) {
    struct_write(error, &failed, sizeof failed);
  }
  return failed.status;
}

lh_status lh_context_close(lh_context *context) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  context_close(context);
  return LH_OK;
}

lh_status lh_context_abandon(lh_context *context) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  context_abandon(context);
  return LH_OK;
}

/* Asking --------------------------------------------------------------------------------------------------------- */

/* As nvidia-smi writes it. */
static void write_uuid(const cu_uuid *uuid, char *text, size_t text_bytes) {
  const uint8_t *b = uuid->bytes;
  snprintf(text, text_bytes, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
           b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

enum { VERSION_MAJOR_FACTOR = 1000, VERSION_MINOR_FACTOR = 10 };

static outcome read_info(lh_context *context, lh_device_info *info) {
  const cuda_driver *driver = context->driver;
  cu_device device = gpu_device(context->gpu);
  cu_uuid uuid;
  size_t total_bytes = 0;
  int version = 0;
  cu_result code = driver->device_get_name(info->name, (int)sizeof info->name, device);
  code = code == CU_SUCCESS ? driver->device_get_uuid(&uuid, device) : code;
  code = code == CU_SUCCESS ? driver->device_total_mem(&total_bytes, device) : code;
  code = code == CU_SUCCESS ? driver->driver_get_version(&version) : code;
  if (code != CU_SUCCESS) {
    return driver_outcome(context, code, CALL_OTHER);
  }
  info->name[sizeof info->name - 1] = '\0';
  info->total_bytes = total_bytes;
  info->features = LH_FEATURE_TICKETS | LH_FEATURE_HOST_REGISTER | LH_FEATURE_LAUNCH_STEPS;
  write_uuid(&uuid, info->uuid, sizeof info->uuid);
  snprintf(info->driver, sizeof info->driver, "CUDA %d.%d", version / VERSION_MAJOR_FACTOR,
           version % VERSION_MAJOR_FACTOR / VERSION_MINOR_FACTOR);
  return success();
}

lh_status lh_device_info_get(lh_context *context, lh_device_info *info_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  lh_device_info info = {.struct_bytes = sizeof info};
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = read_info(context, &info);
  }
  if (result.status == LH_OK) {
    result = struct_write(info_out, &info, sizeof info);
  }
  return context_leave(context, result);
}

/* What the driver aligns every allocation to, and what every access of a kernel may want. */
enum { ALIGNMENT_BYTES = 256 };

lh_status lh_traits_get(lh_context *context, lh_traits *traits_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    uint32_t overlap = context->setup.lanes_overlap ? LH_TRAIT_OVERLAPS_COPIES : 0u;
    lh_traits traits = {
        .flags = LH_TRAIT_FREE_SYNCHRONIZES | LH_TRAIT_RECOVERY_NEW_PROCESS | overlap,
        .alignment_bytes = ALIGNMENT_BYTES,
        .size_granularity_bytes = 1,
        /* However many bytes there are, they travel better gathered: beyond the setting it is done in pieces. */
        .coalesce_max_bytes = SETTING_MEMORY_MAX_BYTES,
        .argument_max_bytes = context->argument_max_bytes,
    };
    result = struct_write(traits_out, &traits, sizeof traits);
  }
  return context_leave(context, result);
}

static outcome read_memory(lh_context *context, lh_memory_info *info) {
  outcome begun = driver_begin(context);
  if (begun.status != LH_OK) {
    return begun;
  }
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  outcome asked = driver_outcome(context, context->driver->mem_get_info(&free_bytes, &total_bytes), CALL_OTHER);
  driver_end(context);
  info->free_bytes = free_bytes;
  info->total_bytes = total_bytes;
  return asked;
}

lh_status lh_memory_info_get(lh_context *context, lh_memory_info *info_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  lh_memory_info info = {.struct_bytes = sizeof info};
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = read_memory(context, &info);
  }
  if (result.status == LH_OK) {
    result = struct_write(info_out, &info, sizeof info);
  }
  return context_leave(context, result);
}

lh_status lh_statistics_get(lh_context *context, lh_statistics *statistics_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  context_enter_lost(context);
  lh_statistics statistics = context->counters;
  statistics.in_flight_count = context->tickets.in_flight_count;
  statistics.live_bytes = context->allocations.live_bytes;
  statistics.live_count = context->allocations.live_count;
  statistics.host_live_bytes = context->host_blocks.live_bytes;
  statistics.host_live_count = context->host_blocks.live_count;
  return context_leave(context, struct_write(statistics_out, &statistics, sizeof statistics));
}

lh_status lh_last_error(lh_context *context, lh_error *error_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  context_enter_lost(context);
  lh_error error = context->last_error;
  error.entry_index = error.status == LH_OK ? NO_ENTRY : error.entry_index;
  return context_leave(context, struct_write(error_out, &error, sizeof error));
}
