/*
 * cuda_memory_test.c: device memory and pinned memory of the CUDA backend.
 */
#include "cuda_support.h"

enum { OUT_OF_MEMORY_CODE = 2 };

static void aligns_as_asked(void) {
  lh_context *context = open_cuda(0, "");
  lh_address addresses[17];
  static uint8_t bytes[1000];
  for (uint32_t power = 0; power <= 16; power += 1) {
    uint64_t alignment_bytes = 1ull << power;
    CHECK_STATUS(lh_malloc(context, sizeof bytes, alignment_bytes, &addresses[power]), LH_OK);
    CHECK((uint64_t)addresses[power] % alignment_bytes == 0);
    CHECK((uint64_t)addresses[power] % 256 == 0);
    /* All of it is there, whatever was raised. */
    write_device(context, addresses[power], bytes, sizeof bytes);
  }
  lh_statistics statistics = statistics_of(context);
  CHECK_NUMBER(statistics.live_count, 17);
  CHECK_NUMBER(statistics.live_bytes, 17 * sizeof bytes);
  CHECK_NUMBER(statistics.malloc_count, 17);
  /* Every other one, from both ends, so that raised ones go in another order than they came. */
  for (uint32_t index = 0; index <= 16; index += 2) {
    CHECK_STATUS(lh_free(context, addresses[16 - index]), LH_OK);
  }
  for (uint32_t index = 1; index <= 16; index += 2) {
    CHECK_STATUS(lh_free(context, addresses[index]), LH_OK);
  }
  CHECK_NUMBER(statistics_of(context).free_count, 17);
  CHECK_NUMBER(statistics_of(context).live_bytes, 0);
  CHECK_NUMBER(loopback()->live(LOOPBACK_ALLOCATIONS), 0);
  close_device(context);
  check_driver_is_empty();
}

static void frees_raised_memory_at_the_end(void) {
  lh_context *context = open_cuda(0, "");
  lh_address address = 0;
  for (int index = 0; index < 5; index += 1) {
    CHECK_STATUS(lh_malloc(context, 10, 65536, &address), LH_OK);
  }
  close_device(context);
  check_driver_is_empty();
}

static void refuses_wrong_allocations(void) {
  lh_context *context = open_cuda(0, "");
  lh_address address = -7;
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(lh_malloc(context, 1, 1, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(context, 0, 1, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(context, 1, 0, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(context, 1, 3, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(context, UINT64_MAX, 512, &address), LH_OUT_OF_MEMORY);
  CHECK_STATUS(lh_malloc(context, 1, 1ull << 63, &address), LH_OUT_OF_MEMORY);
  CHECK_STATUS(lh_host_malloc(context, 1, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_malloc(context, 0, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_malloc(context, UINT64_MAX, &address), LH_HOST_OUT_OF_MEMORY);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  CHECK_STATUS(lh_malloc(context, 1ull << 40, 1, &address), LH_OUT_OF_MEMORY);
  CHECK_NUMBER(last_error_of(context).device_code, OUT_OF_MEMORY_CODE);
  CHECK(strcmp(last_error_of(context).device_name, "CUDA_ERROR_OUT_OF_MEMORY") == 0);
  CHECK_STATUS(lh_host_malloc(context, 1ull << 50, &address), LH_HOST_OUT_OF_MEMORY);
  CHECK_NUMBER(address, -7);
  CHECK_NUMBER(statistics_of(context).malloc_count, 0);
  close_device(context);
  check_driver_is_empty();
}

static void fills_the_device_to_the_last_byte(void) {
  lh_context *context = open_cuda(0, "");
  uint64_t free_bytes = free_bytes_of(context);
  lh_address address = take(context, free_bytes);
  CHECK_NUMBER(free_bytes_of(context), 0);
  lh_address more = -7;
  CHECK_STATUS(lh_malloc(context, 1, 1, &more), LH_OUT_OF_MEMORY);
  CHECK_NUMBER(more, -7);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  CHECK_NUMBER(free_bytes_of(context), (double)free_bytes);
  close_device(context);
  check_driver_is_empty();
}

/* An address that no number in JavaScript can hold goes back to the driver at once. */
static void gives_back_an_address_that_is_too_large(void) {
  lh_context *context = open_cuda(0, "");
  uint64_t free_bytes = free_bytes_of(context);
  lh_address address = -7;
  loopback()->reset();
  loopback()->set_address_bits(1ull << 60);
  CHECK_STATUS(lh_malloc(context, 4096, 256, &address), LH_ADDRESS_TOO_LARGE);
  CHECK_NUMBER(address, -7);
  CHECK_NUMBER(loopback()->calls("cuMemFree_v2"), 1);
  CHECK_NUMBER(free_bytes_of(context), (double)free_bytes);
  loopback()->reset();
  address = take(context, 4096);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

/* No address that is not live reaches the driver. */
static void refuses_addresses_that_are_not_live(void) {
  lh_context *context = open_cuda(0, "");
  lh_context *other = open_cuda(0, "");
  lh_address address = take(context, 100);
  lh_address others = take(other, 100);
  lh_address staging = take_host(context, 100);
  CHECK_STATUS(lh_free(context, address + 1), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(lh_free(context, address), LH_DOUBLE_FREE);
  CHECK_STATUS(lh_free(context, address + 1), LH_USE_AFTER_FREE);
  CHECK_STATUS(lh_free(context, others), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, staging), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_free(context, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(context, -1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(context, 0.5), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_free(context, address), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_free(context, staging + 1), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_free(context, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_unregister(context, staging), LH_FOREIGN_POINTER);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  CHECK_STATUS(lh_host_free(context, staging), LH_OK);
  CHECK_STATUS(lh_host_free(context, staging), LH_DOUBLE_FREE);
  close_device(other);
  close_device(context);
  check_driver_is_empty();
}

static void host_memory_is_pinned_and_zero(void) {
  lh_context *context = open_cuda(0, "");
  lh_address staging = take_host(context, 5000);
  CHECK((uint64_t)staging % 64 == 0);
  bool is_zero = true;
  for (uint32_t index = 0; index < 5000; index += 1) {
    is_zero = is_zero && host_bytes(staging)[index] == 0;
  }
  CHECK(is_zero);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 1);
  CHECK_NUMBER(statistics_of(context).host_live_bytes, 5000);
  CHECK_NUMBER(statistics_of(context).host_live_count, 1);
  CHECK_STATUS(lh_host_free(context, staging), LH_OK);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 0);
  CHECK_NUMBER(statistics_of(context).host_live_bytes, 0);
  close_device(context);
  check_driver_is_empty();
}

static void registers_memory_of_the_caller(void) {
  static uint8_t own[8192] __attribute__((aligned(4096)));
  lh_context *context = open_cuda(0, "");
  lh_address device = take(context, 100);
  lh_address staging = take_host(context, 100);
  CHECK_STATUS(lh_host_register(context, address_of(own), 4096), LH_OK);
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(lh_host_register(context, address_of(own), 4096), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address_of(own) + 4095, 2), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, staging, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, device, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, 0, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, 0.5, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address_of(own) + 4096, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(context, address_of(own) + 4096, UINT64_MAX), LH_INVALID_ARGUMENT);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  CHECK_STATUS(lh_host_register(context, address_of(own) + 4096, 4096), LH_OK);
  /* What is pinned needs no bounce. */
  uint64_t pinned_count = loopback()->calls("cuMemHostAlloc");
  write_device(context, device, own, 100);
  CHECK_NUMBER((double)loopback()->calls("cuMemHostAlloc"), (double)pinned_count);
  CHECK_STATUS(lh_host_unregister(context, address_of(own)), LH_OK);
  CHECK_STATUS(lh_host_unregister(context, address_of(own)), LH_DOUBLE_FREE);
  CHECK_STATUS(lh_host_unregister(context, address_of(own) + 5000), LH_FOREIGN_POINTER);
  CHECK_STATUS(lh_host_unregister(context, 0), LH_INVALID_ARGUMENT);
  write_device(context, device, own, 100);
  CHECK_NUMBER((double)loopback()->calls("cuMemHostAlloc"), (double)pinned_count + 1);
  close_device(context);
  check_driver_is_empty();
}

/* The driver knows what other contexts of the process have pinned. */
static void is_refused_what_another_context_has_pinned(void) {
  static uint8_t own[4096] __attribute__((aligned(4096)));
  lh_context *first = open_cuda(0, "");
  lh_context *second = open_cuda(0, "");
  CHECK_STATUS(lh_host_register(first, address_of(own), 4096), LH_OK);
  CHECK_STATUS(lh_host_register(second, address_of(own), 4096), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(last_error_of(second).device_code, 712);
  close_device(second);
  close_device(first);
  check_driver_is_empty();
}

/* Whatever the driver refuses to take back is still there, and can be given back again. */
static void keeps_what_the_driver_refuses_to_free(void) {
  static uint8_t own[4096] __attribute__((aligned(4096)));
  lh_context *context = open_cuda(0, "");
  lh_address small = take(context, 100);
  lh_address raised = 0;
  lh_address staging = take_host(context, 100);
  CHECK_STATUS(lh_malloc(context, 100, 65536, &raised), LH_OK);
  CHECK_STATUS(lh_host_register(context, address_of(own), 4096), LH_OK);
  for (int round = 0; round < 2; round += 1) {
    loopback()->fail("cuMemFree_v2", 1, 1, 0);
    loopback()->fail("cuMemFree_v2", 2, 1, 0);
    loopback()->fail("cuMemFreeHost", 1, 1, 0);
    loopback()->fail("cuMemHostUnregister", 1, 1, 0);
    CHECK_STATUS(lh_free(context, small), LH_INVALID_ARGUMENT);
    CHECK_STATUS(lh_free(context, raised), LH_INVALID_ARGUMENT);
    CHECK_STATUS(lh_host_free(context, staging), LH_INVALID_ARGUMENT);
    CHECK_STATUS(lh_host_unregister(context, address_of(own)), LH_INVALID_ARGUMENT);
    lh_statistics statistics = statistics_of(context);
    CHECK_NUMBER(statistics.free_count, 0);
    CHECK_NUMBER(statistics.live_count, 2);
    CHECK_NUMBER(statistics.host_live_count, 1);
  }
  write_device(context, raised, own, 100);
  CHECK_STATUS(lh_free(context, small), LH_OK);
  CHECK_STATUS(lh_free(context, raised), LH_OK);
  CHECK_STATUS(lh_host_free(context, staging), LH_OK);
  CHECK_STATUS(lh_host_unregister(context, address_of(own)), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda memory: aligns as asked, above what the driver does as well", aligns_as_asked},
      {"cuda memory: frees memory that it raised when the context ends", frees_raised_memory_at_the_end},
      {"cuda memory: refuses wrong allocations", refuses_wrong_allocations},
      {"cuda memory: fills the device to the last byte", fills_the_device_to_the_last_byte},
      {"cuda memory: gives back an address that is too large", gives_back_an_address_that_is_too_large},
      {"cuda memory: refuses addresses that are not live without a call of the driver", refuses_addresses_that_are_not_live},
      {"cuda memory: host memory is pinned and zero", host_memory_is_pinned_and_zero},
      {"cuda memory: registers memory of the caller", registers_memory_of_the_caller},
      {"cuda memory: tells that another context has pinned memory", is_refused_what_another_context_has_pinned},
      {"cuda memory: keeps what the driver refuses to free", keeps_what_the_driver_refuses_to_free},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
