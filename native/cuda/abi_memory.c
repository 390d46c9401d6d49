/*
 * abi_memory.c: the exported functions of the header's section on memory.
 */
#include "common/numbers.h"
#include "cuda/context.h"

#include <stdlib.h>
#include <string.h>

/* Device memory -------------------------------------------------------------------------------------------------- */

/* What the driver aligns every allocation to. Source: cuMemAlloc, "suitably aligned for any kind of variable", 256 bytes. */
enum { DRIVER_ALIGNMENT_BYTES = 256 };

/* Makes room for one more raised allocation. */
static bool reserve_raised(lh_context *context) {
  raised_allocation *raised =
      realloc(context->raised, (context->raised_count + 1) * sizeof *context->raised);
  if (raised != NULL) {
    context->raised = raised;
  }
  return raised != NULL;
}

static void add_raised(lh_context *context, uint64_t address, cu_device_address start) {
  context->raised[context->raised_count] = (raised_allocation){.address = address, .start = start};
  context->raised_count += 1;
}

cu_device_address allocation_start(const lh_context *context, uint64_t address) {
  for (size_t index = 0; index < context->raised_count; index += 1) {
    if (context->raised[index].address == address) {
      return context->raised[index].start;
    }
  }
  return address;
}

static void forget_raised(lh_context *context, uint64_t address) {
  for (size_t index = 0; index < context->raised_count; index += 1) {
    if (context->raised[index].address == address) {
      context->raised[index] = context->raised[context->raised_count - 1];
      context->raised_count -= 1;
      return;
    }
  }
}

/* Calls the driver, with the mutex given up meanwhile. */
static outcome allocate(lh_context *context, uint64_t byte_count, cu_device_address *start_out) {
  pthread_mutex_unlock(&context->mutex);
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = driver_outcome(context, context->driver->mem_alloc(start_out, byte_count), CALL_ALLOCATION);
    driver_end(context);
  }
  pthread_mutex_lock(&context->mutex);
  return result;
}

static outcome release_start(lh_context *context, cu_device_address start) {
  pthread_mutex_unlock(&context->mutex);
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = driver_outcome(context, context->driver->mem_free(start), CALL_OTHER);
    driver_end(context);
  }
  pthread_mutex_lock(&context->mutex);
  return result;
}

/* Notes an allocation. Where that cannot be, it goes back. */
static outcome keep(lh_context *context, cu_device_address start, range kept) {
  bool is_raised = kept.address != start;
  bool has_room = ranges_reserve(&context->allocations) && (!is_raised || reserve_raised(context));
  if (!has_room || kept.address > SAFE_INTEGER_MAX - kept.reserved_bytes) {
    outcome released = release_start(context, start);
    return released.status != LH_OK ? released
           : has_room               ? failure(LH_ADDRESS_TOO_LARGE, "The device's address is above 2^53.")
                                    : failure(LH_HOST_OUT_OF_MEMORY, "The host has no room.");
  }
  if (is_raised) {
    add_raised(context, kept.address, start);
  }
  ranges_add(&context->allocations, kept);
  context->counters.malloc_count += 1;
  return success();
}

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
  uint64_t spare_bytes = alignment_bytes > DRIVER_ALIGNMENT_BYTES ? alignment_bytes - DRIVER_ALIGNMENT_BYTES : 0;
  uint64_t asked_bytes = 0;
  cu_device_address start = 0;
  if (__builtin_add_overflow(byte_count, spare_bytes, &asked_bytes) || asked_bytes > SAFE_INTEGER_MAX) {
    return failure(LH_OUT_OF_MEMORY, "The device has no room for the bytes in one piece.");
  }
  outcome result = allocate(context, asked_bytes, &start);
  if (result.status != LH_OK) {
    return result;
  }
  uint64_t address = 0;
  if (!round_up(start, alignment_bytes, &address)) {
    address = UINT64_MAX; /* beyond all that there is */
  }
  result = keep(context, start, (range){.address = address, .byte_count = byte_count, .reserved_bytes = byte_count});
  if (result.status == LH_OK) {
    *address_out = (double)address;
  }
  return result;
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

/* Ends a range of a table first, so that nothing new can touch it. */
static outcome end_range(ranges *table, lh_address address, range *ended_out) {
  uint64_t start_address = 0;
  if (!safe_integer_read(address, &start_address) || start_address == 0) {
    return failure(LH_INVALID_ARGUMENT, "The address is null or no integer.");
  }
  lh_status status = ranges_end(table, start_address, ended_out);
  return outcome_of(status, address_detail(status));
}

/*
 * Takes back a range that the driver did not: it is still ours to free. Nobody else was given its addresses meanwhile. Where
 * the host has no room for that, or the device is lost, the memory is forgotten.
 */
static bool revive_range(ranges *table, range ended, outcome released) {
  bool is_revived = released.status != LH_OK && released.status != LH_DEVICE_LOST && ranges_reserve(table);
  if (is_revived) {
    ranges_add(table, ended);
  }
  return is_revived;
}

/* The driver waits by itself for all work of the device, so the memory is not freed under any. */
static outcome free_device_range(lh_context *context, lh_address address) {
  range ended;
  outcome result = end_range(&context->allocations, address, &ended);
  if (result.status != LH_OK) {
    return result;
  }
  cu_device_address start = allocation_start(context, ended.address);
  forget_raised(context, ended.address);
  result = release_start(context, start);
  context->counters.free_count += result.status == LH_OK ? 1 : 0;
  bool has_room = start == ended.address || reserve_raised(context);
  if (has_room && revive_range(&context->allocations, ended, result) && start != ended.address) {
    add_raised(context, ended.address, start);
  }
  return result;
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

typedef cu_result (*host_release)(void *address);

/* Calls the driver for a host address, with the mutex given up meanwhile. */
static outcome release_host(lh_context *context, host_release call, uint64_t address) {
  pthread_mutex_unlock(&context->mutex);
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = driver_outcome(context, call((void *)(uintptr_t)address), CALL_OTHER);
    driver_end(context);
  }
  pthread_mutex_lock(&context->mutex);
  return result;
}

static outcome allocate_host(lh_context *context, uint64_t byte_count, void **address_out) {
  pthread_mutex_unlock(&context->mutex);
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = driver_outcome(
        context, context->driver->mem_host_alloc(address_out, byte_count, CU_MEM_HOST_ALLOC_FLAG_PORTABLE),
        CALL_HOST_ALLOCATION);
    driver_end(context);
  }
  if (result.status == LH_OK) {
    memset(*address_out, 0, byte_count);
  }
  pthread_mutex_lock(&context->mutex);
  return result;
}

static outcome take_host_range(lh_context *context, uint64_t byte_count, lh_address *address_out) {
  if (address_out == NULL) {
    return failure(LH_INVALID_ARGUMENT, "The place for the address is null.");
  }
  if (byte_count == 0) {
    return failure(LH_INVALID_ARGUMENT, "An allocation has no bytes.");
  }
  if (byte_count > SAFE_INTEGER_MAX) {
    return failure(LH_HOST_OUT_OF_MEMORY, "The host has no room for the bytes.");
  }
  void *block = NULL;
  outcome result = allocate_host(context, byte_count, &block);
  if (result.status != LH_OK) {
    return result;
  }
  uint64_t address = (uint64_t)(uintptr_t)block;
  if (!ranges_reserve(&context->host_blocks)) {
    outcome released = release_host(context, context->driver->mem_free_host, address);
    return released.status != LH_OK ? released : failure(LH_HOST_OUT_OF_MEMORY, "The host has no room.");
  }
  ranges_add(&context->host_blocks,
             (range){.address = address, .byte_count = byte_count, .reserved_bytes = byte_count});
  *address_out = (double)address;
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

static outcome end_host_range(lh_context *context, ranges *table, lh_address address, host_release call) {
  range ended;
  outcome result = end_range(table, address, &ended);
  if (result.status != LH_OK) {
    return result;
  }
  result = release_host(context, call, ended.address);
  revive_range(table, ended, result);
  return result;
}

lh_status lh_host_free(lh_context *context, lh_address address) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = end_host_range(context, &context->host_blocks, address, context->driver->mem_free_host);
  }
  return context_leave(context, result);
}

static outcome pin(lh_context *context, uint64_t address, uint64_t byte_count) {
  pthread_mutex_unlock(&context->mutex);
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = driver_outcome(context,
                            context->driver->mem_host_register((void *)(uintptr_t)address, byte_count,
                                                               CU_MEM_HOST_REGISTER_FLAG_PORTABLE),
                            CALL_HOST_ALLOCATION);
    driver_end(context);
  }
  pthread_mutex_lock(&context->mutex);
  return result;
}

static outcome register_host_range(lh_context *context, lh_address address, uint64_t byte_count) {
  uint64_t start_address = 0;
  if (!safe_integer_read(address, &start_address) || start_address == 0) {
    return failure(LH_INVALID_ARGUMENT, "The address is null or no integer.");
  }
  if (byte_count == 0 || byte_count > SAFE_INTEGER_MAX - start_address) {
    return failure(LH_INVALID_ARGUMENT, "The range is empty or ends beyond all addresses.");
  }
  if (ranges_overlap(&context->allocations, start_address, byte_count) ||
      ranges_overlap(&context->host_blocks, start_address, byte_count) ||
      ranges_overlap(&context->registered, start_address, byte_count)) {
    return failure(LH_INVALID_ARGUMENT, "The range overlaps memory that the device knows already.");
  }
  outcome result = pin(context, start_address, byte_count);
  if (result.status != LH_OK) {
    return result;
  }
  if (!ranges_reserve(&context->registered)) {
    outcome released = release_host(context, context->driver->mem_host_unregister, start_address);
    return released.status != LH_OK ? released : failure(LH_HOST_OUT_OF_MEMORY, "The host has no room.");
  }
  ranges_add(&context->registered,
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
    result = end_host_range(context, &context->registered, address, context->driver->mem_host_unregister);
  }
  return context_leave(context, result);
}
