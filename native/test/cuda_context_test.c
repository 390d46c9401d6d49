/*
 * cuda_context_test.c: opening, asking, ending and losing devices of the CUDA backend.
 */
#include "cuda_support.h"

#include <stdio.h>

enum { ILLEGAL_ADDRESS_CODE = 700, UNKNOWN_CODE = 4711 };

/* Opening --------------------------------------------------------------------------------------------------------- */

static void refuses_wrong_settings(void) {
  static const char *const wrong[] = {
      "lanes=many",     "lanes=serial lanes=serial", "piece_bytes=4095", "piece_bytes=0x1000", "coalesce_max_bytes=-1",
      "total_bytes=1", "lanes",                     "lanes=serial ",    "piece_bytes=",        "coalesce_max_bytes=99999999999999999",
  };
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    lh_error error = {.struct_bytes = sizeof error};
    lh_context *context = NULL;
    CHECK_STATUS(open_loopback(0, wrong[index], &error, &context), LH_INVALID_ARGUMENT);
    CHECK_STATUS(error.status, LH_INVALID_ARGUMENT);
    CHECK(error.detail[0] != '\0');
    CHECK(context == NULL);
  }
}

static void refuses_options_that_are_none(void) {
  lh_context *context = NULL;
  lh_error error = {.struct_bytes = sizeof error};
  CHECK_STATUS(lh_context_open(NULL, &error, &context), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_context_open(NULL, NULL, &context), LH_INVALID_ARGUMENT);
  lh_open_options options = {.struct_bytes = sizeof options, .flags = 1};
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_INVALID_ARGUMENT);
  options = (lh_open_options){.struct_bytes = sizeof options, .reserved = {0, 0, 0, 1}};
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_INVALID_ARGUMENT);
  options = (lh_open_options){.struct_bytes = sizeof options};
  CHECK_STATUS(lh_context_open(&options, &error, NULL), LH_INVALID_ARGUMENT);
  CHECK(context == NULL);
}

static void tells_drivers_and_devices_that_are_not_there(void) {
  lh_context *context = NULL;
  lh_error error = {.struct_bytes = sizeof error};
  lh_open_options options = {.struct_bytes = sizeof options, .settings = "driver=/nowhere/libcuda.so.1"};
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_LIBRARY_NOT_LOADED);
  CHECK_STATUS(error.status, LH_LIBRARY_NOT_LOADED);
  char settings[8192];
  snprintf(settings, sizeof settings, "driver=%s", kernels_path());
  options.settings = settings;
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_LIBRARY_NOT_LOADED);
  CHECK(strstr(error.detail, "cuInit") != NULL);
  CHECK_STATUS(open_loopback(LOOPBACK_DEVICE_COUNT, "", &error, &context), LH_NO_DEVICE);
  CHECK_NUMBER(error.device_code, CU_ERROR_INVALID_DEVICE);
  CHECK(strcmp(error.device_name, "CUDA_ERROR_INVALID_DEVICE") == 0);
  CHECK_STATUS(open_loopback(UINT32_MAX, "", &error, &context), LH_NO_DEVICE);
  CHECK_NUMBER(error.device_code, 0);
  CHECK(context == NULL);
  check_driver_is_empty();
}

static void every_function_refuses_no_context(void) {
  lh_address address = 0;
  lh_ticket ticket = 0;
  lh_module module = 0;
  lh_kernel kernel = 0;
  uint32_t failed_index = 77;
  int32_t descriptor = 0;
  lh_statistics statistics = {.struct_bytes = sizeof statistics};
  lh_error error = {.struct_bytes = sizeof error};
  CHECK_NUMBER(lh_abi_version(), LH_ABI_VERSION);
  CHECK_STATUS(lh_context_close(NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_context_abandon(NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_device_info_get(NULL, &(lh_device_info){.struct_bytes = sizeof(lh_device_info)}), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_traits_get(NULL, &(lh_traits){.struct_bytes = sizeof(lh_traits)}), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_memory_info_get(NULL, &(lh_memory_info){.struct_bytes = sizeof(lh_memory_info)}), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_statistics_get(NULL, &statistics), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_last_error(NULL, &error), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(NULL, 1, 1, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(NULL, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_malloc(NULL, 1, &address), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_free(NULL, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(NULL, 1, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_unregister(NULL, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_submit(NULL, 0, NULL, 0, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_collect(NULL, NULL, 0, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_poll(NULL, 1, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_wait(NULL, 1, 0, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_completion_descriptor(NULL, &descriptor), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(NULL, "/", &module), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(NULL, 1, "x", &kernel), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(NULL, 0, 1, NULL, NULL, 0, 0, &ticket, &failed_index), LH_INVALID_ARGUMENT);
}

/* Asking ---------------------------------------------------------------------------------------------------------- */

static void tells_what_the_device_is(void) {
  lh_context *context = open_cuda(3, "");
  lh_device_info info = {.struct_bytes = sizeof info};
  CHECK_STATUS(lh_device_info_get(context, &info), LH_OK);
  CHECK_NUMBER(info.features, LH_FEATURE_TICKETS | LH_FEATURE_HOST_REGISTER | LH_FEATURE_LAUNCH_STEPS);
  CHECK(strcmp(info.name, "Loopback 3") == 0);
  CHECK(strcmp(info.uuid, "100bac03-0000-0000-0000-000000000000") == 0);
  CHECK(strcmp(info.driver, "CUDA 12.4") == 0);
  lh_memory_info memory = {.struct_bytes = sizeof memory};
  CHECK_STATUS(lh_memory_info_get(context, &memory), LH_OK);
  CHECK_NUMBER(memory.total_bytes, (double)info.total_bytes);
  CHECK_NUMBER(memory.free_bytes, (double)info.total_bytes);
  take(context, 1u << 20);
  CHECK_NUMBER(free_bytes_of(context), (double)(info.total_bytes - (1u << 20)));
  CHECK_STATUS(lh_device_info_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_memory_info_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_traits_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_statistics_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_last_error(context, NULL), LH_INVALID_ARGUMENT);
  int32_t descriptor = -7;
  CHECK_STATUS(lh_completion_descriptor(context, &descriptor), LH_UNSUPPORTED);
  CHECK_NUMBER(descriptor, -7);
  CHECK_STATUS(lh_completion_descriptor(context, NULL), LH_INVALID_ARGUMENT);
  close_device(context);
  check_driver_is_empty();
}

static void tells_its_traits(void) {
  for (int overlap = 0; overlap < 2; overlap += 1) {
    lh_context *context = open_cuda(0, overlap == 1 ? "lanes=overlap coalesce_max_bytes=64" : "lanes=serial");
    lh_traits traits = {.struct_bytes = sizeof traits};
    CHECK_STATUS(lh_traits_get(context, &traits), LH_OK);
    CHECK_NUMBER(traits.flags, LH_TRAIT_FREE_SYNCHRONIZES | LH_TRAIT_RECOVERY_NEW_PROCESS |
                                   (overlap == 1 ? LH_TRAIT_OVERLAPS_COPIES : 0));
    CHECK_NUMBER(traits.alignment_bytes, 256);
    CHECK_NUMBER(traits.size_granularity_bytes, 1);
    CHECK_NUMBER(traits.tail_bytes, 0);
    CHECK(traits.coalesce_max_bytes >= 1ull << 40);
    CHECK_NUMBER(traits.argument_max_bytes, 32764);
    CHECK_NUMBER(loopback()->live(LOOPBACK_STREAMS), overlap == 1 ? 3 : 1);
    CHECK_NUMBER(loopback()->live(LOOPBACK_EVENTS), 0);
    close_device(context);
  }
  check_driver_is_empty();
}

/* A kernel takes 4 KiB of parameters, and more since 12.1. */
static void tells_what_a_kernel_takes_on_an_older_driver(void) {
  static const struct {
    int32_t version;
    double expected_bytes;
  } drivers[] = {{11080, 4096}, {12000, 4096}, {12010, 32764}, {13000, 32764}};
  for (size_t index = 0; index < sizeof drivers / sizeof *drivers; index += 1) {
    loopback()->set_version(drivers[index].version);
    lh_context *context = open_cuda(0, "");
    lh_traits traits = {.struct_bytes = sizeof traits};
    CHECK_STATUS(lh_traits_get(context, &traits), LH_OK);
    CHECK_NUMBER(traits.argument_max_bytes, drivers[index].expected_bytes);
    close_device(context);
  }
  check_driver_is_empty();
  loopback()->reset();
}

/* Ending ---------------------------------------------------------------------------------------------------------- */

static void closing_gives_everything_back_with(const char *settings) {
  static uint8_t own[4096] __attribute__((aligned(4096)));
  lh_context *context = open_cuda(0, settings);
  take(context, 100);
  take(context, 100);
  take_host(context, 100);
  load_cuda_kernels(context);
  lh_address aligned = 0;
  CHECK_STATUS(lh_malloc(context, 100, 8192, &aligned), LH_OK);
  CHECK_STATUS(lh_host_register(context, address_of(own), sizeof own), LH_OK);
  write_device(context, aligned, own, 100);
  lh_ticket untold = 0;
  const lh_transfer transfer = copy_out(own, aligned, 100);
  CHECK_STATUS(submit(context, &transfer, 1, &untold), LH_OK);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(closing_gives_everything_back)

/* Pinned memory that a copy in flight uses, plain memory behind a bounce, events and modules: nothing of it is touched. */
static void close_with_work_on(uint32_t device, const char *settings, uint32_t lane) {
  lh_context *context = open_cuda(device, settings);
  lh_address memory = take(context, 100);
  lh_address staging = take_host(context, 100);
  static uint8_t plain[100];
  block_lane(context, lane);
  lh_ticket tickets[2] = {0, 0};
  uint32_t failed_index = 0;
  const lh_transfer first = copy_in(memory, host_bytes(staging), 100);
  const lh_transfer second = copy_in(memory, plain, 100);
  CHECK_STATUS(lh_submit(context, lane, &first, 1, &tickets[0], &failed_index), LH_OK);
  CHECK_STATUS(lh_submit(context, lane, &second, 1, &tickets[1], &failed_index), LH_OK);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 3);
  uint64_t allocation_count = loopback()->live(LOOPBACK_ALLOCATIONS);
  uint64_t pinned_count = loopback()->live(LOOPBACK_PINNED);
  CHECK_STATUS(lh_context_close(context), LH_OK);
  CHECK_NUMBER((double)loopback()->live(LOOPBACK_ALLOCATIONS), (double)allocation_count);
  CHECK_NUMBER((double)loopback()->live(LOOPBACK_PINNED), (double)pinned_count);
  check_driver_is_content();
  gate_open();
  await_gate(0);
  /* The device is as good as before. */
  lh_context *next = open_cuda(device, settings);
  take(next, 100);
  close_device(next);
  check_driver_is_content();
}

static void closing_abandons_what_does_not_end_with(const char *settings) {
  uint32_t device = new_device();
  for (uint32_t lane = 0; lane < LH_LANE_COUNT; lane += 1) {
    close_with_work_on(device, settings, lane);
  }
}

WITH_BOTH_LANES(closing_abandons_what_does_not_end)

static void abandoning_calls_nobody_with(const char *settings) {
  uint32_t device = new_device();
  lh_context *context = open_cuda(device, settings);
  take(context, 100);
  take_host(context, 100);
  block_lane(context, LH_LANE_COMPUTE);
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(lh_context_abandon(context), LH_OK);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  gate_open();
  await_gate(0);
  close_device(open_cuda(device, settings));
  check_driver_is_content();
}

WITH_BOTH_LANES(abandoning_calls_nobody)

/* Losing ---------------------------------------------------------------------------------------------------------- */

/* Every call but those that tell what is known already. */
static void check_everything_is_lost(lh_context *context) {
  lh_address address = -7;
  lh_ticket ticket = -7;
  lh_module module = -7;
  lh_kernel kernel = -7;
  uint32_t failed_index = 77;
  int32_t descriptor = -7;
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(lh_device_info_get(context, &(lh_device_info){.struct_bytes = sizeof(lh_device_info)}), LH_DEVICE_LOST);
  CHECK_STATUS(lh_traits_get(context, &(lh_traits){.struct_bytes = sizeof(lh_traits)}), LH_DEVICE_LOST);
  CHECK_STATUS(lh_memory_info_get(context, &(lh_memory_info){.struct_bytes = sizeof(lh_memory_info)}), LH_DEVICE_LOST);
  CHECK_STATUS(lh_malloc(context, 1, 1, &address), LH_DEVICE_LOST);
  CHECK_STATUS(lh_free(context, 1), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_malloc(context, 1, &address), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_free(context, 1), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_register(context, 1, 1), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_unregister(context, 1), LH_DEVICE_LOST);
  CHECK_STATUS(lh_submit(context, 0, NULL, 0, &ticket, &failed_index), LH_DEVICE_LOST);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  CHECK_STATUS(lh_collect(context, NULL, 0, &failed_index), LH_DEVICE_LOST);
  CHECK_STATUS(lh_poll(context, 1, &failed_index), LH_DEVICE_LOST);
  CHECK_STATUS(lh_wait(context, 1, 0, &failed_index), LH_DEVICE_LOST);
  CHECK_STATUS(lh_completion_descriptor(context, &descriptor), LH_DEVICE_LOST);
  CHECK_STATUS(lh_module_load(context, kernels_path(), &module), LH_DEVICE_LOST);
  CHECK_STATUS(lh_kernel_find(context, 1, "x", &kernel), LH_DEVICE_LOST);
  CHECK_STATUS(lh_launch(context, 0, 1, NULL, NULL, 0, 0, &ticket, &failed_index), LH_DEVICE_LOST);
  CHECK(address == -7 && ticket == -7 && module == -7 && kernel == -7 && descriptor == -7);
  lh_error error = last_error_of(context);
  CHECK_STATUS(error.status, LH_DEVICE_LOST);
  CHECK_NUMBER(error.device_code, ILLEGAL_ADDRESS_CODE);
  CHECK(strcmp(error.device_name, "CUDA_ERROR_ILLEGAL_ADDRESS") == 0);
  statistics_of(context);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
}

/* One context sees the fault; the other, with memory, pinned memory, a module and work in flight of its own, is lost with it. */
static void a_loss_is_everybodys_with(const char *settings) {
  uint32_t device = new_device();
  lh_context *first = open_cuda(device, settings);
  lh_context *second = open_cuda(device, settings);
  lh_context *elsewhere = open_cuda(new_device(), settings);
  lh_address memory = take(first, 100);
  take(second, 100);
  take_host(second, 100);
  lh_kernel kernel = kernel_in(second, load_cuda_kernels(second), "cuda_test_nothing");
  const lh_launch_step steps[] = {step_of(kernel, 0, 0)};
  const lh_launch_plan plan = {.struct_bytes = sizeof plan, .step_count = 1, .steps = steps};
  lh_ticket in_flight = 0;
  CHECK_STATUS(launch_plan(second, LH_LANE_COMPUTE, &plan, NULL, 0, &in_flight), LH_OK);
  lh_ticket ticket = 0;
  const lh_transfer transfer = fill(memory, 0, 100);
  loopback()->fail("cuMemsetD8Async", 1, ILLEGAL_ADDRESS_CODE, 1);
  /* It may be told before the table is all on the stream. */
  lh_status status = submit(first, &transfer, 1, &ticket);
  CHECK_STATUS(status == LH_OK ? await(first, ticket) : status, LH_DEVICE_LOST);
  CHECK(loopback()->is_lost((int32_t)device) == 1);
  check_everything_is_lost(first);
  check_everything_is_lost(second);
  uint64_t call_count = loopback()->calls("");
  lh_error error = {.struct_bytes = sizeof error};
  lh_context *third = NULL;
  CHECK_STATUS(open_loopback(device, settings, &error, &third), LH_DEVICE_LOST);
  CHECK_NUMBER(error.device_code, ILLEGAL_ADDRESS_CODE);
  CHECK(strcmp(error.device_name, "CUDA_ERROR_ILLEGAL_ADDRESS") == 0);
  CHECK_STATUS(lh_context_close(first), LH_OK);
  CHECK_STATUS(lh_context_abandon(second), LH_OK);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  take(elsewhere, 100);
  close_device(elsewhere);
  check_driver_is_content();
}

WITH_BOTH_LANES(a_loss_is_everybodys)

static void trusts_no_unknown_code(void) {
  lh_context *context = open_cuda(new_device(), "");
  lh_address address = -7;
  loopback()->fail("cuMemAlloc_v2", 1, UNKNOWN_CODE, 0);
  CHECK_STATUS(lh_malloc(context, 100, 1, &address), LH_DEVICE_LOST);
  CHECK_NUMBER(address, -7);
  lh_error error = last_error_of(context);
  CHECK_NUMBER(error.device_code, UNKNOWN_CODE);
  CHECK(error.device_name[0] == '\0');
  CHECK(strstr(error.detail, "not known") != NULL);
  close_device(context);
  check_driver_is_content();
}

/* Each code that the backend lists, as an allocation is told it. */
static void knows_what_codes_mean(void) {
  static const struct {
    int32_t code;
    lh_status status;
  } known[] = {
      {1, LH_INVALID_ARGUMENT},     {2, LH_OUT_OF_MEMORY},        {3, LH_NO_DEVICE},           {100, LH_NO_DEVICE},
      {101, LH_NO_DEVICE},          {200, LH_LIBRARY_NOT_LOADED}, {209, LH_LIBRARY_NOT_LOADED}, {218, LH_LIBRARY_NOT_LOADED},
      {221, LH_LIBRARY_NOT_LOADED}, {222, LH_LIBRARY_NOT_LOADED}, {223, LH_LIBRARY_NOT_LOADED}, {300, LH_LIBRARY_NOT_LOADED},
      {301, LH_LIBRARY_NOT_LOADED}, {304, LH_HOST_OUT_OF_MEMORY}, {400, LH_UNKNOWN_HANDLE},     {500, LH_SYMBOL_NOT_FOUND},
      {701, LH_LAUNCH_FAILED},      {712, LH_INVALID_ARGUMENT},   {713, LH_INVALID_ARGUMENT},   {800, LH_UNSUPPORTED},
      {801, LH_UNSUPPORTED},
  };
  lh_context *context = open_cuda(0, "");
  for (size_t index = 0; index < sizeof known / sizeof *known; index += 1) {
    lh_address address = 0;
    loopback()->fail("cuMemAlloc_v2", 1, known[index].code, 0);
    CHECK_STATUS(lh_malloc(context, 100, 1, &address), known[index].status);
    CHECK_NUMBER(last_error_of(context).device_code, known[index].code);
    CHECK(last_error_of(context).detail[0] != '\0');
  }
  close_device(context);
  check_driver_is_empty();
}

static void every_code_that_ends_a_context_is_sticky(void) {
  static const int32_t sticky[] = {4, 46, 201, 214, 220, 226, 700, 702, 708, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999, -1};
  for (size_t index = 0; index < sizeof sticky / sizeof *sticky; index += 1) {
    lh_context *context = open_cuda(new_device(), "");
    lh_address address = 0;
    loopback()->fail("cuMemAlloc_v2", 1, sticky[index], 0);
    CHECK_STATUS(lh_malloc(context, 100, 1, &address), LH_DEVICE_LOST);
    CHECK_STATUS(lh_host_malloc(context, 100, &address), LH_DEVICE_LOST);
    CHECK_NUMBER(last_error_of(context).device_code, sticky[index]);
    close_device(context);
  }
  check_driver_is_content();
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda context: refuses settings that are none", refuses_wrong_settings},
      {"cuda context: refuses options that are none", refuses_options_that_are_none},
      {"cuda context: tells drivers and devices that are not there", tells_drivers_and_devices_that_are_not_there},
      {"cuda context: every function refuses a context that is null", every_function_refuses_no_context},
      {"cuda context: tells what the device is", tells_what_the_device_is},
      {"cuda context: tells its traits", tells_its_traits},
      {"cuda context: tells what a kernel takes on an older driver", tells_what_a_kernel_takes_on_an_older_driver},
      {"cuda context: knows what codes mean", knows_what_codes_mean},
      {"cuda context: closing gives everything back", closing_gives_everything_back},
      {"cuda context: closing abandons what does not end", closing_abandons_what_does_not_end},
      {"cuda context: abandoning calls nobody, and the device works on", abandoning_calls_nobody},
      {"cuda context: a device that one context loses is lost for all, and left alone", a_loss_is_everybodys},
      {"cuda context: trusts no code that it does not know", trusts_no_unknown_code},
      {"cuda context: every code that ends a context is sticky", every_code_that_ends_a_context_is_sticky},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
