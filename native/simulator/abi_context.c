/*
 * abi_context.c: the exported functions of the header's sections on versions and contexts.
 */
#include "context.h"
#include "common/structs.h"

#include <stdio.h>
#include <string.h>

enum { DETAIL_BYTES = sizeof(((lh_error *)NULL)->detail) };

uint32_t lh_abi_version(void) { return LH_ABI_VERSION; }

/* Opening and ending --------------------------------------------------------------------------------------------- */

static bool has_reserved_bits(const lh_open_options *options) {
  uint64_t bits = options->flags | options->reserved_0;
  for (size_t index = 0; index < sizeof options->reserved / sizeof *options->reserved; index += 1) {
    bits |= options->reserved[index];
  }
  return bits != 0;
}

/* On failure, `detail` holds a sentence. */
static lh_status open_with(const lh_open_options *options, char *detail, lh_context **context_out) {
  lh_open_options read;
  if (context_out == NULL || !struct_read(options, &read, sizeof read)) {
    snprintf(detail, DETAIL_BYTES, "The options or the place for the context are null or have no struct_bytes.");
    return LH_INVALID_ARGUMENT;
  }
  if (has_reserved_bits(&read)) {
    snprintf(detail, DETAIL_BYTES, "A reserved field or an unknown flag of the options is not zero.");
    return LH_INVALID_ARGUMENT;
  }
  if (read.device_index != 0) {
    snprintf(detail, DETAIL_BYTES, "The simulator has one device, of index 0.");
    return LH_NO_DEVICE;
  }
  settings setup;
  lh_status status = settings_read(read.settings, &setup, detail, DETAIL_BYTES);
  if (status != LH_OK) {
    return status;
  }
  status = context_open(&setup, context_out);
  if (status != LH_OK) {
    snprintf(detail, DETAIL_BYTES, "The host has no room for a device of %llu bytes.",
             (unsigned long long)setup.total_bytes);
  }
  return status;
}

lh_status lh_context_open(const lh_open_options *options, lh_error *error, lh_context **context_out) {
  lh_error failed = {.struct_bytes = sizeof failed, .entry_index = NO_ENTRY};
  failed.status = open_with(options, failed.detail, context_out);
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

lh_status lh_device_info_get(lh_context *context, lh_device_info *info_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    const settings *setup = &context->setup;
    lh_device_info info = {.total_bytes = setup->total_bytes, .features = LH_FEATURE_HOST_REGISTER | LH_FEATURE_DEFERRED_LAUNCH};
    info.features |= setup->completes_late ? LH_FEATURE_TICKETS : 0u;
    info.features |= setup->clock_is_virtual ? LH_FEATURE_VIRTUAL_CLOCK : 0u;
    snprintf(info.name, sizeof info.name, "Leasehold simulator");
    snprintf(info.driver, sizeof info.driver, "leasehold_simulator, ABI version %u", LH_ABI_VERSION);
    result = struct_write(info_out, &info, sizeof info);
  }
  return context_leave(context, result);
}

/*
 * On an immediate device each call ends before the next begins, but for launches that are deferred: those run beside copies
 * where its lanes overlap. A lost simulated device is recovered from by a new context.
 */
static uint32_t trait_flags(const settings *setup) {
  uint32_t overlap = setup->lanes_overlap ? LH_TRAIT_OVERLAPS_COPIES : 0u;
  return overlap | (setup->completes_late ? LH_TRAIT_FREE_SYNCHRONIZES : LH_TRAIT_IMMEDIATE);
}

lh_status lh_traits_get(lh_context *context, lh_traits *traits_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    const settings *setup = &context->setup;
    lh_traits traits = {
        .flags = trait_flags(setup),
        .alignment_bytes = setup->alignment_bytes,
        .size_granularity_bytes = setup->size_granularity_bytes,
        .tail_bytes = setup->tail_bytes,
        .coalesce_max_bytes = setup->coalesce_max_bytes,
    };
    result = struct_write(traits_out, &traits, sizeof traits);
  }
  return context_leave(context, result);
}

lh_status lh_memory_info_get(lh_context *context, lh_memory_info *info_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    lh_memory_info info = {.total_bytes = context->device.total_bytes, .free_bytes = context->device.free_bytes};
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
  statistics.in_flight_count = context->lanes.in_flight_count;
  statistics.live_bytes = context->device.allocations.live_bytes;
  statistics.live_count = context->device.allocations.live_count;
  statistics.host_live_bytes = context->host.blocks.live_bytes;
  statistics.host_live_count = context->host.blocks.live_count;
  statistics.clock_nanos = clock_read(&context->clock);
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
