/*
 * crowd_test.c: four threads that do a million random operations, each device shared by all, under a thread sanitizer.
 *
 * Each thread knows what every byte of its own memory holds, and nobody else may change it. `crowd_test OPERATIONS`
 * does so many over all devices and threads together, and `crowd_test OPERATIONS SEED` starts from another seed.
 */
#include "support.h"

#include "simulator/sanitizer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREAD_COUNT = 4, BLOCK_COUNT = 16, BLOCK_MAX_BYTES = 1024, DEVICE_BYTES = 1 << 20, ENTRY_COUNT = 3 };

/* A crowd is what the thread sanitizer is for; the address sanitizer sees a tenth of it. */
static uint64_t operation_count = IS_SANITIZED ? 100000 : 1000000;
static uint64_t first_seed = 1;

/* The share of each device. On a late one an operation takes ten times as long, because it waits for other threads. */
enum { IMMEDIATE_PERCENT = 55, SERIAL_PERCENT = 15, OVERLAPPING_PERCENT = 20, EXAMINED_PERCENT = 10 };

/* A block of device memory, all of whose bytes are the same. */
typedef struct block {
  lh_address address; /* 0: none */
  uint32_t byte_count;
  uint8_t value;
} block;

typedef struct worker {
  pthread_t thread;
  lh_context *context;
  lh_kernel write_first;
  uint64_t random_state;
  uint64_t operation_count;
  lh_address host; /* of the device's own */
  block blocks[BLOCK_COUNT];
  uint64_t malloc_count;
  uint64_t free_count;
  uint64_t launch_count;
  uint64_t wrong_count; /* bytes that are not what they should be */
} worker;

/* A linear congruential generator, of which the upper half is used. */
static uint32_t random_below(worker *self, uint32_t bound) {
  self->random_state = self->random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((self->random_state >> 32) % bound);
}

static void check_value(worker *self, const uint8_t *bytes, uint32_t byte_count, uint8_t value) {
  for (uint32_t index = 0; index < byte_count; index += 1) {
    self->wrong_count += bytes[index] == value ? 0 : 1;
  }
}

/* Submits a table on any lane and waits for its end. */
static void move(worker *self, const lh_transfer *transfers, uint32_t count) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status =
      lh_submit(self->context, random_below(self, LH_LANE_COUNT), transfers, count, &ticket, &failed_index);
  CHECK_STATUS(status, LH_OK);
  if (status == LH_OK && ticket != 0) {
    CHECK_STATUS(await(self->context, ticket), LH_OK);
  }
}

/* Operations ------------------------------------------------------------------------------------------------------ */

static void take_block(worker *self, block *taken) {
  taken->byte_count = 1 + random_below(self, BLOCK_MAX_BYTES);
  lh_status status = lh_malloc(self->context, taken->byte_count, 1ull << random_below(self, 9), &taken->address);
  CHECK_STATUS(status, LH_OK);
  taken->value = 0xFF;
  self->malloc_count += 1;
}

static void free_block(worker *self, block *freed) {
  CHECK_STATUS(lh_free(self->context, freed->address), LH_OK);
  freed->address = 0;
  self->free_count += 1;
}

static void fill_block(worker *self, block *filled) {
  filled->value = (uint8_t)random_below(self, 256);
  const lh_transfer transfers[] = {fill(filled->address, filled->value, filled->byte_count)};
  move(self, transfers, 1);
}

static void bring_to_block(worker *self, block *brought) {
  uint8_t *host = (uint8_t *)(uintptr_t)self->host;
  brought->value = (uint8_t)random_below(self, 256);
  const lh_transfer transfers[ENTRY_COUNT] = {
      {LH_TRANSFER_HOST_FILL, self->host, brought->value, brought->byte_count},
      {LH_TRANSFER_COPY_IN, brought->address, self->host, brought->byte_count},
      {LH_TRANSFER_COPY_OUT, self->host + BLOCK_MAX_BYTES, brought->address, brought->byte_count},
  };
  move(self, transfers, ENTRY_COUNT);
  check_value(self, host + BLOCK_MAX_BYTES, brought->byte_count, brought->value);
}

static void read_block(worker *self, const block *seen) {
  uint8_t host[BLOCK_MAX_BYTES];
  const lh_transfer transfers[] = {copy_out(host, seen->address, seen->byte_count)};
  move(self, transfers, 1);
  check_value(self, host, seen->byte_count, seen->value);
}

static void launch_on_block(worker *self, block *written) {
  written->value = (uint8_t)random_below(self, 256);
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, written->address, written->byte_count),
                                   scalar_int32((int32_t)written->byte_count), scalar_int32(written->value)};
  lh_ticket ticket = 0;
  CHECK_STATUS(launch(self->context, self->write_first, arguments, 3, &ticket), LH_OK);
  if (ticket != 0) {
    CHECK_STATUS(await(self->context, ticket), LH_OK);
  }
  self->launch_count += 1;
}

/* Questions, mistakes, and host memory, which comes and goes. */
static void do_something_else(worker *self) {
  lh_address host = 0;
  switch (random_below(self, 5)) {
  case 0:
    CHECK_STATUS(lh_free(self->context, 64), LH_FOREIGN_POINTER);
    break;
  case 1:
    last_error_of(self->context);
    break;
  case 2:
    CHECK(statistics_of(self->context).live_count <= THREAD_COUNT * BLOCK_COUNT);
    break;
  case 3:
    CHECK(free_bytes_of(self->context) <= DEVICE_BYTES);
    break;
  default:
    CHECK_STATUS(lh_host_malloc(self->context, 1 + random_below(self, BLOCK_MAX_BYTES), &host), LH_OK);
    CHECK_STATUS(lh_host_free(self->context, host), LH_OK);
    break;
  }
}

static void operate(worker *self) {
  block *chosen = &self->blocks[random_below(self, BLOCK_COUNT)];
  uint32_t dice = random_below(self, 100);
  if (dice < 15) {
    do_something_else(self);
  } else if (chosen->address == 0) {
    take_block(self, chosen);
  } else if (dice < 35) {
    free_block(self, chosen);
  } else if (dice < 55) {
    fill_block(self, chosen);
  } else if (dice < 65) {
    bring_to_block(self, chosen);
  } else if (dice < 85) {
    read_block(self, chosen);
  } else {
    launch_on_block(self, chosen);
  }
}

static void *run_worker(void *argument) {
  worker *self = argument;
  CHECK_STATUS(lh_host_malloc(self->context, 2 * BLOCK_MAX_BYTES, &self->host), LH_OK);
  for (uint64_t count = 0; count < self->operation_count; count += 1) {
    operate(self);
  }
  for (size_t index = 0; index < BLOCK_COUNT; index += 1) {
    if (self->blocks[index].address != 0) {
      read_block(self, &self->blocks[index]);
      free_block(self, &self->blocks[index]);
    }
  }
  CHECK_STATUS(lh_host_free(self->context, self->host), LH_OK);
  return NULL;
}

/* Devices --------------------------------------------------------------------------------------------------------- */

static void run_crowd(const char *settings, uint64_t percent) {
  uint64_t count = operation_count * percent / 100 / THREAD_COUNT;
  printf("     crowd: %d threads, seeds from %llu, %llu operations each on %s\n", THREAD_COUNT,
         (unsigned long long)first_seed, (unsigned long long)count, settings);
  lh_context *context = open_device(settings);
  static worker workers[THREAD_COUNT];
  uint64_t malloc_count = 0;
  uint64_t launch_count = 0;
  for (uint32_t index = 0; index < THREAD_COUNT; index += 1) {
    workers[index] = (worker){.context = context,
                              .write_first = find_kernel(context, "test_write_first"),
                              .random_state = first_seed + index,
                              .operation_count = count};
    CHECK_NUMBER(pthread_create(&workers[index].thread, NULL, run_worker, &workers[index]), 0);
  }
  for (uint32_t index = 0; index < THREAD_COUNT; index += 1) {
    CHECK_NUMBER(pthread_join(workers[index].thread, NULL), 0);
    CHECK_NUMBER(workers[index].wrong_count, 0);
    CHECK_NUMBER(workers[index].malloc_count, workers[index].free_count);
    malloc_count += workers[index].malloc_count;
    launch_count += workers[index].launch_count;
  }
  lh_statistics statistics = statistics_of(context);
  CHECK_NUMBER(statistics.malloc_count, malloc_count);
  CHECK_NUMBER(statistics.free_count, malloc_count);
  CHECK_NUMBER(statistics.launch_count, launch_count);
  CHECK_NUMBER(statistics.live_count, 0);
  CHECK_NUMBER(statistics.host_live_count, 0);
  CHECK_NUMBER(statistics.in_flight_count, 0);
  CHECK_NUMBER(free_bytes_of(context), DEVICE_BYTES);
  close_device(context);
}

static void on_an_immediate_device(void) { run_crowd("total_bytes=1048576", IMMEDIATE_PERCENT); }

static void on_serial_lanes(void) {
  run_crowd("total_bytes=1048576 completion=late lanes=serial", SERIAL_PERCENT);
}

static void on_lanes_that_overlap(void) {
  run_crowd("total_bytes=1048576 completion=late lanes=overlap", OVERLAPPING_PERCENT);
}

static void in_the_memory_lab(void) {
  run_crowd("total_bytes=1048576 completion=late lanes=overlap memory_lab=fail", EXAMINED_PERCENT);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"crowd: shares an immediate device", on_an_immediate_device},
      {"crowd: shares a late device with serial lanes", on_serial_lanes},
      {"crowd: shares a late device with lanes that overlap", on_lanes_that_overlap},
      {"crowd: shares a device whose launches are examined", in_the_memory_lab},
  };
  operation_count = argument_count > 1 ? strtoull(arguments[1], NULL, 10) : operation_count;
  first_seed = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : first_seed;
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
