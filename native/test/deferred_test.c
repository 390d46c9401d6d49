/*
 * deferred_test.c: launches that a device which answers at once carries out behind the call.
 *
 * The gate makes time stand still: a kernel at the gate is in flight for exactly as long as a test wants it to be.
 */
#include "support.h"

#include "simulator/context.h"
#include "simulator/lanes.h"

static void *run_launch(void *argument) {
  other_thread *other = argument;
  other->status = launch(other->context, other->kernel, NULL, 0, NULL);
  atomic_store(&other->has_ended, true);
  return NULL;
}

static lh_status defer(lh_context *context, const char *symbol, const lh_argument *arguments, uint32_t count,
                       lh_ticket *ticket_out) {
  uint32_t failed_index = 0;
  return lh_launch(context, LH_LANE_COMPUTE | LH_LANE_DEFERRED, find_kernel(context, symbol), NULL, arguments, count, 0,
                   ticket_out, &failed_index);
}

/* Defers a kernel that stands at the closed gate, and waits until it does. */
static lh_ticket defer_at_gate(lh_context *context, const lh_argument *arguments, uint32_t count) {
  lh_ticket ticket = 0;
  gate_close();
  CHECK_STATUS(defer(context, "test_gate", arguments, count, &ticket), LH_OK);
  await_gate(1);
  CHECK(ticket > 0);
  return ticket;
}

static uint32_t thread_count_of(lh_context *context) {
  pthread_mutex_lock(&context->mutex);
  uint32_t count = context->lanes.thread_count;
  pthread_mutex_unlock(&context->mutex);
  return count;
}

static void says_that_it_can(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_device_info info = {.struct_bytes = sizeof info};
  CHECK_STATUS(lh_device_info_get(context, &info), LH_OK);
  CHECK((info.features & LH_FEATURE_DEFERRED_LAUNCH) != 0);
  CHECK((info.features & LH_FEATURE_TICKETS) == 0);
  close_device(context);
}

static void starts_a_thread_with_the_first_launch(void) {
  lh_context *context = open_device("total_bytes=4096");
  CHECK_NUMBER(thread_count_of(context), 0);
  CHECK_STATUS(launch(context, find_kernel(context, "test_nothing"), NULL, 0, NULL), LH_OK);
  CHECK_NUMBER(thread_count_of(context), 0);
  for (int round = 0; round < 1000; round += 1) {
    lh_ticket ticket = 0;
    CHECK_STATUS(defer(context, "test_nothing", NULL, 0, &ticket), LH_OK);
    CHECK(ticket > 0);
    CHECK_STATUS(await(context, ticket), LH_OK);
  }
  CHECK_NUMBER(thread_count_of(context), 1);
  CHECK_NUMBER(statistics_of(context).launch_count, 1001);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
  close_device(context);
}

static void computes_on_a_copy_of_the_table(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address x = take(context, 8);
  const float before[] = {1.0f, 2.0f};
  const lh_transfer stage[] = {copy_in(x, before, sizeof before)};
  CHECK_STATUS(submit(context, stage, 1, NULL), LH_OK);
  lh_argument arguments[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_FLOAT32, x, 2), scalar_float32(3.0f)};
  lh_ticket ticket = 0;
  CHECK_STATUS(defer(context, "test_scale", arguments, 2, &ticket), LH_OK);
  memset(arguments, 0, sizeof arguments);
  CHECK_STATUS(await(context, ticket), LH_OK);
  float after[2] = {0};
  const lh_transfer copy_back[] = {copy_out(after, x, sizeof after)};
  CHECK_STATUS(submit(context, copy_back, 1, NULL), LH_OK);
  CHECK(after[0] == 3.0f && after[1] == 6.0f);
  close_device(context);
}

static void tells_failures_where_they_are_waited_for(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_ticket ticket = 0;
  CHECK_STATUS(defer(context, "test_fail", NULL, 0, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_LAUNCH_FAILED);
  CHECK_STATUS(defer(context, "test_nothing", NULL, 0, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  const lh_argument wrong[] = {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_FLOAT32, 64, 2)};
  CHECK_STATUS(defer(context, "test_nothing", wrong, 1, &ticket), LH_FOREIGN_POINTER);
  close_device(context);
}

static void copies_at_once_meanwhile(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address other = take(context, 8);
  lh_ticket ticket = defer_at_gate(context, NULL, 0);
  const char source[8] = "copied";
  char destination[8] = "";
  const lh_transfer transfers[] = {copy_in(other, source, 8), copy_out(destination, other, 8)};
  CHECK_STATUS(submit(context, transfers, 2, NULL), LH_OK);
  CHECK(strcmp(destination, "copied") == 0);
  CHECK_STATUS(lh_free(context, other), LH_OK);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_OK);
  close_device(context);
}

static void frees_an_argument_when_the_kernel_has_ended(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address x = take(context, 8);
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_FLOAT32, x, 2)};
  lh_ticket ticket = defer_at_gate(context, arguments, 1);
  other_thread frees = {.context = context, .address = x};
  start(&frees, run_free);
  sleep_millis(20);
  CHECK(!atomic_load(&frees.has_ended));
  gate_open();
  CHECK_STATUS(join(&frees), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  close_device(context);
}

static void runs_one_kernel_at_a_time(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_ticket ticket = defer_at_gate(context, NULL, 0);
  other_thread launches = {.context = context, .kernel = find_kernel(context, "test_nothing")};
  start(&launches, run_launch);
  sleep_millis(20);
  CHECK(!atomic_load(&launches.has_ended));
  gate_open();
  CHECK_STATUS(join(&launches), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  close_device(context);
}

static void closes_when_the_kernel_has_ended(void) {
  lh_context *context = open_device("total_bytes=4096");
  defer_at_gate(context, NULL, 0);
  other_thread closes = {.context = context};
  start(&closes, run_close);
  sleep_millis(20);
  CHECK(!atomic_load(&closes.has_ended));
  gate_open();
  CHECK_STATUS(join(&closes), LH_OK);
}

static void abandons_without_waiting(void) {
  lh_context *context = open_device("total_bytes=4096");
  defer_at_gate(context, NULL, 0);
  CHECK_STATUS(lh_context_abandon(context), LH_OK);
  gate_open();
  /* The lane's thread ends the context by itself; the sanitizers see to that. */
  sleep_millis(20);
}

static void ends_when_the_device_is_lost(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_kernel nothing = find_kernel(context, "test_nothing");
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  CHECK_STATUS(defer(context, "test_lose_device", NULL, 0, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_DEVICE_LOST);
  CHECK_STATUS(lh_launch(context, LH_LANE_COMPUTE | LH_LANE_DEFERRED, nothing, NULL, NULL, 0, 0, &ticket, &failed_index),
               LH_DEVICE_LOST);
  CHECK_STATUS(lh_context_abandon(context), LH_OK);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"deferred: says that it can", says_that_it_can},
      {"deferred: starts a thread with the first launch", starts_a_thread_with_the_first_launch},
      {"deferred: computes on a copy of the table", computes_on_a_copy_of_the_table},
      {"deferred: tells failures where they are waited for", tells_failures_where_they_are_waited_for},
      {"deferred: copies at once meanwhile", copies_at_once_meanwhile},
      {"deferred: frees an argument when the kernel has ended", frees_an_argument_when_the_kernel_has_ended},
      {"deferred: runs one kernel at a time", runs_one_kernel_at_a_time},
      {"deferred: closes when the kernel has ended", closes_when_the_kernel_has_ended},
      {"deferred: abandons without waiting", abandons_without_waiting},
      {"deferred: ends when the device is lost", ends_when_the_device_is_lost},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
