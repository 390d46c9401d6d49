/*
 * starvation_test.c: the host refuses what the simulator asks for, at every place where it asks.
 */
#include "refusals.h"
#include "support.h"

/* The story ------------------------------------------------------------------------------------------------------ */

static const char *story_settings;

static lh_context *open_granted(void) {
  const lh_open_options options = {.struct_bytes = sizeof options, .settings = story_settings};
  lh_error error = {.struct_bytes = sizeof error};
  lh_context *context = NULL;
  if (!CHECK_GRANTED(lh_context_open(&options, &error, &context))) {
    CHECK_STATUS(error.status, LH_HOST_OUT_OF_MEMORY);
    CHECK(strstr(error.detail, "no room") != NULL);
    CHECK(context == NULL);
    CHECK_STATUS(lh_context_open(&options, &error, &context), LH_OK);
  }
  return context;
}

/* A launch, waited for to its end. */
static lh_status write_first_byte(lh_context *context, lh_address device) {
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, device, 1), scalar_int32(1),
                                   scalar_int32(8)};
  lh_ticket ticket = 0;
  lh_status status = launch(context, find_kernel(context, "test_write_first"), arguments, 3, &ticket);
  return status == LH_OK && ticket != 0 ? await(context, ticket) : status;
}

static void tell_story(void) {
  static uint8_t registered[64];
  lh_context *context = open_granted();
  lh_address device = 0;
  lh_address host = 0;
  lh_ticket ticket = 0;
  GRANTED(lh_malloc(context, 8, 1, &device));
  CHECK_NUMBER(statistics_of(context).malloc_count, 1);
  CHECK_NUMBER(free_bytes_of(context), 1048576 - 8);
  GRANTED(lh_host_malloc(context, 8, &host));
  CHECK_NUMBER(statistics_of(context).host_live_count, 1);
  GRANTED(lh_host_register(context, address_of(registered), sizeof registered));
  const lh_transfer transfers[] = {
      {LH_TRANSFER_HOST_FILL, host, 7, 8},
      {LH_TRANSFER_COPY_IN, device, host, 8},
  };
  GRANTED(submit(context, transfers, 2, &ticket));
  if (ticket != 0) {
    CHECK_STATUS(await(context, ticket), LH_OK);
  }
  CHECK_NUMBER(peek(device), 7);
  GRANTED(write_first_byte(context, device));
  CHECK_NUMBER(peek(device), 8);
  /* Far enough for pages to be opened again, and for the tables to grow. */
  for (int index = 0; index < 200; index += 1) {
    lh_address other = 0;
    GRANTED(lh_malloc(context, 64, 1, &other));
    if (index % 2 == 0) {
      CHECK_STATUS(lh_free(context, other), LH_OK);
    }
  }
  CHECK_NUMBER(statistics_of(context).live_count, 101);
  CHECK_STATUS(lh_host_unregister(context, address_of(registered)), LH_OK);
  CHECK_STATUS(lh_host_free(context, host), LH_OK);
  CHECK_STATUS(lh_free(context, device), LH_OK);
  close_device(context);
}

static void survives_every_refusal(void) { CHECK(refuse_everywhere(tell_story) >= 10); }

static void survives_refusals_of_an_immediate_device(void) {
  story_settings = "total_bytes=1048576";
  survives_every_refusal();
}

static void survives_refusals_of_the_memory_lab(void) {
  story_settings = "total_bytes=1048576 memory_lab=fail";
  survives_every_refusal();
  story_settings = "total_bytes=1048576 memory_lab=fail completion=late";
  survives_every_refusal();
}

static void survives_refusals_of_a_late_device(void) {
  story_settings = "total_bytes=1048576 completion=late lanes=overlap";
  survives_every_refusal();
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"starvation: an immediate device survives every refusal of the host", survives_refusals_of_an_immediate_device},
      {"starvation: a late device survives every refusal of the host", survives_refusals_of_a_late_device},
      {"starvation: the memory lab survives every refusal of the host", survives_refusals_of_the_memory_lab},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
