/*
 * threads_test.c: many threads in one context, to be run under a thread sanitizer too.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { THREAD_COUNT = 4, ROUND_COUNT = 400, BLOCK_BYTES = 1024 };

/* Several threads at once -------------------------------------------------------------------------------------- */

typedef struct worker {
  pthread_t thread;
  lh_context *context;
  lh_kernel scale;
  uint32_t number;
} worker;

/* Ends work that may have ended within its call. */
static void finish(lh_context *context, lh_status status, lh_ticket ticket) {
  CHECK_STATUS(status, LH_OK);
  if (ticket != 0) {
    CHECK_STATUS(await(context, ticket), LH_OK);
  }
}

/* Brings floats to the device, scales them there, and brings them back. */
static void run_round(worker *self, float *host, lh_address host_block, float value) {
  lh_context *context = self->context;
  const size_t element_count = BLOCK_BYTES / sizeof *host;
  lh_address device = 0;
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  CHECK_STATUS(lh_malloc(context, BLOCK_BYTES, 256, &device), LH_OK);
  for (size_t index = 0; index < element_count; index += 1) {
    host[index] = value;
  }
  const lh_transfer in[] = {
      {LH_TRANSFER_HOST_COPY, host_block, address_of(host), BLOCK_BYTES},
      {LH_TRANSFER_COPY_IN, device, host_block, BLOCK_BYTES},
      fill(device, 0, sizeof(float)),
  };
  lh_status status = lh_submit(context, LH_LANE_IN, in, 3, &ticket, &failed_index);
  finish(context, status, ticket);
  const lh_argument scaled[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_FLOAT32, device, element_count),
                                scalar_float32(2)};
  status = lh_launch(context, LH_LANE_COMPUTE, self->scale, NULL, scaled, 2, 0, &ticket, &failed_index);
  finish(context, status, ticket);
  const lh_transfer out[] = {{LH_TRANSFER_COPY_OUT, host_block, device, BLOCK_BYTES}};
  status = lh_submit(context, LH_LANE_OUT, out, 1, &ticket, &failed_index);
  finish(context, status, ticket);
  const lh_transfer collected[] = {{LH_TRANSFER_HOST_COPY, address_of(host), host_block, BLOCK_BYTES}};
  CHECK_STATUS(lh_collect(context, collected, 1, &failed_index), LH_OK);
  CHECK_NUMBER(host[0], 0);
  CHECK_NUMBER(host[element_count - 1], 2 * value);
  CHECK_STATUS(lh_free(context, device), LH_OK);
}

static void *run_worker(void *argument) {
  worker *self = argument;
  lh_context *context = self->context;
  float host[BLOCK_BYTES / sizeof(float)];
  for (uint32_t round = 0; round < ROUND_COUNT; round += 1) {
    lh_address host_block = 0;
    CHECK_STATUS(lh_host_malloc(context, BLOCK_BYTES, &host_block), LH_OK);
    run_round(self, host, host_block, (float)(self->number * ROUND_COUNT + round));
    CHECK_STATUS(lh_host_free(context, host_block), LH_OK);
    CHECK_STATUS(lh_free(context, 64), LH_FOREIGN_POINTER);
    last_error_of(context);
    CHECK(statistics_of(context).live_count <= THREAD_COUNT);
    CHECK(free_bytes_of(context) <= 1 << 20);
  }
  return NULL;
}

static void run_workers(const char *settings) {
  lh_context *context = open_device(settings);
  worker workers[THREAD_COUNT];
  for (uint32_t index = 0; index < THREAD_COUNT; index += 1) {
    workers[index] = (worker){.context = context, .scale = find_kernel(context, "test_scale"), .number = index};
    CHECK_NUMBER(pthread_create(&workers[index].thread, NULL, run_worker, &workers[index]), 0);
  }
  for (uint32_t index = 0; index < THREAD_COUNT; index += 1) {
    CHECK_NUMBER(pthread_join(workers[index].thread, NULL), 0);
  }
  const uint64_t round_count = THREAD_COUNT * ROUND_COUNT;
  lh_statistics statistics = statistics_of(context);
  CHECK_NUMBER(statistics.live_count, 0);
  CHECK_NUMBER(statistics.live_bytes, 0);
  CHECK_NUMBER(statistics.host_live_count, 0);
  CHECK_NUMBER(statistics.in_flight_count, 0);
  CHECK_NUMBER(statistics.malloc_count, round_count);
  CHECK_NUMBER(statistics.free_count, round_count);
  CHECK_NUMBER(statistics.launch_count, round_count);
  CHECK_NUMBER(statistics.copy_in_count, round_count);
  CHECK_NUMBER(statistics.copied_out_bytes, round_count * BLOCK_BYTES);
  CHECK_NUMBER(free_bytes_of(context), 1 << 20);
  close_device(context);
}

static void share_an_immediate_device(void) { run_workers("total_bytes=1048576"); }

static void share_serial_lanes(void) { run_workers("total_bytes=1048576 completion=late lanes=serial"); }

static void share_lanes_that_overlap(void) {
  run_workers("total_bytes=1048576 completion=late lanes=overlap clock=virtual transfer_nanos=1 launch_nanos=1");
}

/* Freeing beside running work ------------------------------------------------------------------------------------ */

typedef struct gated_launch {
  pthread_t thread;
  lh_context *context;
  lh_argument argument;
  lh_address freed;
  lh_status launch_status;
  lh_status free_status;
  atomic_bool has_freed;
} gated_launch;

static void *run_gated_launch(void *argument) {
  gated_launch *self = argument;
  lh_kernel kernel = find_kernel(self->context, "test_gate");
  self->launch_status = launch(self->context, kernel, &self->argument, 1, NULL);
  return NULL;
}

static void *run_one_free(void *argument) {
  gated_launch *self = argument;
  self->free_status = lh_free(self->context, self->freed);
  atomic_store(&self->has_freed, true);
  return NULL;
}

static void free_waits_for_the_kernel_that_uses_the_memory(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address used = take(context, 64);
  lh_address unused = take(context, 64);
  gated_launch launched = {
      .context = context,
      .argument = tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, used + 32, 8),
      .freed = used,
  };
  atomic_init(&launched.has_freed, false);
  gate_close();
  CHECK_NUMBER(pthread_create(&launched.thread, NULL, run_gated_launch, &launched), 0);
  await_gate(1);
  /* Memory that the kernel does not use is free at once, or this would hang. */
  CHECK_STATUS(lh_free(context, unused), LH_OK);
  pthread_t frees;
  CHECK_NUMBER(pthread_create(&frees, NULL, run_one_free, &launched), 0);
  while (statistics_of(context).live_count > 0) {
    sleep_millis(1);
  }
  sleep_millis(20);
  CHECK(!atomic_load(&launched.has_freed));
  gate_open();
  CHECK_NUMBER(pthread_join(frees, NULL), 0);
  CHECK_NUMBER(pthread_join(launched.thread, NULL), 0);
  CHECK_STATUS(launched.launch_status, LH_OK);
  CHECK_STATUS(launched.free_status, LH_OK);
  CHECK_NUMBER(free_bytes_of(context), 4096);
  close_device(context);
}

/* One thread frees what the others copy from: they see it live, or they see it freed, and never in between. */
static void *run_reader(void *argument) {
  gated_launch *self = argument;
  uint8_t seen[BLOCK_BYTES];
  const lh_transfer transfers[] = {copy_out(seen, self->freed, BLOCK_BYTES)};
  lh_status status = LH_OK;
  while (status == LH_OK) {
    memset(seen, 0, sizeof seen);
    status = submit(self->context, transfers, 1, NULL);
    for (size_t index = 0; index < BLOCK_BYTES && status == LH_OK; index += 1) {
      CHECK_NUMBER(seen[index], 0xFF);
    }
  }
  CHECK_STATUS(status, LH_USE_AFTER_FREE);
  return NULL;
}

static void free_waits_for_copies_that_use_the_memory(void) {
  lh_context *context = open_device("total_bytes=1048576");
  for (int round = 0; round < 50; round += 1) {
    gated_launch shared = {.context = context, .freed = take(context, BLOCK_BYTES)};
    pthread_t readers[THREAD_COUNT - 1];
    for (int index = 0; index < THREAD_COUNT - 1; index += 1) {
      CHECK_NUMBER(pthread_create(&readers[index], NULL, run_reader, &shared), 0);
    }
    CHECK_STATUS(lh_free(context, shared.freed), LH_OK);
    for (int index = 0; index < THREAD_COUNT - 1; index += 1) {
      CHECK_NUMBER(pthread_join(readers[index], NULL), 0);
    }
  }
  close_device(context);
}

/* Opening and ending --------------------------------------------------------------------------------------------- */

static void *run_openings(void *argument) {
  const worker *self = argument;
  for (uint32_t round = 0; round < 40; round += 1) {
    lh_context *context = open_device(round % 2 == 0 ? "total_bytes=65536 completion=late lanes=overlap"
                                                     : "total_bytes=65536");
    lh_address device = take(context, 64);
    lh_ticket ticket = 0;
    const lh_transfer transfers[] = {fill(device, 0, 64)};
    CHECK_STATUS(submit(context, transfers, 1, &ticket), LH_OK);
    if ((round + self->number) % 4 < 2) {
      close_device(context);
    } else {
      CHECK_STATUS(lh_context_abandon(context), LH_OK);
    }
  }
  return NULL;
}

static void contexts_come_and_go_beside_each_other(void) {
  worker workers[THREAD_COUNT];
  for (uint32_t index = 0; index < THREAD_COUNT; index += 1) {
    workers[index] = (worker){.number = index};
    CHECK_NUMBER(pthread_create(&workers[index].thread, NULL, run_openings, &workers[index]), 0);
  }
  for (uint32_t index = 0; index < THREAD_COUNT; index += 1) {
    CHECK_NUMBER(pthread_join(workers[index].thread, NULL), 0);
  }
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"threads: share an immediate device", share_an_immediate_device},
      {"threads: share a late device with serial lanes", share_serial_lanes},
      {"threads: share a late device with lanes that overlap", share_lanes_that_overlap},
      {"threads: free waits for the kernel that uses the memory", free_waits_for_the_kernel_that_uses_the_memory},
      {"threads: free waits for copies that use the memory", free_waits_for_copies_that_use_the_memory},
      {"threads: contexts come and go beside each other", contexts_come_and_go_beside_each_other},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
