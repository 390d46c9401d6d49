/*
 * memory_lab_test.c: kernels that trust undefined memory or leave it are named, and all others launch as ever.
 */
#include "support.h"

#include <stdio.h>

enum { ELEMENT_COUNT = 8, TENSOR_BYTES = ELEMENT_COUNT * (int)sizeof(float), SCRATCH_COUNT = 33 };

#define LAB "total_bytes=1048576 memory_lab=fail"

static lh_address take_filled(lh_context *context, uint64_t byte_count, double value) {
  lh_address address = take(context, byte_count);
  lh_ticket ticket = 0;
  const lh_transfer filled[] = {fill(address, value, (double)byte_count)};
  CHECK_STATUS(submit(context, filled, 1, &ticket), LH_OK);
  if (ticket != 0) {
    CHECK_STATUS(await(context, ticket), LH_OK);
  }
  return address;
}

static lh_address take_floats(lh_context *context, float first, float step) {
  lh_address address = take(context, TENSOR_BYTES);
  float values[ELEMENT_COUNT];
  for (int index = 0; index < ELEMENT_COUNT; index += 1) {
    values[index] = first + step * (float)index;
  }
  poke_bytes(address, values, sizeof values);
  return address;
}

static lh_argument floats(double kind, lh_address address) {
  return tensor(kind, LH_DTYPE_FLOAT32, address, ELEMENT_COUNT);
}

static lh_argument bytes(double kind, lh_address address, uint64_t byte_count) {
  return tensor(kind, LH_DTYPE_UINT8, address, byte_count);
}

/* Launches and waits for the end. */
static lh_status launch_to_end(lh_context *context, const char *symbol, const lh_argument *arguments, uint32_t count,
                               uint32_t *failed_index_out) {
  lh_ticket ticket = 0;
  lh_status status = lh_launch(context, LH_LANE_COMPUTE, find_kernel(context, symbol), NULL, arguments, count, 0,
                               &ticket, failed_index_out);
  while (ticket != 0 && (status == LH_OK || status == LH_TIMEOUT)) {
    status = lh_wait(context, ticket, UINT64_MAX, failed_index_out);
    ticket = status == LH_TIMEOUT ? ticket : 0;
  }
  return status;
}

/* The launch must fail, name the argument, and say what was found. */
static void check_found(lh_context *context, const char *symbol, const lh_argument *arguments, uint32_t count,
                        uint32_t expected_index, const char *fragment) {
  uint64_t launch_count = statistics_of(context).launch_count;
  uint32_t failed_index = 77;
  CHECK_STATUS(launch_to_end(context, symbol, arguments, count, &failed_index), LH_LAUNCH_FAILED);
  CHECK_NUMBER(failed_index, expected_index);
  lh_error error = last_error_of(context);
  CHECK_STATUS(error.status, LH_LAUNCH_FAILED);
  CHECK_NUMBER(error.entry_index, expected_index);
  CHECK_NUMBER(error.device_code, 0);
  if (!CHECK(strstr(error.detail, fragment) != NULL) || !CHECK(error.detail[strlen(error.detail) - 1] == '.')) {
    printf("%s: %s\n", symbol, error.detail);
  }
  CHECK_NUMBER(statistics_of(context).launch_count, launch_count);
}

static void check_passes(lh_context *context, const char *symbol, const lh_argument *arguments, uint32_t count) {
  uint64_t launch_count = statistics_of(context).launch_count;
  uint32_t failed_index = 77;
  if (!CHECK_STATUS(launch_to_end(context, symbol, arguments, count, &failed_index), LH_OK)) {
    printf("%s: %s\n", symbol, last_error_of(context).detail);
  }
  CHECK_NUMBER(failed_index, 77);
  CHECK_NUMBER(statistics_of(context).launch_count, launch_count + 1);
}

/* Nothing to find ------------------------------------------------------------------------------------------------- */

static void lets_kernels_do_once_what_they_do(void) {
  lh_context *context = open_device(LAB);
  lh_address a = take_floats(context, 1, 1);
  lh_address b = take_floats(context, 10, 10);
  lh_address c = take_floats(context, 0, 0);
  lh_address scratch = take_filled(context, 16, 0x41);
  const lh_argument added[] = {floats(LH_ARGUMENT_INPUT, a), floats(LH_ARGUMENT_INPUT, b),
                               floats(LH_ARGUMENT_OUTPUT, c)};
  check_passes(context, "test_add", added, 3);
  CHECK_NUMBER(peek_float(c, 0), 11);
  CHECK_NUMBER(peek_float(c, ELEMENT_COUNT - 1), 88);
  /* With something to vary, so that it is executed several times, and yet scaled once. */
  const lh_argument scaled[] = {floats(LH_ARGUMENT_INOUT, c), scalar_float32(0.5f),
                                bytes(LH_ARGUMENT_SCRATCH, scratch, 16)};
  check_passes(context, "test_scale", scaled, 3);
  CHECK_NUMBER(peek_float(c, 1), 11);
  CHECK_NUMBER(peek(scratch + 15), 0x41);
  const lh_argument accumulated[] = {floats(LH_ARGUMENT_RESIDENT, a), floats(LH_ARGUMENT_INPUT, b),
                                     floats(LH_ARGUMENT_OUTPUT, c)};
  check_passes(context, "test_accumulate", accumulated, 3);
  CHECK_NUMBER(peek_float(a, 2), 33);
  CHECK_NUMBER(peek_float(c, 2), 33);
  check_passes(context, "test_accumulate", accumulated, 3);
  CHECK_NUMBER(peek_float(a, 2), 63);
  close_device(context);
}

static void takes_no_constant_for_memory(void) {
  lh_context *context = open_device(LAB);
  lh_address y = take(context, 256);
  for (int32_t value = 0; value < 256; value += 1) {
    const lh_argument written[] = {bytes(LH_ARGUMENT_OUTPUT, y, 256), scalar_int32(256), scalar_int32(value)};
    check_passes(context, "test_write_first", written, 3);
    CHECK_NUMBER(peek(y + 255), value);
  }
  close_device(context);
}

static void has_nothing_to_say_where_nothing_varies(void) {
  lh_context *context = open_device(LAB);
  const lh_argument empty[] = {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, 0, 0),
                               tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, 0, 0)};
  check_passes(context, "test_copy", empty, 2);
  check_passes(context, "test_nothing", NULL, 0);
  const lh_argument kept[] = {bytes(LH_ARGUMENT_INOUT, take(context, 8), 8)};
  check_passes(context, "test_nothing", kept, 1);
  close_device(context);
}

/* An output in place of its input cannot be filled without changing the input. */
static void leaves_arguments_alone_that_overlap(void) {
  lh_context *context = open_device(LAB);
  lh_address a = take_floats(context, 1, 1);
  lh_address b = take_floats(context, 10, 10);
  const lh_argument added[] = {floats(LH_ARGUMENT_INPUT, a), floats(LH_ARGUMENT_INPUT, b),
                               floats(LH_ARGUMENT_OUTPUT, a)};
  check_passes(context, "test_add", added, 3);
  CHECK_NUMBER(peek_float(a, 0), 11);
  /* One byte is enough, and it may be anywhere in the order of the arguments. */
  lh_address block = take_filled(context, 64, 5);
  const lh_argument revealed[] = {bytes(LH_ARGUMENT_SCRATCH, block, 8), bytes(LH_ARGUMENT_OUTPUT, block + 16, 8),
                                  bytes(LH_ARGUMENT_INPUT, block + 7, 1), scalar_int32(0)};
  const lh_argument wide[] = {bytes(LH_ARGUMENT_INPUT, block, 64), bytes(LH_ARGUMENT_SCRATCH, block + 8, 8),
                              bytes(LH_ARGUMENT_SCRATCH, block + 24, 8), bytes(LH_ARGUMENT_OUTPUT, block + 40, 8)};
  check_passes(context, "test_nothing", wide, 4);
  check_found(context, "test_nothing", revealed, 4, 1, "never wrote 8 of the 8 bytes");
  CHECK(peek(block) == 5 && peek(block + 63) == 5);
  close_device(context);
}

/* Findings -------------------------------------------------------------------------------------------------------- */

static void names_an_accumulator_that_is_declared_an_output(void) {
  lh_context *context = open_device(LAB);
  lh_address sum = take_floats(context, 0, 0);
  lh_address x = take_floats(context, 10, 10);
  lh_address y = take_floats(context, 3, 0);
  const lh_argument accumulated[] = {floats(LH_ARGUMENT_OUTPUT, sum), floats(LH_ARGUMENT_INPUT, x),
                                     floats(LH_ARGUMENT_OUTPUT, y)};
  /* Although it happens to hold zeros, as it would wherever outputs are cleared. */
  check_found(context, "test_accumulate", accumulated, 3, 0, "should be declared inout");
  CHECK_NUMBER(peek_float(sum, 7), 0);
  CHECK_NUMBER(peek_float(x, 7), 80);
  CHECK_NUMBER(peek_float(y, 7), 3);
  const lh_argument corrected[] = {floats(LH_ARGUMENT_INOUT, sum), floats(LH_ARGUMENT_INPUT, x),
                                   floats(LH_ARGUMENT_OUTPUT, y)};
  check_passes(context, "test_accumulate", corrected, 3);
  CHECK_NUMBER(peek_float(sum, 7), 80);
  close_device(context);
}

static void counts_bytes_that_are_never_written(void) {
  lh_context *context = open_device(LAB);
  lh_address y = take_filled(context, 100, 9);
  for (int32_t first_count = 0; first_count < 100; first_count += 33) {
    char fragment[128];
    const lh_argument written[] = {bytes(LH_ARGUMENT_OUTPUT, y, 100), scalar_int32(first_count), scalar_int32(4)};
    snprintf(fragment, sizeof fragment, "never wrote %d of the 100 bytes of this output, from offset %d",
             100 - first_count, first_count);
    check_found(context, "test_write_first", written, 3, 0, fragment);
    CHECK(peek(y) == 9 && peek(y + 99) == 9);
  }
  close_device(context);
}

static void names_the_scratch_that_is_trusted(void) {
  lh_context *context = open_device(LAB);
  lh_argument arguments[SCRATCH_COUNT + 2];
  for (uint32_t index = 0; index < SCRATCH_COUNT; index += 1) {
    arguments[index] = bytes(LH_ARGUMENT_SCRATCH, take_filled(context, 8, index), 8);
  }
  lh_address y = take_filled(context, 8, 200);
  for (uint32_t which = 0; which < SCRATCH_COUNT; which += 1) {
    arguments[SCRATCH_COUNT] = bytes(which % 2 == 0 ? LH_ARGUMENT_OUTPUT : LH_ARGUMENT_RESIDENT, y, 8);
    arguments[SCRATCH_COUNT + 1] = scalar_int32((int32_t)which);
    check_found(context, "test_reveal_one", arguments, SCRATCH_COUNT + 2, which, "shows in argument 33");
    CHECK_NUMBER(peek(arguments[which].address + 7), which);
    CHECK_NUMBER(peek(y + 7), 200);
  }
  close_device(context);
}

static void finds_what_shows_in_few_ways(void) {
  lh_context *context = open_device(LAB);
  lh_address one = take_filled(context, TENSOR_BYTES, 0);
  lh_address two = take_filled(context, TENSOR_BYTES, 0);
  lh_address y = take_filled(context, TENSOR_BYTES, 0);
  const lh_argument flag[] = {tensor(LH_ARGUMENT_SCRATCH, LH_DTYPE_INT32, one, 1),
                              tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_INT32, y, 1)};
  check_found(context, "test_trust_flag", flag, 2, 0, "shows in argument 1");
  const lh_argument code[] = {tensor(LH_ARGUMENT_SCRATCH, LH_DTYPE_INT32, one, 1)};
  check_found(context, "test_trust_code", code, 1, 0, "decides what the kernel returns");
  const lh_argument subtracted[] = {floats(LH_ARGUMENT_SCRATCH, one), floats(LH_ARGUMENT_SCRATCH, two),
                                    floats(LH_ARGUMENT_OUTPUT, y)};
  check_found(context, "test_subtract_scratch", subtracted, 3, 0, "shows in argument 2");
  const lh_argument clamped[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_INT8, y, TENSOR_BYTES)};
  check_found(context, "test_clamp", clamped, 1, 0, "should be declared inout");
  close_device(context);
}

static void says_that_a_kernel_is_not_deterministic(void) {
  lh_context *context = open_device(LAB);
  lh_address y = take_filled(context, sizeof(int32_t), 0);
  lh_argument counted[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_INT32, y, 1), scalar_int32(2), scalar_int32(0)};
  check_found(context, "test_count_calls", counted, 3, 0, "not deterministic");
  /* One that answers differently only later looks like one that trusts memory, until it is asked again. */
  for (int32_t period = 5; period < 60; period += 6) {
    for (int32_t phase = 2; phase < 5; phase += 1) {
      counted[1] = scalar_int32(1);
      counted[2] = scalar_int32(0);
      check_passes(context, "test_count_calls", counted, 3);
      counted[1] = scalar_int32(period);
      counted[2] = scalar_int32(phase);
      check_found(context, "test_count_calls", counted, 3, UINT32_MAX, "not deterministic");
    }
  }
  close_device(context);
}

static void leaves_failures_to_the_kernel(void) {
  lh_context *context = open_device(LAB);
  const lh_argument output[] = {bytes(LH_ARGUMENT_OUTPUT, take(context, 8), 8)};
  uint32_t failed_index = 77;
  CHECK_STATUS(launch_to_end(context, "test_fail", output, 1, &failed_index), LH_LAUNCH_FAILED);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  CHECK_NUMBER(last_error_of(context).device_code, 7);
  CHECK(strstr(last_error_of(context).detail, "reported a failure") != NULL);
  CHECK_STATUS(launch_to_end(context, "test_lose_device", output, 1, &failed_index), LH_DEVICE_LOST);
  close_device(context);
}

/* Settings -------------------------------------------------------------------------------------------------------- */

static void tells_each_ticket_what_was_found(void) {
  lh_context *context = open_device(LAB " completion=late lanes=overlap");
  lh_address y = take_filled(context, 100, 0);
  lh_kernel kernel = find_kernel(context, "test_write_first");
  lh_ticket tickets[20];
  uint32_t failed_index = 77;
  for (int32_t index = 0; index < 20; index += 1) {
    const lh_argument written[] = {bytes(LH_ARGUMENT_OUTPUT, y, 100), scalar_int32(100 - index), scalar_int32(1)};
    CHECK_STATUS(launch(context, kernel, written, 3, &tickets[index]), LH_OK);
  }
  CHECK_STATUS(await(context, tickets[0]), LH_OK);
  /* In another order than they ended, so that one sentence cannot stand for another. */
  for (int32_t index = 19; index > 0; index -= 1) {
    char fragment[64];
    lh_status status = LH_TIMEOUT;
    while (status == LH_TIMEOUT) {
      status = lh_wait(context, tickets[index], UINT64_MAX, &failed_index);
    }
    snprintf(fragment, sizeof fragment, "never wrote %d of the 100", index);
    CHECK_STATUS(status, LH_LAUNCH_FAILED);
    CHECK_NUMBER(failed_index, 0);
    CHECK(strstr(last_error_of(context).detail, fragment) != NULL);
  }
  CHECK_NUMBER(statistics_of(context).launch_count, 1);
  CHECK_NUMBER(peek(y + 99), 1);
  const lh_argument output[] = {bytes(LH_ARGUMENT_OUTPUT, y, 100)};
  check_found(context, "test_nothing", output, 1, 0, "never wrote 100 of the 100");
  close_device(context);
}

static void executes_once_where_it_is_off(void) {
  lh_context *context = open_device("total_bytes=4096 memory_lab=off");
  lh_address y = take(context, sizeof(int32_t));
  lh_argument counted[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_INT32, y, 1), scalar_int32(1000), scalar_int32(3)};
  for (int call = 0; call < 5; call += 1) {
    check_passes(context, "test_count_calls", counted, 3);
    CHECK_NUMBER(peek(y), call == 3 ? 1 : 0);
  }
  const lh_argument accumulated[] = {floats(LH_ARGUMENT_OUTPUT, take_floats(context, 1, 0)),
                                     floats(LH_ARGUMENT_INPUT, take_floats(context, 1, 0)),
                                     floats(LH_ARGUMENT_OUTPUT, take_floats(context, 1, 0))};
  check_passes(context, "test_accumulate", accumulated, 3);
  close_device(context);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"memory lab: lets kernels do once what they do", lets_kernels_do_once_what_they_do},
      {"memory lab: takes no constant for memory", takes_no_constant_for_memory},
      {"memory lab: has nothing to say where nothing varies", has_nothing_to_say_where_nothing_varies},
      {"memory lab: leaves arguments alone that overlap", leaves_arguments_alone_that_overlap},
      {"memory lab: names an accumulator that is declared an output", names_an_accumulator_that_is_declared_an_output},
      {"memory lab: counts bytes that are never written", counts_bytes_that_are_never_written},
      {"memory lab: names the scratch that is trusted", names_the_scratch_that_is_trusted},
      {"memory lab: finds what shows in few ways", finds_what_shows_in_few_ways},
      {"memory lab: says that a kernel is not deterministic", says_that_a_kernel_is_not_deterministic},
      {"memory lab: leaves failures to the kernel", leaves_failures_to_the_kernel},
      {"memory lab: tells each ticket what was found", tells_each_ticket_what_was_found},
      {"memory lab: executes once where it is off", executes_once_where_it_is_off},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
