/*
 * context_test.c: opening, asking and ending a context, and the rules that hold for every struct and pointer.
 */
#include "support.h"

/* Opening -------------------------------------------------------------------------------------------------------- */

static void speaks_the_version_of_the_header(void) { CHECK_NUMBER(lh_abi_version(), LH_ABI_VERSION); }

static void opens_with_defaults(void) {
  lh_context *context = open_device(NULL);
  lh_memory_info info = {.struct_bytes = sizeof info};
  CHECK_STATUS(lh_memory_info_get(context, &info), LH_OK);
  CHECK_NUMBER(info.total_bytes, 1 << 30);
  CHECK_NUMBER(info.free_bytes, 1 << 30);
  lh_traits traits = {.struct_bytes = sizeof traits};
  CHECK_STATUS(lh_traits_get(context, &traits), LH_OK);
  CHECK_NUMBER(traits.flags, LH_TRAIT_IMMEDIATE);
  CHECK_NUMBER(traits.alignment_bytes, 64);
  CHECK_NUMBER(traits.size_granularity_bytes, 1);
  CHECK_NUMBER(traits.tail_bytes, 0);
  CHECK_NUMBER(traits.coalesce_max_bytes, 0);
  CHECK_NUMBER(traits.argument_max_bytes, 0);
  close_device(context);
}

static void reports_what_the_settings_say(void) {
  lh_context *context = open_device("total_bytes=1000 alignment_bytes=512 size_granularity_bytes=48 tail_bytes=32 "
                                    "coalesce_max_bytes=4096 completion=late lanes=overlap clock=virtual");
  lh_traits traits = {.struct_bytes = sizeof traits};
  CHECK_STATUS(lh_traits_get(context, &traits), LH_OK);
  CHECK_NUMBER(traits.flags, LH_TRAIT_OVERLAPS_COPIES | LH_TRAIT_FREE_SYNCHRONIZES);
  CHECK_NUMBER(traits.alignment_bytes, 512);
  CHECK_NUMBER(traits.size_granularity_bytes, 48);
  CHECK_NUMBER(traits.tail_bytes, 32);
  CHECK_NUMBER(traits.coalesce_max_bytes, 4096);
  lh_device_info info = {.struct_bytes = sizeof info};
  CHECK_STATUS(lh_device_info_get(context, &info), LH_OK);
  CHECK_NUMBER(info.total_bytes, 1000);
  CHECK_NUMBER(info.features, LH_FEATURE_TICKETS | LH_FEATURE_HOST_REGISTER | LH_FEATURE_VIRTUAL_CLOCK |
                                  LH_FEATURE_DEFERRED_LAUNCH);
  CHECK(strcmp(info.name, "Leasehold simulator") == 0);
  CHECK(info.uuid[0] == '\0');
  close_device(context);
}

static void opens_a_device_larger_than_the_host(void) {
  lh_context *context = open_device("total_bytes=68719476736");
  CHECK_NUMBER(free_bytes_of(context), 68719476736.0);
  lh_address address = take(context, 4096);
  CHECK_STATUS(lh_free(context, address), LH_OK);
  close_device(context);
}

static void names_the_setting_that_is_wrong(void) {
  static const struct {
    const char *settings;
    const char *fragment;
  } cases[] = {
      {"colour=red", "'colour'"},
      {"total_bytes", "'total_bytes'"},
      {"total_bytes=", "'total_bytes'"},
      {"total_bytes=0", "'total_bytes'"},
      {"total_bytes=-1", "'-1'"},
      {"total_bytes=1.5", "'1.5'"},
      {"total_bytes=0x10", "'0x10'"},
      {"total_bytes=99999999999999999999999999", "'total_bytes'"},
      {"alignment_bytes=48", "power of two"},
      {"size_granularity_bytes=0", "'size_granularity_bytes'"},
      {"completion=never", "'never'"},
      {"lanes=", "'lanes'"},
      {"clock=virtually", "'clock'"},
      {"memory_lab=on", "'memory_lab' is 'off' or 'fail', not 'on'"},
      {"malloc_nanos=9007199254740992", "'malloc_nanos'"},
      {"tail_bytes=1 tail_bytes=1", "twice"},
      {" tail_bytes=1", "parted by single spaces"},
      {"tail_bytes=1  free_nanos=1", "parted by single spaces"},
      {"tail_bytes=1 ", "end in a space"},
      {"=1", "no setting ''"},
  };
  for (size_t index = 0; index < sizeof cases / sizeof *cases; index += 1) {
    lh_error error;
    CHECK_STATUS(try_open(cases[index].settings, &error), LH_INVALID_ARGUMENT);
    CHECK_STATUS(error.status, LH_INVALID_ARGUMENT);
    if (!CHECK(strstr(error.detail, cases[index].fragment) != NULL)) {
      check(false, error.detail, __FILE__, __LINE__);
    }
  }
}

static void refuses_settings_without_end(void) {
  static char settings[8192];
  memset(settings, 'x', sizeof settings - 1);
  lh_error error;
  CHECK_STATUS(try_open(settings, &error), LH_INVALID_ARGUMENT);
  CHECK(strstr(error.detail, "longer") != NULL);
}

static void refuses_options_that_it_does_not_know(void) {
  lh_context *context = NULL;
  lh_error error = {.struct_bytes = sizeof error};
  lh_open_options good = {.struct_bytes = sizeof good};
  CHECK_STATUS(lh_context_open(NULL, &error, &context), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_context_open(&good, &error, NULL), LH_INVALID_ARGUMENT);
  lh_open_options options = good;
  options.struct_bytes = 0;
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_INVALID_ARGUMENT);
  options = good;
  options.flags = 1;
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_INVALID_ARGUMENT);
  options = good;
  options.reserved_0 = 1;
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_INVALID_ARGUMENT);
  options = good;
  options.reserved[3] = 1;
  CHECK_STATUS(lh_context_open(&options, NULL, &context), LH_INVALID_ARGUMENT);
  CHECK(context == NULL);
}

static void has_one_device(void) {
  lh_context *context = NULL;
  lh_error error = {.struct_bytes = sizeof error};
  lh_open_options options = {.struct_bytes = sizeof options, .device_index = 1};
  CHECK_STATUS(lh_context_open(&options, &error, &context), LH_NO_DEVICE);
  CHECK_STATUS(error.status, LH_NO_DEVICE);
  CHECK_NUMBER(error.entry_index, UINT32_MAX);
  CHECK(strstr(error.detail, "index 0") != NULL);
}

static void opens_from_options_of_an_older_caller(void) {
  /* The caller knows no settings: whatever lies where they would be must not be read. */
  lh_open_options options = {.struct_bytes = 16};
  memset((char *)&options + 16, 0xAB, sizeof options - 16);
  lh_context *context = NULL;
  CHECK_STATUS(lh_context_open(&options, NULL, &context), LH_OK);
  close_device(context);
}

/* Structs and pointers ------------------------------------------------------------------------------------------- */

static void writes_no_further_than_struct_bytes(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_statistics statistics;
  memset(&statistics, 0xAB, sizeof statistics);
  statistics.struct_bytes = 16;
  CHECK_STATUS(lh_statistics_get(context, &statistics), LH_OK);
  CHECK_NUMBER(statistics.struct_bytes, 16);
  CHECK_NUMBER(statistics.live_bytes, 0);
  CHECK_NUMBER(statistics.live_count, (double)0xABABABABABABABABu);
  close_device(context);
}

static void leaves_what_a_newer_caller_knows_alone(void) {
  lh_context *context = open_device("total_bytes=4096");
  struct {
    lh_memory_info known;
    uint64_t unknown;
  } info = {.known = {.struct_bytes = sizeof info}, .unknown = 7};
  CHECK_STATUS(lh_memory_info_get(context, &info.known), LH_OK);
  CHECK_NUMBER(info.known.struct_bytes, sizeof info);
  CHECK_NUMBER(info.known.total_bytes, 4096);
  CHECK_NUMBER(info.unknown, 7);
  close_device(context);
}

static void refuses_structs_without_a_size(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_traits traits = {.struct_bytes = 0};
  lh_error error = {.struct_bytes = 3};
  CHECK_STATUS(lh_traits_get(context, &traits), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_traits_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_device_info_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_memory_info_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_statistics_get(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_last_error(context, &error), LH_INVALID_ARGUMENT);
  close_device(context);
}

static void refuses_the_null_context_everywhere(void) {
  lh_device_info info = {.struct_bytes = sizeof info};
  lh_traits traits = {.struct_bytes = sizeof traits};
  lh_memory_info memory = {.struct_bytes = sizeof memory};
  lh_statistics statistics = {.struct_bytes = sizeof statistics};
  lh_error error = {.struct_bytes = sizeof error};
  double number = 0;
  uint32_t index = 0;
  int32_t descriptor = 0;
  CHECK_STATUS(lh_context_close(NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_context_abandon(NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_device_info_get(NULL, &info), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_traits_get(NULL, &traits), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_memory_info_get(NULL, &memory), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_statistics_get(NULL, &statistics), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_last_error(NULL, &error), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_malloc(NULL, 1, 1, &number), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_free(NULL, 64), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_malloc(NULL, 1, &number), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_free(NULL, 64), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_register(NULL, 64, 1), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_unregister(NULL, 64), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_submit(NULL, 0, NULL, 0, &number, &index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_collect(NULL, NULL, 0, &index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_poll(NULL, 1, &index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_wait(NULL, 1, 0, &index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_completion_descriptor(NULL, &descriptor), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(NULL, "/library", &number), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(NULL, 1, "kernel", &number), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(NULL, 0, 1, NULL, NULL, 0, 0, &number, &index), LH_INVALID_ARGUMENT);
}

static void refuses_null_places_for_results(void) {
  lh_context *context = open_device("total_bytes=4096");
  double number = 0;
  uint32_t index = 0;
  lh_kernel kernel = find_kernel(context, "test_nothing");
  CHECK_STATUS(lh_malloc(context, 1, 1, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_host_malloc(context, 1, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_submit(context, 0, NULL, 0, NULL, &index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_submit(context, 0, NULL, 0, &number, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_collect(context, NULL, 0, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_poll(context, 1, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_wait(context, 1, 0, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_completion_descriptor(context, NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, kernels_path(), NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(context, 1, "test_nothing", NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(context, 0, kernel, NULL, NULL, 0, 0, NULL, &index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(context, 0, kernel, NULL, NULL, 0, 0, &number, NULL), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(statistics_of(context).live_count, 0);
  close_device(context);
}

/* Errors --------------------------------------------------------------------------------------------------------- */

static void remembers_the_last_failure(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_error error = last_error_of(context);
  CHECK_STATUS(error.status, LH_OK);
  CHECK_NUMBER(error.entry_index, UINT32_MAX);
  lh_address address = 0;
  CHECK_STATUS(lh_malloc(context, 8192, 1, &address), LH_OUT_OF_MEMORY);
  take(context, 64);
  error = last_error_of(context);
  CHECK_STATUS(error.status, LH_OUT_OF_MEMORY);
  CHECK_NUMBER(error.entry_index, UINT32_MAX);
  CHECK_NUMBER(error.device_code, 0);
  CHECK(strcmp(error.detail, "The device has no room for the bytes in one piece.") == 0);
  close_device(context);
}

static void has_no_descriptor_to_watch(void) {
  lh_context *context = open_device("total_bytes=4096 completion=late");
  int32_t descriptor = -7;
  CHECK_STATUS(lh_completion_descriptor(context, &descriptor), LH_UNSUPPORTED);
  CHECK_NUMBER(descriptor, -7);
  close_device(context);
}

static void knows_which_statuses_are_sticky(void) {
  CHECK(!lh_status_is_sticky(LH_OK));
  CHECK(!lh_status_is_sticky(LH_MISALIGNED));
  CHECK(lh_status_is_sticky(LH_DEVICE_LOST));
  CHECK(lh_status_is_sticky(20));
  CHECK(lh_status_is_sticky(-1));
}

static void closes_and_abandons_with_memory_left(void) {
  for (int round = 0; round < 2; round += 1) {
    lh_context *context = open_device(round == 0 ? "total_bytes=65536" : "total_bytes=65536 completion=late");
    lh_address host_address = 0;
    take(context, 100);
    CHECK_STATUS(lh_host_malloc(context, 100, &host_address), LH_OK);
    close_device(context);
    context = open_device(round == 0 ? "total_bytes=65536" : "total_bytes=65536 completion=late");
    lh_address device = take(context, 100);
    CHECK_STATUS(lh_host_malloc(context, 100, &host_address), LH_OK);
    CHECK_STATUS(lh_context_abandon(context), LH_OK);
    /* The memory of an abandoned context stays, because something may still be using it. */
    poke_bytes(device, &(float){1}, sizeof(float));
    *(float *)(uintptr_t)host_address = peek_float(device, 0);
  }
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"context: speaks the version of the header", speaks_the_version_of_the_header},
      {"context: opens with defaults", opens_with_defaults},
      {"context: reports what the settings say", reports_what_the_settings_say},
      {"context: opens a device larger than the host", opens_a_device_larger_than_the_host},
      {"context: names the setting that is wrong", names_the_setting_that_is_wrong},
      {"context: refuses settings without end", refuses_settings_without_end},
      {"context: refuses options that it does not know", refuses_options_that_it_does_not_know},
      {"context: has one device", has_one_device},
      {"context: opens from options of an older caller", opens_from_options_of_an_older_caller},
      {"context: writes no further than struct_bytes", writes_no_further_than_struct_bytes},
      {"context: leaves what a newer caller knows alone", leaves_what_a_newer_caller_knows_alone},
      {"context: refuses structs without a size", refuses_structs_without_a_size},
      {"context: refuses the null context everywhere", refuses_the_null_context_everywhere},
      {"context: refuses null places for results", refuses_null_places_for_results},
      {"context: remembers the last failure", remembers_the_last_failure},
      {"context: has no descriptor to watch", has_no_descriptor_to_watch},
      {"context: knows which statuses are sticky", knows_which_statuses_are_sticky},
      {"context: closes and abandons with memory left", closes_and_abandons_with_memory_left},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
