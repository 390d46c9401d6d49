/*
 * abi_kernels.c: the exported functions of the header's section on kernels.
 */
#include "common/arguments.h"
#include "context.h"
#include "common/structs.h"

/* Loading and finding -------------------------------------------------------------------------------------------- */

/* A library runs code of its own while it is loaded, so the mutex is given up meanwhile. */
static outcome load_module(lh_context *context, const char *path, lh_module *module_out, char *detail,
                           size_t detail_bytes) {
  if (module_out == NULL) {
    return failure(LH_INVALID_ARGUMENT, "The place for the module is null.");
  }
  void *library = NULL;
  pthread_mutex_unlock(&context->mutex);
  lh_status status = library_load(path, &library, detail, detail_bytes);
  pthread_mutex_lock(&context->mutex);
  if (status != LH_OK) {
    return failure(status, detail);
  }
  status = modules_add(&context->modules, library, module_out);
  return outcome_of(status, "A context holds no more modules than it has.");
}

lh_status lh_module_load(lh_context *context, const char *path, lh_module *module_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  char detail[sizeof context->last_error.detail] = "";
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = load_module(context, path, module_out, detail, sizeof detail);
  }
  return context_leave(context, result);
}

static const char *find_detail(lh_status status) {
  switch (status) {
  case LH_INVALID_ARGUMENT:
    return "The module is no integer, or the symbol is null or empty.";
  case LH_UNKNOWN_HANDLE:
    return "The module is unknown.";
  case LH_SYMBOL_NOT_FOUND:
    return "The module exports no such kernel.";
  default:
    return "A context holds no more kernels than it has.";
  }
}

lh_status lh_kernel_find(lh_context *context, lh_module module, const char *symbol, lh_kernel *kernel_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK && kernel_out == NULL) {
    result = failure(LH_INVALID_ARGUMENT, "The place for the kernel is null.");
  }
  if (result.status == LH_OK) {
    lh_status status = modules_find_kernel(&context->modules, module, symbol, kernel_out);
    result = outcome_of(status, find_detail(status));
  }
  return context_leave(context, result);
}

/* Launching ------------------------------------------------------------------------------------------------------ */

/* What a launch is called with, beside where its results go. */
typedef struct launch {
  uint32_t lane;
  bool is_deferred;
  uint32_t count;
  lh_kernel kernel;
  const lh_geometry *geometry;
  const lh_argument *arguments;
  lh_address argument_table_address;
  char *lab_detail; /* for what the memory lab finds in a launch that ends within its call */
} launch;

static outcome check_launch(lh_context *context, const launch *launched) {
  if (launched->arguments == NULL && launched->count > 0) {
    return failure(LH_INVALID_ARGUMENT, "The table is null.");
  }
  if (launched->lane >= LH_LANE_COUNT) {
    return failure(LH_INVALID_ARGUMENT, "There is no such lane.");
  }
  if (launched->count > LH_ARGUMENT_MAX_COUNT) {
    return failure(LH_INVALID_ARGUMENT, "A launch has more than 65536 arguments.");
  }
  if (launched->geometry != NULL && struct_shared_bytes(launched->geometry, sizeof *launched->geometry) == 0) {
    return failure(LH_INVALID_ARGUMENT, "A geometry has no struct_bytes.");
  }
  if (launched->argument_table_address != 0.0) {
    return failure(LH_UNSUPPORTED, "The simulator takes arguments by value, not through a table on the device.");
  }
  if (modules_kernel(&context->modules, launched->kernel) == NULL) {
    return failure(LH_UNKNOWN_HANDLE, "The kernel is unknown.");
  }
  return arguments_check(launched->arguments, launched->count, &context->device.allocations);
}

static outcome launch_late(lh_context *context, const launch *launched, lh_kernel_function function,
                           lh_ticket *ticket_out) {
  lh_status ready = lanes_ready(context);
  if (ready != LH_OK) {
    return failure(ready, "The host has no room for the threads of the lanes.");
  }
  ticket_slot *slot = NULL;
  size_t table_bytes = launched->count * sizeof *launched->arguments;
  outcome opened = ticket_open(context, launched->arguments, table_bytes, &slot);
  if (opened.status != LH_OK) {
    return opened;
  }
  slot->task = work_of_launch(context, launched->lane, function, slot->table, launched->count);
  slot->task.lab_detail = context->setup.memory_lab_is_on ? slot->lab_detail : NULL;
  work_accept(context, &slot->task);
  *ticket_out = (double)slot->ticket;
  ticket_queue(context, slot);
  return success();
}

static outcome launch_now(lh_context *context, const launch *launched, lh_kernel_function function,
                          lh_ticket *ticket_out) {
  work performed = work_of_launch(context, launched->lane, function, launched->arguments, launched->count);
  performed.lab_detail = context->setup.memory_lab_is_on ? launched->lab_detail : NULL;
  work_accept(context, &performed);
  outcome result = work_perform(context, &performed);
  clock_host_saw(&context->clock, performed.end_nanos);
  if (result.status == LH_OK) {
    *ticket_out = 0;
  }
  return result;
}

lh_status lh_launch(lh_context *context, uint32_t lane, lh_kernel kernel, const lh_geometry *geometry,
                    const lh_argument *arguments, uint32_t count, lh_address argument_table_address,
                    lh_ticket *ticket_out, uint32_t *failed_index_out) {
  if (context == NULL || failed_index_out == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  char lab_detail[DETAIL_MAX_BYTES];
  const launch launched = {
      .lane = lane & ~LH_LANE_DEFERRED,
      .is_deferred = (lane & LH_LANE_DEFERRED) != 0,
      .count = count,
      .kernel = kernel,
      .geometry = geometry,
      .arguments = arguments,
      .argument_table_address = argument_table_address,
      .lab_detail = lab_detail,
  };
  outcome result = context_enter(context);
  if (result.status == LH_OK && ticket_out == NULL) {
    result = failure(LH_INVALID_ARGUMENT, "The place for the ticket is null.");
  }
  if (result.status == LH_OK) {
    result = check_launch(context, &launched);
  }
  if (result.status == LH_OK) {
    lh_kernel_function function = modules_kernel(&context->modules, kernel);
    bool is_late = context->setup.completes_late || launched.is_deferred;
    result = is_late ? launch_late(context, &launched, function, ticket_out)
                     : launch_now(context, &launched, function, ticket_out);
  }
  return context_leave_table(context, result, failed_index_out);
}
