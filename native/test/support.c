#include "support.h"

#include "simulator/sanitizer.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Found once, before there are threads. */
static char library_path[PATH_MAX + sizeof "/libleasehold_test_kernels" + sizeof LIBRARY_SUFFIX];

/* Checks may come from several threads at once. */
static _Atomic int failed_check_count;

/* Running -------------------------------------------------------------------------------------------------------- */

static void find_library(const char *program) {
  char folder[PATH_MAX] = "";
  if (realpath(program, folder) == NULL) {
    return;
  }
  char *slash = strrchr(folder, '/');
  if (slash != NULL) {
    *slash = '\0';
  }
  snprintf(library_path, sizeof library_path, "%s/libleasehold_test_kernels%s", folder, LIBRARY_SUFFIX);
}

int run_tests(int argument_count, char **arguments, const test *tests, size_t test_count) {
  find_library(argument_count > 0 ? arguments[0] : "");
  size_t failed_count = 0;
  for (size_t index = 0; index < test_count; index += 1) {
    failed_check_count = 0;
    tests[index].run();
    bool has_passed = failed_check_count == 0;
    failed_count += has_passed ? 0 : 1;
    printf("%s %s\n", has_passed ? "ok  " : "FAIL", tests[index].name);
    fflush(stdout);
  }
  printf("%zu passed, %zu failed\n", test_count - failed_count, failed_count);
  return failed_count == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int failed_checks(void) { return failed_check_count; }

bool check(bool condition, const char *text, const char *file, int line) {
  if (!condition) {
    failed_check_count += 1;
    printf("%s:%d: %s does not hold\n", file, line, text);
  }
  return condition;
}

bool check_number(double actual, double expected, const char *text, const char *file, int line) {
  if (actual != expected) {
    failed_check_count += 1;
    printf("%s:%d: %s is %.17g, not %.17g\n", file, line, text, actual, expected);
  }
  return actual == expected;
}

static void give_up(const char *sentence) {
  printf("%s\n0 passed, 1 failed\n", sentence);
  exit(EXIT_FAILURE);
}

/* Devices -------------------------------------------------------------------------------------------------------- */

lh_status try_open(const char *settings, lh_error *error_out) {
  lh_open_options options = {.struct_bytes = sizeof options, .settings = settings};
  lh_context *context = NULL;
  memset(error_out, 0, sizeof *error_out);
  error_out->struct_bytes = sizeof *error_out;
  lh_status status = lh_context_open(&options, error_out, &context);
  if (status == LH_OK) {
    lh_context_close(context);
  }
  return status;
}

lh_context *open_device(const char *settings) {
  lh_open_options options = {.struct_bytes = sizeof options, .settings = settings};
  lh_error error = {.struct_bytes = sizeof error};
  lh_context *context = NULL;
  if (lh_context_open(&options, &error, &context) != LH_OK) {
    give_up(error.detail);
  }
  return context;
}

void close_device(lh_context *context) { CHECK_STATUS(lh_context_close(context), LH_OK); }

lh_address take(lh_context *context, uint64_t byte_count) {
  lh_address address = 0;
  CHECK_STATUS(lh_malloc(context, byte_count, 1, &address), LH_OK);
  return address;
}

lh_statistics statistics_of(lh_context *context) {
  lh_statistics statistics = {.struct_bytes = sizeof statistics};
  CHECK_STATUS(lh_statistics_get(context, &statistics), LH_OK);
  return statistics;
}

lh_error last_error_of(lh_context *context) {
  lh_error error = {.struct_bytes = sizeof error};
  CHECK_STATUS(lh_last_error(context, &error), LH_OK);
  return error;
}

uint64_t free_bytes_of(lh_context *context) {
  lh_memory_info info = {.struct_bytes = sizeof info};
  CHECK_STATUS(lh_memory_info_get(context, &info), LH_OK);
  return info.free_bytes;
}

/* Copies what a sanitizer may forbid: without its checks, and with bytes that the compiler makes no memcpy of. */
#if IS_SANITIZED
NOT_SANITIZED
#endif
static void copy_forbidden_bytes(volatile uint8_t *destination, const volatile uint8_t *source, size_t byte_count) {
  for (size_t index = 0; index < byte_count; index += 1) {
    destination[index] = source[index];
  }
}

void peek_bytes(void *destination, lh_address address, size_t byte_count) {
  copy_forbidden_bytes(destination, (const uint8_t *)(uintptr_t)address, byte_count);
}

void poke_bytes(lh_address address, const void *source, size_t byte_count) {
  copy_forbidden_bytes((uint8_t *)(uintptr_t)address, source, byte_count);
}

uint8_t peek(lh_address address) {
  uint8_t byte = 0;
  peek_bytes(&byte, address, sizeof byte);
  return byte;
}

float peek_float(lh_address address, size_t index) {
  float value = 0;
  peek_bytes(&value, address + (double)(index * sizeof value), sizeof value);
  return value;
}

bool device_holds(lh_address address, const void *expected, size_t byte_count) {
  const uint8_t *expected_bytes = expected;
  for (size_t index = 0; index < byte_count; index += 1) {
    if (peek(address + (double)index) != expected_bytes[index]) {
      return false;
    }
  }
  return true;
}

/* Kernels -------------------------------------------------------------------------------------------------------- */

const char *kernels_path(void) { return library_path; }

lh_kernel find_kernel(lh_context *context, const char *symbol) {
  lh_module module = 0;
  lh_kernel kernel = 0;
  if (lh_module_load(context, kernels_path(), &module) != LH_OK ||
      lh_kernel_find(context, module, symbol, &kernel) != LH_OK) {
    give_up("The test kernels are missing.");
  }
  return kernel;
}

/* A plain function of the library of test kernels. */
static void *kernels_symbol(const char *symbol) {
  void *library = dlopen(kernels_path(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  void *address = library == NULL ? NULL : dlsym(library, symbol);
  if (address == NULL) {
    give_up("The test kernels have no gate.");
  }
  return address;
}

void gate_open(void) {
  void *symbol = kernels_symbol("lh_test_gate_open");
  void (*function)(void);
  memcpy(&function, &symbol, sizeof function);
  function();
}

void gate_close(void) {
  void *symbol = kernels_symbol("lh_test_gate_close");
  void (*function)(void);
  memcpy(&function, &symbol, sizeof function);
  function();
}

void await_gate(int32_t waiting_count) {
  void *symbol = kernels_symbol("lh_test_gate_waiting");
  int32_t (*function)(void);
  memcpy(&function, &symbol, sizeof function);
  for (int round = 0; round < 5000 && function() != waiting_count; round += 1) {
    sleep_millis(1);
  }
  CHECK_NUMBER(function(), waiting_count);
}

void sleep_millis(uint64_t millis) {
  struct timespec duration = {.tv_sec = (time_t)(millis / 1000), .tv_nsec = (long)(millis % 1000) * 1000000};
  nanosleep(&duration, NULL);
}

uint64_t now_nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Tables --------------------------------------------------------------------------------------------------------- */

static uint64_t element_bytes(double dtype) {
  if (dtype == LH_DTYPE_INT8 || dtype == LH_DTYPE_UINT8) {
    return 1;
  }
  if (dtype == LH_DTYPE_FLOAT16 || dtype == LH_DTYPE_BFLOAT16 || dtype == LH_DTYPE_INT16 ||
      dtype == LH_DTYPE_UINT16) {
    return 2;
  }
  return dtype == LH_DTYPE_FLOAT64 || dtype == LH_DTYPE_INT64 || dtype == LH_DTYPE_UINT64 ? 8 : 4;
}

lh_argument tensor(double kind, double dtype, lh_address address, uint64_t element_count) {
  return (lh_argument){
      .kind = kind,
      .dtype = dtype,
      .byte_count = (double)(element_count * element_bytes(dtype)),
      .address = address,
      .rank = 1,
      .dims = {(double)element_count},
  };
}

lh_argument scalar_int32(int32_t value) {
  lh_argument argument = {.kind = LH_ARGUMENT_SCALAR, .dtype = LH_DTYPE_INT32, .byte_count = sizeof value};
  memcpy(argument.scalar, &value, sizeof value);
  return argument;
}

lh_argument scalar_float32(float value) {
  lh_argument argument = {.kind = LH_ARGUMENT_SCALAR, .dtype = LH_DTYPE_FLOAT32, .byte_count = sizeof value};
  memcpy(argument.scalar, &value, sizeof value);
  return argument;
}

lh_status submit(lh_context *context, const lh_transfer *transfers, uint32_t count, lh_ticket *ticket_out) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status = lh_submit(context, LH_LANE_IN, transfers, count, &ticket, &failed_index);
  if (ticket_out == NULL) {
    CHECK_NUMBER(ticket, 0);
  } else {
    *ticket_out = ticket;
  }
  return status;
}

lh_status launch(lh_context *context, lh_kernel kernel, const lh_argument *arguments, uint32_t count,
                 lh_ticket *ticket_out) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status =
      lh_launch(context, LH_LANE_COMPUTE, kernel, NULL, arguments, count, 0, &ticket, &failed_index);
  if (ticket_out == NULL) {
    CHECK_NUMBER(ticket, 0);
  } else {
    *ticket_out = ticket;
  }
  return status;
}

lh_status await(lh_context *context, lh_ticket ticket) {
  uint32_t failed_index = 0;
  lh_status status = LH_OK;
  do {
    status = lh_wait(context, ticket, UINT64_MAX, &failed_index);
  } while (status == LH_TIMEOUT);
  return status;
}

/* Other threads -------------------------------------------------------------------------------------------------- */

void start(other_thread *other, void *(*run)(void *)) {
  atomic_init(&other->has_ended, false);
  CHECK_NUMBER(pthread_create(&other->thread, NULL, run, other), 0);
}

lh_status join(other_thread *other) {
  CHECK_NUMBER(pthread_join(other->thread, NULL), 0);
  return other->status;
}

void *run_free(void *argument) {
  other_thread *other = argument;
  other->status = lh_free(other->context, other->address);
  atomic_store(&other->has_ended, true);
  return NULL;
}

void *run_close(void *argument) {
  other_thread *other = argument;
  other->status = lh_context_close(other->context);
  atomic_store(&other->has_ended, true);
  return NULL;
}
