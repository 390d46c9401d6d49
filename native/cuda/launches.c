#include "cuda/launches.h"

#include "common/arguments.h"
#include "common/numbers.h"
#include "common/structs.h"

#include <stdlib.h>
#include <string.h>

/* Every kernel may have so much dynamic shared memory without asking. Source: CUDA C++ Programming Guide, compute capabilities. */
enum { SHARED_BYTES_FOR_ALL = 48 * 1024 };

enum { PARAMETER_MAX_BYTES = 8, AXIS_COUNT = 3 };

static bool is_scalar(const lh_argument *argument) { return (uint64_t)argument->kind == LH_ARGUMENT_SCALAR; }

/* The bytes that a parameter takes in a kernel's block; 0 where the parameter is not valid. */
static uint64_t parameter_bytes(const lh_parameter *parameter, const lh_argument *arguments, uint32_t count) {
  uint64_t value = 0;
  uint64_t offset_bytes = 0;
  if (!safe_integer_read(parameter->offset_bytes, &offset_bytes)) {
    return 0;
  }
  if (parameter->argument == -1.0) {
    bool is_valid =
        offset_bytes == 0 && safe_integer_read(parameter->byte_count, &value) && value <= PARAMETER_MAX_BYTES;
    return is_valid ? value : 0;
  }
  if (parameter->byte_count != 0.0 || !safe_integer_read(parameter->argument, &value) || value >= count) {
    return 0;
  }
  const lh_argument *argument = &arguments[value];
  if (is_scalar(argument)) {
    return offset_bytes == 0 ? (uint64_t)argument->byte_count : 0;
  }
  return offset_bytes <= (uint64_t)argument->byte_count ? sizeof(cu_device_address) : 0;
}

static bool read_axes(const double *axes, uint64_t least) {
  for (int axis = 0; axis < AXIS_COUNT; axis += 1) {
    uint64_t value = 0;
    if (!safe_integer_read(axes[axis], &value) || value < least || value > UINT32_MAX) {
      return false;
    }
  }
  return true;
}

/* All of them, whether or not a step takes them: the table is made ready for the driver as a whole. */
static outcome check_parameters(const lh_launch_plan *plan, const lh_argument *arguments, uint32_t count) {
  for (uint32_t index = 0; index < plan->parameter_count; index += 1) {
    if (parameter_bytes(&plan->parameters[index], arguments, count) == 0) {
      return failure(LH_INVALID_ARGUMENT, "A parameter is no argument, no place in one, and no constant of 1 to 8 bytes.");
    }
  }
  return success();
}

/* Whether the block that a step's parameters make up has at most so many bytes: each lies at a multiple of its own size. */
static bool fits_block(const lh_parameter *parameters, uint64_t parameter_count, const lh_argument *arguments,
                       uint32_t count, uint64_t max_bytes) {
  uint64_t block_bytes = 0;
  /* Steps may share parameters, so what does not fit is not looked at to its end. */
  for (uint64_t index = 0; index < parameter_count && block_bytes <= max_bytes; index += 1) {
    uint64_t byte_count = parameter_bytes(&parameters[index], arguments, count);
    uint64_t aligned_bytes = 0;
    round_up(block_bytes, byte_count, &aligned_bytes);
    block_bytes = aligned_bytes + byte_count;
  }
  return block_bytes <= max_bytes;
}

/* Whether a step's parameters are those that its kernel takes, as far as the driver can tell. */
static outcome check_taken(const kernel_parameters *taken, const lh_parameter *parameters, uint64_t parameter_count,
                           const lh_argument *arguments, uint32_t count) {
  if (!taken->is_known) {
    return success();
  }
  if (taken->count != parameter_count) {
    return failure(LH_INVALID_ARGUMENT, "A step has more or fewer parameters than its kernel takes.");
  }
  for (uint64_t index = 0; index < parameter_count; index += 1) {
    if (taken->byte_counts[index] != parameter_bytes(&parameters[index], arguments, count)) {
      return failure(LH_INVALID_ARGUMENT, "A parameter of a step has more or fewer bytes than its kernel takes there.");
    }
  }
  return success();
}

/* What a step passes fits into what a kernel of the device can take, and is what this kernel takes. */
static outcome check_block(const lh_context *context, const lh_launch_plan *plan, const lh_launch_step *step,
                           const kernel_parameters *taken, const lh_argument *arguments, uint32_t count) {
  uint64_t first = 0;
  uint64_t parameter_count = 0;
  if (!safe_integer_read(step->first_parameter, &first) || !safe_integer_read(step->parameter_count, &parameter_count) ||
      first > plan->parameter_count || parameter_count > plan->parameter_count - first) {
    return failure(LH_INVALID_ARGUMENT, "A step names parameters that the plan does not have.");
  }
  const lh_parameter *parameters = plan->parameters + first;
  if (!fits_block(parameters, parameter_count, arguments, count, context->argument_max_bytes)) {
    return failure(LH_INVALID_ARGUMENT, "The parameters of a step have more bytes than a kernel of this device takes; "
                                        "pass some of them through a table in device memory.");
  }
  return check_taken(taken, parameters, parameter_count, arguments, count);
}

static outcome check_step(lh_context *context, const lh_launch_plan *plan, const lh_launch_step *step,
                          const lh_argument *arguments, uint32_t count) {
  uint64_t shared_bytes = 0;
  for (size_t index = 0; index < sizeof step->reserved / sizeof *step->reserved; index += 1) {
    if (step->reserved[index] != 0.0) {
      return failure(LH_INVALID_ARGUMENT, "A reserved field of a step is not zero.");
    }
  }
  const found_kernel *kernel = gpu_modules_kernel(&context->modules, step->kernel);
  if (kernel == NULL) {
    return failure(LH_UNKNOWN_HANDLE, "The kernel is unknown.");
  }
  if (!read_axes(step->grid, 1) || !read_axes(step->block, 1)) {
    return failure(LH_INVALID_ARGUMENT, "A grid or a block of a step has an axis that is no integer of at least 1.");
  }
  if (!safe_integer_read(step->shared_bytes, &shared_bytes) || shared_bytes > INT32_MAX) {
    return failure(LH_INVALID_ARGUMENT, "The shared bytes of a step are no integer that a kernel can have.");
  }
  return check_block(context, plan, step, &kernel->parameters, arguments, count);
}

outcome launches_check(lh_context *context, const lh_launch_plan *plan, const lh_argument *arguments, uint32_t count) {
  outcome checked = arguments_check(arguments, count, &context->allocations);
  if (checked.status != LH_OK) {
    return checked;
  }
  if (plan->step_count == 0 || plan->steps == NULL || (plan->parameters == NULL && plan->parameter_count > 0)) {
    return failure(LH_INVALID_ARGUMENT, "A launch has no steps, or its tables are null.");
  }
  checked = check_parameters(plan, arguments, count);
  for (uint32_t index = 0; checked.status == LH_OK && index < plan->step_count; index += 1) {
    checked = check_step(context, plan, &plan->steps[index], arguments, count);
  }
  return checked;
}

/* Where the driver reads the values of a step's parameters: an address is written out, all else lies in the tables. */
static void point_at(const lh_parameter *parameter, const lh_argument *arguments, uint64_t *address_out,
                     const void **pointer_out) {
  if (parameter->argument == -1.0) {
    *pointer_out = parameter->constant;
    return;
  }
  const lh_argument *argument = &arguments[(uint64_t)parameter->argument];
  *address_out = (uint64_t)argument->address + (uint64_t)parameter->offset_bytes;
  *pointer_out = is_scalar(argument) ? (const void *)argument->scalar : (const void *)address_out;
}

/* With the mutex held, so that nobody takes back what somebody else has just allowed. */
static outcome allow_shared(lh_context *context, found_kernel *kernel, uint32_t shared_bytes) {
  if (shared_bytes <= SHARED_BYTES_FOR_ALL || shared_bytes <= kernel->shared_bytes) {
    return success();
  }
  outcome allowed = driver_outcome(
      context,
      context->driver->func_set_attribute(kernel->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES_ID,
                                          (int)shared_bytes),
      CALL_LAUNCH);
  if (allowed.status == LH_OK) {
    kernel->shared_bytes = shared_bytes;
  }
  return allowed;
}

static outcome put_step(lh_context *context, ticket_slot *slot, const lh_launch_step *step, const void **pointers) {
  uint32_t shared_bytes = (uint32_t)step->shared_bytes;
  pthread_mutex_lock(&context->mutex);
  found_kernel *kernel = gpu_modules_kernel(&context->modules, step->kernel);
  cu_function function = kernel->function;
  outcome allowed = allow_shared(context, kernel, shared_bytes);
  pthread_mutex_unlock(&context->mutex);
  if (allowed.status != LH_OK) {
    return allowed;
  }
  /* The driver reads the values within the call, and its parameter is not const for old times' sake. */
  void **parameters = NULL;
  memcpy(&parameters, &pointers, sizeof parameters);
  return ticket_put(context, slot,
                    context->driver->launch_kernel(function, (unsigned int)step->grid[0], (unsigned int)step->grid[1],
                                                   (unsigned int)step->grid[2], (unsigned int)step->block[0],
                                                   (unsigned int)step->block[1], (unsigned int)step->block[2],
                                                   shared_bytes, slot->stream, parameters, NULL));
}

outcome launches_submit(lh_context *context, ticket_slot *slot, const lh_launch_plan *plan,
                        const lh_argument *arguments) {
  size_t parameter_count = plan->parameter_count > 0 ? plan->parameter_count : 1;
  const void **pointers = malloc(parameter_count * sizeof *pointers);
  uint64_t *addresses = malloc(parameter_count * sizeof *addresses);
  outcome result = pointers == NULL || addresses == NULL ? failure(LH_HOST_OUT_OF_MEMORY, "The host has no room.")
                                                         : success();
  for (uint32_t index = 0; result.status == LH_OK && index < plan->parameter_count; index += 1) {
    point_at(&plan->parameters[index], arguments, &addresses[index], &pointers[index]);
  }
  for (uint32_t index = 0; result.status == LH_OK && index < plan->step_count; index += 1) {
    const lh_launch_step *step = &plan->steps[index];
    result = put_step(context, slot, step, pointers + (uint64_t)step->first_parameter);
  }
  free(pointers);
  free(addresses);
  return ticket_record(context, slot, result);
}
