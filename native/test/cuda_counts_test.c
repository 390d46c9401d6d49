/*
 * cuda_counts_test.c: how many calls of the driver a step makes. Its number of tensors is not among what that depends on.
 */
#include "cuda_support.h"

#include <stdio.h>

enum { TENSOR_BYTES = 4096, TENSOR_MAX_COUNT = 64, PIECE_BYTES = 65536 };

/* What a step calls, beside asking whether its work has ended. */
static const char *const counted[] = {
    "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemsetD8Async", "cuLaunchKernel", "cuEventCreate",
    "cuEventRecord",        "cuMemAlloc_v2",        "cuMemFree_v2",    "cuMemHostAlloc", "cuMemFreeHost",
};

enum { COUNTED_COUNT = sizeof counted / sizeof *counted };

typedef struct counts {
  uint64_t of[COUNTED_COUNT];
  uint64_t all;     /* of every entry point, less queries and what comes with them */
  uint64_t queries;
} counts;

/* Waiting for the device is asking it, each time with its context made current. */
static counts count_calls(void) {
  counts c = {0};
  for (int index = 0; index < COUNTED_COUNT; index += 1) {
    c.of[index] = loopback()->calls(counted[index]);
  }
  c.queries = loopback()->calls("cuStreamQuery") + loopback()->calls("cuEventQuery");
  c.all = loopback()->calls("") - 3 * c.queries;
  return c;
}

/* A step as the host language makes it: tensors are gathered in staging and travel as one, with a fill, a kernel and the way back. */
typedef struct step {
  lh_context *context;
  lh_kernel kernel;
  lh_address slice;
  lh_address staging;
  uint32_t tensor_count;
} step;

static uint8_t tensors[TENSOR_MAX_COUNT][TENSOR_BYTES];
static uint8_t results[TENSOR_MAX_COUNT][TENSOR_BYTES];

static lh_status send(const step *s) {
  lh_transfer transfers[TENSOR_MAX_COUNT + 2];
  uint32_t count = s->tensor_count;
  for (uint32_t index = 0; index < count; index += 1) {
    transfers[index] = host_copy(host_bytes(s->staging) + (size_t)index * TENSOR_BYTES, tensors[index], TENSOR_BYTES);
  }
  transfers[count] = copy_in(s->slice, host_bytes(s->staging), (double)count * TENSOR_BYTES);
  transfers[count + 1] = fill(s->slice + (double)count * TENSOR_BYTES, 0, (double)count * TENSOR_BYTES);
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status = lh_submit(s->context, LH_LANE_IN, transfers, count + 2, &ticket, &failed_index);
  return status == LH_OK ? await(s->context, ticket) : status;
}

static lh_status compute(const step *s) {
  uint64_t byte_count = (uint64_t)s->tensor_count * TENSOR_BYTES;
  const lh_argument arguments[] = {
      tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, s->slice, byte_count),
      tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, s->slice + (double)byte_count, byte_count),
  };
  const lh_parameter parameters[] = {argument_parameter(0), argument_parameter(1), constant_uint64(byte_count),
                                     constant_uint8(1)};
  const lh_launch_step steps[] = {step_of(s->kernel, 0, 4)};
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 4, .steps = steps, .parameters = parameters};
  lh_ticket ticket = 0;
  lh_status status = launch_plan(s->context, LH_LANE_COMPUTE, &plan, arguments, 2, &ticket);
  return status == LH_OK ? await(s->context, ticket) : status;
}

static lh_status receive(const step *s) {
  uint32_t count = s->tensor_count;
  const lh_transfer out =
      copy_out(host_bytes(s->staging), s->slice + (double)count * TENSOR_BYTES, (double)count * TENSOR_BYTES);
  lh_transfer transfers[TENSOR_MAX_COUNT];
  for (uint32_t index = 0; index < count; index += 1) {
    transfers[index] = host_copy(results[index], host_bytes(s->staging) + (size_t)index * TENSOR_BYTES, TENSOR_BYTES);
  }
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status = lh_submit(s->context, LH_LANE_OUT, &out, 1, &ticket, &failed_index);
  status = status == LH_OK ? await(s->context, ticket) : status;
  return status == LH_OK ? lh_collect(s->context, transfers, count, &failed_index) : status;
}

static bool results_are_right(uint32_t count) {
  for (uint32_t index = 0; index < count; index += 1) {
    for (uint32_t offset = 0; offset < TENSOR_BYTES; offset += 1) {
      if (results[index][offset] != (uint8_t)(tensors[index][offset] + 1)) {
        return false;
      }
    }
  }
  return true;
}

static counts count_step(lh_context *context, lh_kernel kernel, uint32_t tensor_count) {
  step s = {
      .context = context,
      .kernel = kernel,
      .slice = take(context, 2ull * TENSOR_MAX_COUNT * TENSOR_BYTES),
      .staging = take_host(context, (uint64_t)TENSOR_MAX_COUNT * TENSOR_BYTES),
      .tensor_count = tensor_count,
  };
  for (uint32_t index = 0; index < tensor_count; index += 1) {
    memset(tensors[index], (int)(index + tensor_count), TENSOR_BYTES);
  }
  memset(results, 0, sizeof results);
  /* The first step may set up what all others use again. */
  for (int round = 0; round < 2; round += 1) {
    loopback()->reset();
    CHECK_STATUS(send(&s), LH_OK);
    CHECK_STATUS(compute(&s), LH_OK);
    CHECK_STATUS(receive(&s), LH_OK);
  }
  counts c = count_calls();
  CHECK(results_are_right(tensor_count));
  CHECK_STATUS(lh_host_free(context, s.staging), LH_OK);
  CHECK_STATUS(lh_free(context, s.slice), LH_OK);
  return c;
}

static void check_step(const char *settings, uint64_t expected_events) {
  static const uint32_t tensor_counts[] = {1, 20, 64};
  lh_context *context = open_cuda(0, settings);
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_add");
  for (size_t index = 0; index < sizeof tensor_counts / sizeof *tensor_counts; index += 1) {
    counts c = count_step(context, kernel, tensor_counts[index]);
    const uint64_t expected[COUNTED_COUNT] = {1, 1, 1, 1, 0, expected_events, 0, 0, 0, 0};
    for (int entry = 0; entry < COUNTED_COUNT; entry += 1) {
      if (!CHECK_NUMBER(c.of[entry], expected[entry])) {
        printf("  of %s, with %u tensors\n", counted[entry], tensor_counts[index]);
      }
    }
    /* Three times the context is made current and not any more, to put something on a stream. */
    CHECK_NUMBER(c.all, 4 + expected_events + 2 * 3);
    CHECK(c.queries >= 3);
  }
  close_device(context);
  check_driver_is_empty();
}

static void a_step_takes_the_same_calls_for_any_number_of_tensors(void) { check_step("lanes=serial", 0); }

static void a_step_with_lanes_takes_an_event_for_each_ticket(void) { check_step("lanes=overlap", 3); }

/* Pieces follow from bytes: so many of them for 64 small tensors, and as many for one large one. */
static void pieces_follow_from_bytes(void) {
  char settings[128];
  snprintf(settings, sizeof settings, "coalesce_max_bytes=%d piece_bytes=%d", PIECE_BYTES, PIECE_BYTES);
  lh_context *context = open_cuda(0, settings);
  uint64_t slice_bytes = (uint64_t)TENSOR_MAX_COUNT * TENSOR_BYTES;
  lh_address slice = take(context, slice_bytes);
  lh_address staging = take_host(context, slice_bytes);
  static uint8_t received[TENSOR_MAX_COUNT * TENSOR_BYTES];
  /* Tensors that lie across the ends of pieces, and a rest that is no whole piece. */
  static const uint32_t sizes[] = {64, 4000, TENSOR_BYTES, 30001, TENSOR_MAX_COUNT * TENSOR_BYTES};
  for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size += 1) {
    static lh_transfer transfers[4097];
    uint32_t tensor_bytes = sizes[size];
    uint32_t count = 0;
    uint64_t offset = 0;
    for (; count < 4096 && offset + tensor_bytes <= slice_bytes; count += 1, offset += tensor_bytes) {
      uint8_t *source = &tensors[0][0] + offset;
      for (uint32_t index = 0; index < tensor_bytes; index += 1) {
        source[index] = (uint8_t)((offset + index) * 31 + size);
      }
      transfers[count] = host_copy(host_bytes(staging) + offset, source, tensor_bytes);
    }
    transfers[count] = copy_in(slice, host_bytes(staging), (double)offset);
    lh_ticket ticket = 0;
    loopback()->reset();
    CHECK_STATUS(submit(context, transfers, count + 1, &ticket), LH_OK);
    CHECK_STATUS(await(context, ticket), LH_OK);
    CHECK_NUMBER(loopback()->calls("cuMemcpyHtoDAsync_v2"), (double)((offset + PIECE_BYTES - 1) / PIECE_BYTES));
    read_device(context, received, slice, offset);
    CHECK(memcmp(received, tensors, offset) == 0);
  }
  close_device(context);
  check_driver_is_empty();
}

/* One piece of work: what is not all gathered in one place, or is no more than the setting says, travels whole. */
static uint64_t copies_of(lh_context *context, const lh_transfer *transfers, uint32_t count) {
  lh_ticket ticket = 0;
  loopback()->reset();
  CHECK_STATUS(submit(context, transfers, count, &ticket), LH_OK);
  CHECK_STATUS(await(context, ticket), LH_OK);
  check_driver_is_content();
  return loopback()->calls("cuMemcpyHtoDAsync_v2");
}

static void only_what_is_staged_goes_in_pieces(void) {
  enum { WHOLE_BYTES = 4 * 4096 };
  lh_context *context = open_cuda(0, "coalesce_max_bytes=16383 piece_bytes=4096");
  lh_address slice = take(context, WHOLE_BYTES);
  lh_address other = take(context, WHOLE_BYTES);
  uint8_t *staging = host_bytes(take_host(context, WHOLE_BYTES));
  uint8_t *aside = host_bytes(take_host(context, WHOLE_BYTES));
  static uint8_t plain[WHOLE_BYTES];
  static uint8_t received[WHOLE_BYTES];
  memset(plain, 5, sizeof plain);
  const lh_transfer staged[] = {host_copy(staging, plain, WHOLE_BYTES), copy_in(slice, staging, WHOLE_BYTES)};
  CHECK_NUMBER(copies_of(context, staged, 2), 4);
  const lh_transfer filled[] = {host_fill(staging, 7, WHOLE_BYTES), host_copy(staging + 5000, plain, 5000),
                                copy_in(slice, staging, WHOLE_BYTES)};
  CHECK_NUMBER(copies_of(context, filled, 3), 4);
  read_device(context, received, slice, WHOLE_BYTES);
  CHECK(received[4999] == 7 && received[5000] == 5 && received[9999] == 5 && received[10000] == 7);
  const lh_transfer small[] = {host_copy(staging, plain, WHOLE_BYTES - 1), copy_in(slice, staging, WHOLE_BYTES - 1)};
  CHECK_NUMBER(copies_of(context, small, 2), 1);
  CHECK_NUMBER(copies_of(context, &staged[1], 1), 1);
  const lh_transfer aside_first[] = {host_copy(aside, plain, 10), staged[0], staged[1]};
  CHECK_NUMBER(copies_of(context, aside_first, 3), 1);
  const lh_transfer chained[] = {host_copy(staging, plain, WHOLE_BYTES), host_copy(staging + 100, staging, 100),
                                 copy_in(slice, staging, WHOLE_BYTES)};
  CHECK_NUMBER(copies_of(context, chained, 3), 1);
  const lh_transfer from_plain[] = {host_fill(plain, 5, 100), copy_in(slice, plain, WHOLE_BYTES)};
  CHECK_NUMBER(copies_of(context, from_plain, 2), 1);
  /* The host reads what the table copies out to, and comes first all the same. */
  memset(aside, 1, WHOLE_BYTES);
  const lh_transfer fill_other = fill(other, 2, WHOLE_BYTES);
  copies_of(context, &fill_other, 1);
  const lh_transfer both_ways[] = {host_copy(staging, aside, WHOLE_BYTES), copy_out(aside, other, WHOLE_BYTES),
                                   copy_in(slice, staging, WHOLE_BYTES)};
  CHECK_NUMBER(copies_of(context, both_ways, 3), 1);
  read_device(context, received, slice, WHOLE_BYTES);
  CHECK(received[0] == 1 && received[WHOLE_BYTES - 1] == 1);
  CHECK(aside[0] == 2 && aside[WHOLE_BYTES - 1] == 2);
  close_device(context);
  check_driver_is_empty();
}

/* So many entries that looking at each pair of them would take minutes. */
static void a_table_of_65536_entries_is_looked_at_once(void) {
  enum { HOST_COUNT = 65280, DEVICE_COUNT = 256, WORD_BYTES = 16, EXTENT_BYTES = HOST_COUNT / DEVICE_COUNT * WORD_BYTES };
  static lh_transfer transfers[HOST_COUNT + DEVICE_COUNT];
  static uint8_t views[HOST_COUNT][WORD_BYTES];
  static uint8_t received[HOST_COUNT][WORD_BYTES];
  lh_context *context = open_cuda(0, "coalesce_max_bytes=4096 piece_bytes=4096");
  lh_address slice = take(context, sizeof views);
  uint8_t *staging = host_bytes(take_host(context, sizeof views));
  for (uint32_t index = 0; index < HOST_COUNT; index += 1) {
    memset(views[index], (int)(index % 251), WORD_BYTES);
    transfers[index] = host_copy(staging + (size_t)index * WORD_BYTES, views[index], WORD_BYTES);
  }
  for (uint32_t index = 0; index < DEVICE_COUNT; index += 1) {
    size_t offset = (size_t)index * EXTENT_BYTES;
    transfers[HOST_COUNT + index] = copy_in(slice + (double)offset, staging + offset, EXTENT_BYTES);
  }
  CHECK_NUMBER(copies_of(context, transfers, HOST_COUNT + DEVICE_COUNT), DEVICE_COUNT);
  read_device(context, received, slice, sizeof received);
  CHECK(memcmp(received, views, sizeof views) == 0);
  close_device(context);
  check_driver_is_empty();
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda counts: a step makes the same calls for 1, 20 and 64 tensors",
       a_step_takes_the_same_calls_for_any_number_of_tensors},
      {"cuda counts: with lanes that overlap, one more for each ticket", a_step_with_lanes_takes_an_event_for_each_ticket},
      {"cuda counts: the number of pieces follows from bytes, not from tensors", pieces_follow_from_bytes},
      {"cuda counts: only what is staged goes in pieces", only_what_is_staged_goes_in_pieces},
      {"cuda counts: a table of 65,536 entries is looked at once", a_table_of_65536_entries_is_looked_at_once},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
