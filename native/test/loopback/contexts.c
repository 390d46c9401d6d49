/*
 * contexts.c: devices, contexts, and the names of codes.
 */
#include "test/loopback/state.h"

#include <stdio.h>
#include <string.h>

enum { STACK_MAX_DEPTH = 16, DRIVER_VERSION = 12040, COMPUTE_MAJOR = 7, COMPUTE_MINOR = 5 };

static _Thread_local cu_context stack[STACK_MAX_DEPTH];
static _Thread_local uint32_t depth = 0;

cu_context current_context(void) { return depth == 0 ? NULL : stack[depth - 1]; }

uint32_t loopback_context_depth(void) { return depth; }

#define EXPORT LOOPBACK_EXPORT

EXPORT cu_result cuInit(unsigned int flags) {
  call begun = call_begin(ENTRY_init, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS) {
    state.is_initialised = true;
    begun.result = flags == 0 ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuDriverGetVersion(int *version_out) {
  call begun = call_begin(ENTRY_driver_get_version, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS) {
    *version_out = state.driver_version == 0 ? DRIVER_VERSION : state.driver_version;
  }
  return call_end(&begun, begun.result);
}

typedef struct named_code {
  cu_result code;
  const char *name;
} named_code;

/* Those that the tests use. */
static const named_code named_codes[] = {
    {0, "CUDA_SUCCESS"},
    {1, "CUDA_ERROR_INVALID_VALUE"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY"},
    {3, "CUDA_ERROR_NOT_INITIALIZED"},
    {100, "CUDA_ERROR_NO_DEVICE"},
    {101, "CUDA_ERROR_INVALID_DEVICE"},
    {200, "CUDA_ERROR_INVALID_IMAGE"},
    {201, "CUDA_ERROR_INVALID_CONTEXT"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE"},
    {400, "CUDA_ERROR_INVALID_HANDLE"},
    {500, "CUDA_ERROR_NOT_FOUND"},
    {600, "CUDA_ERROR_NOT_READY"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
    {712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"},
    {713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"},
    {719, "CUDA_ERROR_LAUNCH_FAILED"},
};

EXPORT cu_result cuGetErrorName(cu_result result, const char **name_out) {
  call begun = call_begin(ENTRY_get_error_name, SCOPE_ANYWHERE);
  begun.result = CU_ERROR_INVALID_VALUE;
  for (size_t index = 0; index < sizeof named_codes / sizeof *named_codes; index += 1) {
    if (named_codes[index].code == result) {
      *name_out = named_codes[index].name;
      begun.result = CU_SUCCESS;
    }
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuGetErrorString(cu_result result, const char **text_out) {
  call begun = call_begin(ENTRY_get_error_string, SCOPE_ANYWHERE);
  (void)result;
  *text_out = "a code of the loopback driver";
  return call_end(&begun, CU_SUCCESS);
}

EXPORT cu_result cuDeviceGetCount(int *count_out) {
  call begun = call_begin(ENTRY_device_get_count, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS) {
    *count_out = LOOPBACK_DEVICE_COUNT;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuDeviceGet(cu_device *device_out, int ordinal) {
  call begun = call_begin(ENTRY_device_get, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS) {
    begun.result = ordinal >= 0 && ordinal < LOOPBACK_DEVICE_COUNT ? CU_SUCCESS : CU_ERROR_INVALID_DEVICE;
    *device_out = ordinal;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuDeviceGetName(char *name_out, int byte_count, cu_device device) {
  call begun = call_begin(ENTRY_device_get_name, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS) {
    snprintf(name_out, (size_t)byte_count, "Loopback %d", device);
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuDeviceGetUuid_v2(cu_uuid *uuid_out, cu_device device) {
  call begun = call_begin(ENTRY_device_get_uuid, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS) {
    *uuid_out = (cu_uuid){.bytes = {0x10, 0x0b, 0xac, (uint8_t)device}};
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuDeviceTotalMem_v2(size_t *byte_count_out, cu_device device) {
  call begun = call_begin(ENTRY_device_total_mem, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS) {
    const struct cu_context_object *context = &state.contexts[device];
    *byte_count_out = context->is_open ? context->memory.total_bytes : state.memory_bytes;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuDeviceGetAttribute(int *value_out, int attribute, cu_device device) {
  call begun = call_begin(ENTRY_device_get_attribute, SCOPE_ANYWHERE);
  (void)device;
  if (begun.result == CU_SUCCESS) {
    *value_out = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR_ID   ? COMPUTE_MAJOR
                 : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR_ID ? COMPUTE_MINOR
                                                                                : 0;
  }
  return call_end(&begun, begun.result);
}

/* What the driver's own manual promises of every allocation. */
enum { ALIGNMENT_BYTES = 256 };

EXPORT cu_result cuDevicePrimaryCtxRetain(cu_context *context_out, cu_device device) {
  call begun = call_begin(ENTRY_primary_ctx_retain, SCOPE_ANYWHERE);
  cu_context context = &state.contexts[device];
  if (begun.result == CU_SUCCESS && context->lost != CU_SUCCESS) {
    state.calls_after_loss += context->loss_was_told ? 1 : 0;
    begun.result = context->lost;
  }
  if (begun.result == CU_SUCCESS && !context->is_open) {
    bool is_open = arena_open(&context->memory, state.memory_bytes, ALIGNMENT_BYTES, 1) == LH_OK;
    context->is_open = is_open;
    begun.result = is_open ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
  }
  if (begun.result == CU_SUCCESS) {
    context->retain_count += 1;
    *context_out = context;
  }
  return call_end(&begun, begun.result);
}

static uint32_t live_objects(cu_context context) {
  uint32_t count = (uint32_t)(context->memory.allocations.live_count + context->pinned.live_count);
  for (uint32_t index = 0; index < STREAM_MAX_COUNT; index += 1) {
    count += state.streams[index].is_live && state.streams[index].context == context ? 1 : 0;
  }
  for (uint32_t index = 0; index < EVENT_MAX_COUNT; index += 1) {
    count += state.events[index].is_live && state.events[index].context == context ? 1 : 0;
  }
  for (uint32_t index = 0; index < MODULE_COUNT_MAX; index += 1) {
    count += state.modules[index].is_live && state.modules[index].context == context ? 1 : 0;
  }
  return count;
}

EXPORT cu_result cuDevicePrimaryCtxRelease_v2(cu_device device) {
  call begun = call_begin(ENTRY_primary_ctx_release, SCOPE_ANYWHERE);
  cu_context context = &state.contexts[device];
  if (begun.result == CU_SUCCESS && context->lost != CU_SUCCESS) {
    state.calls_after_loss += context->loss_was_told ? 1 : 0;
    begun.result = context->lost;
  }
  if (begun.result == CU_SUCCESS && context->retain_count == 0) {
    violate("a context is released that nobody retains");
    begun.result = 201;
  }
  if (begun.result == CU_SUCCESS) {
    context->retain_count -= 1;
    if (context->retain_count == 0) {
      uint32_t left = live_objects(context);
      if (left > 0) {
        violate("a context goes with %u objects in it", left);
      } else {
        arena_close(&context->memory);
        context->is_open = false;
      }
    }
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuCtxPushCurrent_v2(cu_context context) {
  call begun = call_begin(ENTRY_ctx_push_current, SCOPE_ANYWHERE);
  if (begun.result == CU_SUCCESS && context->lost != CU_SUCCESS) {
    state.calls_after_loss += context->loss_was_told ? 1 : 0;
    context->loss_was_told = true;
    begun.result = context->lost;
  }
  if (begun.result != CU_SUCCESS && ends_context(begun.result)) {
    lose(context, begun.result);
    context->loss_was_told = true;
  }
  if (begun.result == CU_SUCCESS && (depth == STACK_MAX_DEPTH || !context->is_open)) {
    violate("a context is made current that is not open, or too many are");
    begun.result = 201;
  }
  if (begun.result == CU_SUCCESS) {
    stack[depth] = context;
    depth += 1;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuCtxPopCurrent_v2(cu_context *context_out) {
  call begun = call_begin(ENTRY_ctx_pop_current, SCOPE_ANYWHERE);
  if (depth == 0) {
    violate("a context is popped where none is current");
    return call_end(&begun, 201);
  }
  depth -= 1;
  *context_out = stack[depth];
  return call_end(&begun, CU_SUCCESS);
}
