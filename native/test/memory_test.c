/*
 * memory_test.c: device memory and host memory: what is handed out, what is refused, and with which status.
 */
#include "support.h"

#include "common/ranges.h"
#include "simulator/sanitizer.h"

#include <sys/mman.h>
#include <unistd.h>

static uint8_t *bytes_at(lh_address address) { return (uint8_t *)(uintptr_t)address; }

static bool all_bytes_are(lh_address address, size_t byte_count, uint8_t value) {
  for (size_t index = 0; index < byte_count; index += 1) {
    if (peek(address + (double)index) != value) {
      return false;
    }
  }
  return true;
}

/* Device memory -------------------------------------------------------------------------------------------------- */

static void refuses_sizes_and_alignments(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address address = -7;
  CHECK_STATUS(lh_malloc(context, 0, 64, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(context, 64, 0, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(context, 64, 48, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(context, UINT64_MAX, 1, &address), LH_OUT_OF_MEMORY);
  CHECK_STATUS(lh_malloc(context, 1, 1ull << 63, &address), LH_OUT_OF_MEMORY);
  CHECK_NUMBER(address, -7);
  CHECK_NUMBER(statistics_of(context).malloc_count, 0);
  close_device(context);
}

static void aligns_as_asked(void) {
  lh_context *context = open_device("total_bytes=16777216 alignment_bytes=16");
  for (uint64_t alignment_bytes = 1; alignment_bytes <= 1u << 22; alignment_bytes *= 2) {
    lh_address address = 0;
    CHECK_STATUS(lh_malloc(context, 3, alignment_bytes, &address), LH_OK);
    CHECK_NUMBER((uint64_t)address % alignment_bytes, 0);
    CHECK_NUMBER((uint64_t)address % 16, 0);
  }
  close_device(context);
}

static void rounds_sizes_up(void) {
  lh_context *context = open_device("total_bytes=4096 size_granularity_bytes=100");
  lh_address address = take(context, 101);
  CHECK_NUMBER(free_bytes_of(context), 4096 - 200);
  lh_statistics statistics = statistics_of(context);
  CHECK_NUMBER(statistics.live_bytes, 101);
  CHECK_NUMBER(statistics.live_count, 1);
  /* What rounding added belongs to the allocation, but it is not for use. */
  lh_transfer transfer = fill(address + 100, 1, 2);
  CHECK_STATUS(submit(context, &transfer, 1, NULL), LH_OUT_OF_RANGE);
  transfer = fill(address + 150, 1, 1);
  CHECK_STATUS(submit(context, &transfer, 1, NULL), LH_OUT_OF_RANGE);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  CHECK_NUMBER(free_bytes_of(context), 4096);
  close_device(context);
}

static void is_full_when_it_is_full(void) {
  lh_context *context = open_device("total_bytes=4096 alignment_bytes=1");
  lh_address whole = take(context, 4096);
  lh_address address = 0;
  CHECK_NUMBER(free_bytes_of(context), 0);
  CHECK_STATUS(lh_malloc(context, 1, 1, &address), LH_OUT_OF_MEMORY);
  CHECK_STATUS(lh_free(context, whole), LH_OK);
  CHECK_STATUS(lh_malloc(context, 4097, 1, &address), LH_OUT_OF_MEMORY);
  CHECK_NUMBER(take(context, 4096), whole);
  close_device(context);
}

static void can_be_fragmented(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address parts[4];
  lh_address address = 0;
  for (int index = 0; index < 4; index += 1) {
    parts[index] = take(context, 1024);
  }
  CHECK_STATUS(lh_free(context, parts[0]), LH_OK);
  CHECK_STATUS(lh_free(context, parts[2]), LH_OK);
  CHECK_NUMBER(free_bytes_of(context), 2048);
  CHECK_STATUS(lh_malloc(context, 2048, 1, &address), LH_OUT_OF_MEMORY);
  CHECK_STATUS(lh_free(context, parts[1]), LH_OK);
  CHECK_STATUS(lh_malloc(context, 3072, 1, &address), LH_OK);
  CHECK_NUMBER(address, parts[0]);
  close_device(context);
}

static void fills_new_memory_with_nan(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address first = take(context, 100);
  CHECK(all_bytes_are(first, 100, 0xFF));
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_FILL, first, 0, 100}, 1, NULL), LH_OK);
  CHECK_STATUS(lh_free(context, first), LH_OK);
#if IS_SANITIZED
  CHECK(__asan_address_is_poisoned(bytes_at(first)));
  CHECK(__asan_address_is_poisoned(bytes_at(first) + 200));
#endif
  CHECK(all_bytes_are(first, 100, 0xDB));
  CHECK_NUMBER(take(context, 100), first);
  CHECK(all_bytes_are(first, 100, 0xFF));
  close_device(context);
}

static void tells_wrong_addresses_apart(void) {
  lh_context *context = open_device("total_bytes=4096");
  int on_host = 0;
  lh_address live = take(context, 256);
  lh_address freed = take(context, 256);
  CHECK_STATUS(lh_free(context, freed), LH_OK);
  CHECK_STATUS(lh_free(context, freed), LH_DOUBLE_FREE);
  CHECK_STATUS(lh_free(context, freed + 8), LH_USE_AFTER_FREE);
  CHECK_STATUS(lh_free(context, live + 8), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, freed + 256), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, address_of(&on_host)), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(context, -1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(context, live + 0.5), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(context, 9007199254740992.0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(context, (double)UINT64_MAX * 2), LH_INVALID_ARGUMENT);
  lh_transfer transfer = fill(live + 250, 0, 7);
  CHECK_STATUS(submit(context, &transfer, 1, NULL), LH_OUT_OF_RANGE);
  transfer = fill(freed + 8, 0, 1);
  CHECK_STATUS(submit(context, &transfer, 1, NULL), LH_USE_AFTER_FREE);
  transfer = fill(address_of(&on_host), 0, 1);
  CHECK_STATUS(submit(context, &transfer, 1, NULL), LH_FOREIGN_POINTER);
  CHECK_NUMBER(statistics_of(context).free_count, 1);
  close_device(context);
}

static void lets_reused_memory_be_live_again(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address address = take(context, 256);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  CHECK_NUMBER(take(context, 128), address);
  lh_transfer transfer = fill(address, 0, 128);
  CHECK_STATUS(submit(context, &transfer, 1, NULL), LH_OK);
  transfer = fill(address + 128, 0, 1);
  CHECK_STATUS(submit(context, &transfer, 1, NULL), LH_USE_AFTER_FREE);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  CHECK_STATUS(lh_free(context, address), LH_DOUBLE_FREE);
  /* An address inside of live memory is not stale, whatever lay there before: it is none that was handed out. */
  CHECK_NUMBER(take(context, 256), address);
  CHECK_STATUS(lh_free(context, address + 8), LH_FOREIGN_POINTER);
  close_device(context);
}

/* The kernel says where pages are resident, and refuses to for what is not mapped at all. */
static bool is_mapped(lh_address address) {
  unsigned char residency = 0;
  uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
  return mincore(bytes_at(address - (double)((uint64_t)address % page_bytes)), 1, &residency) == 0;
}

/* Another mapping may come to lie where the device was. */
static void leaves_no_trace_when_it_closes(void) {
  lh_context *context = open_device("total_bytes=65536");
  uint8_t *device = bytes_at(take(context, 64));
  lh_address host = 0;
  CHECK_STATUS(lh_host_malloc(context, 64, &host), LH_OK);
  CHECK(is_mapped(address_of(device)));
  CHECK(is_mapped(host));
  close_device(context);
  CHECK(!is_mapped(address_of(device)));
  CHECK(!is_mapped(host));
#if IS_SANITIZED
  CHECK(!__asan_address_is_poisoned(device + 64));
  CHECK(!__asan_address_is_poisoned(bytes_at(host) + 64));
#endif
}

static void remembers_freed_memory_for_a_bounded_time(void) {
  lh_context *context = open_device("total_bytes=1048576 alignment_bytes=64");
  lh_address first = take(context, 64);
  lh_address kept = take(context, 64);
  CHECK_STATUS(lh_free(context, first), LH_OK);
  lh_address wide = take(context, 128);
  for (uint32_t count = 1; count < RANGES_ENDED_MAX_COUNT; count += 1) {
    CHECK_STATUS(lh_free(context, wide), LH_OK);
    wide = take(context, 128);
  }
  CHECK_STATUS(lh_free(context, first), LH_DOUBLE_FREE);
  CHECK_STATUS(lh_free(context, wide), LH_OK);
  CHECK_STATUS(lh_free(context, first), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, wide), LH_DOUBLE_FREE);
  CHECK_STATUS(lh_free(context, kept), LH_OK);
  close_device(context);
}

static void keeps_contexts_apart(void) {
  lh_context *one = open_device("total_bytes=4096");
  lh_context *other = open_device("total_bytes=4096");
  lh_address address = take(one, 64);
  lh_transfer transfer = fill(address, 0, 64);
  CHECK_STATUS(submit(other, &transfer, 1, NULL), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(other, address), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(one, address), LH_OK);
  close_device(one);
  close_device(other);
}

/* Host memory ---------------------------------------------------------------------------------------------------- */

static void hands_out_zeroed_host_memory(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address first = 0;
  lh_address second = 0;
  CHECK_STATUS(lh_host_malloc(context, 1, &first), LH_OK);
  CHECK_STATUS(lh_host_malloc(context, 100000, &second), LH_OK);
  CHECK_NUMBER((uint64_t)first % 64, 0);
  CHECK_NUMBER((uint64_t)second % 64, 0);
  CHECK(all_bytes_are(second, 100000, 0));
  lh_statistics statistics = statistics_of(context);
  CHECK_NUMBER(statistics.host_live_count, 2);
  CHECK_NUMBER(statistics.host_live_bytes, 100001);
#if IS_SANITIZED
  CHECK(__asan_address_is_poisoned(bytes_at(first) + 16));
#endif
  CHECK_STATUS(lh_host_free(context, first), LH_OK);
  CHECK_STATUS(lh_host_free(context, second), LH_OK);
  CHECK_NUMBER(statistics_of(context).host_live_bytes, 0);
  close_device(context);
}

static void refuses_host_memory_that_is_not_there(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address address = -7;
  CHECK_STATUS(lh_host_malloc(context, 0, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_malloc(context, UINT64_MAX, &address), LH_HOST_OUT_OF_MEMORY);
  CHECK_STATUS(lh_host_malloc(context, 1ull << 52, &address), LH_HOST_OUT_OF_MEMORY);
  CHECK_NUMBER(address, -7);
  close_device(context);
}

static void frees_host_memory_once(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address device_address = take(context, 64);
  lh_address address = 0;
  int foreign = 0;
  CHECK_STATUS(lh_host_malloc(context, 100, &address), LH_OK);
  CHECK_STATUS(lh_host_free(context, address + 64), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_free(context, address_of(&foreign)), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_free(context, device_address), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, address), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_free(context, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_free(context, 0.5), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_free(context, address), LH_OK);
  CHECK_STATUS(lh_host_free(context, address), LH_DOUBLE_FREE);
  close_device(context);
}

static void registers_host_memory_once(void) {
  static uint8_t memory[256];
  lh_context *context = open_device("total_bytes=4096");
  lh_address address = address_of(memory);
  lh_address device_address = take(context, 64);
  lh_address block = 0;
  CHECK_STATUS(lh_host_malloc(context, 64, &block), LH_OK);
  CHECK_STATUS(lh_host_register(context, 0, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address, UINT64_MAX), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, device_address, 64), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, block, 64), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address, 128), LH_OK);
  CHECK_STATUS(lh_host_register(context, address + 127, 2), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address + 128, 128), LH_OK);
  CHECK_STATUS(lh_host_free(context, address), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_unregister(context, address), LH_OK);
  CHECK_STATUS(lh_host_unregister(context, address), LH_DOUBLE_FREE);
  CHECK_STATUS(lh_host_unregister(context, address + 64), LH_USE_AFTER_FREE);
  CHECK_STATUS(lh_host_unregister(context, block), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_unregister(context, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address, 128), LH_OK);
  CHECK_NUMBER(statistics_of(context).host_live_count, 1);
  close_device(context);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"memory: refuses sizes and alignments that are none", refuses_sizes_and_alignments},
      {"memory: aligns as asked", aligns_as_asked},
      {"memory: rounds sizes up and keeps the rest out of use", rounds_sizes_up},
      {"memory: is full when it is full", is_full_when_it_is_full},
      {"memory: can be fragmented, and coalesces", can_be_fragmented},
      {"memory: fills new memory with NaN and forbids freed memory", fills_new_memory_with_nan},
      {"memory: tells wrong addresses apart", tells_wrong_addresses_apart},
      {"memory: lets reused memory be live again", lets_reused_memory_be_live_again},
      {"memory: remembers freed memory for a bounded time", remembers_freed_memory_for_a_bounded_time},
      {"memory: keeps contexts apart", keeps_contexts_apart},
      {"memory: leaves no trace when the context closes", leaves_no_trace_when_it_closes},
      {"host memory: is handed out zeroed and aligned", hands_out_zeroed_host_memory},
      {"host memory: is refused where there is none", refuses_host_memory_that_is_not_there},
      {"host memory: is freed once, by its own address", frees_host_memory_once},
      {"host memory: is registered once, where it is free", registers_host_memory_once},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
