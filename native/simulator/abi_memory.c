/*
 * abi_memory.c: the exported functions of the header's section on memory.
 */
#include "context.h"
#include "common/numbers.h"

/* Lets what the device charges for a call pass. The mutex is given up meanwhile. */
static void pay(lh_context *context, uint64_t cost_nanos) {
  if (cost_nanos == 0) {
    return;
  }
  uint64_t end_nanos = clock_charge_all(&context->clock, cost_nanos);
  pthread_mutex_unlock(&context->mutex);
  clock_sleep_until(&context->clock, end_nanos);
  pthread_mutex_lock(&context->mutex);
}

/* Device memory -------------------------------------------------------------------------------------------------- */

static outcome take_device_range(lh_context *context, uint64_t byte_count, uint64_t alignment_bytes,
                                 lh_address *address_out) {
  if (address_out == NULL) {
    return failure(LH_INVALID_ARGUMENT, "The place for the address is null.");
  }
  if (byte_count == 0) {
    return failure(LH_INVALID_ARGUMENT, "An allocation has no bytes.");
  }
  if (!is_power_of_two(alignment_bytes)) {
    return failure(LH_INVALID_ARGUMENT, "An alignment is no power of two.");
  }
  range taken;
  lh_status status = arena_take(&context->device, byte_count, alignment_bytes, &taken);
  if (status != LH_OK) {
    return failure(status, status == LH_OUT_OF_MEMORY ? "The device has no room for the bytes in one piece."
                                                      : "The host has no room for the bytes.");
  }
  context->counters.malloc_count += 1;
  pthread_mutex_unlock(&context->mutex);
  arena_poison_taken(taken);
  pthread_mutex_lock(&context->mutex);
  pay(context, context->setup.malloc_nanos);
  *address_out = (double)taken.address;
  return success();
}

lh_status lh_malloc(lh_context *context, uint64_t byte_count, uint64_t alignment_bytes, lh_address *address_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = take_device_range(context, byte_count, alignment_bytes, address_out);
  }
  return context_leave(context, result);
}

/*
 * The range ends first, so that nothing new can touch it; then whatever still does is waited for; only then is its
 * memory anybody's.
 */
static outcome free_device_range(lh_context *context, lh_address address) {
  uint64_t start_address = 0;
  if (!safe_integer_read(address, &start_address) || start_address == 0) {
    return failure(LH_INVALID_ARGUMENT, "The address is null or no integer.");
  }
  range retired;
  lh_status status = arena_retire(&context->device, start_address, &retired);
  if (status != LH_OK) {
    return failure(status, address_detail(status));
  }
  status = work_drain(context, retired);
  if (status != LH_OK) {
    return failure(status, "The device was lost before the memory was free.");
  }
  pthread_mutex_unlock(&context->mutex);
  arena_poison_retired(retired);
  pthread_mutex_lock(&context->mutex);
  arena_give_back(&context->device, retired);
  context->counters.free_count += 1;
  pay(context, context->setup.free_nanos);
  return success();
}

lh_status lh_free(lh_context *context, lh_address address) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = free_device_range(context, address);
  }
  return context_leave(context, result);
}

/* Host memory ---------------------------------------------------------------------------------------------------- */

static outcome take_host_range(lh_context *context, uint64_t byte_count, lh_address *address_out) {
  if (address_out == NULL) {
    return failure(LH_INVALID_ARGUMENT, "The place for the address is null.");
  }
  if (byte_count == 0) {
    return failure(LH_INVALID_ARGUMENT, "An allocation has no bytes.");
  }
  range taken;
  lh_status status = host_memory_take(&context->host, byte_count, &taken);
  if (status != LH_OK) {
    return failure(status, "The host has no room for the bytes.");
  }
  *address_out = (double)taken.address;
  return success();
}

lh_status lh_host_malloc(lh_context *context, uint64_t byte_count, lh_address *address_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = take_host_range(context, byte_count, address_out);
  }
  return context_leave(context, result);
}

/* Ends a range of one of the host's tables and waits until nothing uses it. */
static outcome end_host_range(lh_context *context, ranges *table, lh_address address, range *ended_out) {
  uint64_t start_address = 0;
  if (!safe_integer_read(address, &start_address) || start_address == 0) {
    return failure(LH_INVALID_ARGUMENT, "The address is null or no integer.");
  }
  lh_status status = ranges_end(table, start_address, ended_out);
  if (status != LH_OK) {
    return failure(status, address_detail(status));
  }
  status = work_drain(context, *ended_out);
  return status == LH_OK ? success() : failure(status, "The device was lost while it may still use the memory.");
}

lh_status lh_host_free(lh_context *context, lh_address address) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    range ended;
    result = end_host_range(context, &context->host.blocks, address, &ended);
    if (result.status == LH_OK) {
      host_memory_unmap(ended);
    }
  }
  return context_leave(context, result);
}

static outcome register_host_range(lh_context *context, lh_address address, uint64_t byte_count) {
  uint64_t start_address = 0;
  if (!safe_integer_read(address, &start_address) || start_address == 0) {
    return failure(LH_INVALID_ARGUMENT, "The address is null or no integer.");
  }
  if (byte_count == 0 || byte_count > SAFE_INTEGER_MAX - start_address) {
    return failure(LH_INVALID_ARGUMENT, "The range is empty or ends beyond all addresses.");
  }
  host_memory *host = &context->host;
  if (arena_overlaps(&context->device, start_address, byte_count) ||
      ranges_overlap(&host->blocks, start_address, byte_count) ||
      ranges_overlap(&host->registered, start_address, byte_count)) {
    return failure(LH_INVALID_ARGUMENT, "The range overlaps memory that the device knows already.");
  }
  if (!ranges_reserve(&host->registered)) {
    return failure(LH_HOST_OUT_OF_MEMORY, "The host has no room to remember the range.");
  }
  ranges_add(&host->registered,
             (range){.address = start_address, .byte_count = byte_count, .reserved_bytes = byte_count});
  return success();
}

lh_status lh_host_register(lh_context *context, lh_address address, uint64_t byte_count) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = register_host_range(context, address, byte_count);
  }
  return context_leave(context, result);
}

lh_status lh_host_unregister(lh_context *context, lh_address address) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    range ended;
    result = end_host_range(context, &context->host.registered, address, &ended);
  }
  return context_leave(context, result);
}
