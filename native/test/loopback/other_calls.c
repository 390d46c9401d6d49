/*
 * other_calls.c: what programs call that the backend is compared with. They wait where the driver waits.
 */
#include "test/loopback/state.h"

#include <string.h>

#define EXPORT LOOPBACK_EXPORT

EXPORT cu_result cuCtxSynchronize(void) {
  call begun = call_begin(ENTRY_ctx_synchronize, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    streams_drain(begun.context);
    begun.result = begun.context->lost;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuStreamSynchronize(cu_stream stream) {
  call begun = call_begin(ENTRY_stream_synchronize, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS && stream_is_live(stream, &begun)) {
    streams_drain(begun.context);
    begun.result = begun.context->lost;
  }
  return call_end(&begun, begun.result);
}

/* A copy of plain memory ends within its call, behind everything that is in flight. */
static cu_result copy_now(call *begun, void *destination, const void *source, size_t byte_count, cu_device_address device) {
  if (ranges_check(&begun->context->memory.allocations, device - LOOPBACK_BIAS, byte_count) != LH_OK) {
    violate("a transfer reaches device memory that is none, or not any more");
    return CU_ERROR_INVALID_VALUE;
  }
  streams_drain(begun->context);
  memcpy(destination, source, byte_count);
  return begun->context->lost;
}

EXPORT cu_result cuMemcpyHtoD_v2(cu_device_address destination, const void *source, size_t byte_count) {
  call begun = call_begin(ENTRY_memcpy_in, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    begun.result = copy_now(&begun, loopback_memory(destination), source, byte_count, destination);
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemcpyDtoH_v2(void *destination, cu_device_address source, size_t byte_count) {
  call begun = call_begin(ENTRY_memcpy_out, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    begun.result = copy_now(&begun, destination, loopback_memory(source), byte_count, source);
  }
  return call_end(&begun, begun.result);
}

/* The pool of a device: what is taken from it is in order with its stream, which here is an allocation like any other. */
EXPORT cu_result cuMemAllocAsync(cu_device_address *address_out, size_t byte_count, cu_stream stream) {
  call begun = call_begin(ENTRY_mem_alloc_async, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS && stream_is_live(stream, &begun)) {
    range taken;
    begun.result = arena_take(&begun.context->memory, byte_count, 1, &taken) == LH_OK ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
    *address_out = taken.address + LOOPBACK_BIAS;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemFreeAsync(cu_device_address address, cu_stream stream) {
  call begun = call_begin(ENTRY_mem_free_async, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS && stream_is_live(stream, &begun)) {
    range retired;
    streams_drain(begun.context);
    if (arena_retire(&begun.context->memory, address - LOOPBACK_BIAS, &retired) == LH_OK) {
      arena_give_back(&begun.context->memory, retired);
    } else {
      violate("memory is freed that is none, or not any more");
      begun.result = CU_ERROR_INVALID_VALUE;
    }
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuDeviceGetDefaultMemPool(void **pool_out, cu_device device) {
  call begun = call_begin(ENTRY_default_mem_pool, SCOPE_ANYWHERE);
  *pool_out = &state.contexts[device];
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemPoolSetAttribute(void *pool, int attribute, void *value) {
  call begun = call_begin(ENTRY_mem_pool_set_attribute, SCOPE_ANYWHERE);
  bool is_known = pool != NULL && attribute > 0 && value != NULL;
  return call_end(&begun, begun.result == CU_SUCCESS && !is_known ? CU_ERROR_INVALID_VALUE : begun.result);
}
