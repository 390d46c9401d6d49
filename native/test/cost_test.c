/*
 * cost_test.c: what work costs, counted on the virtual clock and slept on the real one.
 */
#include "support.h"

#include <pthread.h>

static uint64_t clock_of(lh_context *context) { return statistics_of(context).clock_nanos; }

/* Submits a fill on a lane and returns its ticket. */
static lh_ticket fill_on(lh_context *context, uint32_t lane, lh_address address) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  const lh_transfer transfers[] = {fill(address, 0, 1)};
  CHECK_STATUS(lh_submit(context, lane, transfers, 1, &ticket, &failed_index), LH_OK);
  return ticket;
}

static lh_ticket launch_on(lh_context *context, uint32_t lane) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_kernel kernel = find_kernel(context, "test_nothing");
  CHECK_STATUS(lh_launch(context, lane, kernel, NULL, NULL, 0, 0, &ticket, &failed_index), LH_OK);
  return ticket;
}

/* The virtual clock ---------------------------------------------------------------------------------------------- */

static void counts_each_kind_of_work(void) {
  lh_context *context = open_device("total_bytes=4096 clock=virtual malloc_nanos=1000000000000 free_nanos=10000000 "
                                    "transfer_nanos=1000 launch_nanos=100000");
  CHECK_NUMBER(clock_of(context), 0);
  lh_address device = take(context, 64);
  CHECK_NUMBER(clock_of(context), 1000000000000.0);
  char host[64] = "";
  const lh_transfer transfers[] = {
      copy_in(device, host, 64),    fill(device, 0, 64),          copy_out(host, device, 64),
      host_copy(host, host + 1, 8), host_fill(host, 0, 64),
  };
  CHECK_STATUS(submit(context, transfers, 5, NULL), LH_OK);
  CHECK_NUMBER(clock_of(context), 1000000003000.0);
  launch_on(context, LH_LANE_COMPUTE);
  CHECK_NUMBER(clock_of(context), 1000000103000.0);
  CHECK_STATUS(lh_free(context, device), LH_OK);
  CHECK_NUMBER(clock_of(context), 1000010103000.0);
  close_device(context);
}

static void counts_bytes_at_their_rate(void) {
  lh_context *context =
      open_device("total_bytes=4096 clock=virtual in_bytes_per_second=3 out_bytes_per_second=1000000000");
  lh_address device = take(context, 64);
  char host[64] = "";
  /* A third of a second, rounded up. */
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_COPY_IN, device, address_of(host), 1}, 1, NULL), LH_OK);
  CHECK_NUMBER(clock_of(context), 333333334);
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_COPY_OUT, address_of(host), device, 64}, 1, NULL), LH_OK);
  CHECK_NUMBER(clock_of(context), 333333334 + 64);
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_FILL, device, 0, 64}, 1, NULL), LH_OK);
  CHECK_NUMBER(clock_of(context), 333333334 + 64);
  close_device(context);
}

static void counts_nothing_for_what_is_refused(void) {
  lh_context *context = open_device("total_bytes=4096 clock=virtual malloc_nanos=1 free_nanos=1 transfer_nanos=1");
  lh_address address = 0;
  CHECK_STATUS(lh_malloc(context, 8192, 1, &address), LH_OUT_OF_MEMORY);
  CHECK_STATUS(lh_free(context, 64), LH_FOREIGN_POINTER);
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_FILL, 64, 0, 1}, 1, NULL), LH_FOREIGN_POINTER);
  CHECK_NUMBER(clock_of(context), 0);
  close_device(context);
}

static void adds_up_where_calls_block(void) {
  lh_context *context = open_device("total_bytes=4096 clock=virtual lanes=overlap transfer_nanos=10 launch_nanos=30");
  lh_address device = take(context, 64);
  fill_on(context, LH_LANE_IN, device);
  launch_on(context, LH_LANE_COMPUTE);
  fill_on(context, LH_LANE_OUT, device);
  CHECK_NUMBER(clock_of(context), 50);
  close_device(context);
}

static void adds_up_on_serial_lanes(void) {
  lh_context *context = open_device("total_bytes=4096 clock=virtual completion=late lanes=serial transfer_nanos=10 "
                                    "launch_nanos=30 malloc_nanos=5");
  lh_address device = take(context, 64);
  fill_on(context, LH_LANE_IN, device);
  launch_on(context, LH_LANE_COMPUTE);
  take(context, 64);
  fill_on(context, LH_LANE_OUT, device);
  CHECK_NUMBER(clock_of(context), 60);
  close_device(context);
}

static void takes_the_longest_of_lanes_that_overlap(void) {
  lh_context *context = open_device("total_bytes=4096 clock=virtual completion=late lanes=overlap transfer_nanos=10 "
                                    "launch_nanos=30");
  lh_address device = take(context, 64);
  fill_on(context, LH_LANE_IN, device);
  launch_on(context, LH_LANE_COMPUTE);
  fill_on(context, LH_LANE_OUT, device);
  CHECK_NUMBER(clock_of(context), 30);
  for (int count = 0; count < 4; count += 1) {
    fill_on(context, LH_LANE_IN, device);
  }
  CHECK_NUMBER(clock_of(context), 50);
  close_device(context);
}

static void counts_work_that_waited_for_other_work(void) {
  lh_context *context = open_device("total_bytes=4096 clock=virtual completion=late lanes=overlap transfer_nanos=10 "
                                    "launch_nanos=30");
  lh_address device = take(context, 64);
  /* A run by itself: nothing of it overlaps, whatever the lanes could do. */
  CHECK_STATUS(await(context, fill_on(context, LH_LANE_IN, device)), LH_OK);
  CHECK_STATUS(await(context, launch_on(context, LH_LANE_COMPUTE)), LH_OK);
  CHECK_STATUS(await(context, fill_on(context, LH_LANE_OUT, device)), LH_OK);
  CHECK_NUMBER(clock_of(context), 50);
  /* The next run's copy goes beside a kernel that is not waited for: 50 + 30, and 10 for the copy back. */
  lh_ticket kernel_ticket = launch_on(context, LH_LANE_COMPUTE);
  CHECK_STATUS(await(context, fill_on(context, LH_LANE_IN, device)), LH_OK);
  CHECK_STATUS(await(context, kernel_ticket), LH_OK);
  CHECK_STATUS(await(context, fill_on(context, LH_LANE_OUT, device)), LH_OK);
  CHECK_NUMBER(clock_of(context), 90);
  close_device(context);
}

static void stands_still_at_the_end_of_time(void) {
  lh_context *context = open_device("total_bytes=4096 clock=virtual transfer_nanos=9007199254740991");
  lh_address device = take(context, 64);
  for (int count = 0; count < 3000; count += 1) {
    fill_on(context, LH_LANE_IN, device);
  }
  CHECK(clock_of(context) == UINT64_MAX);
  close_device(context);
}

/* The real clock ------------------------------------------------------------------------------------------------- */

static void sleeps_what_work_costs(void) {
  lh_context *context = open_device("total_bytes=4096 malloc_nanos=5000000 free_nanos=5000000 "
                                    "transfer_nanos=10000000 launch_nanos=5000000");
  /* Time that passed before is not credited. */
  sleep_millis(30);
  uint64_t start_nanos = now_nanos();
  lh_address device = take(context, 64);
  CHECK(now_nanos() - start_nanos >= 5000000);
  fill_on(context, LH_LANE_IN, device);
  launch_on(context, LH_LANE_COMPUTE);
  CHECK_STATUS(lh_free(context, device), LH_OK);
  uint64_t passed_nanos = now_nanos() - start_nanos;
  CHECK(passed_nanos >= 25000000);
  CHECK(clock_of(context) >= 25000000);
  close_device(context);
}

static void sleeps_behind_the_call_where_completion_is_late(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late lanes=overlap transfer_nanos=300000000 "
                                    "launch_nanos=300000000");
  lh_address device = take(context, 64);
  uint32_t failed_index = 0;
  uint64_t start_nanos = now_nanos();
  lh_ticket first = fill_on(context, LH_LANE_IN, device);
  lh_ticket second = launch_on(context, LH_LANE_COMPUTE);
  CHECK_STATUS(lh_poll(context, first, &failed_index), LH_NOT_READY);
  CHECK_STATUS(await(context, first), LH_OK);
  CHECK_STATUS(await(context, second), LH_OK);
  uint64_t passed_nanos = now_nanos() - start_nanos;
  CHECK(passed_nanos >= 300000000);
  /* Beside each other, which is less than one after the other would take, with room for a machine that is busy. */
  CHECK(passed_nanos < 600000000);
  close_device(context);
}

typedef struct filler {
  pthread_t thread;
  lh_context *context;
  lh_address address;
} filler;

static void *run_fill(void *argument) {
  const filler *self = argument;
  fill_on(self->context, LH_LANE_IN, self->address);
  return NULL;
}

static void queues_the_costs_of_one_lane(void) {
  lh_context *context = open_device("total_bytes=4096 transfer_nanos=20000000");
  filler fillers[3];
  uint64_t start_nanos = now_nanos();
  for (int index = 0; index < 3; index += 1) {
    fillers[index] = (filler){.context = context, .address = take(context, 64)};
    CHECK_NUMBER(pthread_create(&fillers[index].thread, NULL, run_fill, &fillers[index]), 0);
  }
  for (int index = 0; index < 3; index += 1) {
    CHECK_NUMBER(pthread_join(fillers[index].thread, NULL), 0);
  }
  CHECK(now_nanos() - start_nanos >= 60000000);
  close_device(context);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cost: counts each kind of work", counts_each_kind_of_work},
      {"cost: counts bytes at their rate", counts_bytes_at_their_rate},
      {"cost: counts nothing for what is refused", counts_nothing_for_what_is_refused},
      {"cost: adds up where calls block", adds_up_where_calls_block},
      {"cost: adds up on serial lanes", adds_up_on_serial_lanes},
      {"cost: takes the longest of lanes that overlap", takes_the_longest_of_lanes_that_overlap},
      {"cost: counts work that waited for other work", counts_work_that_waited_for_other_work},
      {"cost: stands still at the end of time", stands_still_at_the_end_of_time},
      {"cost: sleeps what work costs", sleeps_what_work_costs},
      {"cost: sleeps behind the call where completion is late", sleeps_behind_the_call_where_completion_is_late},
      {"cost: queues the costs of one lane", queues_the_costs_of_one_lane},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
