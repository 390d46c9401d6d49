/*
 * bench.c: what the benchmark compares with, and the kernels that it launches.
 *
 * The loops are what a careful C program does with one retained buffer, and with a malloc for each tensor. They are
 * compiled as the simulator is.
 */
#include "leasehold_kernel.h"

#include <stdlib.h>
#include <time.h>

/* A tensor's hold on device memory, and how it is released. */
typedef struct lease {
  uint32_t kind;
  uint32_t reserved;
  char *address;
  uint64_t byte_count;
} lease;

enum { LEASE_FREE = 1, LEASE_BUFFER = 2 };

/* What one run moves: the host views by address, inputs first, all of the same size. */
typedef struct views {
  const double *addresses;
  uint32_t input_count;
  uint32_t count;
  uint64_t byte_count;
} views;

static char *view_at(const views *moved, uint32_t index) { return (char *)(uintptr_t)moved->addresses[index]; }

/* The compiler must not know that nothing happens to the device's memory. */
static inline void hide_memory(void) { __asm__ volatile("" ::: "memory"); }

static void echo(uint8_t *destination, const uint8_t *source, uint64_t byte_count) {
  for (uint64_t index = 0; index < byte_count; index += 1) {
    destination[index] = (uint8_t)~source[index];
  }
}

/*
 * What a launch would be: nothing where runs are timed. Where results are checked, the echo: the first output gets the
 * bytes of the first input inverted, and so on, so that what comes back tells what went in.
 */
static inline void launch(const views *moved, const lease *leases, int32_t is_echo) {
  hide_memory();
  if (is_echo != 0) {
    for (uint32_t index = moved->input_count; index < moved->count; index += 1) {
      echo((uint8_t *)leases[index].address, (const uint8_t *)leases[index - moved->input_count].address,
           moved->byte_count);
    }
  }
}

/* Launches and copies back, then walks the leases as a run does when it ends. */
static void finish(const views *moved, const lease *leases, int32_t is_echo) {
  launch(moved, leases, is_echo);
  for (uint32_t index = moved->input_count; index < moved->count; index += 1) {
    memcpy(view_at(moved, index), leases[index].address, moved->byte_count);
  }
  for (uint32_t index = moved->count; index > 0; index -= 1) {
    if (leases[index - 1].kind == LEASE_FREE) {
      free(leases[index - 1].address);
    }
  }
  hide_memory();
}

/* Runs with one retained buffer, sliced by moving an offset. Answers how many runs were made, or -1. */
LH_EXPORT int32_t bench_c_retained(const double *addresses, uint32_t input_count, uint32_t count, uint64_t byte_count,
                                   double buffer_address, uint64_t slice_bytes, int32_t run_count, int32_t is_echo) {
  const views moved = {.addresses = addresses, .input_count = input_count, .count = count, .byte_count = byte_count};
  lease *leases = malloc(count * sizeof *leases);
  if (leases == NULL) {
    return -1;
  }
  for (int32_t run = 0; run < run_count; run += 1) {
    char *next = (char *)(uintptr_t)buffer_address;
    for (uint32_t index = 0; index < count; index += 1) {
      leases[index] = (lease){.kind = LEASE_BUFFER, .address = next, .byte_count = byte_count};
      next += slice_bytes;
      if (index < input_count) {
        memcpy(leases[index].address, view_at(&moved, index), byte_count);
      }
    }
    finish(&moved, leases, is_echo);
  }
  free(leases);
  return run_count;
}

/* The same with an aligned malloc and a free for each tensor. */
LH_EXPORT int32_t bench_c_malloc(const double *addresses, uint32_t input_count, uint32_t count, uint64_t byte_count,
                                 uint64_t alignment_bytes, int32_t run_count, int32_t is_echo) {
  const views moved = {.addresses = addresses, .input_count = input_count, .count = count, .byte_count = byte_count};
  lease *leases = malloc(count * sizeof *leases);
  if (leases == NULL) {
    return -1;
  }
  for (int32_t run = 0; run < run_count; run += 1) {
    for (uint32_t index = 0; index < count; index += 1) {
      void *address = NULL;
      if (posix_memalign(&address, alignment_bytes, byte_count) != 0) {
        abort();
      }
      leases[index] = (lease){.kind = LEASE_FREE, .address = address, .byte_count = byte_count};
      if (index < input_count) {
        memcpy(address, view_at(&moved, index), byte_count);
      }
    }
    finish(&moved, leases, is_echo);
  }
  free(leases);
  return run_count;
}

/* What a program in JavaScript calls for one tensor. ------------------------------------------------------------- */

LH_EXPORT void *bench_malloc(uint64_t alignment_bytes, uint64_t byte_count) {
  void *address = NULL;
  return posix_memalign(&address, alignment_bytes, byte_count) == 0 ? address : NULL;
}

LH_EXPORT void bench_free(void *address) { free(address); }

LH_EXPORT void bench_copy_in(void *destination, const uint8_t *view, uint64_t byte_count) {
  memcpy(destination, view, byte_count);
}

LH_EXPORT void bench_copy_out(uint8_t *view, const void *source, uint64_t byte_count) {
  memcpy(view, source, byte_count);
}

/* The echo of one tensor. */
LH_EXPORT void bench_echo_tensor(void *destination, const void *source, uint64_t byte_count) {
  echo(destination, source, byte_count);
}

/* What this file was compiled with. */
LH_EXPORT const char *bench_compiler(void) {
#ifdef __clang__
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

/* Kernels -------------------------------------------------------------------------------------------------------- */

LH_EXPORT int32_t bench_empty(const lh_argument *arguments, uint32_t count) {
  (void)arguments;
  (void)count;
  return LH_OK;
}

/* inputs uint8[n], then at most as many outputs uint8[n]: the echo. */
LH_EXPORT int32_t bench_echo(const lh_argument *arguments, uint32_t count) {
  uint32_t input_count = 0;
  while (input_count < count && arguments[input_count].kind == LH_ARGUMENT_INPUT) {
    input_count += 1;
  }
  for (uint32_t index = input_count; index < count; index += 1) {
    if (arguments[index].kind != LH_ARGUMENT_OUTPUT || index - input_count >= input_count) {
      return LH_INVALID_ARGUMENT;
    }
    echo(lh_argument_data(&arguments[index]), lh_argument_data(&arguments[index - input_count]),
         lh_argument_bytes(&arguments[index]));
  }
  return LH_OK;
}

/* scalar int32 milliseconds: takes that long, without work. */
LH_EXPORT int32_t bench_sleep(const lh_argument *arguments, uint32_t count) {
  if (count != 1) {
    return LH_INVALID_ARGUMENT;
  }
  int32_t millis = lh_argument_int32(&arguments[0]);
  const struct timespec duration = {.tv_sec = millis / 1000, .tv_nsec = (long)(millis % 1000) * 1000000};
  return nanosleep(&duration, NULL) == 0 ? LH_OK : LH_LAUNCH_FAILED;
}
