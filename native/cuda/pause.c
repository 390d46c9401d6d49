#include "cuda/pause.h"

#include <time.h>

/* Leaving the processor and coming back costs about as much as this. */
#define SPIN_NANOS 50000ull

#define FIRST_SLEEP_NANOS 20000ull
#define LONGEST_SLEEP_NANOS 1000000ull

static uint64_t now_nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

patience patience_of(uint64_t limit_nanos) {
  return (patience){.start_nanos = now_nanos(), .limit_nanos = limit_nanos, .sleep_nanos = FIRST_SLEEP_NANOS};
}

bool patience_pause(patience *left) {
  uint64_t passed_nanos = now_nanos() - left->start_nanos;
  if (passed_nanos >= left->limit_nanos) {
    return false;
  }
  if (passed_nanos < SPIN_NANOS) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
    return true;
  }
  uint64_t rest_nanos = left->limit_nanos - passed_nanos;
  uint64_t sleep_nanos = left->sleep_nanos < rest_nanos ? left->sleep_nanos : rest_nanos;
  struct timespec sleep = {.tv_sec = 0, .tv_nsec = (long)sleep_nanos};
  nanosleep(&sleep, NULL);
  left->sleep_nanos = left->sleep_nanos * 2 < LONGEST_SLEEP_NANOS ? left->sleep_nanos * 2 : LONGEST_SLEEP_NANOS;
  return true;
}
