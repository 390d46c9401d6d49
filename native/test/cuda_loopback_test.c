/*
 * cuda_loopback_test.c: the loopback driver itself. It is what the CUDA backend's tests believe, so each thing that it watches
 * for is done to it on purpose, and a caller who does nothing wrong is left in peace.
 */
#include "cuda/driver_library.h"
#include "cuda_support.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BYTE_COUNT = 4096, ILLEGAL_ADDRESS_CODE = 700, DELAY_NANOS = 5000000 };

/* The driver's entry points ---------------------------------------------------------------------------------------- */

static cuda_driver loaded;

static void find(void *library, const char *name, void *function_out, size_t function_bytes) {
  void *symbol = dlsym(library, name);
  if (symbol == NULL) {
    printf("The loopback driver has no %s.\n0 passed, 1 failed\n", name);
    exit(EXIT_FAILURE);
  }
  memcpy(function_out, &symbol, function_bytes);
}

/* Found, and not initialised. */
static const cuda_driver *driver(void) {
  if (loaded.init == NULL) {
    void *library = dlopen(loopback_path(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
#define FIND(field, name, parameters) find(library, #name, &loaded.field, sizeof loaded.field);
    CU_DRIVER_CALLS(FIND)
#undef FIND
  }
  return &loaded;
}

/* A device with something of everything ----------------------------------------------------------------------------- */

/* Its context is current, and all of it is given back by whoever still has it. */
typedef struct world {
  cu_device device;
  cu_context context;
  cu_stream stream;
  cu_stream other_stream;
  cu_event event;
  cu_device_address address;
  uint8_t *pinned;
} world;

static cu_context open_context(cu_device device) {
  cu_context context = NULL;
  CHECK_STATUS(driver()->primary_ctx_retain(&context, device), CU_SUCCESS);
  CHECK_STATUS(driver()->ctx_push_current(context), CU_SUCCESS);
  return context;
}

static world open_world(void) {
  world opened = {.device = (cu_device)new_device()};
  void *pinned = NULL;
  CHECK_STATUS(driver()->init(0), CU_SUCCESS);
  opened.context = open_context(opened.device);
  CHECK_STATUS(driver()->stream_create(&opened.stream, CU_STREAM_FLAG_NON_BLOCKING), CU_SUCCESS);
  CHECK_STATUS(driver()->stream_create(&opened.other_stream, CU_STREAM_FLAG_NON_BLOCKING), CU_SUCCESS);
  CHECK_STATUS(driver()->event_create(&opened.event, CU_EVENT_FLAG_DISABLE_TIMING), CU_SUCCESS);
  CHECK_STATUS(driver()->mem_alloc(&opened.address, BYTE_COUNT), CU_SUCCESS);
  CHECK_STATUS(driver()->mem_host_alloc(&pinned, BYTE_COUNT, 0), CU_SUCCESS);
  opened.pinned = pinned;
  return opened;
}

static void wait_for(cu_stream stream) {
  while (driver()->stream_query(stream) == CU_ERROR_NOT_READY) {
    usleep(100);
  }
}

static void close_world(world *closed) {
  loopback()->set_delay(0);
  for (int index = 0; index < 2; index += 1) {
    cu_stream stream = index == 0 ? closed->stream : closed->other_stream;
    if (stream != NULL) {
      wait_for(stream);
      CHECK_STATUS(driver()->stream_destroy(stream), CU_SUCCESS);
    }
  }
  if (closed->event != NULL) {
    CHECK_STATUS(driver()->event_destroy(closed->event), CU_SUCCESS);
  }
  if (closed->address != 0) {
    CHECK_STATUS(driver()->mem_free(closed->address), CU_SUCCESS);
  }
  if (closed->pinned != NULL) {
    CHECK_STATUS(driver()->mem_free_host(closed->pinned), CU_SUCCESS);
  }
  cu_context popped = NULL;
  CHECK_STATUS(driver()->ctx_pop_current(&popped), CU_SUCCESS);
  CHECK(popped == closed->context);
  CHECK_STATUS(driver()->primary_ctx_release(closed->device), CU_SUCCESS);
}

/* Mistakes ---------------------------------------------------------------------------------------------------------- */

static void without_a_context(world *opened) {
  cu_context popped = NULL;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  driver()->ctx_pop_current(&popped);
  CHECK(driver()->mem_get_info(&free_bytes, &total_bytes) != CU_SUCCESS);
  driver()->ctx_push_current(opened->context);
}

static void pop_of_nothing(world *opened) {
  cu_context popped = NULL;
  driver()->ctx_pop_current(&popped);
  driver()->ctx_pop_current(&popped);
  driver()->ctx_push_current(opened->context);
}

static void release_of_nothing(world *opened) {
  (void)opened;
  CHECK(driver()->primary_ctx_release((cu_device)new_device()) != CU_SUCCESS);
}

static void release_with_memory_left(world *opened) {
  (void)opened;
  cu_context popped = NULL;
  cu_device_address address = 0;
  cu_device device = (cu_device)new_device();
  open_context(device);
  driver()->mem_alloc(&address, BYTE_COUNT);
  driver()->ctx_pop_current(&popped);
  driver()->primary_ctx_release(device);
  /* It waits for whoever comes back for it. */
  open_context(device);
  driver()->mem_free(address);
  driver()->ctx_pop_current(&popped);
  driver()->primary_ctx_release(device);
}

static void push_of_a_closed_context(world *opened) {
  (void)opened;
  cu_context popped = NULL;
  cu_device device = (cu_device)new_device();
  cu_context closed = open_context(device);
  driver()->ctx_pop_current(&popped);
  driver()->primary_ctx_release(device);
  CHECK(driver()->ctx_push_current(closed) != CU_SUCCESS);
}

static void free_of_the_middle(world *opened) { CHECK(driver()->mem_free(opened->address + 256) != CU_SUCCESS); }

static void free_twice(world *opened) {
  driver()->mem_free(opened->address);
  CHECK(driver()->mem_free(opened->address) != CU_SUCCESS);
  opened->address = 0;
}

static void free_of_foreign_pinned_memory(world *opened) {
  CHECK(driver()->mem_free_host(opened->pinned + 64) != CU_SUCCESS);
}

static void free_of_pinned_memory_in_flight(world *opened) {
  loopback()->set_delay(DELAY_NANOS);
  driver()->memcpy_in_async(opened->address, opened->pinned, BYTE_COUNT, opened->stream);
  driver()->mem_free_host(opened->pinned);
  opened->pinned = NULL;
}

static void fill_beyond_the_end(world *opened) {
  CHECK(driver()->memset_async(opened->address + 1, 0, BYTE_COUNT, opened->stream) != CU_SUCCESS);
}

static void copy_of_freed_memory(world *opened) {
  driver()->mem_free(opened->address);
  CHECK(driver()->memcpy_out_async(opened->pinned, opened->address, 1, opened->stream) != CU_SUCCESS);
  opened->address = 0;
}

static void copy_of_plain_memory(world *opened) {
  static uint8_t plain[BYTE_COUNT];
  driver()->memcpy_in_async(opened->address, plain, BYTE_COUNT, opened->stream);
  wait_for(opened->stream);
}

static void function_of_an_unloaded_module(world *opened) {
  (void)opened;
  cu_module module = NULL;
  cu_function function = NULL;
  char *path = write_cuda_kernels();
  char image[BYTE_COUNT] = "";
  FILE *file = fopen(path, "r");
  CHECK(file != NULL && fread(image, 1, sizeof image - 1, file) > 0);
  fclose(file);
  unlink(path);
  free(path);
  CHECK_STATUS(driver()->module_load_data(&module, image), CU_SUCCESS);
  CHECK_STATUS(driver()->module_unload(module), CU_SUCCESS);
  CHECK(driver()->module_get_function(&function, module, "cuda_test_nothing") != CU_SUCCESS);
}

static void two_streams_at_the_same_bytes(world *opened) {
  loopback()->set_delay(DELAY_NANOS);
  driver()->memset_async(opened->address, 1, BYTE_COUNT, opened->stream);
  driver()->memset_async(opened->address + BYTE_COUNT - 1, 2, 1, opened->other_stream);
}

static void work_for_the_legacy_stream(world *opened) {
  CHECK(driver()->memset_async(opened->address, 0, BYTE_COUNT, NULL) != CU_SUCCESS);
}

static void work_for_a_destroyed_stream(world *opened) {
  driver()->stream_destroy(opened->stream);
  CHECK(driver()->memset_async(opened->address, 0, BYTE_COUNT, opened->stream) != CU_SUCCESS);
  opened->stream = NULL;
}

static void work_for_a_stream_of_another_context(world *opened) {
  cu_context popped = NULL;
  cu_device device = (cu_device)new_device();
  open_context(device);
  CHECK(driver()->stream_query(opened->stream) != CU_SUCCESS);
  driver()->ctx_pop_current(&popped);
  driver()->primary_ctx_release(device);
}

static void a_blocking_stream(world *opened) {
  (void)opened;
  cu_stream stream = NULL;
  driver()->stream_create(&stream, 0);
  driver()->stream_destroy(stream);
}

static void an_event_with_the_time(world *opened) {
  (void)opened;
  cu_event event = NULL;
  driver()->event_create(&event, 0);
  driver()->event_destroy(event);
}

static void an_event_that_goes_too_early(world *opened) {
  loopback()->set_delay(DELAY_NANOS);
  driver()->memset_async(opened->address, 0, BYTE_COUNT, opened->stream);
  driver()->event_record(opened->event, opened->stream);
  driver()->event_destroy(opened->event);
  opened->event = NULL;
}

static void a_destroyed_event(world *opened) {
  driver()->event_destroy(opened->event);
  CHECK(driver()->event_query(opened->event) != CU_SUCCESS);
  opened->event = NULL;
}

typedef struct mistake {
  void (*make)(world *opened);
  const char *told;
} mistake;

static const mistake mistakes[] = {
    {without_a_context, "cuMemGetInfo_v2 without a context that is current and open"},
    {pop_of_nothing, "a context is popped where none is current"},
    {release_of_nothing, "a context is released that nobody retains"},
    {release_with_memory_left, "a context goes with 1 objects in it"},
    {push_of_a_closed_context, "a context is made current that is not open"},
    {free_of_the_middle, "memory is freed that is none"},
    {free_twice, "memory is freed that is none, or not any more"},
    {free_of_foreign_pinned_memory, "pinned memory is given back that is none"},
    {free_of_pinned_memory_in_flight, "pinned memory is given back that work in flight uses"},
    {fill_beyond_the_end, "a transfer reaches device memory that is none"},
    {copy_of_freed_memory, "a transfer reaches device memory that is none, or not any more"},
    {copy_of_plain_memory, "an asynchronous copy reaches host memory that is not pinned"},
    {function_of_an_unloaded_module, "a module of another context, or one that was unloaded"},
    {two_streams_at_the_same_bytes, "work on two streams is at the same bytes at once"},
    {work_for_the_legacy_stream, "work for the legacy stream"},
    {work_for_a_destroyed_stream, "work for a stream of another context, or one that was destroyed"},
    {work_for_a_stream_of_another_context, "work for a stream of another context"},
    {a_blocking_stream, "a stream that waits for the legacy stream"},
    {an_event_with_the_time, "an event that takes the time"},
    {an_event_that_goes_too_early, "an event is destroyed that has not come to pass"},
    {a_destroyed_event, "an event of another context, or one that was destroyed"},
};

/* Tests ------------------------------------------------------------------------------------------------------------- */

/* First, as a driver is initialised once. */
static void tells_of_a_call_before_init(void) {
  int count = 0;
  char text[256] = "";
  CHECK(driver()->device_get_count(&count) != CU_SUCCESS);
  CHECK_NUMBER(loopback()->violations(text, sizeof text), 1);
  CHECK(strstr(text, "cuDeviceGetCount before cuInit") != NULL);
  loopback()->reset();
}

static void tells_of_every_mistake_once(void) {
  world opened = open_world();
  for (size_t index = 0; index < sizeof mistakes / sizeof *mistakes; index += 1) {
    char text[1024] = "";
    mistakes[index].make(&opened);
    uint64_t count = loopback()->violations(text, sizeof text);
    if (!CHECK_NUMBER((double)count, 1) || !CHECK(strncmp(text, mistakes[index].told, strlen(mistakes[index].told)) == 0)) {
      printf("  instead of \"%s\": %s\n", mistakes[index].told, text);
    }
    loopback()->reset();
    /* What the mistake has used up is made anew. */
    close_world(&opened);
    check_driver_is_empty();
    opened = open_world();
  }
  close_world(&opened);
  check_driver_is_empty();
}

static void keeps_the_order_of_a_stream(void) {
  world opened = open_world();
  loopback()->set_delay(DELAY_NANOS / 10);
  for (unsigned char value = 1; value <= 9; value += 1) {
    CHECK_STATUS(driver()->memset_async(opened.address, value, BYTE_COUNT, opened.stream), CU_SUCCESS);
    CHECK_STATUS(driver()->memcpy_out_async(opened.pinned + value, opened.address, 1, opened.stream), CU_SUCCESS);
  }
  CHECK_STATUS(driver()->event_record(opened.event, opened.stream), CU_SUCCESS);
  CHECK_STATUS(driver()->event_query(opened.event), CU_ERROR_NOT_READY);
  while (driver()->event_query(opened.event) == CU_ERROR_NOT_READY) {
    usleep(100);
  }
  for (unsigned char value = 1; value <= 9; value += 1) {
    CHECK_NUMBER(opened.pinned[value], value);
  }
  close_world(&opened);
  check_driver_is_empty();
}

/* A second's worth of work on one stream, and a little on the other, which does not wait for it. */
static void carries_two_streams_out_at_once(void) {
  enum { LONG_COUNT = 200 };
  world opened = open_world();
  loopback()->set_delay(DELAY_NANOS);
  for (int index = 0; index < LONG_COUNT; index += 1) {
    driver()->memset_async(opened.address, 1, 1, opened.stream);
  }
  driver()->memset_async(opened.address + 1, 2, 1, opened.other_stream);
  wait_for(opened.other_stream);
  CHECK_STATUS(driver()->stream_query(opened.stream), CU_ERROR_NOT_READY);
  close_world(&opened);
  check_driver_is_empty();
}

static void lets_the_nth_call_fail(void) {
  world opened = open_world();
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  loopback()->fail("cuMemGetInfo_v2", 3, CU_ERROR_INVALID_VALUE, 0);
  for (int call = 1; call <= 4; call += 1) {
    CHECK_STATUS(driver()->mem_get_info(&free_bytes, &total_bytes), call == 3 ? CU_ERROR_INVALID_VALUE : CU_SUCCESS);
  }
  CHECK_NUMBER(loopback()->pending_failures(), 0);
  CHECK_NUMBER(loopback()->is_lost(opened.device), 0);
  loopback()->fail("cuMemsetD8Async", 1, CU_ERROR_INVALID_VALUE, 1);
  CHECK_STATUS(driver()->memset_async(opened.address, 1, 1, opened.stream), CU_SUCCESS);
  while (driver()->stream_query(opened.stream) == CU_ERROR_NOT_READY) {
    usleep(100);
  }
  close_world(&opened);
  check_driver_is_empty();
}

/* What is said once is told for ever, and every call after that is counted against the caller. */
static void stays_lost(void) {
  world opened = open_world();
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cu_device_address address = 0;
  loopback()->reset();
  loopback()->fail("cuMemsetD8Async", 1, ILLEGAL_ADDRESS_CODE, 1);
  CHECK_STATUS(driver()->memset_async(opened.address, 1, 1, opened.stream), CU_SUCCESS);
  while (loopback()->is_lost(opened.device) == 0) {
    usleep(100);
  }
  CHECK_NUMBER(loopback()->calls_after_loss(), 0);
  CHECK_STATUS(driver()->mem_get_info(&free_bytes, &total_bytes), ILLEGAL_ADDRESS_CODE);
  CHECK_NUMBER(loopback()->calls_after_loss(), 0);
  CHECK_STATUS(driver()->mem_alloc(&address, BYTE_COUNT), ILLEGAL_ADDRESS_CODE);
  CHECK_STATUS(driver()->primary_ctx_release(opened.device), ILLEGAL_ADDRESS_CODE);
  CHECK_NUMBER(loopback()->calls_after_loss(), 2);
  cu_context popped = NULL;
  CHECK_STATUS(driver()->ctx_pop_current(&popped), CU_SUCCESS);
  CHECK_NUMBER(loopback()->calls_after_loss(), 2);
  loopback()->reset();
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"loopback driver: tells of a call before it is initialised", tells_of_a_call_before_init},
      {"loopback driver: tells of every mistake, once", tells_of_every_mistake_once},
      {"loopback driver: keeps the order of a stream", keeps_the_order_of_a_stream},
      {"loopback driver: carries two streams out at once", carries_two_streams_out_at_once},
      {"loopback driver: lets the nth call fail, and no other", lets_the_nth_call_fail},
      {"loopback driver: stays lost, and counts who asks a lost context", stays_lost},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
