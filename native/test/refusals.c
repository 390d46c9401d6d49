#include "refusals.h"

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

long refuse_everywhere(void (*tell_story)(void)) {
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
  return place;
}

bool check_granted(lh_status status, const char *text, const char *file, int line) {
  if (status != LH_OK) {
    check_number(status, LH_HOST_OUT_OF_MEMORY, text, file, line);
  }
  return status == LH_OK;
}
