/*
 * cuda_kernels_test.c: modules, kernels and launches of the CUDA backend: steps, and the parameters of each.
 */
#include "cuda_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Modules --------------------------------------------------------------------------------------------------------- */

static lh_status load_text(lh_context *context, const char *text) {
  char *path = write_module(text);
  lh_module module = -7;
  lh_status status = lh_module_load(context, path, &module);
  CHECK((module == -7) == (status != LH_OK));
  unlink(path);
  free(path);
  return status;
}

static void refuses_modules_that_are_none(void) {
  lh_context *context = open_cuda(0, "");
  lh_module module = -7;
  CHECK_STATUS(lh_module_load(context, "/", NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, NULL, &module), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, "", &module), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, "module.ptx", &module), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_module_load(context, "/nowhere/module.ptx", &module), LH_LIBRARY_NOT_LOADED);
  CHECK_STATUS(lh_module_load(context, "/", &module), LH_LIBRARY_NOT_LOADED);
  CHECK_STATUS(load_text(context, ""), LH_LIBRARY_NOT_LOADED);
  CHECK_NUMBER(loopback()->calls("cuModuleLoadData"), 0);
  CHECK_STATUS(load_text(context, "no module"), LH_LIBRARY_NOT_LOADED);
  CHECK_NUMBER(last_error_of(context).device_code, 200);
  CHECK_STATUS(load_text(context, "leasehold loopback module\nlibrary=/nowhere/library.so\n"), LH_LIBRARY_NOT_LOADED);
  CHECK_NUMBER(module, -7);
  /* What was refused used nothing up. */
  CHECK_NUMBER(load_cuda_kernels(context), 1);
  close_device(context);
  check_driver_is_empty();
}

static void holds_256_modules(void) {
  lh_context *context = open_cuda(0, "");
  char *path = write_cuda_kernels();
  lh_module module = 0;
  for (uint32_t index = 1; index <= 256; index += 1) {
    CHECK_STATUS(lh_module_load(context, path, &module), LH_OK);
    CHECK_NUMBER(module, index);
  }
  CHECK_STATUS(lh_module_load(context, path, &module), LH_BUSY);
  CHECK_NUMBER(module, 256);
  unlink(path);
  free(path);
  close_device(context);
  check_driver_is_empty();
}

static void finds_kernels(void) {
  lh_context *context = open_cuda(0, "");
  lh_module module = load_cuda_kernels(context);
  lh_kernel kernel = -7;
  CHECK_STATUS(lh_kernel_find(context, module, "cuda_test_add", NULL), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(context, module, NULL, &kernel), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(context, module, "", &kernel), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_kernel_find(context, module + 1, "cuda_test_add", &kernel), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_kernel_find(context, 0, "cuda_test_add", &kernel), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_kernel_find(context, -1, "cuda_test_add", &kernel), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_kernel_find(context, 0.5, "cuda_test_add", &kernel), LH_UNKNOWN_HANDLE);
  CHECK_STATUS(lh_kernel_find(context, module, "cuda_test_nobody", &kernel), LH_SYMBOL_NOT_FOUND);
  CHECK_NUMBER(last_error_of(context).device_code, CU_ERROR_NOT_FOUND);
  CHECK_NUMBER(kernel, -7);
  lh_kernel add = kernel_in(context, module, "cuda_test_add");
  lh_kernel nothing = kernel_in(context, module, "cuda_test_nothing");
  CHECK(add > 0 && nothing > 0 && add != nothing);
  CHECK_NUMBER(kernel_in(context, module, "cuda_test_add"), add);
  close_device(context);
  check_driver_is_empty();
}

/* Steps ----------------------------------------------------------------------------------------------------------- */

/* Launches and waits. */
static lh_status run_plan(lh_context *context, const lh_launch_plan *plan, const lh_argument *arguments, uint32_t count) {
  lh_ticket ticket = 0;
  lh_status status = launch_plan(context, LH_LANE_COMPUTE, plan, arguments, count, &ticket);
  return status == LH_OK ? await(context, ticket) : status;
}

static void passes_parameters_and_geometry_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_describe");
  lh_address y = take(context, 64);
  const uint8_t small[3] = {1, 2, 0x55};
  const uint64_t large = 0x1122334455667788ull;
  lh_argument arguments[] = {
      {.kind = LH_ARGUMENT_SCALAR, .dtype = LH_DTYPE_UINT16, .byte_count = 2, .scalar = {0x34, 0x12}},
      tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT8, y, 64),
      scalar_int32(-2),
  };
  /* Parameters by the index of their argument, in another order, and from the middle of the plan on. */
  const lh_parameter parameters[] = {constant_uint8(9),     argument_parameter(1), constant(&small[2], 1),
                                     argument_parameter(0), argument_parameter(2), constant_uint64(large)};
  lh_launch_step steps[] = {step_of(kernel, 1, 5)};
  memcpy(steps[0].grid, (double[]){2, 3, 4}, sizeof steps[0].grid);
  memcpy(steps[0].block, (double[]){5, 6, 7}, sizeof steps[0].block);
  steps[0].shared_bytes = 100;
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 6, .steps = steps, .parameters = parameters};
  CHECK_STATUS(run_plan(context, &plan, arguments, 3), LH_OK);
  uint8_t described[64];
  read_device(context, described, y, sizeof described);
  const int32_t negative = -2;
  const loopback_geometry geometry = {{2, 3, 4}, {5, 6, 7}, 100};
  CHECK(described[0] == 0x55 && described[1] == 0x34 && described[2] == 0x12);
  CHECK(memcmp(described + 3, &negative, sizeof negative) == 0);
  CHECK(memcmp(described + 7, &large, sizeof large) == 0);
  CHECK(memcmp(described + 16, &geometry, sizeof geometry) == 0);
  CHECK_NUMBER(statistics_of(context).launch_count, 1);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(passes_parameters_and_geometry)

/* Each step adds to what the last one wrote. They are one launch with one ticket. */
static void carries_steps_out_in_order_with(const char *settings) {
  enum { STEP_COUNT = 50, BYTE_COUNT = 100 };
  lh_context *context = open_cuda(0, settings);
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_add");
  lh_address a = take(context, BYTE_COUNT);
  lh_address b = take(context, BYTE_COUNT);
  uint8_t bytes[BYTE_COUNT] = {3, 200};
  write_device(context, a, bytes, BYTE_COUNT);
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_UINT8, a, BYTE_COUNT),
                                   tensor(LH_ARGUMENT_SCRATCH, LH_DTYPE_UINT8, b, BYTE_COUNT)};
  const lh_parameter parameters[] = {
      argument_parameter(0), argument_parameter(1), constant_uint64(BYTE_COUNT), constant_uint8(1),
      argument_parameter(1), argument_parameter(0), constant_uint64(BYTE_COUNT), constant_uint8(2)};
  lh_launch_step steps[STEP_COUNT];
  for (uint32_t index = 0; index < STEP_COUNT; index += 1) {
    steps[index] = step_of(kernel, 4 * (index % 2), 4);
  }
  const lh_launch_plan plan = {.struct_bytes = sizeof plan,
                               .step_count = STEP_COUNT,
                               .parameter_count = 8,
                               .steps = steps,
                               .parameters = parameters};
  loopback()->reset();
  CHECK_STATUS(run_plan(context, &plan, arguments, 2), LH_OK);
  CHECK_NUMBER(loopback()->calls("cuLaunchKernel"), STEP_COUNT);
  CHECK_NUMBER(statistics_of(context).launch_count, 1);
  read_device(context, bytes, a, BYTE_COUNT);
  CHECK(bytes[0] == 3 + 75 && bytes[1] == (uint8_t)(200 + 75) && bytes[BYTE_COUNT - 1] == 75);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(carries_steps_out_in_order)

/* That a launch is refused, with nothing given to the driver, not even the steps before the wrong one. */
static void check_refused(lh_context *context, const lh_launch_plan *plan, const lh_argument *arguments, uint32_t count,
                          lh_status expected_status, uint32_t expected_index) {
  lh_geometry geometry = {.struct_bytes = sizeof geometry, .plan = plan};
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  uint64_t call_count = loopback()->calls("");
  CHECK_STATUS(
      lh_launch(context, LH_LANE_COMPUTE, 0, &geometry, arguments, count, 0, &ticket, &failed_index), expected_status);
  CHECK_NUMBER(failed_index, expected_index);
  CHECK_NUMBER(ticket, -7);
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  CHECK(last_error_of(context).detail[0] != '\0');
}

/* A parameter may lead into a tensor, to its last byte and right behind it, and no further. */
static void passes_places_in_a_tensor(void) {
  enum { BYTE_COUNT = 100, FROM = 10, TO = 90 };
  lh_context *context = open_cuda(0, "");
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_add");
  lh_address address = take(context, BYTE_COUNT);
  uint8_t bytes[BYTE_COUNT] = {0};
  bytes[FROM] = 5;
  write_device(context, address, bytes, BYTE_COUNT);
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_UINT8, address, BYTE_COUNT)};
  lh_parameter parameters[] = {argument_parameter(0), argument_parameter(0), constant_uint64(BYTE_COUNT - TO),
                               constant_uint8(1)};
  parameters[0].offset_bytes = FROM;
  parameters[1].offset_bytes = TO;
  const lh_launch_step steps[] = {step_of(kernel, 0, 4)};
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 4, .steps = steps, .parameters = parameters};
  CHECK_STATUS(run_plan(context, &plan, arguments, 1), LH_OK);
  read_device(context, bytes, address, BYTE_COUNT);
  CHECK(bytes[TO] == 6 && bytes[TO + 1] == 1 && bytes[BYTE_COUNT - 1] == 1 && bytes[TO - 1] == 0);
  parameters[1].offset_bytes = BYTE_COUNT;
  parameters[2] = constant_uint64(0);
  CHECK_STATUS(run_plan(context, &plan, arguments, 1), LH_OK);
  parameters[1].offset_bytes = BYTE_COUNT + 1;
  check_refused(context, &plan, arguments, 1, LH_INVALID_ARGUMENT, UINT32_MAX);
  close_device(context);
  check_driver_is_empty();
}

static void takes_as_many_bytes_as_a_kernel_can(void) {
  enum { EIGHT_COUNT = 4095, ALL_COUNT = EIGHT_COUNT + 1 };
  static lh_parameter parameters[ALL_COUNT + 1];
  lh_context *context = open_cuda(0, "");
  lh_module module = load_cuda_kernels(context);
  lh_address y = take(context, 8);
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_OUTPUT, LH_DTYPE_UINT64, y, 1)};
  uint64_t expected = 0;
  parameters[0] = argument_parameter(0);
  for (uint32_t index = 1; index < EIGHT_COUNT; index += 1) {
    parameters[index] = constant_uint64(index * 1000003ull);
    expected += index * 1000003ull;
  }
  parameters[EIGHT_COUNT] = constant_uint32(77);
  parameters[ALL_COUNT] = constant_uint8(1);
  lh_launch_step steps[] = {step_of(kernel_in(context, module, "cuda_test_many"), 0, ALL_COUNT)};
  const lh_launch_plan plan = {.struct_bytes = sizeof plan,
                               .step_count = 1,
                               .parameter_count = ALL_COUNT + 1,
                               .steps = steps,
                               .parameters = parameters};
  CHECK_STATUS(run_plan(context, &plan, arguments, 1), LH_OK);
  uint64_t sum = 0;
  read_device(context, &sum, y, sizeof sum);
  CHECK(sum == expected + 77);
  steps[0].parameter_count = ALL_COUNT + 1;
  CHECK_STATUS(run_plan(context, &plan, arguments, 1), LH_INVALID_ARGUMENT);
  /* The gap before a large parameter counts as well. */
  steps[0].parameter_count = ALL_COUNT;
  parameters[EIGHT_COUNT] = parameters[0];
  parameters[0] = constant_uint8(1);
  CHECK_STATUS(run_plan(context, &plan, arguments, 1), LH_INVALID_ARGUMENT);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
  close_device(context);
  check_driver_is_empty();
}

/* Above what every kernel may have, the driver is asked once for the most that was needed. */
static void asks_for_shared_memory_once(void) {
  lh_context *context = open_cuda(0, "");
  lh_module module = load_cuda_kernels(context);
  lh_launch_step steps[] = {step_of(kernel_in(context, module, "cuda_test_nothing"), 0, 0)};
  const lh_launch_plan plan = {.struct_bytes = sizeof plan, .step_count = 1, .steps = steps};
  static const struct {
    double shared_bytes;
    uint64_t asked_count;
  } rounds[] = {{0, 0}, {49152, 0}, {49153, 1}, {49153, 1}, {60000, 2}, {50000, 2}, {49152, 2}, {60000, 2}, {60001, 3}};
  loopback()->reset();
  for (size_t index = 0; index < sizeof rounds / sizeof *rounds; index += 1) {
    steps[0].shared_bytes = rounds[index].shared_bytes;
    CHECK_STATUS(run_plan(context, &plan, NULL, 0), LH_OK);
    CHECK_NUMBER(loopback()->calls("cuFuncSetAttribute"), (double)rounds[index].asked_count);
  }
  /* What is refused is asked for again. */
  steps[0].shared_bytes = 90000;
  loopback()->fail("cuFuncSetAttribute", 1, 1, 0);
  CHECK_STATUS(run_plan(context, &plan, NULL, 0), LH_LAUNCH_FAILED);
  CHECK_STATUS(run_plan(context, &plan, NULL, 0), LH_OK);
  CHECK_NUMBER(loopback()->calls("cuFuncSetAttribute"), 5);
  CHECK_NUMBER(loopback()->calls("cuLaunchKernel"), sizeof rounds / sizeof *rounds + 1);
  close_device(context);
  check_driver_is_empty();
}

/* Refusals -------------------------------------------------------------------------------------------------------- */

static void refuses_wrong_steps(void) {
  lh_context *context = open_cuda(0, "");
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_two");
  const lh_parameter parameters[] = {constant_uint64(1), constant_uint64(2)};
  const lh_launch_step good = step_of(kernel, 0, 2);
  lh_launch_step wrong[19];
  size_t wrong_count = sizeof wrong / sizeof *wrong;
  for (size_t index = 0; index < wrong_count; index += 1) {
    wrong[index] = good;
  }
  wrong[0].grid[0] = 0;
  wrong[1].grid[1] = 0.5;
  wrong[2].grid[2] = -1;
  wrong[3].grid[0] = 4294967296.0;
  wrong[4].block[0] = 0;
  wrong[5].block[1] = 0.0 / 0.0;
  wrong[6].block[2] = 4294967296.0;
  wrong[7].shared_bytes = -1;
  wrong[8].shared_bytes = 0.5;
  wrong[9].shared_bytes = 2147483648.0;
  wrong[10].first_parameter = 3;
  wrong[11].first_parameter = 1;
  wrong[12].first_parameter = -1;
  wrong[13].first_parameter = 0.5;
  wrong[14].parameter_count = 3;
  wrong[15].parameter_count = 9007199254740991.0;
  wrong[16].reserved[5] = 1;
  wrong[17].kernel = kernel + 1;
  wrong[18].kernel = 0;
  for (size_t index = 0; index < wrong_count; index += 1) {
    const lh_launch_step steps[] = {good, wrong[index]};
    const lh_launch_plan plan = {
        .struct_bytes = sizeof plan, .step_count = 2, .parameter_count = 2, .steps = steps, .parameters = parameters};
    check_refused(context, &plan, NULL, 0, index < 17 ? LH_INVALID_ARGUMENT : LH_UNKNOWN_HANDLE, UINT32_MAX);
  }
  close_device(context);
  check_driver_is_empty();
}

/* What the driver says that a kernel takes is what it gets: one parameter too few, and it would read what nobody gave it. */
static void refuses_what_the_kernel_does_not_take(void) {
  lh_context *context = open_cuda(0, "");
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_two");
  const lh_parameter parameters[] = {constant_uint64(1), constant_uint64(2), constant_uint64(3), constant_uint32(4)};
  const lh_launch_step steps[] = {step_of(kernel, 0, 2), step_of(kernel, 1, 2), step_of(kernel, 0, 0),
                                  step_of(kernel, 0, 1), step_of(kernel, 0, 3), step_of(kernel, 2, 2)};
  enum { TAKEN_COUNT = 2, STEP_COUNT = sizeof steps / sizeof *steps };
  lh_launch_plan plan = {.struct_bytes = sizeof plan, .step_count = TAKEN_COUNT, .parameter_count = 4, .steps = steps,
                         .parameters = parameters};
  CHECK_STATUS(run_plan(context, &plan, NULL, 0), LH_OK);
  plan.step_count = 1;
  for (size_t index = TAKEN_COUNT; index < STEP_COUNT; index += 1) {
    plan.steps = &steps[index];
    check_refused(context, &plan, NULL, 0, LH_INVALID_ARGUMENT, UINT32_MAX);
  }
  close_device(context);
  check_driver_is_empty();
}

static void refuses_wrong_parameters(void) {
  lh_context *context = open_cuda(0, "");
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_nothing");
  const lh_argument arguments[] = {scalar_int32(1)};
  const lh_parameter wrong[] = {
      {.argument = 1},
      {.argument = 0.5},
      {.argument = -2},
      {.argument = 0.0 / 0.0},
      {.argument = -1, .byte_count = 0},
      {.argument = -1, .byte_count = 9},
      {.argument = -1, .byte_count = -1},
      {.argument = -1, .byte_count = 0.5},
      {.argument = 0, .byte_count = 4},
      {.argument = 0, .offset_bytes = 1},
      {.argument = -1, .byte_count = 4, .offset_bytes = 1},
      {.argument = 0, .offset_bytes = -1},
      {.argument = 0, .offset_bytes = 0.5},
  };
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    const lh_parameter parameters[] = {argument_parameter(0), wrong[index]};
    const lh_launch_step steps[] = {step_of(kernel, 0, 2)};
    const lh_launch_plan plan = {
        .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 2, .steps = steps, .parameters = parameters};
    check_refused(context, &plan, arguments, 1, LH_INVALID_ARGUMENT, UINT32_MAX);
  }
  /* One that no step takes is looked at all the same, because the whole table is made ready for the driver. */
  const lh_parameter stray[] = {argument_parameter(0)};
  const lh_launch_step steps[] = {step_of(kernel, 0, 0)};
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 1, .steps = steps, .parameters = stray};
  check_refused(context, &plan, NULL, 0, LH_INVALID_ARGUMENT, UINT32_MAX);
  close_device(context);
  check_driver_is_empty();
}

static void refuses_wrong_launches(void) {
  lh_context *context = open_cuda(0, "");
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_nothing");
  const lh_launch_step steps[] = {step_of(kernel, 0, 0)};
  const lh_launch_plan plan = {.struct_bytes = sizeof plan, .step_count = 1, .steps = steps};
  lh_geometry geometry = {.struct_bytes = sizeof geometry, .plan = &plan};
  lh_ticket ticket = -7;
  uint32_t failed_index = 77;
  uint64_t call_count = loopback()->calls("");
#define LAUNCH(lane, geometry, arguments, count, table)                                                                \
  lh_launch(context, lane, 0, geometry, arguments, count, table, &ticket, &failed_index)
  CHECK_STATUS(LAUNCH(LH_LANE_COMPUTE | LH_LANE_DEFERRED, &geometry, NULL, 0, 0), LH_UNSUPPORTED);
  CHECK_STATUS(LAUNCH(LH_LANE_COUNT, &geometry, NULL, 0, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(LAUNCH(LH_LANE_COMPUTE, NULL, NULL, 0, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(LAUNCH(LH_LANE_COMPUTE, &geometry, NULL, 1, 0), LH_INVALID_ARGUMENT);
  CHECK_STATUS(LAUNCH(LH_LANE_COMPUTE, &geometry, NULL, 0, 4096), LH_UNSUPPORTED);
  static const lh_argument many[LH_ARGUMENT_MAX_COUNT + 1];
  CHECK_STATUS(LAUNCH(LH_LANE_COMPUTE, &geometry, many, LH_ARGUMENT_MAX_COUNT + 1, 0), LH_INVALID_ARGUMENT);
  geometry.plan = NULL;
  CHECK_STATUS(LAUNCH(LH_LANE_COMPUTE, &geometry, NULL, 0, 0), LH_INVALID_ARGUMENT);
  geometry.plan = &plan;
  geometry.struct_bytes = 0;
  CHECK_STATUS(LAUNCH(LH_LANE_COMPUTE, &geometry, NULL, 0, 0), LH_INVALID_ARGUMENT);
#undef LAUNCH
  geometry.struct_bytes = sizeof geometry;
  CHECK_STATUS(lh_launch(context, LH_LANE_COMPUTE, 0, &geometry, NULL, 0, 0, NULL, &failed_index), LH_INVALID_ARGUMENT);
  CHECK_STATUS(lh_launch(context, LH_LANE_COMPUTE, 0, &geometry, NULL, 0, 0, &ticket, NULL), LH_INVALID_ARGUMENT);
  const lh_launch_plan wrong[] = {
      {.struct_bytes = 0, .step_count = 1, .steps = steps},
      {.struct_bytes = sizeof plan, .step_count = 0, .steps = steps},
      {.struct_bytes = sizeof plan, .step_count = 1, .steps = NULL},
      {.struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 1, .steps = steps},
  };
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    check_refused(context, &wrong[index], NULL, 0, LH_INVALID_ARGUMENT, UINT32_MAX);
  }
  CHECK_NUMBER((double)loopback()->calls(""), (double)call_count);
  CHECK_NUMBER(ticket, -7);
  close_device(context);
  check_driver_is_empty();
}

static void refuses_wrong_arguments(void) {
  lh_context *context = open_cuda(0, "");
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_nothing");
  lh_address live = take(context, 64);
  lh_address freed = take(context, 64);
  CHECK_STATUS(lh_free(context, freed), LH_OK);
  const lh_launch_step steps[] = {step_of(kernel, 0, 0)};
  const lh_launch_plan plan = {.struct_bytes = sizeof plan, .step_count = 1, .steps = steps};
  lh_argument good = tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, live, 64);
  const struct {
    lh_argument argument;
    lh_status status;
  } wrong[] = {
      {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, live, 65), LH_OUT_OF_RANGE},
      {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, freed, 1), LH_USE_AFTER_FREE},
      {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, 4096, 1), LH_FOREIGN_POINTER},
      {tensor(LH_ARGUMENT_INPUT, LH_DTYPE_UINT8, 0, 1), LH_INVALID_ARGUMENT},
      {tensor(7, LH_DTYPE_UINT8, live, 1), LH_INVALID_ARGUMENT},
  };
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index += 1) {
    const lh_argument arguments[] = {good, wrong[index].argument};
    check_refused(context, &plan, arguments, 2, wrong[index].status, 1);
  }
  good.address = live + 1;
  good.byte_count = 4;
  good.rank = 0;
  good.alignment_bytes = 256;
  check_refused(context, &plan, &good, 1, LH_MISALIGNED, 0);
  close_device(context);
  check_driver_is_empty();
}

/* Failures -------------------------------------------------------------------------------------------------------- */

/* A launch of two steps that add one to each of a hundred bytes. */
static lh_status add_twice(lh_context *context, lh_kernel kernel, lh_address memory, lh_ticket *ticket_out) {
  const lh_argument arguments[] = {tensor(LH_ARGUMENT_INOUT, LH_DTYPE_UINT8, memory, 100)};
  const lh_parameter parameters[] = {argument_parameter(0), argument_parameter(0), constant_uint64(100),
                                     constant_uint8(1)};
  const lh_launch_step steps[] = {step_of(kernel, 0, 4), step_of(kernel, 0, 4)};
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 2, .parameter_count = 4, .steps = steps, .parameters = parameters};
  return launch_plan(context, LH_LANE_COMPUTE, &plan, arguments, 1, ticket_out);
}

/* Its first step is refused while another's kernel is in flight; and its second, when the first is on the stream already. */
static void a_refused_launch_ends_with_its_work_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_kernel kernel = kernel_in(context, load_cuda_kernels(context), "cuda_test_add");
  lh_address memory = take(context, 100);
  uint8_t bytes[100] = {1};
  write_device(context, memory, bytes, sizeof bytes);
  lh_ticket gate = block_lane(context, LH_LANE_COMPUTE);
  lh_ticket ticket = -7;
  loopback()->fail("cuLaunchKernel", 1, 701, 0);
  CHECK_STATUS(add_twice(context, kernel, memory, &ticket), LH_LAUNCH_FAILED);
  CHECK_NUMBER(last_error_of(context).device_code, 701);
  CHECK_NUMBER(ticket, -7);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 1);
  loopback()->fail("cuLaunchKernel", 2, 701, 0);
  CHECK_STATUS(add_twice(context, kernel, memory, &ticket), LH_OK);
  uint32_t failed_index = 77;
  CHECK_STATUS(lh_wait(context, ticket, UINT64_MAX, &failed_index), LH_TIMEOUT);
  gate_open();
  CHECK_STATUS(await(context, ticket), LH_LAUNCH_FAILED);
  CHECK_NUMBER(last_error_of(context).device_code, 701);
  CHECK_STATUS(await(context, gate), LH_OK);
  CHECK_NUMBER(statistics_of(context).in_flight_count, 0);
  CHECK_NUMBER(statistics_of(context).launch_count, 1);
  read_device(context, bytes, memory, sizeof bytes);
  CHECK_NUMBER(bytes[0], 2);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(a_refused_launch_ends_with_its_work)

/* A kernel of the loopback driver can return a code, which no kernel of a GPU can. */
static void tells_the_code_of_a_kernel_with(const char *settings) {
  lh_context *context = open_cuda(0, settings);
  lh_kernel kernel = kernel_in(context, load_table_kernels(context), "test_fail");
  const lh_parameter parameters[] = {constant_uint32(0)};
  const lh_launch_step steps[] = {step_of(kernel, 0, 1)};
  const lh_launch_plan plan = {
      .struct_bytes = sizeof plan, .step_count = 1, .parameter_count = 1, .steps = steps, .parameters = parameters};
  for (int round = 0; round < 3; round += 1) {
    CHECK_STATUS(run_plan(context, &plan, NULL, 0), LH_LAUNCH_FAILED);
    CHECK_NUMBER(last_error_of(context).device_code, 7);
    CHECK(last_error_of(context).device_name[0] == '\0');
  }
  take(context, 100);
  close_device(context);
  check_driver_is_empty();
}

WITH_BOTH_LANES(tells_the_code_of_a_kernel)

int main(int argument_count, char **arguments) {
  static const test tests[] = {
      {"cuda kernels: refuses modules that are none", refuses_modules_that_are_none},
      {"cuda kernels: holds 256 modules", holds_256_modules},
      {"cuda kernels: finds kernels", finds_kernels},
      {"cuda kernels: passes parameters and geometry", passes_parameters_and_geometry},
      {"cuda kernels: carries steps out in order", carries_steps_out_in_order},
      {"cuda kernels: passes places in a tensor", passes_places_in_a_tensor},
      {"cuda kernels: takes as many bytes of parameters as a kernel can", takes_as_many_bytes_as_a_kernel_can},
      {"cuda kernels: asks for shared memory once", asks_for_shared_memory_once},
      {"cuda kernels: refuses wrong steps without a call of the driver", refuses_wrong_steps},
      {"cuda kernels: refuses what the kernel does not take", refuses_what_the_kernel_does_not_take},
      {"cuda kernels: refuses wrong parameters", refuses_wrong_parameters},
      {"cuda kernels: refuses wrong launches", refuses_wrong_launches},
      {"cuda kernels: refuses wrong arguments", refuses_wrong_arguments},
      {"cuda kernels: a launch that is refused ends with what it has begun", a_refused_launch_ends_with_its_work},
      {"cuda kernels: tells the code that a kernel returned", tells_the_code_of_a_kernel},
  };
  return run_tests(argument_count, arguments, tests, TEST_COUNT(tests));
}
