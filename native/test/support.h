/*
 * support.h: what the C tests share: checks, devices, and entries of tables.
 */
#ifndef LEASEHOLD_TEST_SUPPORT_H
#define LEASEHOLD_TEST_SUPPORT_H

#include "leasehold_kernel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A test's name is a sentence about behaviour. */
typedef struct test {
  const char *name;
  void (*run)(void);
} test;

/* Runs the tests, one line each, then `N passed, M failed`. Returns the exit status. */
int run_tests(int argument_count, char **arguments, const test *tests, size_t test_count);

#define TEST_COUNT(tests) (sizeof(tests) / sizeof *(tests))

/* A check that fails is printed with its place, and fails the test that it is part of. */
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
#define CHECK_STATUS(actual, expected) check_number((double)(actual), (double)(expected), #actual, __FILE__, __LINE__)
#define CHECK_NUMBER(actual, expected) check_number((double)(actual), (double)(expected), #actual, __FILE__, __LINE__)

/* How many checks of this test have failed so far. */
int failed_checks(void);

bool check(bool condition, const char *text, const char *file, int line);
bool check_number(double actual, double expected, const char *text, const char *file, int line);

/* Devices -------------------------------------------------------------------------------------------------------- */

/* Opens a device, or ends the program. */
lh_context *open_device(const char *settings);

/* Opens a device that should refuse; the error has every field of its own. */
lh_status try_open(const char *settings, lh_error *error_out);

void close_device(lh_context *context);

lh_address take(lh_context *context, uint64_t byte_count);
lh_statistics statistics_of(lh_context *context);
lh_error last_error_of(lh_context *context);
uint64_t free_bytes_of(lh_context *context);

/*
 * Where a sanitizer watches, only work may touch device memory. These look at it and write it behind everybody's back.
 */
uint8_t peek(lh_address address);
float peek_float(lh_address address, size_t index);
void peek_bytes(void *destination, lh_address address, size_t byte_count);
void poke_bytes(lh_address address, const void *source, size_t byte_count);

/* Whether the device memory holds just these bytes. */
bool device_holds(lh_address address, const void *expected, size_t byte_count);

/* The absolute path of the library of test kernels, which lies beside the test program. */
const char *kernels_path(void);

/* Loads the test kernels and finds one of them, or ends the program. */
lh_kernel find_kernel(lh_context *context, const char *symbol);

void gate_open(void);
void gate_close(void);

/* Waits until so many kernels stand at the gate. */
void await_gate(int32_t waiting_count);

void sleep_millis(uint64_t millis);
uint64_t now_nanos(void);

/* Other threads -------------------------------------------------------------------------------------------------- */

/* A thread that makes one call, and tells when it has returned. */
typedef struct other_thread {
  pthread_t thread;
  lh_context *context;
  lh_address address;
  lh_address host_address;
  lh_kernel kernel;
  lh_ticket ticket;
  lh_status status;
  atomic_bool has_ended;
} other_thread;

void start(other_thread *other, void *(*run)(void *));
lh_status join(other_thread *other);

/* What such threads may run: freeing the address, and closing the context. */
void *run_free(void *argument);
void *run_close(void *argument);

/* Tables --------------------------------------------------------------------------------------------------------- */

static inline double address_of(const void *pointer) { return (double)(uintptr_t)pointer; }

static inline lh_transfer copy_in(lh_address destination, const void *source, double byte_count) {
  return (lh_transfer){LH_TRANSFER_COPY_IN, destination, address_of(source), byte_count};
}

static inline lh_transfer copy_out(void *destination, lh_address source, double byte_count) {
  return (lh_transfer){LH_TRANSFER_COPY_OUT, address_of(destination), source, byte_count};
}

static inline lh_transfer fill(lh_address destination, double value, double byte_count) {
  return (lh_transfer){LH_TRANSFER_FILL, destination, value, byte_count};
}

static inline lh_transfer host_copy(void *destination, const void *source, double byte_count) {
  return (lh_transfer){LH_TRANSFER_HOST_COPY, address_of(destination), address_of(source), byte_count};
}

static inline lh_transfer host_fill(void *destination, double value, double byte_count) {
  return (lh_transfer){LH_TRANSFER_HOST_FILL, address_of(destination), value, byte_count};
}

/* A tensor of one dim. */
lh_argument tensor(double kind, double dtype, lh_address address, uint64_t element_count);
lh_argument scalar_int32(int32_t value);
lh_argument scalar_float32(float value);

/* Submits one table on the in lane; the ticket goes to ticket_out, which may be null where it should be 0. */
lh_status submit(lh_context *context, const lh_transfer *transfers, uint32_t count, lh_ticket *ticket_out);
lh_status launch(lh_context *context, lh_kernel kernel, const lh_argument *arguments, uint32_t count,
                 lh_ticket *ticket_out);

/* Waits until a ticket ends, however long that takes. */
lh_status await(lh_context *context, lh_ticket ticket);

#endif
