/*
 * victim.c: a gate for processes that die, and the death that no runtime survives.
 *
 * The gate is like the one of test_kernels.c, but what passes it may write through null: a kernel that crashes while it is
 * in flight.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { TIMEOUT_SECONDS = 30, TIMEOUT_CODE = 99 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static int is_open;
static int passing_crashes;
static int waiting_count;

void victim_crash(void) {
  volatile int32_t *nowhere = NULL;
  *nowhere = 1;
}

void victim_gate_open(int crashes) {
  pthread_mutex_lock(&mutex);
  is_open = 1;
  passing_crashes = crashes;
  pthread_cond_broadcast(&opened);
  pthread_mutex_unlock(&mutex);
}

int victim_gate_waiting(void) {
  pthread_mutex_lock(&mutex);
  int count = waiting_count;
  pthread_mutex_unlock(&mutex);
  return count;
}

/* any arguments: waits until the gate is open, and crashes where the opener says so; gives up after half a minute */
int32_t victim_gate(const void *arguments, uint32_t count) {
  (void)arguments;
  (void)count;
  struct timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += TIMEOUT_SECONDS;
  int code = 0;
  pthread_mutex_lock(&mutex);
  waiting_count += 1;
  while (!is_open && code == 0) {
    code = pthread_cond_timedwait(&opened, &mutex, &deadline);
  }
  waiting_count -= 1;
  int crashes = passing_crashes;
  pthread_mutex_unlock(&mutex);
  if (crashes) {
    victim_crash();
  }
  return code == 0 ? 0 : TIMEOUT_CODE;
}
