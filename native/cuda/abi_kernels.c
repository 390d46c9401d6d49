/*
 * abi_kernels.c: the exported functions of the header's section on kernels.
 */
#include "common/structs.h"
#include "cuda/context.h"
#include "cuda/launches.h"

#include <stdlib.h>

/* Loading and finding -------------------------------------------------------------------------------------------- */

/* The driver compiles what is PTX, which may take seconds, so the mutex is given up meanwhile. */
static outcome read_module(lh_context *context, const char *path, cu_module *loaded_out) {
  char *image = NULL;
  pthread_mutex_unlock(&context->mutex);
  outcome result = module_read(path, &image);
  if (result.status == LH_OK) {
    result = driver_begin(context);
  }
  if (result.status == LH_OK) {
    result = driver_outcome(context, context->driver->module_load_data(loaded_out, image), CALL_MODULE);
    driver_end(context);
  }
  free(image);
  pthread_mutex_lock(&context->mutex);
  return result;
}

static outcome load_module(lh_context *context, const char *path, lh_module *module_out) {
  if (module_out == NULL) {
    return failure(LH_INVALID_ARGUMENT, "The place for the module is null.");
  }
  cu_module *place = gpu_modules_reserve(&context->modules);
  if (place == NULL) {
    return failure(LH_BUSY, "A context holds no more modules than it has.");
  }
  /* The place is taken first, so that a module that was loaded always has one. */
  cu_module loaded = NULL;
  outcome result = read_module(context, path, &loaded);
  if (result.status == LH_OK) {
    *place = loaded;
    *module_out = gpu_modules_number(&context->modules, place);
  } else {
    gpu_modules_give_back(&context->modules, place);
  }
  return result;
}

lh_status lh_module_load(lh_context *context, const char *path, lh_module *module_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = load_module(context, path, module_out);
  }
  return context_leave(context, result);
}

/* No kernel takes more: the largest block of parameters, one byte each. */
enum { PARAMETER_MAX_COUNT = 32764 };

/* How many parameters a kernel takes, or -1 where the driver cannot tell. */
static outcome count_parameters(lh_context *context, cu_function function, int64_t *count_out) {
  *count_out = -1;
  if (context->driver->func_get_param_info == NULL) {
    return success();
  }
  for (uint32_t count = 0; count <= PARAMETER_MAX_COUNT; count += 1) {
    size_t offset = 0;
    size_t byte_count = 0;
    cu_result code = context->driver->func_get_param_info(function, count, &offset, &byte_count);
    if (code == CU_ERROR_INVALID_VALUE) {
      *count_out = count;
      return success();
    }
    if (code != CU_SUCCESS) {
      return code == CU_ERROR_NOT_SUPPORTED ? success() : driver_outcome(context, code, CALL_SYMBOL);
    }
  }
  return success();
}

static outcome read_parameters(lh_context *context, cu_function function, kernel_parameters *parameters_out) {
  int64_t count = 0;
  outcome result = count_parameters(context, function, &count);
  if (result.status != LH_OK || count < 0) {
    return result;
  }
  uint32_t *byte_counts = calloc(count > 0 ? (size_t)count : 1, sizeof *byte_counts);
  if (byte_counts == NULL) {
    return failure(LH_HOST_OUT_OF_MEMORY, "The host has no room for what the kernel takes.");
  }
  for (uint32_t index = 0; result.status == LH_OK && index < count; index += 1) {
    size_t offset = 0;
    size_t byte_count = 0;
    result = driver_outcome(context, context->driver->func_get_param_info(function, index, &offset, &byte_count),
                            CALL_SYMBOL);
    byte_counts[index] = (uint32_t)byte_count;
  }
  if (result.status != LH_OK) {
    free(byte_counts);
    return result;
  }
  *parameters_out = (kernel_parameters){.is_known = true, .count = (uint32_t)count, .byte_counts = byte_counts};
  return result;
}

/* Finds a function in a module. What it takes is asked for once. */
static outcome find_function(lh_context *context, cu_module loaded, const char *symbol, lh_kernel *kernel_out) {
  cu_function function = NULL;
  outcome result =
      driver_outcome(context, context->driver->module_get_function(&function, loaded, symbol), CALL_SYMBOL);
  if (result.status != LH_OK) {
    return result;
  }
  *kernel_out = gpu_modules_find_kernel(&context->modules, function);
  if (*kernel_out != 0.0) {
    return result;
  }
  kernel_parameters parameters = {0};
  result = read_parameters(context, function, &parameters);
  if (result.status != LH_OK) {
    return result;
  }
  *kernel_out = gpu_modules_add_kernel(&context->modules, function, parameters);
  if (*kernel_out == 0.0) {
    free(parameters.byte_counts);
    return failure(LH_BUSY, "A context holds no more kernels than it has.");
  }
  return result;
}

static outcome find_kernel(lh_context *context, lh_module module, const char *symbol, lh_kernel *kernel_out) {
  if (kernel_out == NULL || symbol == NULL || symbol[0] == '\0') {
    return failure(LH_INVALID_ARGUMENT, "The place for the kernel is null, or the symbol is null or empty.");
  }
  cu_module loaded = gpu_modules_module(&context->modules, module);
  if (loaded == NULL) {
    return failure(LH_UNKNOWN_HANDLE, "The module is unknown.");
  }
  lh_kernel kernel = 0.0;
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = find_function(context, loaded, symbol, &kernel);
    driver_end(context);
  }
  if (result.status == LH_OK) {
    *kernel_out = kernel;
  }
  return result;
}

lh_status lh_kernel_find(lh_context *context, lh_module module, const char *symbol, lh_kernel *kernel_out) {
  if (context == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK) {
    result = find_kernel(context, module, symbol, kernel_out);
  }
  return context_leave(context, result);
}

/* Launching ------------------------------------------------------------------------------------------------------ */

static outcome read_plan(const lh_geometry *geometry, lh_launch_plan *plan_out) {
  lh_geometry read;
  if (!struct_read(geometry, &read, sizeof read) || read.plan == NULL) {
    return failure(LH_INVALID_ARGUMENT, "A launch on this device says in a plan what its steps are.");
  }
  return struct_read(read.plan, plan_out, sizeof *plan_out)
             ? success()
             : failure(LH_INVALID_ARGUMENT, "A plan has no struct_bytes.");
}

static outcome put_on_stream(lh_context *context, ticket_slot *slot, const lh_launch_plan *plan,
                             const lh_argument *arguments) {
  pthread_mutex_unlock(&context->mutex);
  outcome result = driver_begin(context);
  if (result.status == LH_OK) {
    result = launches_submit(context, slot, plan, arguments);
    driver_end(context);
  }
  pthread_mutex_lock(&context->mutex);
  return result;
}

static outcome launch(lh_context *context, uint32_t lane, const lh_geometry *geometry, const lh_argument *arguments,
                      uint32_t count, lh_ticket *ticket_out) {
  if (ticket_out == NULL || (arguments == NULL && count > 0)) {
    return failure(LH_INVALID_ARGUMENT, "The table or the place for the ticket is null.");
  }
  if ((lane & LH_LANE_DEFERRED) != 0) {
    return failure(LH_UNSUPPORTED, "Launches are not deferred on a device that answers late.");
  }
  if (lane >= LH_LANE_COUNT) {
    return failure(LH_INVALID_ARGUMENT, "There is no such lane.");
  }
  if (count > LH_ARGUMENT_MAX_COUNT) {
    return failure(LH_INVALID_ARGUMENT, "A launch has more than 65536 arguments.");
  }
  lh_launch_plan plan;
  outcome result = read_plan(geometry, &plan);
  if (result.status == LH_OK) {
    result = launches_check(context, &plan, arguments, count);
  }
  ticket_slot *slot = NULL;
  if (result.status == LH_OK) {
    result = ticket_open(context, lane, true, &slot);
  }
  if (result.status != LH_OK) {
    return result;
  }
  result = put_on_stream(context, slot, &plan, arguments);
  if (result.status == LH_OK) {
    context->counters.launch_count += 1;
  } else {
    result = ticket_refuse(context, slot, result);
  }
  if (result.status == LH_OK) {
    *ticket_out = (double)slot->ticket;
  }
  return result;
}

lh_status lh_launch(lh_context *context, uint32_t lane, lh_kernel kernel, const lh_geometry *geometry,
                    const lh_argument *arguments, uint32_t count, lh_address argument_table_address,
                    lh_ticket *ticket_out, uint32_t *failed_index_out) {
  (void)kernel; /* the plan names one for each step */
  if (context == NULL || failed_index_out == NULL) {
    return LH_INVALID_ARGUMENT;
  }
  outcome result = context_enter(context);
  if (result.status == LH_OK && argument_table_address != 0.0) {
    result = failure(LH_UNSUPPORTED, "Arguments go by value, not through a table on the device.");
  }
  if (result.status == LH_OK) {
    result = launch(context, lane, geometry, arguments, count, ticket_out);
  }
  return context_leave_table(context, result, failed_index_out);
}
