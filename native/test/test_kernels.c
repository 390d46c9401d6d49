/*
 * test_kernels.c: the kernels that the tests launch, in C and in TypeScript.
 *
 * Each takes the argument table in the order that its comment gives. The gate has state that is global to the library,
 * unlike anything that is shipped: a test opens it from outside of the launch that waits at it.
 */
#include "leasehold_kernel.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

enum { TEST_FAIL_CODE = 7, GATE_TIMEOUT_CODE = 99, GATE_TIMEOUT_SECONDS = 20, DESCRIBED_COUNT = 6, TOUCHED_VALUE = 7 };

/* A kernel reads its arguments before it knows how many there are. */
enum { WRONG_ARGUMENTS_CODE = 1000 };

/* Arithmetic ----------------------------------------------------------------------------------------------------- */

/* input float32 a[n], input float32 b[n], output float32 c[n]: c = a + b */
LH_EXPORT int32_t test_add(const lh_argument *arguments, uint32_t count) {
  if (count != 3) {
    return WRONG_ARGUMENTS_CODE;
  }
  const float *a = lh_argument_data(&arguments[0]);
  const float *b = lh_argument_data(&arguments[1]);
  float *c = lh_argument_data(&arguments[2]);
  uint64_t element_count = lh_argument_bytes(&arguments[2]) / sizeof *c;
  for (uint64_t index = 0; index < element_count; index += 1) {
    c[index] = a[index] + b[index];
  }
  return LH_OK;
}

/* inout float32 x[n], scalar float32 factor: x *= factor */
LH_EXPORT int32_t test_scale(const lh_argument *arguments, uint32_t count) {
  if (count < 2) {
    return WRONG_ARGUMENTS_CODE;
  }
  float *x = lh_argument_data(&arguments[0]);
  float factor = lh_argument_float32(&arguments[1]);
  uint64_t element_count = lh_argument_bytes(&arguments[0]) / sizeof *x;
  for (uint64_t index = 0; index < element_count; index += 1) {
    x[index] *= factor;
  }
  return LH_OK;
}

/* resident readWrite float32 sum[n], input float32 x[n], output float32 y[n]: sum += x; y = sum */
LH_EXPORT int32_t test_accumulate(const lh_argument *arguments, uint32_t count) {
  if (count != 3) {
    return WRONG_ARGUMENTS_CODE;
  }
  float *sum = lh_argument_data(&arguments[0]);
  const float *x = lh_argument_data(&arguments[1]);
  float *y = lh_argument_data(&arguments[2]);
  uint64_t element_count = lh_argument_bytes(&arguments[0]) / sizeof *sum;
  for (uint64_t index = 0; index < element_count; index += 1) {
    sum[index] += x[index];
    y[index] = sum[index];
  }
  return LH_OK;
}

/* Bytes ---------------------------------------------------------------------------------------------------------- */

/* An empty tensor has no address, and memcpy wants one even for no bytes. */
static void copy_bytes(uint8_t *destination, const uint8_t *source, uint64_t byte_count) {
  if (byte_count > 0) {
    memcpy(destination, source, byte_count);
  }
}

/* input T x, output T y of as many bytes: y = x */
LH_EXPORT int32_t test_copy(const lh_argument *arguments, uint32_t count) {
  if (count != 2 || lh_argument_bytes(&arguments[0]) != lh_argument_bytes(&arguments[1])) {
    return WRONG_ARGUMENTS_CODE;
  }
  copy_bytes(lh_argument_data(&arguments[1]), lh_argument_data(&arguments[0]), lh_argument_bytes(&arguments[0]));
  return LH_OK;
}

/* any arguments: touches none of them */
LH_EXPORT int32_t test_nothing(const lh_argument *arguments, uint32_t count) {
  (void)arguments;
  (void)count;
  return LH_OK;
}

/* output uint8 y[n], scalar int32 first_count, scalar int32 value: writes the first bytes of y and no others */
LH_EXPORT int32_t test_write_first(const lh_argument *arguments, uint32_t count) {
  if (count != 3) {
    return WRONG_ARGUMENTS_CODE;
  }
  int32_t first_count = lh_argument_int32(&arguments[1]);
  if (first_count < 0 || (uint64_t)first_count > lh_argument_bytes(&arguments[0])) {
    return WRONG_ARGUMENTS_CODE;
  }
  if (first_count > 0) {
    memset(lh_argument_data(&arguments[0]), lh_argument_int32(&arguments[2]), (size_t)first_count);
  }
  return LH_OK;
}

/* scratch uint8 s[n], output uint8 y[n]: shows what lay in the scratch, which nobody wrote */
LH_EXPORT int32_t test_reveal(const lh_argument *arguments, uint32_t count) {
  if (count != 2 || lh_argument_bytes(&arguments[0]) < lh_argument_bytes(&arguments[1])) {
    return WRONG_ARGUMENTS_CODE;
  }
  copy_bytes(lh_argument_data(&arguments[1]), lh_argument_data(&arguments[0]), lh_argument_bytes(&arguments[1]));
  return LH_OK;
}

/* Reads what a sanitizer forbids: without its checks, and with bytes that the compiler makes no memcpy of. */
#if defined(__GNUC__)
__attribute__((no_sanitize_address))
#endif
static void copy_forbidden_bytes(uint8_t *destination, const volatile uint8_t *source, uint64_t byte_count) {
  for (uint64_t index = 0; index < byte_count; index += 1) {
    destination[index] = source[index];
  }
}

/*
 * input uint8 x[n], scalar int32 before, scalar int32 after, output uint8 y[before + after]: shows what lies around x
 *
 * It reads outside of its argument on purpose, into the padding of the slice. The bytes must lie in the same chunk.
 */
LH_EXPORT int32_t test_reveal_around(const lh_argument *arguments, uint32_t count) {
  if (count < 4) {
    return WRONG_ARGUMENTS_CODE;
  }
  int32_t before = lh_argument_int32(&arguments[1]);
  int32_t after = lh_argument_int32(&arguments[2]);
  if (before < 0 || after < 0 || lh_argument_bytes(&arguments[3]) != (uint64_t)before + (uint64_t)after) {
    return WRONG_ARGUMENTS_CODE;
  }
  const uint8_t *x = lh_argument_data(&arguments[0]);
  uint8_t *y = lh_argument_data(&arguments[3]);
  copy_forbidden_bytes(y, x - before, (uint64_t)before);
  copy_forbidden_bytes(y + before, x + lh_argument_bytes(&arguments[0]), (uint64_t)after);
  return LH_OK;
}

/*
 * inout uint8 x[n], scalar int32 offset, scalar int32 writes: writes 7 to the byte at x + offset, or reads it into
 * x[0]; with an offset outside of x this is the mistake that a sanitizer should see
 */
LH_EXPORT int32_t test_touch(const lh_argument *arguments, uint32_t count) {
  if (count < 3) {
    return WRONG_ARGUMENTS_CODE;
  }
  uint8_t *x = lh_argument_data(&arguments[0]);
  int32_t offset = lh_argument_int32(&arguments[1]);
  if (lh_argument_int32(&arguments[2]) != 0) {
    x[offset] = TOUCHED_VALUE;
  } else {
    x[0] = x[offset];
  }
  return LH_OK;
}

/* Where the kernel below remembers a tensor, from one launch to the next. */
static uint8_t *_Atomic remembered;

/*
 * inout uint8 x[n], inout uint8 y[m]: remembers y, or where y is empty reads what it remembers into x[0]; by then the
 * memory is somebody else's or nobody's, and this is another mistake that a sanitizer should see
 */
LH_EXPORT int32_t test_remember(const lh_argument *arguments, uint32_t count) {
  if (count != 2) {
    return WRONG_ARGUMENTS_CODE;
  }
  uint8_t *x = lh_argument_data(&arguments[0]);
  if (lh_argument_bytes(&arguments[1]) > 0) {
    remembered = lh_argument_data(&arguments[1]);
  } else if (remembered != NULL) {
    x[0] = *remembered;
  }
  return LH_OK;
}

/* Trusting memory ------------------------------------------------------------------------------------------------ */

/* any scratches uint8 s[n], then output uint8 y[n], scalar int32 which: y = the scratch of that index */
LH_EXPORT int32_t test_reveal_one(const lh_argument *arguments, uint32_t count) {
  if (count < 3) {
    return WRONG_ARGUMENTS_CODE;
  }
  const lh_argument *output = &arguments[count - 2];
  int32_t which = lh_argument_int32(&arguments[count - 1]);
  if (which < 0 || (uint32_t)which >= count - 2 ||
      lh_argument_bytes(&arguments[which]) != lh_argument_bytes(output)) {
    return WRONG_ARGUMENTS_CODE;
  }
  copy_bytes(lh_argument_data(output), lh_argument_data(&arguments[which]), lh_argument_bytes(output));
  return LH_OK;
}

/* scratch float32 a[n], scratch float32 b[n], output float32 y[n]: y = a - b, of what nobody wrote */
LH_EXPORT int32_t test_subtract_scratch(const lh_argument *arguments, uint32_t count) {
  if (count != 3) {
    return WRONG_ARGUMENTS_CODE;
  }
  const float *a = lh_argument_data(&arguments[0]);
  const float *b = lh_argument_data(&arguments[1]);
  float *y = lh_argument_data(&arguments[2]);
  uint64_t element_count = lh_argument_bytes(&arguments[2]) / sizeof *y;
  for (uint64_t index = 0; index < element_count; index += 1) {
    y[index] = a[index] - b[index];
  }
  return LH_OK;
}

/* scratch int32 flag[1], output int32 y[1]: y = 1 where the flag, which nobody wrote, is set, else 2 */
LH_EXPORT int32_t test_trust_flag(const lh_argument *arguments, uint32_t count) {
  if (count != 2) {
    return WRONG_ARGUMENTS_CODE;
  }
  const int32_t *flag = lh_argument_data(&arguments[0]);
  int32_t *y = lh_argument_data(&arguments[1]);
  y[0] = flag[0] != 0 ? 1 : 2;
  return LH_OK;
}

/* scratch int32 code[1], then any arguments: fails with what lies in the scratch, which nobody wrote, unless it is 0 */
LH_EXPORT int32_t test_trust_code(const lh_argument *arguments, uint32_t count) {
  if (count < 1) {
    return WRONG_ARGUMENTS_CODE;
  }
  const int32_t *code = lh_argument_data(&arguments[0]);
  return code[0] == 0 ? LH_OK : TEST_FAIL_CODE;
}

/* output int8 y[n]: writes 0 where it finds a negative number, and leaves all others as they are */
LH_EXPORT int32_t test_clamp(const lh_argument *arguments, uint32_t count) {
  if (count != 1) {
    return WRONG_ARGUMENTS_CODE;
  }
  int8_t *y = lh_argument_data(&arguments[0]);
  for (uint64_t index = 0; index < lh_argument_bytes(&arguments[0]); index += 1) {
    if (y[index] < 0) {
      y[index] = 0;
    }
  }
  return LH_OK;
}

/* Calls of the kernel below since the library was loaded, and since the last call with a new period. */
static _Atomic int32_t counted_period;
static _Atomic int32_t counted_calls;

/*
 * output int32 y[1], scalar int32 period, scalar int32 phase: y = 1 in those calls with this period whose number,
 * divided by the period, leaves the phase, else 0. So it does not depend on its arguments alone.
 */
LH_EXPORT int32_t test_count_calls(const lh_argument *arguments, uint32_t count) {
  if (count != 3 || lh_argument_int32(&arguments[1]) < 1) {
    return WRONG_ARGUMENTS_CODE;
  }
  int32_t period = lh_argument_int32(&arguments[1]);
  if (counted_period != period) {
    counted_period = period;
    counted_calls = 0;
  }
  int32_t *y = lh_argument_data(&arguments[0]);
  y[0] = counted_calls % period == lh_argument_int32(&arguments[2]) ? 1 : 0;
  counted_calls += 1;
  return LH_OK;
}

/* Failures ------------------------------------------------------------------------------------------------------- */

/* any arguments: fails with code 7 */
LH_EXPORT int32_t test_fail(const lh_argument *arguments, uint32_t count) {
  (void)arguments;
  (void)count;
  return TEST_FAIL_CODE;
}

/* scalar int32 code, then any arguments: fails with the code, unless it is 0 */
LH_EXPORT int32_t test_fail_if(const lh_argument *arguments, uint32_t count) {
  return count >= 1 ? lh_argument_int32(&arguments[0]) : WRONG_ARGUMENTS_CODE;
}

/* any arguments: loses the device */
LH_EXPORT int32_t test_lose_device(const lh_argument *arguments, uint32_t count) {
  (void)arguments;
  (void)count;
  return LH_DEVICE_LOST;
}

/* scalar int32 condition, then any arguments: loses the device, unless it is 0 */
LH_EXPORT int32_t test_lose_device_if(const lh_argument *arguments, uint32_t count) {
  if (count < 1) {
    return WRONG_ARGUMENTS_CODE;
  }
  return lh_argument_int32(&arguments[0]) == 0 ? LH_OK : LH_DEVICE_LOST;
}

/* The gate ------------------------------------------------------------------------------------------------------- */

static struct gate {
  pthread_mutex_t mutex;
  pthread_cond_t opened;
  bool is_open;
  int32_t waiting_count;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};

LH_EXPORT void lh_test_gate_open(void);
LH_EXPORT void lh_test_gate_close(void);
LH_EXPORT int32_t lh_test_gate_waiting(void);

/* Lets through whoever waits at the gate, and whoever comes until it is closed again. */
void lh_test_gate_open(void) {
  pthread_mutex_lock(&gate.mutex);
  gate.is_open = true;
  pthread_cond_broadcast(&gate.opened);
  pthread_mutex_unlock(&gate.mutex);
}

void lh_test_gate_close(void) {
  pthread_mutex_lock(&gate.mutex);
  gate.is_open = false;
  pthread_mutex_unlock(&gate.mutex);
}

/* How many kernels stand at the gate now. */
int32_t lh_test_gate_waiting(void) {
  pthread_mutex_lock(&gate.mutex);
  int32_t waiting_count = gate.waiting_count;
  pthread_mutex_unlock(&gate.mutex);
  return waiting_count;
}

/* any arguments: waits until the gate is open; fails with code 99 after 20 seconds, so that no test hangs for ever */
LH_EXPORT int32_t test_gate(const lh_argument *arguments, uint32_t count) {
  (void)arguments;
  (void)count;
  struct timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += GATE_TIMEOUT_SECONDS;
  int code = 0;
  pthread_mutex_lock(&gate.mutex);
  gate.waiting_count += 1;
  while (!gate.is_open && code == 0) {
    code = pthread_cond_timedwait(&gate.opened, &gate.mutex, &deadline);
  }
  gate.waiting_count -= 1;
  bool is_open = gate.is_open;
  pthread_mutex_unlock(&gate.mutex);
  return is_open ? LH_OK : GATE_TIMEOUT_CODE;
}

/* input T x, output T y of as many bytes: waits until the gate is open, then y = x */
LH_EXPORT int32_t test_gate_copy(const lh_argument *arguments, uint32_t count) {
  int32_t code = test_gate(NULL, 0);
  return code == LH_OK ? test_copy(arguments, count) : code;
}

/* Whole tables --------------------------------------------------------------------------------------------------- */

/* any number of tensors, then output float64 y[1]: the sum of all bytes of each, plus 31 times its index */
LH_EXPORT int32_t test_checksum(const lh_argument *arguments, uint32_t count) {
  if (count < 1 || lh_argument_bytes(&arguments[count - 1]) != sizeof(double)) {
    return WRONG_ARGUMENTS_CODE;
  }
  double sum = 0;
  for (uint32_t index = 0; index + 1 < count; index += 1) {
    const uint8_t *bytes = lh_argument_data(&arguments[index]);
    uint64_t byte_count = lh_argument_bytes(&arguments[index]);
    sum += 31.0 * index;
    for (uint64_t offset = 0; offset < byte_count; offset += 1) {
      sum += bytes[offset];
    }
  }
  memcpy(lh_argument_data(&arguments[count - 1]), &sum, sizeof sum);
  return LH_OK;
}

static bool is_aligned(const lh_argument *argument) {
  uint64_t alignment_bytes = (uint64_t)argument->alignment_bytes;
  return alignment_bytes == 0 || (uint64_t)argument->address % alignment_bytes == 0;
}

/*
 * any arguments, then output float64 y[6 * their count]: kind, dtype, byte_count, whether the address is aligned as
 * promised (1 or 0), rank, and dims[0] of each
 */
LH_EXPORT int32_t test_describe(const lh_argument *arguments, uint32_t count) {
  if (count < 1) {
    return WRONG_ARGUMENTS_CODE;
  }
  const lh_argument *description = &arguments[count - 1];
  uint64_t needed_bytes = (uint64_t)(count - 1) * DESCRIBED_COUNT * sizeof(double);
  if (lh_argument_bytes(description) < needed_bytes) {
    return WRONG_ARGUMENTS_CODE;
  }
  double *y = lh_argument_data(description);
  for (uint32_t index = 0; index + 1 < count; index += 1) {
    const lh_argument *argument = &arguments[index];
    double *described = y + (uint64_t)index * DESCRIBED_COUNT;
    described[0] = argument->kind;
    described[1] = argument->dtype;
    described[2] = argument->byte_count;
    described[3] = is_aligned(argument) ? 1 : 0;
    described[4] = argument->rank;
    described[5] = argument->dims[0];
  }
  return LH_OK;
}
