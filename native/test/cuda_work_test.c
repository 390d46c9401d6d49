/*
 * cuda_work_test.c: tables of transfers and tickets of the CUDA backend.
 */
#include "cuda_support.h"

enum { OUT_OF_MEMORY_CODE = 2, TICKET_COUNT = 1024, REFUSAL_COUNT = 32 };

static lh_status poll(lh_context *context, lh_ticket ticket) {
  uint32_t failed_index = 77;
  lh_status status = lh_poll(context, ticket, &failed_index);
  CHECK_NUMBER(failed_index, status == LH_OK ? 77 : UINT32_MAX);
  return status;
}

/* Submits on a lane, and waits. */
static lh_status run_on(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status = lh_submit(context, lane, transfers, count, &ticket, &failed_index);
  return status == LH_OK ? await(context, ticket) : status;
}

/* Waits for a ticket, and tells which entry failed. */
static lh_status await_entry(lh_context *context, lh_ticket ticket, uint32_t *failed_index_out) {
  lh_status status = LH_TIMEOUT;
  for (int attempt = 0; status == LH_TIMEOUT && attempt < 100; attempt += 1) {
    status = lh_wait(context, ticket, UINT64_MAX, failed_index_out);
  }
  return status;
}

/* Tables ---------------------------------------------------------------------------------------------------------- */

static void moves_bytes_in_order_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 16);
  uint8_t *staging = host_bytes(take_host(context, 64));
  char plain[16] = "fifteen letters";
  const lh_transfer transfers[] = {
      host_copy(staging, plain, 16),
      host_fill(staging + 16, 'x', 16),
      host_copy(staging + 17, staging, 3),
      copy_in(device, staging, 16),
      fill(device, 'F', 1),
      copy_out(staging + 32, device, 16),
      fill(device, 'G', 1),
      copy_out(staging + 48, device, 16),
      copy_in(device, staging + 16, 8),
  };
  for (uint32_t lane = 0; lane < LH_LANE_COUNT; lane += 1) {
    CHECK_STATUS(run_on(context, lane, transfers, 9), LH_OK);
    CHECK(memcmp(staging + 32, "Fifteen letters", 16) == 0);
    CHECK(memcmp(staging + 48, "Gifteen letters", 16) == 0);
    char read[17] = "";
    read_device(context, read, device, 16);
    CHECK(memcmp(read, "xfifxxxxletters", 16) == 0);
  }
  lh_statistics statistics = statistics_of(context);
  CHECK_NUMBER(statistics.copy_in_count, 3 * 2);
  CHECK_NUMBER(statistics.copied_in_bytes, 3 * 24);
  CHECK_NUMBER(statistics.copy_out_count, 3 * 3);
  CHECK_NUMBER(statistics.copied_out_bytes, 3 * 48);
  CHECK_NUMBER(statistics.fill_count, 3 * 2);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(moves_bytes_in_order)

/* What the host does alone ends within the call. */
static void calls_nobody_for_what_the_host_does(void) {
  lh_context *context = open_cuda(0, "");
  char bytes[8] = "abcdefg";
  uint32_t failed_index = 77;
  lh_ticket ticket = -7;
  uint64_t call_count = loopback()->calls("");
  const lh_transfer good[] = {host_copy(bytes + 1, bytes, 3), host_fill(bytes, 'x', 1)};
  CHECK_STATUS(submit(context, good, 2, NULL), LH_OK);
  CHECK(strcmp(bytes, "xabcefg") == 0);
  CHECK_STATUS(lh_collect(context, good, 2, &failed_index), LH_OK);
  CHECK(strcmp(bytes, "xxabefg") == 0);
  CHECK_STATUS(submit(context, NULL, 0, NULL), LH_OK);
  CHECK_STATUS(lh_collect(context, NULL, 0, &failed_index), LH_OK);
  CHECK_NUMBER(failed_index, 77);
  CHECK_STATUS(lh_submit(context, LH_LANE_COUNT, NULL, 0, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, NULL, 1, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, NULL, 0, NULL, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, NULL, 0, &ticket, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_collect(context, NULL, 1, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_collect(context, NULL, 0, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_poll(context, 1, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_wait(context, 1, 0, NULL), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  CHECK_NUMBER(ticket, -7);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  close_device(context);
  check_driver_is_empty();
}

static void check_refused(lh_context *context, const lh_transfer *transfers, uint32_t count, lh_status expected_status,
                          uint32_t expected_index) {
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, transfers, count, &ticket, &failed_index), expected_status);
  CHECK_NUMBER(failed_index, expected_index);
  CHECK_NUMBER(ticket, -7);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  CHECK_NUMBER(last_error_of(context).entry_index, expected_index);
}

static void checks_the_whole_table_first(void) {
  lh_context *context = open_cuda(0, "");
  lh_address live = take(context, 64);
  lh_address freed = take(context, 64);
  uint8_t *staging = host_bytes(take_host(context, 64));
  char plain[64] = "unchanged";
  CHECK_STATUS(lh_free(context, freed), LH_OK);
  const struct {
    lh_transfer transfer;
    lh_status status;
  } wrong[] = {
      {{0, live, 0, 1}, LH_INVALID_ARGUMENT},
      {{6, live, 0, 1}, LH_INVALID_ARGUMENT},
      {{0.0 / 0.0, live, 0, 1}, LH_INVALID_ARGUMENT},
      {fill(live, 256, 1), LH_INVALID_ARGUMENT},
      {fill(live, 0, 0), LH_INVALID_ARGUMENT},
      {fill(0, 0, 1), LH_INVALID_ARGUMENT},
      {fill(live, 0, 65), LH_OUT_OF_RANGE},
      {fill(freed, 0, 1), LH_USE_AFTER_FREE},
      {copy_in(4096, plain, 1), LH_FOREIGN_POINTER},
      {copy_in(live, NULL, 1), LH_INVALID_ARGUMENT},
      {copy_in(live, staging + 1, 64), LH_OUT_OF_RANGE},
      {copy_out(staging, live, 65), LH_OUT_OF_RANGE},
      {copy_out(NULL, live, 1), LH_INVALID_ARGUMENT},
      {{LH_TRANSFER_COPY_OUT, live, live, 1}, LH_INVALID_ARGUMENT},
      {host_fill(plain, 0, 1), LH_INVALID_ARGUMENT}, /* behind an entry for the device */
  };
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    const lh_transfer transfers[] = {host_fill(plain, 0, 4), fill(live, 1, 1), wrong[index].transfer};
    check_refused(context, transfers, 3, wrong[index].status, 2);
  }
  CHECK(strcmp(plain, "unchanged") == 0);
  uint32_t failed_index = 77;
  const lh_transfer collected[] = {host_fill(plain, 0, 4), fill(live, 1, 1)};
  CHECK_STATUS(lh_collect(context, collected, 2, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(failed_index, 1);
  CHECK(strcmp(plain, "unchanged") == 0);
  close_device(context);
  check_driver_is_empty();
}

/* Plain memory ---------------------------------------------------------------------------------------------------- */

/* The device does not reach it, so its bytes pass through pinned memory, which goes when the ticket has ended. */
static void bounces_plain_memory_with(const char *settings) {
  enum { BYTE_COUNT = 100000 };
  static uint8_t sent[BYTE_COUNT];
  static uint8_t received[BYTE_COUNT];
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, BYTE_COUNT);
  for (uint32_t index = 0; index < BYTE_COUNT; index += 1) {
    sent[index] = (uint8_t)(index * 7);
  }
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  const lh_transfer in[] = {copy_in(device, sent, 50000), copy_in(device + 50000, sent + 50000, 50000)};
  loopback()->set_delay(1000000);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, in, 2, &ticket, &failed_index), LH_OK);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 2);
  /* The caller has its memory back, for what it likes. */
  uint8_t first = sent[1];
  sent[1] = 99;
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 0);
  sent[1] = first;
  memset(received, 0xEE, sizeof received);
  const lh_transfer out[] = {copy_out(received, device, 60000), copy_out(received + 50000, device + 50000, 50000)};
  CHECK_STATUS(lh_submit(context, LH_LANE_OUT, out, 2, &ticket, &failed_index), LH_OK);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 2);
  CHECK(received[0] == 0xEE && received[BYTE_COUNT - 1] == 0xEE);
  CHECK_STATUS(await(context, ticket), LH_OK);
  loopback()->set_delay(0);
  CHECK(memcmp(sent, received, BYTE_COUNT) == 0);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 0);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(bounces_plain_memory)

/* Freeing pinned memory waits for all work of the device, so what tickets leave is used again until there is none. */
static void keeps_pinned_memory_while_others_work_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 64);
  char plain[64] = "sent";
  const lh_transfer in = copy_in(device, plain, 64);
  const lh_transfer smaller = copy_in(device, plain, 32);
  lh_ticket gate = block_lane(context, LH_LANE_COMPUTE);
  lh_ticket ticket = 0;
  loopback()->reset();
  /* Where there is one stream, nothing ends before the gate opens. */
  bool passes = strcmp(settings, "lanes=overlap") == 0;
  for (int round = 0; round < 3; round += 1) {
    CHECK_STATUS(submit(context, round == 2 ? &smaller : &in, 1, &ticket), LH_OK);
    if (passes) {
      CHECK_STATUS(await(context, ticket), LH_OK);
    }
    CHECK_NUMBER(loopback()->calls("cuMemHostAlloc"), passes ? 1 : round + 1);
  }
  CHECK_NUMBER(loopback()->calls("cuMemFreeHost"), 0);
  CHECK_STATUS(poll(context, gate), LH_NOT_READY);
  gate_open();
  CHECK_STATUS(await(context, gate), LH_OK);
  if (passes) {
    CHECK_NUMBER(loopback()->calls("cuMemFreeHost"), 1);
    CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 0);
  }
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(keeps_pinned_memory_while_others_work)

static void moves_on_in_the_order_of_the_table_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 8);
  char plain[8] = "";
  const lh_transfer prepare[] = {fill(device, 'a', 4), fill(device + 4, 'b', 4)};
  CHECK_STATUS(run_on(context, LH_LANE_IN, prepare, 2), LH_OK);
  const lh_transfer out[] = {copy_out(plain, device, 4), copy_out(plain + 2, device + 4, 4), copy_out(plain + 3, device, 1)};
  CHECK_STATUS(run_on(context, LH_LANE_OUT, out, 3), LH_OK);
  CHECK(memcmp(plain, "aababb\0", 8) == 0);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(moves_on_in_the_order_of_the_table)

static void refuses_to_copy_plain_memory_out_and_in_again(void) {
  lh_context *context = open_cuda(0, "");
  lh_address device = take(context, 64);
  char plain[64] = "";
  const lh_transfer again[] = {copy_out(plain, device, 32), copy_in(device + 32, plain + 31, 32)};
  check_refused(context, again, 2, LH_UNSUPPORTED, 1);
  const lh_transfer beside[] = {copy_out(plain, device, 32), copy_in(device + 32, plain + 32, 32)};
  CHECK_STATUS(run_on(context, LH_LANE_IN, beside, 2), LH_OK);
  const lh_transfer before[] = {copy_in(device + 32, plain + 31, 32), copy_out(plain, device, 32)};
  CHECK_STATUS(run_on(context, LH_LANE_IN, before, 2), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

/* The driver has no pinned memory for an entry, and nothing of the table is on its stream. */
static void check_host_refused(lh_context *context, const lh_transfer *transfers, uint32_t count, uint32_t expected_index) {
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  CHECK_STATUS(lh_submit(context, LH_LANE_OUT, transfers, count, &ticket, &failed_index), LH_HOST_OUT_OF_MEMORY);
  CHECK_NUMBER(failed_index, expected_index);
  CHECK_NUMBER(ticket, -7);
}

/* A copy out that fails leaves plain memory as it was. */
static void writes_nothing_for_a_copy_that_failed_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 8);
  char plain[8] = "before";
  const lh_transfer out = copy_out(plain, device, 8);
  loopback()->fail("cuMemcpyDtoHAsync_v2", 1, 1, 1);
  CHECK_STATUS(run_on(context, LH_LANE_OUT, &out, 1), LH_TRANSFER_FAILED);
  CHECK(strcmp(plain, "before") == 0);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 0);
  loopback()->fail("cuMemHostAlloc", 1, OUT_OF_MEMORY_CODE, 0);
  check_host_refused(context, &out, 1, 0);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
  CHECK(strcmp(plain, "before") == 0);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(writes_nothing_for_a_copy_that_failed)

/* Tickets --------------------------------------------------------------------------------------------------------- */

static void tells_the_end_of_a_ticket_once_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 8);
  lh_ticket gate = block_lane(context, LH_LANE_IN);
  lh_ticket ticket = 0;
  const lh_transfer transfer = fill(device, 1, 8);
  CHECK_STATUS(submit(context, &transfer, 1, &ticket), LH_OK);
  CHECK(ticket > 0 && ticket != gate);
  CHECK_STATUS(poll(context, ticket), LH_NOT_READY);
  CHECK_STATUS(poll(context, gate), LH_NOT_READY);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 2);
  CHECK_STATUS(last_error_of(context).status, LH_OK);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_OK);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 1);
  CHECK_STATUS(await(context, gate), LH_OK);
  CHECK_STATUS(poll(context, ticket), LH_UNKNOWN_HANDLE);
  uint32_t failed_index = 77;
  CHECK_STATUS(lh_wait(context, ticket, 1000, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  static const double wrong[] = {0, -1, 0.5, 1e300, 0.0 / 0.0, 12345};
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    CHECK_STATUS(poll(context, wrong[index]), LH_UNKNOWN_HANDLE);
  }
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(tells_the_end_of_a_ticket_once)

/* As many tickets as there can be, then one more; and no ticket is ever given out twice. */
static void holds_1024_tickets_with(const char *settings) {
  static lh_ticket tickets[TICKET_COUNT];
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 8);
  const lh_transfer transfer = fill(device, 1, 8);
  tickets[0] = block_lane(context, LH_LANE_IN);
  for (uint32_t index = 1; index < TICKET_COUNT; index += 1) {
    CHECK_STATUS(submit(context, &transfer, 1, &tickets[index]), LH_OK);
  }
  check_refused(context, &transfer, 1, LH_BUSY, UINT32_MAX);
  CHECK_NUMBER(statistics_of(context).in_flight_count, TICKET_COUNT);
  gate_open();
  CHECK_STATUS(await(context, tickets[500]), LH_OK);
  lh_ticket again = 0;
  CHECK_STATUS(submit(context, &transfer, 1, &again), LH_OK);
  CHECK_STATUS(poll(context, tickets[500]), LH_UNKNOWN_HANDLE);
  for (uint32_t index = 0; index < TICKET_COUNT; index += 1) {
    CHECK(again != tickets[index]);
    CHECK_STATUS(index == 500 ? LH_OK : await(context, tickets[index]), LH_OK);
  }
  CHECK_STATUS(await(context, again), LH_OK);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
  /* Events come from a pool of as many as there were tickets, however many come after. */
  uint64_t event_count = loopback()->calls("cuEventCreate");
  for (uint32_t index = 0; index < TICKET_COUNT + 10; index += 1) {
    CHECK_STATUS(run_on(context, LH_LANE_IN, &transfer, 1), LH_OK);
  }
  CHECK_NUMBER((double)loopback()->calls("cuEventCreate"), (double)event_count);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(holds_1024_tickets)

/* How long a wait lasts is seen by how often it asks. */
static void waits_for_a_bounded_time_with(const char *settings) {
  enum { SPUN_COUNT = 10000 };
  lh_context *context = open_cuda(0, settings);
  lh_ticket gate = block_lane(context, LH_LANE_COMPUTE);
  const char *query = strcmp(settings, "lanes=serial") == 0 ? "cuStreamQuery" : "cuEventQuery";
  uint32_t failed_index = 77;
  loopback()->reset();
  CHECK_STATUS(lh_wait(context, gate, 0, &failed_index), LH_TIMEOUT);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  CHECK_NUMBER(loopback()->calls(query), 1);
  /* It ends by itself, though nobody sets it a time; and it sleeps, or it would ask far more often in that time. */
  CHECK_STATUS(lh_wait(context, gate, UINT64_MAX, &failed_index), LH_TIMEOUT);
  CHECK(loopback()->calls(query) > 10);
  CHECK(loopback()->calls(query) < SPUN_COUNT);
  CHECK_STATUS(last_error_of(context).status, LH_OK);
  gate_open();
  CHECK_STATUS(await(context, gate), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(waits_for_a_bounded_time)

/* Nobody knows whose work on the one stream has failed, so everybody is told. No ticket ends well by being asked for last. */
static void a_failure_is_told_for_all_on_a_stream(void) {
  lh_context *context = open_cuda(0, "lanes=serial");
  lh_address device = take(context, 8);
  const lh_transfer transfer = fill(device, 1, 8);
  for (int order = 0; order < 2; order += 1) {
    lh_ticket tickets[3] = {block_lane(context, LH_LANE_IN), 0, 0};
    loopback()->fail("cuMemsetD8Async", 1, 1, 1);
    CHECK_STATUS(submit(context, &transfer, 1, &tickets[1]), LH_OK);
    CHECK_STATUS(submit(context, &transfer, 1, &tickets[2]), LH_OK);
    gate_open();
    CHECK_STATUS(await(context, tickets[order == 0 ? 1 : 2]), LH_TRANSFER_FAILED);
    CHECK_STATUS(await(context, tickets[order == 0 ? 2 : 1]), LH_TRANSFER_FAILED);
    CHECK_STATUS(await(context, tickets[0]), LH_LAUNCH_FAILED);
  }
  CHECK_STATUS(run_on(context, LH_LANE_IN, &transfer, 1), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

static void a_failure_is_told_of_its_event(void) {
  lh_context *context = open_cuda(0, "lanes=overlap");
  lh_address device = take(context, 8);
  const lh_transfer transfer = fill(device, 1, 8);
  lh_ticket tickets[3] = {block_lane(context, LH_LANE_IN), 0, 0};
  loopback()->fail("cuMemsetD8Async", 1, 1, 1);
  CHECK_STATUS(submit(context, &transfer, 1, &tickets[1]), LH_OK);
  CHECK_STATUS(submit(context, &transfer, 1, &tickets[2]), LH_OK);
  gate_open();
  CHECK_STATUS(await(context, tickets[2]), LH_OK);
  CHECK_STATUS(await(context, tickets[1]), LH_TRANSFER_FAILED);
  CHECK_STATUS(await(context, tickets[0]), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

/* The question is refused, while the work goes on: neither the ticket ends then, nor is what it uses freed. */
static void a_refused_question_is_no_end_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  const char *query = strcmp(settings, "lanes=serial") == 0 ? "cuStreamQuery" : "cuEventQuery";
  lh_address device = take(context, 8);
  char plain[8] = "";
  const lh_transfer transfer = copy_out(plain, device, 8);
  lh_ticket gate = block_lane(context, LH_LANE_OUT);
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  CHECK_STATUS(lh_submit(context, LH_LANE_OUT, &transfer, 1, &ticket, &failed_index), LH_OK);
  loopback()->fail(query, 1, OUT_OF_MEMORY_CODE, 0);
  CHECK_STATUS(poll(context, ticket), LH_NOT_READY);
  loopback()->fail("cuCtxPushCurrent_v2", 1, OUT_OF_MEMORY_CODE, 0);
  CHECK_STATUS(poll(context, ticket), LH_NOT_READY);
  CHECK_STATUS(poll(context, ticket), LH_NOT_READY);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 1);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_TRANSFER_FAILED);
  lh_status expected = strcmp(settings, "lanes=serial") == 0 ? LH_OUT_OF_MEMORY : LH_OK;
  CHECK_STATUS(await(context, gate), expected);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 0);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(a_refused_question_is_no_end)

static void refuse_next(const char *name, uint64_t count) {
  for (uint64_t nth = 1; nth <= count; nth += 1) {
    loopback()->fail(name, nth, OUT_OF_MEMORY_CODE, 0);
  }
}

/* One answer in between, and the refusals count from the beginning. */
static void forgets_refusals_once_the_driver_tells(void) {
  lh_context *context = open_cuda(0, "");
  lh_ticket gate = block_lane(context, LH_LANE_COMPUTE);
  for (int time = 0; time < 3; time += 1) {
    refuse_next("cuCtxPushCurrent_v2", REFUSAL_COUNT - 1);
    for (int round = 0; round < REFUSAL_COUNT; round += 1) {
      CHECK_STATUS(poll(context, gate), LH_NOT_READY);
    }
    CHECK_NUMBER((double)loopback()->pending_failures(), 0);
  }
  gate_open();
  CHECK_STATUS(await(context, gate), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

/* Refusals -------------------------------------------------------------------------------------------------------- */

/* Nothing of the table is on its stream, so its memory is free at once, whatever another's kernel does there. */
static void a_table_refused_at_first_is_refused_at_once_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 8);
  uint8_t *staging = host_bytes(take_host(context, 8));
  char plain[8] = "before";
  const lh_transfer pinned[] = {copy_in(device, staging, 8), fill(device, 5, 4)};
  const lh_transfer bounced[] = {copy_in(device, plain, 8), fill(device, 5, 4)};
  lh_ticket gate = block_lane(context, LH_LANE_IN);
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  loopback()->reset();
  loopback()->fail("cuMemcpyHtoDAsync_v2", 1, 1, 0);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, pinned, 2, &ticket, &failed_index), LH_TRANSFER_FAILED);
  CHECK_NUMBER(failed_index, 0);
  CHECK_NUMBER(ticket, -7);
  loopback()->fail("cuMemHostAlloc", 1, OUT_OF_MEMORY_CODE, 0);
  check_host_refused(context, bounced, 2, 0);
  loopback()->fail("cuMemcpyHtoDAsync_v2", 1, 1, 0);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, bounced, 2, &ticket, &failed_index), LH_TRANSFER_FAILED);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 1);
  CHECK_NUMBER(statistics_of(context).copy_in_count, 0);
  CHECK_NUMBER((double)(loopback()->calls("cuStreamQuery") + loopback()->calls("cuEventRecord")), 0);
  CHECK_STATUS(poll(context, gate), LH_NOT_READY);
  gate_open();
  CHECK_STATUS(await(context, gate), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(a_table_refused_at_first_is_refused_at_once)

/*
 * A table that is refused half way: what was put on the stream may use the caller's memory until its ticket ends, for as long as
 * another's kernel before it takes. The device goes on, and so does all other work.
 */
static void a_table_refused_half_way_fails_when_it_ends_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 8);
  uint8_t *staging = host_bytes(take_host(context, 8));
  char plain[8] = "before";
  const lh_transfer transfers[] = {copy_in(device, staging, 8), fill(device, 5, 4), copy_out(plain, device, 8)};
  lh_ticket gate = block_lane(context, LH_LANE_IN);
  lh_ticket ticket = 0;
  lh_ticket behind = 0;
  uint32_t failed_index = 77;
  loopback()->fail("cuMemcpyDtoHAsync_v2", 1, 1, 0);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, transfers, 3, &ticket, &failed_index), LH_OK);
  CHECK_STATUS(submit(context, &transfers[1], 1, &behind), LH_OK);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 3);
  CHECK_NUMBER(statistics_of(context).copy_in_count, 0);
  CHECK_STATUS(lh_wait(context, ticket, UINT64_MAX, &failed_index), LH_TIMEOUT);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 2);
  gate_open();
  CHECK_STATUS(await(context, gate), LH_OK);
  CHECK_STATUS(await_entry(context, ticket, &failed_index), LH_TRANSFER_FAILED);
  CHECK_NUMBER(failed_index, 2);
  CHECK_NUMBER(last_error_of(context).device_code, 1);
  CHECK(strcmp(plain, "before") == 0);
  CHECK_STATUS(lh_host_free(context, address_of(staging)), LH_OK);
  CHECK_STATUS(await(context, behind), LH_OK);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 0);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(a_table_refused_half_way_fails_when_it_ends)

/* With an event of its own it ends by itself, though work that comes behind it never leaves its stream alone. */
static void a_refused_table_does_not_wait_for_what_comes_behind(void) {
  lh_context *context = open_cuda(0, "lanes=overlap");
  lh_address device = take(context, 8);
  const lh_transfer transfers[] = {fill(device, 5, 4), fill(device, 6, 4)};
  lh_ticket ticket = 0;
  uint32_t failed_index = 77;
  loopback()->fail("cuMemsetD8Async", 2, 1, 0);
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, transfers, 2, &ticket, &failed_index), LH_OK);
  lh_ticket gate = block_lane(context, LH_LANE_IN);
  CHECK_STATUS(await(context, ticket), LH_TRANSFER_FAILED);
  CHECK_STATUS(poll(context, gate), LH_NOT_READY);
  gate_open();
  CHECK_STATUS(await(context, gate), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

/* Nobody has to ask: the end of the context waits for what was begun, and gives back what was pinned. */
static void closes_with_a_refused_table_in_flight_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_address device = take(context, 8);
  char plain[8] = "before";
  const lh_transfer transfers[] = {fill(device, 5, 8), copy_out(plain, device, 8), fill(device, 6, 8)};
  lh_ticket ticket = 0;
  uint32_t failed_index = 77;
  loopback()->set_delay(2000000);
  loopback()->fail("cuMemsetD8Async", 2, 1, 0);
  CHECK_STATUS(lh_submit(context, LH_LANE_OUT, transfers, 3, &ticket, &failed_index), LH_OK);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 1);
  close_device(context);
  loopback()->set_delay(0);
  CHECK(strcmp(plain, "before") == 0);
  check_driver_is_empty();
}

WITH_BOTH_LANES(closes_with_a_refused_table_in_flight)

/* The work has ended when its stream rests, where its event is not to be had. */
static void work_whose_event_is_refused_fails_when_it_ends(void) {
  static const char *const calls[] = {"cuEventCreate", "cuEventRecord"};
  for (size_t index = 0; index < sizeof calls / sizeof *calls; index += 1) {
    lh_context *context = open_cuda(0, "lanes=overlap");
    lh_address device = take(context, 8);
    const lh_transfer transfer = fill(device, 5, 4);
    lh_ticket gate = block_lane(context, LH_LANE_IN);
    lh_ticket ticket = 0;
    loopback()->fail(calls[index], 1, OUT_OF_MEMORY_CODE, 0);
    CHECK_STATUS(submit(context, &transfer, 1, &ticket), LH_OK);
    CHECK_STATUS(poll(context, ticket), LH_NOT_READY);
    gate_open();
    CHECK_STATUS(await(context, gate), LH_OK);
    CHECK_STATUS(await(context, ticket), LH_OUT_OF_MEMORY);
    CHECK_STATUS(run_on(context, LH_LANE_IN, &transfer, 1), LH_OK);
    close_device(context);
    check_driver_is_empty();
  }
}

/* A driver that never tells has lost the device: its memory would never be safe again. */
static void loses_a_device_that_never_tells(void) {
  lh_context *context = open_cuda(new_device(), "");
  lh_ticket gate = block_lane(context, LH_LANE_COMPUTE);
  refuse_next("cuCtxPushCurrent_v2", REFUSAL_COUNT);
  for (int round = 1; round < REFUSAL_COUNT; round += 1) {
    CHECK_STATUS(poll(context, gate), LH_NOT_READY);
  }
  CHECK_STATUS(poll(context, gate), LH_DEVICE_LOST);
  CHECK_NUMBER(last_error_of(context).device_code, OUT_OF_MEMORY_CODE);
  uint64_t call_count = loopback()->calls("");
  lh_address address = 0;
  CHECK_STATUS(lh_malloc(context, 1, 1, &address), LH_DEVICE_LOST);
  close_device(context);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  gate_open();
  await_gate(0);
  check_driver_is_content();
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda work: moves bytes in order", moves_bytes_in_order},
      {"cuda work: calls nobody for what the host does", calls_nobody_for_what_the_host_does},
      {"cuda work: checks the whole table first", checks_the_whole_table_first},
      {"cuda work: bounces plain memory", bounces_plain_memory},
      {"cuda work: keeps pinned memory while others work", keeps_pinned_memory_while_others_work},
      {"cuda work: moves plain memory on in the order of the table", moves_on_in_the_order_of_the_table},
      {"cuda work: refuses to copy plain memory out and in again", refuses_to_copy_plain_memory_out_and_in_again},
      {"cuda work: writes nothing for a copy that failed", writes_nothing_for_a_copy_that_failed},
      {"cuda work: tells the end of a ticket once", tells_the_end_of_a_ticket_once},
      {"cuda work: holds 1024 tickets", holds_1024_tickets},
      {"cuda work: waits for a bounded time", waits_for_a_bounded_time},
      {"cuda work: a failure is told for all that was on one stream", a_failure_is_told_for_all_on_a_stream},
      {"cuda work: with events a failure is told of its own", a_failure_is_told_of_its_event},
      {"cuda work: a refused question is no end", a_refused_question_is_no_end},
      {"cuda work: forgets refusals once the driver tells", forgets_refusals_once_the_driver_tells},
      {"cuda work: a table that is refused at first is refused at once", a_table_refused_at_first_is_refused_at_once},
      {"cuda work: a table that is refused half way fails when it ends", a_table_refused_half_way_fails_when_it_ends},
      {"cuda work: a refused table does not wait for what comes behind it",
       a_refused_table_does_not_wait_for_what_comes_behind},
      {"cuda work: closes with a refused table in flight", closes_with_a_refused_table_in_flight},
      {"cuda work: work whose event is refused fails when it ends", work_whose_event_is_refused_fails_when_it_ends},
      {"cuda work: loses a device whose driver never tells", loses_a_device_that_never_tells},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
