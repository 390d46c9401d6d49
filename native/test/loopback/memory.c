/*
 * memory.c: device memory and pinned memory.
 */
#include "simulator/sanitizer.h"
#include "test/loopback/state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT LOOPBACK_EXPORT

EXPORT cu_result cuMemGetInfo_v2(size_t *free_out, size_t *total_out) {
  call begun = call_begin(ENTRY_mem_get_info, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    *free_out = begun.context->memory.free_bytes;
    *total_out = begun.context->memory.total_bytes;
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemAlloc_v2(cu_device_address *address_out, size_t byte_count) {
  call begun = call_begin(ENTRY_mem_alloc, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    range taken = {0};
    lh_status status = byte_count == 0 ? LH_INVALID_ARGUMENT : arena_take(&begun.context->memory, byte_count, 1, &taken);
    begun.result = status == LH_OK                 ? CU_SUCCESS
                   : status == LH_INVALID_ARGUMENT ? CU_ERROR_INVALID_VALUE
                                                   : CU_ERROR_OUT_OF_MEMORY;
    if (status == LH_OK) {
      arena_poison_taken(taken);
      /* Any kernel may touch any of it, at any time. */
      allow_bytes(taken.address, taken.byte_count);
      *address_out = (taken.address + LOOPBACK_BIAS) | state.address_bits;
    }
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemFree_v2(cu_device_address address) {
  call begun = call_begin(ENTRY_mem_free, SCOPE_CONTEXT);
  address &= ~state.address_bits;
  if (begun.result == CU_SUCCESS) {
    arena *memory = &begun.context->memory;
    const range *live = ranges_find(&memory->allocations, address - LOOPBACK_BIAS);
    if (live == NULL || live->address + LOOPBACK_BIAS != address) {
      violate("memory is freed that is none, or not any more");
      return call_end(&begun, CU_ERROR_INVALID_VALUE);
    }
    /* The driver waits for the whole device, so that nothing is freed under work in flight. */
    streams_drain(begun.context);
    range retired;
    if (begun.context->lost != CU_SUCCESS) {
      begun.result = begun.context->lost;
    } else if (arena_retire(memory, address - LOOPBACK_BIAS, &retired) == LH_OK) {
      forbid_bytes(retired.address, retired.byte_count);
      arena_poison_retired(retired);
      arena_give_back(memory, retired);
    }
  }
  return call_end(&begun, begun.result);
}

/* Pinned memory --------------------------------------------------------------------------------------------------- */

static size_t rounded_to_pages(size_t byte_count) {
  size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  return (byte_count + page_bytes - 1) / page_bytes * page_bytes;
}

EXPORT cu_result cuMemHostAlloc(void **address_out, size_t byte_count, unsigned int flags) {
  call begun = call_begin(ENTRY_mem_host_alloc, SCOPE_CONTEXT);
  (void)flags;
  if (begun.result == CU_SUCCESS) {
    void *mapping = mmap(NULL, rounded_to_pages(byte_count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED || !ranges_reserve(&begun.context->pinned)) {
      begun.result = CU_ERROR_OUT_OF_MEMORY;
    } else {
      /* What it held before is anybody's. */
      memset(mapping, 0xa5, byte_count);
      ranges_add(&begun.context->pinned, (range){.address = (uint64_t)(uintptr_t)mapping,
                                                 .byte_count = byte_count,
                                                 .reserved_bytes = byte_count});
      *address_out = mapping;
    }
  }
  return call_end(&begun, begun.result);
}

/* Ends a pinned range, which no work in flight may use. */
static cu_result end_pinned(const call *begun, void *address, range *ended_out) {
  uint64_t start = (uint64_t)(uintptr_t)address;
  const range *live = ranges_find(&begun->context->pinned, start);
  if (live == NULL || live->address != start) {
    violate("pinned memory is given back that is none, or not any more");
    return 713;
  }
  if (streams_touch(begun->context, start, live->byte_count)) {
    violate("pinned memory is given back that work in flight uses");
  }
  streams_drain(begun->context);
  ranges_end(&begun->context->pinned, start, ended_out);
  return CU_SUCCESS;
}

EXPORT cu_result cuMemFreeHost(void *address) {
  call begun = call_begin(ENTRY_mem_free_host, SCOPE_CONTEXT);
  range ended = {0};
  if (begun.result == CU_SUCCESS) {
    begun.result = end_pinned(&begun, address, &ended);
    if (begun.result == CU_SUCCESS) {
      munmap(address, rounded_to_pages(ended.byte_count));
    }
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemHostRegister_v2(void *address, size_t byte_count, unsigned int flags) {
  call begun = call_begin(ENTRY_mem_host_register, SCOPE_CONTEXT);
  (void)flags;
  if (begun.result == CU_SUCCESS) {
    uint64_t start = (uint64_t)(uintptr_t)address;
    if (ranges_overlap(&begun.context->pinned, start, byte_count)) {
      begun.result = 712;
    } else if (!ranges_reserve(&begun.context->pinned)) {
      begun.result = CU_ERROR_OUT_OF_MEMORY;
    } else {
      ranges_add(&begun.context->pinned,
                 (range){.address = start, .byte_count = byte_count, .reserved_bytes = byte_count});
    }
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemHostUnregister(void *address) {
  call begun = call_begin(ENTRY_mem_host_unregister, SCOPE_CONTEXT);
  range ended = {0};
  if (begun.result == CU_SUCCESS) {
    begun.result = end_pinned(&begun, address, &ended);
  }
  return call_end(&begun, begun.result);
}

/* Transfers ------------------------------------------------------------------------------------------------------- */

static bool is_device_range(const call *begun, cu_device_address address, size_t byte_count) {
  bool is_live = ranges_check(&begun->context->memory.allocations, address - LOOPBACK_BIAS, byte_count) == LH_OK;
  if (!is_live) {
    violate("a transfer reaches device memory that is none, or not any more");
  }
  return is_live;
}

static void check_pinned(const call *begun, const void *address, size_t byte_count) {
  if (ranges_check(&begun->context->pinned, (uint64_t)(uintptr_t)address, byte_count) != LH_OK) {
    violate("an asynchronous copy reaches host memory that is not pinned");
  }
}

static touched_range *touch_two(touched_range first, touched_range second) {
  touched_range *touched = malloc(2 * sizeof *touched);
  touched[0] = first;
  touched[1] = second;
  return touched;
}

/* Puts a transfer on a stream, after a look at whether somebody else is at the same bytes. */
static void put_transfer(const call *begun, cu_stream stream, operation put, touched_range first, touched_range second) {
  put.touched = touch_two(first, second);
  put.touched_count = second.byte_count == 0 ? 1 : 2;
  put.failure = begun->asynchronous;
  stream_put(stream, put);
}

EXPORT cu_result cuMemcpyHtoDAsync_v2(cu_device_address destination, const void *source, size_t byte_count,
                                      cu_stream stream) {
  call begun = call_begin(ENTRY_memcpy_in_async, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    check_pinned(&begun, source, byte_count);
    if (!stream_is_live(stream, &begun) || !is_device_range(&begun, destination, byte_count)) {
      return call_end(&begun, CU_ERROR_INVALID_VALUE);
    }
    operation copy = {.kind = OPERATION_COPY,
                      .destination = loopback_memory(destination),
                      .source = source,
                      .byte_count = byte_count};
    put_transfer(&begun, stream, copy,
                 (touched_range){.address = destination, .byte_count = byte_count, .is_written = true},
                 (touched_range){.address = (uint64_t)(uintptr_t)source, .byte_count = byte_count});
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemcpyDtoHAsync_v2(void *destination, cu_device_address source, size_t byte_count,
                                      cu_stream stream) {
  call begun = call_begin(ENTRY_memcpy_out_async, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    check_pinned(&begun, destination, byte_count);
    if (!stream_is_live(stream, &begun) || !is_device_range(&begun, source, byte_count)) {
      return call_end(&begun, CU_ERROR_INVALID_VALUE);
    }
    operation copy = {.kind = OPERATION_COPY,
                      .destination = destination,
                      .source = loopback_memory(source),
                      .byte_count = byte_count};
    put_transfer(
        &begun, stream, copy,
        (touched_range){
            .address = (uint64_t)(uintptr_t)destination, .byte_count = byte_count, .is_written = true},
        (touched_range){.address = source, .byte_count = byte_count});
  }
  return call_end(&begun, begun.result);
}

EXPORT cu_result cuMemsetD8Async(cu_device_address destination, unsigned char value, size_t byte_count,
                                 cu_stream stream) {
  call begun = call_begin(ENTRY_memset_async, SCOPE_CONTEXT);
  if (begun.result == CU_SUCCESS) {
    if (!stream_is_live(stream, &begun) || !is_device_range(&begun, destination, byte_count)) {
      return call_end(&begun, CU_ERROR_INVALID_VALUE);
    }
    operation fill = {
        .kind = OPERATION_FILL, .destination = loopback_memory(destination), .byte_count = byte_count, .value = value};
    put_transfer(&begun, stream, fill,
                 (touched_range){.address = destination, .byte_count = byte_count, .is_written = true},
                 (touched_range){0});
  }
  return call_end(&begun, begun.result);
}
