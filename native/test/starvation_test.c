/*
 * starvation_test.c: the host refuses what the simulator asks for, at every place where it asks.
 *
 * This program is linked so that the simulator's calls for memory and threads come here first. A story is told again
 * and again; the first time its first call is refused, the next time its second, until it ends without a refusal. Each
 * time, whatever failed says so with LH_HOST_OUT_OF_MEMORY, has changed nothing, and works when it is tried again.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Calls are counted down; the one that reaches zero is refused. Below zero, all is granted. */
static _Atomic long calls_left = -1;
static _Atomic long refused_count;

static bool is_refused(void) {
  if (atomic_load(&calls_left) < 0 || atomic_fetch_sub(&calls_left, 1) != 0) {
    return false;
  }
  atomic_fetch_add(&refused_count, 1);
  errno = ENOMEM;
  return true;
}

void *__real_malloc(size_t byte_count);
void *__real_calloc(size_t count, size_t byte_count);
void *__real_realloc(void *memory, size_t byte_count);
void *__real_mmap(void *address, size_t byte_count, int protection, int flags, int descriptor, off_t offset);
int __real_mprotect(void *address, size_t byte_count, int protection);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __real_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __real_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);

void *__wrap_malloc(size_t byte_count);
void *__wrap_calloc(size_t count, size_t byte_count);
void *__wrap_realloc(void *memory, size_t byte_count);
void *__wrap_mmap(void *address, size_t byte_count, int protection, int flags, int descriptor, off_t offset);
int __wrap_mprotect(void *address, size_t byte_count, int protection);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);

void *__wrap_malloc(size_t byte_count) { return is_refused() ? NULL : __real_malloc(byte_count); }

void *__wrap_calloc(size_t count, size_t byte_count) {
  return is_refused() ? NULL : __real_calloc(count, byte_count);
}

void *__wrap_realloc(void *memory, size_t byte_count) {
  return is_refused() ? NULL : __real_realloc(memory, byte_count);
}

void *__wrap_mmap(void *address, size_t byte_count, int protection, int flags, int descriptor, off_t offset) {
  return is_refused() ? MAP_FAILED : __real_mmap(address, byte_count, protection, flags, descriptor, offset);
}

int __wrap_mprotect(void *address, size_t byte_count, int protection) {
  return is_refused() ? -1 : __real_mprotect(address, byte_count, protection);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  return is_refused() ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes) {
  return is_refused() ? ENOMEM : __real_pthread_cond_init(condition, attributes);
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes) {
  return is_refused() ? ENOMEM : __real_pthread_mutex_init(mutex, attributes);
}

/* The story ------------------------------------------------------------------------------------------------------ */

static const char *story_settings;

/* Ends on what the call returned, or once more where it was the one that was refused. */
#define GRANTED(call) (CHECK_GRANTED(call) ? (void)0 : (void)CHECK_STATUS(call, LH_OK))
#define CHECK_GRANTED(call) was_granted(call, #call, __LINE__)

static bool was_granted(lh_status status, const char *text, int line) {
  if (status != LH_OK) {
    check_number(status, LH_HOST_OUT_OF_MEMORY, text, __FILE__, line);
  }
  return status == LH_OK;
}

static lh_context *open_granted(void) {
  const lh_open_options options = {.struct_bytes = sizeof options, .settings = story_settings};
  lh_error error = {.struct_bytes = sizeof error};
  lh_context *context = NULL;
  if (!CHECK_GRANTED(lh_context_open(&options, &error, &context))) {
    CHECK_STATUS(error.status, LH_HOST_OUT_OF_MEMORY);
    CHECK(strstr(error.detail, "no room") != NULL);
    CHECK(context == NULL);
    CHECK_STATUS(lh_context_open(&options, &error, &context), LH_OK);
  }
  return context;
}

/* A launch, waited for to its end. */
static lh_status write_first_byte(lh_context *context, lh_address device) {
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, device, 1), scalar_int32(1),
                                   scalar_int32(8)};
  lh_ticket ticket = 0;
  lh_status status = launch(context, find_kernel(context, "test_write_first"), arguments, 3, &ticket);
  return status == LH_OK && ticket != 0 ? await(context, ticket) : status;
}

static void tell_story(void) {
  static uint8_t registered[64];
  lh_context *context = open_granted();
  lh_address device = 0;
  lh_address host = 0;
  lh_ticket ticket = 0;
  GRANTED(lh_malloc(context, 8, 1, &device));
  CHECK_NUMBER(statistics_of(context).malloc_count, 1);
  CHECK_NUMBER(free_bytes_of(context), 1048576 - 8);
  GRANTED(lh_host_malloc(context, 8, &host));
  CHECK_NUMBER(statistics_of(context).host_live_count, 1);
  GRANTED(lh_host_register(context, address_of(registered), sizeof registered));
  const lh_transfer transfers[] = {
      {LH_TRANSFER_HOST_FILL, host, 7, 8},
      {LH_TRANSFER_COPY_IN, device, host, 8},
  };
  GRANTED(submit(context, transfers, 2, &ticket));
  if (ticket != 0) {
    CHECK_STATUS(await(context, ticket), LH_OK);
  }
  CHECK_NUMBER(peek(device), 7);
  GRANTED(write_first_byte(context, device));
  CHECK_NUMBER(peek(device), 8);
  /* Far enough for pages to be opened again, and for the tables to grow. */
  for (int index = 0; index < 200; index += 1) {
    lh_address other = 0;
    GRANTED(lh_malloc(context, 64, 1, &other));
    if (index % 2 == 0) {
      CHECK_STATUS(lh_free(context, other), LH_OK);
    }
  }
  CHECK_NUMBER(statistics_of(context).live_count, 101);
  CHECK_STATUS(lh_host_unregister(context, address_of(registered)), LH_OK);
  CHECK_STATUS(lh_host_free(context, host), LH_OK);
  CHECK_STATUS(lh_free(context, device), LH_OK);
  close_device(context);
}

static void survives_every_refusal(void) {
  long place = 0;
  for (;;) {
    atomic_store(&refused_count, 0);
    atomic_store(&calls_left, place);
    tell_story();
    atomic_store(&calls_left, -1);
    if (atomic_load(&refused_count) == 0) {
      break;
    }
    place += 1;
  }
  printf("     starvation: refused at %ld places\n", place);
  CHECK(place >= 10);
}

static void survives_refusals_of_an_immediate_device(void) {
  story_settings = "total_bytes=1048576";
  survives_every_refusal();
}

static void survives_refusals_of_the_memory_lab(void) {
  story_settings = "total_bytes=1048576 memory_lab=fail";
  survives_every_refusal();
  story_settings = "total_bytes=1048576 memory_lab=fail completion=late";
  survives_every_refusal();
}

static void survives_refusals_of_a_late_device(void) {
  story_settings = "total_bytes=1048576 completion=late lanes=overlap";
  survives_every_refusal();
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"starvation: an immediate device survives every refusal of the host", survives_refusals_of_an_immediate_device},
      {"starvation: a late device survives every refusal of the host", survives_refusals_of_a_late_device},
      {"starvation: the memory lab survives every refusal of the host", survives_refusals_of_the_memory_lab},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
