/*
 * work_test.c: tables of transfers on an immediate device: what they do, and what is refused before a byte moves.
 */
#include "support.h"

static uint8_t *bytes_at(lh_address address) { return (uint8_t *)(uintptr_t)address; }

/* Submits and checks the status and the entry that failed. */
static void check_refused(lh_context *context, const lh_transfer *transfers, uint32_t count, lh_status expected_status,
                          uint32_t expected_index) {
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  CHECK_STATUS(lh_submit(context, LH_LANE_IN, transfers, count, &ticket, &failed_index), expected_status);
  CHECK_NUMBER(failed_index, expected_index);
  CHECK_NUMBER(ticket, -7);
  lh_error error = last_error_of(context);
  CHECK_STATUS(error.status, expected_status);
  CHECK_NUMBER(error.entry_index, expected_index);
  CHECK(error.detail[0] != '\0');
}

static void moves_bytes_in_order(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address device = take(context, 16);
  const char source[16] = "fifteen letters";
  char destination[16] = "";
  char copied[16] = "";
  char filled[4] = "abc";
  const lh_transfer transfers[] = {
      copy_in(device, source, 16),
      fill(device, 'F', 1),
      copy_out(destination, device, 16),
      host_copy(copied, destination, 16),
      host_fill(filled, 'x', 2),
      fill(device, 0, 16),
  };
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  CHECK_STATUS(lh_submit(context, LH_LANE_OUT, transfers, 6, &ticket, &failed_index), LH_OK);
  CHECK_NUMBER(ticket, 0);
  CHECK_NUMBER(failed_index, 77);
  CHECK(strcmp(destination, "Fifteen letters") == 0);
  CHECK(strcmp(copied, "Fifteen letters") == 0);
  CHECK(strcmp(filled, "xxc") == 0);
  CHECK_NUMBER(peek(device), 0);
  lh_statistics statistics = statistics_of(context);
  CHECK_NUMBER(statistics.copy_in_count, 1);
  CHECK_NUMBER(statistics.copied_in_bytes, 16);
  CHECK_NUMBER(statistics.copy_out_count, 1);
  CHECK_NUMBER(statistics.copied_out_bytes, 16);
  CHECK_NUMBER(statistics.fill_count, 2);
  CHECK_NUMBER(statistics.in_flight_count, 0);
  close_device(context);
}

static void checks_the_whole_table_before_a_byte_moves(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address device = take(context, 16);
  char host[16] = "unchanged";
  const lh_transfer transfers[] = {
      fill(device, 1, 16),
      host_fill(host, 0, 16),
      copy_out(host, device, 17),
  };
  check_refused(context, transfers, 3, LH_OUT_OF_RANGE, 2);
  CHECK_NUMBER(peek(device), 0xFF);
  CHECK(strcmp(host, "unchanged") == 0);
  CHECK_NUMBER(statistics_of(context).fill_count, 0);
  close_device(context);
}

static void does_nothing_for_an_empty_table(void) {
  lh_context *context = open_device("total_bytes=4096");
  uint32_t failed_index = 77;
  CHECK_STATUS(submit(context, NULL, 0, NULL), LH_OK);
  CHECK_STATUS(lh_collect(context, NULL, 0, &failed_index), LH_OK);
  CHECK_NUMBER(failed_index, 77);
  check_refused(context, NULL, 1, LH_INVALID_ARGUMENT, UINT32_MAX);
  CHECK_STATUS(lh_collect(context, NULL, 1, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  close_device(context);
}

static void refuses_entries_that_are_none(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address device = take(context, 64);
  char host[64] = "";
  const lh_transfer wrong[] = {
      {0, device, 0, 1},
      {6, device, 0, 1},
      {1.5, device, 0, 1},
      {-1, device, 0, 1},
      {0.0 / 0.0, device, 0, 1},
      fill(device, 256, 1),
      fill(device, -1, 1),
      fill(device, 0.5, 1),
      fill(0, 0, 1),
      fill(device, 0, 0),
      fill(device, 0, -1),
      fill(device, 0, 1.5),
      fill(device, 0, 1.0 / 0.0),
      fill(device + 0.5, 0, 1),
      fill(-device, 0, 1),
      copy_in(device, NULL, 1),
      copy_out(NULL, device, 1),
      host_copy(NULL, host, 1),
      host_copy(host, NULL, 1),
      host_fill(NULL, 0, 1),
      host_fill(host, 256, 1),
      host_fill(host, 0, 9007199254740991.0),
      host_fill(host, 0, 9007199254740992.0),
  };
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    const lh_transfer transfers[] = {fill(device, 0, 1), wrong[index]};
    check_refused(context, transfers, 2, LH_INVALID_ARGUMENT, 1);
  }
  close_device(context);
}

static void refuses_device_ranges_that_are_not_live(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address live = take(context, 64);
  lh_address freed = take(context, 64);
  char host[64] = "";
  CHECK_STATUS(lh_free(context, freed), LH_OK);
  check_refused(context, &(lh_transfer){LH_TRANSFER_COPY_IN, live + 1, address_of(host), 64}, 1, LH_OUT_OF_RANGE, 0);
  check_refused(context, &(lh_transfer){LH_TRANSFER_COPY_OUT, address_of(host), freed, 1}, 1, LH_USE_AFTER_FREE, 0);
  check_refused(context, &(lh_transfer){LH_TRANSFER_FILL, address_of(host), 0, 1}, 1, LH_FOREIGN_POINTER, 0);
  check_refused(context, &(lh_transfer){LH_TRANSFER_FILL, live, 0, 9007199254740991.0}, 1, LH_OUT_OF_RANGE, 0);
  close_device(context);
}

static void refuses_device_memory_as_host_memory(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address device = take(context, 64);
  char host[64] = "";
  const lh_transfer wrong[] = {
      copy_in(device, bytes_at(device), 1),
      copy_out(bytes_at(device), device, 1),
      host_copy(host, bytes_at(device), 1),
      host_fill(bytes_at(device), 0, 1),
  };
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    check_refused(context, &wrong[index], 1, LH_INVALID_ARGUMENT, 0);
  }
  close_device(context);
}

static void checks_ranges_of_its_own_host_memory(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address device = take(context, 64);
  lh_address host = 0;
  CHECK_STATUS(lh_host_malloc(context, 60, &host), LH_OK);
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_COPY_OUT, host, device, 60}, 1, NULL), LH_OK);
  check_refused(context, &(lh_transfer){LH_TRANSFER_COPY_OUT, host, device, 61}, 1, LH_OUT_OF_RANGE, 0);
  check_refused(context, &(lh_transfer){LH_TRANSFER_COPY_IN, device, host + 1, 60}, 1, LH_OUT_OF_RANGE, 0);
  close_device(context);
}

static void has_three_lanes(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  for (uint32_t lane = 0; lane < LH_LANE_COUNT; lane += 1) {
    CHECK_STATUS(lh_submit(context, lane, NULL, 0, &ticket, &failed_index), LH_OK);
  }
  CHECK_STATUS(lh_submit(context, LH_LANE_COUNT, NULL, 0, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  close_device(context);
}

static void collects_on_the_host_only(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address device = take(context, 64);
  uint32_t failed_index = 77;
  char host[8] = "abcdefg";
  const lh_transfer good[] = {host_copy(host + 1, host, 3), host_fill(host, 'x', 1)};
  CHECK_STATUS(lh_collect(context, good, 2, &failed_index), LH_OK);
  CHECK(strcmp(host, "xabcefg") == 0);
  CHECK_NUMBER(failed_index, 77);
  const lh_transfer bad[] = {host_fill(host, 'y', 1), fill(device, 0, 1)};
  CHECK_STATUS(lh_collect(context, bad, 2, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(failed_index, 1);
  CHECK_NUMBER(host[0], 'x');
  close_device(context);
}

static void knows_no_tickets(void) {
  lh_context *context = open_device("total_bytes=4096");
  uint32_t failed_index = 77;
  CHECK_STATUS(lh_poll(context, 0, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  CHECK_STATUS(lh_poll(context, 1024, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_poll(context, 0.5, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_wait(context, 1024, 1000, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_wait(context, -1, 1000, &failed_index), LH_INVALID_ARGUMENT);
  close_device(context);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"work: moves bytes in order", moves_bytes_in_order},
      {"work: checks the whole table before a byte moves", checks_the_whole_table_before_a_byte_moves},
      {"work: does nothing for an empty table", does_nothing_for_an_empty_table},
      {"work: refuses entries that are none", refuses_entries_that_are_none},
      {"work: refuses device ranges that are not live", refuses_device_ranges_that_are_not_live},
      {"work: refuses device memory as host memory", refuses_device_memory_as_host_memory},
      {"work: checks ranges of its own host memory", checks_ranges_of_its_own_host_memory},
      {"work: has three lanes", has_three_lanes},
      {"work: collects on the host only", collects_on_the_host_only},
      {"work: knows no tickets where all ends within the call", knows_no_tickets},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
