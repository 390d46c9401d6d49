/*
 * kernels_test.c: modules, kernels, launches and their argument tables, and what becomes of a lost device.
 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>

enum { ELEMENT_COUNT = 8 };

static lh_address take_floats(lh_context *context, float first, float step) {
  lh_address address = take(context, ELEMENT_COUNT * sizeof(float));
  float values[ELEMENT_COUNT];
  for (int index = 0; index < ELEMENT_COUNT; index += 1) {
    values[index] = first + step * (float)index;
  }
  poke_bytes(address, values, sizeof values);
  return address;
}

static lh_argument float_tensor(double kind, lh_address address) {
  return tensor(kind, LH_DTYPE_FLOAT32, address, ELEMENT_COUNT);
}

/* Loading -------------------------------------------------------------------------------------------------------- */

static void loads_absolute_paths_only(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_module module = -7;
  CHECK_STATUS(lh_module_load(context, NULL, &module), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, "", &module), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, "libc.so.6", &module), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, "./kernels.so", &module), LH_INVALID_ARGUMENT);
  CHECK(strstr(last_error_of(context).detail, "absolute") != NULL);
  CHECK_NUMBER(module, -7);
  close_device(context);
}

static void says_why_a_library_is_not_loaded(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_module module = -7;
  char source_path[4096 + 8];
  CHECK_STATUS(lh_module_load(context, "/nowhere/kernels.so", &module), LH_LIBRARY_NOT_LOADED);
  CHECK(strstr(last_error_of(context).detail, "no such file") != NULL);
  CHECK_STATUS(lh_module_load(context, "/", &module), LH_LIBRARY_NOT_LOADED);
  snprintf(source_path, sizeof source_path, "%s.text", kernels_path());
  FILE *file = fopen(source_path, "w");
  if (CHECK(file != NULL)) {
    fputs("This is no library.", file);
    fclose(file);
    CHECK_STATUS(lh_module_load(context, source_path, &module), LH_LIBRARY_NOT_LOADED);
    CHECK(strstr(last_error_of(context).detail, "could not be loaded") != NULL);
    CHECK(strstr(last_error_of(context).detail, source_path) == NULL);
    remove(source_path);
  }
  CHECK_NUMBER(module, -7);
  close_device(context);
}

static void finds_kernels_by_name(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_module module = 0;
  lh_module again = 0;
  lh_kernel add = 0;
  lh_kernel scale = 0;
  lh_kernel kernel = -7;
  CHECK_STATUS(lh_module_load(context, kernels_path(), &module), LH_OK);
  CHECK_STATUS(lh_module_load(context, kernels_path(), &again), LH_OK);
  CHECK_NUMBER(module, again);
  CHECK_STATUS(lh_kernel_find(context, module, "test_add", &add), LH_OK);
  CHECK_STATUS(lh_kernel_find(context, module, "test_scale", &scale), LH_OK);
  CHECK(add != scale);
  CHECK_STATUS(lh_kernel_find(context, module, "test_add", &kernel), LH_OK);
  CHECK_NUMBER(kernel, add);
  kernel = -7;
  CHECK_STATUS(lh_kernel_find(context, module, "test_subtract", &kernel), LH_SYMBOL_NOT_FOUND);
  /* The C library is loaded too, but its functions are no kernels. */
  CHECK_STATUS(lh_kernel_find(context, module, "memcpy", &kernel), LH_SYMBOL_NOT_FOUND);
  CHECK_STATUS(lh_kernel_find(context, module, "", &kernel), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(context, module, NULL, &kernel), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(context, module + 1, "test_add", &kernel), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_kernel_find(context, 0, "test_add", &kernel), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_kernel_find(context, 0.5, "test_add", &kernel), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(kernel, -7);
  close_device(context);
}

/* Launching ------------------------------------------------------------------------------------------------------ */

static void computes(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address a = take_floats(context, 1, 1);
  lh_address b = take_floats(context, 10, 10);
  lh_address c = take_floats(context, 0, 0);
  const lh_argument added[] = {float_tensor(LH_ARGUMENT_INPUT, a), float_tensor(LH_ARGUMENT_INPUT, b),
                               float_tensor(LH_ARGUMENT_OUTPUT, c)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_add"), added, 3, NULL), LH_OK);
  CHECK_NUMBER(peek_float(c, 0), 11);
  CHECK_NUMBER(peek_float(c, ELEMENT_COUNT - 1), 88);
  const lh_argument scaled[] = {float_tensor(LH_ARGUMENT_INOUT, c), scalar_float32(0.5f)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_scale"), scaled, 2, NULL), LH_OK);
  CHECK_NUMBER(peek_float(c, 1), 11);
  const lh_argument accumulated[] = {float_tensor(LH_ARGUMENT_RESIDENT, a), float_tensor(LH_ARGUMENT_INPUT, b),
                                     float_tensor(LH_ARGUMENT_OUTPUT, c)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_accumulate"), accumulated, 3, NULL), LH_OK);
  CHECK_NUMBER(peek_float(a, 2), 33);
  CHECK_NUMBER(peek_float(c, 2), 33);
  CHECK_NUMBER(statistics_of(context).launch_count, 3);
  close_device(context);
}

/* Launches one entry behind a good one, and expects it to be refused. */
static void check_refused(lh_context *context, lh_kernel kernel, lh_argument wrong, lh_status expected_status) {
  const lh_argument arguments[] = {scalar_int32(0), wrong};
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  CHECK_STATUS(lh_launch(context, LH_LANE_COMPUTE, kernel, NULL, arguments, 2, 0, &ticket, &failed_index),
               expected_status);
  CHECK_NUMBER(failed_index, 1);
  CHECK_NUMBER(ticket, -7);
  CHECK_NUMBER(last_error_of(context).entry_index, 1);
}

static void refuses_arguments_that_are_none(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_kernel kernel = find_kernel(context, "test_nothing");
  const lh_argument good = float_tensor(LH_ARGUMENT_INPUT, take_floats(context, 0, 0));
  const double no_number = 0.0 / 0.0;
  const lh_argument empty = tensor(LH_ARGUMENT_INPUT, LH_DTYPE_FLOAT32, 0, 0);
#define REFUSE(base, field, value)                                                                                     \
  do {                                                                                                                 \
    lh_argument wrong = (base);                                                                                        \
    wrong.field = (value);                                                                                             \
    check_refused(context, kernel, wrong, LH_INVALID_ARGUMENT);                                                        \
  } while (0)
  REFUSE(good, kind, 0);
  REFUSE(good, kind, 7);
  REFUSE(good, kind, no_number);
  REFUSE(good, dtype, 0);
  REFUSE(good, dtype, 13);
  REFUSE(good, dtype, 3.5);
  REFUSE(good, byte_count, -1);
  REFUSE(good, byte_count, 31);
  REFUSE(good, alignment_bytes, 48);
  REFUSE(good, alignment_bytes, -64);
  REFUSE(good, address, 0);
  REFUSE(good, address, 0.5);
  REFUSE(good, address, no_number);
  REFUSE(good, rank, 9);
  REFUSE(good, rank, -1);
  REFUSE(good, reserved, 1);
  REFUSE(good, dims[0], 9);
  REFUSE(good, dims[0], no_number);
  REFUSE(good, dims[0], 9007199254740991.0);
  REFUSE(good, rank, 2);
  REFUSE(empty, address, 64);
  REFUSE(empty, dims[0], 1);
  REFUSE(scalar_int32(1), address, 64);
  REFUSE(scalar_int32(1), byte_count, 9);
#undef REFUSE
  close_device(context);
}

static void refuses_tensors_that_are_not_live(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_kernel kernel = find_kernel(context, "test_nothing");
  lh_address live = take_floats(context, 0, 0);
  lh_address freed = take_floats(context, 0, 0);
  int on_host = 0;
  CHECK_STATUS(lh_free(context, freed), LH_OK);
  check_refused(context, kernel, float_tensor(LH_ARGUMENT_INPUT, live + 4), LH_OUT_OF_RANGE);
  check_refused(context, kernel, float_tensor(LH_ARGUMENT_INPUT, freed), LH_USE_AFTER_FREE);
  check_refused(context, kernel, float_tensor(LH_ARGUMENT_INPUT, address_of(&on_host)), LH_FOREIGN_POINTER);
  lh_argument misaligned = tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, live + 4, 4);
  misaligned.alignment_bytes = 8;
  check_refused(context, kernel, misaligned, LH_MISALIGNED);
  misaligned.alignment_bytes = 4;
  const lh_argument aligned[] = {misaligned};
  lh_argument vast = tensor(LH_ARGUMENT_INPUT, LH_DTYPE_FLOAT16, live, 16);
  vast.rank = 2;
  vast.dims[0] = 4503599627370496.0;
  vast.dims[1] = 4503599627370496.0;
  check_refused(context, kernel, vast, LH_INVALID_ARGUMENT);
  CHECK_STATUS(launch(context, kernel, aligned, 1, NULL), LH_OK);
  close_device(context);
}

static void takes_empty_tensors_and_no_arguments(void) {
  lh_context *context = open_device("total_bytes=4096");
  const lh_argument empty[] = {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_FLOAT32, 0, 0),
                               tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_FLOAT32, 0, 0)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_copy"), empty, 2, NULL), LH_OK);
  CHECK_STATUS(launch(context, find_kernel(context, "test_nothing"), NULL, 0, NULL), LH_OK);
  close_device(context);
}

static void refuses_launches_that_are_none(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_kernel kernel = find_kernel(context, "test_nothing");
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  const lh_geometry geometry = {.struct_bytes = sizeof geometry, .grid = {1, 1, 1}, .block = {1, 1, 1}};
  const lh_geometry sizeless = {.struct_bytes = 0};
  CHECK_STATUS(lh_launch(context, 0, kernel, &geometry, NULL, 0, 0, &ticket, &failed_index), LH_OK);
  CHECK_STATUS(lh_launch(context, 0, kernel, &sizeless, NULL, 0, 0, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(context, 3, kernel, NULL, NULL, 0, 0, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(context, 0, kernel, NULL, NULL, 1, 0, &ticket, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(context, 0, kernel + 1, NULL, NULL, 0, 0, &ticket, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_launch(context, 0, 0, NULL, NULL, 0, 0, &ticket, &failed_index), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_launch(context, 0, kernel, NULL, NULL, 0, 64, &ticket, &failed_index), LH_UNSUPPORTED);
  CHECK_NUMBER(failed_index, UINT32_MAX);
  close_device(context);
}

static void takes_as_many_arguments_as_the_header_says(void) {
  lh_context *context = open_device("total_bytes=1048576");
  lh_kernel kernel = find_kernel(context, "test_checksum");
  const uint32_t count = LH_ARGUMENT_MAX_COUNT;
  lh_argument *arguments = calloc(count + 1, sizeof *arguments);
  lh_address bytes = take(context, count);
  lh_address sum = take(context, sizeof(double));
  if (!CHECK(arguments != NULL)) {
    return;
  }
  CHECK_STATUS(submit(context, &(lh_transfer){LH_TRANSFER_FILL, bytes, 1, count}, 1, NULL), LH_OK);
  for (uint32_t index = 0; index + 1 < count; index += 1) {
    arguments[index] = tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, bytes + index, 1);
  }
  arguments[count - 1] = tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_FLOAT64, sum, 1);
  CHECK_STATUS(launch(context, kernel, arguments, count, NULL), LH_OK);
  double others = count - 1;
  double expected = others + 31.0 * others * (others - 1) / 2;
  CHECK(device_holds(sum, &expected, sizeof expected));
  arguments[count] = arguments[count - 1];
  CHECK_STATUS(launch(context, kernel, arguments, count + 1, NULL), LH_INVALID_ARGUMENT);
  free(arguments);
  close_device(context);
}

static void hands_the_table_to_the_kernel_as_it_is(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address described = take(context, 2 * 6 * sizeof(double));
  lh_argument first = float_tensor(LH_ARGUMENT_INOUT, take_floats(context, 0, 0));
  first.alignment_bytes = 64;
  const lh_argument arguments[] = {first, scalar_int32(5),
                                   tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_FLOAT64, described, 12)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_describe"), arguments, 3, NULL), LH_OK);
  static const double expected[] = {LH_ARGUMENT_INOUT,  LH_DTYPE_FLOAT32, 32, 1, 1, 8,
                                    LH_ARGUMENT_SCALAR, LH_DTYPE_INT32,   4,  1, 0, 0};
  CHECK(device_holds(described, expected, sizeof expected));
  close_device(context);
}

static void shows_what_lies_around_a_slice(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_address chunk = take(context, 64);
  lh_address shown = take(context, 4);
  uint8_t bytes[64];
  for (int index = 0; index < 64; index += 1) {
    bytes[index] = (uint8_t)index;
  }
  poke_bytes(chunk, bytes, sizeof bytes);
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, chunk + 16, 8), scalar_int32(1),
                                   scalar_int32(3), tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, shown, 4)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_reveal_around"), arguments, 4, NULL), LH_OK);
  static const uint8_t expected[] = {15, 24, 25, 26};
  CHECK(device_holds(shown, expected, sizeof expected));
  const lh_argument written[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, shown, 4), scalar_int32(2),
                                 scalar_int32(9)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_write_first"), written, 3, NULL), LH_OK);
  static const uint8_t expected_after[] = {9, 9, 25, 26};
  CHECK(device_holds(shown, expected_after, sizeof expected_after));
  const lh_argument revealed[] = {tensor(LH_ARGUMENT_SCRATCH, LH_DTYPE_UINT8, chunk, 4),
                                  tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, shown, 4)};
  CHECK_STATUS(launch(context, find_kernel(context, "test_reveal"), revealed, 2, NULL), LH_OK);
  CHECK(device_holds(shown, bytes, 4));
  close_device(context);
}

/* Failing -------------------------------------------------------------------------------------------------------- */

static void reports_the_code_of_a_kernel(void) {
  lh_context *context = open_device("total_bytes=4096");
  CHECK_STATUS(launch(context, find_kernel(context, "test_fail"), NULL, 0, NULL), LH_LAUNCH_FAILED);
  lh_error error = last_error_of(context);
  CHECK_STATUS(error.status, LH_LAUNCH_FAILED);
  CHECK_NUMBER(error.device_code, 7);
  CHECK_NUMBER(error.entry_index, UINT32_MAX);
  lh_kernel fail_if = find_kernel(context, "test_fail_if");
  const lh_argument negative[] = {scalar_int32(-3)};
  const lh_argument none[] = {scalar_int32(0)};
  CHECK_STATUS(launch(context, fail_if, negative, 1, NULL), LH_LAUNCH_FAILED);
  CHECK_NUMBER(last_error_of(context).device_code, -3);
  CHECK_STATUS(launch(context, fail_if, none, 1, NULL), LH_OK);
  CHECK_NUMBER(statistics_of(context).launch_count, 1);
  close_device(context);
}

static void is_lost_for_good(void) {
  lh_context *context = open_device("total_bytes=4096");
  lh_kernel lose_if = find_kernel(context, "test_lose_device_if");
  lh_address device = take(context, 64);
  lh_address host = 0;
  double number = -7;
  uint32_t index = 77;
  int32_t descriptor = 0;
  CHECK_STATUS(lh_host_malloc(context, 64, &host), LH_OK);
  const lh_argument harmless[] = {scalar_int32(0)};
  CHECK_STATUS(launch(context, lose_if, harmless, 1, NULL), LH_OK);
  CHECK_STATUS(launch(context, find_kernel(context, "test_lose_device"), NULL, 0, NULL), LH_DEVICE_LOST);
  const lh_transfer transfer = fill(device, 0, 1);
  lh_device_info info = {.struct_bytes = sizeof info};
  lh_traits traits = {.struct_bytes = sizeof traits};
  lh_memory_info memory = {.struct_bytes = sizeof memory};
  CHECK_STATUS(lh_device_info_get(context, &info), LH_DEVICE_LOST);
  CHECK_STATUS(lh_traits_get(context, &traits), LH_DEVICE_LOST);
  CHECK_STATUS(lh_memory_info_get(context, &memory), LH_DEVICE_LOST);
  CHECK_STATUS(lh_malloc(context, 1, 1, &number), LH_DEVICE_LOST);
  CHECK_STATUS(lh_free(context, device), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_malloc(context, 1, &number), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_free(context, host), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_register(context, address_of(&index), 4), LH_DEVICE_LOST);
  CHECK_STATUS(lh_host_unregister(context, address_of(&index)), LH_DEVICE_LOST);
  CHECK_STATUS(lh_submit(context, 0, &transfer, 1, &number, &index), LH_DEVICE_LOST);
  CHECK_NUMBER(index, UINT32_MAX);
  CHECK_STATUS(lh_collect(context, NULL, 0, &index), LH_DEVICE_LOST);
  CHECK_STATUS(lh_poll(context, 1, &index), LH_DEVICE_LOST);
  CHECK_STATUS(lh_wait(context, 1, 1, &index), LH_DEVICE_LOST);
  CHECK_STATUS(lh_completion_descriptor(context, &descriptor), LH_DEVICE_LOST);
  CHECK_STATUS(lh_module_load(context, kernels_path(), &number), LH_DEVICE_LOST);
  CHECK_STATUS(lh_kernel_find(context, 1, "test_add", &number), LH_DEVICE_LOST);
  CHECK_STATUS(launch(context, lose_if, harmless, 1, NULL), LH_DEVICE_LOST);
  CHECK_NUMBER(number, -7);
  CHECK_NUMBER(peek(device), 0xFF);
  CHECK_NUMBER(statistics_of(context).live_count, 1);
  /* The record is that of the loss, and not of the calls that came after it. */
  lh_error error = last_error_of(context);
  CHECK_STATUS(error.status, LH_DEVICE_LOST);
  CHECK_NUMBER(error.device_code, LH_DEVICE_LOST);
  close_device(context);
}

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"kernels: loads absolute paths only", loads_absolute_paths_only},
      {"kernels: says why a library is not loaded", says_why_a_library_is_not_loaded},
      {"kernels: finds kernels by name, in the module only", finds_kernels_by_name},
      {"kernels: computes", computes},
      {"kernels: refuses arguments that are none", refuses_arguments_that_are_none},
      {"kernels: refuses tensors that are not live or not aligned", refuses_tensors_that_are_not_live},
      {"kernels: takes empty tensors, and no arguments at all", takes_empty_tensors_and_no_arguments},
      {"kernels: refuses launches that are none", refuses_launches_that_are_none},
      {"kernels: takes as many arguments as the header says", takes_as_many_arguments_as_the_header_says},
      {"kernels: hands the table to the kernel as it is", hands_the_table_to_the_kernel_as_it_is},
      {"kernels: shows what lies around a slice", shows_what_lies_around_a_slice},
      {"kernels: reports the code of a kernel", reports_the_code_of_a_kernel},
      {"kernels: is lost for good once a kernel loses the device", is_lost_for_good},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
