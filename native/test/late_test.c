/*
 * late_test.c: work that outlasts its call: tickets, order, lanes, freeing, closing and abandoning.
 *
 * The gate makes time stand still: a kernel at the gate is in flight for exactly as long as a test wants it to be.
 */
#include "support.h"

#include "simulator/lanes.h"

#include <stdlib.h>

/* Enough for the host to be busy with for a while. */
enum { LARGE_BYTES = 128 << 20 };

static void *run_host_free(void *argument) {
  other_thread *other = argument;
  other->status = lh_host_free(other->context, other->host_address);
  atomic_store(&other->has_ended, true);
  return NULL;
}

static void *run_take(void *argument) {
  other_thread *other = argument;
  other->status = lh_malloc(other->context, 8, 1, &other->address);
  return NULL;
}

static void *run_submit(void *argument) {
  other_thread *other = argument;
  const lh_transfer transfers[] = {
      {LH_TRANSFER_HOST_FILL, other->host_address, 1, LARGE_BYTES},
      fill(other->address, 0, 8),
  };
  other->status = submit(other->context, transfers, 2, &other->ticket);
  return NULL;
}

static void *run_wait(void *argument) {
  other_thread *other = argument;
  other->status = await(other->context, other->ticket);
  return NULL;
}

static void *run_launch(void *argument) {
  other_thread *other = argument;
  other->status = launch(other->context, find_kernel(other->context, "test_gate"), NULL, 0, NULL);
  atomic_store(&other->has_ended, true);
  return NULL;
}

/* Launches a kernel that stands at the closed gate, and waits until it does. */
static lh_ticket launch_at_gate(lh_context *context) {
  lh_ticket ticket = 0;
  gate_close();
  CHECK_STATUS(launch(context, find_kernel(context, "test_gate"), NULL, 0, &ticket), LH_OK);
  await_gate(1);
  CHECK(ticket > 0);
  return ticket;
}

/* Tickets -------------------------------------------------------------------------------------------------------- */

static void tells_the_end_of_a_ticket_once(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  uint32_t failed_index = 0;
  lh_ticket ticket = launch_at_gate(context);
  CHECK_STATUS(lh_poll(context, ticket, &failed_index), LH_NOT_READY);
  CHECK_STATUS(lh_wait(context, ticket, 0, &failed_index), LH_TIMEOUT);
  CHECK_STATUS(lh_wait(context, ticket, 1000000, &failed_index), LH_TIMEOUT);
  CHECK_STATUS(last_error_of(context).status, LH_OK);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 1);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
  CHECK_NUMBER(statistics_of(context).launch_count, 1);
  CHECK_STATUS(lh_poll(context, ticket, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_wait(context, ticket, 1, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_poll(context, ticket + TICKET_MAX_COUNT, &failed_index), LH_UNKNOWN_HANDLE);
  close_device(context);
}

static void waits_no_longer_than_100_ms(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  uint32_t failed_index = 0;
  lh_ticket ticket = launch_at_gate(context);
  uint64_t start_nanos = now_nanos();
  CHECK_STATUS(lh_wait(context, ticket, UINT64_MAX, &failed_index), LH_TIMEOUT);
  uint64_t waited_nanos = now_nanos() - start_nanos;
  CHECK(waited_nanos >= 99000000);
  CHECK(waited_nanos < 5000000000);
  gate_open();
  close_device(context);
}

static void moves_bytes_behind_the_call(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_address device = take(context, 8);
  lh_ticket gate_ticket = launch_at_gate(context);
  lh_ticket ticket = 0;
  char host[8] = "before";
  char staged[8] = "";
  lh_transfer transfers[] = {
      host_copy(staged, host, 8),
      host_fill(host, 'x', 1),
      copy_in(device, staged, 8),
      copy_out(host, device, 8),
  };
  CHECK_STATUS(submit(context, transfers, 4, &ticket), LH_OK);
  CHECK(ticket > 0);
  /* What the host does is done; what the device does waits for the kernel before it. */
  CHECK(strcmp(staged, "before") == 0);
  CHECK(strcmp(host, "xefore") == 0);
  CHECK_NUMBER(peek(device), 0xFF);
  /* The table has been copied, so the caller may use it for something else. */
  memset(transfers, 0, sizeof transfers);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_STATUS(await(context, gate_ticket), LH_OK);
  CHECK(strcmp(host, "before") == 0);
  CHECK_NUMBER(statistics_of(context).copy_in_count, 1);
  close_device(context);
}

static void hands_out_no_ticket_for_the_host_alone(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  uint32_t failed_index = 0;
  char host[8] = "abc";
  const lh_transfer transfers[] = {host_fill(host, 'x', 2)};
  CHECK_STATUS(submit(context, transfers, 1, NULL), LH_OK);
  CHECK(strcmp(host, "xxc") == 0);
  CHECK_STATUS(submit(context, NULL, 0, NULL), LH_OK);
  const lh_transfer collected[] = {host_fill(host, 'y', 1)};
  CHECK_STATUS(lh_collect(context, collected, 1, &failed_index), LH_OK);
  CHECK(strcmp(host, "yxc") == 0);
  close_device(context);
}

static void wants_host_entries_first(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_address device = take(context, 8);
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  char host[8] = "abc";
  const lh_transfer transfers[] = {host_fill(host, 'x', 1), fill(device, 0, 8), host_fill(host, 'y', 1)};
  CHECK_STATUS(lh_submit(context, 0, transfers, 3, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(failed_index, 2);
  CHECK_NUMBER(ticket, -7);
  CHECK_NUMBER(host[0], 'a');
  close_device(context);
}

static void hands_kernels_a_copy_of_the_table(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_ticket gate_ticket = launch_at_gate(context);
  lh_address device = take(context, 8);
  lh_ticket ticket = 0;
  lh_argument arguments[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, device, 8), scalar_int32(8),
                             scalar_int32(5)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_write_first"), arguments, 3, &ticket), LH_OK);
  memset(arguments, 0, sizeof arguments);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_STATUS(await(context, gate_ticket), LH_OK);
  CHECK_NUMBER(peek(device + 7), 5);
  close_device(context);
}

static void keeps_the_order_of_serial_lanes(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late lanes=serial");
  lh_address device = take(context, 8);
  lh_ticket tickets[64];
  uint32_t failed_index = 0;
  uint8_t seen[64];
  gate_close();
  CHECK_STATUS(launch(context, find_kernel(context, "test_gate"), NULL, 0, &tickets[0]), LH_OK);
  for (uint32_t index = 1; index < 64; index += 1) {
    const lh_transfer transfers[] = {copy_out(&seen[index], device, 1), fill(device, index, 1)};
    CHECK_STATUS(lh_submit(context, index % LH_LANE_COUNT, transfers, 2, &tickets[index], &failed_index), LH_OK);
  }
  gate_open();
  for (uint32_t index = 0; index < 64; index += 1) {
    CHECK_STATUS(await(context, tickets[63 - index]), LH_OK);
  }
  for (uint32_t index = 2; index < 64; index += 1) {
    CHECK_NUMBER(seen[index], index - 1);
  }
  close_device(context);
}

static void lets_lanes_overlap(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late lanes=overlap");
  lh_address device = take(context, 8);
  lh_ticket gate_ticket = launch_at_gate(context);
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  const lh_transfer transfers[] = {fill(device, 3, 8)};
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, transfers, 1, &ticket, &failed_index), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_STATUS(lh_submit(context, LH_LANE_OUT, transfers, 1, &ticket, &failed_index), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_STATUS(lh_poll(context, gate_ticket, &failed_index), LH_NOT_READY);
  /* One kernel at a time, on whatever lanes they are launched. */
  lh_kernel nothing = find_kernel(context, "test_nothing");
  CHECK_STATUS(lh_launch(context, LH_LANE_IN, nothing, NULL, NULL, 0, 0, &ticket, &failed_index), LH_OK);
  CHECK_STATUS(lh_wait(context, ticket, 20000000, &failed_index), LH_TIMEOUT);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_STATUS(await(context, gate_ticket), LH_OK);
  close_device(context);
}

/* Limits --------------------------------------------------------------------------------------------------------- */

static void is_busy_when_all_tickets_are_open(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_address device = take(context, 8);
  lh_ticket tickets[TICKET_MAX_COUNT];
  lh_ticket ticket = -7;
  uint32_t failed_index = 0;
  char host[8] = "abc";
  const lh_transfer transfers[] = {host_fill(host, 'x', 1), fill(device, 0, 8)};
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    CHECK_STATUS(submit(context, transfers + 1, 1, &tickets[index]), LH_OK);
  }
  CHECK_STATUS(lh_submit(context, 0, transfers, 2, &ticket, &failed_index), LH_BUSY);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  CHECK_NUMBER(ticket, -7);
  CHECK_NUMBER(host[0], 'a');
  CHECK_STATUS(await(context, tickets[TICKET_MAX_COUNT - 1]), LH_OK);
  CHECK_STATUS(submit(context, transfers, 2, &tickets[TICKET_MAX_COUNT - 1]), LH_OK);
  for (uint32_t index = 0; index < TICKET_MAX_COUNT; index += 1) {
    CHECK_STATUS(await(context, tickets[index]), LH_OK);
  }
  close_device(context);
}

static void is_busy_when_tables_fill_its_room(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_kernel nothing = find_kernel(context, "test_nothing");
  lh_argument *arguments = calloc(LH_ARGUMENT_MAX_COUNT, sizeof *arguments);
  lh_ticket tickets[9];
  if (!CHECK(arguments != NULL)) {
    return;
  }
  for (uint32_t index = 0; index < LH_ARGUMENT_MAX_COUNT; index += 1) {
    arguments[index] = scalar_int32(1);
  }
  for (uint32_t index = 0; index < 8; index += 1) {
    CHECK_STATUS(launch(context, nothing, arguments, LH_ARGUMENT_MAX_COUNT, &tickets[index]), LH_OK);
  }
  CHECK_STATUS(launch(context, nothing, arguments, 1, &tickets[8]), LH_BUSY);
  CHECK_STATUS(await(context, tickets[0]), LH_OK);
  CHECK_STATUS(launch(context, nothing, arguments, LH_ARGUMENT_MAX_COUNT, &tickets[0]), LH_OK);
  free(arguments);
  close_device(context);
}

static void refuses_tables_that_never_fit(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  const uint32_t count = TICKET_TABLES_MAX_BYTES / sizeof(lh_transfer) + 1;
  lh_address device = take(context, 8);
  lh_transfer *transfers = calloc(count, sizeof *transfers);
  lh_ticket ticket = 0;
  if (!CHECK(transfers != NULL)) {
    return;
  }
  for (uint32_t index = 0; index < count; index += 1) {
    transfers[index] = fill(device, 0, 1);
  }
  CHECK_STATUS(submit(context, transfers, count, &ticket), LH_INVALID_ARGUMENT);
  CHECK_STATUS(submit(context, transfers, count - 1, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_NUMBER(statistics_of(context).fill_count, count - 1);
  free(transfers);
  close_device(context);
}

/* Failures ------------------------------------------------------------------------------------------------------- */

static void reports_failures_where_they_are_waited_for(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_ticket ticket = 0;
  CHECK_STATUS(launch(context, find_kernel(context, "test_fail"), NULL, 0, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_LAUNCH_FAILED);
  CHECK_NUMBER(last_error_of(context).device_code, 7);
  CHECK_STATUS(await(context, ticket), LH_UNKNOWN_HANDLE);
  CHECK_NUMBER(statistics_of(context).launch_count, 0);
  close_device(context);
}

static void ends_all_work_when_the_device_is_lost(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_address device = take(context, 8);
  lh_ticket gate_ticket = launch_at_gate(context);
  lh_ticket lost_ticket = 0;
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  const lh_transfer transfers[] = {fill(device, 0, 8)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_lose_device"), NULL, 0, &lost_ticket), LH_OK);
  CHECK_STATUS(submit(context, transfers, 1, &ticket), LH_OK);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_DEVICE_LOST);
  CHECK_STATUS(lh_poll(context, lost_ticket, &failed_index), LH_DEVICE_LOST);
  CHECK_STATUS(lh_poll(context, gate_ticket, &failed_index), LH_DEVICE_LOST);
  CHECK_NUMBER(last_error_of(context).device_code, LH_DEVICE_LOST);
  for (int round = 0; round < 1000 && statistics_of(context).in_flight_count > 0; round += 1) {
    sleep_millis(1);
  }
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
  CHECK_NUMBER(peek(device), 0xFF);
  close_device(context);
}

/* Freeing, closing, abandoning ----------------------------------------------------------------------------------- */

static void frees_when_work_has_ended(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_address device = take(context, 8);
  lh_address unused = take(context, 8);
  lh_ticket gate_ticket = launch_at_gate(context);
  lh_ticket ticket = 0;
  const lh_transfer transfers[] = {fill(device, 0, 8)};
  CHECK_STATUS(submit(context, transfers, 1, &ticket), LH_OK);
  other_thread frees = {.context = context, .address = device};
  other_thread frees_unused = {.context = context, .address = unused};
  start(&frees, run_free);
  start(&frees_unused, run_free);
  while (statistics_of(context).live_count > 0) {
    sleep_millis(1);
  }
  /* The memory is nobody's any more, and it is not free yet. */
  CHECK_STATUS(submit(context, transfers, 1, &ticket), LH_USE_AFTER_FREE);
  CHECK_STATUS(lh_free(context, device), LH_DOUBLE_FREE);
  CHECK(free_bytes_of(context) < 4096);
  sleep_millis(20);
  CHECK(!atomic_load(&frees.has_ended));
  CHECK(!atomic_load(&frees_unused.has_ended));
  gate_open();
  CHECK_STATUS(join(&frees), LH_OK);
  CHECK_STATUS(join(&frees_unused), LH_OK);
  CHECK_NUMBER(free_bytes_of(context), 4096);
  CHECK_STATUS(await(context, gate_ticket), LH_OK);
  close_device(context);
}

static void frees_host_memory_when_work_has_ended(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  lh_address device = take(context, 8);
  other_thread frees = {.context = context};
  lh_ticket ticket = 0;
  CHECK_STATUS(lh_host_malloc(context, 8, &frees.host_address), LH_OK);
  launch_at_gate(context);
  const lh_transfer transfers[] = {{LH_TRANSFER_COPY_IN, device, frees.host_address, 8}};
  CHECK_STATUS(submit(context, transfers, 1, &ticket), LH_OK);
  start(&frees, run_host_free);
  while (statistics_of(context).host_live_count > 0) {
    sleep_millis(1);
  }
  sleep_millis(20);
  CHECK(!atomic_load(&frees.has_ended));
  gate_open();
  CHECK_STATUS(join(&frees), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_NUMBER(peek(device), 0);
  close_device(context);
}

static void frees_without_waiting_for_later_work(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late lanes=overlap transfer_nanos=50000000");
  other_thread frees = {.context = context, .address = take(context, 8)};
  lh_ticket ticket = 0;
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_FILL, frees.address, 0, 8}, 1, &ticket), LH_OK);
  start(&frees, run_free);
  while (statistics_of(context).live_count > 0) {
    sleep_millis(1);
  }
  /* The fill still takes its time; the kernel comes later, and stays at the gate until the memory is free. */
  launch_at_gate(context);
  CHECK_STATUS(join(&frees), LH_OK);
  await_gate(1);
  gate_open();
  close_device(context);
}

static void closes_when_work_has_ended(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late lanes=overlap");
  lh_ticket ticket = 0;
  lh_address device = take(context, 8);
  launch_at_gate(context);
  CHECK_STATUS(launch(context, find_kernel(context, "test_gate"), NULL, 0, &ticket), LH_OK);
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_FILL, device, 0, 8}, 1, &ticket), LH_OK);
  other_thread closes = {.context = context};
  start(&closes, run_close);
  sleep_millis(20);
  CHECK(!atomic_load(&closes.has_ended));
  CHECK_STATUS(lh_free(context, device), LH_INVALID_ARGUMENT);
  gate_open();
  CHECK_STATUS(join(&closes), LH_OK);
}

static void closes_when_everybody_has_left(void) {
  lh_context *context = open_device("total_bytes=4096 malloc_nanos=50000000");
  other_thread takes = {.context = context};
  start(&takes, run_take);
  while (statistics_of(context).live_count == 0) {
    sleep_millis(1);
  }
  /* The other thread still pays for its memory, and must not find the context gone. */
  close_device(context);
  CHECK_STATUS(join(&takes), LH_OK);
}

static void abandons_without_waiting(void) {
  for (int round = 0; round < 2; round += 1) {
    lh_context *context = open_device(round == 0 ? "total_bytes=4096 completion=late lanes=overlap"
                                                 : "total_bytes=4096 completion=late lanes=serial");
    lh_address device = take(context, 8);
    lh_ticket gate_ticket = launch_at_gate(context);
    lh_ticket ticket = 0;
    CHECK_STATUS(launch(context, find_kernel(context, "test_gate"), NULL, 0, &ticket), LH_OK);
    other_thread waits = {.context = context, .ticket = gate_ticket};
    other_thread frees = {.context = context, .address = device};
    start(&waits, run_wait);
    start(&frees, run_free);
    while (statistics_of(context).live_count > 0) {
      sleep_millis(1);
    }
    CHECK_STATUS(lh_context_abandon(context), LH_OK);
    /* Whoever was inside is let go, although the kernel still hangs. */
    CHECK_STATUS(join(&waits), LH_DEVICE_LOST);
    CHECK_STATUS(join(&frees), LH_DEVICE_LOST);
    await_gate(1);
    gate_open();
    await_gate(0);
  }
}

static void closes_between_the_host_and_the_device(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  other_thread submits = {.context = context, .address = take(context, 8)};
  CHECK_STATUS(lh_host_malloc(context, LARGE_BYTES, &submits.host_address), LH_OK);
  start(&submits, run_submit);
  while (statistics_of(context).in_flight_count == 0) {
    sleep_millis(1);
  }
  close_device(context);
  CHECK_STATUS(join(&submits), LH_OK);
}

static void abandons_between_the_host_and_the_device(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  other_thread submits = {.context = context, .address = take(context, 8)};
  CHECK_STATUS(lh_host_malloc(context, LARGE_BYTES, &submits.host_address), LH_OK);
  const uint8_t *host = (const uint8_t *)(uintptr_t)submits.host_address;
  start(&submits, run_submit);
  while (statistics_of(context).in_flight_count == 0) {
    sleep_millis(1);
  }
  CHECK_STATUS(lh_context_abandon(context), LH_OK);
  /* Nearly always the host's entry was still going on, and the device's entries do not begin. */
  lh_status status = join(&submits);
  CHECK(status == LH_DEVICE_LOST || status == LH_OK);
  CHECK_NUMBER(host[LARGE_BYTES - 1], 1);
}

static void abandons_an_immediate_device_with_a_kernel_inside(void) {
  lh_context *context = open_device("total_bytes=4096");
  gate_close();
  lh_kernel gate = find_kernel(context, "test_gate");
  other_thread launches = {.context = context, .kernel = gate};
  other_thread queues = {.context = context, .kernel = gate};
  start(&launches, run_launch);
  await_gate(1);
  start(&queues, run_launch);
  sleep_millis(20);
  CHECK_STATUS(lh_context_abandon(context), LH_OK);
  /* The kernel that had not begun does not begin. */
  CHECK_STATUS(join(&queues), LH_DEVICE_LOST);
  CHECK(!atomic_load(&launches.has_ended));
  gate_open();
  CHECK_STATUS(join(&launches), LH_OK);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"late: tells the end of a ticket once", tells_the_end_of_a_ticket_once},
      {"late: waits no longer than 100 ms a call", waits_no_longer_than_100_ms},
      {"late: moves bytes behind the call", moves_bytes_behind_the_call},
      {"late: hands out no ticket for the host alone", hands_out_no_ticket_for_the_host_alone},
      {"late: wants host entries first", wants_host_entries_first},
      {"late: hands kernels a copy of the table", hands_kernels_a_copy_of_the_table},
      {"late: keeps the order of serial lanes", keeps_the_order_of_serial_lanes},
      {"late: lets lanes overlap, but not kernels", lets_lanes_overlap},
      {"late: is busy when all tickets are open", is_busy_when_all_tickets_are_open},
      {"late: is busy when tables fill its room", is_busy_when_tables_fill_its_room},
      {"late: refuses tables that never fit", refuses_tables_that_never_fit},
      {"late: reports failures where they are waited for", reports_failures_where_they_are_waited_for},
      {"late: ends all work when the device is lost", ends_all_work_when_the_device_is_lost},
      {"late: frees when work has ended", frees_when_work_has_ended},
      {"late: frees host memory when work has ended", frees_host_memory_when_work_has_ended},
      {"late: frees without waiting for later work", frees_without_waiting_for_later_work},
      {"late: closes when work has ended", closes_when_work_has_ended},
      {"late: closes between the host and the device", closes_between_the_host_and_the_device},
      {"late: closes when everybody has left", closes_when_everybody_has_left},
      {"late: abandons without waiting", abandons_without_waiting},
      {"late: abandons between the host and the device", abandons_between_the_host_and_the_device},
      {"late: abandons an immediate device with a kernel inside", abandons_an_immediate_device_with_a_kernel_inside},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
