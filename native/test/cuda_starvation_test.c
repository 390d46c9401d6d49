/*
 * cuda_starvation_test.c: the host refuses what the CUDA backend asks for, at every place where it asks.
 */
#include "cuda_support.h"
#include "refusals.h"

#include <stdlib.h>
#include <unistd.h>

enum { PLAIN_BYTES = 64 };

static const char *story_settings;
static char *module_path;

static lh_context *open_granted(void) {
  lh_error error = {.struct_bytes = sizeof error};
  lh_context *context = NULL;
  if (!CHECK_GRANTED(open_loopback(0, story_settings, &error, &context))) {
    CHECK_STATUS(error.status, LH_HOST_OUT_OF_MEMORY);
    CHECK(strstr(error.detail, "no room") != NULL);
    CHECK(context == NULL);
    CHECK_STATUS(open_loopback(0, story_settings, &error, &context), LH_OK);
  }
  return context;
}

/* A table that passes plain memory through pinned memory: refused at once where nothing has begun, later where something has. */
static lh_status submit_and_wait(lh_context *context, const lh_transfer *transfers, uint32_t count) {
  lh_ticket ticket = 0;
  uint32_t failed_index = 0;
  lh_status status = lh_submit(context, LH_LANE_IN, transfers, count, &ticket, &failed_index);
  return status == LH_OK ? await(context, ticket) : status;
}

static lh_status add_one(lh_context *context, lh_kernel kernel, lh_address memory) {
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_UINT8, memory, PLAIN_BYTES)};
  const lh_parameter parameters[] = {argument_parameter(0), argument_parameter(0), constant_uint64(PLAIN_BYTES),
                                     constant_uint8(1)};
  const lh_launch_step steps[] = {step_of(kernel, 0, 4)};
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 4, .steps = steps, .parameters = parameters};
  lh_ticket ticket = 0;
  lh_status status = launch_plan(context, LH_LANE_COMPUTE, &plan, arguments, 1, &ticket);
  return status == LH_OK ? await(context, ticket) : status;
}

/* Copies plain memory in, works on it, and copies it out. */
static void work(lh_context *context, lh_kernel kernel, lh_address memory) {
  char plain[PLAIN_BYTES] = "HAL";
  char received[PLAIN_BYTES] = "";
  const lh_transfer in[] = {copy_in(memory, plain, 2), copy_in(memory + 2, plain + 2, PLAIN_BYTES - 2)};
  const lh_transfer out[] = {copy_out(received, memory, 2), copy_out(received + 2, memory + 2, PLAIN_BYTES - 2)};
  GRANTED(submit_and_wait(context, in, 2));
  GRANTED(add_one(context, kernel, memory));
  CHECK_NUMBER(statistics_of(context).launch_count, 1);
  GRANTED(submit_and_wait(context, out, 2));
  CHECK(memcmp(received, "IBM\1", 4) == 0);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
}

static void tell_story(void) {
  static uint8_t registered[4096] __attribute__((aligned(4096)));
  lh_context *context = open_granted();
  lh_address memory = 0;
  lh_address aligned = 0;
  lh_address host = 0;
  lh_module module = 0;
  lh_kernel kernel = 0;
  GRANTED(lh_malloc(context, PLAIN_BYTES, 1, &memory));
  GRANTED(lh_malloc(context, PLAIN_BYTES, 65536, &aligned));
  CHECK_NUMBER(statistics_of(context).malloc_count, 2);
  CHECK_NUMBER(loopback()->live(LOOPBACK_ALLOCATIONS), 2);
  GRANTED(lh_host_malloc(context, PLAIN_BYTES, &host));
  GRANTED(lh_host_register(context, address_of(registered), sizeof registered));
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 2);
  GRANTED(lh_module_load(context, module_path, &module));
  CHECK_NUMBER(loopback()->live(LOOPBACK_MODULES), 1);
  GRANTED(lh_kernel_find(context, module, "cuda_test_add", &kernel));
  work(context, kernel, aligned);
  CHECK_NUMBER(loopback()->live(LOOPBACK_PINNED), 2);
  CHECK_STATUS(lh_host_unregister(context, address_of(registered)), LH_OK);
  CHECK_STATUS(lh_host_free(context, host), LH_OK);
  CHECK_STATUS(lh_free(context, aligned), LH_OK);
  CHECK_STATUS(lh_free(context, memory), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

static void survives_every_refusal_with(const char *settings) {
  story_settings = settings;
  CHECK(refuse_everywhere(tell_story) >= 10);
}

WITH_BOTH_LANES(survives_every_refusal)

static void survives_every_refusal_of_the_host(void) {
  module_path = write_cuda_kernels();
  survives_every_refusal();
  unlink(module_path);
  free(module_path);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda starvation: survives every refusal of the host", survives_every_refusal_of_the_host},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
