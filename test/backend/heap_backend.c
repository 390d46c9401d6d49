/*
 * heap_backend.c: a whole backend, as small as one can be: its device is the process's own heap, and every call ends at once.
 *
 * An example for docs/how-to/write-a-backend.md. It leans on native/common, which comes with the package: what is checked
 * there (addresses, tables, arguments) is what every backend has to check. It passes the contract of the host API.
 */
#include "common/arguments.h"
#include "common/modules.h"
#include "common/numbers.h"
#include "common/structs.h"
#include "common/transfers.h"
#include "leasehold_kernel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT_BYTES = 64, TOTAL_BYTES = 64 << 20 };

struct lh_context {
  pthread_mutex_t mutex, kernels; /* kernels run one at a time */
  pthread_cond_t idle;
  int running; /* calls that move bytes or run a kernel, without the mutex */
  int is_lost;
  ranges device, host, registered;
  module_table modules;
  lh_error last_error;
};

static outcome enter(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  return context->is_lost ? failure(LH_DEVICE_LOST, "The device was lost.") : success();
}

static lh_status leave(lh_context *context, outcome result, uint32_t *failed_index_out) {
  if (result.status != LH_OK) {
    int64_t code = result.status == LH_DEVICE_LOST ? LH_DEVICE_LOST : result.device_code;
    context->last_error = (lh_error){.status = result.status, .device_code = code, .entry_index = result.entry_index};
    snprintf(context->last_error.detail, sizeof context->last_error.detail, "%s", result.detail);
  }
  if (result.status != LH_OK && failed_index_out != NULL) {
    *failed_index_out = result.entry_index;
  }
  pthread_mutex_unlock(&context->mutex);
  return result.status;
}

/* Whoever moves bytes or runs a kernel lets others ask and allocate meanwhile; whoever frees waits for them. */
static void begin_work(lh_context *context) {
  context->running += 1;
  pthread_mutex_unlock(&context->mutex);
}

static void end_work(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  context->running -= 1;
  pthread_cond_broadcast(&context->idle);
}

static memory_map memory_of(const lh_context *context) {
  return (memory_map){.allocations = &context->device, .host_blocks = &context->host};
}

uint32_t lh_abi_version(void) { return LH_ABI_VERSION; }

lh_status lh_context_open(const lh_open_options *options, lh_error *error, lh_context **context_out) {
  lh_open_options read;
  if (error == NULL || !struct_read(options, &read, sizeof read)) {
    return LH_INVALID_ARGUMENT;
  }
  *context_out = calloc(1, sizeof **context_out);
  pthread_mutex_init(&(*context_out)->mutex, NULL);
  pthread_mutex_init(&(*context_out)->kernels, NULL);
  return pthread_cond_init(&(*context_out)->idle, NULL);
}

/* Ends the handle. Device memory that is left stays: a lost device's memory is nobody's. */
lh_status lh_context_abandon(lh_context *context) { return free(context), LH_OK; }

static void free_all(ranges *table) {
  for (size_t index = 0; index < table->live_count; index += 1) {
    free((void *)(uintptr_t)table->live[index].address);
  }
  ranges_dispose(table);
}

lh_status lh_context_close(lh_context *context) {
  free_all(&context->device);
  free_all(&context->host);
  ranges_dispose(&context->registered);
  return lh_context_abandon(context);
}

lh_status lh_device_info_get(lh_context *context, lh_device_info *info_out) {
  lh_device_info info = {.total_bytes = TOTAL_BYTES, .features = LH_FEATURE_HOST_REGISTER, .name = "Heap"};
  return context == NULL ? LH_INVALID_ARGUMENT : struct_write(info_out, &info, sizeof info).status;
}

lh_status lh_traits_get(lh_context *context, lh_traits *traits_out) {
  lh_traits traits = {.flags = LH_TRAIT_IMMEDIATE, .alignment_bytes = ALIGNMENT_BYTES, .size_granularity_bytes = 1};
  return context == NULL ? LH_INVALID_ARGUMENT : struct_write(traits_out, &traits, sizeof traits).status;
}

lh_status lh_memory_info_get(lh_context *context, lh_memory_info *info_out) {
  outcome result = enter(context);
  lh_memory_info info = {.total_bytes = TOTAL_BYTES, .free_bytes = TOTAL_BYTES - context->device.live_bytes};
  return leave(context, result.status == LH_OK ? struct_write(info_out, &info, sizeof info) : result, NULL);
}

lh_status lh_statistics_get(lh_context *context, lh_statistics *statistics_out) {
  lh_statistics statistics = {.live_bytes = context->device.live_bytes, .live_count = context->device.live_count};
  return struct_write(statistics_out, &statistics, sizeof statistics).status;
}

lh_status lh_last_error(lh_context *context, lh_error *error_out) {
  return struct_write(error_out, &context->last_error, sizeof context->last_error).status;
}

static outcome take(ranges *table, uint64_t byte_count, uint64_t alignment_bytes, lh_address *address_out) {
  uint64_t rounded = 0;
  if (byte_count == 0 || !is_power_of_two(alignment_bytes)) {
    return failure(LH_INVALID_ARGUMENT, "An allocation has no bytes, or an alignment is no power of two.");
  }
  alignment_bytes = uint64_max(alignment_bytes, ALIGNMENT_BYTES);
  bool fits = round_up(byte_count, alignment_bytes, &rounded) && rounded <= TOTAL_BYTES - uint64_min(table->live_bytes, TOTAL_BYTES);
  void *block = fits && ranges_reserve(table) ? aligned_alloc(alignment_bytes, rounded) : NULL;
  if (block == NULL) {
    return failure(LH_OUT_OF_MEMORY, "The device has no room for the bytes in one piece.");
  }
  memset(block, 0, rounded);
  ranges_add(table, (range){.address = (uintptr_t)block, .byte_count = byte_count, .reserved_bytes = rounded});
  *address_out = (double)(uintptr_t)block;
  return success();
}

static outcome give_back(lh_context *context, ranges *table, lh_address address, bool is_own) {
  uint64_t start = 0;
  range ended;
  lh_status status = safe_integer_read(address, &start) && start > 0 ? ranges_end(table, start, &ended) : LH_INVALID_ARGUMENT;
  while (status == LH_OK && context->running > 0) {
    pthread_cond_wait(&context->idle, &context->mutex);
  }
  if (status == LH_OK && is_own) {
    free((void *)(uintptr_t)ended.address);
  }
  return outcome_of(status, address_detail(status));
}

/* A function of the ABI that does some work while the context is its own, unless the device is lost. */
#define CALL(name, parameters, failed_index_out, work)                                                                 \
  lh_status name parameters {                                                                                          \
    outcome result = enter(context);                                                                                   \
    return leave(context, result.status == LH_OK ? (work) : result, failed_index_out);                                 \
  }

CALL(lh_malloc, (lh_context *context, uint64_t byte_count, uint64_t alignment_bytes, lh_address *address_out), NULL,
     take(&context->device, byte_count, alignment_bytes, address_out))

CALL(lh_free, (lh_context *context, lh_address address), NULL,
     give_back(context, &context->device, address, true))

CALL(lh_host_malloc, (lh_context *context, uint64_t byte_count, lh_address *address_out), NULL,
     take(&context->host, byte_count, ALIGNMENT_BYTES, address_out))

CALL(lh_host_free, (lh_context *context, lh_address address), NULL,
     give_back(context, &context->host, address, true))

static outcome pin(lh_context *context, lh_address address, uint64_t byte_count) {
  uint64_t start = 0;
  if (!safe_integer_read(address, &start) || start == 0 || byte_count == 0 || byte_count > SAFE_INTEGER_MAX - start ||
      ranges_overlap(&context->registered, start, byte_count) || ranges_overlap(&context->host, start, byte_count) ||
      ranges_overlap(&context->device, start, byte_count) || !ranges_reserve(&context->registered)) {
    return failure(LH_INVALID_ARGUMENT, "The range is none, or is known already.");
  }
  ranges_add(&context->registered, (range){.address = start, .byte_count = byte_count, .reserved_bytes = byte_count});
  return success();
}

CALL(lh_host_register, (lh_context *context, lh_address address, uint64_t byte_count), NULL,
     pin(context, address, byte_count))

CALL(lh_host_unregister, (lh_context *context, lh_address address), NULL,
     give_back(context, &context->registered, address, false))

static outcome move(lh_context *context, const lh_transfer *transfers, uint32_t count, transfer_order order) {
  memory_map memory = memory_of(context);
  outcome checked = transfers_check(transfers, count, order, &memory);
  if (checked.status == LH_OK) {
    begin_work(context);
    transfers_perform(transfers, count);
    end_work(context);
  }
  return checked;
}

CALL(lh_submit, (lh_context * context, uint32_t lane, const lh_transfer *transfers, uint32_t count, lh_ticket *ticket_out, uint32_t *failed_index_out), failed_index_out,
     (*ticket_out = 0, lane < LH_LANE_COUNT) ? move(context, transfers, count, TRANSFERS_IN_ANY_ORDER)
                                             : failure(LH_INVALID_ARGUMENT, "There is no such lane."))

CALL(lh_collect, (lh_context *context, const lh_transfer *transfers, uint32_t count, uint32_t *failed_index_out), failed_index_out,
     move(context, transfers, count, TRANSFERS_HOST_ENTRIES_ONLY))

/* Nothing is ever in flight. */
CALL(lh_poll, (lh_context * context, lh_ticket ticket, uint32_t *failed_index_out), failed_index_out,
     failure(ticket == 0 ? LH_INVALID_ARGUMENT : LH_UNKNOWN_HANDLE, "The ticket is unknown."))

lh_status lh_wait(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos, uint32_t *failed_index_out) {
  return timeout_nanos == 0 ? LH_TIMEOUT : lh_poll(context, ticket, failed_index_out);
}

CALL(lh_completion_descriptor, (lh_context * context, int32_t *descriptor_out), NULL,
     failure(descriptor_out == NULL ? LH_INVALID_ARGUMENT : LH_UNSUPPORTED, "There is no descriptor to watch."))

static outcome load(lh_context *context, const char *path, lh_module *module_out) {
  void *library = NULL;
  lh_status status = library_load(path, &library, context->last_error.detail, sizeof context->last_error.detail);
  return outcome_of(status == LH_OK ? modules_add(&context->modules, library, module_out) : status, "It is no library.");
}

CALL(lh_module_load, (lh_context *context, const char *path, lh_module *module_out), NULL,
     load(context, path, module_out))

CALL(lh_kernel_find, (lh_context *context, lh_module module, const char *symbol, lh_kernel *kernel_out), NULL,
     outcome_of(modules_find_kernel(&context->modules, module, symbol, kernel_out), "There is no such kernel."))

static outcome launch(lh_context *context, lh_kernel kernel, const lh_argument *arguments, uint32_t count) {
  lh_kernel_function function = modules_kernel(&context->modules, kernel);
  outcome checked = function == NULL ? failure(LH_UNKNOWN_HANDLE, "The kernel is unknown.")
                                     : arguments_check(arguments, count, &context->device);
  if (checked.status != LH_OK) {
    return checked;
  }
  begin_work(context);
  pthread_mutex_lock(&context->kernels);
  int32_t code = function(arguments, count);
  pthread_mutex_unlock(&context->kernels);
  end_work(context);
  context->is_lost = context->is_lost || code == LH_DEVICE_LOST;
  outcome failed = failure(code == LH_DEVICE_LOST ? LH_DEVICE_LOST : LH_LAUNCH_FAILED, "The kernel reported a failure.");
  failed.device_code = code;
  return code == LH_OK ? success() : failed;
}

CALL(lh_launch, (lh_context * context, uint32_t lane, lh_kernel kernel, const lh_geometry *geometry, const lh_argument *arguments, uint32_t count, lh_address argument_table_address, lh_ticket *ticket_out, uint32_t *failed_index_out), failed_index_out,
     (*ticket_out = 0, lane < LH_LANE_COUNT && geometry == NULL && argument_table_address == 0.0) ? launch(context, kernel, arguments, count)
                                                                   : failure(LH_UNSUPPORTED, "There are no such lanes, geometries or tables."))
