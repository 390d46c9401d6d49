/*
 * cuda_threads_test.c: the CUDA backend called by several threads at once.
 */
#include "cuda_support.h"

#include <stdlib.h>

enum { THREAD_COUNT = 4, ROUND_COUNT = 60, BYTE_COUNT = 512, ILLEGAL_ADDRESS_CODE = 700 };

typedef struct worker {
  pthread_t thread;
  lh_context *context;
  lh_module module;
  uint8_t seed;
  int round_count;
  lh_status status; /* of the round that ended it */
  bool is_wrong;
} worker;

/* Sends, adds one and brings back, with memory of its own. Every round finds its kernel anew and asks for more shared memory. */
static lh_status work_once(worker *w, uint8_t round) {
  uint8_t sent[BYTE_COUNT];
  uint8_t received[BYTE_COUNT] = {0};
  memset(sent, w->seed + round, sizeof sent);
  lh_address memory = 0;
  lh_kernel kernel = 0;
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status = lh_malloc(w->context, BYTE_COUNT, 1u << (round % 12), &memory);
  if (status == LH_OK) {
    status = lh_kernel_find(w->context, w->module, "cuda_test_add", &kernel);
  }
  if (status != LH_OK) {
    return status;
  }
  const lh_transfer in = copy_in(memory, sent, BYTE_COUNT);
  const lh_transfer out = copy_out(received, memory, BYTE_COUNT);
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_UINT8, memory, BYTE_COUNT)};
  const lh_parameter parameters[] = {argument_parameter(0), argument_parameter(0), constant_uint64(BYTE_COUNT),
                                     constant_uint8(1)};
  lh_launch_step steps[] = {step_of(kernel, 0, 4)};
  steps[0].shared_bytes = 48 * 1024 + 16.0 * (w->seed + round);
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 4, .steps = steps, .parameters = parameters};
  status = lh_submit(w->context, LH_LANE_IN, &in, 1, &ticket, &failed_index);
  status = status == LH_OK ? await(w->context, ticket) : status;
  status = status == LH_OK ? launch_plan(w->context, LH_LANE_COMPUTE, &plan, arguments, 1, &ticket) : status;
  status = status == LH_OK ? await(w->context, ticket) : status;
  status = status == LH_OK ? lh_submit(w->context, LH_LANE_OUT, &out, 1, &ticket, &failed_index) : status;
  status = status == LH_OK ? await(w->context, ticket) : status;
  if (status == LH_OK) {
    w->is_wrong = w->is_wrong || received[0] != (uint8_t)(w->seed + round + 1) || received[BYTE_COUNT - 1] != received[0];
    status = lh_free(w->context, memory);
  }
  return status;
}

static void *work(void *argument) {
  worker *w = argument;
  for (int round = 0; round < w->round_count && w->status == LH_OK; round += 1) {
    w->status = work_once(w, (uint8_t)round);
    statistics_of(w->context);
  }
  return NULL;
}

static void start_workers(worker *workers, lh_context *const *contexts, size_t context_count, int round_count) {
  for (int index = 0; index < THREAD_COUNT; index += 1) {
    lh_context *context = contexts[(size_t)index % context_count];
    workers[index] = (worker){
        .context = context,
        .module = (size_t)index < context_count ? load_cuda_kernels(context) : workers[(size_t)index % context_count].module,
        .seed = (uint8_t)(index * 64),
        .round_count = round_count,
    };
  }
  for (int index = 0; index < THREAD_COUNT; index += 1) {
    CHECK_NUMBER(pthread_create(&workers[index].thread, NULL, work, &workers[index]), 0);
  }
}

static void join_workers(worker *workers) {
  for (int index = 0; index < THREAD_COUNT; index += 1) {
    CHECK_NUMBER(pthread_join(workers[index].thread, NULL), 0);
    CHECK(!workers[index].is_wrong);
  }
}

static void work_side_by_side_with(const char *settings) {
  uint32_t device = new_device();
  lh_context *contexts[] = {open_cuda(device, settings), open_cuda(device, settings)};
  worker workers[THREAD_COUNT];
  start_workers(workers, contexts, 2, ROUND_COUNT);
  join_workers(workers);
  for (int index = 0; index < THREAD_COUNT; index += 1) {
    CHECK_STATUS(workers[index].status, LH_OK);
  }
  for (int index = 0; index < 2; index += 1) {
    CHECK_NUMBER(statistics_of(contexts[index]).live_count, 0);
    CHECK_NUMBER(statistics_of(contexts[index]).in_flight_count, 0);
    CHECK_NUMBER(statistics_of(contexts[index]).launch_count, THREAD_COUNT / 2 * ROUND_COUNT);
    close_device(contexts[index]);
  }
  check_driver_is_empty();
}

WITH_BOTH_LANES(work_side_by_side)

/* All find out, each at a call of its own, and nobody calls the driver once it has. */
static void lose_the_device_together_with(const char *settings) {
  uint32_t device = new_device();
  lh_context *contexts[] = {open_cuda(device, settings), open_cuda(device, settings)};
  worker workers[THREAD_COUNT];
  loopback()->fail("cuLaunchKernel", 40, ILLEGAL_ADDRESS_CODE, 1);
  start_workers(workers, contexts, 2, 1000000);
  join_workers(workers);
  uint64_t call_count = loopback()->calls("");
  for (int index = 0; index < THREAD_COUNT; index += 1) {
    CHECK_STATUS(workers[index].status, LH_DEVICE_LOST);
    lh_address address = 0;
    CHECK_STATUS(lh_malloc(workers[index].context, 1, 1, &address), LH_DEVICE_LOST);
  }
  CHECK_NUMBER(last_error_of(contexts[0]).device_code, ILLEGAL_ADDRESS_CODE);
  close_device(contexts[0]);
  CHECK_STATUS(lh_context_abandon(contexts[1]), LH_OK);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  /* Whoever was about to make a call when another was told of the loss has made it. */
  CHECK(loopback()->calls_after_loss() < THREAD_COUNT);
  CHECK_NUMBER((double)loopback()->violations(NULL, 0), 0);
  CHECK_NUMBER(loopback()->context_depth(), 0);
  loopback()->reset();
}

WITH_BOTH_LANES(lose_the_device_together)

static void *wait_long(void *argument) {
  other_thread *other = argument;
  other->status = await(other->context, other->ticket);
  atomic_store(&other->has_ended, true);
  return NULL;
}

/* Somebody waits for a kernel that stands at a gate; others come and go meanwhile. */
static void waiting_holds_nobody_up_with(const char *settings) {
  lh_context *context = open_cuda(new_device(), settings);
  other_thread waiting = {.context = context, .ticket = block_lane(context, LH_LANE_COMPUTE)};
  start(&waiting, wait_long);
  lh_address address = take(context, 100);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 1);
  kernel_in(context, load_cuda_kernels(context), "cuda_test_nothing");
  CHECK(!atomic_load(&waiting.has_ended));
  gate_open();
  CHECK_STATUS(join(&waiting), LH_OK);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(waiting_holds_nobody_up)

/* The waiting call holds the context until it leaves, and calls the driver on what it was given; the owner's hold ends at once. */
static void abandoning_leaves_a_waiting_call_alone_with(const char *settings) {
  lh_context *context = open_cuda(new_device(), settings);
  other_thread freeing = {.context = context, .address = take(context, 100)};
  block_lane(context, LH_LANE_COMPUTE);
  uint64_t call_count = loopback()->calls("cuMemFree_v2");
  start(&freeing, run_free);
  for (int round = 0; round < 5000 && loopback()->calls("cuMemFree_v2") == call_count; round += 1) {
    sleep_millis(1);
  }
  CHECK_STATUS(lh_context_abandon(context), LH_OK);
  CHECK(!atomic_load(&freeing.has_ended));
  gate_open();
  CHECK_STATUS(join(&freeing), LH_OK);
  check_driver_is_content();
}

WITH_BOTH_LANES(abandoning_leaves_a_waiting_call_alone)

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda threads: work side by side on two contexts of one device", work_side_by_side},
      {"cuda threads: waiting holds nobody up", waiting_holds_nobody_up},
      {"cuda threads: lose the device together", lose_the_device_together},
      {"cuda threads: abandoning leaves a call alone that hangs in the driver", abandoning_leaves_a_waiting_call_alone},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
